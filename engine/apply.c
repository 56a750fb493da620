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
	const struct record *old = worker->target ? loop->current[worker->target->id] : NULL;
	struct artifacts left = { 0 };

	*outcome = outcome_make(loop->arena, worker, result);
	if (worker->kind != WORK_BUILD || result != RESULT_OK)
		return;
	outcome->record = outcome_record(&worker->record, loop->arena);
	outcome->keep_old = old && (worker->rule->settle || swap_sheds(loop, old, outcome->record, worker->rule, &left));
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
	outcomes = arena_array(loop->arena, worker_list_length(list), sizeof *outcomes);
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
remove_record(struct loop *loop, const struct target *target, const struct record *old, const struct rule *rule, enum reason reason)
{
	struct worker *worker = loop_run_alone(loop, loop_hire(loop, WORK_REMOVE, target, old->target, rule, old), reason);
	struct outcome outcome = outcome_make(loop->arena, worker, loop_result(loop, worker));

	/* With it goes what a swap had put aside: nothing is left that it could be put back for. */
	outcome.removed = outcome.drop_old = worker->ok;
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
			remove_record(loop, NULL, action->record, graph_rule(loop->inspection->graph, action->record->rule), REASON_NOT_WANTED);
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

/* What is to be destroyed: records in the order in which they go, dependents first. */
struct doomed {
	const struct record *record;
	const struct target *target; /* NULL: the manifest has it no more */
	const struct rule *rule;
};

static bool
wants_destroyed(const struct names *names, const char *name, const struct rule *rule)
{
	return names->count ? names_find(names, name) != NO_NAME : !rule->precious;
}

static uint32_t
list_doomed(const struct inspection *inspection, const struct strings *wanted, struct arena *arena, struct doomed *doomed)
{
	const struct graph *graph = inspection->graph;
	struct names names;
	uint32_t count = 0;

	names_init(&names, arena);
	for (size_t i = 0; i < wanted->count; i++)
		names_add(&names, wanted->items[i]);
	for (size_t i = 0; i < inspection->gone_count; i++) {
		const struct record *old = &inspection->gone[i];
		const struct rule *rule = graph_rule(graph, old->rule);

		if (rule && wants_destroyed(&names, old->target, rule))
			doomed[count++] = (struct doomed){ .record = old, .rule = rule };
	}
	for (uint32_t i = graph->count; i-- > 0;) {
		const struct target *target = &graph->targets[graph->order[i]];
		const struct record *old = inspection->seen[target->id].record;

		if (old && wants_destroyed(&names, target->name, target->rule))
			doomed[count++] = (struct doomed){ .record = old, .target = target, .rule = target->rule };
	}
	names_finish(&names);
	return count;
}

bool
apply_destroy(const struct inspection *inspection, const struct strings *names, const struct watcher *watcher, const struct apply_options *options,
	struct arena *arena, struct apply_result *result, struct error *err)
{
	struct loop loop = { .inspection = inspection, .watcher = watcher, .options = options, .arena = arena, .result = result, .wake = -1 };
	struct doomed *doomed = arena_array(arena, inspection->gone_count + inspection->graph->count + 1, sizeof *doomed);

	*result = (struct apply_result){ 0 };
	loop.total = list_doomed(inspection, names, arena, doomed);
	if (!loop_open(&loop, err))
		return false;
	for (uint32_t i = 0; i < loop.total && !loop.stop; i++)
		remove_record(&loop, doomed[i].target, doomed[i].record, doomed[i].rule, REASON_ASKED_FOR);
	return loop_close(&loop, err);
}

static const struct rule *
rule_of_intent(const struct graph *graph, const struct intent *intent, struct arena *arena)
{
	const char *slash = strchr(intent->kind, '/');

	return slash ? graph_rule(graph, arena_copy_bytes(arena, intent->kind, (size_t)(slash - intent->kind))) : NULL;
}

static const struct record *
record_of(const struct inspection *inspection, const char *name, const struct rule *rule)
{
	const struct target *target = graph_find(inspection->graph, name);

	if (target && target->rule == rule && inspection->seen[target->id].record)
		return inspection->seen[target->id].record;
	for (size_t i = 0; i < inspection->gone_count; i++)
		if (strcmp(inspection->gone[i].target, name) == 0 && strcmp(inspection->gone[i].rule, rule->name) == 0)
			return &inspection->gone[i];
	return NULL;
}

/* A swap that a killed run began, whose successor does not agree with the plan. One that nobody asks about in this run waits for one that does. */
static bool
must_revert(const struct inspection *inspection, const struct record *kept)
{
	const struct target *target = graph_find(inspection->graph, kept->target);
	const struct rule *rule = graph_rule(inspection->graph, kept->rule);

	if (!rule || !rule->revert)
		return false;
	return !target || (inspection->seen[target->id].wanted && inspection->seen[target->id].reason != REASON_NONE);
}

/* The old record of a run that was killed before it had removed what the new one does not make. */
static bool
must_shed(const struct inspection *inspection, const struct record *kept)
{
	const struct rule *rule = graph_rule(inspection->graph, kept->rule);

	return rule && rule->sheds;
}

static void
put_right(struct loop *loop, const struct record *kept)
{
	const struct rule *rule = graph_rule(loop->inspection->graph, kept->rule);
	const struct target *target = graph_find(loop->inspection->graph, kept->target);

	if (must_revert(loop->inspection, kept))
		swap_revert(loop, target, kept, rule, true);
	else if (must_shed(loop->inspection, kept))
		swap_shed(loop, &(struct shedding){ target, rule, kept, record_of(loop->inspection, kept->target, rule) }, 1);
}

/* What an intent left behind is nobody's: neither a build of its target nor the end of its swap will look after it. */
static bool
is_orphan(const struct inspection *inspection, const struct intent *intent, const struct rule *rule)
{
	const struct target *target = graph_find(inspection->graph, intent->target);

	if (rule && rule->sweep)
		return true;
	if (!rule || (!rule->settle && !rule->destroy) || inspection_kept(inspection, intent->target))
		return false;
	return !target || !inspection->seen[target->id].wanted || inspection->seen[target->id].reason == REASON_NONE;
}

/* The world is made to agree with the target's record, or, without one, emptied. */
static bool
clear_orphan(struct loop *loop, const struct intent *intent, const struct rule *rule)
{
	const struct target *target = graph_find(loop->inspection->graph, intent->target);
	const struct record *old = record_of(loop->inspection, intent->target, rule);
	const struct record nothing = { .target = intent->target, .rule = rule->name };
	enum work_kind kind;
	struct worker *worker;
	struct outcome outcome;
	bool ok;

	/* What is recorded stays: it goes by the plan, and with the user's word. */
	if (old && !rule->settle && !rule->sweep)
		return true;
	kind = rule->sweep ? WORK_SWEEP : old ? WORK_SETTLE : WORK_REMOVE;
	worker = loop_run_alone(loop, loop_hire(loop, kind, target, intent->target, rule, old ? old : &nothing), REASON_NONE);
	outcome = outcome_make(loop->arena, worker, loop_result(loop, worker));
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

static bool
is_anything_left(const struct inspection *inspection, struct arena *arena)
{
	for (size_t i = 0; i < inspection->kept_count; i++)
		if (must_revert(inspection, &inspection->kept[i]) || must_shed(inspection, &inspection->kept[i]))
			return true;
	for (size_t i = 0; i < inspection->intent_count; i++)
		if (is_orphan(inspection, &inspection->intents[i], rule_of_intent(inspection->graph, &inspection->intents[i], arena)))
			return true;
	return false;
}

bool
apply_recover(const struct inspection *inspection, const struct watcher *watcher, const struct apply_options *options, struct arena *arena,
	bool *changed, int *signal, struct error *err)
{
	const struct graph *graph = inspection->graph;
	struct apply_result result = { 0 };
	struct loop loop = { .inspection = inspection, .watcher = watcher, .options = options, .arena = arena, .result = &result, .wake = -1 };

	*changed = false;
	*signal = 0;
	if (!is_anything_left(inspection, arena))
		return true;
	if (!loop_open(&loop, err))
		return false;
	for (size_t i = 0; i < inspection->kept_count && !loop.stop; i++)
		put_right(&loop, &inspection->kept[i]);
	for (size_t i = 0; i < inspection->intent_count && !loop.stop; i++) {
		const struct rule *rule = rule_of_intent(graph, &inspection->intents[i], arena);

		if (is_orphan(inspection, &inspection->intents[i], rule))
			clear_orphan(&loop, &inspection->intents[i], rule);
	}
	*changed = true;
	if (!loop_close(&loop, err))
		return false;
	*signal = result.signal;
	if (result.failed) {
		*err = result.error;
		return error_wrap(err, "put right what an earlier run left of `%s`", result.failed_target);
	}
	return !result.signal || fail(err, FAULT_INTERRUPTED, "stopped while putting right what an earlier run left");
}
