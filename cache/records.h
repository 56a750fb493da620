/* records.h - the current record of each target, and those put aside until their successors have proved themselves. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/digest.h"
#include "engine/base/error.h"
#include "engine/memory.h"

struct arena;
struct sql;

enum record_table { RECORDS_CURRENT, RECORDS_KEPT };

/* What an outcome did to the current record, for the history. */
struct record_change {
	bool changed;
	bool removed;         /* there is none now */
	struct digest digest; /* of the record as it is kept */
};

/* The id of a deployment; 0 if it has none. `add` gives it one. */
bool records_deployment(struct sql *sql, const char *name, bool add, int64_t *id, struct error *err);

/* Names of all deployments that have records. */
bool records_deployments(struct sql *sql, struct arena *arena, const char ***names, size_t *count, struct error *err);

/* All records of a deployment, in one scan; bodies are copied once. */
bool records_load(struct sql *sql, enum record_table table, const char *deployment, struct arena *arena, struct row **rows,
	size_t *count, struct error *err);

/* The current record of one target; NULL if it has none. */
bool records_one(struct sql *sql, const char *deployment, const char *target, struct arena *arena, struct row **row, struct error *err);

/* Within the caller's transaction: put aside, replace, remove, restore, drop, as the outcome says. */
bool records_apply(struct sql *sql, int64_t deployment, const struct outcome *outcome, struct record_change *change,
	struct error *err);

/* Whether the current records are those that the history speaks of: else E0911. */
bool records_verify(struct sql *sql, struct error *err);
