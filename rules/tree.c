#include "tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/file.h"
#include "engine/base/strings.h"
#include "engine/task.h"

/* Deeper than this only a loop of mounts goes; more files are no output of one command. */
#define DEEPEST 64
#define MOST_ENTRIES 1000000

static int
compare(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Takes the descriptor over. */
static bool
list(int fd, const char *path, struct arena *arena, struct strings *names, struct error *err)
{
	DIR *dir finally(close_dir) = fdopendir(fd);
	const struct dirent *entry;

	if (!dir) {
		close(fd);
		return fail_errno(err, "read the directory `%s`", path);
	}
	while (errno = 0, (entry = readdir(dir)) != NULL)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			strings_add(names, arena, arena_copy(arena, entry->d_name));
	if (errno != 0)
		return fail_errno(err, "read the directory `%s`", path);
	if (names->count > 1)
		qsort(names->items, names->count, sizeof *names->items, compare);
	return true;
}

static int
open_directory(int at, const char *name)
{
	return openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* One walk over a tree for its digest. */
struct walk {
	struct task *task;
	struct arena arena;
	struct hasher hasher;
	size_t root_length; /* of the path that is cut off in front of what is hashed */
	size_t entries;
	uint64_t bytes;
};

static void
walk_finish(struct walk *walk)
{
	hasher_finish(&walk->hasher);
	arena_finish(&walk->arena);
}

static void
add_entry(struct walk *walk, char kind, const char *path, const void *content, size_t size)
{
	hasher_add_field(&walk->hasher, &kind, 1);
	hasher_add_field(&walk->hasher, path + walk->root_length, strlen(path + walk->root_length));
	hasher_add_field(&walk->hasher, content, size);
}

static bool walk_directory(struct walk *walk, const char *path, unsigned depth, struct error *err);

static bool
walk_entry(struct walk *walk, const char *path, unsigned depth, struct error *err)
{
	char target[PATH_MAX];
	struct digest digest;
	struct stat st;
	ssize_t length;

	if (++walk->entries > MOST_ENTRIES)
		return fail(err, FAULT_TOO_LARGE, "more than %d files", MOST_ENTRIES);
	if (lstat(path, &st) < 0)
		return fail_errno(err, "`%s`", path);
	switch (st.st_mode & S_IFMT) {
	case S_IFREG:
		if (!task_digest(walk->task, path, &digest, NULL, err))
			return false;
		add_entry(walk, st.st_mode & S_IXUSR ? 'x' : 'f', path, digest.bytes, DIGEST_SIZE);
		walk->bytes += (uint64_t)st.st_size;
		return true;
	case S_IFLNK:
		length = readlink(path, target, sizeof target);
		if (length < 0)
			return fail_errno(err, "read the symbolic link `%s`", path);
		add_entry(walk, 'l', path, target, (size_t)length);
		return true;
	case S_IFDIR:
		add_entry(walk, 'd', path, "", 0);
		return walk_directory(walk, path, depth + 1, err);
	default:
		return fail(err, FAULT_IO, "`%s` is neither file, directory nor symbolic link", path);
	}
}

static bool
walk_directory(struct walk *walk, const char *path, unsigned depth, struct error *err)
{
	struct strings names = { 0 };
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return fail_errno(err, "open the directory `%s`", path);
	if (depth > DEEPEST) {
		close(fd);
		return fail(err, FAULT_TOO_LARGE, "`%s` lies more than %d directories deep", path, DEEPEST);
	}
	if (!list(fd, path, &walk->arena, &names, err))
		return false;
	for (size_t i = 0; i < names.count; i++)
		if (!walk_entry(walk, path_join(&walk->arena, path, names.items[i]), depth, err))
			return false;
	return true;
}

bool
tree_digest(struct task *task, const char *path, struct digest *digest, uint64_t *bytes, struct error *err)
{
	struct walk walk finally(walk_finish) = { .task = task, .root_length = strlen(path) };

	task_looked_elsewhere(task);
	hasher_init(&walk.hasher);
	if (!walk_directory(&walk, path, 0, err))
		return error_wrap(err, "the directory `%s`", path);
	hasher_digest(&walk.hasher, digest);
	if (bytes)
		*bytes = walk.bytes;
	return true;
}

static bool
sync_fd(int fd, const char *path, struct error *err)
{
	return fsync(fd) == 0 || errno == EINVAL || fail_errno(err, "sync `%s`", path);
}

static bool
sync_below(int at, const char *name, const char *path, unsigned depth, struct error *err)
{
	struct arena arena finally(arena_finish) = { 0 };
	struct strings names = { 0 };
	int fd finally(close_fd) = open_directory(at, name);
	int listed;

	if (fd < 0)
		return fail_errno(err, "open the directory `%s`", path);
	if (depth > DEEPEST)
		return fail(err, FAULT_TOO_LARGE, "`%s` lies more than %d directories deep", path, DEEPEST);
	listed = open_directory(fd, ".");
	if (listed < 0)
		return fail_errno(err, "open the directory `%s`", path);
	if (!list(listed, path, &arena, &names, err))
		return false;
	for (size_t i = 0; i < names.count; i++) {
		const char *below = path_join(&arena, path, names.items[i]);
		int file finally(close_fd) = -1;
		struct stat st;

		if (fstatat(fd, names.items[i], &st, AT_SYMLINK_NOFOLLOW) < 0)
			return fail_errno(err, "`%s`", below);
		if (S_ISDIR(st.st_mode) && !sync_below(fd, names.items[i], below, depth + 1, err))
			return false;
		if (!S_ISREG(st.st_mode))
			continue;
		file = openat(fd, names.items[i], O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		if (file < 0)
			return fail_errno(err, "open `%s`", below);
		if (!sync_fd(file, below, err))
			return false;
	}
	return sync_fd(fd, path, err);
}

bool
tree_sync(const char *path, struct error *err)
{
	struct arena arena finally(arena_finish) = { 0 };

	return sync_below(AT_FDCWD, path, path, 0, err) && file_sync_dir(path_dir(&arena, path), err);
}

static bool
remove_below(int fd, dev_t device, const char *path, unsigned depth, struct error *err)
{
	struct arena arena finally(arena_finish) = { 0 };
	struct strings names = { 0 };
	int listed = open_directory(fd, ".");

	if (listed < 0)
		return fail_errno(err, "open the directory `%s`", path);
	if (!list(listed, path, &arena, &names, err))
		return false;
	for (size_t i = 0; i < names.count; i++) {
		const char *name = names.items[i];
		const char *below = path_join(&arena, path, name);
		int inner finally(close_fd) = -1;
		struct stat st;

		if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return fail_errno(err, "`%s`", below);
		if (S_ISDIR(st.st_mode)) {
			if (st.st_dev != device)
				return fail(err, FAULT_NOT_OURS, "`%s` is another file system: it stays", below);
			if (depth >= DEEPEST)
				return fail(err, FAULT_TOO_LARGE, "`%s` lies more than %d directories deep", below, DEEPEST);
			inner = open_directory(fd, name);
			if (inner < 0)
				return fail_errno(err, "open the directory `%s`", below);
			if (!remove_below(inner, device, below, depth + 1, err))
				return false;
		}
		if (unlinkat(fd, name, S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0) < 0)
			return fail_errno(err, "remove `%s`", below);
	}
	return true;
}

bool
tree_remove(const char *path, struct error *err)
{
	struct arena arena finally(arena_finish) = { 0 };
	int fd finally(close_fd) = open_directory(AT_FDCWD, path);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return fail_errno(err, "open the directory `%s`", path);
	if (!remove_below(fd, st.st_dev, path, 0, err))
		return false;
	if (rmdir(path) < 0)
		return fail_errno(err, "remove `%s`", path);
	return file_sync_dir(path_dir(&arena, path), err);
}
