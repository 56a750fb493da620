#include "fuzz.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SEPARATOR 0x1e

void
fuzz_broken(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: broken promise: %s\n", file, line, what);
	abort();
}

uint8_t
feed_byte(struct feed *feed)
{
	if (feed->left == 0)
		return 0;
	feed->left--;
	return *feed->bytes++;
}

size_t
feed_below(struct feed *feed, size_t bound)
{
	return bound ? feed_byte(feed) % bound : 0;
}

const char *
feed_text(struct feed *feed, struct arena *arena, size_t *size)
{
	const uint8_t *end = feed->left ? memchr(feed->bytes, SEPARATOR, feed->left) : NULL;
	size_t length = end ? (size_t)(end - feed->bytes) : feed->left;
	const char *text = arena_copy_bytes(arena, feed->left ? (const char *)feed->bytes : "", length);

	feed->bytes += length + (end != NULL);
	feed->left -= length + (end != NULL);
	if (size)
		*size = length;
	return text;
}

/* The directory outlives every input: making one for each would cost more than what is tested. */
static struct {
	char path[256];
	int fd;
} scratch = { .fd = -1 };

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	return ftw->level > 0 ? remove(path) : 0;
}

void
scratch_clear(void)
{
	nftw(scratch_path(), remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void
scratch_remove(void)
{
	scratch_clear();
	rmdir(scratch.path);
}

const char *
scratch_path(void)
{
	const char *parent = getenv("TMPDIR");

	if (scratch.fd >= 0)
		return scratch.path;
	snprintf(scratch.path, sizeof scratch.path, "%s/provision-fuzz-XXXXXX", parent ? parent : "/tmp");
	promise(mkdtemp(scratch.path));
	scratch.fd = open(scratch.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	promise(scratch.fd >= 0);
	atexit(scratch_remove);
	return scratch.path;
}

int
scratch_fd(void)
{
	scratch_path();
	return scratch.fd;
}

void
scratch_write(const char *name, const void *bytes, size_t size)
{
	int fd finally(close_fd) = openat(scratch_fd(), name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	promise(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
}
