#include "path.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "arena.h"
#include "cleanup.h"
#include "file.h"

#define LONGEST_COMPONENT 255
#define MOST_LINKS	  40 /* as in the kernel */

static int
give_up(int *fd, int number)
{
	close_fd(fd);
	errno = number;
	return -1;
}

/* Only to choose the better errno; leaves it as it is. */
static bool
is_link(int dirfd, const char *name)
{
	int number = errno;
	struct stat st;
	bool link = fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode);

	errno = number;
	return link;
}

int
path_walk_below(int dirfd, const char *name, int flags, mode_t mode)
{
	char part[LONGEST_COMPONENT + 1];
	int held = -1; /* the directory reached so far, if it is not dirfd itself */
	int at = dirfd;

	if (*name == '/')
		return give_up(&held, EXDEV);
	if (!*name)
		return give_up(&held, ENOENT);
	for (;;) {
		size_t length = strcspn(name, "/");
		size_t slashes = strspn(name + length, "/");
		bool last = name[length + slashes] == '\0';
		int how = last ? flags | (slashes ? O_DIRECTORY : 0) : O_PATH | O_DIRECTORY;
		int fd;

		if (length > LONGEST_COMPONENT)
			return give_up(&held, ENAMETOOLONG);
		memcpy(part, name, length);
		part[length] = '\0';
		if (strcmp(part, "..") == 0)
			return give_up(&held, EXDEV);
		do
			fd = openat(at, part, how | O_NOFOLLOW | O_CLOEXEC, last ? mode : 0);
		while (fd < 0 && errno == EINTR);
		if (fd < 0)
			/* A link that is asked to be a directory says ENOTDIR; openat2 says ELOOP on the way. */
			return give_up(&held, errno == ENOTDIR && is_link(at, part) ? ELOOP : errno);
		close_fd(&held);
		if (last)
			return fd;
		held = at = fd;
		name += length + slashes;
	}
}

static int
open_beneath(int dirfd, const char *name, int flags, mode_t mode)
{
	struct open_how how = {
		.flags = (unsigned)flags,
		.mode = flags & O_CREAT ? mode : 0,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};
	long fd;
	int tries = 0;

	/* EAGAIN: something was renamed meanwhile; or a lease is held, and then it would never end. */
	do
		fd = syscall(SYS_openat2, dirfd, name, &how, sizeof how);
	while (fd < 0 && (errno == EINTR || (errno == EAGAIN && tries++ < 100)));
	/* A kernel before 5.6, or a filter that does not know the call. */
	if (fd < 0 && (errno == ENOSYS || errno == EPERM))
		return path_walk_below(dirfd, name, flags, flags & O_CREAT ? mode : 0);
	/* A link as the last component that is asked to be a directory: the same answer as for one on the way. */
	if (fd < 0 && errno == ENOTDIR && is_link(dirfd, name))
		errno = ELOOP;
	return (int)fd;
}

int
path_open_below(int dirfd, const char *name, int flags, mode_t mode)
{
	/* A FIFO would wait for its other end; openat2 takes no such flag where nothing is opened for reading or writing. */
	int always = O_NOFOLLOW | O_CLOEXEC | (flags & O_PATH ? 0 : O_NONBLOCK);
	struct stat st;
	int fd;

	/* Nothing is truncated before it is known to be ours. */
	fd = open_beneath(dirfd, name, (flags & ~O_TRUNC) | always, mode);
	if (fd < 0)
		return -1;
	if (fstat(fd, &st) < 0)
		return give_up(&fd, errno);
	if (flags & O_DIRECTORY)
		return S_ISDIR(st.st_mode) ? fd : give_up(&fd, ENOTDIR);
	if (S_ISDIR(st.st_mode))
		return give_up(&fd, EISDIR);
	if (S_ISLNK(st.st_mode))
		return give_up(&fd, ELOOP);
	if (!S_ISREG(st.st_mode))
		return give_up(&fd, EINVAL);
	if (st.st_nlink != 1)
		return give_up(&fd, EMLINK);
	if ((flags & O_TRUNC) && ftruncate(fd, 0) < 0)
		return give_up(&fd, errno);
	return fd;
}

bool
path_errno_tells(int number)
{
	static const int numbers[] = { ENOENT, ENOTDIR, EISDIR, ELOOP, EMLINK, EXDEV, EINVAL, ENXIO, EACCES, EPERM };

	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		if (numbers[i] == number)
			return true;
	return false;
}

int
path_open_parent(int dirfd, const char *name, bool create, const char **last)
{
	/* Opened anew, since dirfd may be an O_PATH that cannot be synced. */
	int at = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	for (;;) {
		char part[LONGEST_COMPONENT + 1];
		size_t length = strcspn(name, "/");
		int fd;

		if (at < 0)
			return -1;
		if (length > LONGEST_COMPONENT)
			return give_up(&at, ENAMETOOLONG);
		memcpy(part, name, length);
		part[length] = '\0';
		if (length == 0 || strcmp(part, ".") == 0 || strcmp(part, "..") == 0)
			return give_up(&at, EXDEV);
		if (!name[length])
			break;
		fd = path_open_below(at, part, O_RDONLY | O_DIRECTORY, 0);
		if (create && (fd < 0 ? errno == ENOENT : file_is_unfinished(fd))) {
			close_fd(&fd);
			fd = file_make_dir(at, part, 0755) ? path_open_below(at, part, O_RDONLY | O_DIRECTORY, 0) : -1;
		}
		if (fd < 0)
			return give_up(&at, errno);
		close(at);
		at = fd;
		name += length + 1;
	}
	*last = name;
	return at;
}

static bool
is_trusted(const struct stat *st)
{
	return st->st_uid == geteuid() || st->st_uid == 0;
}

static bool
cannot_open(const char *path, struct error *err)
{
	if (errno == ENOTDIR)
		return fail(err, FAULT_CANNOT_CREATE, "`%s` is in the way: it is not a directory", path);
	return fail_errno(err, "open the directory `%s`", path);
}

/* What the link that is open at `fd` leads to, with the rest of the path behind it. */
static const char *
follow(struct arena *arena, int fd, const char *rest)
{
	char target[PATH_MAX];
	ssize_t length = readlinkat(fd, "", target, sizeof target);

	if (length < 0)
		return NULL;
	return arena_printf(arena, "%.*s/%s", (int)length, target, rest);
}

/* Step by step: a link of another user anywhere on the way would let that user lead us elsewhere tomorrow. */
static bool
walk_trusted(const char *path, int *reached, struct error *err)
{
	struct arena arena finally(arena_finish) = { 0 };
	const char *rest = path;
	int at finally(close_fd) = open(*rest == '/' ? "/" : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int links = 0;

	while (at >= 0 && *(rest += strspn(rest, "/"))) {
		size_t length = strcspn(rest, "/");
		const char *part = arena_copy_bytes(&arena, rest, length);
		int fd finally(close_fd) = openat(at, part, O_PATH | O_NOFOLLOW | O_CLOEXEC);
		struct stat st;

		rest += length;
		if (fd < 0 || fstat(fd, &st) < 0)
			return cannot_open(path, err);
		if (!S_ISLNK(st.st_mode)) {
			int before = at;

			at = fd;
			fd = before;
			continue;
		}
		if (!is_trusted(&st)) {
			fail(err, FAULT_UNSAFE_DIRECTORY,
				"the way to `%s` leads through `%s`, a symbolic link of another user (uid %u)", path,
				part, (unsigned)st.st_uid);
			return error_hint(err, "name it by its real path: readlink -f %s", path);
		}
		errno = ELOOP;
		rest = links++ < MOST_LINKS ? follow(&arena, fd, rest) : NULL;
		if (!rest)
			return cannot_open(path, err);
		if (*rest == '/') {
			close(at);
			at = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
		}
	}
	if (at < 0)
		return cannot_open(path, err);
	*reached = at;
	at = -1;
	return true;
}

bool
path_open_dir(const char *path, bool create, int *fd, struct error *err)
{
	int at finally(close_fd) = -1;
	int opened finally(close_fd) = -1;
	struct error why = { 0 };
	struct stat st;

	/* What is there is looked at before anything is made below it. */
	if (!walk_trusted(path, &at, &why)) {
		if (!create || why.fault != FAULT_NOT_FOUND) {
			if (err)
				*err = why;
			return false;
		}
		if (!file_make_dirs(path, 0755, err) || !walk_trusted(path, &at, err))
			return false;
	}
	opened = openat(at, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (opened < 0 || fstat(opened, &st) < 0)
		return cannot_open(path, err);
	if (!is_trusted(&st)) {
		fail(err, FAULT_UNSAFE_DIRECTORY, "`%s` belongs to another user (uid %u)", path, (unsigned)st.st_uid);
		return error_hint(err, "use a directory of your own");
	}
	if ((st.st_mode & S_IWOTH) && !(st.st_mode & S_ISVTX)) {
		fail(err, FAULT_UNSAFE_DIRECTORY, "everybody may write to `%s` (mode %04o)", path,
			(unsigned)(st.st_mode & 07777));
		return error_hint(err, "chmod o-w %s", path);
	}
	*fd = opened;
	opened = -1;
	return true;
}
