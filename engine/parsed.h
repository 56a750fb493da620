/* parsed.h - the tree of a source as bytes, so that a text that has not changed need not be read as YAML again.
 *
 * A shortcut, never evidence: the bytes name the text by its digest, and what is torn or of another version is none. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "node.h"
#include "source.h"

struct buf;

#define PARSED_WORTH (64u << 10) /* bytes of text from which on the bytes are worth their place */

/* Pack the tree that a source was parsed to. What the buffer's limit does not hold leaves it truncated: trees with many aliases grow. */
void parsed_pack(const struct source *source, const struct node *root, struct buf *bytes);

/* The tree, in the arena; its texts stay within `bytes`. NULL: they are not of this source, or torn. */
struct node *parsed_unpack(const struct source *source, const void *bytes, size_t size, struct arena *arena);
