/* graph.h - targets and their needs, by dense 32-bit ids, in one order.
 *
 * Made once from a manifest and never altered; lives in the arena. Ids follow the manifest's order; `order` is topological and keeps that
 * order where needs allow. Knows nothing of digests. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/names.h"
#include "resolve.h"
#include "rule.h"

struct target {
	uint32_t id;
	const char *name;
	struct place at;
	const struct rule *rule;
	const struct node *node;   /* its map in the manifest */
	const void *spec;          /* filled parameters; where `pending`, filled again when the outputs are known */
	bool pending;              /* a parameter refers to an output that only a build makes known */
	bool optional;             /* left out unless named */
	const char *description;
	const char *workdir;       /* absolute */
	int64_t timeout;           /* ms; 0: none */
	int64_t retries;
	uint32_t needs, need_count;    /* slice of graph.needs: ids */
	uint32_t users, user_count;    /* slice of graph.users: ids of targets that need this one */
};

#define GRAPH_PATH_LENGTHS 4096

struct graph {
	struct target *targets;
	uint32_t count;
	uint32_t *needs;
	uint32_t *users;
	uint32_t *order;
	uint32_t *pending;         /* ids of targets whose parameters are not all known yet */
	uint32_t pending_count;
	struct names names;        /* name -> id: targets come first, in order */
	struct names paths;        /* paths that targets make */
	struct names parents;      /* directories that they lie in */
	uint32_t *path_maker;      /* names id of a path -> target id */
	bool path_lengths[GRAPH_PATH_LENGTHS]; /* lengths that made paths have: a filter before a look-up */
	const struct rule *const *rules; /* all kinds, ends with NULL: records of targets that are gone need theirs */
	const struct sources *sources; /* of the manifest: where relative paths start */
	struct arena *arena;
};

/* Link a manifest. `rules` ends with NULL. All errors are gathered; false if there are any. */
bool graph_link(struct graph *graph, const struct manifest *manifest, const struct rule *const *rules, struct errors *errors);
void graph_finish(struct graph *graph);

const struct rule *graph_rule(const struct graph *graph, const char *name); /* NULL if there is none of that name */

/* NULL if there is none. */
const struct target *graph_find(const struct graph *graph, const char *name);

/* Keys that every target has, as a table of parameters. */
const struct param *graph_common_params(void);

/* An output that is simply a parameter of the target, as text; NULL if it is none or not known yet. */
const char *graph_plain_output(const struct target *target, const char *name, struct arena *arena);

/* Fill a pending target's parameters anew from its map with all outputs replaced (resolve_outputs). The first error alone. */
bool graph_fill(const struct graph *graph, const struct target *target, const struct node *resolved, struct arena *arena, const void **spec,
	struct error *err);

/* The id of the target that makes a path (or a directory above it), NO_NAME if none does. */
uint32_t graph_maker(const struct graph *graph, const char *path);

/* Whether anything that any target makes lies below a directory; and whether something that this one makes does. */
bool graph_is_parent(const struct graph *graph, const char *directory);
bool graph_makes_below(const struct graph *graph, uint32_t id, const char *directory, struct arena *arena);

/* Mark `id` and everything it needs (or everything that needs it). `marks` has a byte per target. */
void graph_mark_needs(const struct graph *graph, uint32_t id, unsigned char *marks);
void graph_mark_users(const struct graph *graph, uint32_t id, unsigned char *marks);
