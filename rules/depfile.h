/* depfile.h - what a compiler says it has read: the prerequisites of a depfile in Make syntax. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/error.h"
#include "engine/base/strings.h"

struct arena;

/* Every prerequisite of every rule in the order written, as written, duplicates and all. Line ends after `\`, `\ ` for a space, `\#`, `$$` and
 * rules without prerequisites are read as Make reads them. E0605 where a line is no rule. */
bool depfile_parse(const char *text, size_t size, struct arena *arena, struct strings *paths, struct error *err);
