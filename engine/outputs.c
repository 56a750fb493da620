#include "resolve.h"

#include <string.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "reference.h"

static struct node *
fill_scalar(const struct node *node, output_lookup *lookup, void *context, struct arena *arena)
{
	struct assembly assembly finally(assembly_finish) = { 0 };
	struct piece piece = { 0 };
	struct node *made;
	bool whole = reference_is_whole(node->text, &piece);
	size_t offset = 0;

	assembly_init(&assembly, REFERENCE_TEXT);
	while (reference_next(node->text, &offset, &piece)) {
		const char *value = NULL;

		if (piece.kind == PIECE_TEXT) {
			buf_add(&assembly.run, piece.start, piece.size);
			continue;
		}
		if (piece.kind == PIECE_OUTPUT)
			value = lookup(context, arena_copy_bytes(arena, piece.name, piece.name_size),
				arena_copy_bytes(arena, piece.output, piece.output_size));
		if (value)
			buf_text(&assembly.run, value);
		else
			assembly_add_pending(&assembly, piece.start, piece.size);
	}
	if (assembly.ambiguous)
		return reference_text_node(arena, node, node->text, strlen(node->text));
	made = assembly_node(&assembly, node, arena);
	/* Typed by what it says, so that a port that another target gives is a number. */
	if (whole && !made->pending && *made->text)
		made->quoted = false;
	return made;
}

struct node *
resolve_known(const struct node *node, output_lookup *lookup, void *context, struct arena *arena)
{
	struct node *copy;

	if (node->kind == NODE_SCALAR)
		return fill_scalar(node, lookup, context, arena);
	copy = reference_empty_copy(arena, node);
	for (uint32_t i = 0; i < node->count; i++) {
		struct node *child = reference_child(node, i);

		reference_put(copy, node, i, child->pending ? resolve_known(child, lookup, context, arena) : child);
	}
	return copy;
}

static void
first_unknown(void *context, const char *target, const char *output, struct place at)
{
	const char **unknown = context;

	(void)output;
	(void)at;
	if (!*unknown)
		*unknown = target;
}

struct node *
resolve_outputs(const struct node *node, output_lookup *lookup, void *context, struct arena *arena, const char **unknown)
{
	struct node *known = resolve_known(node, lookup, context, arena);

	if (!known->pending)
		return known;
	*unknown = NULL;
	resolve_references(known, first_unknown, unknown, arena);
	return NULL;
}

void
resolve_references(const struct node *node,
	void (*found)(void *context, const char *target, const char *output, struct place at), void *context, struct arena *arena)
{
	struct piece piece;
	size_t offset = 0;

	if (!node->pending)
		return;
	if (node->kind == NODE_LIST || node->kind == NODE_MAP) {
		for (uint32_t i = 0; i < node->count; i++)
			resolve_references(reference_child(node, i), found, context, arena);
		return;
	}
	while (reference_next(node->text, &offset, &piece))
		if (piece.kind == PIECE_OUTPUT)
			found(context, arena_copy_bytes(arena, piece.name, piece.name_size), arena_copy_bytes(arena, piece.output, piece.output_size),
				reference_place(node, &piece));
}
