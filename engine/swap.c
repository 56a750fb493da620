#include "swap.h"

#include "base/arena.h"
#include "shed.h"

/* Whether everything that stands on the new product has passed. */
static bool
accepted(const struct loop *loop, const struct target *target)
{
	const struct graph *graph = loop->inspection->graph;
	unsigned char *users = arena_alloc(loop->arena, graph->count + 1);

	graph_mark_users(graph, target->id, users);
	for (uint32_t id = 0; id < graph->count; id++) {
		bool was_planned = loop->schedule.action_of[id] != NO_ACTION;

		if (users[id] && id != target->id && was_planned && loop->fate[id] != FATE_DONE && loop->fate[id] != FATE_SAME)
			return false;
	}
	return true;
}

static void
settle(struct loop *loop, const struct target *target)
{
	struct worker *worker = loop_run_alone(loop, loop_hire(loop, WORK_SETTLE, target, NULL, target->rule, loop->current[target->id]), REASON_NONE);
	struct outcome outcome = outcome_make(loop->arena, worker, loop_result(loop, worker));

	outcome.drop_old = worker->ok;
	loop_finish_alone(loop, worker, &outcome);
	worker_free(worker);
}

/* `kept`: the old record was put aside, and its successor recorded. Otherwise the build failed and the old record is current still. */
bool
swap_revert(struct loop *loop, const struct target *target, const struct record *old, const struct rule *rule, bool kept)
{
	struct worker *worker = loop_run_alone(loop, loop_hire(loop, WORK_REVERT, target, old->target, rule, old), REASON_NONE);
	struct outcome outcome = outcome_make(loop->arena, worker, loop_result(loop, worker));
	bool ok;

	if (worker->task.lost) {
		/* What replaced it stays, to be looked at or replaced in its turn. */
		outcome.message = arena_copy(loop->arena, worker->task.lost);
		outcome.drop_old = kept;
	} else if (worker->ok && worker->record.target) {
		outcome.record = outcome_record(&worker->record, loop->arena);
		outcome.drop_old = kept;
	} else if (worker->ok) {
		outcome.restore_old = kept;
	}
	if (target && !worker->task.lost)
		loop->current[target->id] = outcome.record ? outcome.record : old;
	ok = loop_finish_alone(loop, worker, &outcome);
	worker_free(worker);
	return ok;
}

/* What a target is put back to if its new product is not accepted; NULL: nothing was swapped, or nobody asked about it. */
static const struct record *
replaced_by(const struct loop *loop, const struct target *target)
{
	const struct record *kept = inspection_kept(loop->inspection, target->name);
	const struct record *replaced = loop->replaced[target->id];

	/* What an earlier swap put aside stays put aside: the successor that was replaced now never proved itself. */
	if (kept && (replaced || loop->inspection->seen[target->id].wanted))
		return kept;
	return replaced;
}

bool
swap_sheds(struct loop *loop, const struct record *old, const struct record *now, const struct rule *rule, struct artifacts *left)
{
	struct strings makes = { 0 };

	if (!old || !rule->sheds)
		return false;
	for (size_t i = 0; now && i < now->artifacts.count; i++)
		strings_add(&makes, loop->arena, now->artifacts.items[i].name);
	shed_list(loop->inspection, loop->current, old, &makes, loop->arena, left);
	return left->count > 0;
}

static void
launch_shedding(struct loop *loop, const struct shedding *item)
{
	struct record *left = arena_alloc(loop->arena, sizeof *left);

	*left = (struct record){ .target = item->old->target, .rule = item->old->rule };
	swap_sheds(loop, item->old, item->now, item->rule, &left->artifacts);
	loop_launch(loop, loop_hire(loop, WORK_REMOVE, item->target, item->old->target, item->rule, left), REASON_NOT_WANTED);
}

/* What cannot be removed is told once, and forgotten: it must not stand in the way of every later run. */
static void
finish_shedding(struct loop *loop)
{
	struct worker *list = loop_take_done(loop), *next;
	struct outcome *outcomes;
	size_t count = 0;

	if (!list)
		return;
	outcomes = arena_array(loop->arena, worker_list_length(list), sizeof *outcomes);
	for (struct worker *worker = list; worker; worker = worker->next) {
		enum result result = loop_result(loop, worker);

		outcomes[count] = outcome_make(loop->arena, worker, result);
		outcomes[count++].drop_old = result != RESULT_INTERRUPTED;
	}
	loop_record(loop, outcomes, count);
	for (struct worker *worker = list; worker; worker = next) {
		enum result result = loop_result(loop, worker);

		next = worker->next;
		if (result == RESULT_FAILED)
			loop_count_failure(loop, worker);
		loop_tell_ended(loop, worker, result);
		worker_free(worker);
	}
}

void
swap_shed(struct loop *loop, const struct shedding *items, size_t count)
{
	size_t next = 0;

	for (;;) {
		while (next < count && !loop->cancel && loop->running_count < loop->options->jobs)
			launch_shedding(loop, &items[next++]);
		if (loop->running_count == 0)
			return;
		loop_wait(loop);
		finish_shedding(loop);
	}
}

/* What was built in this run under other names than before. */
static void
shed_all(struct loop *loop)
{
	const struct graph *graph = loop->inspection->graph;
	struct shedding *items = arena_array(loop->arena, graph->count + 1, sizeof *items);
	size_t count = 0;

	for (uint32_t i = 0; i < graph->count; i++) {
		const struct target *target = &graph->targets[graph->order[i]];

		if (target->rule->sheds && loop->replaced[target->id])
			items[count++] = (struct shedding){ target, target->rule, loop->replaced[target->id], loop->current[target->id] };
	}
	swap_shed(loop, items, count);
}

/* A swap is never left half done: what replaced something live is settled or undone before the run ends. */
void
swap_finish(struct loop *loop)
{
	const struct graph *graph = loop->inspection->graph;

	if (loop->broken.fault == FAULT_NONE)
		shed_all(loop);
	for (uint32_t i = 0; i < graph->count && loop->broken.fault == FAULT_NONE; i++) {
		const struct target *target = &graph->targets[graph->order[i]];
		bool failed = loop->fate[target->id] == FATE_FAILED;
		const struct record *old;

		if (!target->rule->settle)
			continue;
		old = replaced_by(loop, target);
		if (old && !failed && accepted(loop, target))
			settle(loop, target);
		else if (old)
			swap_revert(loop, target, old, target->rule, true);
		else if (failed && loop->current[target->id])
			swap_revert(loop, target, loop->current[target->id], target->rule, false);
	}
}
