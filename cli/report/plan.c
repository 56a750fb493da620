#include "plan.h"

#include <string.h>
#include <unistd.h>

#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/file.h"
#include "engine/base/units.h"
#include "out.h"
#include "width.h"
#include "words.h"

#define SHOWN_MOST 200     /* targets that are listed without -v */
#define FOLDED_MOST 10     /* names on the line of what is up to date */
#define CAUSES_MOST 5
#define NAME_LEAST 12
#define NAME_MOST 32
#define RULE_COLUMNS 15
#define SYMBOL_COLUMNS 6
#define TEXT_COLUMNS 51    /* up to the forecast of time */
#define LINE_MOST 4096

struct view {
	struct out *out;
	struct words words;
	struct arena *arena;
	bool verbose;
	size_t name_columns;
	size_t shown;
	size_t left_out;
};

static bool
is_folded(const struct action *action)
{
	return action->kind == ACTION_NONE;
}

static size_t
name_columns(const struct plan *plan, bool verbose)
{
	size_t widest = NAME_LEAST;
	size_t seen = 0;

	for (size_t i = 0; i < plan->count && (verbose || seen < SHOWN_MOST); i++) {
		size_t width;

		if (is_folded(&plan->actions[i]) && !verbose)
			continue;
		seen++;
		width = width_of(plan->actions[i].name) + 2;
		if (width > widest)
			widest = width;
	}
	return widest < NAME_MOST ? widest : NAME_MOST;
}

void
plan_show_header(struct out *out, const struct plan *plan, struct arena *arena)
{
	char host[256] = "this host";

	if (gethostname(host, sizeof host - 1) != 0)
		memcpy(host, "this host", sizeof "this host");
	out_text(out, "Plan for ");
	out_safe(out, plan->inspection->manifest->name);
	out_text(out, ", ");
	out_safe(out, plan->inspection->manifest->file);
	out_printf(out, ", on %s, %s\n", host, clock_local(arena, clock_now_ns()));
}

static size_t
indent(const struct view *view)
{
	return SYMBOL_COLUMNS + view->name_columns + RULE_COLUMNS;
}

/* One line of detail, with the forecast at its end if there is one. */
static void
show_detail(const struct view *view, const char *text, const char *time)
{
	out_pad(view->out, indent(view));
	if (time) {
		out_cell(view->out, text, TEXT_COLUMNS);
		out_paint(view->out, STYLE_DIM, "~%s", time);
	} else {
		out_safe(view->out, text);
	}
	out_text(view->out, "\n");
}

static void
show_causes(const struct view *view, const struct action *action)
{
	const struct causes *causes = &action->seen->detail->causes;
	size_t shown = 0, of_reason = 0;

	for (size_t i = 0; i < causes->count; i++)
		of_reason += causes->items[i].reason == action->reason;
	for (size_t i = 0; i < causes->count; i++) {
		const struct cause *cause = &causes->items[i];
		const char *text = words_cause(cause, view->arena);

		if (cause->reason == REASON_DEPENDENCY || !text)
			continue;
		if (shown++ == CAUSES_MOST && !view->verbose) {
			show_detail(view, "  ...", NULL);
			return;
		}
		if (of_reason > 1 || cause->reason != action->reason)
			text = arena_printf(view->arena, "  %s: %s", cause->what, text);
		else
			text = arena_printf(view->arena, "  %s", text);
		show_detail(view, text, NULL);
	}
}

static const char *
down_line(const struct view *view, const struct action *action)
{
	int64_t downtime = action->seen->detail->cost.downtime;

	if (!action->seen->detail->cost.stops)
		return NULL;
	if (downtime > 0)
		return arena_printf(view->arena, "DOWN ~%s while it starts", words_forecast(view->arena, downtime));
	if (action->from_history)
		return arena_printf(view->arena, "DOWN while it starts (last time %s)", units_show_duration(view->arena, action->duration));
	return "DOWN while it starts";
}

/* The rule's own words, or else its numbers. */
static size_t
cost_lines(const struct view *view, const struct action *action, const char *lines[8])
{
	const struct cost *cost = &action->seen->detail->cost;
	const char *down = down_line(view, action);
	size_t count = 0;

	for (size_t i = 0; i < sizeof cost->lines / sizeof *cost->lines && cost->lines[i]; i++)
		lines[count++] = cost->lines[i];
	if (count == 0 && (cost->download > 0 || cost->keep > 0))
		lines[count++] = arena_printf(view->arena, "download %s, keep %s", cost->download < 0 ? "?" : units_show_size(view->arena, (uint64_t)cost->download),
			cost->keep < 0 ? "?" : units_show_size(view->arena, (uint64_t)cost->keep));
	if (down)
		lines[count++] = down;
	return count;
}

static void
show_action(struct view *view, const struct action *action)
{
	const struct action_words *look = words_action(action->kind);
	bool passed = action->kind == ACTION_CHECK && action->seen->passed_now;
	bool costs = action->seen && action->seen->detail && action->kind != ACTION_BLOCKED && action->kind != ACTION_INFEASIBLE && !passed;
	const char *time = costs && action->duration > 0 ? words_forecast(view->arena, action->duration) : NULL;
	const char *rule = action->target ? action->target->rule->name : action->record->rule;
	const char *sentence = words_sentence(&view->words, action);
	const char *lines[8];
	size_t count = costs ? cost_lines(view, action, lines) : 0;

	if (passed)
		look = words_action(ACTION_NONE);
	out_text(view->out, "  ");
	out_paint(view->out, look->style, "%s", look->symbol);
	out_text(view->out, " ");
	out_cell(view->out, action->name, view->name_columns);
	out_cell(view->out, rule, RULE_COLUMNS);
	if (time && count == 0) {
		out_cell(view->out, sentence, TEXT_COLUMNS);
		out_paint(view->out, STYLE_DIM, "~%s", time);
	} else {
		out_safe(view->out, sentence);
	}
	out_text(view->out, "\n");
	if (costs)
		show_causes(view, action);
	for (size_t i = 0; i < count; i++)
		show_detail(view, lines[i], i + 1 == count ? time : NULL);
}

static void
show_folded(struct view *view, const struct plan *plan)
{
	const char **names = arena_array(view->arena, FOLDED_MOST + 1, sizeof *names);
	const char *list;
	size_t count = 0;

	for (size_t i = 0; i < plan->count && count < FOLDED_MOST; i++)
		if (is_folded(&plan->actions[i]))
			names[count++] = plan->actions[i].name;
	if (count == 0)
		return;
	list = words_list(view->arena, names, count, FOLDED_MOST);
	out_text(view->out, "   ");
	out_paint(view->out, STYLE_DIM, "=");
	out_printf(view->out, "  %zu up to date: ", plan->counts[ACTION_NONE]);
	out_safe(view->out, list);
	if (plan->counts[ACTION_NONE] > count)
		out_printf(view->out, " and %zu more", plan->counts[ACTION_NONE] - count);
	out_text(view->out, "\n");
}

void
plan_show_actions(struct out *out, const struct plan *plan, bool verbose, struct arena *arena)
{
	struct view view = { .out = out, .arena = arena, .verbose = verbose, .name_columns = name_columns(plan, verbose) };

	words_init(&view.words, plan, arena);
	out_text(out, "\n");
	for (size_t i = 0; i < plan->count && !out->error; i++) {
		const struct action *action = &plan->actions[i];

		if (is_folded(action) && !verbose)
			continue;
		/* What refuses is never left out: it is why the plan stands still. */
		if (view.shown >= SHOWN_MOST && !verbose && action->kind != ACTION_INFEASIBLE) {
			view.left_out++;
			continue;
		}
		view.shown++;
		show_action(&view, action);
	}
	if (view.left_out > 0)
		out_printf(out, "      ... and %zu more (-v shows all)\n", view.left_out);
	if (!verbose)
		show_folded(&view, plan);
	out_text(out, "\n");
}

void
plan_count(const struct plan *plan, struct plan_counts *counts)
{
	*counts = (struct plan_counts){
		.make = plan->counts[ACTION_MAKE],
		.remove = plan->counts[ACTION_REMOVE],
		.same = plan->counts[ACTION_NONE],
		.held = plan->counts[ACTION_HELD],
		.blocked = plan->counts[ACTION_BLOCKED],
		.infeasible = plan->counts[ACTION_INFEASIBLE],
	};
	for (size_t i = 0; i < plan->count; i++) {
		const struct action *action = &plan->actions[i];
		bool stops = action->seen && action->seen->detail && action->seen->detail->cost.stops;

		if (action->kind == ACTION_REDO && stops)
			counts->restart++;
		else if (action->kind == ACTION_REDO)
			counts->redo++;
		else if (action->kind == ACTION_CHECK && action->seen->passed_now)
			counts->same++;
		else if (action->kind == ACTION_CHECK)
			counts->check++;
	}
}

static const char *
size_or_unknown(struct arena *arena, int64_t bytes)
{
	return bytes < 0 ? "?" : units_show_size(arena, (uint64_t)bytes);
}

static const char *
downtime(const struct plan *plan, struct arena *arena)
{
	if (plan->cost.downtime > 0)
		return arena_printf(arena, "service down ~%s", words_forecast(arena, plan->cost.downtime));
	return plan->cost.stops ? "service down while it starts" : "no downtime";
}

void
plan_show_cost(struct out *out, const struct plan *plan, struct arena *arena)
{
	const struct cost *cost = &plan->cost;
	struct error err = { 0 };
	uint64_t space;

	if (cost->download == 0 && cost->keep == 0 && cost->duration <= 0)
		return;
	out_printf(out, "Cost, if it could run: download %s, keep %s", size_or_unknown(arena, cost->download), size_or_unknown(arena, cost->keep));
	if (file_free_space(plan->inspection->project->root, &space, &err))
		out_printf(out, " of %s free", units_show_size(arena, space));
	if (cost->duration > 0)
		out_printf(out, ", ~%s", words_forecast(arena, cost->duration));
	out_printf(out, ", %s.\n", downtime(plan, arena));
	if (plan->cost_is_guess && cost->duration > 0)
		out_text(out, "The time is a guess: not all of it was measured on this host yet.\n");
	out_text(out, "\n");
}

static bool
is_reserved(const struct reserve *reserve, int64_t gpu)
{
	for (size_t i = 0; i < reserve->count; i++)
		if (reserve->gpus[i] == gpu)
			return true;
	return false;
}

/* What the first manifest keeps for others and this one does not. */
static void
show_given_up(struct out *out, const struct manifest *first, const struct manifest *other)
{
	for (size_t i = 0; i < first->reserve.count; i++)
		if (!is_reserved(&other->reserve, first->reserve.gpus[i]))
			out_printf(out, "; gives up the reserved GPU %lld", (long long)first->reserve.gpus[i]);
}

/* What the checks say here that refused there. */
static void
show_verdicts(struct out *out, const struct plan *first, const struct plan *plan, struct arena *arena)
{
	for (size_t i = 0; i < first->count; i++) {
		const struct target *target;
		const struct seen *seen;
		const char *summary;
		size_t length;

		if (first->actions[i].kind != ACTION_INFEASIBLE)
			continue;
		target = graph_find(plan->inspection->graph, first->actions[i].name);
		seen = target ? &plan->inspection->seen[target->id] : NULL;
		if (!seen || !seen->passed_now || !seen->detail || !seen->detail->look.summary)
			continue;
		summary = seen->detail->look.summary;
		/* The line begins with that word. */
		length = strlen(summary) - (text_ends(summary, ": feasible") ? strlen(": feasible") : 0);
		out_text(out, "; ");
		out_safe(out, arena_copy_bytes(arena, summary, length));
	}
}

static void
show_refusals(struct out *out, const struct plan *plan, struct arena *arena)
{
	struct words words;

	words_init(&words, plan, arena);
	for (size_t i = 0; i < plan->count; i++)
		if (plan->actions[i].kind == ACTION_INFEASIBLE) {
			const char *text = words_sentence(&words, &plan->actions[i]);

			out_text(out, text_starts(text, "infeasible: ") ? ": " : "; ");
			out_safe(out, text_starts(text, "infeasible: ") ? text + strlen("infeasible: ") : text);
		}
}

void
plan_show_fallback(struct out *out, size_t index, const char *shown, const struct plan *first, const struct plan *plan, struct arena *arena)
{
	const struct cost *cost = &plan->cost;

	out_printf(out, "Fallback %zu  ", index);
	out_cell(out, shown, width_of(shown) + 3);
	if (plan->verdict == VERDICT_INFEASIBLE) {
		out_paint(out, STYLE_ERROR, "infeasible");
		show_refusals(out, plan, arena);
		out_text(out, "\n");
		return;
	}
	out_paint(out, STYLE_NEW, "feasible");
	show_verdicts(out, first, plan, arena);
	show_given_up(out, first->inspection->manifest, plan->inspection->manifest);
	if (plan->verdict == VERDICT_NOTHING)
		out_text(out, "; nothing to do");
	else if (cost->download != 0)
		out_printf(out, "; download %s", size_or_unknown(arena, cost->download));
	if (cost->duration > 0)
		out_printf(out, ", ~%s", words_forecast(arena, cost->duration));
	out_text(out, "\n");
}

struct part {
	size_t count;
	const char *one, *many; /* behind the number */
};

static void
add_parts(struct buf *text, const struct part *parts, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (parts[i].count > 0)
			buf_printf(text, "%s%zu %s", text->size ? ", " : "", parts[i].count, parts[i].count == 1 ? parts[i].one : parts[i].many);
}

static void
show_infeasible(struct out *out, const struct plan_counts *counts, size_t fallback, size_t fallbacks)
{
	const struct part parts[] = {
		{ counts->same, "up to date", "up to date" },
		{ counts->held, "held back", "held back" },
		{ counts->infeasible, "infeasible", "infeasible" },
		{ counts->blocked, "blocked", "blocked" },
	};
	struct buf text finally(buf_finish) = { 0 };

	buf_init(&text, LINE_MOST);
	add_parts(&text, parts, sizeof parts / sizeof *parts);
	out_printf(out, "Plan: infeasible as written (%s)", text.data);
	if (fallback > 0)
		out_printf(out, "; fallback %zu is feasible", fallback);
	else if (fallbacks > 0)
		out_text(out, fallbacks == 1 ? "; nor is its fallback feasible" : "; none of its fallbacks is feasible");
	out_text(out, ".\n");
}

void
plan_show_verdict(struct out *out, const struct plan *plan, size_t fallback, size_t fallbacks, struct arena *arena)
{
	struct buf text finally(buf_finish) = { 0 };
	struct plan_counts counts;

	plan_count(plan, &counts);
	if (plan->verdict == VERDICT_INFEASIBLE) {
		show_infeasible(out, &counts, fallback, fallbacks);
		return;
	}
	buf_init(&text, LINE_MOST);
	add_parts(&text,
		(struct part[]){
			{ counts.make, "to make", "to make" },
			{ counts.redo, "to redo", "to redo" },
			{ counts.restart, "to restart", "to restart" },
			{ counts.remove, "to remove", "to remove" },
			{ counts.check, "check", "checks" },
		},
		5);
	out_printf(out, "Plan: %s. Download %s", text.size ? text.data : "only verdicts to record", size_or_unknown(arena, plan->cost.download));
	if (plan->cost.duration > 0)
		out_printf(out, ", ~%s", words_forecast(arena, plan->cost.duration));
	out_printf(out, ", %s.\n", downtime(plan, arena));
}

void
plan_show_nothing(struct out *out, const struct plan *plan, const struct known *known, int64_t took_ms, struct arena *arena)
{
	out_printf(out, "Nothing to do: %s up to date (checked %s by stat, %llu by hash) in ",
		words_count(arena, plan->counts[ACTION_NONE], "target", "targets"), words_count(arena, known->stats, "file", "files"),
		(unsigned long long)known->hashes);
	if (took_ms < 10)
		out_printf(out, "0.%03lld s.\n", (long long)took_ms);
	else
		out_printf(out, "%lld.%02lld s.\n", (long long)(took_ms / 1000), (long long)(took_ms % 1000 / 10));
}
