#include "plan.h"

#include <string.h>

#include "base/arena.h"

#define SCAN_SHARE 8 /* with more than one of so many targets stale, all durations are read at once */

/* What stands in the way of a target: its own refusal, or that of one it needs. */
enum standing { STANDING_CLEAR, STANDING_REFUSED, STANDING_BEHIND };

struct making {
	struct plan *plan;
	const struct inspection *inspection;
	unsigned char *standing;  /* by target id */
	int64_t *times;           /* by target id */
	bool *timed;              /* whether it is known */
};

static enum standing
stand(const struct making *making, const struct target *target)
{
	const struct graph *graph = making->inspection->graph;

	for (uint32_t i = 0; i < target->need_count; i++)
		if (making->standing[graph->needs[target->needs + i]] != STANDING_CLEAR)
			return STANDING_BEHIND;
	return making->inspection->seen[target->id].refused ? STANDING_REFUSED : STANDING_CLEAR;
}

/* Note what refuses: the worst exit status, and the classes that a fallback may ask for. */
static void
note_refusal(struct plan *plan, const struct seen *seen)
{
	const struct findings *findings = &seen->detail->findings;

	plan->verdict = VERDICT_INFEASIBLE;
	if (seen->detail->error.fault != FAULT_NONE) {
		const struct fault_row *row = fault_row(seen->detail->error.fault);

		plan->status = status_worse(plan->status, row->status);
		plan->classes |= 1u << row->class;
	}
	for (size_t i = 0; i < findings->count; i++) {
		const struct fault_row *row = fault_row(findings->items[i].fault);

		if (findings->items[i].advice || row->status == STATUS_OK)
			continue;
		plan->status = status_worse(plan->status, row->status);
		plan->classes |= 1u << row->class;
	}
	plan->classes &= ~(1u << CLASS_NONE);
}

static enum action_kind
kind_of(const struct seen *seen, const struct target *target, enum standing standing)
{
	if (standing == STANDING_REFUSED)
		return ACTION_INFEASIBLE;
	if (seen->reason == REASON_NONE)
		return ACTION_NONE;
	if (standing == STANDING_BEHIND)
		return ACTION_BLOCKED;
	if (target->rule->check)
		return ACTION_CHECK;
	return seen->record ? ACTION_REDO : ACTION_MAKE;
}

static void
expect_duration(const struct making *making, struct action *action)
{
	if (making->timed[action->target->id]) {
		action->duration = making->times[action->target->id];
		action->from_history = true;
	} else if (action->seen->detail) {
		action->duration = action->seen->detail->cost.duration;
	}
}

static void
add_target(struct making *making, const struct target *target)
{
	struct plan *plan = making->plan;
	const struct seen *seen = &making->inspection->seen[target->id];
	enum standing standing = stand(making, target);
	struct action *action = &plan->actions[plan->count++];

	making->standing[target->id] = (unsigned char)standing;
	*action = (struct action){
		.kind = kind_of(seen, target, standing),
		.reason = seen->reason,
		.target = target,
		.seen = seen,
		.name = target->name,
		.duration = -1,
	};
	if (standing == STANDING_REFUSED)
		note_refusal(plan, seen);
	if (action->kind == ACTION_NONE)
		return;
	expect_duration(making, action);
	/* A live thing is replaced even where its new parameters cannot be known yet. */
	action->needs_consent = action->kind == ACTION_REDO && seen->detail &&
				(seen->detail->cost.stops || seen->detail->cost.deletes || (seen->detail->unknown && target->rule->settle));
}

static bool
removes_something_live(const struct rule *rule)
{
	return rule->settle != NULL;
}

/* An empty directory is nothing that anybody would miss. */
static bool
removes_data(const struct record *record)
{
	for (size_t i = 0; i < record->artifacts.count; i++) {
		const struct artifact *artifact = &record->artifacts.items[i];

		if ((artifact->kind == ARTIFACT_FILE || artifact->kind == ARTIFACT_DIRECTORY) && artifact->size > 0)
			return true;
	}
	return false;
}

/* Records of targets that the manifest has no more. What is precious stays, and its record with it. */
static void
add_gone(struct making *making)
{
	const struct inspection *inspection = making->inspection;
	struct plan *plan = making->plan;

	if (inspection->wishes->targets.count)
		return;
	for (size_t i = 0; i < inspection->gone_count; i++) {
		const struct record *record = &inspection->gone[i];
		const struct rule *rule = graph_rule(inspection->graph, record->rule);

		if (!rule || rule->precious)
			continue;
		plan->actions[plan->count++] = (struct action){
			.kind = ACTION_REMOVE,
			.reason = REASON_NOT_WANTED,
			.record = record,
			.name = record->target,
			.duration = -1,
			.needs_consent = removes_something_live(rule) || removes_data(record),
		};
	}
}

static void
add_part(int64_t *sum, int64_t part)
{
	if (part < 0)
		*sum = -1;
	else if (*sum >= 0)
		*sum += part;
}

/* Time on the longest path is what the user waits for; the plain sum would frighten. */
static int64_t
longest_path(const struct making *making)
{
	const struct graph *graph = making->inspection->graph;
	const struct plan *plan = making->plan;
	int64_t *end = arena_array(making->inspection->arena, graph->count + 1, sizeof *end);
	int64_t longest = 0;

	for (size_t i = 0; i < plan->count; i++) {
		const struct action *action = &plan->actions[i];
		int64_t start = 0;

		if (!action->target)
			continue;
		for (uint32_t j = 0; j < action->target->need_count; j++) {
			int64_t need_end = end[graph->needs[action->target->needs + j]];

			start = need_end > start ? need_end : start;
		}
		end[action->target->id] = start + (action->kind != ACTION_NONE && action->duration > 0 ? action->duration : 0);
		longest = end[action->target->id] > longest ? end[action->target->id] : longest;
	}
	return longest;
}

static void
sum_up(const struct making *making)
{
	struct plan *plan = making->plan;

	plan->cost = (struct cost){ .downtime = 0 };
	for (size_t i = 0; i < plan->count; i++) {
		struct action *action = &plan->actions[i];
		const struct cost *cost;

		/* While the plan cannot succeed, what could run is held back. */
		if (plan->verdict == VERDICT_INFEASIBLE &&
			(action->kind == ACTION_MAKE || action->kind == ACTION_REDO || action->kind == ACTION_REMOVE ||
				(action->kind == ACTION_CHECK && !action->seen->passed_now)))
			action->kind = ACTION_HELD;
		plan->counts[action->kind]++;
		if (action->kind == ACTION_NONE || !action->seen || !action->seen->detail)
			continue;
		cost = &action->seen->detail->cost;
		add_part(&plan->cost.download, cost->download);
		add_part(&plan->cost.keep, cost->keep);
		plan->least_download += cost->download > 0 ? cost->download : 0;
		plan->least_keep += cost->keep > 0 ? cost->keep : 0;
		if (cost->downtime > plan->cost.downtime)
			plan->cost.downtime = cost->downtime;
		plan->cost.stops |= cost->stops;
		plan->cost.deletes |= cost->deletes;
		plan->cost_is_guess |= !action->from_history && !action->target->rule->check;
	}
	plan->cost.duration = longest_path(making);
}

static uint32_t
count_stale(const struct inspection *inspection)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < inspection->graph->count; i++)
		count += inspection->seen[i].wanted && inspection->seen[i].reason != REASON_NONE;
	return count;
}

/* Each by itself, where they are few. */
static bool
ask_for_times(struct making *making, struct error *err)
{
	const struct inspection *inspection = making->inspection;
	const struct memory *memory = inspection->memory;
	bool found;

	for (uint32_t i = 0; i < inspection->graph->count; i++) {
		if (!inspection->seen[i].wanted || inspection->seen[i].reason == REASON_NONE)
			continue;
		if (!memory->duration(memory->self, inspection->manifest->name, inspection->graph->targets[i].name, &making->times[i], &found, err))
			return false;
		making->timed[i] = found;
	}
	return true;
}

/* All in one scan. */
static bool
load_times(struct making *making, struct error *err)
{
	const struct inspection *inspection = making->inspection;
	const struct memory *memory = inspection->memory;
	const char **targets;
	int64_t *times;
	size_t count;

	if (!memory->durations(memory->self, inspection->manifest->name, inspection->arena, &targets, &times, &count, err))
		return false;
	for (size_t i = 0; i < count; i++) {
		uint32_t id = names_find(&inspection->graph->names, targets[i]);

		if (id >= inspection->graph->count)
			continue;
		making->times[id] = times[i];
		making->timed[id] = true;
	}
	return true;
}

bool
plan_make(struct plan *plan, const struct inspection *inspection, struct arena *arena, struct error *err)
{
	const struct graph *graph = inspection->graph;
	struct making making = { .plan = plan, .inspection = inspection, .standing = arena_alloc(arena, graph->count + 1) };
	uint32_t stale;

	*plan = (struct plan){
		.inspection = inspection,
		.actions = arena_array(arena, graph->count + inspection->gone_count + 1, sizeof *plan->actions),
		.verdict = VERDICT_FEASIBLE,
	};
	making.times = arena_array(arena, graph->count + 1, sizeof *making.times);
	making.timed = arena_array(arena, graph->count + 1, sizeof *making.timed);
	/* History is read only where something will run: a no-op spares it. */
	stale = count_stale(inspection);
	if (stale > 0 && !(stale < graph->count / SCAN_SHARE ? ask_for_times : load_times)(&making, err))
		return false;
	add_gone(&making);
	for (uint32_t i = 0; i < graph->count; i++)
		if (inspection->seen[graph->order[i]].wanted)
			add_target(&making, &graph->targets[graph->order[i]]);
	sum_up(&making);
	if (plan_is_empty(plan))
		plan->verdict = VERDICT_NOTHING;
	return true;
}

/* A swap that an earlier run did not bring to its end, of a target that this plan is about. */
static bool
is_any_swap_open(const struct inspection *inspection)
{
	for (size_t i = 0; i < inspection->kept_count; i++) {
		const struct target *target = graph_find(inspection->graph, inspection->kept[i].target);

		if (!target || inspection->seen[target->id].wanted)
			return true;
	}
	return false;
}

bool
plan_is_empty(const struct plan *plan)
{
	return plan->counts[ACTION_NONE] == plan->count && !is_any_swap_open(plan->inspection);
}
