#include "swap.h"

#include "base/arena.h"

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

	if (worker->ok && worker->record.target) {
		outcome.record = outcome_record(&worker->record, loop->arena);
		outcome.drop_old = kept;
	} else if (worker->ok) {
		outcome.restore_old = kept;
	}
	if (target)
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

/* A swap is never left half done: what replaced something live is settled or undone before the run ends. */
void
swap_finish(struct loop *loop)
{
	const struct graph *graph = loop->inspection->graph;

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
