/* durable.h - what was made durable, in which order: stands in for fsync, rename and fchmod of the C library, and lets them fail.
 *
 * Included by a test, these are the functions that the library under test calls. */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct {
	char log[4000];  /* `sync NAME` and `rename`, each followed by a space; only last components */
	size_t size;
	int count;       /* of syncs */
	int failing;     /* this one fails, counted from 1; 0: none */
	int number;      /* with this errno */
	bool no_modes;   /* fchmod fails too */
} durable;

static inline void
durable_reset(int failing, int number)
{
	memset(&durable, 0, sizeof durable);
	durable.failing = failing;
	durable.number = number;
}

static inline void
durable_note(const char *what, const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;

	/* Names that are drawn by lot. */
	if (strncmp(name, ".provision-", 11) == 0)
		name = "TEMPORARY";
	durable.size += (size_t)snprintf(durable.log + durable.size, sizeof durable.log - durable.size, "%s %s; ", what, name);
}

int
fsync(int fd)
{
	char link[40], path[1000];
	ssize_t length;

	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	length = readlink(link, path, sizeof path - 1);
	path[length > 0 ? length : 0] = '\0';
	if (++durable.count == durable.failing) {
		durable_note("fail", path);
		errno = durable.number;
		return -1;
	}
	durable_note("sync", path);
	return (int)syscall(SYS_fsync, fd);
}

int
fchmod(int fd, mode_t mode)
{
	if (durable.no_modes) {
		errno = EPERM;
		return -1;
	}
	return (int)syscall(SYS_fchmod, fd, mode);
}

int
rename(const char *from, const char *to)
{
	durable_note("rename", to);
	return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}
