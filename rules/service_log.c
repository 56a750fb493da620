#include "service_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/file.h"
#include "engine/task.h"

#define KEPT_LOGS 3 /* of instances that are gone, for whoever asks what ended them */
#define LOG_LIMIT ((off_t)64 << 20)
#define TAIL_SIZE ((off_t)16 << 20)
#define CHUNK ((size_t)1 << 20)

/* A log that no instance writes any more. */
struct old_log {
	const char *path;
	struct timespec changed;
};

struct old_logs {
	struct old_log *items;
	size_t count;
	size_t capacity;
};

static void
close_directory(DIR **directory)
{
	if (*directory)
		closedir(*directory);
}

static const char *
runtime_directory(const char *state_dir, struct arena *arena)
{
	return arena_printf(arena, "%s/runtime", state_dir);
}

/* DEPLOYMENT.TARGET., and behind it REPLICA-INTENT.log. */
static const char *
log_prefix(struct task *task, struct arena *arena)
{
	return arena_printf(arena, "%s.%s.", task_deployment(task), task_target(task));
}

static const char *
cut_tail_path(const char *log, struct arena *arena)
{
	return arena_printf(arena, "%s.1", log);
}

bool
service_place_log(struct site *site, struct instance *instance, struct error *err)
{
	const char *runtime = runtime_directory(task_state_dir(site->task), site->arena);

	instance->log = arena_printf(site->arena, "%s/%s%lld-%s.log", runtime, log_prefix(site->task, site->arena), (long long)instance->replica,
		instance->intent);
	return file_make_dirs(runtime, 0700, err);
}

bool
service_remove_log(const char *log, struct arena *arena, struct error *err)
{
	if (unlink(cut_tail_path(log, arena)) != 0 && errno != ENOENT)
		return fail_errno(err, "remove `%s.1`", log);
	return unlink(log) == 0 || errno == ENOENT || fail_errno(err, "remove `%s`", log);
}

static bool
is_kept(const struct instances *keep, const char *path)
{
	for (size_t i = 0; i < keep->count; i++)
		if (keep->items[i].log && strcmp(path_base(keep->items[i].log), path_base(path)) == 0)
			return true;
	return false;
}

static int
newest_first(const void *a, const void *b)
{
	const struct timespec *x = &((const struct old_log *)a)->changed, *y = &((const struct old_log *)b)->changed;

	if (x->tv_sec != y->tv_sec)
		return x->tv_sec > y->tv_sec ? -1 : 1;
	return x->tv_nsec == y->tv_nsec ? 0 : x->tv_nsec > y->tv_nsec ? -1 : 1;
}

/* A target's name begins with a letter: where a digit follows, the log is of no longer name (`a.b` and `c`, where ours are `a` and `b`). */
static bool
is_log_of(const char *name, const char *prefix)
{
	size_t length = strlen(prefix);

	return text_starts(name, prefix) && name[length] >= '0' && name[length] <= '9' && text_ends(name, ".log");
}

static void
list_old_logs(struct site *site, const struct instances *keep, struct old_logs *logs)
{
	const char *runtime = runtime_directory(task_state_dir(site->task), site->arena), *prefix = log_prefix(site->task, site->arena);
	DIR *directory finally(close_directory) = opendir(runtime);
	const struct dirent *entry;
	struct stat st;

	while (directory && (entry = readdir(directory))) {
		const char *path = path_join(site->arena, runtime, entry->d_name);

		if (!is_log_of(entry->d_name, prefix) || is_kept(keep, path) || stat(path, &st) != 0)
			continue;
		if (logs->count == logs->capacity)
			logs->items = arena_grow(site->arena, logs->items, logs->count, &logs->capacity, sizeof *logs->items);
		logs->items[logs->count++] = (struct old_log){ path, st.st_mtim };
	}
}

bool
service_prune_logs(struct site *site, const struct instances *keep, struct error *err)
{
	struct old_logs logs = { 0 };

	list_old_logs(site, keep, &logs);
	if (logs.count > KEPT_LOGS)
		qsort(logs.items, logs.count, sizeof *logs.items, newest_first);
	for (size_t i = KEPT_LOGS; i < logs.count; i++)
		if (!service_remove_log(logs.items[i].path, site->arena, err))
			return false;
	return true;
}

static bool
copy_tail(int from, off_t offset, const char *path, struct error *err)
{
	int to finally(close_fd) = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	char *bytes finally(free_text) = xmalloc(CHUNK);
	size_t got;

	if (to < 0)
		return fail_errno(err, "make `%s`", path);
	do {
		if (!file_pread_all(from, bytes, CHUNK, (uint64_t)offset, &got, err) || !file_write_all(to, bytes, got, err))
			return error_wrap(err, "`%s`", path);
		offset += (off_t)got;
	} while (got == CHUNK);
	return true;
}

/* The server has it open for appending, so that it goes on at the beginning. What it writes between our last look and the cut is lost, as with any log that is cut under
 * its writer. */
static bool
cut(const char *path, struct arena *arena, struct error *err)
{
	int fd finally(close_fd) = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) != 0)
		return errno == ENOENT || fail_errno(err, "log `%s`", path);
	if (!S_ISREG(st.st_mode) || st.st_size <= LOG_LIMIT)
		return true;
	/* On a full disk the tail is given up rather than the space. */
	struct error ignored;
	if (!copy_tail(fd, st.st_size - TAIL_SIZE, cut_tail_path(path, arena), &ignored))
		unlink(cut_tail_path(path, arena));
	return ftruncate(fd, 0) == 0 || fail_errno(err, "cut the log `%s`", path);
}

bool
service_cut_logs(const char *state_dir, struct arena *arena, struct error *err)
{
	const char *runtime = runtime_directory(state_dir, arena);
	DIR *directory finally(close_directory) = opendir(runtime);
	const struct dirent *entry;

	if (!directory)
		return errno == ENOENT || fail_errno(err, "read `%s`", runtime);
	while ((entry = readdir(directory)))
		if (text_ends(entry->d_name, ".log") && !cut(path_join(arena, runtime, entry->d_name), arena, err))
			return false;
	return true;
}
