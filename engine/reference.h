/* reference.h - `${var}`, `${env.NAME}` and `${target.output}` in text: the whole expression language, read and put together again.
 *
 * Text that is pending is source of this language: references to outputs as they were written, `$${` for a literal `${`. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "node.h"

#define REFERENCE_TEXT ((size_t)64 << 20) /* bytes that replacing may make */

enum piece_kind { PIECE_TEXT, PIECE_VAR, PIECE_ENV, PIECE_OUTPUT, PIECE_BAD };

struct piece {
	enum piece_kind kind;
	const char *start;   /* of a text: what it stands for; else from the `$` */
	size_t size;
	size_t offset;       /* of its source within the text */
	const char *name;    /* of a var, of the environment, of a target */
	size_t name_size;
	const char *output;
	size_t output_size;
	const char *problem; /* PIECE_BAD */
};

/* The next piece at `*offset`; false at the end of the text. */
bool reference_next(const char *text, size_t *offset, struct piece *piece);

/* Whether the whole text is one reference, good or bad. */
bool reference_is_whole(const char *text, struct piece *piece);

/* Where a piece of a scalar is written: exact where the text stands in one line as it is, in quotes or not; else the whole scalar. */
struct place reference_place(const struct node *node, const struct piece *piece);

/* Add an error, unless the same was added before: one text may be seen through many aliases. */
void reference_error(struct errors *errors, const struct error *err);

/* Text that is put together again from literal text and from references that stay. */
struct assembly {
	struct buf run;   /* literal text since the last reference that stays */
	struct buf out;   /* pending text up to there */
	bool pending;
	bool ambiguous;   /* a literal `$` came to stand before a reference that stays: both would read as an escape */
};

void assembly_init(struct assembly *assembly, size_t limit);
void assembly_finish(struct assembly *assembly);

/* Pending text as it is written. Literal text goes into `run`. */
void assembly_add_pending(struct assembly *assembly, const char *text, size_t size);

/* The result, quoted, at the place of `like`. */
struct node *assembly_node(struct assembly *assembly, const struct node *like, struct arena *arena);

/* A scalar like another, with other text. */
struct node *reference_text_node(struct arena *arena, const struct node *like, const char *text, size_t size);

/* A copy of a list or map with room for as many children and none in it; reference_put adds them one by one, and is false when the copy outgrows the limits. */
struct node *reference_empty_copy(struct arena *arena, const struct node *node);
struct node *reference_child(const struct node *node, uint32_t index);
bool reference_put(struct node *copy, const struct node *node, uint32_t index, struct node *child);
