/* apply.c - `provision apply`: do it. */
#include "engine/apply.h"

#include <string.h>

#include "ask.h"
#include "commands.h"
#include "engine/base/clock.h"
#include "engine/consent.h"
#include "engine/fallback.h"
#include "planning.h"
#include "report/verdict.h"
#include "rules/rules.h"
#include "run.h"
#include "sealing.h"
#include "summary.h"
#include "watch.h"

/* One `apply`, across its fallbacks. */
struct applying {
	struct session *session;
	struct shape *shape;           /* the manifest in hand */
	const char *first;             /* the manifest that was asked for, as shown */
	size_t fallback;               /* which fallback is in hand; 0: none */
	struct strings tried;          /* absolute paths of manifests */
	struct strings agreed;         /* what the user has consented to */
	bool asked;                    /* and has been asked at all */
	struct apply_result result;    /* of the last run */
	const char *run;               /* its id; NULL: none was begun */
	const char *next_run;          /* id of the next one: the first is in the lock's text */
	bool broken;                   /* the cache cannot be written any more, and that was said */
	struct chain chains[CHAIN_MOST]; /* every fallback that was planned, until the end */
	size_t chain_count;
};

static void
run_options(struct applying *applying, const char *run, struct apply_options *options)
{
	struct session *session = applying->session;

	*options = (struct apply_options){
		.jobs = (unsigned)session->options.jobs,
		.keep_going = (unsigned)session->options.keep_going,
		.grace = session->options.grace,
		.verbose = session->options.verbose > 0,
	};
	run_describe(session, applying->shape, run, applying->fallback ? applying->first : NULL, &options->run);
}

/* Put right what a killed run left, and look again if that changed anything. */
static enum status
recover(struct applying *applying)
{
	struct session *session = applying->session;
	struct shape *shape = applying->shape;
	struct apply_options options;
	struct error err = { 0 };
	struct watch watch;
	bool changed = false;
	bool ok;

	if (shape->inspection.kept_count == 0 && shape->inspection.intent_count == 0)
		return STATUS_OK;
	run_options(applying, run_new_id(session), &options);
	watch_begin(&watch, session, shape, NULL);
	ok = apply_recover(&shape->inspection, &watch.watcher, &options, &session->arena, &changed, &session->signal, &err);
	watch_end(&watch);
	if (!ok)
		return session_fail(session, &err, &shape->manifest.sources);
	return changed ? session_inspect(session, shape, true) : STATUS_OK;
}

static enum status
bring_to_plan(struct applying *applying)
{
	enum status status = session_inspect(applying->session, applying->shape, true);

	if (status == STATUS_OK)
		status = recover(applying);
	if (status == STATUS_OK)
		status = session_plan(applying->session, applying->shape);
	return status;
}

/* How many fallbacks could follow for these classes, so that "1 of 2" can be said. Only reads manifests. */
static size_t
count_fallbacks(struct applying *applying, const struct shape *from, unsigned classes)
{
	struct session *session = applying->session;
	struct strings tried = { 0 };
	const struct manifest *manifest = &from->manifest;
	size_t count = 0;

	for (size_t i = 0; i < applying->tried.count; i++)
		strings_add(&tried, &session->arena, applying->tried.items[i]);
	while (count < CHAIN_MOST) {
		const struct fallback_entry *entry = fallback_next(manifest, classes, &tried);
		struct manifest *next;
		struct errors errors;

		if (!entry)
			break;
		count++;
		strings_add(&tried, &session->arena, entry->manifest);
		next = arena_alloc(&session->arena, sizeof *next);
		errors_init(&errors, &session->arena);
		if (!manifest_load(next, entry->manifest, session->found.cwd, &session->options.sets, &session->arena,
			    &errors))
			break;
		manifest = next;
	}
	return count;
}

static void
announce(struct applying *applying, const struct shape *from, const struct shape *to, unsigned classes, size_t total)
{
	struct session *session = applying->session;
	const char *because = planning_because(session, classes);

	if (session->options.json) {
		/* The chain of an infeasible plan was told with the plan. */
		if (from->plan.verdict != VERDICT_INFEASIBLE)
			jsonl_fallback(&session->jsonl, from->shown, to->shown, applying->fallback, because);
		return;
	}
	out_flush(&session->out);
	out_printf(&session->err, "%s fallback %zu of %zu: ", clock_hms(&session->arena, clock_now_ns()),
		applying->fallback, total);
	out_safe(&session->err, to->shown);
	out_printf(&session->err, ", because: %s\n", because);
	out_flush(&session->err);
}

/* Go on with the first fallback that works. False: none does, and `*status` says how that ends. */
static bool
fall_back(struct applying *applying, unsigned classes, struct chain *chain, enum status *status)
{
	const struct shape *from = applying->shape;
	size_t total;

	if (chain->status != STATUS_OK)
		*status = status_worse(*status, chain->status);
	if (!chain->works)
		return false;
	/* Counted from where the chain starts: those that were passed over count too. */
	total = applying->fallback + chain->count;
	applying->shape = chain->shapes[chain->count - 1];
	applying->fallback += chain->count;
	total += count_fallbacks(applying, applying->shape, classes);
	announce(applying, from, applying->shape, classes, total);
	return true;
}

static struct chain *
plan_chain(struct applying *applying, unsigned classes)
{
	struct chain *chain = &applying->chains[applying->chain_count];

	*chain = (struct chain){ .count = 0 };
	if (applying->session->options.no_fallback || applying->chain_count == CHAIN_MOST)
		return chain;
	applying->chain_count++;
	planning_chain(applying->session, applying->shape, classes, &applying->tried, chain);
	return chain;
}

/* Whether the user is to agree to the plan: then it must be seen. */
static bool
wants_consent(const struct applying *applying)
{
	struct strings lines = { 0 };

	if (applying->session->options.yes)
		return false;
	consent(&applying->shape->plan, &applying->session->arena, &lines);
	return lines.count > 0 || ask_possible(applying->session);
}

static void
show(struct applying *applying, const struct chain *chain)
{
	struct session *session = applying->session;
	const struct plan *plan = &applying->shape->plan;
	bool brief = session->options.quiet && !session->options.json && (plan->verdict == VERDICT_INFEASIBLE || !wants_consent(applying));

	if (plan->verdict == VERDICT_NOTHING && !session->options.json) {
		if (session->options.quiet < 2)
			verdict_nothing(&session->out, plan->counts[ACTION_NONE], session->known.stats, session->known.hashes,
				clock_monotonic_ms() - session->started_ms, &session->arena);
	} else if (brief) {
		planning_brief(session, applying->shape, chain);
	} else {
		planning_show(session, applying->shape, chain);
	}
	out_flush(&session->out);
}

/* Show the plan in hand; of an infeasible one nothing starts, its fallback takes its place. */
static enum status
settle_on_plan(struct applying *applying)
{
	const struct plan *plan = &applying->shape->plan;
	struct chain none = { .count = 0 };
	unsigned classes = plan->classes;
	enum status status = plan->status;
	struct chain *chain;

	if (plan->verdict != VERDICT_INFEASIBLE) {
		show(applying, &none);
		return STATUS_OK;
	}
	chain = plan_chain(applying, classes);
	show(applying, chain);
	if (!fall_back(applying, classes, chain, &status))
		return status;
	if (!applying->session->options.json)
		show(applying, &none);
	return STATUS_OK;
}

static enum status
decline(struct applying *applying, const struct strings *lines)
{
	struct session *session = applying->session;
	struct findings findings;
	struct finding *finding;

	findings_init(&findings, &session->arena);
	finding = findings_add(&findings, FAULT_DECLINED, (struct place){ 0 },
		lines ? "this needs your consent, and nobody could be asked" : "declined; nothing was changed");
	for (size_t i = 0; lines && i < lines->count && i < sizeof finding->notes / sizeof *finding->notes; i++)
		finding_note(&findings, finding, "%s", lines->items[i]);
	if (lines)
		finding_help(&findings, finding, "--yes consents to all of this");
	session_report(session, &(struct diagnostic){ .finding = finding });
	return STATUS_DECLINED;
}

/* Lines that were not agreed to yet. */
static void
new_lines(struct applying *applying, struct strings *fresh)
{
	struct strings lines = { 0 };

	consent(&applying->shape->plan, &applying->session->arena, &lines);
	for (size_t i = 0; i < lines.count; i++)
		if (!strings_has(&applying->agreed, lines.items[i]))
			strings_add(fresh, &applying->session->arena, lines.items[i]);
}

static enum status
ask(struct applying *applying)
{
	struct session *session = applying->session;
	struct strings fresh = { 0 };
	bool asked, yes;

	if (session->options.yes)
		return STATUS_OK;
	new_lines(applying, &fresh);
	if (applying->asked && fresh.count == 0)
		return STATUS_OK;
	if (!ask_possible(session))
		return fresh.count == 0 ? STATUS_OK : decline(applying, &fresh);
	for (size_t i = 0; i < fresh.count; i++) {
		out_text(&session->err, "  ");
		out_safe(&session->err, fresh.items[i]);
		out_text(&session->err, "\n");
	}
	yes = ask_user(session, "Apply?", &asked);
	if (!yes)
		return decline(applying, NULL);
	applying->asked = true;
	for (size_t i = 0; i < fresh.count; i++)
		strings_add(&applying->agreed, &session->arena, fresh.items[i]);
	return STATUS_OK;
}

static enum status
carry_out(struct applying *applying)
{
	struct session *session = applying->session;
	const struct plan *plan = &applying->shape->plan;
	struct apply_options options;
	struct error err = { 0 };
	struct watch watch;
	bool ok;

	applying->run = applying->next_run;
	applying->next_run = run_new_id(session);
	session->jsonl.run = applying->run;
	run_options(applying, applying->run, &options);
	watch_begin(&watch, session, applying->shape, plan);
	ok = apply(plan, &watch.watcher, &options, &session->arena, &applying->result, &err);
	watch_end(&watch);
	session->signal = applying->result.signal;
	if (ok)
		return applying->result.status;
	/* Where nothing can be recorded, no fallback is tried either. */
	applying->result.class = CLASS_NONE;
	applying->broken = true;
	/* The target that could not be recorded has said why. */
	if (applying->result.failed > 0 && strstr(applying->result.error.text, err.text))
		return fault_row(err.fault)->status;
	return session_fail(session, &err, &applying->shape->manifest.sources);
}

/* Plan, ask and run; after a failure that its manifest names, the same with the fallback. */
static enum status
apply_all(struct applying *applying)
{
	for (;;) {
		enum status status = settle_on_plan(applying);
		struct chain *chain;
		unsigned classes;

		if (status != STATUS_OK)
			return status;
		/* What nobody could read is not carried out. */
		if (applying->session->out.error)
			return STATUS_IO;
		if (applying->shape->plan.verdict == VERDICT_NOTHING)
			return STATUS_OK;
		status = ask(applying);
		if (status == STATUS_OK)
			status = carry_out(applying);
		classes = 1u << applying->result.class;
		if (status == STATUS_OK || status == STATUS_DECLINED || applying->result.signal ||
			applying->result.class == CLASS_NONE)
			return status;
		chain = plan_chain(applying, classes);
		if (!fall_back(applying, classes, chain, &status))
			return status;
		applying->result = (struct apply_result){ 0 };
	}
}

/* A change and a fallback have statuses of their own, where they were asked for. */
static enum status
detail_status(const struct applying *applying, enum status status)
{
	if (status != STATUS_OK || !applying->session->options.detailed_exitcode)
		return status;
	if (applying->fallback > 0)
		return STATUS_FALLBACK;
	return applying->result.changed > 0 ? STATUS_CHANGES : STATUS_OK;
}

/* What a run did not finish is looked at by the next one; after a signal nothing more is begun. */
static bool
can_seal(const struct applying *applying, enum status status)
{
	if (applying->run)
		return status == STATUS_OK || status == STATUS_CHANGES || status == STATUS_FALLBACK;
	return status == STATUS_OK && applying->shape->plan.verdict == VERDICT_NOTHING;
}

/* A deployment that comes to records which were begun for others: a project further up may not be the one that was meant. */
static void
tell_newcomer(struct session *session, const struct shape *shape)
{
	const struct found *found = &session->found;
	const struct memory *memory = session->memory;
	const char **names;
	struct error ignored;
	size_t count;

	if (found->is_elsewhere || session->options.cache || strcmp(found->root, shape->manifest.directory) == 0)
		return;
	if (!memory->deployments(memory->self, &session->arena, &names, &count, &ignored) || count == 0)
		return;
	for (size_t i = 0; i < count; i++)
		if (strcmp(names[i], shape->manifest.name) == 0)
			return;
	session_hint(session, "`%s` is new to this project; its records are kept with the others, in %s/.provision", shape->manifest.name, found->root);
}

int
command_apply(struct session *session)
{
	struct shape first = { 0 };
	struct applying *applying = arena_alloc(&session->arena, sizeof *applying);
	enum status status = session_find(session, true);
	enum status learnt;

	if (status == STATUS_OK && !rules_must_tidy(session->found.state_dir, &session->arena) && sealing_holds(session))
		return STATUS_OK;
	*applying = (struct applying){ .session = session, .shape = &first, .next_run = run_new_id(session) };
	if (status == STATUS_OK)
		status = session_load(session, session->found.manifest, &first);
	if (status == STATUS_OK)
		status = session_check_names(session, &first);
	if (status == STATUS_OK)
		status = session_write(session, applying->next_run);
	if (status == STATUS_OK) {
		tell_newcomer(session, &first);
		applying->first = first.shown;
		strings_add(&applying->tried, &session->arena, first.path);
		status = bring_to_plan(applying);
		if (status == STATUS_OK)
			status = detail_status(applying, apply_all(applying));
		/* What was read once need not be read again, whatever came of it. */
		learnt = applying->broken || status == STATUS_IO ? status : session_learn(session);
		if (learnt == STATUS_OK && can_seal(applying, status))
			learnt = sealing_make(session, applying->shape, applying->run != NULL);
		status = learnt == STATUS_OK ? status : status_worse(status, learnt);
	}
	summary_show(session, &(struct summary){
		.shape = applying->shape,
		.result = &applying->result,
		.run = applying->run,
		.fallback = applying->fallback,
		.status = status,
	});
	for (size_t i = 0; i < applying->chain_count; i++)
		chain_finish(&applying->chains[i]);
	shape_finish(&first);
	return (int)status;
}
