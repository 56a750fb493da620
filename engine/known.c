#include "known.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/strings.h"

#define COARSE_NS INT64_C(2000000000)
#define TICK_NS INT64_C(20000000) /* two ticks of the slowest kernel clock, 100 Hz */

/* File systems that stamp with the kernel's clock. From Linux 6.13 on any two changes that a stat has come between differ (multigrain time
 * stamps), before it those that a tick has come between. */
static const struct {
	long magic;
	const char *name;
} fine[] = { { 0xEF53, "ext4" }, { 0x58465342, "xfs" }, { 0x9123683E, "btrfs" }, { 0x01021994, "tmpfs" } };

static bool
kernel_is_multigrain(void)
{
	struct utsname name;
	int major = 0, minor = 0;

	return uname(&name) == 0 && sscanf(name.release, "%d.%d", &major, &minor) == 2 && (major > 6 || (major == 6 && minor >= 13));
}

static int64_t
grain_of_path(const struct known *known, const char *path)
{
	struct statfs fs;

	if (statfs(path, &fs) == 0)
		for (size_t i = 0; i < sizeof fine / sizeof *fine; i++)
			if (fs.f_type == fine[i].magic)
				return known->fine_ns;
	return COARSE_NS;
}

/* By the table of mounts, where there is no path to ask for. */
static int64_t
grain_of_device(const struct known *known, uint64_t device)
{
	FILE *mounts = fopen("/proc/self/mountinfo", "re");
	int64_t grain = COARSE_NS;
	char *line = NULL;
	size_t size = 0;

	while (mounts && grain == COARSE_NS && getline(&line, &size, mounts) > 0) {
		const char *type = strstr(line, " - ");
		unsigned major_number, minor_number;

		if (!type || sscanf(line, "%*d %*d %u:%u ", &major_number, &minor_number) != 2 || makedev(major_number, minor_number) != device)
			continue;
		type += 3;
		for (size_t i = 0; i < sizeof fine / sizeof *fine; i++)
			if (text_starts(type, fine[i].name) && type[strlen(fine[i].name)] == ' ')
				grain = known->fine_ns;
	}
	free(line);
	if (mounts)
		fclose(mounts);
	return grain;
}

/* With the mutex held. `path` lies on the device, or is NULL. */
static int64_t
granularity(struct known *known, const char *path, uint64_t device)
{
	struct known_grain *grain = known->grains;

	for (size_t i = 0; i < known->grain_count; i++)
		if (known->grains[i].device == device)
			return known->grains[i].ns;
	if (known->grain_count < KNOWN_GRAINS)
		grain = &known->grains[known->grain_count++];
	*grain = (struct known_grain){ .device = device, .ns = path ? grain_of_path(known, path) : grain_of_device(known, device) };
	return grain->ns;
}

static size_t
slot_of(const struct known *known, uint64_t device, uint64_t inode)
{
	uint64_t hash = (inode ^ (device << 32) ^ (device >> 32)) * UINT64_C(0x9E3779B97F4A7C15);

	return (size_t)(hash >> 20) & (known->slot_count - 1);
}

/* The slot that holds the inode, or the empty one where it belongs. */
static uint32_t *
probe(const struct known *known, uint64_t device, uint64_t inode)
{
	size_t at = slot_of(known, device, inode);

	while (known->slots[at]) {
		const struct stat_key *key = &known->files[known->slots[at] - 1].key;

		if (key->inode == inode && key->device == device)
			break;
		at = (at + 1) & (known->slot_count - 1);
	}
	return &known->slots[at];
}

static void
grow_slots(struct known *known)
{
	while (known->slot_count < 2 * (known->count + 8))
		known->slot_count = known->slot_count ? known->slot_count * 2 : 64;
	free(known->slots);
	known->slots = xmalloc(known->slot_count * sizeof *known->slots);
	memset(known->slots, 0, known->slot_count * sizeof *known->slots);
	for (size_t i = 0; i < known->count; i++)
		*probe(known, known->files[i].key.device, known->files[i].key.inode) = (uint32_t)i + 1;
}

/* The first row that is added makes the list ours: until then it is the arena's. */
static void
grow_files(struct known *known)
{
	size_t capacity = known->count + known->count / 2 + 64;
	bool ours = known->capacity > 0;
	struct known_file *files = ours ? xrealloc(known->files, capacity * sizeof *files) : xmalloc(capacity * sizeof *files);

	if (!ours && known->count > 0)
		memcpy(files, known->files, known->count * sizeof *files);
	known->files = files;
	known->capacity = capacity;
}

/* With the mutex held. A row that changes is appended anew: rows before `saved` are as the memory has them. */
static void
add(struct known *known, const struct stat_key *key, const struct digest *digest, int64_t hashed_ns)
{
	if (known->count >= known->capacity)
		grow_files(known);
	known->files[known->count++] = (struct known_file){ .key = *key, .hashed_ns = hashed_ns, .digest = *digest };
	if (2 * (known->count + 8) > known->slot_count)
		grow_slots(known);
	*probe(known, key->device, key->inode) = (uint32_t)known->count;
}

void
known_init(struct known *known, const struct memory *memory, struct arena *arena)
{
	*known = (struct known){ .memory = memory, .arena = arena, .fine_ns = kernel_is_multigrain() ? 0 : TICK_NS };
	pthread_mutex_init(&known->mutex, NULL);
	grow_slots(known);
}

void
known_ask_singly(struct known *known)
{
	known->singly = known->memory != NULL;
}

bool
known_load(struct known *known, struct error *err)
{
	const struct memory *memory = known->memory;
	struct known_file *loaded, *before = known->files;
	size_t count, count_before = known->count;
	bool ours = known->capacity > 0;

	if (!memory)
		return true;
	if (!memory->files(memory->self, known->arena, &loaded, &count, err))
		return false;
	known->memory = NULL;
	known->singly = false;
	known->files = loaded;
	known->count = known->saved = count;
	known->capacity = 0;
	grow_slots(known);
	for (size_t i = 0; i < count_before; i++)
		add(known, &before[i].key, &before[i].digest, before[i].hashed_ns);
	if (ours)
		free(before);
	return true;
}

void
known_finish(struct known *known)
{
	known_hold_still(known, false);
	if (known->capacity > 0)
		free(known->files);
	free(known->slots);
	if (known->slot_count)
		pthread_mutex_destroy(&known->mutex);
}

static bool
is_racy(const struct known_file *file, int64_t grain)
{
	return file->key.mtime_ns + grain >= file->hashed_ns || file->key.ctime_ns + grain >= file->hashed_ns;
}

/* With the mutex held: the row that may be believed, or NULL. */
static const struct known_file *
find(const struct known *known, const struct stat_key *key, int64_t grain)
{
	uint32_t slot = *probe(known, key->device, key->inode);
	const struct known_file *file = slot ? &known->files[slot - 1] : NULL;

	return file && stat_key_equal(&file->key, key) && !is_racy(file, grain) ? file : NULL;
}

static bool
open_regular(const char *path, int *fd, struct stat_key *key, struct error *err)
{
	struct stat st;

	*fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (*fd < 0 || fstat(*fd, &st) != 0)
		return fail_errno(err, "open `%s`", path);
	if (!S_ISREG(st.st_mode))
		return fail(err, FAULT_IO, "`%s` is no regular file", path);
	*key = stat_key_of(&st);
	return true;
}

/* Read the file; it must not change meanwhile. */
static bool
hash(struct known *known, const char *path, const atomic_bool *cancel, struct digest *digest, struct stat_key *key, struct error *err)
{
	int fd finally(close_fd) = -1;
	int64_t began = clock_now_ns();
	struct stat_key before, after;
	struct digest found;
	struct stat st;
	uint64_t size;

	if (!open_regular(path, &fd, &before, err))
		return false;
	if (!digest_fd(fd, &found, &size, cancel, err))
		return error_wrap(err, "read `%s`", path);
	if (fstat(fd, &st) != 0)
		return fail_errno(err, "stat `%s`", path);
	after = stat_key_of(&st);
	if (!stat_key_equal(&before, &after))
		return fail(err, FAULT_INPUT_CHANGED, "`%s` changed while it was being read", path);
	*digest = found;
	*key = before;
	pthread_mutex_lock(&known->mutex);
	known->hashes++;
	add(known, key, digest, began);
	pthread_mutex_unlock(&known->mutex);
	return true;
}

void
known_hold_still(struct known *known, bool still)
{
	known->still = still;
	known->elsewhere = false;
	sights_finish(&known->sights);
	free(known->trail);
	known->trail = NULL;
	known->trail_count = known->trail_capacity = 0;
}

static void
note(struct known *known, size_t sight)
{
	if (known->trail_count == known->trail_capacity) {
		known->trail_capacity = known->trail_capacity ? known->trail_capacity * 2 : 256;
		known->trail = xrealloc(known->trail, known->trail_capacity * sizeof *known->trail);
	}
	known->trail[known->trail_count++] = (uint32_t)sight;
}

/* With the mutex held. A memory that cannot be read now leaves the file unknown: it is read instead. */
static void
ask(struct known *known, const struct stat_key *key)
{
	struct known_file file;
	struct error ignored;
	bool found;

	if (*probe(known, key->device, key->inode))
		return;
	if (known->memory->file(known->memory->self, key->device, key->inode, &file, &found, &ignored) && found)
		add(known, &file.key, &file.digest, file.hashed_ns);
}

/* By stat data if that may be believed, else by reading. */
static bool
look(struct known *known, const char *path, bool deep, const atomic_bool *cancel, struct digest *digest, struct stat_key *key, struct error *err)
{
	const struct known_file *file = NULL;
	struct stat st;

	if (stat(path, &st) != 0)
		return fail_errno(err, "look at `%s`", path);
	*key = stat_key_of(&st);
	if (!deep) {
		pthread_mutex_lock(&known->mutex);
		if (known->singly && known->still)
			ask(known, key);
		file = find(known, key, granularity(known, path, key->device));
		if (file) {
			*digest = file->digest;
			known->stats++;
		}
		pthread_mutex_unlock(&known->mutex);
	}
	return file || hash(known, path, cancel, digest, key, err);
}

/* One look serves all that ask for a path, and the trail tells who did. */
static bool
look_once(struct known *known, const char *path, bool deep, const atomic_bool *cancel, struct digest *digest, struct stat_key *key, struct error *err)
{
	const struct sight *sight = sights_find(&known->sights, path);

	if (!sight) {
		/* What is not there may be why a target is as it is, and has no stat data to tell it by. */
		if (!look(known, path, deep, cancel, digest, key, err)) {
			known->elsewhere = true;
			return false;
		}
		sight = sights_add(&known->sights, path, key, digest);
	}
	*digest = sight->digest;
	*key = sight->key;
	note(known, (size_t)(sight - known->sights.items));
	return true;
}

bool
known_digest(struct known *known, const char *path, bool deep, const atomic_bool *cancel, struct digest *digest, struct stat_key *key,
	struct error *err)
{
	struct stat_key seen;
	bool ok = known->still ? look_once(known, path, deep, cancel, digest, &seen, err) : look(known, path, deep, cancel, digest, &seen, err);

	if (ok && key)
		*key = seen;
	return ok;
}

void
known_add(struct known *known, const struct stat_key *key, const struct digest *digest, int64_t hashed_ns)
{
	pthread_mutex_lock(&known->mutex);
	add(known, key, digest, hashed_ns);
	pthread_mutex_unlock(&known->mutex);
}

bool
known_has(struct known *known, const struct stat_key *key, const struct digest *digest)
{
	const struct known_file *file;
	bool has;

	pthread_mutex_lock(&known->mutex);
	file = find(known, key, granularity(known, NULL, key->device));
	has = file && digest_equal(&file->digest, digest);
	known->stats += has;
	pthread_mutex_unlock(&known->mutex);
	return has;
}

bool
known_saw(struct known *known, const struct stat_key *key, const struct digest *digest)
{
	const struct known_file *file;
	uint32_t slot;
	bool saw;

	pthread_mutex_lock(&known->mutex);
	slot = *probe(known, key->device, key->inode);
	file = slot ? &known->files[slot - 1] : NULL;
	saw = file && stat_key_equal(&file->key, key) && digest_equal(&file->digest, digest);
	pthread_mutex_unlock(&known->mutex);
	return saw;
}

size_t
known_take_new(struct known *known, struct known_file **files)
{
	size_t count;

	pthread_mutex_lock(&known->mutex);
	count = known->count - known->saved;
	*files = NULL;
	if (count) {
		*files = xmalloc(count * sizeof **files);
		memcpy(*files, &known->files[known->saved], count * sizeof **files);
	}
	known->saved = known->count;
	pthread_mutex_unlock(&known->mutex);
	return count;
}
