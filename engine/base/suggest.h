/* suggest.h - did you mean: optimal string alignment distance of at most max(1, length / 3), case folded, `-` equal to `_`. */
#pragma once

#include <stddef.h>

/* The nearest candidate, or NULL if none is near. `candidates` ends with NULL. */
const char *suggest(const char *word, const char *const *candidates);

/* Add one candidate at a time: the better of `best` (may be NULL) and `candidate`, or NULL. */
const char *suggest_better(const char *word, const char *best, const char *candidate);
