/* files.h - stat data -> digest, so that unchanged bytes are not read again. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/error.h"
#include "engine/memory.h"

struct arena;
struct sql;

/* All of them, by device and inode, in one scan. */
bool files_load(struct sql *sql, struct arena *arena, struct known_file **files, size_t *count, struct error *err);

/* The one with this device and inode, if there is one. */
bool files_one(struct sql *sql, uint64_t device, uint64_t inode, struct known_file *file, bool *found, struct error *err);

/* Within the caller's transaction; a file with the same device and inode is replaced. */
bool files_save(struct sql *sql, const struct known_file *files, size_t count, struct error *err);
