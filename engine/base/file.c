#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "arena.h"
#include "cleanup.h"
#include "digest.h"

/* Larger reads and writes are cut by the kernel anyway; this keeps ssize_t and off_t out of reach. */
#define LARGEST_CALL ((size_t)1 << 30)

static int64_t
nanoseconds(struct timespec time)
{
	return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

struct stat_key
stat_key_of(const struct stat *st)
{
	return (struct stat_key){
		.device = st->st_dev,
		.inode = st->st_ino,
		.size = (uint64_t)st->st_size,
		.mtime_ns = nanoseconds(st->st_mtim),
		.ctime_ns = nanoseconds(st->st_ctim),
	};
}

bool
stat_key_equal(const struct stat_key *a, const struct stat_key *b)
{
	return a->device == b->device && a->inode == b->inode && a->size == b->size && a->mtime_ns == b->mtime_ns &&
	       a->ctime_ns == b->ctime_ns;
}

static size_t
piece(size_t size)
{
	return size < LARGEST_CALL ? size : LARGEST_CALL;
}

/* `offset` counts for the positioned calls only; the others leave it at NULL. */
static bool
read_all(int fd, void *bytes, size_t size, const uint64_t *offset, size_t *got, struct error *err)
{
	unsigned char *to = bytes;
	size_t done = 0;

	while (done < size) {
		ssize_t count = offset ? pread(fd, to + done, piece(size - done), (off_t)(*offset + done))
				       : read(fd, to + done, piece(size - done));

		if (count == 0)
			break;
		if (count < 0 && errno != EINTR)
			return fail_errno(err, "read");
		if (count > 0)
			done += (size_t)count;
	}
	*got = done;
	return true;
}

static bool
write_all(int fd, const void *bytes, size_t size, const uint64_t *offset, struct error *err)
{
	const unsigned char *from = bytes;
	size_t done = 0;

	while (done < size) {
		ssize_t count = offset ? pwrite(fd, from + done, piece(size - done), (off_t)(*offset + done))
				       : write(fd, from + done, piece(size - done));

		if (count == 0)
			errno = EIO;
		if (count == 0 || (count < 0 && errno != EINTR))
			return fail_errno(err, "write");
		if (count > 0)
			done += (size_t)count;
	}
	return true;
}

bool
file_read_all(int fd, void *bytes, size_t size, size_t *got, struct error *err)
{
	return read_all(fd, bytes, size, NULL, got, err);
}

bool
file_pread_all(int fd, void *bytes, size_t size, uint64_t offset, size_t *got, struct error *err)
{
	return read_all(fd, bytes, size, &offset, got, err);
}

bool
file_write_all(int fd, const void *bytes, size_t size, struct error *err)
{
	return write_all(fd, bytes, size, NULL, err);
}

bool
file_pwrite_all(int fd, const void *bytes, size_t size, uint64_t offset, struct error *err)
{
	return write_all(fd, bytes, size, &offset, err);
}

static int
open_retry(int dirfd, const char *path, int flags, mode_t mode)
{
	int fd;

	do
		fd = openat(dirfd, path, flags | O_CLOEXEC, mode);
	while (fd < 0 && errno == EINTR);
	return fd;
}

bool
file_load(const char *path, size_t limit, struct arena *arena, const char **text, size_t *size, struct error *err)
{
	int fd finally(close_fd) = open_retry(AT_FDCWD, path, O_RDONLY, 0);
	size_t capacity = 4096;
	size_t total = 0;
	struct stat st;
	char *bytes;

	if (fd < 0)
		return fail_errno(err, "open `%s`", path);
	if (fstat(fd, &st) < 0)
		return fail_errno(err, "stat `%s`", path);
	if (S_ISDIR(st.st_mode))
		return fail(err, FAULT_NOT_FOUND, "`%s` is a directory, not a file", path);
	if (limit > SIZE_MAX / 4)
		limit = SIZE_MAX / 4;
	/* One byte more than the file is said to have, so that one read also sees its end; pipes and /proc say nothing. */
	if (S_ISREG(st.st_mode) && st.st_size > 0)
		capacity = ((uint64_t)st.st_size < limit ? (size_t)st.st_size : limit) + 1;
	bytes = arena_array(arena, capacity + 1, 1);
	for (;;) {
		size_t got;

		if (!file_read_all(fd, bytes + total, capacity - total, &got, err))
			return error_wrap(err, "`%s`", path);
		total += got;
		if (total > limit)
			return fail(err, FAULT_TOO_LARGE, "`%s` has more than %zu bytes", path, limit);
		if (total < capacity)
			break;
		bytes = arena_grow(arena, bytes, total, &capacity, 1);
		capacity--;
	}
	bytes[total] = '\0';
	*text = bytes;
	if (size)
		*size = total;
	return true;
}

bool
file_save(const char *path, const void *bytes, size_t size, mode_t mode, struct error *err)
{
	struct arena arena finally(arena_finish) = { 0 };
	const char *directory = path_dir(&arena, path);
	uint64_t number;
	const char *beside;
	int fd finally(close_fd) = -1;

	random_bytes(&number, sizeof number);
	beside = arena_printf(&arena, "%s/.provision-%016llx.tmp", directory, (unsigned long long)number);
	fd = open_retry(AT_FDCWD, beside, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
	if (fd < 0)
		return fail_errno(err, "create a file in `%s`", directory);
	/* Whoever clears away what killed runs left sees by it that this one is still being written. */
	fcntl(fd, F_OFD_SETLK, &(struct flock){ .l_type = F_WRLCK, .l_whence = SEEK_SET });
	if (!file_write_all(fd, bytes, size, err)) {
		unlink(beside);
		return error_wrap(err, "`%s`", path);
	}
	if (fchmod(fd, mode) < 0) {
		fail_errno(err, "set the mode of `%s`", path);
		unlink(beside);
		return false;
	}
	if (!file_sync_close(&fd, path, err)) {
		unlink(beside);
		return false;
	}
	if (rename(beside, path) < 0) {
		fail_errno(err, "write `%s`", path);
		unlink(beside);
		return false;
	}
	return file_sync_dir(directory, err);
}

bool
file_sync_close(int *fd, const char *path, struct error *err)
{
	bool synced = fsync(*fd) == 0;
	int number = errno;
	bool closed = close(*fd) == 0;

	*fd = -1;
	if (synced && closed)
		return true;
	if (!synced)
		errno = number;
	return fail_errno(err, "write `%s`", path);
}

/* Some file systems have nothing to sync in a directory and say EINVAL: their names are durable without. */
static bool
sync_names(int fd)
{
	return fsync(fd) == 0 || errno == EINVAL;
}

bool
file_sync_dir(const char *path, struct error *err)
{
	int fd finally(close_fd) = open_retry(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);

	if (fd < 0)
		return fail_errno(err, "open `%s`", path);
	if (!sync_names(fd))
		return fail_errno(err, "sync `%s`", path);
	return true;
}

/* The parent is held by O_PATH, since a directory that may be entered need not be readable; to sync it, it is opened again. */
static bool
sync_parent(int parent)
{
	int fd finally(close_fd) = open_retry(parent, ".", O_RDONLY | O_DIRECTORY, 0);

	return fd >= 0 && sync_names(fd);
}

/* A directory that has its name and not yet its mode, nor is that name durable: who is killed in between leaves it to the next one. Nobody asks for such a mode. */
#define UNFINISHED (S_ISVTX | 0700)

bool
file_is_unfinished(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && (st.st_mode & (07777 & ~(mode_t)S_ISGID)) == UNFINISHED && st.st_uid == geteuid();
}

bool
file_make_dir(int parent, const char *name, mode_t mode)
{
	bool made = mkdirat(parent, name, UNFINISHED) == 0;
	int fd finally(close_fd) = -1;
	struct stat st;

	if (!made && errno != EEXIST)
		return false;
	fd = open_retry(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (!made && !file_is_unfinished(fd))
		return true;
	/* fchmod, since the umask is ours; setgid comes from the parent and stays. */
	return fd >= 0 && sync_parent(parent) && fstat(fd, &st) == 0 && fchmod(fd, mode | (st.st_mode & S_ISGID)) == 0 && sync_names(fd);
}

bool
file_make_dirs(const char *path, mode_t mode, struct error *err)
{
	struct arena arena finally(arena_finish) = { 0 };
	int parent finally(close_fd) = open_retry(AT_FDCWD, *path == '/' ? "/" : ".", O_PATH | O_DIRECTORY, 0);
	const char *at = path;

	if (parent < 0)
		return fail_errno(err, "open `%s`", *path == '/' ? "/" : ".");
	for (;;) {
		const char *name;
		size_t length;
		int fd;

		at += strspn(at, "/");
		length = strcspn(at, "/");
		if (length == 0)
			return true;
		name = arena_copy_bytes(&arena, at, length);
		at += length;
		fd = open_retry(parent, name, O_PATH | O_DIRECTORY, 0);
		if (fd < 0 ? errno == ENOENT : file_is_unfinished(fd)) {
			close_fd(&fd);
			if (!file_make_dir(parent, name, at[strspn(at, "/")] ? 0755 : mode))
				return fail_errno(err, "create the directory `%.*s`", (int)(at - path), path);
			fd = open_retry(parent, name, O_PATH | O_DIRECTORY, 0);
			if (fd < 0 && errno == ENOENT)
				return fail(err, FAULT_CANNOT_CREATE,
					"`%.*s` is in the way: a symbolic link that leads nowhere", (int)(at - path),
					path);
		}
		if (fd < 0 && errno == ENOTDIR)
			return fail(err, FAULT_CANNOT_CREATE, "`%.*s` is in the way: it is not a directory",
				(int)(at - path), path);
		if (fd < 0)
			return fail_errno(err, "open `%.*s`", (int)(at - path), path);
		close(parent);
		parent = fd;
	}
}

const char *
path_join(struct arena *arena, const char *directory, const char *name)
{
	size_t length = strlen(directory), rest = strlen(name);
	bool slash = length > 0 && directory[length - 1] != '/';
	char *path;

	if (*name == '/' || length == 0)
		return arena_copy(arena, name);
	path = arena_array(arena, length + slash + rest + 1, 1);
	memcpy(path, directory, length);
	path[length] = '/';
	memcpy(path + length + slash, name, rest + 1);
	return path;
}

/* Nothing to tidy: no empty part, none that is `.` or `..`. Most paths are so. */
static bool
is_clean(const char *path)
{
	size_t length = strlen(path);

	if (length < 2 || path[0] != '/' || path[length - 1] == '/')
		return false;
	for (; (path = strchr(path, '/')); path++)
		if (path[1] == '/' || (path[1] == '.' && (path[2] == '/' || path[2] == '\0' || (path[2] == '.' && (path[3] == '/' || path[3] == '\0')))))
			return false;
	return true;
}

const char *
path_absolute(struct arena *arena, const char *base, const char *path)
{
	const char *whole = path_join(arena, base, path);
	char *clean;
	size_t size = 0;

	if (is_clean(whole))
		return whole;
	clean = arena_array(arena, strlen(whole) + 2, 1);
	for (const char *at = whole + strspn(whole, "/"); *at; at += strspn(at, "/")) {
		size_t length = strcspn(at, "/");

		if (length == 2 && at[0] == '.' && at[1] == '.') {
			while (size > 0 && clean[--size] != '/')
				continue;
		} else if (length != 1 || at[0] != '.') {
			clean[size++] = '/';
			memcpy(clean + size, at, length);
			size += length;
		}
		at += length;
	}
	if (size == 0)
		clean[size++] = '/';
	clean[size] = '\0';
	return clean;
}

const char *
path_dir(struct arena *arena, const char *path)
{
	size_t length = strlen(path);

	while (length > 1 && path[length - 1] == '/')
		length--;
	while (length > 0 && path[length - 1] != '/')
		length--;
	while (length > 1 && path[length - 1] == '/')
		length--;
	return length > 0 ? arena_copy_bytes(arena, path, length) : ".";
}

const char *
path_base(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

const char *
path_shown(struct arena *arena, const char *base, const char *path)
{
	size_t length = strlen(base);

	while (length > 0 && base[length - 1] == '/')
		length--;
	if (*base != '/' || strncmp(path, base, length) != 0)
		return arena_copy(arena, path);
	if (path[length] == '\0')
		return ".";
	return arena_copy(arena, path[length] == '/' && path[length + 1] ? path + length + 1 : path);
}

bool
file_free_space(const char *path, uint64_t *bytes, struct error *err)
{
	struct arena arena finally(arena_finish) = { 0 };
	const char *at = path;
	struct statvfs st;
	uint64_t space;

	while (statvfs(at, &st) < 0) {
		const char *parent = path_dir(&arena, at);

		if (errno == EINTR)
			continue;
		if ((errno != ENOENT && errno != ENOTDIR) || strcmp(parent, at) == 0)
			return fail_errno(err, "free space of `%s`", path);
		at = parent;
	}
	if (__builtin_mul_overflow((uint64_t)st.f_bavail, (uint64_t)st.f_frsize, &space))
		space = UINT64_MAX;
	*bytes = space;
	return true;
}
