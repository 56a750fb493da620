/* event.h - what the engine tells whoever watches: data, no words.
 *
 * Told on the loop's thread, in order. Pointers are valid during the call alone. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "reason.h"

struct findings;
struct record;

enum event_kind {
	EVENT_STARTED,    /* target, attempt, reason, removes */
	EVENT_PROGRESS,   /* target, stage, done, total, unit; file, file_done, file_total */
	EVENT_LOG,        /* target, text: one line of a child's output */
	EVENT_ENDED,      /* target, result, record, error, findings, duration */
	EVENT_SETTLED,    /* target: what was kept of the old is gone */
	EVENT_REVERTING,  /* target: the old one is being put back */
	EVENT_REVERTED,   /* target, result; skipped: text says why nothing is left to be put back */
	EVENT_STOPPING,   /* a signal came: text says which */
	EVENT_STATUS,     /* SIGUSR1: print where things stand */
};

enum result { RESULT_OK, RESULT_SAME, RESULT_FAILED, RESULT_SKIPPED, RESULT_INTERRUPTED };
/* RESULT_SAME: found up to date just before it was to be built (early cut-off). */

struct event {
	enum event_kind kind;
	const char *target;     /* NULL: the run */
	const char *rule;
	enum reason reason;
	bool removes;           /* what the target made is being removed */
	enum result result;
	unsigned attempt;
	uint32_t done_count;    /* actions ended so far, and of how many: [2/6] */
	uint32_t total_count;
	const char *stage;
	uint64_t done, total;
	const char *unit;
	const char *file;       /* one that is being fetched, of several; NULL: none is told of */
	uint64_t file_done, file_total;
	const char *text;
	int64_t duration;       /* ms */
	const struct record *record;
	const struct error *error;
	const struct findings *findings;
	const char *log;        /* path of the target's log */
};

struct watcher {
	void *self;
	void (*tell)(void *self, const struct event *event); /* NULL: nobody watches */
};

const char *result_id(enum result result);
