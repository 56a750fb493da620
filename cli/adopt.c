/* adopt.c - `provision adopt`: take over what is there already, verified; nothing is fetched. */
#include "commands.h"

#include <string.h>

#include "engine/base/glob.h"
#include "report/words.h"
#include "run.h"
#include "watch.h"

struct adopting {
	struct session *session;
	struct shape shape;
	struct strings asked;    /* as typed: names and patterns; empty: all that can be adopted */
	unsigned char *wanted;   /* by target id: what needs of these do not count here */
	struct plan plan;        /* these alone, and the directories that they need */
	size_t fresh;            /* are recorded already */
	struct apply_result result;
	const char *run;
};

/* ---- which targets ---- */

/* "directory, download and model": the rules that can do it. */
static const char *
able_rules(struct session *session, const struct graph *graph)
{
	const char *names[32];
	size_t count = 0;

	for (const struct rule *const *rule = graph->rules; *rule && count < sizeof names / sizeof *names; rule++)
		if ((*rule)->adopts)
			names[count++] = (*rule)->name;
	return words_list(&session->arena, names, count, count);
}

static enum status
refuse_rule(struct adopting *adopting, const struct target *target)
{
	struct session *session = adopting->session;
	struct error err = { 0 };

	fail_at(&err, target->at, FAULT_USAGE, "`%s` cannot be adopted: only what %s make is taken over as it is, and this is a `%s`", target->name,
		able_rules(session, &adopting->shape.graph), target->rule->name);
	error_hint(&err, "provision apply %s     makes it", target->name);
	return session_fail(session, &err, &adopting->shape.manifest.sources);
}

static bool
matches(const struct strings *asked, const char *name)
{
	for (size_t i = 0; i < asked->count; i++)
		if (glob_match_name(asked->items[i], name))
			return true;
	return false;
}

/* A pattern means what can be adopted among its targets; a name means that very target. */
static enum status
choose(struct adopting *adopting)
{
	struct session *session = adopting->session;
	const struct graph *graph = &adopting->shape.graph;
	struct error err = { 0 };

	adopting->asked = session->targets;
	adopting->wanted = arena_alloc(&session->arena, graph->count + 1);
	session->targets = (struct strings){ 0 };
	for (uint32_t id = 0; id < graph->count; id++) {
		const struct target *target = &graph->targets[id];

		if (adopting->asked.count ? !matches(&adopting->asked, target->name) : target->optional)
			continue;
		if (!target->rule->adopts && strings_has(&adopting->asked, target->name))
			return refuse_rule(adopting, target);
		if (!target->rule->adopts)
			continue;
		adopting->wanted[id] = 1;
		strings_add(&session->targets, &session->arena, target->name);
	}
	if (session->targets.count > 0)
		return STATUS_OK;
	fail(&err, FAULT_USAGE, "nothing here can be adopted: there is no target of the rules %s", able_rules(session, graph));
	return session_fail(session, &err, NULL);
}

/* ---- what is to be done ---- */

/* What a target needs and has no record of yet, unless this run takes it over too. NULL: nothing. */
static const struct target *
blocker(const struct adopting *adopting, const struct target *target)
{
	const struct graph *graph = &adopting->shape.graph;

	for (uint32_t i = 0; i < target->need_count; i++) {
		const struct target *need = &graph->targets[graph->needs[target->needs + i]];

		if (!need->rule->check && !need->rule->adopts && !adopting->shape.inspection.seen[need->id].record)
			return need;
	}
	return NULL;
}

static enum status
add_action(struct adopting *adopting, const struct target *target)
{
	struct session *session = adopting->session;
	const struct seen *seen = &adopting->shape.inspection.seen[target->id];
	const struct target *need = blocker(adopting, target);
	struct error err = { 0 };

	if (seen->reason == REASON_NONE) {
		adopting->fresh += adopting->wanted[target->id];
		return STATUS_OK;
	}
	if (need) {
		fail_at(&err, target->at, FAULT_NOT_THERE, "`%s` needs `%s`, which was never made: what it is made from is not known yet", target->name,
			need->name);
		error_hint(&err, "provision apply %s     makes that first", need->name);
		return session_fail(session, &err, &adopting->shape.manifest.sources);
	}
	adopting->plan.actions[adopting->plan.count++] = (struct action){
		.kind = seen->record ? ACTION_REDO : ACTION_MAKE,
		.reason = seen->reason,
		.target = target,
		.seen = seen,
		.name = target->name,
		.duration = -1,
	};
	adopting->plan.counts[seen->record ? ACTION_REDO : ACTION_MAKE]++;
	return STATUS_OK;
}

static enum status
make_plan(struct adopting *adopting)
{
	struct session *session = adopting->session;
	const struct graph *graph = &adopting->shape.graph;
	enum status status = STATUS_OK;

	adopting->plan = (struct plan){
		.inspection = &adopting->shape.inspection,
		.actions = arena_array(&session->arena, graph->count + 1, sizeof *adopting->plan.actions),
		.verdict = VERDICT_FEASIBLE,
	};
	for (uint32_t i = 0; i < graph->count; i++) {
		const struct target *target = &graph->targets[graph->order[i]];

		if (adopting->shape.inspection.seen[target->id].wanted && target->rule->adopts)
			status = status_worse(status, add_action(adopting, target));
	}
	return status;
}

/* ---- doing it ---- */

static void
summarise(struct adopting *adopting)
{
	struct session *session = adopting->session;
	const struct apply_result *result = &adopting->result;
	struct arena *arena = &session->arena;

	if (session->options.json || session->options.quiet > 1)
		return;
	out_printf(&session->out, "Adopted %s of ", words_count(arena, result->changed + result->same, "target", "targets"));
	out_safe(&session->out, adopting->shape.manifest.name);
	if (result->failed + result->skipped > 0)
		out_printf(&session->out, ", %u not", (unsigned)(result->failed + result->skipped));
	if (adopting->fresh > 0)
		out_printf(&session->out, ", %zu recorded before", adopting->fresh);
	out_printf(&session->out, "; nothing was fetched%s%s.\n", adopting->run ? ", run " : "", adopting->run ? adopting->run : "");
}

static enum status
carry_out(struct adopting *adopting, const char *run)
{
	struct session *session = adopting->session;
	/* Each target is looked at, whatever is said of the others. */
	struct apply_options options = { .jobs = (unsigned)session->options.jobs, .keep_going = 0, .grace = session->options.grace };
	struct error err = { 0 };
	struct watch watch;
	bool ok;

	adopting->run = session->jsonl.run = run;
	run_describe(session, &adopting->shape, run, NULL, &options.run);
	watch_begin(&watch, session, &adopting->shape, &adopting->plan);
	ok = apply(&adopting->plan, &watch.watcher, &options, &session->arena, &adopting->result, &err);
	watch_end(&watch);
	session->signal = adopting->result.signal;
	return ok ? adopting->result.status : session_fail(session, &err, &adopting->shape.manifest.sources);
}

/* From a linked manifest on. */
static enum status
adopt(struct adopting *adopting)
{
	struct session *session = adopting->session;
	const char *run = run_new_id(session);
	enum status status = choose(adopting), learnt;

	if (status == STATUS_OK)
		status = session_write(session, run);
	if (status == STATUS_OK)
		status = session_inspect(session, &adopting->shape, false);
	if (status != STATUS_OK)
		return status;
	status = make_plan(adopting);
	if (adopting->plan.count > 0)
		status = status_worse(status, carry_out(adopting, run));
	summarise(adopting);
	/* What was read once need not be read again, whatever came of it. */
	learnt = session_learn(session);
	return status_worse(status, learnt);
}

int
command_adopt(struct session *session)
{
	struct adopting adopting = { .session = session };
	enum status status = session_find(session, true);

	if (status == STATUS_OK)
		status = session_load(session, session->found.manifest, &adopting.shape);
	if (status == STATUS_OK)
		status = session_check_names(session, &adopting.shape);
	if (status == STATUS_OK)
		status = adopt(&adopting);
	if (session->options.json)
		jsonl_summary(&session->jsonl, &(struct jsonl_summary){
			.result = status == STATUS_OK ? "ok" : session->signal ? "interrupted" : "failed",
			.status = (int)status,
			.changed = adopting.result.changed,
			.failed = adopting.result.failed,
			.duration = adopting.result.duration,
		});
	shape_finish(&adopting.shape);
	return (int)status;
}
