/* memory.h - socket: what the engine asks of whoever remembers.
 *
 * All functions are called from one thread, the loop's. Reading works on a memory that was opened for reading alone; the writing half is then NULL. What a
 * writing function has returned true for survives a power cut. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/error.h"
#include "base/file.h"

struct arena;
struct record;

/* A file whose bytes were hashed, by what its stat data was then. */
struct known_file {
	struct stat_key key;
	int64_t hashed_ns; /* when the hash began: a file as young as that is hashed again (racily clean, W10) */
	struct digest digest;
};

/* A record as it is kept: the columns, and the body for record_unpack. */
struct row {
	const char *target;
	const char *rule;
	uint32_t rule_version;
	struct digest fingerprint;
	struct digest output;
	const void *body;
	size_t body_size;
};

/* What a run is known by. */
struct run_info {
	const char *id;         /* 8 random base32 characters */
	const char *command;    /* apply, destroy */
	const char *deployment;
	const char *manifest;   /* as shown */
	struct digest manifest_digest;
	const char *argv;       /* JSON list, redacted */
	const char *user;
	const char *host;
	const char *tool;       /* version */
	const char *fallback_of; /* manifest that this one stands in for, or NULL */
	int64_t started_ns;
};

/* One finished action, for the history; with `record` it also becomes (or, removed, ceases to be) the target's current record. */
struct outcome {
	const char *target;
	const char *action;   /* make, redo, check, remove, settle, revert */
	const char *result;   /* ok, failed, interrupted */
	const char *reasons;  /* JSON list */
	const char *message;  /* of a failure, redacted; or NULL */
	int64_t started_ns;
	int64_t ended_ns;
	const struct record *record; /* new current record, or NULL */
	bool removed;         /* forget the current record */
	bool keep_old;        /* put the replaced record aside until it is dropped or restored */
	bool drop_old;        /* forget the record put aside */
	bool restore_old;     /* make the record put aside current again */
	const char *const *checkpoints_done; /* keys to forget in the same transaction */
	size_t checkpoints_done_count;
	const char *const *intents_done;     /* ids likewise */
	size_t intents_done_count;
};

/* Something outside was about to be made. Found again after a crash. */
struct intent {
	const char *id;     /* unique; also on the thing itself, as a label or in its environment */
	const char *target;
	const char *kind;   /* container, process, image, kept */
	const char *name;   /* engine name, path, JSON: the rule knows */
	const char *run;
};

/* An entry of the history as `audit` reads it. */
struct history_entry {
	int64_t seq;
	const char *run;
	const char *kind;    /* run, action, end */
	const char *target;  /* or NULL */
	const char *action;
	const char *result;
	int64_t started_ns;
	int64_t ended_ns;
	const char *body;    /* JSON: all that was recorded */
	struct digest hash;  /* that chains it; zero where the memory does not tell */
};

struct memory {
	void *self;

	/* Reading. */
	const char *(*project)(void *self);                  /* 12 hex digits that stay with the cache; "" before the first write */
	bool (*records)(void *self, const char *deployment, struct arena *arena, struct row **rows, size_t *count, struct error *err); /* one ordered scan */
	bool (*record)(void *self, const char *deployment, const char *target, struct arena *arena, struct row **row, struct error *err); /* NULL: none */
	bool (*kept)(void *self, const char *deployment, struct arena *arena, struct row **rows, size_t *count, struct error *err); /* records put aside */
	bool (*files)(void *self, struct arena *arena, struct known_file **files, size_t *count, struct error *err); /* one ordered scan */
	bool (*file)(void *self, uint64_t device, uint64_t inode, struct known_file *file, bool *found, struct error *err); /* one of them */
	bool (*intents)(void *self, const char *deployment, struct arena *arena, struct intent **intents, size_t *count, struct error *err);
	bool (*checkpoint)(void *self, const char *key, struct arena *arena, const void **bytes, size_t *size, struct error *err); /* NULL: none */
	bool (*deployments)(void *self, struct arena *arena, const char ***names, size_t *count, struct error *err);
	bool (*last_action)(void *self, const char *deployment, const char *target, struct arena *arena, struct history_entry *entry, bool *found, struct error *err);
	bool (*history)(void *self, const char *run, struct arena *arena, struct history_entry **entries, size_t *count, struct error *err); /* NULL: all */
	bool (*verify)(void *self, struct arena *arena, struct history_entry *head, char head_hash[DIGEST_HEX], size_t *runs, struct error *err); /* recomputes the chain: E0911 */
	bool (*durations)(void *self, const char *deployment, struct arena *arena, const char ***targets, int64_t **ms, size_t *count, struct error *err); /* last successful build of each target */

	bool (*duration)(void *self, const char *deployment, const char *target, int64_t *ms, bool *found, struct error *err); /* one of them */

	/* Writing; NULL in a memory opened for reading. Each call is one durable transaction. */
	bool (*begin_run)(void *self, const struct run_info *run, struct error *err);
	bool (*end_run)(void *self, const char *result, int status, int64_t ended_ns, struct error *err);
	bool (*commit)(void *self, const struct outcome *outcomes, size_t count, const struct known_file *files, size_t file_count, struct error *err);
	bool (*save_checkpoint)(void *self, const char *key, const void *bytes, size_t size, struct error *err); /* NULL bytes: forget it */
	bool (*add_intent)(void *self, const struct intent *intent, struct error *err);
	bool (*drop_intent)(void *self, const char *id, struct error *err);
};
