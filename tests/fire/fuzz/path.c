/* Names from outside: what is accepted can be made below a directory, and nothing is ever opened beyond it.
 *
 * Input: names, separated by 0x1e. */
#include "engine/base/path.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/strings.h"
#include "fuzz.h"

#define MOST 4

/* A tree with traps, and a place where accepted names are made. */
static void
set_traps(void)
{
	static const char *const links[][2] = { { "/etc", "tree/out" }, { "..", "tree/up" }, { "sub", "tree/in" }, { "nowhere", "tree/dangling" }, { "loop", "tree/loop" },
		{ "/proc/self/cwd", "tree/magic" } };
	int root = scratch_fd();
	struct stat st;

	if (fstatat(root, "tree", &st, 0) == 0)
		return;
	promise(mkdirat(root, "made", 0700) == 0 && mkdirat(root, "tree", 0700) == 0 && mkdirat(root, "tree/sub", 0700) == 0);
	scratch_write("secret", "x", 1);
	scratch_write("tree/file", "x", 1);
	scratch_write("tree/sub/file", "x", 1);
	for (size_t i = 0; i < sizeof links / sizeof *links; i++)
		promise(symlinkat(links[i][0], root, links[i][1]) == 0);
	promise(mkfifoat(root, "tree/fifo", 0600) == 0 && linkat(root, "tree/file", root, "tree/twice", 0) == 0);
}

static void
check_below(int fd, const char *directory)
{
	char link[64], path[PATH_MAX], below[PATH_MAX];
	ssize_t size;

	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	size = readlink(link, path, sizeof path - 1);
	promise(size > 0);
	path[size] = '\0';
	snprintf(below, sizeof below, "%s/%s", scratch_path(), directory);
	promise(text_starts(path, below) && (path[strlen(below)] == '/' || path[strlen(below)] == '\0'));
}

/* By openat2 and by the walk for old kernels: the same, and never outside. */
static void
open_both_ways(const char *name)
{
	int tree finally(close_fd) = openat(scratch_fd(), "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int fd finally(close_fd) = path_open_below(tree, name, O_RDONLY, 0);
	int walked finally(close_fd) = path_walk_below(tree, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0);
	struct stat st, other;

	promise(tree >= 0);
	if (fd >= 0) {
		promise(fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1);
		check_below(fd, "tree");
		promise(walked >= 0 && fstat(walked, &other) == 0 && st.st_ino == other.st_ino);
	} else if (walked >= 0) {
		/* The walk leaves the checks of the result out. */
		promise(fstat(walked, &other) == 0 && (!S_ISREG(other.st_mode) || other.st_nlink != 1));
		check_below(walked, "tree");
	}
}

static void
make(const char *name)
{
	int made finally(close_fd) = openat(scratch_fd(), "made", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const char *last;
	int parent finally(close_fd) = path_open_parent(made, name, true, &last);
	int fd finally(close_fd) = -1;
	int direct finally(close_fd) = -1;

	promise(parent >= 0 && last >= name && last < name + strlen(name) && !strchr(last, '/'));
	fd = path_open_below(parent, last, O_RDWR | O_CREAT, 0600);
	promise(fd >= 0);
	check_below(fd, "made");
	direct = path_open_below(made, name, O_RDONLY, 0);
	promise(direct >= 0);
}

static void
unmake(const char *name, struct arena *arena)
{
	char *path = arena_printf(arena, "made/%s", name);

	unlinkat(scratch_fd(), path, 0);
	for (char *slash; (slash = strrchr(path, '/')) && slash > path + 4;) {
		*slash = '\0';
		unlinkat(scratch_fd(), path, AT_REMOVEDIR);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena arena finally(arena_finish) = { 0 };
	struct feed feed = { data, size };
	const char *names[MOST], *why;
	struct error err = { 0 };
	bool all_safe = true;
	size_t count = 0;

	if (size > 1200 || (size && memchr(data, '\0', size)))
		return 0;
	set_traps();
	while (count < MOST && (count == 0 || feed.left > 0))
		names[count++] = feed_text(&feed, &arena, NULL);
	for (size_t i = 0; i < count; i++) {
		why = NULL;
		all_safe &= path_is_safe(names[i], &why);
		promise(path_is_safe(names[i], &why) || (why && *why));
		open_both_ways(names[i]);
	}
	if (!path_set_is_safe(names, count, &err)) {
		promise(*err.text && (!all_safe || count > 1));
		return 0;
	}
	promise(all_safe);
	/* All of a set at once: none is another's directory. */
	for (size_t i = 0; i < count; i++)
		make(names[i]);
	for (size_t i = 0; i < count; i++)
		unmake(names[i], &arena);
	return 0;
}
