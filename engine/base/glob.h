/* glob.h - patterns of `inputs`, `include` and `--target`. */
#pragma once

#include <stdbool.h>

#include "error.h"
#include "strings.h"

struct arena;

/* Hub patterns: `*` also matches `/`, case matters, a trailing `/` means everything below (huggingface_hub filter_repo_objects). */
bool glob_match_hub(const char *pattern, const char *path);

/* Shell patterns of names: `*`, `?`, `[..]`, `[!..]`. */
bool glob_match_name(const char *pattern, const char *name);

bool glob_is_pattern(const char *text);

/* Paths that match, sorted bytewise; `**` spans directories, `*` does not match `/` or a leading dot. A text without wildcard is itself, whether it exists or
 * not. Symlinked directories are not entered by `**`; at the end of a pattern it gives the files below, not the directories. */
bool glob_expand(const char *pattern, struct arena *arena, struct strings *paths, struct error *err);
