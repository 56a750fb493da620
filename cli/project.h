/* project.h - finds the manifest, the project's root and what lies beside it, each with where that came from.
 *
 * Changes nothing and never the working directory: everything found is an absolute path. */
#pragma once

#include <stdbool.h>

#include "engine/base/error.h"
#include "engine/inspect.h"
#include "options.h"

struct arena;

struct found {
	const char *cwd;             /* absolute; what relative arguments start at */
	const char *manifest;        /* absolute, or "-"; NULL: none */
	const char *manifest_origin; /* "argument", "PROVISION_MANIFEST", "provision.yaml", "last applied" */
	const char *root;            /* absolute */
	const char *root_origin;     /* "cache", "git", "manifest" */
	bool is_elsewhere;           /* the manifest lies outside the root */
	const char *other_root;      /* absolute: the project that it lies in, which keeps records of its own; NULL: there is none */
	const char *state_dir;       /* absolute */
	const char *cache;           /* absolute path of the database */
	bool cache_exists;
};

/* The working directory as `-C` wants it. */
bool project_cwd(struct found *found, const struct options *options, struct arena *arena, struct error *err);

/* Manifest from the operand (may be NULL), the environment or `./provision.yaml`; then root and cache. No manifest is fine. */
bool project_find(struct found *found, const struct options *options, const char *operand, struct arena *arena,
	struct error *err);

/* Whether there is such a manifest; if not, the error names the one beside it that is most like it. `shown` is how people see the path. */
bool project_has(const char *path, const char *shown, struct arena *arena, struct error *err);

/* The files of settings, the user's first; those that exist are read into the options. */
bool project_settings(struct options *options, struct arena *arena, struct errors *errors, struct sources *sources);

/* Whether an operand means a manifest: `-`, a name with a slash or ending in .yaml or .yml, or anything that can be neither a
 * target nor a pattern. */
bool project_is_manifest(const char *operand);
