/* cutstat.so, to be preloaded: files that were written anew look like those that they stand for.
 *
 * A disk that comes back after a power cut has the inodes and time stamps that it had; a copy of it has others, and whoever goes by them would not
 * believe what a real disk makes one believe. CUT_STATS has lines "INODE CTIME INODE MTIME CTIME": a file with the first two shows the others; once
 * it was changed, only the inode, so that a file remains itself. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define REAL(name) (__extension__(__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define MOST_FILES 4096

struct likeness {
	unsigned long long inode, shown_inode;
	long long ctime, shown_mtime, shown_ctime;
};

static struct likeness files[MOST_FILES];
static size_t file_count;
static unsigned long long device;

__attribute__((constructor)) static void
begin(void)
{
	const char *name = getenv("CUT_STATS");
	FILE *table = name ? fopen(name, "re") : NULL;

	if (!table)
		return;
	if (fscanf(table, "%llu", &device) != 1)
		abort();
	while (file_count < MOST_FILES) {
		struct likeness *file = &files[file_count];

		if (fscanf(table, "%llu %lld %llu %lld %lld", &file->inode, &file->ctime, &file->shown_inode, &file->shown_mtime, &file->shown_ctime) != 5)
			break;
		file_count++;
	}
	fclose(table);
}

static struct timespec
time_of(long long nanoseconds)
{
	return (struct timespec){ .tv_sec = nanoseconds / 1000000000, .tv_nsec = nanoseconds % 1000000000 };
}

static void
show(ino_t *inode, dev_t on, struct timespec *mtime, struct timespec *ctime)
{
	if (on != device)
		return;
	for (size_t i = 0; i < file_count; i++) {
		const struct likeness *file = &files[i];

		if (*inode != file->inode)
			continue;
		*inode = file->shown_inode;
		if ((long long)ctime->tv_sec * 1000000000 + ctime->tv_nsec == file->ctime) {
			*mtime = time_of(file->shown_mtime);
			*ctime = time_of(file->shown_ctime);
		}
		return;
	}
}

#define SHOW(call) \
	int result = call; \
\
	if (result == 0) \
		show(&st->st_ino, st->st_dev, &st->st_mtim, &st->st_ctim); \
	return result

int
stat(const char *path, struct stat *st)
{
	SHOW(REAL(stat)(path, st));
}

int
lstat(const char *path, struct stat *st)
{
	SHOW(REAL(lstat)(path, st));
}

int
fstat(int fd, struct stat *st)
{
	SHOW(REAL(fstat)(fd, st));
}

int
fstatat(int dirfd, const char *path, struct stat *st, int flags)
{
	SHOW(REAL(fstatat)(dirfd, path, st, flags));
}

int
stat64(const char *path, struct stat64 *st)
{
	SHOW(REAL(stat64)(path, st));
}

int
lstat64(const char *path, struct stat64 *st)
{
	SHOW(REAL(lstat64)(path, st));
}

int
fstat64(int fd, struct stat64 *st)
{
	SHOW(REAL(fstat64)(fd, st));
}

int
fstatat64(int dirfd, const char *path, struct stat64 *st, int flags)
{
	SHOW(REAL(fstatat64)(dirfd, path, st, flags));
}
