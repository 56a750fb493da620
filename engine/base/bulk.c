#include "bulk.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arena.h"
#include "cleanup.h"
#include "clock.h"
#include "path.h"

#define BLOCK ((size_t)1 << 20)
#define TICK_MS 50
#define MOST_THREADS 256u
#define SPARED ((uint64_t)64 << 20) /* smaller files push nothing out, and are not looked at for it */
#define SAMPLES 64u

struct crowd {
	struct bulk *bulk;
	pthread_mutex_t mutex; /* of `running` */
	pthread_cond_t ended;
	unsigned running;
};

/* ---- one file ---- */

static int
open_file(const struct bulk *bulk, const char *path)
{
	if (bulk->dirfd >= 0)
		return path_open_below(bulk->dirfd, path, O_RDONLY, 0);
	return open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
}

/* Whether less than half of the file is in the page cache, by a sample of its pages. */
static bool
is_cold(int fd, uint64_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), cached = 0;
	unsigned char *map;

	if (size < SPARED)
		return false;
	map = mmap(NULL, (size_t)size, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return false;
	for (size_t i = 0; i < SAMPLES; i++) {
		size_t at = (size_t)size / SAMPLES * i / page * page;
		unsigned char here = 1;

		cached += mincore(map + at, page, &here) != 0 || (here & 1);
	}
	munmap(map, (size_t)size);
	return cached < SAMPLES / 2;
}

static bool
read_through(struct bulk *bulk, int fd, struct hasher *sha256, struct hasher *blob, bool cold, struct error *err)
{
	char *block finally(free_text) = xmalloc(BLOCK);
	uint64_t read = 0, dropped = 0;
	size_t got = BLOCK;

	while (got == BLOCK) {
		if (bulk->halt)
			return fail(err, FAULT_INTERRUPTED, "interrupted");
		if (!file_read_all(fd, block, BLOCK, &got, err))
			return false;
		hasher_add(sha256, block, got);
		if (blob->context)
			hasher_add(blob, block, got);
		atomic_fetch_add(&bulk->done, got);
		read += got;
		if (cold && (got < BLOCK || read - dropped >= SPARED)) {
			(void)posix_fadvise(fd, (off_t)dropped, (off_t)(read - dropped), POSIX_FADV_DONTNEED);
			dropped = read;
		}
	}
	return true;
}

static bool
stat_regular(int fd, const char *path, struct stat_key *key, struct error *err)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return fail_errno(err, "look at `%s`", path);
	if (!S_ISREG(st.st_mode))
		return fail(err, FAULT_IO, "`%s` is no regular file", path);
	*key = stat_key_of(&st);
	return true;
}

static bool
hash_file(struct bulk *bulk, struct bulk_file *file, struct error *err)
{
	struct hasher sha256 finally(hasher_finish) = { 0 }, blob finally(hasher_finish) = { 0 };
	int fd finally(close_fd) = open_file(bulk, file->path);
	struct stat_key after;

	if (fd < 0)
		return fail_errno(err, "open `%s`", file->path);
	if (!stat_regular(fd, file->path, &file->key, err))
		return false;
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	file->hashed_ns = clock_now_ns();
	hasher_init(&sha256);
	if (file->git)
		hasher_init_git(&blob, file->key.size);
	if (!read_through(bulk, fd, &sha256, &blob, is_cold(fd, file->key.size), err))
		return error_wrap(err, "read `%s`", file->path);
	if (!stat_regular(fd, file->path, &after, err))
		return false;
	if (!stat_key_equal(&file->key, &after))
		return fail(err, FAULT_INPUT_CHANGED, "`%s` changed while it was being read", file->path);
	hasher_digest(&sha256, &file->sha256);
	if (file->git)
		hasher_checksum(&blob, &file->blob);
	return true;
}

/* ---- all of them ---- */

static void *
work(void *context)
{
	struct crowd *crowd = context;
	struct bulk *bulk = crowd->bulk;
	size_t at;

	while (!bulk->halt && (at = atomic_fetch_add(&bulk->next, 1)) < bulk->count) {
		struct bulk_file *file = &bulk->files[bulk->order[at]];
		struct error err = { 0 };

		hash_file(bulk, file, &err);
		file->fault = err.fault;
		file->why = err.fault == FAULT_NONE ? NULL : xstrdup(err.text);
		if (err.fault != FAULT_INTERRUPTED)
			atomic_fetch_add(&bulk->ended, 1);
	}
	pthread_mutex_lock(&crowd->mutex);
	crowd->running--;
	pthread_cond_signal(&crowd->ended);
	pthread_mutex_unlock(&crowd->mutex);
	return NULL;
}

static int
larger_first(const void *a, const void *b, void *context)
{
	const struct bulk_file *files = context;
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

	if (files[left].size != files[right].size)
		return files[left].size < files[right].size ? 1 : -1;
	return (left > right) - (left < right);
}

static void
prepare(struct bulk *bulk)
{
	bulk->order = xmalloc((bulk->count + 1) * sizeof *bulk->order);
	bulk->total = 0;
	atomic_init(&bulk->done, 0);
	atomic_init(&bulk->ended, 0);
	atomic_init(&bulk->next, 0);
	for (size_t i = 0; i < bulk->count; i++) {
		bulk->order[i] = (uint32_t)i;
		bulk->total += bulk->files[i].size;
		bulk->files[i].fault = FAULT_INTERRUPTED;
	}
	qsort_r(bulk->order, bulk->count, sizeof *bulk->order, larger_first, bulk->files);
}

static unsigned
cores(void)
{
	cpu_set_t set;
	int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : (int)sysconf(_SC_NPROCESSORS_ONLN);

	return count > 0 ? (unsigned)count : 1;
}

/* With the mutex held. */
static void
wait_for_all(struct crowd *crowd, void (*tick)(void *self), void *self)
{
	while (crowd->running > 0) {
		clock_wait_ms(&crowd->ended, &crowd->mutex, TICK_MS);
		if (!tick)
			continue;
		pthread_mutex_unlock(&crowd->mutex);
		tick(self);
		pthread_mutex_lock(&crowd->mutex);
	}
}

bool
bulk_hash(struct bulk *bulk, void (*tick)(void *self), void *self, struct error *err)
{
	struct crowd crowd = { .bulk = bulk };
	unsigned wanted = bulk->threads ? bulk->threads : cores(), count = 0;
	pthread_t threads[MOST_THREADS];
	int number = 0;

	prepare(bulk);
	wanted = wanted > MOST_THREADS ? MOST_THREADS : wanted;
	pthread_mutex_init(&crowd.mutex, NULL);
	pthread_cond_init(&crowd.ended, NULL);
	pthread_mutex_lock(&crowd.mutex);
	while (count < wanted && count < bulk->count && (number = pthread_create(&threads[count], NULL, work, &crowd)) == 0) {
		crowd.running++;
		count++;
	}
	wait_for_all(&crowd, tick, self);
	pthread_mutex_unlock(&crowd.mutex);
	for (unsigned i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	pthread_cond_destroy(&crowd.ended);
	pthread_mutex_destroy(&crowd.mutex);
	errno = number;
	return count > 0 || bulk->count == 0 || fail_errno(err, "start a thread");
}

void
bulk_finish(struct bulk *bulk)
{
	for (size_t i = 0; i < bulk->count; i++)
		free(bulk->files[i].why);
	free(bulk->order);
}
