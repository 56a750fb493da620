/* file.h - reading and writing files so that a crash at any moment leaves the old or the new.
 *
 * Every descriptor is close-on-exec. EINTR and short counts are handled here and nowhere else. A failed fsync or close of what
 * was written is final (reliability.md W4, W5). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "error.h"

struct arena;
struct buf;

/* What identifies unchanged bytes without reading them. */
struct stat_key {
	uint64_t device;
	uint64_t inode;
	uint64_t size;
	int64_t mtime_ns;
	int64_t ctime_ns;
};

struct stat_key stat_key_of(const struct stat *st);
bool stat_key_equal(const struct stat_key *a, const struct stat_key *b);

/* Read up to `size` bytes; fewer only at the end of the file. */
bool file_read_all(int fd, void *bytes, size_t size, size_t *got, struct error *err);
bool file_pread_all(int fd, void *bytes, size_t size, uint64_t offset, size_t *got, struct error *err);
bool file_write_all(int fd, const void *bytes, size_t size, struct error *err);
bool file_pwrite_all(int fd, const void *bytes, size_t size, uint64_t offset, struct error *err);

/* The whole file as text in the arena; over `limit` bytes is E0106. */
bool file_load(const char *path, size_t limit, struct arena *arena, const char **text, size_t *size, struct error *err);

/* Write beside, fsync, rename, fsync the directory. */
bool file_save(const char *path, const void *bytes, size_t size, mode_t mode, struct error *err);

/* fsync, and close whatever it says; false if either failed. `*fd` is -1 afterwards. */
bool file_sync_close(int *fd, const char *path, struct error *err);

/* fsync the directory itself. */
bool file_sync_dir(const char *path, struct error *err);

/* Make one directory below `parent`, durably; fine if it is there, and finished if a run was killed while making it. errno. */
bool file_make_dir(int parent, const char *name, mode_t mode);

/* Whether this is a directory that file_make_dir() did not come to finish. */
bool file_is_unfinished(int fd);

/* Make the directory and its missing parents (mode 0755, made durable); fine if it is there. E0906 names what is in the way. */
bool file_make_dirs(const char *path, mode_t mode, struct error *err);

/* "a/b" for "a" and "b"; just "b" if it is absolute. */
const char *path_join(struct arena *arena, const char *directory, const char *name);

/* Without `.`, `..` and doubled slashes; text alone, no symlink is read. Relative paths are taken from `base`, which is absolute. */
const char *path_absolute(struct arena *arena, const char *base, const char *path);

/* The directory part, "." if there is none. */
const char *path_dir(struct arena *arena, const char *path);
const char *path_base(const char *path);

/* `path` as seen from `base` when it lies below it, else as it is: for people. */
const char *path_shown(struct arena *arena, const char *base, const char *path);

/* Free bytes for us on the file system that holds `path` or its nearest parent that exists. */
bool file_free_space(const char *path, uint64_t *bytes, struct error *err);
