/* loop.h - the inside of a run, for apply.c and swap.c: start jobs, watch them, record what they did.
 *
 * Only this thread touches plan, graph and memory. */
#pragma once

#include <stdatomic.h>

#include "apply.h"
#include "outcome.h"
#include "schedule.h"
#include "signals.h"
#include "worker.h"

/* What became of a target in this run. */
enum fate { FATE_UNTOUCHED, FATE_DONE, FATE_SAME, FATE_FAILED };

struct loop {
	const struct inspection *inspection;
	const struct plan *plan;          /* NULL while destroying */
	const struct watcher *watcher;
	const struct apply_options *options;
	struct arena *arena;
	struct apply_result *result;

	struct desk desk;
	struct pool pool;
	struct signals signals;
	int wake;

	struct schedule schedule;
	const struct record **current;    /* records as of now, by target id */
	const struct record **replaced;   /* records put aside in this run, by target id */
	unsigned char *fate;              /* enum fate, by target id */
	struct worker *running;
	uint32_t running_count;
	uint32_t ended;
	uint32_t total;
	atomic_bool cancel;             /* the first signal: leave at the next safe point */
	atomic_bool cancel_swap;        /* the second one: do not even finish a swap */
	bool stop;                        /* start nothing new */
	struct error broken;              /* the memory failed: the run cannot go on */
	int64_t started_ms;
};

/* A loop on the stack: open, use, close. A loop that could not be opened is closed already. */
bool loop_open(struct loop *loop, struct error *err);
bool loop_close(struct loop *loop, struct error *err);

/* A job for one target; `name` only where `target` is NULL. */
struct worker *loop_hire(struct loop *loop, enum work_kind kind, const struct target *target, const char *name, const struct rule *rule,
	const struct record *record);
void loop_launch(struct loop *loop, struct worker *worker, enum reason reason);

/* Wait for a worker, a request or a signal, at most a tick, and see to all of them. */
void loop_wait(struct loop *loop);

/* What has finished since the last call, as a list for the caller to free; NULL: nothing. */
struct worker *loop_take_done(struct loop *loop);

/* One durable transaction, with the digests learnt meanwhile. False: the memory failed, and the run stops. */
bool loop_record(struct loop *loop, struct outcome *outcomes, size_t count);

enum result loop_result(const struct loop *loop, const struct worker *worker);
void loop_count_failure(struct loop *loop, const struct worker *worker);
void loop_tell_ended(struct loop *loop, const struct worker *worker, enum result result);

/* Run one job to its end, then record it; the caller frees the worker. */
struct worker *loop_run_alone(struct loop *loop, struct worker *worker, enum reason reason);
bool loop_finish_alone(struct loop *loop, struct worker *worker, struct outcome *outcome);
