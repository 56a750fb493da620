#include "text.h"

#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/units.h"
#include "out.h"
#include "words.h"

#define WORTH_SAYING_MS 50

void
text_finish(struct text_report *report)
{
	pace_finish(&report->pace);
}

static bool
is_check(const struct text_report *report, const char *target)
{
	const struct target *found = report->graph ? graph_find(report->graph, target) : NULL;

	return found && found->rule->check;
}

static void
line(const struct text_report *report, const struct event *event, struct arena *arena, const char *text)
{
	out_printf(report->out, "%s ", clock_hms(arena, clock_now_ns()));
	/* Where nothing was planned, nothing was counted. */
	if (event->total_count > 0)
		out_printf(report->out, "[%u/%u] ", (unsigned)event->done_count, (unsigned)event->total_count);
	if (event->target) {
		out_safe(report->out, event->target);
		out_text(report->out, ": ");
	}
	out_safe(report->out, text);
	out_text(report->out, "\n");
}

static void
started(struct text_report *report, const struct event *event, struct arena *arena)
{
	const char *again = event->attempt > 1 ? arena_printf(arena, ", attempt %u", event->attempt) : "";

	pace_note(&report->pace, event, clock_monotonic_ms());
	/* A check ends as soon as it starts: its verdict says enough. */
	if (is_check(report, event->target) && event->attempt <= 1)
		return;
	if (event->removes)
		line(report, event, arena, "removing");
	else if (event->reason == REASON_NONE)
		line(report, event, arena, "finishing the swap");
	else
		line(report, event, arena, arena_printf(arena, "start, %s%s", words_reason(event->reason), again));
}

static void
progressed(struct text_report *report, const struct event *event, struct arena *arena)
{
	int64_t now = clock_monotonic_ms();
	struct pace_row *row = pace_note(&report->pace, event, now);
	const char *numbers;

	if (report->heartbeat == 0 || now - row->said_ms < report->heartbeat)
		return;
	numbers = words_progress(row, ", ", arena);
	if (numbers && row->done == row->said_done)
		return;
	row->said_ms = now;
	row->said_done = row->done;
	if (numbers)
		line(report, event, arena,
			pace_is_bytes(row) ? numbers : arena_printf(arena, "%s, %s", row->stage, numbers));
	else if (*row->stage)
		line(report, event, arena,
			arena_printf(arena, "%s, for %s", row->stage, units_show_duration(arena, now - row->started_ms)));
}

/* "1 instance at ..., ready in 0.8 s": the summary says how long it took already. */
static bool
tells_time(const char *text)
{
	const char *last = NULL;

	for (const char *at = text; (at = strstr(at, " in ")); at++)
		last = at + strlen(" in ");
	return last && *last >= '0' && *last <= '9' && text_ends(text, " s");
}

static void
ended(struct text_report *report, const struct event *event, struct arena *arena)
{
	bool bad = event->result == RESULT_FAILED;
	const char *text =
		words_ended(event, pace_find(&report->pace, event->target), is_check(report, event->target), arena);

	pace_drop(&report->pace, event->target);
	if (report->only_failures && !bad)
		return;
	if (event->duration >= WORTH_SAYING_MS && event->result != RESULT_SAME && !tells_time(text))
		text = arena_printf(
			arena, bad ? "%s, after %s" : "%s in %s", text, units_show_duration(arena, event->duration));
	line(report, event, arena, text);
	if (bad)
		failure_show(report->out, &report->failures, event);
	else
		failure_show_advice(report->out, &report->failures, event);
}

static void
status(struct text_report *report, const struct event *event, struct arena *arena)
{
	struct event about = *event;

	if (report->pace.count == 0)
		line(report, event, arena, "nothing is running");
	for (size_t i = 0; i < report->pace.count; i++) {
		const struct pace_row *row = &report->pace.rows[i];
		const char *numbers = words_progress(row, ", ", arena);
		const char *since = units_show_duration(arena, clock_monotonic_ms() - row->started_ms);

		about.target = row->target;
		line(report, &about, arena,
			arena_printf(arena, "%s%s%s, for %s", *row->stage ? row->stage : "running", numbers ? ", " : "",
				numbers ? numbers : "", since));
	}
}

static void
told(struct text_report *report, const struct event *event, struct arena *arena)
{
	switch (event->kind) {
	case EVENT_STARTED:
		if (!report->only_failures)
			started(report, event, arena);
		break;
	case EVENT_PROGRESS:
		progressed(report, event, arena);
		break;
	case EVENT_LOG:
		if (report->logs)
			line(report, event, arena, arena_printf(arena, "| %s", event->text));
		break;
	case EVENT_ENDED:
	case EVENT_REVERTED:
		ended(report, event, arena);
		break;
	case EVENT_SETTLED:
		pace_drop(&report->pace, event->target);
		if (event->result == RESULT_FAILED)
			ended(report, event, arena);
		else if (!report->only_failures)
			line(report, event, arena, "the old one was dropped");
		break;
	case EVENT_REVERTING:
		line(report, event, arena, "putting the old one back");
		break;
	case EVENT_STOPPING:
		line(report, event, arena,
			arena_printf(arena, "%s: stopping; what was fetched is kept; again to kill what runs now",
				event->text ? event->text : "signal"));
		break;
	case EVENT_STATUS:
		status(report, event, arena);
		break;
	}
}

void
text_event(void *self, const struct event *event)
{
	struct text_report *report = self;
	struct arena arena finally(arena_finish) = { 0 };

	arena_init(&arena);
	told(report, event, &arena);
	out_flush(report->out);
}
