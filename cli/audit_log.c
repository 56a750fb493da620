/* audit_log.c - `provision audit log`: every run, newest first. */
#include "audit.h"

#include <string.h>

#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/json.h"
#include "engine/base/units.h"
#include "report/table.h"

/* A run as the history tells it. */
struct run {
	const char *id;
	const char *command;
	const char *result; /* "unfinished" until its end is found */
	int64_t started_ns;
	int64_t ended_ns;   /* 0: not known */
	size_t actions;
	const char *who;
	const char *deployment;
	const char *manifest;
};

static void
read_body(struct arena *arena, const char *text, struct run *run)
{
	json_t *body finally(json_release) = NULL;
	struct error err = { 0 };
	const char *user, *host, *deployment, *manifest;

	run->who = run->deployment = run->manifest = "-";
	if (!text || !json_parse(text, strlen(text), "a run of the history", &body, &err))
		return;
	user = json_string_at(body, "user");
	host = json_string_at(body, "host");
	deployment = json_string_at(body, "deployment");
	manifest = json_string_at(body, "manifest");
	run->who = arena_printf(arena, "%s@%s", user ? user : "?", host ? host : "?");
	run->deployment = arena_copy(arena, deployment ? deployment : "-");
	run->manifest = arena_copy(arena, manifest ? manifest : "-");
}

/* Entries of one run stand together: the history has one writer. */
static size_t
gather(struct session *session, const struct history_entry *entries, size_t count, struct run *runs)
{
	size_t found = 0;

	for (size_t i = 0; i < count; i++) {
		const struct history_entry *entry = &entries[i];
		struct run *run = found ? &runs[found - 1] : NULL;

		if (strcmp(entry->kind, "run") == 0) {
			run = &runs[found++];
			*run = (struct run){ .id = entry->run,
				.command = entry->action ? entry->action : "-",
				.result = "unfinished",
				.started_ns = entry->started_ns };
			read_body(&session->arena, entry->body, run);
		} else if (run && strcmp(entry->kind, "action") == 0) {
			run->actions++;
		} else if (run && strcmp(entry->kind, "end") == 0) {
			run->result = entry->result ? entry->result : "-";
			run->ended_ns = entry->ended_ns;
		}
	}
	return found;
}

static void
show_text(struct session *session, const struct run *runs, size_t count)
{
	static const char *const heads[] = { "RUN", "COMMAND", "RESULT", "WHEN", "TOOK", "BY", "DEPLOYMENT", "MANIFEST",
		NULL };
	struct arena *arena = &session->arena;
	struct table table;

	table_init(&table, heads, count, arena);
	for (size_t i = count; i-- > 0;)
		table_add(&table, (const char *const[]){
					  runs[i].id,
					  runs[i].command,
					  runs[i].result,
					  arena_copy_bytes(arena, clock_local(arena, runs[i].started_ns), 16),
					  runs[i].ended_ns ? units_show_duration(arena,
								     (runs[i].ended_ns - runs[i].started_ns) / 1000000)
							   : "-",
					  runs[i].who,
					  runs[i].deployment,
					  runs[i].manifest,
				  });
	table_print(&table, &session->out);
}

static void
show_json(struct session *session, const struct run *runs, size_t count)
{
	json_t *document = json_array();

	for (size_t i = count; i-- > 0;) {
		json_t *run = json_object();

		json_object_set_new(run, "run", diagnostic_json_text(runs[i].id));
		json_object_set_new(run, "command", diagnostic_json_text(runs[i].command));
		json_object_set_new(run, "result", diagnostic_json_text(runs[i].result));
		json_object_set_new(run, "started", json_string(clock_utc(&session->arena, runs[i].started_ns)));
		if (runs[i].ended_ns)
			json_object_set_new(run, "ended", json_string(clock_utc(&session->arena, runs[i].ended_ns)));
		json_object_set_new(run, "actions", json_integer((json_int_t)runs[i].actions));
		json_object_set_new(run, "by", diagnostic_json_text(runs[i].who));
		json_object_set_new(run, "deployment", diagnostic_json_text(runs[i].deployment));
		json_object_set_new(run, "manifest", diagnostic_json_text(runs[i].manifest));
		json_array_append_new(document, run);
	}
	session_document(session, document);
}

enum status
audit_log(struct session *session)
{
	const struct memory *memory = session->memory;
	struct history_entry *entries;
	struct error err = { 0 };
	struct run *runs;
	size_t count;

	if (!memory->history(memory->self, NULL, &session->arena, &entries, &count, &err))
		return session_fail(session, &err, NULL);
	runs = arena_array(&session->arena, count + 1, sizeof *runs);
	count = gather(session, entries, count, runs);
	if (session->options.json)
		show_json(session, runs, count);
	else if (count == 0)
		out_text(&session->out, "Nothing is recorded yet.\n");
	else
		show_text(session, runs, count);
	return STATUS_OK;
}
