/* scratch.h - a directory of its own for each test, gone afterwards. */
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct scratch {
	char path[64];
	int fd;
	size_t open; /* descriptors when it began */
	char at[PATH_MAX]; /* of the last scratch_path */
};

static inline size_t
count_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	size_t count = 0;

	while (dir && readdir(dir))
		count++;
	if (dir)
		closedir(dir);
	return count;
}

static inline int
scratch_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline int
scratch_setup(void **state)
{
	struct scratch *scratch = calloc(1, sizeof *scratch);

	if (!scratch)
		return -1;
	snprintf(scratch->path, sizeof scratch->path, "/tmp/provision-test-XXXXXX");
	if (!mkdtemp(scratch->path))
		return -1;
	scratch->fd = open(scratch->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	scratch->open = count_descriptors();
	*state = scratch;
	return scratch->fd < 0 ? -1 : 0;
}

static inline int
scratch_teardown(void **state)
{
	struct scratch *scratch = *state;
	/* Nothing that was opened meanwhile is open still. */
	int leaked = count_descriptors() != scratch->open;

	close(scratch->fd);
	nftw(scratch->path, scratch_remove, 16, FTW_DEPTH | FTW_PHYS);
	free(scratch);
	return leaked ? -1 : 0;
}

/* The path of `name` in it; good until the next call. */
static inline const char *
scratch_path(struct scratch *scratch, const char *name)
{
	snprintf(scratch->at, sizeof scratch->at, "%s/%s", scratch->path, name);
	return scratch->at;
}

/* A file with that text; directories must be there. */
static inline void
scratch_file(struct scratch *scratch, const char *name, const char *text)
{
	int fd = openat(scratch->fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0 || dprintf(fd, "%s", text) < 0)
		abort();
	close(fd);
}
