/* worker.h - one target's work as a job for the pool: build, remove, settle, revert or sweep. Runs on a worker's thread; touches its own task alone. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "log.h"
#include "plan.h"
#include "pool.h"
#include "task_internal.h"

enum work_kind { WORK_BUILD, WORK_REMOVE, WORK_SETTLE, WORK_REVERT, WORK_SWEEP };

struct worker {
	struct job job;               /* first: the pool knows only this */
	enum work_kind kind;
	uint32_t action;              /* of the plan; NO_ACTION for settle, revert and destroy */
	const struct inspection *inspection;
	const struct target *target;  /* NULL: only a record is left */
	const struct rule *rule;
	const struct record *const *current; /* records by target id, as of now */
	bool asked_for;

	struct arena arena;
	struct task task;
	struct log log;
	struct seen seen;
	struct record record;         /* what was built */
	atomic_bool cancel;           /* what the task looks at; set by the loop */
	int64_t launched_ms;          /* monotonic */
	bool late;                    /* it was cancelled since its target's time limit is over */
	bool ok;
	bool same;                    /* found up to date: nothing was done */
	struct error err;
	unsigned attempt;
	int64_t started_ns;
	int64_t ended_ns;
	uint64_t downloaded;
	struct worker *next;          /* in the loop's list of running ones */
};

struct worker *worker_new(enum work_kind kind, const struct inspection *inspection, const struct target *target, const char *name,
	const struct rule *rule, const struct record *record, const char *run, struct desk *desk, int64_t grace);
void worker_free(struct worker *worker);

/* How many there are from this one on. */
size_t worker_list_length(const struct worker *list);
