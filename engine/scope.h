/* scope.h - vars and environment: what `${var}` and `${env.NAME}` stand for.
 *
 * Each var is resolved once, when it is first needed. References to outputs of targets stay, and mark their nodes pending. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/names.h"
#include "node.h"

#define VARS_DEEP 64 /* vars that refer to vars */

struct scope {
	struct arena *arena;
	struct errors *errors;
	const struct node *vars;      /* map, or NULL */
	const struct node *targets;   /* map, or NULL: for hints alone */
	struct names names;           /* of the vars, by the map's order */
	struct var *values;
	uint32_t chain[VARS_DEEP];    /* vars whose values are being resolved, outermost first */
	size_t depth;
	size_t produced;              /* bytes of text made so far */
	bool environment;             /* some `${env.NAME}` was replaced */
};

void scope_init(struct scope *scope, const struct node *vars, const struct node *targets, struct errors *errors, struct arena *arena);
void scope_finish(struct scope *scope);

/* The node with its references replaced; the node itself where it has none. What cannot be replaced stays as it is, and an error is added. */
struct node *scope_resolve(struct scope *scope, struct node *node);

/* The map of vars with all references replaced; NULL if there is none. */
const struct node *scope_vars(struct scope *scope);
