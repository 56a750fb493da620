#include "session.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cache/ledger.h"
#include "commands.h"
#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/file.h"
#include "engine/base/json.h"
#include "engine/base/suggest.h"
#include "report/verdict.h"
#include "rules/rules.h"
#include "sealing.h"

#define SEAL_LIMIT ((size_t)15 << 20) /* what the cache keeps in one piece */

static const char *
environment(const char *name)
{
	return getenv(name);
}

/* Streams must exist before anything can go wrong: they are made from what is known so far, and made again when all options are. */
static void
open_streams(struct session *session)
{
	const struct options *options = &session->options;

	out_finish(&session->out);
	out_finish(&session->err);
	out_init(&session->out, STDOUT_FILENO, (enum choice)options->colour, options->ascii);
	out_init(&session->err, STDERR_FILENO, (enum choice)options->colour, options->ascii);
	jsonl_init(&session->jsonl, &session->out, &session->arena, options->command ? options->command->name : NULL);
	session->jsonl.logs = options->verbose > 0;
}

static enum status
fail_all(struct session *session, struct errors *errors, const struct sources *sources)
{
	enum status status = STATUS_OK;
	size_t most = (size_t)session->options.max_errors;

	errors_sort(errors);
	for (size_t i = 0; i < errors->count; i++) {
		struct findings one;

		status = status_worse(status, fault_row(errors->items[i].fault)->status);
		if (i >= most)
			continue;
		findings_init(&one, &session->arena);
		session_report(session, &(struct diagnostic){ .finding = findings_add_error(&one, &errors->items[i]),
						.sources = sources });
	}
	if (errors->count > most && !session->options.json)
		out_printf(&session->err, "\n%zu errors, of which %zu are shown (--max-errors N shows more)\n",
			errors->count, most);
	return status;
}

enum status
session_init(struct session *session, int argc, char *const *argv)
{
	struct error err = { 0 };
	struct errors errors;
	struct sources sources = { 0 };
	bool ok;

	*session = (struct session){ .argc = argc, .argv = argv, .lock = { .fd = -1 }, .started_ms = clock_monotonic_ms() };
	arena_init(&session->arena);
	errors_init(&errors, &session->arena);
	ok = options_parse(&session->options, argc, argv, &session->arena, &err);
	open_streams(session);
	if (!ok)
		return session_fail(session, &err, NULL);
	if (!options_environment(&session->options, environment, &session->arena, &err))
		return session_fail(session, &err, NULL);
	if (!project_settings(&session->options, &session->arena, &errors, &sources))
		return fail_all(session, &errors, &sources);
	open_streams(session);
	return STATUS_OK;
}

void
session_finish(struct session *session)
{
	if (session->known_ready)
		known_finish(&session->known);
	if (session->ledger)
		ledger_close(session->ledger);
	if (session->lock.fd >= 0) {
		rules_leave(session->found.state_dir, &session->arena);
		lock_release(&session->lock);
	}
	jsonl_finish(&session->jsonl);
	out_finish(&session->out);
	out_finish(&session->err);
	arena_finish(&session->arena);
}

void
session_report(struct session *session, const struct diagnostic *diagnostic)
{
	enum diagnostic_form form = (enum diagnostic_form)session->options.diagnostics;
	bool is_error = diagnostic_is_error(diagnostic);

	if (session->options.quiet > 1 && !is_error)
		return;
	if (session->options.json) {
		if (!session->documents || is_error)
			jsonl_diagnostic(&session->jsonl, diagnostic);
		return;
	}
	/* What was asked for so far stands above what is said of it. */
	out_flush(&session->out);
	if (session->reported++ > 0 && form == DIAGNOSTIC_HUMAN)
		out_text(&session->err, "\n");
	diagnostic_print(&session->err, form, diagnostic);
	out_flush(&session->err);
}

enum status
session_fail(struct session *session, const struct error *err, const struct sources *sources)
{
	enum status status = fault_row(err->fault)->status;
	struct findings findings;

	findings_init(&findings, &session->arena);
	session_report(session, &(struct diagnostic){ .finding = findings_add_error(&findings, err), .sources = sources });
	return status == STATUS_OK ? STATUS_FAILED : status;
}

void
session_hint(struct session *session, const char *format, ...)
{
	struct buf text finally(buf_finish) = { 0 };
	va_list args;

	if (session->options.quiet || session->options.json)
		return;
	buf_init(&text, 4096);
	va_start(args, format);
	buf_vprintf(&text, format, args);
	va_end(args);
	out_flush(&session->out);
	out_paint_safe(&session->err, STYLE_HINT, text.data);
	out_text(&session->err, "\n");
	out_flush(&session->err);
}

const char *
session_shown(struct session *session, const char *path)
{
	return path_shown(&session->arena, session->found.cwd, path);
}

/* The manifest that this project applied last; NULL if nothing tells. */
static const char *
last_applied(struct session *session)
{
	struct history_entry *entries;
	struct error err = { 0 };
	size_t count;

	if (!session->found.cache_exists || session_read(session) != STATUS_OK)
		return NULL;
	if (!session->memory->history(session->memory->self, NULL, &session->arena, &entries, &count, &err))
		return NULL;
	for (size_t i = count; i-- > 0;) {
		json_t *body finally(json_release) = NULL;
		const char *manifest;

		if (strcmp(entries[i].kind, "run") != 0 || !entries[i].body)
			continue;
		if (!json_parse(entries[i].body, strlen(entries[i].body), "a run of the history", &body, &err))
			continue;
		manifest = json_string_at(body, "manifest");
		if (manifest && *manifest && strcmp(manifest, "-") != 0)
			return path_absolute(&session->arena, session->found.root, manifest);
	}
	return NULL;
}

static enum status
no_manifest(struct session *session)
{
	struct error err = { 0 };

	fail(&err, FAULT_NOT_FOUND, "no manifest: none was named, and there is no provision.yaml here");
	error_hint(&err, "name one: provision %s manifests/tp4.yaml", session->options.command->name);
	return session_fail(session, &err, NULL);
}

static void
use_last_applied(struct session *session)
{
	struct found *found = &session->found;

	found->manifest = last_applied(session);
	if (!found->manifest)
		return;
	found->manifest_origin = "last applied";
	session_hint(session, "using %s, which was applied last", session_shown(session, found->manifest));
}

/* The root is that of the working directory, which surprises whoever names a manifest of another place. */
static void
tell_root(struct session *session)
{
	const struct found *found = &session->found;

	if (found->other_root)
		session_hint(session,
			"records are kept in %s/.provision, since the working directory lies in that project; the manifest lies in %s, which has "
			"records of its own: -C %s uses those",
			found->root, found->other_root, text_shell(&session->arena, found->other_root));
	else if (found->is_elsewhere)
		session_hint(session,
			"records are kept in %s/.provision, since the working directory lies in that project; the manifest lies outside it: -C %s "
			"keeps them there",
			found->root, text_shell(&session->arena, path_dir(&session->arena, found->manifest)));
}

enum status
session_find(struct session *session, bool wants_manifest)
{
	const struct strings *operands = &session->options.operands;
	const char *manifest = NULL;
	struct error err = { 0 };
	size_t first = 0;

	if (operands->count > 0 && project_is_manifest(operands->items[0]))
		manifest = operands->items[first++];
	for (; first < operands->count; first++)
		strings_add(&session->targets, &session->arena, operands->items[first]);
	for (size_t i = 0; i < session->options.targets.count; i++)
		strings_add(&session->targets, &session->arena, session->options.targets.items[i]);
	if (!project_cwd(&session->found, &session->options, &session->arena, &err) ||
		!project_find(&session->found, &session->options, manifest, &session->arena, &err))
		return session_fail(session, &err, NULL);
	session->project = (struct project){ .root = session->found.root, .state_dir = session->found.state_dir, .id = "" };
	if (!session->found.manifest && wants_manifest)
		use_last_applied(session);
	if (!session->found.manifest && wants_manifest)
		return no_manifest(session);
	if (wants_manifest && !session->options.cache)
		tell_root(session);
	return STATUS_OK;
}

/* What linking finds beside the errors of loading: at a line that is wrong already, it is a consequence. */
static void
add_news(struct errors *errors, const struct errors *found)
{
	size_t before = errors->count;

	for (size_t i = 0; i < found->count; i++) {
		const struct place *at = &found->items[i].at;
		bool told = false;

		for (size_t j = 0; j < before && !told; j++)
			told = text_equal(errors->items[j].at.file, at->file) && errors->items[j].at.line == at->line;
		if (!told)
			errors_add(errors, &found->items[i]);
	}
}

static bool
is_used(const struct sources *sources, const char *var)
{
	size_t length = strlen(var);

	for (size_t i = 0; i < sources->count; i++)
		for (const char *at = sources->items[i].text; (at = strstr(at, "${")); at += 2)
			if (strncmp(at + 2, var, length) == 0 && (at[2 + length] == '}' || at[2 + length] == '.'))
				return true;
	return false;
}

/* A misspelt `--set` that did nothing would be found when the wrong thing runs. Asked of the manifest that was named: a fallback may lack what that one has. */
static enum status
check_sets(struct session *session, const struct manifest *manifest)
{
	struct error err = { 0 };

	for (size_t i = 0; !session->sets_checked && i < manifest->set_only.count; i++) {
		const char *name = manifest->set_only.items[i];
		const char *near = NULL;

		if (is_used(&manifest->sources, name))
			continue;
		for (uint32_t j = 0; manifest->vars && j < manifest->vars->count; j++)
			if (!strings_has(&manifest->set_only, manifest->vars->entries[j].key))
				near = suggest_better(name, near, manifest->vars->entries[j].key);
		fail(&err, FAULT_USAGE, "`--set %s=...`: %s has no var `%s`", name, manifest->file, name);
		if (near)
			error_hint(&err, "did you mean `%s`?", near);
		return session_fail(session, &err, NULL);
	}
	session->sets_checked = true;
	return STATUS_OK;
}

enum status
session_load(struct session *session, const char *path, struct shape *shape)
{
	struct errors errors, found;
	struct error err = { 0 };

	*shape = (struct shape){ .path = path, .shown = strcmp(path, "-") == 0 ? "-" : session_shown(session, path) };
	if (!session->jsonl.manifest)
		session->jsonl.manifest = shape->shown;
	if (!project_has(path, shape->shown, &session->arena, &err))
		return session_fail(session, &err, NULL);
	errors_init(&errors, &session->arena);
	errors_init(&found, &session->arena);
	session->recall = sealing_recall(session);
	manifest_recall(&shape->manifest, shape->shown, session->found.cwd, &session->options.sets, &session->recall, &session->arena, &errors);
	/* Linked in any case, so that one run tells all that is wrong. */
	if (errors.count == 0 || (shape->manifest.targets && shape->manifest.targets->kind == NODE_MAP)) {
		shape->linked = true;
		graph_link(&shape->graph, &shape->manifest, all_rules, &found);
		add_news(&errors, &found);
	}
	return errors.count == 0 ? check_sets(session, &shape->manifest) : fail_all(session, &errors, &shape->manifest.sources);
}

void
shape_finish(struct shape *shape)
{
	if (shape->linked)
		graph_finish(&shape->graph);
	shape->linked = false;
}

static void
adopt_ledger(struct session *session)
{
	session->memory = ledger_memory(session->ledger);
	session->project.id = arena_copy(&session->arena, session->memory->project(session->memory->self));
	known_init(&session->known, session->memory, &session->arena);
	session->known_ready = true;
}

bool
session_try_read(struct session *session)
{
	struct error ignored;

	if (session->ledger)
		return true;
	if (!ledger_open_reading(session->found.cache, &session->ledger, &ignored))
		return false;
	adopt_ledger(session);
	return true;
}

enum status
session_read(struct session *session)
{
	struct error err = { 0 };

	if (session->ledger)
		return STATUS_OK;
	if (!ledger_open_reading(session->found.cache, &session->ledger, &err))
		return session_fail(session, &err, NULL);
	adopt_ledger(session);
	return STATUS_OK;
}

/* A reader that found the last manifest makes room for the writer. */
static void
close_reader(struct session *session)
{
	if (!session->ledger)
		return;
	known_finish(&session->known);
	session->known_ready = false;
	ledger_close(session->ledger);
	session->ledger = NULL;
}

static void
say_waiting(void *context, const struct lock_holder *holder)
{
	struct session *session = context;

	if (session->options.json) {
		jsonl_lock_wait(&session->jsonl, holder);
		return;
	}
	if (session->options.quiet)
		return;
	out_printf(&session->err, "waiting for the lock: %s, pid %lld, user %s, host %s\n",
		holder->command ? holder->command : "?", (long long)holder->pid, holder->user ? holder->user : "?",
		holder->host ? holder->host : "?");
	out_flush(&session->err);
}

enum status
session_write(struct session *session, const char *run)
{
	const char *state_dir = session->found.state_dir;
	struct error err = { 0 };

	close_reader(session);
	if (!file_make_dirs(state_dir, 0700, &err))
		return session_fail(session, &err, NULL);
	if (!lock_take(&session->lock, state_dir, session->options.command->name, run, session->options.lock_timeout,
		    say_waiting, session, &err))
		return session_fail(session, &err, NULL);
	if (!rules_tidy(state_dir, session->options.grace, &session->arena, &err))
		return session_fail(session, &err, NULL);
	if (!ledger_open_writing(session->found.cache, &session->ledger, &err))
		return session_fail(session, &err, NULL);
	if (!session->found.cache_exists) {
		session_hint(session, "made %s for this project's records", session_shown(session, state_dir));
		session->found.cache_exists = true;
	}
	adopt_ledger(session);
	return STATUS_OK;
}

enum status
session_check_names(struct session *session, const struct shape *shape)
{
	const struct wishes wishes = {
		.targets = session->targets,
		.excludes = session->options.excludes,
		.replaces = session->options.replaces,
	};
	struct error err = { 0 };

	return inspect_names(&shape->graph, &wishes, &err) ? STATUS_OK : session_fail(session, &err, &shape->manifest.sources);
}

enum status
session_inspect(struct session *session, struct shape *shape, bool estimate)
{
	const struct options *options = &session->options;
	struct error err = { 0 };

	session->wishes = (struct wishes){
		.targets = session->targets,
		.excludes = options->excludes,
		.replaces = options->replaces,
		.refresh = options->refresh,
		.deep = options->deep,
		.offline = options->offline,
		.adopt = options->command->id == COMMAND_ADOPT,
		.estimate = estimate,
		.downloads = (unsigned)options->downloads,
		.grace = options->grace,
		.seal = sealing_for(session, shape),
	};
	if (!inspect(&shape->inspection, &shape->manifest, &shape->graph, session->memory, &session->project,
		    &session->wishes, &session->known, &session->arena, &err))
		return session_fail(session, &err, &shape->manifest.sources);
	return STATUS_OK;
}

enum status
session_plan(struct session *session, struct shape *shape)
{
	struct error err = { 0 };

	if (!plan_make(&shape->plan, &shape->inspection, &session->arena, &err))
		return session_fail(session, &err, &shape->manifest.sources);
	return STATUS_OK;
}

enum status
session_look_found(struct session *session, struct shape *shape, bool estimate)
{
	enum status status = session_load(session, session->found.manifest, shape);

	if (status == STATUS_OK)
		status = session_read(session);
	if (status == STATUS_OK)
		status = session_inspect(session, shape, estimate);
	return status;
}

enum status
session_look(struct session *session, struct shape *shape, bool estimate)
{
	enum status status = session_find(session, true);

	return status == STATUS_OK ? session_look_found(session, shape, estimate) : status;
}

enum status
session_learn(struct session *session)
{
	struct known_file *files = NULL;
	size_t count = known_take_new(&session->known, &files);
	struct error err = { 0 };
	bool ok = count == 0 || session->memory->commit(session->memory->self, NULL, 0, files, count, &err);

	free(files);
	return ok ? STATUS_OK : session_fail(session, &err, NULL);
}

void
session_document(struct session *session, json_t *document)
{
	char *text finally(free_text) = json_dumps(document, JSON_INDENT(2) | JSON_REAL_PRECISION(12));

	if (!text)
		out_of_memory();
	out_text(&session->out, text);
	out_text(&session->out, "\n");
	json_decref(document);
}
