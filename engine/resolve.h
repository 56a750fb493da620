/* resolve.h - one manifest out of files: extends, vars and references.
 *
 * Knows nodes, not graphs. References to vars and the environment are replaced; references to outputs of targets stay and mark their
 * nodes `pending`. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/strings.h"
#include "manifest.h"

struct fallback_entry {
	const char *manifest; /* absolute path */
	const char *shown;    /* as written, seen from the working directory */
	struct place at;
	unsigned classes;     /* bit per enum failure_class */
};

struct reserve {
	const int64_t *gpus;
	size_t count;
	const char *purpose; /* `for:`, or NULL */
	struct place at;
};

struct limits { /* -1: none */
	int64_t download; /* bytes */
	int64_t disk;     /* bytes */
	int64_t time;     /* ms */
	int64_t downtime; /* ms */
};

struct manifest {
	struct arena *arena;
	struct sources sources;
	const char *file;            /* as shown */
	const char *path;            /* absolute */
	const char *directory;       /* absolute; default of `workdir` */
	const char *name;            /* the deployment */
	struct place name_at;
	const struct node *targets;  /* map of maps */
	const struct node *vars;     /* map, references replaced; may be NULL */
	struct strings set_only;     /* vars that `--set` alone defines */
	struct fallback_entry *fallbacks;
	size_t fallback_count;
	struct reserve reserve;
	struct limits limits;
	struct digest digest;        /* over all files and `--set` values, in order */
	bool environment;            /* it refers to the environment */
};

/* Load `path` ("-": standard input) with everything it extends. `cwd` is absolute; `sets` are the `--set` pairs. False if `errors` has any. */
bool manifest_load(struct manifest *manifest, const char *path, const char *cwd, const struct pairs *sets,
	struct arena *arena, struct errors *errors);

/* The same, asking `recall` (may be NULL) for what a text was parsed to before. It must live as long as the manifest. */
bool manifest_recall(struct manifest *manifest, const char *path, const char *cwd, const struct pairs *sets, const struct recall *recall,
	struct arena *arena, struct errors *errors);

/* What a reference to an output stands for; NULL: not known yet. */
typedef const char *output_lookup(void *context, const char *target, const char *output);

/* A copy of a pending node with its references to outputs replaced. `*unknown` is set to the first target whose output is not known yet, and the result then is NULL. */
struct node *resolve_outputs(const struct node *node, output_lookup *lookup, void *context, struct arena *arena, const char **unknown);

/* The same, but what is not known yet stays pending. */
struct node *resolve_known(const struct node *node, output_lookup *lookup, void *context, struct arena *arena);

/* Call `found` for every reference to an output within a pending node, with the place it is written at. */
void resolve_references(const struct node *node,
	void (*found)(void *context, const char *target, const char *output, struct place at), void *context, struct arena *arena);
