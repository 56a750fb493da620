/* live.h - what the engine tells, on a terminal: finished targets scroll up, at most 12 lines below them are redrawn.
 *
 * At most 10 redraws a second, by a thread of its own that blocks all signals. The cursor is never hidden and no other screen is used, so
 * that there is nothing to restore when the program is killed. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/apply.h"
#include "failure.h"
#include "pace.h"

struct out;

struct live {
	struct out *out;
	struct failure_view failures;
	const struct plan *plan;   /* NULL while destroying */
	bool logs;
	struct pace pace;
	unsigned char *state;      /* by target id: waiting, running, ended */
	uint32_t done_count, total_count;
	int64_t started_ms;
	bool stopping;
	size_t drawn;              /* lines on the screen that will be drawn over */
	int64_t drawn_ms;
	unsigned frame;            /* of the spinner */
	pthread_mutex_t mutex;
	pthread_cond_t wake;
	pthread_t thread;
	bool running;              /* there is a thread */
	bool ending;
};

/* Start drawing. `plan` may be NULL. */
void live_start(struct live *live);

/* Clear the lines below and stop. */
void live_end(struct live *live);

/* What a watcher of the engine calls with `self` a struct live. */
void live_event(void *self, const struct event *event);
