/* context.h - a build context through .dockerignore, as one digest. provision writes no tar.
 *
 * Each file counts with its path, mode bits and SHA-256 (through the task's stat cache), each symlink with its target, each directory with its mode bits. Opened
 * by descriptors, no symlink within is followed. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/digest.h"
#include "engine/base/error.h"
#include "ignore.h"

struct arena;
struct task;

struct context_file {
	const char *path;     /* relative */
	struct digest digest; /* of content, or of a symlink's target; zero for a directory */
	uint64_t size;
	unsigned mode;        /* st_mode: type and permissions */
};

/* All that the builder gets of the context, sorted by path, and one digest over it. `dockerfile` (absolute) is counted whether ignored or not, as the builder does, and
 * its own `DOCKERFILE.dockerignore` wins over the context's `.dockerignore`. A context of over 100,000 files is refused (E0106), and what is neither file, directory nor
 * symlink is too (E0103). */
bool context_read(struct task *task, const char *directory, const char *dockerfile, struct context_file **files, size_t *count, struct digest *digest,
	struct error *err);

/* Path of the ignore file that is in force, or NULL if there is none. */
const char *context_ignore_file(struct task *task, const char *directory, const char *dockerfile);

/* A Dockerfile or an ignore file as text; it may be reached by a symlink, but must be a regular file. */
bool context_load(const char *path, size_t limit, struct arena *arena, const char **text, size_t *size, struct error *err);
