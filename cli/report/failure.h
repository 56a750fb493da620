/* failure.h - a target that failed, shown: the last lines of its log, then its findings or its error. */
#pragma once

#include "diagnostic.h"

struct event;
struct out;

/* How and from what failures are shown. */
struct failure_view {
	enum diagnostic_form form;
	const struct sources *sources;
	const char *cwd;   /* paths are shown from here */
};

void failure_show(struct out *out, const struct failure_view *view, const struct event *event);

/* What only the work could find of a target that ended well. */
void failure_show_advice(struct out *out, const struct failure_view *view, const struct event *event);

/* The last `lines` lines of a log file, indented. Says nothing about a log that is not there. */
void failure_log_tail(struct out *out, const char *path, unsigned lines);
