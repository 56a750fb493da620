#include "verdict.h"

#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "engine/base/cleanup.h"
#include "engine/base/file.h"
#include "engine/base/units.h"
#include "engine/known.h"
#include "out.h"
#include "width.h"
#include "words.h"

#define LINE_MOST 4096

void
verdict_count(const struct plan *plan, struct verdict_counts *counts)
{
	*counts = (struct verdict_counts){
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
		else if (action->kind == ACTION_CHECK && action->seen && action->seen->passed_now)
			counts->same++;
		else if (action->kind == ACTION_CHECK)
			counts->check++;
	}
}

/* A sum of which a part is not known is said as far as it is. */
static const char *
size_or_least(struct arena *arena, int64_t bytes, int64_t least)
{
	if (bytes >= 0)
		return units_show_size(arena, (uint64_t)bytes);
	return least > 0 ? arena_printf(arena, "at least %s", units_show_size(arena, (uint64_t)least)) : "?";
}

static const char *
downtime(const struct plan *plan, struct arena *arena)
{
	if (plan->cost.downtime > 0)
		return arena_printf(arena, "service down ~%s", words_forecast(arena, plan->cost.downtime));
	return plan->cost.stops ? "service down while it starts" : "no downtime";
}

void
verdict_cost(struct out *out, const struct plan *plan, struct arena *arena)
{
	const struct cost *cost = &plan->cost;
	struct error err = { 0 };
	uint64_t space;

	if (cost->download == 0 && cost->keep == 0 && cost->duration <= 0)
		return;
	out_printf(out, "Cost, if it could run: download %s, keep %s", size_or_least(arena, cost->download, plan->least_download),
		size_or_least(arena, cost->keep, plan->least_keep));
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
verdict_fallback(struct out *out, size_t index, const char *shown, const struct plan *first, const struct plan *plan,
	struct arena *arena)
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
		out_printf(out, "; download %s", size_or_least(arena, cost->download, plan->least_download));
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
			buf_printf(text, "%s%zu %s", text->size ? ", " : "", parts[i].count,
				parts[i].count == 1 ? parts[i].one : parts[i].many);
}

static void
show_infeasible(struct out *out, const struct verdict_counts *counts, size_t fallback, size_t fallbacks)
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
verdict_show(struct out *out, const struct plan *plan, size_t fallback, size_t fallbacks, struct arena *arena)
{
	struct buf text finally(buf_finish) = { 0 };
	struct verdict_counts counts;

	verdict_count(plan, &counts);
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
	out_printf(out, "Plan: %s. Download %s", text.size ? text.data : "only verdicts to record",
		size_or_least(arena, plan->cost.download, plan->least_download));
	if (plan->cost.duration > 0)
		out_printf(out, ", ~%s", words_forecast(arena, plan->cost.duration));
	out_printf(out, ", %s.\n", downtime(plan, arena));
}

void
verdict_nothing(struct out *out, size_t targets, uint64_t stats, uint64_t hashes, int64_t took_ms, struct arena *arena)
{
	out_printf(out, "Nothing to do: %s up to date (checked %s by stat, %llu by hash) in ",
		words_count(arena, targets, "target", "targets"), words_count(arena, stats, "file", "files"), (unsigned long long)hashes);
	if (took_ms < 10)
		out_printf(out, "0.%03lld s.\n", (long long)took_ms);
	else
		out_printf(out, "%lld.%02lld s.\n", (long long)(took_ms / 1000), (long long)(took_ms % 1000 / 10));
}
