/* apply.h - the one loop: start what is ready, wait for a worker or a signal, record.
 *
 * Only this loop's thread touches plan, graph and memory. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event.h"
#include "plan.h"

struct apply_options {
	unsigned jobs;        /* targets at once */
	unsigned keep_going;  /* stop after so many failed targets; 0: never */
	int64_t grace;        /* ms */
	struct run_info run;  /* begun and ended here */
	bool verbose;         /* tell every line of children's output */
};

struct apply_result {
	uint32_t changed;     /* actions that built or removed something */
	uint32_t same;        /* found up to date at the last moment */
	uint32_t failed;
	uint32_t skipped;
	enum status status;   /* what the run exits with */
	enum failure_class class; /* of the failure, for fallback; CLASS_NONE if it may trigger none */
	struct error error;   /* the first failure */
	const char *failed_target;
	int signal;           /* the signal that ended the run; 0: none */
	int64_t duration;     /* ms */
	uint64_t downloaded;  /* bytes */
};

/* Run a feasible plan. False only if the run could not be carried through (memory failed): err says why. */
bool apply(const struct plan *plan, const struct watcher *watcher, const struct apply_options *options, struct arena *arena,
	struct apply_result *result, struct error *err);

/* Destroy targets in reverse order of need, through the same loop: named ones, or (none named) all that are not precious. */
bool apply_destroy(const struct inspection *inspection, const struct strings *names, const struct watcher *watcher, const struct apply_options *options,
	struct arena *arena, struct apply_result *result, struct error *err);

/* Put right what a killed run left: a record put aside is reverted, unless its successor agrees with the plan. Called under the lock, before the plan that
 * counts. False too where a signal ended it: `*signal` is its number then. */
bool apply_recover(const struct inspection *inspection, const struct watcher *watcher, const struct apply_options *options, struct arena *arena,
	bool *changed, int *signal, struct error *err);
