/* cutlog.so, to be preloaded: writes down in CUT_LOG, in order, whatever changes the directory CUT_DIR, and what is synced there.
 *
 * A record is one line, "OP INODE PATH PATH2 OFFSET SIZE MODE MTIME CTIME", and SIZE bytes behind it. Paths are relative to CUT_DIR, `.` for itself,
 * `-` for none; they hold no blanks. OP: C a file is opened to be made, D a directory made, W bytes written, Z a size set, M a mode set,
 * S synced, R renamed, U a name removed, X a call that is not understood (PATH2 says which). Children are recorded too.
 * The call and its record are one step, so that the order in the log is that of the calls. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) (__extension__(__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define MOST_VARIABLES 1000

int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int dirfd, const char *path, int flags);
int __openat64_2(int dirfd, const char *path, int flags);

static int log_fd = -1;
static char root[PATH_MAX];
static size_t root_length;
static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void
begin(void)
{
	const char *directory = getenv("CUT_DIR"), *log = getenv("CUT_LOG");

	if (!directory || !log || !realpath(directory, root))
		return;
	root_length = strlen(root);
	log_fd = REAL(open)(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

/* ---- what lies below the directory ---- */

static const char *
below(const char *absolute)
{
	if (strncmp(absolute, root, root_length) != 0 || (absolute[root_length] && absolute[root_length] != '/'))
		return NULL;
	return absolute[root_length] ? absolute + root_length + 1 : ".";
}

static bool
path_of(int fd, char path[PATH_MAX])
{
	char link[64], absolute[PATH_MAX];
	const char *relative;
	ssize_t length;

	if (log_fd < 0)
		return false;
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	length = readlink(link, absolute, sizeof absolute - 1);
	if (length <= 0)
		return false;
	absolute[length] = '\0';
	relative = below(absolute);
	if (!relative)
		return false;
	/* A file whose name is gone is shown as "NAME (deleted)". */
	snprintf(path, PATH_MAX, "%s", strchr(relative, ' ') ? "-" : relative);
	return true;
}

static bool
is_watched(int fd, char path[PATH_MAX])
{
	int number = errno;
	bool watched = path_of(fd, path);

	errno = number;
	return watched;
}

/* The last component as it is, the way to it as it really leads. */
static bool
resolve(int dirfd, const char *name, char path[PATH_MAX])
{
	char directory[PATH_MAX], parent[PATH_MAX];
	size_t length = strlen(name);
	const char *last;
	bool watched;
	int fd, written;

	while (length > 1 && name[length - 1] == '/')
		length--;
	if (log_fd < 0 || length == 0 || length >= sizeof directory)
		return false;
	memcpy(directory, name, length);
	directory[length] = '\0';
	last = strrchr(directory, '/') ? strrchr(directory, '/') + 1 : directory;
	last = name + (last - directory);
	directory[last - name] = '\0';
	fd = REAL(openat)(dirfd, *directory ? directory : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return false;
	watched = path_of(fd, parent);
	close(fd);
	if (!watched)
		return false;
	length -= (size_t)(last - name);
	written = strcmp(parent, ".") == 0 ? snprintf(path, PATH_MAX, "%.*s", (int)length, last) : snprintf(path, PATH_MAX, "%s/%.*s", parent, (int)length, last);
	return written > 0 && written < PATH_MAX;
}

static bool
is_watched_name(int dirfd, const char *name, char path[PATH_MAX])
{
	int number = errno;
	bool watched = resolve(dirfd, name, path);

	errno = number;
	return watched;
}

/* ---- records ---- */

static void
put(const void *bytes, size_t size)
{
	const char *from = bytes;

	while (size > 0) {
		ssize_t count = REAL(write)(log_fd, from, size);

		if (count < 0)
			abort();
		from += count;
		size -= (size_t)count;
	}
}

static int64_t
nanoseconds(struct timespec time)
{
	return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* Header and bytes go out as one, since children append to the same log. */
static void
note(char op, const struct stat *st, const char *path, const char *path2, int64_t offset, const void *bytes, size_t size)
{
	char head[2 * PATH_MAX + 256];
	int length = snprintf(head, sizeof head, "%c %llu %s %s %lld %zu %o %lld %lld\n", op, (unsigned long long)st->st_ino, path, path2,
		(long long)offset, size, (unsigned)(st->st_mode & 07777), (long long)nanoseconds(st->st_mtim), (long long)nanoseconds(st->st_ctim));
	char *whole = malloc((size_t)length + size);

	if (!whole)
		abort();
	memcpy(whole, head, (size_t)length);
	if (size > 0)
		memcpy(whole + length, bytes, size);
	put(whole, (size_t)length + size);
	free(whole);
}

static void
note_fd(char op, int fd, const char *path, int64_t offset, const void *bytes, size_t size)
{
	int number = errno;
	struct stat st;

	if (fstat(fd, &st) != 0)
		abort();
	note(op, &st, path, "-", offset, bytes, size);
	errno = number;
}

static void
note_name(char op, const struct stat *st, const char *path, const char *path2)
{
	int number = errno;

	note(op, st, path, path2, 0, NULL, 0);
	errno = number;
}

static void
note_unknown(const char *path, const char *call)
{
	note_name('X', &(struct stat){ 0 }, path, call);
}

/* What the kernel wrote without showing it to us. */
static void
note_written(int fd, const char *path, int64_t offset, size_t size)
{
	int number = errno;
	char link[64], *bytes = malloc(size);
	int again;

	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	again = REAL(open)(link, O_RDONLY | O_CLOEXEC);
	if (!bytes || again < 0 || pread(again, bytes, size, offset) != (ssize_t)size)
		abort();
	note_fd('W', fd, path, offset, bytes, size);
	close(again);
	free(bytes);
	errno = number;
}

/* ---- bytes ---- */

/* Runs the call and its record as one step. AT is the offset, known once COUNT bytes are written. */
#define WRITING(call, at, noting) \
	char path[PATH_MAX]; \
	ssize_t count; \
\
	if (!is_watched(fd, path)) \
		return call; \
	pthread_mutex_lock(&order); \
	count = call; \
	if (count > 0) { \
		int64_t offset = (at); \
\
		noting; \
	} \
	pthread_mutex_unlock(&order); \
	return count

#define WHERE_IT_STANDS (lseek(fd, 0, SEEK_CUR) - count)

ssize_t
write(int fd, const void *bytes, size_t size)
{
	WRITING(REAL(write)(fd, bytes, size), WHERE_IT_STANDS, note_fd('W', fd, path, offset, bytes, (size_t)count));
}

ssize_t
pwrite(int fd, const void *bytes, size_t size, off_t from)
{
	WRITING(REAL(pwrite)(fd, bytes, size, from), from, note_fd('W', fd, path, offset, bytes, (size_t)count));
}

ssize_t
pwrite64(int fd, const void *bytes, size_t size, off64_t from)
{
	WRITING(REAL(pwrite64)(fd, bytes, size, from), from, note_fd('W', fd, path, offset, bytes, (size_t)count));
}

ssize_t
writev(int fd, const struct iovec *parts, int part_count)
{
	WRITING(REAL(writev)(fd, parts, part_count), WHERE_IT_STANDS, note_written(fd, path, offset, (size_t)count));
}

ssize_t
pwritev(int fd, const struct iovec *parts, int part_count, off_t from)
{
	WRITING(REAL(pwritev)(fd, parts, part_count, from), from, note_written(fd, path, offset, (size_t)count));
}

ssize_t
copy_file_range(int in, off64_t *in_at, int fd, off64_t *out_at, size_t size, unsigned flags)
{
	WRITING(REAL(copy_file_range)(in, in_at, fd, out_at, size, flags), out_at ? *out_at - count : WHERE_IT_STANDS,
		note_written(fd, path, offset, (size_t)count));
}

ssize_t
sendfile(int fd, int in, off_t *at, size_t size)
{
	WRITING(REAL(sendfile)(fd, in, at, size), WHERE_IT_STANDS, note_written(fd, path, offset, (size_t)count));
}

ssize_t
sendfile64(int fd, int in, off64_t *at, size_t size)
{
	WRITING(REAL(sendfile64)(fd, in, at, size), WHERE_IT_STANDS, note_written(fd, path, offset, (size_t)count));
}

ssize_t
splice(int in, off64_t *in_at, int fd, off64_t *out_at, size_t size, unsigned flags)
{
	WRITING(REAL(splice)(in, in_at, fd, out_at, size, flags), out_at ? *out_at - count : WHERE_IT_STANDS,
		note_written(fd, path, offset, (size_t)count));
}

/* ---- sizes, modes, syncs ---- */

#define CHANGING(call, op, at) \
	char path[PATH_MAX]; \
	int result; \
\
	if (!is_watched(fd, path)) \
		return call; \
	pthread_mutex_lock(&order); \
	result = call; \
	if (result == 0) \
		note_fd(op, fd, path, at, NULL, 0); \
	pthread_mutex_unlock(&order); \
	return result

int
ftruncate(int fd, off_t size)
{
	CHANGING(REAL(ftruncate)(fd, size), 'Z', size);
}

int
ftruncate64(int fd, off64_t size)
{
	CHANGING(REAL(ftruncate64)(fd, size), 'Z', size);
}

/* The bytes that are asked for may or may not make the file longer: the record has the size that it has then. */
static int64_t
size_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 ? st.st_size : 0;
}

int
fallocate(int fd, int mode, off_t from, off_t size)
{
	CHANGING(REAL(fallocate)(fd, mode, from, size), mode & ~FALLOC_FL_KEEP_SIZE ? 'X' : 'Z', size_of(fd));
}

int
fallocate64(int fd, int mode, off64_t from, off64_t size)
{
	CHANGING(REAL(fallocate64)(fd, mode, from, size), mode & ~FALLOC_FL_KEEP_SIZE ? 'X' : 'Z', size_of(fd));
}

int
posix_fallocate(int fd, off_t from, off_t size)
{
	CHANGING(REAL(posix_fallocate)(fd, from, size), 'Z', size_of(fd));
}

int
posix_fallocate64(int fd, off64_t from, off64_t size)
{
	CHANGING(REAL(posix_fallocate64)(fd, from, size), 'Z', size_of(fd));
}

int
fchmod(int fd, mode_t mode)
{
	CHANGING(REAL(fchmod)(fd, mode), 'M', 0);
}

int
fsync(int fd)
{
	CHANGING(REAL(fsync)(fd), 'S', 0);
}

int
fdatasync(int fd)
{
	CHANGING(REAL(fdatasync)(fd), 'S', 0);
}

/* ---- opening ---- */

static int
after_open(int fd, int flags)
{
	char path[PATH_MAX];

	if (fd < 0 || !is_watched(fd, path))
		return fd;
	if (flags & O_CREAT)
		note_fd('C', fd, path, 0, NULL, 0);
	if (flags & O_TRUNC)
		note_fd('Z', fd, path, 0, NULL, 0);
	return fd;
}

/* Only what may change something has to keep its place in the order. */
#define OPENING(call, flags) \
	int fd; \
\
	if (log_fd < 0 || !((flags) & (O_CREAT | O_TRUNC))) \
		return call; \
	pthread_mutex_lock(&order); \
	fd = after_open(call, flags); \
	pthread_mutex_unlock(&order); \
	return fd

#define MODE_OF(flags) \
	mode_t mode = 0; \
	va_list rest; \
\
	va_start(rest, flags); \
	if (flags & O_CREAT) \
		mode = va_arg(rest, mode_t); \
	va_end(rest)

int
open(const char *path, int flags, ...)
{
	MODE_OF(flags);
	OPENING(REAL(open)(path, flags, mode), flags);
}

int
open64(const char *path, int flags, ...)
{
	MODE_OF(flags);
	OPENING(REAL(open64)(path, flags, mode), flags);
}

int
openat(int dirfd, const char *path, int flags, ...)
{
	MODE_OF(flags);
	OPENING(REAL(openat)(dirfd, path, flags, mode), flags);
}

int
openat64(int dirfd, const char *path, int flags, ...)
{
	MODE_OF(flags);
	OPENING(REAL(openat64)(dirfd, path, flags, mode), flags);
}

int
__open_2(const char *path, int flags)
{
	OPENING(REAL(open)(path, flags), flags);
}

int
__open64_2(const char *path, int flags)
{
	OPENING(REAL(open64)(path, flags), flags);
}

int
__openat_2(int dirfd, const char *path, int flags)
{
	OPENING(REAL(openat)(dirfd, path, flags), flags);
}

int
__openat64_2(int dirfd, const char *path, int flags)
{
	OPENING(REAL(openat64)(dirfd, path, flags), flags);
}

int
creat(const char *path, mode_t mode)
{
	OPENING(REAL(creat)(path, mode), O_CREAT | O_TRUNC);
}

int
creat64(const char *path, mode_t mode)
{
	OPENING(REAL(creat64)(path, mode), O_CREAT | O_TRUNC);
}

/* openat2 has no function of its own. */
long
syscall(long number, ...)
{
	long words[6];
	va_list rest;
	long result;

	va_start(rest, number);
	for (size_t i = 0; i < 6; i++)
		words[i] = va_arg(rest, long);
	va_end(rest);
	if (number != SYS_openat2 || log_fd < 0)
		return REAL(syscall)(number, words[0], words[1], words[2], words[3], words[4], words[5]);
	pthread_mutex_lock(&order);
	result = REAL(syscall)(number, words[0], words[1], words[2], words[3], words[4], words[5]);
	result = after_open((int)result, (int)((const struct open_how *)(uintptr_t)words[2])->flags);
	pthread_mutex_unlock(&order);
	return result;
}

/* ---- names ---- */

static int
make_dir(int dirfd, const char *name, mode_t mode)
{
	char path[PATH_MAX];
	struct stat st = { 0 };
	int result;

	if (!is_watched_name(dirfd, name, path))
		return REAL(mkdirat)(dirfd, name, mode);
	pthread_mutex_lock(&order);
	result = REAL(mkdirat)(dirfd, name, mode);
	if (result == 0 && fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		note_name('D', &st, path, "-");
	pthread_mutex_unlock(&order);
	return result;
}

int
mkdir(const char *name, mode_t mode)
{
	return make_dir(AT_FDCWD, name, mode);
}

int
mkdirat(int dirfd, const char *name, mode_t mode)
{
	return make_dir(dirfd, name, mode);
}

static int
remove_name(int dirfd, const char *name, int flags)
{
	char path[PATH_MAX];
	struct stat st = { 0 };
	int result;

	if (!is_watched_name(dirfd, name, path))
		return REAL(unlinkat)(dirfd, name, flags);
	pthread_mutex_lock(&order);
	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		st.st_ino = 0;
	result = REAL(unlinkat)(dirfd, name, flags);
	if (result == 0)
		note_name('U', &st, path, "-");
	pthread_mutex_unlock(&order);
	return result;
}

int
unlink(const char *name)
{
	return remove_name(AT_FDCWD, name, 0);
}

int
unlinkat(int dirfd, const char *name, int flags)
{
	return remove_name(dirfd, name, flags);
}

int
rmdir(const char *name)
{
	return remove_name(AT_FDCWD, name, AT_REMOVEDIR);
}

static int
move(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
	char path[PATH_MAX], path2[PATH_MAX];
	struct stat st = { 0 };
	int result;

	if (!is_watched_name(from_dir, from, path) || !is_watched_name(to_dir, to, path2))
		return REAL(renameat2)(from_dir, from, to_dir, to, flags);
	pthread_mutex_lock(&order);
	result = REAL(renameat2)(from_dir, from, to_dir, to, flags);
	if (result == 0 && fstatat(to_dir, to, &st, AT_SYMLINK_NOFOLLOW) == 0)
		note_name(flags & ~(unsigned)RENAME_NOREPLACE ? 'X' : 'R', &st, path, path2);
	pthread_mutex_unlock(&order);
	return result;
}

int
rename(const char *from, const char *to)
{
	return move(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int
renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	return move(from_dir, from, to_dir, to, 0);
}

int
renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
	return move(from_dir, from, to_dir, to, flags);
}

static int
set_mode(int dirfd, const char *name, mode_t mode, int flags)
{
	char path[PATH_MAX];
	struct stat st = { 0 };
	int result;

	if (!is_watched_name(dirfd, name, path))
		return REAL(fchmodat)(dirfd, name, mode, flags);
	pthread_mutex_lock(&order);
	result = REAL(fchmodat)(dirfd, name, mode, flags);
	if (result == 0 && fstatat(dirfd, name, &st, 0) == 0)
		note_name('M', &st, path, "-");
	pthread_mutex_unlock(&order);
	return result;
}

int
chmod(const char *name, mode_t mode)
{
	return set_mode(AT_FDCWD, name, mode, 0);
}

int
fchmodat(int dirfd, const char *name, mode_t mode, int flags)
{
	return set_mode(dirfd, name, mode, flags);
}

/* ---- what the model knows nothing of ---- */

static int
make_link(int result, const char *call, int dirfd, const char *name)
{
	char path[PATH_MAX];

	if (result == 0 && is_watched_name(dirfd, name, path)) {
		pthread_mutex_lock(&order);
		note_unknown(path, call);
		pthread_mutex_unlock(&order);
	}
	return result;
}

int
link(const char *from, const char *to)
{
	return make_link(REAL(link)(from, to), "link", AT_FDCWD, to);
}

int
linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
	return make_link(REAL(linkat)(from_dir, from, to_dir, to, flags), "link", to_dir, to);
}

int
symlink(const char *target, const char *name)
{
	return make_link(REAL(symlink)(target, name), "symlink", AT_FDCWD, name);
}

int
symlinkat(const char *target, int dirfd, const char *name)
{
	return make_link(REAL(symlinkat)(target, dirfd, name), "symlink", dirfd, name);
}

/* The -shm of a database is not durable by design. */
static void
look_at_mapping(int protection, int flags, int fd)
{
	char path[PATH_MAX];
	size_t length;

	if (!(protection & PROT_WRITE) || (flags & MAP_TYPE) == MAP_PRIVATE || fd < 0 || !is_watched(fd, path))
		return;
	length = strlen(path);
	if (length > 4 && strcmp(path + length - 4, "-shm") == 0)
		return;
	pthread_mutex_lock(&order);
	note_unknown(path, "mmap");
	pthread_mutex_unlock(&order);
}

void *
mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
	look_at_mapping(protection, flags, fd);
	return REAL(mmap)(at, size, protection, flags, fd, offset);
}

void *
mmap64(void *at, size_t size, int protection, int flags, int fd, off64_t offset)
{
	look_at_mapping(protection, flags, fd);
	return REAL(mmap64)(at, size, protection, flags, fd, offset);
}

/* ---- children ---- */

/* A child's environment is made anew: ours goes into it. What else is preloaded, such as a sanitizer, is not the child's. */
int
posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attributes, char *const argv[],
	char *const envp[])
{
	char texts[3][PATH_MAX + 16];
	char *variables[MOST_VARIABLES + 4];
	size_t count = 0;
	Dl_info own;

	while (envp[count] && count < MOST_VARIABLES) {
		variables[count] = envp[count];
		count++;
	}
	if (log_fd >= 0 && dladdr(root, &own)) {
		snprintf(texts[0], sizeof texts[0], "LD_PRELOAD=%s", own.dli_fname);
		snprintf(texts[1], sizeof texts[1], "CUT_DIR=%s", root);
		snprintf(texts[2], sizeof texts[2], "CUT_LOG=%s", getenv("CUT_LOG"));
		for (size_t i = 0; i < 3; i++)
			variables[count++] = texts[i];
	}
	variables[count] = NULL;
	return REAL(posix_spawn)(pid, path, actions, attributes, argv, variables);
}
