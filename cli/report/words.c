#include "words.h"

#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "engine/base/cleanup.h"
#include "engine/base/units.h"
#include "engine/event.h"
#include "pace.h"
#include "width.h"

#define TEXT_MOST (64u << 10)
#define VALUE_MOST 100 /* columns of an old or new value */
#define CONTEXT 20     /* bytes kept of what two long values begin with in common */

static const char *const reasons[REASON_COUNT] = {
	[REASON_NONE] = "up to date",
	[REASON_NEVER_BUILT] = "never built",
	[REASON_ASKED_FOR] = "asked for",
	[REASON_INPUT_CHANGED] = "input changed",
	[REASON_PARAMETER_CHANGED] = "parameter changed",
	[REASON_UPSTREAM_MOVED] = "upstream moved",
	[REASON_OUTPUT_MISSING] = "output missing",
	[REASON_OUTPUT_DIFFERS] = "output differs",
	[REASON_DEPENDENCY] = "dependency will change",
	[REASON_NEED_MENDED] = "repaired after it started",
	[REASON_RULE_VERSION] = "rule version changed",
	[REASON_CONTAINER_GONE] = "container gone",
	[REASON_CONTAINER_NOT_OURS] = "container not ours",
	[REASON_UNKNOWN_UNTIL] = "unknown until",
	[REASON_NOT_WANTED] = "not in the manifest",
};

static const struct action_words actions[ACTION_KIND_COUNT] = {
	[ACTION_NONE] = { " = ", STYLE_DIM, "same", "up to date" },
	[ACTION_MAKE] = { " + ", STYLE_NEW, "make", "to make" },
	[ACTION_REDO] = { "-/+", STYLE_CHANGE, "redo", "to redo" },
	[ACTION_CHECK] = { " > ", STYLE_PLAIN, "run", "to check" },
	[ACTION_REMOVE] = { " - ", STYLE_REMOVE, "remove", "to remove" },
	[ACTION_INFEASIBLE] = { " ! ", STYLE_ERROR, "infeasible", "infeasible" },
	[ACTION_HELD] = { " . ", STYLE_DIM, "held", "held back" },
	[ACTION_BLOCKED] = { " . ", STYLE_DIM, "blocked", "blocked" },
};

const struct action_words *
words_action(enum action_kind kind)
{
	return &actions[kind];
}

const char *
words_reason(enum reason reason)
{
	return reasons[reason];
}

/* The first cause of this reason, and how many more there are. */
static const char *
cause_names(const struct causes *causes, enum reason reason, struct arena *arena)
{
	const char *first = NULL;
	size_t more = 0;

	for (size_t i = 0; i < causes->count; i++) {
		if (causes->items[i].reason != reason)
			continue;
		if (first)
			more++;
		else
			first = causes->items[i].what;
	}
	return more ? arena_printf(arena, "%s and %zu more", first, more) : first;
}

/* What the reason says already need not be said again. */
static const char *
without_end(const char *text, const char *end, struct arena *arena)
{
	return text && text_ends(text, end) ? arena_copy_bytes(arena, text, strlen(text) - strlen(end)) : text;
}

/* Whether the need that a target is redone for has changed already, and is up to date itself: an instance that was put back, say. */
static bool
need_has_changed(const struct words *words, const struct action *action)
{
	const struct detail *detail = action->seen->detail;
	const char *name = detail->root;
	const struct target *need;

	for (size_t i = 0; !name && i < detail->causes.count; i++)
		if (detail->causes.items[i].reason == REASON_DEPENDENCY)
			name = detail->causes.items[i].what;
	need = name ? graph_find(words->plan->inspection->graph, name) : NULL;
	return need && words->plan->inspection->seen[need->id].wanted && words->plan->inspection->seen[need->id].reason == REASON_NONE;
}

/* What the reason is about, in words; NULL if the reason says it all. */
static const char *
subject(const struct action *action, struct arena *arena)
{
	const struct detail *detail = action->seen ? action->seen->detail : NULL;
	const char *names;

	if (!detail)
		return NULL;
	switch (action->reason) {
	case REASON_UNKNOWN_UNTIL:
		return detail->unknown;
	case REASON_NEED_MENDED:
	case REASON_DEPENDENCY:
		return detail->root ? detail->root : cause_names(&detail->causes, REASON_DEPENDENCY, arena);
	case REASON_INPUT_CHANGED:
	case REASON_PARAMETER_CHANGED:
	case REASON_UPSTREAM_MOVED:
		names = cause_names(&detail->causes, action->reason, arena);
		return names ? names : detail->look.what;
	case REASON_OUTPUT_MISSING:
		return without_end(detail->look.what, ": missing", arena);
	default:
		return detail->look.what;
	}
}

void
words_init(struct words *words, const struct plan *plan, struct arena *arena)
{
	const struct graph *graph = plan->inspection->graph;

	*words = (struct words){ .plan = plan, .arena = arena };
	if (plan->counts[ACTION_INFEASIBLE] == 0)
		return;
	words->blocker = arena_array(arena, graph->count + 1, sizeof *words->blocker);
	for (uint32_t i = 0; i < graph->count; i++) {
		const struct target *target = &graph->targets[graph->order[i]];

		for (uint32_t j = 0; j < target->need_count && !words->blocker[target->id]; j++) {
			uint32_t need = graph->needs[target->needs + j];

			words->blocker[target->id] =
				plan->inspection->seen[need].refused ? graph->targets[need].name : words->blocker[need];
		}
	}
}

static const char *
blocked_by(const struct words *words, const struct target *target)
{
	const char *name = words->blocker ? words->blocker[target->id] : NULL;

	return name ? arena_printf(words->arena, "blocked by %s", name) : "blocked";
}

/* Why a check refuses, in a few words. */
static const char *
refusal(const struct seen *seen, struct arena *arena)
{
	const struct detail *detail = seen->detail;

	if (!detail)
		return "infeasible";
	if (detail->error.fault != FAULT_NONE)
		return arena_printf(arena, "%s: %s", fault_row(detail->error.fault)->title, detail->error.text);
	if (detail->look.summary)
		return strncmp(detail->look.summary, "infeasible", 10) == 0 ? detail->look.summary
			: arena_printf(arena, "refused: %s", detail->look.summary);
	for (size_t i = 0; i < detail->findings.count; i++)
		if (!detail->findings.items[i].advice)
			return arena_printf(arena, "refused: %s", detail->findings.items[i].text);
	return "refused";
}

/* A check that waits for what it judges: the last need that will run before it. */
static const char *
runs_after(const struct plan *plan, const struct target *target, struct arena *arena)
{
	const struct graph *graph = plan->inspection->graph;

	for (uint32_t i = target->need_count; i-- > 0;) {
		uint32_t id = graph->needs[target->needs + i];
		const struct seen *seen = &plan->inspection->seen[id];

		if (seen->wanted && seen->reason != REASON_NONE && !seen->passed_now)
			return arena_printf(arena, "runs after %s", graph->targets[id].name);
	}
	return NULL;
}

/* A verdict that does not refuse; with advice it is no clean pass. */
static const char *
passes(const struct detail *detail, struct arena *arena)
{
	const char *word = detail && detail->findings.count ? "not refused" : "passed now";

	return detail && detail->look.summary ? arena_printf(arena, "%s: %s", word, detail->look.summary) : word;
}

const char *
words_sentence(const struct words *words, const struct action *action)
{
	struct arena *arena = words->arena;
	const char *about;

	if (action->kind == ACTION_INFEASIBLE)
		return refusal(action->seen, arena);
	if (action->kind == ACTION_BLOCKED)
		return blocked_by(words, action->target);
	if (action->kind == ACTION_CHECK && action->seen->passed_now)
		return passes(action->seen->detail, arena);
	if (action->kind == ACTION_CHECK) {
		about = runs_after(words->plan, action->target, arena);
		if (about)
			return about;
	}
	about = subject(action, arena);
	if (!about)
		return words_reason(action->reason);
	if (action->reason == REASON_DEPENDENCY && need_has_changed(words, action))
		return arena_printf(arena, "dependency has changed: %s", about);
	if (action->reason == REASON_UNKNOWN_UNTIL)
		return arena_printf(arena, "%s %s", words_reason(action->reason), about);
	return arena_printf(arena, "%s: %s", words_reason(action->reason), about);
}

/* Where both values are long, what they begin with in common says nothing. */
static size_t
common_part(const char *before, const char *after)
{
	size_t same = 0;

	if (width_of(before) <= VALUE_MOST && width_of(after) <= VALUE_MOST)
		return 0;
	while (before[same] && before[same] == after[same])
		same++;
	if (same <= CONTEXT)
		return 0;
	same -= CONTEXT;
	while (same > 0 && ((unsigned char)before[same] & 0xc0) == 0x80)
		same--;
	return same;
}

/* A digest is recognised by its beginning. */
static bool
is_digest(const char *text)
{
	return strlen(text) == DIGEST_HEX - 1 && strspn(text, "0123456789abcdef") == DIGEST_HEX - 1;
}

static const char *
value(struct arena *arena, const char *text, size_t skip)
{
	const char *shown;

	if (is_digest(text))
		return arena_printf(arena, "%.12s...", text);
	shown = words_cut(arena, text + skip, VALUE_MOST);
	return skip ? arena_printf(arena, "...%s", shown) : shown;
}

const char *
words_cause(const struct cause *cause, struct arena *arena)
{
	size_t skip = cause->before && cause->after ? common_part(cause->before, cause->after) : 0;
	const char *before = cause->before ? value(arena, cause->before, skip) : "(nothing)";
	const char *after = cause->after ? value(arena, cause->after, skip) : "(nothing)";

	if (!cause->before && !cause->after)
		return NULL;
	if (cause->line)
		return arena_printf(arena, "line %u: %s -> %s", (unsigned)cause->line, before, after);
	return arena_printf(arena, "%s -> %s", before, after);
}

const char *
words_forecast(struct arena *arena, int64_t milliseconds)
{
	int64_t seconds = (milliseconds + 999) / 1000;
	int64_t tens = (seconds + 5) / 10 * 10;

	if (seconds < 60)
		return units_show_duration(arena, milliseconds < 1000 ? milliseconds : seconds * 1000);
	if (seconds >= 3600)
		return units_show_duration(arena, seconds * 1000);
	if (tens % 60 == 0 || seconds >= 600)
		return arena_printf(arena, "%lld m", (long long)((seconds + 30) / 60));
	return arena_printf(arena, "%lld m %02lld s", (long long)(tens / 60), (long long)(tens % 60));
}

/* "12.8 / 20.6 GB": the unit once, where both have the same. */
static const char *
of_total(const struct pace_row *row, struct arena *arena)
{
	const char *done, *total, *done_unit, *total_unit;

	if (!pace_is_bytes(row))
		return row->total ? arena_printf(arena, "%llu / %llu %s", (unsigned long long)row->done,
					    (unsigned long long)row->total, row->unit)
				  : arena_printf(arena, "%llu %s", (unsigned long long)row->done, row->unit);
	done = units_show_size(arena, row->done);
	if (!row->total)
		return done;
	total = units_show_size(arena, row->total);
	done_unit = strrchr(done, ' ');
	total_unit = strrchr(total, ' ');
	if (done_unit && total_unit && strcmp(done_unit, total_unit) == 0)
		return arena_printf(arena, "%.*s / %s", (int)(done_unit - done), done, total);
	return arena_printf(arena, "%s / %s", done, total);
}

const char *
words_progress(const struct pace_row *row, const char *between, struct arena *arena)
{
	int64_t left = pace_left(row);
	const char *text;

	if (row->done == 0 && row->total == 0)
		return NULL;
	text = of_total(row, arena);
	if (row->rate > 0 && pace_is_bytes(row))
		text = arena_printf(arena, "%s%s%s/s", text, between, units_show_size(arena, (uint64_t)row->rate));
	if (left >= 0)
		text = arena_printf(arena, "%s%s~%s left", text, between, words_forecast(arena, left));
	if (*row->file && row->file_total > 0)
		text = arena_printf(arena, "%s%s%s %u %%", text, between, row->file, (unsigned)(row->file_done * 100 / row->file_total));
	return text;
}

const char *
words_ended(const struct event *event, const struct pace_row *row, bool check, struct arena *arena)
{
	const char *summary = event->record ? event->record->summary : NULL;

	switch (event->result) {
	case RESULT_OK:
		if (event->kind == EVENT_REVERTED)
			return "the old one is back";
		if (row && row->removing)
			return event->text ? event->text : "removed";
		return summary && *summary ? summary : check ? "passed" : "done";
	case RESULT_SAME:
		return "up to date after all";
	case RESULT_SKIPPED:
		return event->text ? event->text : "skipped";
	case RESULT_INTERRUPTED:
		return "stopped";
	case RESULT_FAILED:
		break;
	}
	if (!event->error)
		return "failed";
	/* The whole of it stands in the diagnostic that follows. */
	return arena_printf(arena, "%s (%s)", fault_row(event->error->fault)->title, fault_row(event->error->fault)->code);
}

const char *
words_count(struct arena *arena, uint64_t count, const char *one, const char *many)
{
	return arena_printf(arena, "%llu %s", (unsigned long long)count, count == 1 ? one : many);
}

const char *
words_cut(struct arena *arena, const char *text, size_t columns)
{
	size_t fits = width_fit(text, columns);

	if (!text[fits])
		return text;
	fits = width_fit(text, columns > 3 ? columns - 3 : 0);
	return arena_printf(arena, "%.*s...", (int)fits, text);
}

const char *
words_list(struct arena *arena, const char *const *names, size_t count, size_t most)
{
	struct buf text finally(buf_finish) = { 0 };
	size_t shown = count > most ? most : count;

	buf_init(&text, TEXT_MOST);
	for (size_t i = 0; i < shown; i++)
		buf_printf(&text, "%s%s", i > 0 ? ", " : "", names[i]);
	if (shown < count)
		buf_printf(&text, " and %zu more", count - shown);
	return arena_copy(arena, text.data);
}
