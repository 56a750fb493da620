/* history.h - runs and actions, append-only, chained by hash: a rewritten past shows.
 *
 * hash[n] = SHA-256(hash[n-1] || all other columns of entry n), and hash[0] is that of the project's id. What is written here is never changed by us. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/digest.h"
#include "engine/base/error.h"
#include "engine/memory.h"

struct arena;
struct record_change;
struct sql;

/* The newest entry, to which the next one is chained. */
struct tip {
	int64_t seq;          /* 0: nothing was written yet */
	struct digest hash;
	bool open;            /* its run has no end: it goes on, or was killed */
	char run[64];
	char deployment[64];
	int64_t ended_ns;
};

/* A run that goes on. */
struct current_run {
	char id[64];
	char deployment[64];
	int64_t started_ns;
};

/* All of these want the caller's transaction; `tip` moves on. */
bool history_tip(struct sql *sql, const char *project, struct tip *tip, struct error *err);
bool history_bury(struct sql *sql, struct tip *tip, struct error *err); /* the end of a run that was killed: "died" */
bool history_begin(struct sql *sql, struct tip *tip, const struct run_info *info, struct current_run *run, struct error *err);
bool history_action(struct sql *sql, struct tip *tip, const struct current_run *run, const struct outcome *outcome,
	const struct record_change *change, struct error *err);
bool history_end(struct sql *sql, struct tip *tip, const struct current_run *run, const char *result, int status, int64_t ended_ns,
	struct error *err);

/* Entries in the order of seq; `run` NULL: all. */
bool history_read(struct sql *sql, const char *run, struct arena *arena, struct history_entry **entries, size_t *count,
	struct error *err);
bool history_last_action(struct sql *sql, const char *deployment, const char *target, struct arena *arena,
	struct history_entry *entry, bool *found, struct error *err);

/* Recompute the chain: E0911 names the first entry that is not as it was written. `head` is zeroed and `head_hash` empty where nothing was written. */
bool history_verify(struct sql *sql, const char *project, struct arena *arena, struct history_entry *head,
	char head_hash[DIGEST_HEX], size_t *runs, struct error *err);
