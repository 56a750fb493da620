#include "schedule.h"

#include <string.h>

#include "base/arena.h"
#include "plan.h"

enum { STATE_IDLE, STATE_WAITING, STATE_READY, STATE_RUNNING, STATE_ENDED, STATE_GIVEN_UP };

static bool
runs(const struct action *action)
{
	return action->kind == ACTION_MAKE || action->kind == ACTION_REDO || action->kind == ACTION_CHECK;
}

/* Longest path first; among equals the order of the plan. */
static bool
before(const struct schedule *schedule, uint32_t a, uint32_t b)
{
	return schedule->path[a] != schedule->path[b] ? schedule->path[a] > schedule->path[b] : a < b;
}

static void
push(struct schedule *schedule, uint32_t action)
{
	uint32_t at = schedule->ready_count++;

	schedule->state[action] = STATE_READY;
	while (at > 0 && before(schedule, action, schedule->ready[(at - 1) / 2])) {
		schedule->ready[at] = schedule->ready[(at - 1) / 2];
		at = (at - 1) / 2;
	}
	schedule->ready[at] = action;
}

static uint32_t
pop(struct schedule *schedule)
{
	uint32_t top = schedule->ready[0], last = schedule->ready[--schedule->ready_count], at = 0;

	for (;;) {
		uint32_t child = 2 * at + 1;

		if (child >= schedule->ready_count)
			break;
		if (child + 1 < schedule->ready_count && before(schedule, schedule->ready[child + 1], schedule->ready[child]))
			child++;
		if (!before(schedule, schedule->ready[child], last))
			break;
		schedule->ready[at] = schedule->ready[child];
		at = child;
	}
	schedule->ready[at] = last;
	return top;
}

/* From the end of the plan to its start: what follows an action decides how urgent it is. */
static void
measure_paths(struct schedule *schedule)
{
	const struct plan *plan = schedule->plan;
	const struct graph *graph = plan->inspection->graph;

	for (size_t i = plan->count; i-- > 0;) {
		const struct action *action = &plan->actions[i];
		int64_t longest = 0;

		if (!runs(action))
			continue;
		for (uint32_t j = 0; j < action->target->user_count; j++) {
			uint32_t user = schedule->action_of[graph->users[action->target->users + j]];

			if (user != NO_ACTION && schedule->path[user] > longest)
				longest = schedule->path[user];
		}
		schedule->path[i] = longest + (action->duration > 0 ? action->duration : 1);
	}
}

void
schedule_init(struct schedule *schedule, const struct plan *plan, struct arena *arena)
{
	const struct graph *graph = plan->inspection->graph;

	*schedule = (struct schedule){
		.plan = plan,
		.waits = arena_array(arena, plan->count + 1, sizeof *schedule->waits),
		.ready = arena_array(arena, plan->count + 1, sizeof *schedule->ready),
		.path = arena_array(arena, plan->count + 1, sizeof *schedule->path),
		.action_of = arena_array(arena, graph->count + 1, sizeof *schedule->action_of),
		.state = arena_alloc(arena, plan->count + 1),
		.stack = arena_array(arena, plan->count + 1, sizeof *schedule->stack),
	};
	memset(schedule->action_of, 0xff, (graph->count + 1) * sizeof *schedule->action_of);
	for (uint32_t i = 0; i < plan->count; i++)
		if (runs(&plan->actions[i])) {
			schedule->action_of[plan->actions[i].target->id] = i;
			schedule->state[i] = STATE_WAITING;
			schedule->left++;
		}
	schedule->total = schedule->left;
	measure_paths(schedule);
	for (uint32_t i = 0; i < plan->count; i++) {
		const struct target *target = plan->actions[i].target;

		if (schedule->state[i] != STATE_WAITING)
			continue;
		for (uint32_t j = 0; j < target->need_count; j++)
			schedule->waits[i] += schedule->action_of[graph->needs[target->needs + j]] != NO_ACTION;
		if (schedule->waits[i] == 0)
			push(schedule, i);
	}
}

uint32_t
schedule_next(struct schedule *schedule)
{
	uint32_t action;

	if (schedule->ready_count == 0)
		return NO_ACTION;
	action = pop(schedule);
	schedule->state[action] = STATE_RUNNING;
	return action;
}

/* Those behind a failure never start. Each is given up once, so any number of failures costs one walk of the graph. */
static void
give_up_behind(struct schedule *schedule, uint32_t failed)
{
	const struct graph *graph = schedule->plan->inspection->graph;
	size_t depth = 0;

	schedule->stack[depth++] = failed;
	while (depth > 0) {
		const struct target *target = schedule->plan->actions[schedule->stack[--depth]].target;

		for (uint32_t i = 0; i < target->user_count; i++) {
			uint32_t user = schedule->action_of[graph->users[target->users + i]];

			if (user == NO_ACTION || schedule->state[user] != STATE_WAITING)
				continue;
			schedule->state[user] = STATE_GIVEN_UP;
			schedule->left--;
			schedule->stack[depth++] = user;
		}
	}
}

void
schedule_end(struct schedule *schedule, uint32_t action, bool ok)
{
	const struct target *target = schedule->plan->actions[action].target;
	const struct graph *graph = schedule->plan->inspection->graph;

	schedule->state[action] = STATE_ENDED;
	schedule->left--;
	if (!ok) {
		give_up_behind(schedule, action);
		return;
	}
	for (uint32_t i = 0; i < target->user_count; i++) {
		uint32_t user = schedule->action_of[graph->users[target->users + i]];

		if (user != NO_ACTION && schedule->state[user] == STATE_WAITING && --schedule->waits[user] == 0)
			push(schedule, user);
	}
}

bool
schedule_done(const struct schedule *schedule)
{
	return schedule->left == 0;
}
