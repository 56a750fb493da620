/* toplevel.h - what a manifest says beside its vars and targets: name, reserve, limits, fallback. For resolve.c alone. */
#pragma once

#include "resolve.h"
#include "scope.h"

/* One manifest while it is being put together. */
struct loading {
	struct manifest *manifest;
	struct arena *arena;
	struct errors *errors;
	struct scope scope;
	const char *cwd;
};

/* Read all of them into the manifest; what is wrong is added to the errors. */
void toplevel_read(struct loading *loading, const struct node *root);

/* The manifest lacks a required key. */
void toplevel_missing(struct loading *loading, const struct node *root, const char *key, const char *hint);

/* The value of a key is no map. */
void toplevel_not_a_map(struct loading *loading, const char *key, const struct node *node);
