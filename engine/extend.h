/* extend.h - `extends`: a manifest and all that it builds on, as one tree.
 *
 * Maps merge key by key, scalars and lists replace, null removes. Nodes are shared with the trees they came from. */
#pragma once

#include <stddef.h>

#include "source.h"

#define EXTENDS_DEEP 16

struct node;

struct layers {
	struct node *roots[EXTENDS_DEEP]; /* the manifest itself first, what it extends behind it */
	size_t count;
};

/* Read a manifest and what it extends. False if errors were added. */
bool extend_read(struct layers *layers, struct sources *sources, const char *file, const char *path, struct errors *errors);

/* `over` laid over `base`; NULL and an error if that is too large. */
struct node *extend_merge(const struct node *base, struct node *over, struct arena *arena, struct errors *errors);

/* A copy of `map` (NULL: an empty one at the value's place) with the value at a dotted path replaced or added. */
struct node *extend_set(const struct node *map, const char *path, struct node *value, struct arena *arena);
