#include "plan.h"

#include <string.h>
#include <unistd.h>

#include "engine/base/arena.h"
#include "engine/base/clock.h"
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
#define ROOM_LEAST 24      /* with less beside the names, text goes below them */
#define NARROW_COLUMNS 8   /* where it begins then */

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

static size_t
hanging(const struct view *view)
{
	return view->out->columns > 0 && indent(view) + ROOM_LEAST > view->out->columns ? NARROW_COLUMNS : indent(view);
}

/* Where a line of at most `room` columns ends: behind a word if that leaves no ragged hole. */
static size_t
line_end(const char *text, size_t room)
{
	size_t fits = width_fit(text, room);
	size_t at = fits;

	while (at > 0 && text[at] && text[at] != ' ')
		at--;
	return at > fits / 2 ? at : fits;
}

static void
new_line(const struct view *view, size_t *column)
{
	out_text(view->out, "\n");
	*column = hanging(view);
	out_pad(view->out, *column);
}

/* Text from `*column` on. A terminal would break it anywhere; off a terminal it stays in one line. */
static void
put_text(const struct view *view, const char *text, size_t *column)
{
	size_t columns = view->out->columns;

	if (columns > 0 && *column > hanging(view) && *column + width_of(text) >= columns)
		new_line(view, column);
	while (columns > 0 && *column + width_of(text) >= columns) {
		size_t end = line_end(text, columns - *column - 1);

		if (end == 0)
			break;
		out_safe(view->out, arena_copy_bytes(view->arena, text, end));
		text += end + (text[end] == ' ');
		new_line(view, column);
	}
	out_safe(view->out, text);
	*column += width_of(text);
}

/* The forecast stands in a column of its own where there is room. */
static void
put_time(const struct view *view, const char *time, size_t column)
{
	size_t at = indent(view) + TEXT_COLUMNS, columns = view->out->columns;

	if (columns > 0 && at + width_of(time) + 1 >= columns)
		at = 0;
	if (columns > 0 && (at > column ? at : column + 1) + width_of(time) + 1 >= columns)
		new_line(view, &column);
	else
		out_pad(view->out, at > column ? at - column : 1);
	out_paint(view->out, STYLE_DIM, "~%s", time);
}

/* One line of detail, with the forecast at its end if there is one. */
static void
show_detail(const struct view *view, const char *text, const char *time)
{
	size_t column = hanging(view);

	out_pad(view->out, column);
	put_text(view, text, &column);
	if (time)
		put_time(view, time, column);
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
		return arena_printf(view->arena, "DOWN while it starts (last time %s)",
			units_show_duration(view->arena, action->duration));
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
		lines[count++] = arena_printf(view->arena, "download %s, keep %s",
			cost->download < 0 ? "?" : units_show_size(view->arena, (uint64_t)cost->download),
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
	bool costs = action->seen && action->seen->detail && action->kind != ACTION_BLOCKED &&
		     action->kind != ACTION_INFEASIBLE && !passed;
	const char *time = costs && action->duration > 0 ? words_forecast(view->arena, action->duration) : NULL;
	const char *rule = action->target ? action->target->rule->name : action->record->rule;
	const char *sentence = words_sentence(&view->words, action);
	const char *lines[8];
	size_t count = costs ? cost_lines(view, action, lines) : 0;
	size_t column = SYMBOL_COLUMNS + view->name_columns + (width_of(rule) < RULE_COLUMNS ? RULE_COLUMNS : width_of(rule) + 1);

	if (passed)
		look = words_action(ACTION_NONE);
	out_text(view->out, "  ");
	out_paint(view->out, look->style, "%s", look->symbol);
	out_text(view->out, " ");
	out_cell(view->out, action->name, view->name_columns);
	out_cell(view->out, rule, RULE_COLUMNS);
	put_text(view, sentence, &column);
	if (time && count == 0)
		put_time(view, time, column);
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
