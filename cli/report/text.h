/* text.h - what the engine tells, as plain lines: for pipes, files and CI. One line per event, no escapes.
 *
 * A heartbeat is printed only if it carries a changed number: of what is done, or, of what cannot be counted, of the time that has passed. */
#pragma once

#include "engine/apply.h"
#include "failure.h"
#include "pace.h"

struct out;

struct text_report {
	struct out *out;
	struct failure_view failures;
	const struct graph *graph; /* to tell checks from the rest */
	int64_t heartbeat;         /* ms; 0: off */
	bool only_failures;
	bool logs;                 /* children's lines too */
	struct pace pace;
};

void text_finish(struct text_report *report);

/* What a watcher of the engine calls with `self` a struct text_report. */
void text_event(void *self, const struct event *event);
