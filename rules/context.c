#include "context.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/file.h"
#include "engine/base/strings.h"
#include "engine/task.h"

#define FILE_LIMIT 100000
#define DEPTH_LIMIT 100
#define IGNORE_LIMIT (1u << 20)

/* One reading of a context. */
struct walk {
	struct task *task;
	struct arena *arena;
	const char *directory;
	const char *dockerfile; /* relative to the context; NULL: it lies elsewhere */
	struct ignore ignore;
	struct context_file *files;
	size_t count;
	size_t capacity;
};

/* One directory on the way down. */
struct level {
	int fd;
	const char *path;   /* relative; "" at the top */
	const bool *above;  /* what each rule says of it, NULL at the top */
	unsigned depth;
};

static void
close_directory(DIR **directory)
{
	if (*directory)
		closedir(*directory);
}

static const char *
join_relative(struct arena *arena, const char *directory, const char *name)
{
	return *directory ? arena_printf(arena, "%s/%s", directory, name) : arena_copy(arena, name);
}

/* `path` as seen from `directory` if it lies below it, else NULL. */
static const char *
below(const char *directory, const char *path)
{
	size_t length = strlen(directory);

	while (length > 1 && directory[length - 1] == '/')
		length--;
	if (strncmp(path, directory, length) != 0 || path[length] != '/')
		return NULL;
	return path + length + 1;
}

static bool
add(struct walk *walk, const struct context_file *file, struct error *err)
{
	if (walk->count == FILE_LIMIT)
		return fail(err, FAULT_TOO_LARGE, "build context `%s` holds more than %d files; leave out what the build does not need by a `.dockerignore`",
			walk->directory, FILE_LIMIT);
	if (walk->count == walk->capacity)
		walk->files = arena_grow(walk->arena, walk->files, walk->count, &walk->capacity, sizeof *walk->files);
	walk->files[walk->count++] = *file;
	return true;
}

static bool
add_link(struct walk *walk, int directory, const char *name, struct context_file *file, struct error *err)
{
	char target[PATH_MAX];
	ssize_t size = readlinkat(directory, name, target, sizeof target);

	if (size < 0)
		return fail_errno(err, "read the symlink `%s/%s`", walk->directory, file->path);
	digest_of(target, (size_t)size, &file->digest);
	file->size = (uint64_t)size;
	return add(walk, file, err);
}

static bool
add_file(struct walk *walk, const struct stat *st, struct context_file *file, struct error *err)
{
	const char *path = arena_printf(walk->arena, "%s/%s", walk->directory, file->path);
	struct stat_key seen = stat_key_of(st);
	struct stat_key hashed;

	if (!task_digest(walk->task, path, &file->digest, &hashed, err))
		return error_wrap(err, "build context");
	/* The digest goes by path: another file may have taken the place of the one that was listed, by a symlink even. */
	if (!stat_key_equal(&seen, &hashed))
		return fail(err, FAULT_INPUT_CHANGED, "`%s` changed while the build context was read", path);
	file->size = (uint64_t)st->st_size;
	return add(walk, file, err);
}

static bool read_level(struct walk *walk, const struct level *level, struct error *err);

static bool
add_directory(struct walk *walk, const struct level *level, const char *name, const struct context_file *file, const bool *own, bool ignored,
	struct error *err)
{
	bool holds_dockerfile = walk->dockerfile && below(file->path, walk->dockerfile);
	int fd finally(close_fd) = -1;
	struct level next = { .path = file->path, .above = own, .depth = level->depth + 1 };

	if (ignored && !holds_dockerfile && !ignore_enters(&walk->ignore, file->path))
		return true;
	if (!ignored && !add(walk, file, err))
		return false;
	if (next.depth > DEPTH_LIMIT)
		return fail(err, FAULT_TOO_LARGE, "build context `%s` is deeper than %d directories at `%s`", walk->directory, DEPTH_LIMIT, file->path);
	fd = openat(level->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return fail_errno(err, "open `%s/%s`", walk->directory, file->path);
	next.fd = fd;
	return read_level(walk, &next, err);
}

static const char *
type_name(mode_t mode)
{
	return S_ISFIFO(mode) ? "a FIFO" : S_ISSOCK(mode) ? "a socket" : "a device";
}

static bool
add_entry(struct walk *walk, const struct level *level, const char *name, struct error *err)
{
	struct context_file file = { .path = join_relative(walk->arena, level->path, name) };
	bool *own = arena_array(walk->arena, walk->ignore.count + 1, sizeof *own);
	bool ignored = ignore_step(&walk->ignore, file.path, level->above, own);
	struct stat st;

	if (fstatat(level->fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return errno == ENOENT ? fail(err, FAULT_INPUT_CHANGED, "`%s/%s` vanished while the build context was read", walk->directory, file.path)
				       : fail_errno(err, "look at `%s/%s`", walk->directory, file.path);
	file.mode = st.st_mode;
	if (S_ISDIR(st.st_mode))
		return add_directory(walk, level, name, &file, own, ignored, err);
	if (ignored && !text_equal(file.path, walk->dockerfile))
		return true;
	if (S_ISREG(st.st_mode))
		return add_file(walk, &st, &file, err);
	if (S_ISLNK(st.st_mode))
		return add_link(walk, level->fd, name, &file, err);
	fail(err, FAULT_BAD_VALUE, "`%s/%s` is %s: no builder can take it", walk->directory, file.path, type_name(st.st_mode));
	return error_hint(err, "remove it, or leave it out by a line `%s` in `.dockerignore`", file.path);
}

static bool
read_level(struct walk *walk, const struct level *level, struct error *err)
{
	int fd = openat(level->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *directory finally(close_directory) = fd < 0 ? NULL : fdopendir(fd);
	const atomic_bool *cancel = task_cancel(walk->task);
	const struct dirent *entry;

	if (!directory) {
		close_fd(&fd);
		return fail_errno(err, "open `%s/%s`", walk->directory, level->path);
	}
	while (errno = 0, (entry = readdir(directory)) != NULL) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (cancel && *cancel)
			return fail(err, FAULT_INTERRUPTED, "interrupted while reading the build context `%s`", walk->directory);
		if (!add_entry(walk, level, entry->d_name, err))
			return false;
	}
	return errno == 0 || fail_errno(err, "read `%s/%s`", walk->directory, level->path);
}

static int
by_path(const void *a, const void *b)
{
	const struct context_file *left = a, *right = b;

	return strcmp(left->path, right->path);
}

static void
fold(const struct walk *walk, struct digest *digest)
{
	struct hasher hasher finally(hasher_finish) = { 0 };

	hasher_init(&hasher);
	for (size_t i = 0; i < walk->count; i++) {
		const struct context_file *file = &walk->files[i];
		unsigned char mode[4] = {
			(unsigned char)file->mode, (unsigned char)(file->mode >> 8), (unsigned char)(file->mode >> 16), (unsigned char)(file->mode >> 24),
		};

		hasher_add_field(&hasher, file->path, strlen(file->path));
		hasher_add_field(&hasher, mode, sizeof mode);
		hasher_add_field(&hasher, file->digest.bytes, sizeof file->digest.bytes);
	}
	hasher_digest(&hasher, digest);
}

static bool
is_there(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0;
}

const char *
context_ignore_file(struct task *task, const char *directory, const char *dockerfile)
{
	struct arena *arena = task_arena(task);
	const char *own = arena_printf(arena, "%s.dockerignore", dockerfile);
	const char *common = path_join(arena, directory, ".dockerignore");

	return is_there(own) ? own : is_there(common) ? common : NULL;
}

bool
context_load(const char *path, size_t limit, struct arena *arena, const char **text, size_t *size, struct error *err)
{
	struct stat st;

	/* Reading a FIFO would wait for ever. */
	if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
		return fail(err, FAULT_BAD_VALUE, "`%s` is no file", path);
	return file_load(path, limit, arena, text, size, err);
}

static bool
read_ignore(struct walk *walk, const char *dockerfile, struct error *err)
{
	const char *path = context_ignore_file(walk->task, walk->directory, dockerfile);
	const char *text;
	size_t size;

	if (!path)
		return true;
	if (!context_load(path, IGNORE_LIMIT, walk->arena, &text, &size, err))
		return false;
	return ignore_parse(text, size, walk->arena, &walk->ignore, err) || error_wrap(err, "`%s`", path);
}

bool
context_read(struct task *task, const char *directory, const char *dockerfile, struct context_file **files, size_t *count, struct digest *digest,
	struct error *err)
{
	struct walk walk = { .task = task, .arena = task_arena(task), .directory = directory, .dockerfile = below(directory, dockerfile) };
	int fd finally(close_fd) = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct level top = { .fd = fd, .path = "" };

	if (fd < 0)
		return fail_errno(err, "open the build context `%s`", directory);
	if (!read_ignore(&walk, dockerfile, err) || !read_level(&walk, &top, err))
		return false;
	if (walk.count > 0)
		qsort(walk.files, walk.count, sizeof *walk.files, by_path);
	fold(&walk, digest);
	*files = walk.files;
	*count = walk.count;
	return true;
}
