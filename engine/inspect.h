/* inspect.h - a cheap look at the world: which targets agree with their records, and why not.
 *
 * Runs ingredients, fingerprint, inspect and stale over the graph in dependency order. Changes nothing. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/finding.h"
#include "graph.h"
#include "known.h"
#include "memory.h"
#include "stale.h"

struct seal;

/* What the user asked for, for plan and apply alike. */
struct wishes {
	struct strings targets;   /* names or patterns; empty: all that are not optional */
	struct strings excludes;
	struct strings replaces;
	bool refresh;
	bool deep;
	bool offline;
	bool adopt;               /* take over what is there, make nothing else */
	bool estimate;            /* ask rules what stale targets will cost */
	bool files_alone;         /* look only at targets that look at nothing but files; the others are taken for up to date */
	const struct seal *seal;  /* what need not be looked at, for this very manifest; or NULL */
	unsigned downloads;       /* connections at once; 0: 4 */
	int64_t grace;            /* ms */
};

/* Where a project lives. */
struct project {
	const char *root;         /* absolute */
	const char *state_dir;    /* absolute: ROOT/.provision */
	const char *id;           /* 12 hex digits or "" */
};

/* More about a target that is not simply up to date. */
struct detail {
	struct look look;
	struct causes causes;
	struct findings findings;
	struct cost cost;
	struct pairs outputs;     /* of a check that passes now */
	struct error error;       /* fault FAULT_NONE: none */
	const char *unknown;      /* REASON_UNKNOWN_UNTIL: the target that must be built first */
	const char *root;         /* REASON_DEPENDENCY: the target where it began */
};

struct seen {
	bool wanted;
	bool sealed;               /* taken for up to date by the seal: not looked at, and its record perhaps not read */
	bool has_record;           /* `record` was read, if there is one */
	bool elsewhere;            /* the look was at more than files */
	bool refused;              /* a check that does not pass */
	bool fingerprint_known;
	bool passed_now;           /* a check whose verdict was given by this inspection, and is good */
	enum reason reason;        /* REASON_NONE: up to date */
	struct digest fingerprint;
	uint32_t sights;           /* where the files that were looked at begin in known's trail */
	uint32_t sight_count;
	const struct record *record; /* NULL: none */
	const void *spec;          /* filled as far as outputs are known */
	struct detail *detail;     /* NULL for what is plainly up to date */
};

struct inspection {
	const struct manifest *manifest;
	const struct graph *graph;
	const struct memory *memory;
	const struct project *project;
	const struct wishes *wishes;
	struct known *known;
	struct arena *arena;
	struct seen *seen;          /* by target id */
	bool looked_in_part;        /* of some target not all could be looked at: an output that it needs is not known yet */
	struct record *gone;        /* records of this deployment that the manifest has no more */
	size_t gone_count;
	struct intent *intents;     /* left by an earlier run */
	size_t intent_count;
	struct record *kept;        /* records put aside by a run that ended before it settled or reverted them */
	size_t kept_count;
};

/* False on what makes a plan impossible: unknown target names (E0002), an unreadable memory. Failures of single targets are in their detail. */
bool inspect(struct inspection *inspection, const struct manifest *manifest, const struct graph *graph, const struct memory *memory,
	const struct project *project, const struct wishes *wishes, struct known *known, struct arena *arena, struct error *err);

/* Whether the graph has all targets that the wishes name; if not, E0002. */
bool inspect_names(const struct graph *graph, const struct wishes *wishes, struct error *err);

/* The record of a target that was put aside, NULL if none was. */
const struct record *inspection_kept(const struct inspection *inspection, const char *target);

/* Look at one target again, its needs being as recorded now (`current`, by target id): what a worker does just before it builds, with its own task. The
 * ingredients stay in the task for the record. `seen` is overwritten. */
void inspect_again(const struct inspection *inspection, const struct target *target, const struct record *const *current, bool asked_for,
	struct task *task, struct seen *seen);
