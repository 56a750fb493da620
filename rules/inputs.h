/* inputs.h - the files that a command reads: named by the manifest, or found out from what the compiler says it has read.
 *
 * Named ones are ingredients. Those that were found out are not, since they are known only after the command has run: they are kept with the
 * record and looked at by inspect. Neither may change while the command runs. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/digest.h"
#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/base/strings.h"

struct arena;
struct task;

/* What one input was when it was looked at. */
struct input {
	const char *path;     /* absolute */
	const char *name;     /* as an ingredient: "file:src/main.c", "tree:assets" */
	bool tree;            /* a directory: no stat data stands for it */
	struct digest digest;
	struct stat_key key;
};

struct inputs {
	struct input *items;
	size_t count;
};

/* Look at every path and everything that a pattern matches, sorted by path, each once; what lies in `own` (the command's outputs) is none. While planning, what
 * another target still has to make is as it was recorded, or left out if it was not. E0301 for what is not there, E0613 for a pattern without a match. */
bool inputs_read(struct task *task, const struct strings *paths, const struct strings *own, struct inputs *inputs, struct error *err);

/* E0302 unless both are the same to the byte and the time stamp. */
bool inputs_unchanged(const struct inputs *before, const struct inputs *after, struct error *err);

/* E0302 unless these are what was fingerprinted. */
bool inputs_as_fingerprinted(struct task *task, const struct inputs *inputs, struct error *err);

/* Digests of the files that a depfile names, as JSON for the record: all but `inputs`, what lies in `own`, and what does not lie in `visible` (NULL: all does),
 * which is part of the image that the command ran in. None of them may be younger than `started_ns`, when the command began. */
bool inputs_discover(struct task *task, const char *depfile, const struct inputs *inputs, const struct strings *own, const struct strings *visible,
	int64_t started_ns, const char **note, struct error *err);

/* The first file of such a note that is not what it was, in words; NULL if all are. */
bool inputs_compare(struct task *task, const char *note, const char **what, struct error *err);

/* The directory in front of a pattern's first wildcard. */
const char *inputs_fixed_part(struct arena *arena, const char *pattern);

/* Whether the path is one of these or lies below one. */
bool inputs_within(const struct strings *paths, const char *path);
