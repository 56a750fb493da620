/* task.h - what a rule may ask while it works.
 *
 * A task belongs to one worker. What must become durable (checkpoints, intents) is handed to the loop's thread and waited for; these calls may come from any thread
 * that a rule starts. Everything returned lives in the task's arena or longer. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/file.h"
#include "base/finding.h"
#include "memory.h"
#include "record.h"

struct arena;
struct rule;
struct target;
struct task;

/* Who and where. */
struct arena *task_arena(struct task *task);             /* not thread-safe: for the worker's own thread */
const char *task_target(const struct task *task);
const char *task_deployment(const struct task *task);
const char *task_run(const struct task *task);           /* "" while planning */
const char *task_project(const struct task *task);       /* 12 hex digits; "" before the first apply */
const char *task_state_dir(const struct task *task);     /* absolute path of `.provision` */
const char *task_root(const struct task *task);          /* absolute path of the project's root */
const char *task_workdir(const struct task *task);       /* the target's `workdir`, absolute */
int64_t task_timeout(const struct task *task);           /* ms; 0: none */
struct place task_place(const struct task *task, const char *param); /* where a parameter's value is written */
bool task_is_pending(const struct task *task, const char *param);    /* refers to an output that is not known yet */
const struct record *task_record(const struct task *task);           /* the record to compare with, or NULL */

/* How. */
bool task_offline(const struct task *task);
bool task_refresh(const struct task *task);              /* --refresh: resolve branches and tags anew */
bool task_deep(const struct task *task);                 /* read bytes instead of trusting stat data */
bool task_adopting(const struct task *task);             /* build verifies what is there, and makes and fetches nothing */
bool task_planning(const struct task *task);             /* inspect or estimate: nothing may change */
const atomic_bool *task_cancel(const struct task *task); /* set: leave at the next safe point, within 100 ms */
int64_t task_grace(const struct task *task);             /* ms that children get after the first signal */
unsigned task_downloads(const struct task *task);        /* connections at once */

/* The manifest's `reserve`: GPU indices that no target may use. */
const int64_t *task_reserved_gpus(const struct task *task, size_t *count, const char **purpose);

/* Whether a current record of this deployment holds the thing (ARTIFACT_PORT "127.0.0.1:8000", ARTIFACT_GPU uuid): then it is ours to replace. */
bool task_is_held_by_us(const struct task *task, enum artifact_kind kind, const char *name);

/* Whether a target that comes before this one will (re)make the path, or, of a directory, something in it, so that its bytes cannot be known while planning. */
bool task_is_made_later(const struct task *task, const char *path);

/* While planning: what the record lists and nobody will make any more, once the target makes `makes`. */
void task_leftovers(const struct task *task, const struct strings *makes, struct artifacts *left);

/* Files. SHA-256 through the stat cache; the file's stat data too if `key` is not NULL. Thread-safe. */
bool task_digest(struct task *task, const char *path, struct digest *digest, struct stat_key *key, struct error *err);
void task_looked_elsewhere(struct task *task); /* an answer came from more than the bytes of files: a directory's listing, a clock */
bool task_knows(struct task *task, const struct stat_key *key, const struct digest *digest); /* stat data alone, no reading */
void task_learned(struct task *task, const struct stat_key *key, const struct digest *digest, int64_t hashed_ns); /* hashed while it streamed */

/* Results. Texts are copied. */
void task_ingredient(struct task *task, enum ingredient_kind kind, const char *name, const char *value, const char *text, const char *path);
void task_output(struct task *task, const char *name, const char *value);
void task_artifact(struct task *task, const struct artifact *artifact);
void task_material(struct task *task, const char *uri, const char *digest);
void task_summary(struct task *task, const char *format, ...) __attribute__((format(printf, 2, 3)));
struct findings *task_findings(struct task *task);

/* Said by `revert`, which has then left everything as it was: what the record speaks of is gone for good. */
void task_lost(struct task *task, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What was gathered for the fingerprint just before build, sorted by name: what is built must be that (reliability.md W9). */
const struct ingredients *task_ingredients(const struct task *task);

/* Telling. Thread-safe. `total` 0: unknown. `unit` is "bytes" or a plural. */
void task_progress(struct task *task, const char *stage, uint64_t done, uint64_t total, const char *unit);
void task_progress_file(struct task *task, const char *name, uint64_t done, uint64_t total); /* of the stage: a file of it, in bytes; said before task_progress */
void task_log(struct task *task, const char *format, ...) __attribute__((format(printf, 2, 3)));
void task_log_bytes(void *task, bool is_stderr, const char *bytes, size_t size); /* fits process_spec.output */
const char *task_log_tail(struct task *task);            /* a copy of the last output, for diagnosis */
const char *task_log_path(const struct task *task);

/* Durable steps, by the loop's thread. False while planning with E0999. */
bool task_checkpoint(struct task *task, const char *key, struct arena *arena, const void **bytes, size_t *size, struct error *err); /* NULL: none */
bool task_save_checkpoint(struct task *task, const char *key, const void *bytes, size_t size, struct error *err);
void task_checkpoint_done(struct task *task, const char *key);  /* forgotten in the transaction that records the target */
bool task_intent(struct task *task, const char *id, const char *kind, const char *name, struct error *err); /* durable on return */
bool task_intent_drop(struct task *task, const char *id, struct error *err);
void task_intent_done(struct task *task, const char *id);       /* forgotten in the transaction that records the target */
bool task_intents(struct task *task, const struct intent **intents, size_t *count, struct error *err); /* of this target, left or pending */

/* A fresh id for an intent, a container name, an instance: 8 random base32 characters. */
const char *task_new_id(struct task *task, struct arena *arena);
