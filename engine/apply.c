#include "apply.h"

#include <string.h>

#include "base/arena.h"
#include "swap.h"

static void
start_ready(struct loop *loop)
{
	while (!loop->stop && loop->running_count < loop->options->jobs) {
		uint32_t index = schedule_next(&loop->schedule);
		const struct action *action;
		struct worker *worker;

		if (index == NO_ACTION)
			return;
		action = &loop->plan->actions[index];
		worker = loop_hire(loop, WORK_BUILD, action->target, NULL, action->target->rule, loop->current[action->target->id]);
		worker->action = index;
		worker->asked_for = action->reason == REASON_ASKED_FOR;
		loop_launch(loop, worker, action->reason);
	}
}

static void
note_built(struct loop *loop, struct worker *worker, enum result result)
{
	const struct target *target = worker->target;

	loop->ended++;
	loop->result->changed += result == RESULT_OK;
	loop->result->same += result == RESULT_SAME;
	loop->result->downloaded += worker->downloaded;
	loop->fate[target->id] = result == RESULT_OK ? FATE_DONE : result == RESULT_SAME ? FATE_SAME : FATE_FAILED;
	if (result == RESULT_FAILED)
		loop_count_failure(loop, worker);
	schedule_end(&loop->schedule, worker->action, worker->ok);
}

static void
fill_outcome(struct loop *loop, struct worker *worker, enum result result, struct outcome *outcome)
{
	*outcome = outcome_make(loop->arena, worker, result);
	if (worker->kind != WORK_BUILD || result != RESULT_OK)
		return;
	outcome->record = outcome_record(&worker->record, loop->arena);
	outcome->keep_old = worker->rule->settle && loop->current[worker->target->id];
}

static size_t
list_length(const struct worker *list)
{
	size_t count = 0;

	for (; list; list = list->next)
		count++;
	return count;
}

static void
finish_builds(struct loop *loop)
{
	struct worker *list, *next;
	struct outcome *outcomes;
	size_t count = 0;
	bool recorded;

	list = loop_take_done(loop);
	if (!list)
		return;
	outcomes = arena_array(loop->arena, list_length(list), sizeof *outcomes);
	for (struct worker *worker = list; worker; worker = worker->next)
		if (!worker->same)
			fill_outcome(loop, worker, loop_result(loop, worker), &outcomes[count++]);
	recorded = loop_record(loop, outcomes, count);
	count = 0;
	for (struct worker *worker = list; worker; worker = next) {
		enum result result = loop_result(loop, worker);
		const struct outcome *outcome = worker->same ? NULL : &outcomes[count++];

		next = worker->next;
		if (!recorded && result == RESULT_OK) {
			worker->ok = false;
			worker->err = loop->broken;
			result = RESULT_FAILED;
		} else if (outcome && outcome->record) {
			if (outcome->keep_old)
				loop->replaced[worker->target->id] = loop->current[worker->target->id];
			loop->current[worker->target->id] = outcome->record;
		}
		note_built(loop, worker, result);
		loop_tell_ended(loop, worker, result);
		worker_free(worker);
	}
}

static void
remove_record(struct loop *loop, const struct target *target, const struct record *old, const struct rule *rule)
{
	struct worker *worker = loop_run_alone(loop, loop_hire(loop, WORK_REMOVE, target, old->target, rule, old), REASON_NOT_WANTED);
	struct outcome outcome = outcome_make(loop->arena, worker, worker->ok ? RESULT_OK : RESULT_FAILED);

	outcome.removed = worker->ok;
	loop->ended++;
	if (loop_finish_alone(loop, worker, &outcome))
		loop->result->changed++;
	worker_free(worker);
}

static void
remove_gone(struct loop *loop)
{
	for (size_t i = 0; i < loop->plan->count && !loop->stop; i++) {
		const struct action *action = &loop->plan->actions[i];

		if (action->kind == ACTION_REMOVE)
			remove_record(loop, NULL, action->record, graph_rule(loop->inspection->graph, action->record->rule));
	}
}

bool
apply(const struct plan *plan, const struct watcher *watcher, const struct apply_options *options, struct arena *arena,
	struct apply_result *result, struct error *err)
{
	struct loop loop = {
		.inspection = plan->inspection,
		.plan = plan,
		.watcher = watcher,
		.options = options,
		.arena = arena,
		.result = result,
		.wake = -1,
	};

	*result = (struct apply_result){ 0 };
	schedule_init(&loop.schedule, plan, arena);
	loop.total = loop.schedule.total + (uint32_t)plan->counts[ACTION_REMOVE];
	if (!loop_open(&loop, err))
		return false;
	remove_gone(&loop);
	for (;;) {
		start_ready(&loop);
		if (loop.running_count == 0)
			break;
		loop_wait(&loop);
		finish_builds(&loop);
	}
	swap_finish(&loop);
	result->skipped = loop.schedule.total - (loop.ended - (uint32_t)plan->counts[ACTION_REMOVE]);
	return loop_close(&loop, err);
}

static bool
named(const struct strings *names, const char *name)
{
	return strings_has(names, name);
}

static bool
wants_destroyed(const struct strings *names, const char *name, const struct rule *rule)
{
	return names->count ? named(names, name) : !rule->precious;
}

bool
apply_destroy(const struct inspection *inspection, const struct strings *names, const struct watcher *watcher, const struct apply_options *options,
	struct arena *arena, struct apply_result *result, struct error *err)
{
	const struct graph *graph = inspection->graph;
	struct loop loop = { .inspection = inspection, .watcher = watcher, .options = options, .arena = arena, .result = result, .wake = -1 };

	*result = (struct apply_result){ 0 };
	if (!loop_open(&loop, err))
		return false;
	for (size_t i = 0; i < inspection->gone_count && !loop.stop; i++) {
		const struct record *old = &inspection->gone[i];
		const struct rule *rule = graph_rule(graph, old->rule);

		if (rule && wants_destroyed(names, old->target, rule))
			remove_record(&loop, NULL, old, rule);
	}
	for (uint32_t i = graph->count; i-- > 0 && !loop.stop;) {
		const struct target *target = &graph->targets[graph->order[i]];
		const struct record *old = loop.current[target->id];

		if (old && wants_destroyed(names, target->name, target->rule))
			remove_record(&loop, target, old, target->rule);
	}
	return loop_close(&loop, err);
}

static const struct rule *
rule_of_intent(const struct graph *graph, const struct intent *intent, struct arena *arena)
{
	const char *slash = strchr(intent->kind, '/');

	return slash ? graph_rule(graph, arena_copy_bytes(arena, intent->kind, (size_t)(slash - intent->kind))) : NULL;
}

/* Whether somebody in this run will look after what an intent left behind: a build of its target does. */
static bool
will_be_looked_after(const struct inspection *inspection, const struct intent *intent)
{
	const struct target *target = graph_find(inspection->graph, intent->target);

	return target && inspection->seen[target->id].wanted && inspection->seen[target->id].reason != REASON_NONE;
}

/* An orphan of a target that nothing will build: the world is made to agree with its record, or, without one, emptied. */
static bool
clear_orphan(struct loop *loop, const struct intent *intent)
{
	const struct graph *graph = loop->inspection->graph;
	const struct target *target = graph_find(graph, intent->target);
	const struct rule *rule = rule_of_intent(graph, intent, loop->arena);
	const struct record *old = target ? loop->current[target->id] : NULL;
	const struct record nothing = { .target = intent->target, .rule = rule ? rule->name : "" };
	struct worker *worker;
	struct outcome outcome;
	bool ok;

	if (!rule || (!rule->settle && !rule->destroy))
		return true;
	worker = loop_run_alone(loop, loop_hire(loop, old && rule->settle ? WORK_SETTLE : WORK_REMOVE, target, intent->target, rule, old ? old : &nothing), REASON_NONE);
	outcome = outcome_make(loop->arena, worker, worker->ok ? RESULT_OK : RESULT_FAILED);
	if (worker->ok) {
		const char **ids = arena_array(loop->arena, 1, sizeof *ids);

		ids[0] = intent->id;
		outcome.intents_done = ids;
		outcome.intents_done_count = 1;
	}
	ok = loop_finish_alone(loop, worker, &outcome);
	worker_free(worker);
	return ok;
}

bool
apply_recover(const struct inspection *inspection, const struct watcher *watcher, const struct apply_options *options, struct arena *arena,
	bool *changed, struct error *err)
{
	struct apply_result result = { 0 };
	struct loop loop = { .inspection = inspection, .watcher = watcher, .options = options, .arena = arena, .result = &result, .wake = -1 };
	bool to_do = false;

	*changed = false;
	for (size_t i = 0; i < inspection->kept_count; i++) {
		const struct target *target = graph_find(inspection->graph, inspection->kept[i].target);

		to_do |= !target || inspection->seen[target->id].reason != REASON_NONE;
	}
	for (size_t i = 0; i < inspection->intent_count; i++)
		to_do |= !will_be_looked_after(inspection, &inspection->intents[i]);
	if (!to_do)
		return true;
	if (!loop_open(&loop, err))
		return false;
	for (size_t i = 0; i < inspection->kept_count && !loop.stop; i++) {
		const struct record *old = &inspection->kept[i];
		const struct target *target = graph_find(inspection->graph, old->target);
		const struct rule *rule = graph_rule(inspection->graph, old->rule);

		if (rule && rule->revert && (!target || inspection->seen[target->id].reason != REASON_NONE))
			swap_revert(&loop, target, old, rule, true);
	}
	for (size_t i = 0; i < inspection->intent_count && !loop.stop; i++)
		if (!will_be_looked_after(inspection, &inspection->intents[i]))
			clear_orphan(&loop, &inspection->intents[i]);
	*changed = true;
	if (!loop_close(&loop, err))
		return false;
	if (result.failed) {
		*err = result.error;
		return error_wrap(err, "put right what an earlier run left of `%s`", result.failed_target);
	}
	return true;
}
