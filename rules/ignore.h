/* ignore.h - .dockerignore as moby/patternmatcher reads it: the last match wins, `!` brings back, `**` spans directories, `#` begins a comment.
 *
 * Text alone, no file is touched. Matching takes time in proportion to pattern and path, whatever the pattern. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/error.h"

struct arena;

struct ignore {
	struct ignore_rule *rules;
	size_t count;
	bool brings_back; /* some rule begins with `!` */
};

/* Read the text of an ignore file. E0103 names the line of a pattern that cannot be read. */
bool ignore_parse(const char *text, size_t size, struct arena *arena, struct ignore *ignore, struct error *err);

/* Whether a path, relative to the context, is left out: by itself or because a directory above it is. */
bool ignore_matches(const struct ignore *ignore, const char *path);

/* The same for a walk: `above` holds for each rule whether it matched the directory above or one further up (NULL at the top); `own`, of `count` items, gets
 * the same for `path`. */
bool ignore_step(const struct ignore *ignore, const char *path, const bool *above, bool *own);

/* Whether something below an ignored directory may have been brought back, so that it has to be entered. */
bool ignore_enters(const struct ignore *ignore, const char *directory);
