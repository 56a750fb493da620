#include "live.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/units.h"
#include "out.h"
#include "width.h"
#include "words.h"

#define LINES_MOST 12
#define FRAME_MS 100
#define NAME_COLUMNS 12
#define LINE_COLUMNS 100 /* wider terminals get no wider lines: the eye has to find their ends */

enum { WAITING, RUNNING, ENDED };

/* One drawing. */
struct canvas {
	struct live *live;
	struct arena *arena;
	size_t columns;
	size_t lines;
};

static const char *
spinner(const struct live *live)
{
	static const char *const dots[] = { "⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏" };
	static const char *const bars[] = { "|", "/", "-", "\\" };

	return live->out->utf8 ? dots[live->frame % 10] : bars[live->frame % 4];
}

static void
erase(struct live *live)
{
	if (live->drawn > 0)
		out_printf(live->out, "\033[%zuA\r\033[J", live->drawn);
	live->drawn = 0;
}

/* One line: mark, name, text, and what stands at its right end. Never wider than the screen, or redrawing would go astray. */
static void
put_line(struct out *out, struct arena *arena, size_t columns, const char *mark, enum style style, const char *name,
	const char *text, const char *right)
{
	size_t name_columns = width_of(name) < NAME_COLUMNS ? NAME_COLUMNS : width_of(name) + 1;
	size_t used = 1 + width_of(mark) + 1 + name_columns;
	size_t tail = right ? width_of(right) + 2 : 0;
	size_t room = columns > used + tail + 1 ? columns - used - tail - 1 : 8;

	out_text(out, " ");
	out_paint(out, style, "%s", mark);
	out_text(out, " ");
	out_cell(out, name, name_columns);
	out_cell(out, words_cut(arena, text, room - 1), room);
	if (right)
		out_paint(out, STYLE_DIM, "  %s", right);
	out_text(out, "\n");
}

static void
draw_running(struct canvas *canvas, const struct pace_row *row)
{
	struct live *live = canvas->live;
	const char *numbers = words_progress(row, "   ", canvas->arena);
	const char *stage = row->reverting && !*row->stage ? "putting the old one back" : row->stage;
	const char *text = !numbers ? stage : !*stage ? numbers : arena_printf(canvas->arena, "%s   %s", stage, numbers);
	int64_t passed = clock_monotonic_ms() - row->started_ms;

	put_line(live->out, canvas->arena, canvas->columns, spinner(live), STYLE_HINT, row->target, text,
		units_show_duration(canvas->arena, passed));
	canvas->lines++;
}

static const char *
waits_for(const struct live *live, const struct target *target, struct arena *arena)
{
	const struct graph *graph = live->plan->inspection->graph;
	const char **names = arena_array(arena, target->need_count + 1, sizeof *names);
	size_t count = 0;

	for (uint32_t i = 0; i < target->need_count; i++) {
		uint32_t id = graph->needs[target->needs + i];

		if (live->plan->inspection->seen[id].wanted && live->plan->inspection->seen[id].reason != REASON_NONE &&
			live->state[id] != ENDED)
			names[count++] = graph->targets[id].name;
	}
	return count ? arena_printf(arena, "waits for %s", words_list(arena, names, count, 4)) : "waits for its turn";
}

static bool
will_run(const struct action *action)
{
	return action->kind == ACTION_MAKE || action->kind == ACTION_REDO || action->kind == ACTION_CHECK;
}

static void
draw_waiting(struct canvas *canvas)
{
	const struct live *live = canvas->live;

	for (size_t i = 0; live->plan && i < live->plan->count && canvas->lines + 1 < LINES_MOST; i++) {
		const struct action *action = &live->plan->actions[i];

		if (!will_run(action) || live->state[action->target->id] != WAITING)
			continue;
		put_line(live->out, canvas->arena, canvas->columns, " ", STYLE_PLAIN, action->name,
			waits_for(live, action->target, canvas->arena), NULL);
		canvas->lines++;
	}
}

/* What remains: bytes at the present rate, or the forecast less what has passed; -1: not known. */
static int64_t
time_left(const struct live *live, uint64_t bytes, double rate)
{
	const struct cost *cost = live->plan ? &live->plan->cost : NULL;
	int64_t passed = clock_monotonic_ms() - live->started_ms;
	int64_t by_rate = -1, by_plan = -1;

	if (cost && cost->download > 0 && rate > 0 && (uint64_t)cost->download > bytes)
		by_rate = (int64_t)((double)((uint64_t)cost->download - bytes) * 1000 / rate);
	if (cost && cost->duration > passed)
		by_plan = cost->duration - passed;
	return by_rate > by_plan ? by_rate : by_plan;
}

static void
draw_sums(struct canvas *canvas)
{
	struct live *live = canvas->live;
	struct pace_row sum = { .unit = "bytes", .done = live->pace.bytes_ended };
	const char *text;
	int64_t left;

	for (size_t i = 0; i < live->pace.count; i++)
		if (pace_is_bytes(&live->pace.rows[i])) {
			sum.done += live->pace.rows[i].done;
			sum.rate += live->pace.rows[i].rate;
		}
	left = time_left(live, sum.done, sum.rate);
	text = live->total_count == 0 ? "at work"
		: arena_printf(canvas->arena, "[%u/%u]", (unsigned)live->done_count, (unsigned)live->total_count);
	if (sum.done > 0) {
		double rate = sum.rate;

		/* The rate of the sum is shown, its end is forecast from the plan. */
		sum.total = live->plan && live->plan->cost.download > 0 && (uint64_t)live->plan->cost.download >= sum.done
			? (uint64_t)live->plan->cost.download : 0;
		sum.rate = 0;
		text = arena_printf(canvas->arena, "%s %s", text, words_progress(&sum, ", ", canvas->arena));
		if (rate > 0)
			text = arena_printf(
				canvas->arena, "%s, %s/s", text, units_show_size(canvas->arena, (uint64_t)rate));
	}
	if (live->stopping)
		text = arena_printf(canvas->arena, "%s, stopping", text);
	else if (left >= 1000)
		text = arena_printf(canvas->arena, "%s, about %s left", text, words_forecast(canvas->arena, left));
	out_safe(live->out, words_cut(canvas->arena, text, canvas->columns - 1));
	out_text(live->out, "\n");
	canvas->lines++;
}

static size_t
columns_now(const struct live *live)
{
	size_t columns = out_columns(live->out);

	return columns == 0 || columns > LINE_COLUMNS ? LINE_COLUMNS : columns;
}

static void
draw(struct live *live)
{
	struct arena arena finally(arena_finish) = { 0 };
	struct canvas canvas = { .live = live, .arena = &arena };

	arena_init(&arena);
	canvas.columns = columns_now(live);
	erase(live);
	for (size_t i = 0; i < live->pace.count && canvas.lines + 2 < LINES_MOST; i++)
		draw_running(&canvas, &live->pace.rows[i]);
	draw_waiting(&canvas);
	draw_sums(&canvas);
	live->drawn = canvas.lines;
	live->drawn_ms = clock_monotonic_ms();
	out_flush(live->out);
}

static void *
keep_drawing(void *self)
{
	struct live *live = self;

	pthread_mutex_lock(&live->mutex);
	while (!live->ending) {
		struct timespec until;

		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += FRAME_MS * 1000000L;
		if (until.tv_nsec >= 1000000000L) {
			until.tv_nsec -= 1000000000L;
			until.tv_sec++;
		}
		pthread_cond_timedwait(&live->wake, &live->mutex, &until);
		if (live->ending)
			break;
		live->frame++;
		draw(live);
	}
	pthread_mutex_unlock(&live->mutex);
	return NULL;
}

void
live_start(struct live *live)
{
	pthread_condattr_t steady;
	sigset_t all, before;

	live->started_ms = clock_monotonic_ms();
	live->state = xmalloc(live->plan ? live->plan->inspection->graph->count + 1 : 1);
	memset(live->state, WAITING, live->plan ? live->plan->inspection->graph->count + 1 : 1);
	pthread_mutex_init(&live->mutex, NULL);
	pthread_condattr_init(&steady);
	pthread_condattr_setclock(&steady, CLOCK_MONOTONIC);
	pthread_cond_init(&live->wake, &steady);
	pthread_condattr_destroy(&steady);
	/* Signals are for the engine's loop alone. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	live->running = pthread_create(&live->thread, NULL, keep_drawing, live) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void
live_end(struct live *live)
{
	pthread_mutex_lock(&live->mutex);
	live->ending = true;
	pthread_cond_signal(&live->wake);
	pthread_mutex_unlock(&live->mutex);
	if (live->running)
		pthread_join(live->thread, NULL);
	erase(live);
	out_flush(live->out);
	pthread_cond_destroy(&live->wake);
	pthread_mutex_destroy(&live->mutex);
	pace_finish(&live->pace);
	free(live->state);
}

static void
note_state(struct live *live, const char *target, unsigned char state)
{
	const struct target *found = live->plan ? graph_find(live->plan->inspection->graph, target) : NULL;

	if (found)
		live->state[found->id] = state;
}

/* A line that stays. */
static void
ended(struct live *live, const struct event *event, struct arena *arena)
{
	const struct target *target = live->plan ? graph_find(live->plan->inspection->graph, event->target) : NULL;
	bool bad = event->result == RESULT_FAILED || event->result == RESULT_INTERRUPTED;
	const char *good = live->out->utf8 ? "✓" : "ok";
	const char *mark = bad ? live->out->utf8 ? "✗" : "FAIL" : good;

	erase(live);
	put_line(live->out, arena, columns_now(live), mark, bad ? STYLE_ERROR : STYLE_NEW, event->target,
		words_ended(event, pace_find(&live->pace, event->target), target && target->rule->check, arena),
		units_show_duration(arena, event->duration));
	if (event->result == RESULT_FAILED)
		failure_show(live->out, &live->failures, event);
	else
		failure_show_advice(live->out, &live->failures, event);
	pace_drop(&live->pace, event->target);
	note_state(live, event->target, ENDED);
}

static void
say(struct live *live, const char *target, const char *text)
{
	erase(live);
	out_text(live->out, "   ");
	if (target) {
		out_safe(live->out, target);
		out_text(live->out, ": ");
	}
	out_safe(live->out, text);
	out_text(live->out, "\n");
}

static void
told(struct live *live, const struct event *event, struct arena *arena)
{
	int64_t now = clock_monotonic_ms();

	live->done_count = event->done_count;
	live->total_count = event->total_count;
	switch (event->kind) {
	case EVENT_STARTED:
		note_state(live, event->target, RUNNING);
		pace_note(&live->pace, event, now);
		break;
	case EVENT_REVERTING:
	case EVENT_PROGRESS:
		pace_note(&live->pace, event, now);
		break;
	case EVENT_LOG:
		if (live->logs)
			say(live, event->target, event->text);
		break;
	case EVENT_ENDED:
	case EVENT_REVERTED:
		ended(live, event, arena);
		break;
	case EVENT_SETTLED:
		if (event->result == RESULT_FAILED)
			ended(live, event, arena);
		else
			pace_drop(&live->pace, event->target);
		break;
	case EVENT_STOPPING:
		live->stopping = true;
		say(live, NULL, arena_printf(arena, "%s: stopping; what was fetched is kept; again to kill what runs now",
			event->text ? event->text : "signal"));
		break;
	case EVENT_STATUS:
		break;
	}
}

void
live_event(void *self, const struct event *event)
{
	struct live *live = self;
	struct arena arena finally(arena_finish) = { 0 };

	arena_init(&arena);
	pthread_mutex_lock(&live->mutex);
	told(live, event, &arena);
	/* What scrolled up is followed by the lines below at once, unless many targets end at once. */
	if (live->drawn == 0 && clock_monotonic_ms() - live->drawn_ms >= FRAME_MS)
		draw(live);
	else
		out_flush(live->out);
	pthread_mutex_unlock(&live->mutex);
}
