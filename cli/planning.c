#include "planning.h"

#include <string.h>

#include "engine/fallback.h"
#include "report/plan.h"
#include "report/verdict.h"

#define FINDINGS_MOST 20

enum status
planning_check_name(struct session *session, const struct shape *first, const struct fallback_entry *entry,
	const struct shape *shape)
{
	struct error err = { 0 };

	if (strcmp(first->manifest.name, shape->manifest.name) == 0)
		return STATUS_OK;
	fail_at(&err, entry->at, FAULT_FALLBACK, "fallback `%s` is of deployment `%s`, not `%s`", entry->shown,
		shape->manifest.name, first->manifest.name);
	error_label(&err, "another deployment");
	error_hint(&err, "manifests that stand in for each other have one `name`");
	return session_fail(session, &err, &first->manifest.sources);
}

static enum status
plan_one(struct session *session, const struct shape *before, const struct fallback_entry *entry, struct shape *shape)
{
	enum status status = session_load(session, entry->manifest, shape);

	if (status == STATUS_OK)
		status = planning_check_name(session, before, entry, shape);
	if (status == STATUS_OK)
		status = session_inspect(session, shape, true);
	if (status == STATUS_OK)
		status = session_plan(session, shape);
	return status;
}

void
planning_chain(struct session *session, const struct shape *first, unsigned classes, struct strings *tried,
	struct chain *chain)
{
	const struct shape *before = first;

	*chain = (struct chain){ .count = 0 };
	while (!chain->works && chain->count < CHAIN_MOST) {
		const struct fallback_entry *entry = fallback_next(&before->manifest, classes, tried);
		struct shape *shape;

		if (!entry)
			return;
		strings_add(tried, &session->arena, entry->manifest);
		shape = arena_alloc(&session->arena, sizeof *shape);
		chain->status = plan_one(session, before, entry, shape);
		if (chain->status != STATUS_OK) {
			shape_finish(shape);
			return;
		}
		chain->shapes[chain->count++] = shape;
		chain->works = shape->plan.verdict != VERDICT_INFEASIBLE;
		classes = shape->plan.classes;
		before = shape;
	}
}

void
chain_finish(struct chain *chain)
{
	for (size_t i = 0; i < chain->count; i++)
		shape_finish(chain->shapes[i]);
	chain->count = 0;
}

const char *
planning_because(struct session *session, unsigned classes)
{
	const char *names[CLASS_NOT_ACCEPTED + 1];
	const char *text = NULL;
	size_t count = 0;

	for (unsigned class = CLASS_NONE + 1; class <= CLASS_NOT_ACCEPTED; class++)
		if (classes & 1u << class)
			names[count++] = failure_class_name((enum failure_class)class);
	for (size_t i = 0; i < count; i++)
		text = text ? arena_printf(&session->arena, "%s, %s", text, names[i]) : names[i];
	return text ? text : "failed";
}

/* What has been printed of the findings of one plan. */
struct telling {
	struct session *session;
	bool alone;         /* without the plan that they stand with */
	const struct shape *shape;
	size_t covered_by;  /* index of the fallback that works; 0: none */
	size_t told;
	size_t left_out;
};

static void
tell(struct telling *telling, const struct finding *finding)
{
	struct session *session = telling->session;
	struct diagnostic diagnostic = { .finding = finding, .sources = &telling->shape->manifest.sources };

	if (telling->covered_by > 0 && diagnostic_is_error(&diagnostic)) {
		diagnostic.covered = true;
		diagnostic.aside = arena_printf(&session->arena, "fallback %zu covers it", telling->covered_by);
	}
	if (session->options.json) {
		jsonl_diagnostic(&session->jsonl, &diagnostic);
		return;
	}
	if (telling->alone) {
		session_report(session, &diagnostic);
		return;
	}
	if (telling->told >= FINDINGS_MOST && !session->options.verbose) {
		telling->left_out++;
		return;
	}
	telling->told++;
	/* Part of what was asked for, so it stands with the plan. */
	diagnostic_print(&session->out, (enum diagnostic_form)session->options.diagnostics, &diagnostic);
	out_text(&session->out, session->options.diagnostics == DIAGNOSTIC_HUMAN ? "\n" : "");
}

static void
tell_findings(struct telling *telling)
{
	const struct plan *plan = &telling->shape->plan;

	for (size_t i = 0; i < plan->count; i++) {
		const struct action *action = &plan->actions[i];
		const struct detail *detail = action->seen ? action->seen->detail : NULL;

		if (!detail || action->kind == ACTION_NONE)
			continue;
		for (size_t j = 0; j < detail->findings.count; j++)
			tell(telling, &detail->findings.items[j]);
		if (detail->error.fault != FAULT_NONE) {
			struct findings one;

			findings_init(&one, &telling->session->arena);
			tell(telling, findings_add_error(&one, &detail->error));
		}
	}
	if (telling->left_out > 0)
		out_printf(&telling->session->out, "... and %zu more (-v shows all)\n\n", telling->left_out);
}

static void
show_chain(struct session *session, const struct shape *first, const struct chain *chain)
{
	for (size_t i = 0; i < chain->count; i++)
		verdict_fallback(&session->out, i + 1, chain->shapes[i]->shown, &first->plan, &chain->shapes[i]->plan,
			&session->arena);
	if (chain->count > 0)
		out_text(&session->out, "\n");
}

static void
show_json(struct session *session, const struct shape *first, const struct chain *chain, struct telling *telling)
{
	const struct shape *before = first;

	jsonl_plan(&session->jsonl, &first->plan);
	tell_findings(telling);
	for (size_t i = 0; i < chain->count; i++) {
		const struct shape *shape = chain->shapes[i];

		jsonl_fallback(&session->jsonl, before->shown, shape->shown, i + 1,
			planning_because(session, before->plan.classes));
		jsonl_plan(&session->jsonl, &shape->plan);
		before = shape;
	}
}

void
planning_brief(struct session *session, const struct shape *first, const struct chain *chain)
{
	size_t works = chain->works ? chain->count : 0;
	struct telling telling = { .session = session, .alone = true, .shape = first, .covered_by = works };

	tell_findings(&telling);
	if (first->plan.verdict != VERDICT_INFEASIBLE)
		return;
	show_chain(session, first, chain);
	verdict_show(&session->out, &first->plan, works, chain->count, &session->arena);
}

void
planning_show(struct session *session, const struct shape *first, const struct chain *chain)
{
	const struct plan *plan = &first->plan;
	size_t works = chain->works ? chain->count : 0;
	struct telling telling = { .session = session, .shape = first, .covered_by = works };

	if (session->options.json) {
		show_json(session, first, chain, &telling);
		return;
	}
	if (session->options.quiet > 1 && plan->verdict != VERDICT_INFEASIBLE)
		return;
	plan_show_header(&session->out, plan, &session->arena);
	plan_show_actions(&session->out, plan, session->options.verbose > 0, &session->arena);
	if (plan->verdict == VERDICT_INFEASIBLE)
		verdict_cost(&session->out, plan, &session->arena);
	tell_findings(&telling);
	show_chain(session, first, chain);
	verdict_show(&session->out, plan, works, chain->count, &session->arena);
}
