/* schedule.h - which actions are ready: one counter each. Knows no threads. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct plan;
struct arena;

struct schedule {
	const struct plan *plan;
	uint32_t *waits;     /* by action: needs that have not ended */
	uint32_t *ready;     /* a heap of actions that may start, longest remaining path first */
	int64_t *path;       /* by action: ms from its start to the end of the run */
	uint32_t *action_of; /* by target id: its action, NO_ACTION if it has none to run */
	unsigned char *state; /* by action */
	uint32_t *stack;     /* scratch: actions that are being given up */
	uint32_t ready_count;
	uint32_t left;       /* actions that have not ended */
	uint32_t total;
};

#define NO_ACTION UINT32_MAX

void schedule_init(struct schedule *schedule, const struct plan *plan, struct arena *arena);

/* The next action that may start; NO_ACTION if none is ready now. */
uint32_t schedule_next(struct schedule *schedule);

/* An action ended. `ok`: those that wait for it may start; otherwise they, and all behind them, never will. */
void schedule_end(struct schedule *schedule, uint32_t action, bool ok);

bool schedule_done(const struct schedule *schedule);
