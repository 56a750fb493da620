#include "fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/path.h"
#include "engine/task.h"

#define TICK_NS INT64_C(25000000)     /* beyond the tick of a slow kernel clock */
#define COARSE_NS INT64_C(2050000000) /* beyond the two seconds of file systems about which nothing is known */
#define DEAR ((uint64_t)4 << 30)

bool
fetch_parse_mode(const char *text, mode_t *mode)
{
	size_t digits = strspn(text, "01234567");

	if (digits < 3 || digits > 4 || text[digits] != '\0')
		return false;
	*mode = (mode_t)strtoul(text, NULL, 8);
	return (*mode & ~(mode_t)0777) == 0 && (*mode & 0400);
}

static enum fetch_state
look_at_bytes(struct task *task, const struct artifact *artifact, const char **what)
{
	struct error err = { 0 };
	struct digest found;

	if (!task_digest(task, artifact->name, &found, NULL, &err)) {
		*what = arena_printf(task_arena(task), "cannot be read: %s", err.text);
		return err.fault == FAULT_IO ? FETCH_UNKNOWN : FETCH_DIFFERS;
	}
	if (digest_equal(&found, &artifact->digest))
		return FETCH_SAME;
	*what = "differs";
	return FETCH_DIFFERS;
}

enum fetch_state
fetch_look(struct task *task, const struct artifact *artifact, const char **what)
{
	struct stat_key key;
	struct stat st;

	*what = "missing";
	if (lstat(artifact->name, &st) != 0) {
		int number = errno;

		if (path_errno_tells(number))
			return FETCH_MISSING;
		*what = arena_printf(task_arena(task), "cannot be looked at: %s", strerrordesc_np(number));
		return FETCH_UNKNOWN;
	}
	if (!S_ISREG(st.st_mode)) {
		*what = "no plain file any more";
		return FETCH_DIFFERS;
	}
	if ((uint64_t)st.st_size != artifact->size) {
		*what = arena_printf(task_arena(task), "%s (have %" PRIu64 ", want %" PRIu64 " bytes)",
			(uint64_t)st.st_size < artifact->size ? "truncated" : "too long", (uint64_t)st.st_size, artifact->size);
		return FETCH_DIFFERS;
	}
	key = stat_key_of(&st);
	return task_knows(task, &key, &artifact->digest) ? FETCH_SAME : look_at_bytes(task, artifact, what);
}

/* Directories that are empty now, from the inside out; the first that is not ends it. */
static void
remove_empty(int dirfd, char *name)
{
	for (char *slash = strrchr(name, '/'); slash; slash = strrchr(name, '/')) {
		const char *last;
		int parent finally(close_fd) = -1;

		*slash = '\0';
		parent = path_open_parent(dirfd, name, false, &last);
		if (parent < 0 || unlinkat(parent, last, AT_REMOVEDIR) != 0)
			return;
	}
}

bool
fetch_remove(struct task *task, const char *dir, const struct artifact *artifact, struct error *err)
{
	const char *name = path_shown(task_arena(task), dir, artifact->name), *last, *what;
	int dirfd finally(close_fd) = -1, parent finally(close_fd) = -1;
	enum fetch_state state = fetch_look(task, artifact, &what);

	if (artifact->size > TRANSFER_PIECE)
		task_checkpoint_done(task, transfer_key(&artifact->digest, dir, name, task_arena(task)));
	if (state == FETCH_MISSING)
		return true;
	if (state == FETCH_UNKNOWN)
		return fail(err, FAULT_IO, "remove `%s`: it %s", artifact->name, what);
	if (state == FETCH_DIFFERS || *name == '/') {
		task_log(task, "left `%s`: it is not what was put there (%s)", artifact->name, state == FETCH_DIFFERS ? what : "outside");
		return true;
	}
	if (!path_open_dir(dir, false, &dirfd, err))
		return false;
	parent = path_open_parent(dirfd, name, false, &last);
	if (parent < 0 || (unlinkat(parent, last, 0) != 0 && errno != ENOENT))
		return fail_errno(err, "remove `%s`", artifact->name);
	if (fsync(parent) != 0 && errno != EINVAL)
		return fail_errno(err, "sync the directory of `%s`", artifact->name);
	remove_empty(dirfd, arena_copy(task_arena(task), name));
	return true;
}

static bool
load(void *context, const char *key, struct arena *arena, const void **bytes, size_t *size, struct error *err)
{
	struct fetch *fetch = context;

	return task_checkpoint(fetch->task, key, arena, bytes, size, err);
}

static bool
save(void *context, const char *key, const void *bytes, size_t size, struct error *err)
{
	struct fetch *fetch = context;

	return task_save_checkpoint(fetch->task, key, bytes, size, err);
}

/* One file at a time, until it is here: what changes with each block nobody can read. */
static void
tell_file(struct fetch *fetch, const struct transfer *transfer)
{
	const struct transfer *shown = fetch->shown;

	if (!fetch->many || transfer->size == UINT64_MAX || (shown && shown != transfer && shown->arrived < shown->size))
		return;
	fetch->shown = transfer;
	task_progress_file(fetch->task, transfer->name, transfer->arrived, transfer->size);
}

static void
progress(void *context, const struct transfer *transfer, uint64_t bytes)
{
	struct fetch *fetch = context;
	uint64_t done = atomic_fetch_add(&fetch->done, bytes) + bytes;

	/* Bytes that came twice count twice; more than all is shown as all. */
	if (fetch->total && done > fetch->total)
		done = fetch->total;
	tell_file(fetch, transfer);
	task_progress(fetch->task, fetch->stage, done, fetch->total, "bytes");
}

void
fetch_connect(struct fetch *fetch, struct transfer *transfer)
{
	transfer->run = task_run(fetch->task);
	if (!transfer->cancel)
		transfer->cancel = task_cancel(fetch->task);
	transfer->context = fetch;
	transfer->load = load;
	transfer->save = save;
	transfer->progress = progress;
}

int64_t
fetch_settle(struct task *task, int64_t ctime_ns, uint64_t bytes)
{
	int64_t until = ctime_ns + (bytes >= DEAR ? COARSE_NS : TICK_NS), now = clock_now_ns();

	/* A time stamp from a clock that runs ahead is not waited for. */
	if (now < until && until - now <= COARSE_NS)
		clock_sleep_ms((until - now) / 1000000 + 1, task_cancel(task));
	return clock_now_ns();
}
