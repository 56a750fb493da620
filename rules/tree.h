/* tree.h - a directory that a command reads or makes, as one digest.
 *
 * Every file counts with its path, its executable bit and its SHA-256 (through the task's stat cache), every symlink with its target, every
 * directory with its path. Nothing else may lie in it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/digest.h"
#include "engine/base/error.h"

struct task;

bool tree_digest(struct task *task, const char *path, struct digest *digest, uint64_t *bytes, struct error *err);

/* Make every file and directory in it durable, the directory itself and its name too. */
bool tree_sync(const char *path, struct error *err);

/* Remove it with all that is in it, without leaving its file system or following a symlink. */
bool tree_remove(const char *path, struct error *err);
