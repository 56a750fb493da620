/* node.h - the tree that a manifest is: scalars, lists and maps that know where they are written.
 *
 * Nodes live in an arena and are never altered once they are whole; what differs is a copy. Trees are at most NODE_HEIGHT high and weigh at most NODE_WEIGHT, so that
 * recursion over them is bounded, also where aliases and references share nodes. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define NODE_HEIGHT 64
#define NODE_WEIGHT 4000000u /* 100,000 targets are a supported size, and have about a million nodes */
#define NODE_TEXT 64 /* bytes of text that weigh as much as a node */

struct arena;

enum node_kind { NODE_NULL, NODE_SCALAR, NODE_LIST, NODE_MAP };

struct entry {
	const char *key;
	struct place at; /* of the key */
	struct node *value;
};

struct node {
	enum node_kind kind;
	bool quoted;              /* a scalar that is text whatever it looks like */
	bool pending;             /* it or something within still holds `${target.output}`; before resolve: any `${` */
	uint16_t height;          /* levels of lists and maps in it; a scalar has 0 */
	uint32_t count;           /* items or entries */
	uint32_t weight;          /* nodes in it, itself included, every alias and reference followed: what a walk over it costs */
	struct place at;          /* where it is written: relative paths start at this file */
	const struct node *from;  /* the node whose text this is, if a reference brought it here; else NULL */
	union {
		const char *text;
		struct node **items;
		struct entry *entries;
	};
};

/* NULL if the map lacks it, or `map` is none. */
struct node *node_get(const struct node *map, const char *key);

/* Where the value of `key` was really written (its var if it is a reference), or the map itself if it lacks the key. */
struct place node_place(const struct node *map, const char *key);

/* Where a node's text was really written. */
struct place node_origin(const struct node *node);

/* Core schema of YAML 1.2: what a plain scalar is. */
bool node_is_null(const struct node *node);
bool node_as_bool(const struct node *node, bool *value);
bool node_as_int(const struct node *node, int64_t *value);
bool node_as_float(const struct node *node, double *value);

/* "a list", "a map", "text", "an integer" ...: what it is, for messages. */
const char *node_describe(const struct node *node);

/* As compact JSON, plain scalars typed by the core schema, keys in the order written. */
const char *node_json(const struct node *node, struct arena *arena);
