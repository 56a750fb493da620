#include "jsonl.h"

#include <string.h>

#include "cache/lock.h"
#include "diagnostic.h"
#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/finding.h"
#include "engine/base/json.h"
#include "engine/record.h"
#include "out.h"
#include "verdict.h"
#include "words.h"

#define PROGRESS_MS 500 /* between two lines about one target */

void
jsonl_init(struct jsonl *jsonl, struct out *out, struct arena *arena, const char *command)
{
	*jsonl = (struct jsonl){ .out = out, .arena = arena, .command = command };
}

void
jsonl_finish(struct jsonl *jsonl)
{
	pace_finish(&jsonl->pace);
}

static void
set(json_t *object, const char *name, json_t *value)
{
	json_object_set_new(object, name, value);
}

/* A member that is left out where there is nothing to say. */
static void
set_text(json_t *object, const char *name, const char *text)
{
	if (text && *text)
		set(object, name, diagnostic_json_text(text));
}

/* Bytes, milliseconds: negative means that nobody knows. */
static void
set_known(json_t *object, const char *name, int64_t value)
{
	set(object, name, value < 0 ? json_null() : json_integer(value));
}

static void
set_seconds(json_t *object, const char *name, int64_t milliseconds)
{
	set(object, name, milliseconds < 0 ? json_null() : json_real((double)milliseconds / 1000));
}

static void
write_line(struct jsonl *jsonl, json_t *event)
{
	json_t *line finally(json_release) = json_object();
	char *text finally(free_text) = NULL;
	const char *name;
	json_t *value;

	set(line, "type", json_incref(json_object_get(event, "type")));
	set(line, "seq", json_integer(jsonl->seq++));
	set(line, "ts", json_string(clock_utc(jsonl->arena, clock_now_ns())));
	if (jsonl->run)
		set_text(line, "run", jsonl->run);
	json_object_foreach(event, name, value)
		json_object_set(line, name, value);
	text = json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(12));
	if (!text)
		out_of_memory();
	out_text(jsonl->out, text);
	out_text(jsonl->out, "\n");
	json_decref(event);
}

static void
begin(struct jsonl *jsonl)
{
	json_t *event;

	if (jsonl->seq > 0)
		return;
	event = json_pack("{s:s, s:s, s:s}", "type", "version", "v", "1.0", "tool", PROVISION_VERSION);
	set_text(event, "command", jsonl->command);
	set_text(event, "manifest", jsonl->manifest);
	write_line(jsonl, event);
}

void
jsonl_emit(struct jsonl *jsonl, json_t *event)
{
	begin(jsonl);
	write_line(jsonl, event);
	out_flush(jsonl->out);
}

void
jsonl_diagnostic(struct jsonl *jsonl, const struct diagnostic *diagnostic)
{
	jsonl_emit(jsonl, diagnostic_json(diagnostic));
}

static json_t *
event_of(const char *type, const char *target)
{
	json_t *event = json_object();

	set(event, "type", json_string(type));
	set_text(event, "target", target);
	return event;
}

static json_t *
reasons_json(const struct action *action)
{
	const struct detail *detail = action->seen ? action->seen->detail : NULL;
	json_t *reasons = json_array();
	json_t *first = json_object();

	set(first, "id", json_string(reason_id(action->reason)));
	if (detail) {
		set_text(first, "what", detail->look.what);
		set_text(first, "until", action->reason == REASON_UNKNOWN_UNTIL ? detail->unknown : NULL);
		set_text(first, "root", action->reason == REASON_DEPENDENCY ? detail->root : NULL);
	}
	json_array_append_new(reasons, first);
	for (size_t i = 0; detail && i < detail->causes.count; i++) {
		const struct cause *cause = &detail->causes.items[i];
		json_t *reason = json_object();

		set(reason, "id", json_string(reason_id(cause->reason)));
		set_text(reason, "what", cause->what);
		set_text(reason, "before", cause->before);
		set_text(reason, "after", cause->after);
		if (cause->line)
			set(reason, "line", json_integer(cause->line));
		json_array_append_new(reasons, reason);
	}
	return reasons;
}

static json_t *
cost_json(const struct cost *cost, int64_t duration, const char *basis)
{
	json_t *value = json_object();

	set_known(value, "download_bytes", cost->download);
	set_known(value, "keep_bytes", cost->keep);
	set_seconds(value, "seconds", duration);
	set_seconds(value, "downtime_seconds", cost->downtime);
	set(value, "basis", json_string(basis));
	return value;
}

static void
plan_action(struct jsonl *jsonl, const struct words *words, const struct action *action)
{
	json_t *event = event_of("target_planned", action->name);
	bool passed = action->kind == ACTION_CHECK && action->seen->passed_now;

	set_text(event, "rule", action->target ? action->target->rule->name : action->record->rule);
	set(event, "action", json_string(words_action(passed ? ACTION_NONE : action->kind)->id));
	if (action->kind != ACTION_NONE) {
		set(event, "reasons", reasons_json(action));
		if (action->seen && action->seen->detail)
			set(event, "cost",
				cost_json(&action->seen->detail->cost, action->duration,
					action->from_history ? "history" : "guess"));
	}
	set_text(event, "msg", arena_printf(jsonl->arena, "%s: %s", action->name, words_sentence(words, action)));
	write_line(jsonl, event);
}

void
jsonl_plan(struct jsonl *jsonl, const struct plan *plan)
{
	static const char *const verdicts[] = {
		[VERDICT_NOTHING] = "nothing",
		[VERDICT_FEASIBLE] = "feasible",
		[VERDICT_INFEASIBLE] = "infeasible",
	};
	struct verdict_counts counts;
	struct words words;
	json_t *event;

	begin(jsonl);
	words_init(&words, plan, jsonl->arena);
	verdict_count(plan, &counts);
	for (size_t i = 0; i < plan->count && !jsonl->out->error; i++)
		plan_action(jsonl, &words, &plan->actions[i]);
	event = event_of("plan_summary", NULL);
	set(event, "manifest", json_string(plan->inspection->manifest->file));
	set(event, "verdict", json_string(verdicts[plan->verdict]));
	/* Nothing is ever changed in place: what is replaced counts as redone. */
	set(event, "counts",
		json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "make", (json_int_t)counts.make, "redo",
			(json_int_t)counts.redo + (json_int_t)counts.restart, "update", (json_int_t)0, "run",
			(json_int_t)counts.check, "remove", (json_int_t)counts.remove, "same", (json_int_t)counts.same,
			"held", (json_int_t)counts.held, "blocked", (json_int_t)counts.blocked, "infeasible",
			(json_int_t)counts.infeasible));
	set(event, "cost", cost_json(&plan->cost, plan->cost.duration, plan->cost_is_guess ? "guess" : "history"));
	write_line(jsonl, event);
	out_flush(jsonl->out);
}

void
jsonl_fallback(struct jsonl *jsonl, const char *from, const char *to, size_t index, const char *because)
{
	json_t *event = event_of("fallback", NULL);

	set_text(event, "from", from);
	set_text(event, "to", to);
	set(event, "index", json_integer((json_int_t)index));
	set_text(event, "because", because);
	jsonl_emit(jsonl, event);
}

void
jsonl_lock_wait(struct jsonl *jsonl, const struct lock_holder *holder)
{
	json_t *event = event_of("lock_wait", NULL);
	json_t *who = json_object();

	set(who, "pid", json_integer(holder->pid));
	set_text(who, "user", holder->user);
	set_text(who, "host", holder->host);
	set_text(who, "since", clock_utc(jsonl->arena, holder->since_ns));
	set_text(who, "command", holder->command);
	set_text(who, "run", holder->run);
	set(event, "holder", who);
	jsonl_emit(jsonl, event);
}

static void
started(struct jsonl *jsonl, const struct event *event, json_t *line)
{
	pace_note(&jsonl->pace, event, clock_monotonic_ms());
	set(line, "attempt", json_integer(event->attempt));
	set(line, "reasons", json_pack("[{s:s}]", "id", reason_id(event->reason)));
}

static bool
progressed(struct jsonl *jsonl, const struct event *event, json_t *line)
{
	int64_t now = clock_monotonic_ms();
	struct pace_row *row = pace_note(&jsonl->pace, event, now);
	int64_t left = pace_left(row);

	/* The last number of a stage is always told. */
	if (now - row->said_ms < PROGRESS_MS && !(row->total > 0 && row->done >= row->total))
		return false;
	row->said_ms = now;
	set_text(line, "stage", row->stage);
	set(line, "done", json_integer((json_int_t)row->done));
	if (row->total > 0)
		set(line, "total", json_integer((json_int_t)row->total));
	set_text(line, "unit", row->unit);
	if (*row->file)
		set(line, "file", json_pack("{s:s,s:I,s:I}", "name", row->file, "done", (json_int_t)row->file_done, "total", (json_int_t)row->file_total));
	if (row->rate > 0)
		set(line, "rate", json_integer((json_int_t)row->rate));
	if (left >= 0)
		set_seconds(line, "eta_seconds", left);
	return true;
}

static json_t *
digest_json(const struct digest *digest)
{
	char hex[DIGEST_HEX];

	digest_hex(digest, hex);
	return json_pack("{s:s}", "sha256", hex);
}

static json_t *
outputs_json(const struct record *record)
{
	json_t *outputs = json_array();

	for (size_t i = 0; i < record->artifacts.count; i++) {
		const struct artifact *artifact = &record->artifacts.items[i];
		json_t *output = json_object();

		set_text(output, "name", artifact->name);
		if (!digest_is_zero(&artifact->digest))
			set(output, "digest", digest_json(&artifact->digest));
		set(output, "size", json_integer((json_int_t)artifact->size));
		json_array_append_new(outputs, output);
	}
	return outputs;
}

static void
ended(struct jsonl *jsonl, const struct event *event, json_t *line)
{
	bool ok = event->result == RESULT_OK || event->result == RESULT_SAME;

	pace_drop(&jsonl->pace, event->target);
	set(line, "result", json_string(event->result == RESULT_SAME ? "ok" : result_id(event->result)));
	set(line, "same", json_boolean(event->result == RESULT_SAME));
	set_seconds(line, "seconds", event->duration);
	if (ok && event->removes) {
		set(line, "msg", json_string(event->text ? event->text : "removed"));
	} else if (ok && event->record) {
		set(line, "fingerprint", digest_json(&event->record->fingerprint));
		set(line, "outputs", outputs_json(event->record));
		set_text(line, "msg", event->record->summary);
	} else if (!ok) {
		set_text(line, "msg", event->error ? event->error->text : event->text);
	}
}

/* What only the work could find of a target that ended well. */
static void
advise(struct jsonl *jsonl, const struct findings *findings)
{
	for (size_t i = 0; findings && i < findings->count; i++)
		if (findings->items[i].late)
			jsonl_diagnostic(jsonl, &(struct diagnostic){ .finding = &findings->items[i], .sources = jsonl->sources });
}

/* Why a target failed: its findings, or its error. */
static void
explain(struct jsonl *jsonl, const struct event *event)
{
	struct findings one;
	const struct findings *findings = event->findings;

	if (event->result == RESULT_OK)
		advise(jsonl, findings);
	if (event->result != RESULT_FAILED || (!event->error && !findings))
		return;
	if (!findings || (event->error && !findings_refuse(findings))) {
		findings_init(&one, jsonl->arena);
		findings_add_error(&one, event->error);
		findings = &one;
	}
	for (size_t i = 0; i < findings->count; i++)
		jsonl_diagnostic(jsonl, &(struct diagnostic){ .finding = &findings->items[i], .sources = jsonl->sources });
}

void
jsonl_event(void *self, const struct event *event)
{
	static const char *const types[] = {
		[EVENT_STARTED] = "target_start",
		[EVENT_PROGRESS] = "target_progress",
		[EVENT_LOG] = "target_log",
		[EVENT_ENDED] = "target_end",
		[EVENT_SETTLED] = "target_settled",
		[EVENT_REVERTING] = "target_reverting",
		[EVENT_REVERTED] = "target_reverted",
		[EVENT_STOPPING] = "stopping",
		[EVENT_STATUS] = "status",
	};
	struct jsonl *jsonl = self;
	json_t *line = event_of(types[event->kind], event->target);
	bool told = true;

	switch (event->kind) {
	case EVENT_STARTED:
	case EVENT_REVERTING:
		started(jsonl, event, line);
		break;
	case EVENT_PROGRESS:
		told = progressed(jsonl, event, line);
		break;
	case EVENT_LOG:
		told = jsonl->logs;
		set_text(line, "line", event->text);
		break;
	case EVENT_ENDED:
	case EVENT_REVERTED:
	case EVENT_SETTLED:
		explain(jsonl, event);
		ended(jsonl, event, line);
		break;
	case EVENT_STOPPING:
	case EVENT_STATUS:
		set(line, "done", json_integer(event->done_count));
		set(line, "total", json_integer(event->total_count));
		set_text(line, "signal", event->text);
		break;
	}
	if (told)
		jsonl_emit(jsonl, line);
	else
		json_decref(line);
}

void
jsonl_summary(struct jsonl *jsonl, const struct jsonl_summary *summary)
{
	json_t *event = event_of("summary", NULL);

	set(event, "result", json_string(summary->result));
	set(event, "exit", json_integer(summary->status));
	set(event, "changed", json_integer(summary->changed));
	set(event, "failed", json_integer(summary->failed));
	set_seconds(event, "seconds", summary->duration);
	set_seconds(event, "downtime_seconds", summary->downtime);
	set(event, "downloaded_bytes", json_integer((json_int_t)summary->downloaded));
	set(event, "fallback", json_integer((json_int_t)summary->fallback));
	jsonl_emit(jsonl, event);
}
