/* task_internal.h - the inside of a task, for the engine alone (and for tests of rules that need one). */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/finding.h"
#include "log.h"
#include "memory.h"
#include "record.h"
#include "task.h"

struct inspection;
struct target;

/* What a worker asks of the loop's thread, and waits for. */
struct request {
	enum request_kind { REQUEST_CHECKPOINT, REQUEST_SAVE_CHECKPOINT, REQUEST_INTENT, REQUEST_DROP_INTENT, REQUEST_INTENTS } kind;
	struct task *task;
	const char *key;
	const void *bytes;
	size_t size;
	struct arena *arena;
	struct intent intent;
	struct intent *intents;
	size_t intent_count;
	bool ok;
	bool done;
	struct error *err;
	struct request *next;
};

/* Where workers and the loop meet. */
struct desk {
	pthread_mutex_t mutex;
	pthread_cond_t answered;
	struct request *first, *last;
	int wake;          /* eventfd of the loop */
	bool closed;       /* the loop is gone: requests fail */
	bool verbose;      /* keep children's lines for the watcher */
};

/* Latest progress of a task; the loop reads it when it likes. */
struct progress {
	char stage[80];
	const char *unit;  /* static text */
	uint64_t done, total;
	char file[96];     /* "": none is told of */
	uint64_t file_done, file_total;
	bool changed;
};

struct task {
	const struct target *target;           /* NULL: only a record is left of it */
	const char *name;
	struct arena *arena;
	const struct inspection *inspection;
	const struct record *record;           /* to compare with, or NULL */
	const char *run;
	struct desk *desk;                     /* NULL while planning */
	struct log *log;                       /* NULL while planning */
	const atomic_bool *cancel;           /* NULL: never */
	int64_t grace;

	/* Results. */
	struct ingredients ingredients;
	struct findings findings;
	struct pairs outputs;
	struct artifacts artifacts;
	struct pairs materials;
	const char *summary;
	const char *lost;                      /* by revert: why nothing can be put back; or NULL */
	struct strings checkpoints_done;
	struct strings intents_done;

	/* Guarded by the desk's mutex. */
	struct progress progress;
	struct buf lines;                      /* children's output for the watcher; born when the desk is verbose */
};

/* A task with nothing but what is given; results are empty. `arena` outlives it. */
void task_init(struct task *task, const struct inspection *inspection, const struct target *target, const char *name, struct arena *arena);
void task_finish(struct task *task);

/* Forget results, keep the rest: one task serves a whole inspection. */
void task_reset(struct task *task, const struct target *target);

void desk_init(struct desk *desk, int wake);
void desk_finish(struct desk *desk);

/* Answer everything that waits, from the memory. On the loop's thread. */
void desk_serve(struct desk *desk, const struct memory *memory, const char *deployment);
