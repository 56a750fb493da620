/* plan.c - `provision plan`: what would happen, why, at what cost. */
#include "commands.h"

#include <string.h>

#include "engine/base/clock.h"
#include "planning.h"
#include "report/verdict.h"
#include "sealing.h"

/* The command that would do it, where it is short enough to be typed again. */
static void
show_next(struct session *session, const struct shape *first, const struct chain *chain)
{
	const struct options *options = &session->options;
	const struct shape *last = chain->works ? chain->shapes[chain->count - 1] : NULL;
	const char *path = text_shell(&session->arena, first->shown);

	if (options->json || options->quiet || options->chdir || options->cache || options->sets.count ||
		session->targets.count || options->excludes.count || options->replaces.count ||
		strcmp(first->path, "-") == 0)
		return;
	if (first->plan.verdict == VERDICT_FEASIBLE) {
		out_text(&session->out, "  provision apply ");
		out_safe(&session->out, path);
		out_text(&session->out, "\n");
	} else if (last) {
		out_text(&session->out, "  provision apply ");
		out_safe(&session->out, path);
		out_printf(&session->out, "    runs fallback %zu and says so\n  provision apply ", chain->count);
		out_safe(&session->out, text_shell(&session->arena, last->shown));
		out_text(&session->out, "    runs it directly\n");
	}
}

static enum status
verdict(const struct session *session, const struct shape *shape, const struct chain *chain)
{
	bool detailed = session->options.detailed_exitcode;

	if (shape->plan.verdict == VERDICT_NOTHING)
		return STATUS_OK;
	if (shape->plan.verdict == VERDICT_FEASIBLE)
		return detailed ? STATUS_CHANGES : STATUS_OK;
	if (chain->works)
		return detailed ? STATUS_FALLBACK : STATUS_OK;
	return status_worse(shape->plan.status, chain->status);
}

/* Also where it came to no plan: every stream ends with it. */
static void
show_summary(struct session *session, bool ok, const struct chain *chain, enum status status)
{
	if (session->options.json)
		jsonl_summary(&session->jsonl, &(struct jsonl_summary){ .result = ok ? "ok" : "failed",
						       .status = (int)status,
						       .duration = clock_monotonic_ms() - session->started_ms,
						       .fallback = chain->works ? chain->count : 0 });
}

int
command_plan(struct session *session)
{
	struct shape shape = { 0 };
	struct chain chain = { .count = 0 };
	struct strings tried = { 0 };
	bool ok = false;
	enum status status = session_find(session, true);

	if (status == STATUS_OK && sealing_holds(session))
		return STATUS_OK;
	if (status == STATUS_OK)
		status = session_look_found(session, &shape, true);
	if (status == STATUS_OK)
		status = session_plan(session, &shape);
	if (status == STATUS_OK) {
		strings_add(&tried, &session->arena, shape.path);
		if (shape.plan.verdict == VERDICT_INFEASIBLE && !session->options.no_fallback)
			planning_chain(session, &shape, shape.plan.classes, &tried, &chain);
		if (shape.plan.verdict == VERDICT_NOTHING && !session->options.json && !session->options.verbose)
			verdict_nothing(&session->out, shape.plan.counts[ACTION_NONE], session->known.stats, session->known.hashes,
				clock_monotonic_ms() - session->started_ms, &session->arena);
		else
			planning_show(session, &shape, &chain);
		show_next(session, &shape, &chain);
		ok = shape.plan.verdict != VERDICT_INFEASIBLE || chain.works;
		status = verdict(session, &shape, &chain);
	}
	show_summary(session, ok, &chain, status);
	chain_finish(&chain);
	shape_finish(&shape);
	return (int)status;
}
