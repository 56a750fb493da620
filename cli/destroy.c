/* destroy.c - `provision destroy`: stop and remove what the manifest made. */
#include "commands.h"

#include <string.h>

#include "ask.h"
#include "engine/base/glob.h"
#include "engine/base/suggest.h"
#include "engine/base/units.h"
#include "report/words.h"
#include "rules/rules.h"
#include "run.h"
#include "watch.h"

#define NAMED_MOST 2 /* products of one target that are listed */

/* What is to go, and what stays because nobody named it. */
struct destroying {
	struct session *session;
	struct shape shape;
	struct strings wanted;  /* as typed: names and patterns; empty: all that is not precious */
	struct strings names;   /* what will be removed */
	struct strings whats;   /* in words, one for each of them */
	struct strings kept;    /* precious, not named */
};

static const struct rule *
rule_named(const char *name)
{
	for (size_t i = 0; all_rules[i]; i++)
		if (strcmp(all_rules[i]->name, name) == 0)
			return all_rules[i];
	return NULL;
}

static bool
is_named(const struct strings *wanted, const char *name)
{
	for (size_t i = 0; i < wanted->count; i++)
		if (glob_match_name(wanted->items[i], name))
			return true;
	return false;
}

/* One product in words; NULL for what goes with another one. */
static const char *
product(struct session *session, const struct artifact *artifact)
{
	switch (artifact->kind) {
	case ARTIFACT_FILE:
	case ARTIFACT_DIRECTORY:
		return session_shown(session, artifact->name);
	case ARTIFACT_IMAGE:
		return arena_printf(&session->arena, "image %.19s", artifact->name);
	case ARTIFACT_CONTAINER:
		return arena_printf(&session->arena, "container %.12s", artifact->name);
	case ARTIFACT_PROCESS:
		return arena_printf(&session->arena, "process %s", artifact->name);
	case ARTIFACT_PORT:
	case ARTIFACT_GPU:
		break;
	}
	return NULL;
}

/* Consent wants to know what to. */
static const char *
what_goes(struct session *session, const struct record *record)
{
	const char *names[NAMED_MOST];
	size_t count = 0;

	for (size_t i = 0; i < record->artifacts.count; i++) {
		const char *name = product(session, &record->artifacts.items[i]);

		if (name && count < NAMED_MOST)
			names[count] = name;
		count += name != NULL;
	}
	if (count == 0)
		return "its record";
	if (count <= NAMED_MOST)
		return words_list(&session->arena, names, count, NAMED_MOST);
	return arena_printf(&session->arena, "%s and %zu more", words_list(&session->arena, names, NAMED_MOST, NAMED_MOST), count - NAMED_MOST);
}

static void
consider(struct destroying *destroying, const struct record *record)
{
	const struct rule *rule = rule_named(record->rule);
	struct arena *arena = &destroying->session->arena;

	if (destroying->wanted.count > 0 && !is_named(&destroying->wanted, record->target))
		return;
	/* A pattern alone does not name what took hours to fetch. */
	if (rule && rule->precious && !strings_has(&destroying->wanted, record->target)) {
		strings_add(&destroying->kept, arena, record->target);
	} else {
		strings_add(&destroying->names, arena, record->target);
		strings_add(&destroying->whats, arena, what_goes(destroying->session, record));
	}
}

static void
consider_all(struct destroying *destroying)
{
	const struct inspection *inspection = &destroying->shape.inspection;

	for (size_t i = 0; i < inspection->gone_count; i++)
		consider(destroying, &inspection->gone[i]);
	for (uint32_t i = inspection->graph->count; i-- > 0;) {
		const struct seen *seen = &inspection->seen[inspection->graph->order[i]];

		if (seen->record)
			consider(destroying, seen->record);
	}
}

/* Every name that was typed must mean something. */
static enum status
check_names(struct destroying *destroying)
{
	const struct inspection *inspection = &destroying->shape.inspection;
	struct error err = { 0 };

	for (size_t n = 0; n < destroying->wanted.count; n++) {
		const char *name = destroying->wanted.items[n];
		const char *near = NULL;
		bool found = false;

		for (uint32_t i = 0; i < inspection->graph->count; i++) {
			found = found || glob_match_name(name, inspection->graph->targets[i].name);
			near = suggest_better(name, near, inspection->graph->targets[i].name);
		}
		for (size_t i = 0; i < inspection->gone_count; i++)
			found = found || glob_match_name(name, inspection->gone[i].target);
		if (found)
			continue;
		fail(&err, FAULT_NO_SUCH_TARGET, "neither the manifest nor the records have a target `%s`", name);
		if (near)
			error_hint(&err, "did you mean `%s`?", near);
		return session_fail(destroying->session, &err, NULL);
	}
	return STATUS_OK;
}

static void
show(struct destroying *destroying)
{
	struct session *session = destroying->session;

	if (session->options.json || destroying->names.count + destroying->kept.count == 0)
		return;
	out_text(&session->out, "Destroy of ");
	out_safe(&session->out, destroying->shape.manifest.name);
	out_text(&session->out, ", ");
	out_safe(&session->out, destroying->shape.shown);
	out_text(&session->out, "\n\n");
	for (size_t i = 0; i < destroying->names.count; i++) {
		out_text(&session->out, "   ");
		out_paint(&session->out, STYLE_REMOVE, "-");
		out_text(&session->out, "  ");
		out_cell(&session->out, destroying->names.items[i], 12);
		out_safe(&session->out, destroying->whats.items[i]);
		out_text(&session->out, "\n");
	}
	for (size_t i = 0; i < destroying->kept.count; i++) {
		out_text(&session->out, "   =  ");
		out_cell(&session->out, destroying->kept.items[i], 12);
		out_text(&session->out, "stays: name it to remove it\n");
	}
	out_text(&session->out, "\n");
	out_flush(&session->out);
}

static enum status
ask(struct destroying *destroying)
{
	struct session *session = destroying->session;
	struct error err = { 0 };
	bool asked;

	if (session->options.yes || ask_user(session, "Destroy?", &asked))
		return STATUS_OK;
	if (asked) {
		fail(&err, FAULT_DECLINED, "declined; nothing was changed");
	} else {
		fail(&err, FAULT_DECLINED, "destroying %s needs your consent, and nobody could be asked",
			words_count(&session->arena, destroying->names.count, "target", "targets"));
		error_hint(&err, "--yes consents to it");
	}
	return session_fail(session, &err, NULL);
}

static void
summarise(struct destroying *destroying, const struct apply_result *result, const char *run)
{
	struct session *session = destroying->session;

	if (session->options.quiet > 1)
		return;
	out_printf(&session->out, "%s ", result->status == STATUS_OK ? "Destroyed" : "Stopped after destroying");
	out_text(&session->out, words_count(&session->arena, result->changed, "target", "targets"));
	out_text(&session->out, " of ");
	out_safe(&session->out, destroying->shape.manifest.name);
	out_printf(&session->out, " in %s, run %s.\n", units_show_duration(&session->arena, result->duration), run);
}

static enum status
carry_out(struct destroying *destroying, const char *run, struct apply_result *result)
{
	struct session *session = destroying->session;
	struct apply_options options = {
		.jobs = (unsigned)session->options.jobs,
		.keep_going = (unsigned)session->options.keep_going,
		.grace = session->options.grace,
		/* What was left, and why, stands in the logs. */
		.verbose = true,
	};
	struct error err = { 0 };
	struct watch watch;
	bool ok;

	session->jsonl.run = run;
	run_describe(session, &destroying->shape, run, NULL, &options.run);
	watch_begin(&watch, session, &destroying->shape, NULL);
	ok = apply_destroy(&destroying->shape.inspection, &destroying->names, &watch.watcher, &options, &session->arena,
		result, &err);
	watch_end(&watch);
	session->signal = result->signal;
	if (!ok)
		return session_fail(session, &err, &destroying->shape.manifest.sources);
	if (!session->options.json)
		summarise(destroying, result, run);
	return result->status;
}

/* From a linked manifest on. */
static enum status
destroy(struct destroying *destroying, struct apply_result *result)
{
	struct session *session = destroying->session;
	const char *run = run_new_id(session);
	/* Where nothing was ever recorded, nothing is made to find that out. */
	enum status status = session->found.cache_exists ? session_write(session, run) : session_read(session);

	if (status == STATUS_OK)
		status = session_inspect(session, &destroying->shape, false);
	if (status == STATUS_OK)
		status = check_names(destroying);
	if (status != STATUS_OK)
		return status;
	consider_all(destroying);
	show(destroying);
	if (destroying->names.count == 0) {
		if (!session->options.json)
			out_text(&session->out, "Nothing to destroy.\n");
		return STATUS_OK;
	}
	status = ask(destroying);
	return status == STATUS_OK ? carry_out(destroying, run, result) : status;
}

int
command_destroy(struct session *session)
{
	struct destroying destroying = { .session = session };
	struct apply_result result = { 0 };
	enum status status = session_find(session, true);

	if (status == STATUS_OK)
		status = session_load(session, session->found.manifest, &destroying.shape);
	/* What is typed here are records to remove, not targets to look at; and no network is wanted to remove them. */
	destroying.wanted = session->targets;
	session->targets = (struct strings){ 0 };
	session->options.offline = true;
	if (status == STATUS_OK)
		status = destroy(&destroying, &result);
	if (session->options.json)
		jsonl_summary(
			&session->jsonl, &(struct jsonl_summary){ .result = status == STATUS_OK		? "ok"
									    : result.signal		? "interrupted"
									    : status == STATUS_DECLINED ? "declined"
													: "failed",
						 .status = (int)status,
						 .changed = result.changed,
						 .failed = result.failed,
						 .duration = result.duration });
	shape_finish(&destroying.shape);
	return (int)status;
}
