/* audit.c - `provision audit`: what was recorded, and by whom. */
#include "audit.h"

#include <string.h>

#include "commands.h"
#include "engine/audit.h"
#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/json.h"
#include "engine/base/suggest.h"
#include "engine/base/units.h"
#include "report/table.h"
#include "rules/rules.h"

static enum status
load(struct session *session, const char *deployment, struct records *records)
{
	const struct memory *memory = session->memory;
	struct error err = { 0 };
	struct row *rows;
	size_t count;

	*records = (struct records){ .deployment = deployment };
	if (!memory->records(memory->self, deployment, &session->arena, &rows, &count, &err))
		return session_fail(session, &err, NULL);
	records->items = arena_array(&session->arena, count + 1, sizeof *records->items);
	for (size_t i = 0; i < count; i++) {
		struct record *record = &records->items[records->count++];

		*record = (struct record){
			.target = rows[i].target,
			.rule = rows[i].rule,
			.rule_version = rows[i].rule_version,
			.fingerprint = rows[i].fingerprint,
			.output = rows[i].output,
			.body = rows[i].body,
			.body_size = rows[i].body_size,
		};
		if (!record_unpack(record, rows[i].body, rows[i].body_size, &session->arena) ||
			!record_unpack_why(record, rows[i].body, rows[i].body_size, &session->arena)) {
			fail(&err, FAULT_DATABASE, "the record of `%s` cannot be read", rows[i].target);
			return session_fail(session, &err, NULL);
		}
	}
	return STATUS_OK;
}

enum status
audit_records(struct session *session, struct records **deployments, size_t *count)
{
	const struct memory *memory = session->memory;
	struct error err = { 0 };
	const char **names;
	enum status status;

	if (!memory->deployments(memory->self, &session->arena, &names, count, &err))
		return session_fail(session, &err, NULL);
	*deployments = arena_array(&session->arena, *count + 1, sizeof **deployments);
	for (size_t i = 0; i < *count; i++) {
		status = load(session, names[i], &(*deployments)[i]);
		if (status != STATUS_OK)
			return status;
	}
	return STATUS_OK;
}

static void
read_run(struct session *session, const struct history_entry *entry, struct run_memo *memo)
{
	json_t *body finally(json_release) = NULL;
	struct error err = { 0 };
	const char *user, *host, *text;

	if (!entry->body || !json_parse(entry->body, strlen(entry->body), "a run of the history", &body, &err))
		return;
	user = json_string_at(body, "user");
	host = json_string_at(body, "host");
	memo->who = arena_printf(&session->arena, "%s@%s", user ? user : "?", host ? host : "?");
	text = json_string_at(body, "manifest");
	memo->manifest = text ? arena_copy(&session->arena, text) : NULL;
	text = json_string_at(body, "fallback_of");
	memo->fallback_of = text ? arena_copy(&session->arena, text) : NULL;
}

const char *
audit_who(struct session *session, const char *run, struct run_memo *memo)
{
	const struct memory *memory = session->memory;
	struct history_entry *entries;
	struct error err = { 0 };
	size_t count;

	if (memo->run && run && strcmp(memo->run, run) == 0)
		return memo->who;
	*memo = (struct run_memo){ .run = run, .who = "-" };
	if (!run || !memory->history(memory->self, run, &session->arena, &entries, &count, &err))
		return memo->who;
	for (size_t i = 0; i < count; i++)
		if (strcmp(entries[i].kind, "run") == 0)
			read_run(session, &entries[i], memo);
	return memo->who;
}

/* What became of the last attempt, which may have failed after the record was made. */
static const char *
last_result(struct session *session, const char *deployment, const char *target)
{
	const struct memory *memory = session->memory;
	struct history_entry entry;
	struct error err = { 0 };
	bool found = false;

	if (!memory->last_action(memory->self, deployment, target, &session->arena, &entry, &found, &err) || !found ||
		!entry.result)
		return "-";
	return entry.result;
}

static const char *
still_there(const struct audit *audit, const char *target)
{
	for (size_t i = 0; i < audit->count; i++)
		if (strcmp(audit->rows[i].record->target, target) == 0)
			return audit->rows[i].ok ? "yes" : "no";
	return "-";
}

static enum status
show_deployment(struct session *session, const struct records *records)
{
	static const char *const heads[] = { "TARGET", "RESULT", "WHEN", "TOOK", "BY", "STILL THERE", "OUTPUT", NULL };
	struct arena *arena = &session->arena;
	struct strings all = { 0 };
	struct run_memo memo = { 0 };
	struct error err = { 0 };
	struct audit audit;
	struct table table;

	if (!audit_verify(&audit, records->deployment, &all, all_rules, session->memory, &session->project,
		    &session->known, false, arena, &err))
		return session_fail(session, &err, NULL);
	table_init(&table, heads, records->count, arena);
	for (size_t i = 0; i < records->count; i++) {
		const struct record *record = &records->items[i];

		table_add(&table, (const char *const[]){
			record->target,
			last_result(session, records->deployment, record->target),
			arena_copy_bytes(arena, clock_local(arena, record->ended_ns) + 5, 11),
			units_show_duration(arena, (record->ended_ns - record->started_ns) / 1000000),
			audit_who(session, record->run, &memo),
			still_there(&audit, record->target),
			record->summary ? record->summary : "-",
		});
	}
	table_print(&table, &session->out);
	if (memo.run && memo.manifest) {
		out_printf(&session->out, "Run %s, manifest ", memo.run);
		out_safe(&session->out, memo.manifest);
		if (memo.fallback_of) {
			out_text(&session->out, " (fallback of ");
			out_safe(&session->out, memo.fallback_of);
			out_text(&session->out, ")");
		}
		out_text(&session->out, ".\n");
	}
	return STATUS_OK;
}

static json_t *
record_json(struct session *session, const struct record *record)
{
	json_t *value = json_object();

	json_object_set_new(value, "target", diagnostic_json_text(record->target));
	json_object_set_new(value, "rule", json_string(record->rule));
	json_object_set_new(value, "run", json_string(record->run ? record->run : ""));
	json_object_set_new(value, "ended", json_string(clock_utc(&session->arena, record->ended_ns)));
	json_object_set_new(value, "fingerprint", json_string(digest_text(&session->arena, &record->fingerprint)));
	json_object_set_new(value, "output", json_string(digest_text(&session->arena, &record->output)));
	if (record->summary)
		json_object_set_new(value, "summary", diagnostic_json_text(record->summary));
	return value;
}

enum status
audit_table(struct session *session)
{
	json_t *document finally(json_release) = json_array();
	struct records *deployments;
	size_t count;
	enum status status = audit_records(session, &deployments, &count);

	for (size_t i = 0; status == STATUS_OK && i < count; i++) {
		json_t *records = json_array();

		for (size_t j = 0; j < deployments[i].count; j++)
			json_array_append_new(records, record_json(session, &deployments[i].items[j]));
		json_array_append_new(
			document, json_pack("{s:s, s:o}", "deployment", deployments[i].deployment, "records", records));
		if (session->options.json)
			continue;
		if (count > 1) {
			out_text(&session->out, i > 0 ? "\n" : "");
			out_safe(&session->out, deployments[i].deployment);
			out_text(&session->out, "\n");
		}
		status = show_deployment(session, &deployments[i]);
	}
	if (status == STATUS_OK && session->options.json)
		session_document(session, json_incref(document));
	else if (status == STATUS_OK && count == 0)
		out_text(&session->out, "Nothing is recorded yet.\n");
	return status;
}

struct part {
	const char *name;
	size_t least, most; /* operands behind the name */
};

static const struct part parts[] = { { "log", 0, 0 }, { "show", 1, 1 }, { "verify", 0, SIZE_MAX } };

static enum status
unknown_part(struct session *session, const char *name)
{
	struct error err = { 0 };
	const char *near = NULL;

	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
		near = suggest_better(name, near, parts[i].name);
	fail(&err, FAULT_USAGE, "`provision audit` knows log, show and verify, not `%s`", name);
	if (near)
		error_hint(&err, "did you mean `provision audit %s`?", near);
	return session_fail(session, &err, NULL);
}

static enum status
run_part(struct session *session, const struct strings *operands)
{
	const struct strings rest = { .items = operands->items + 1, .count = operands->count - 1 };
	struct error err = { 0 };

	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
		if (strcmp(operands->items[0], parts[i].name) != 0)
			continue;
		if (rest.count < parts[i].least || rest.count > parts[i].most) {
			fail(&err, FAULT_USAGE, "`provision audit %s` wants %s", parts[i].name,
				parts[i].most ? "one target" : "nothing behind it");
			return session_fail(session, &err, NULL);
		}
		return i == 0	? audit_log(session)
		       : i == 1 ? audit_show(session, rest.items[0])
				: audit_check(session, &rest);
	}
	return unknown_part(session, operands->items[0]);
}

int
command_audit(struct session *session)
{
	const struct strings *operands = &session->options.operands;
	enum status status;

	session->documents = true;
	status = session_find(session, false);
	if (status == STATUS_OK)
		status = session_read(session);
	if (status != STATUS_OK)
		return (int)status;
	return (int)(operands->count == 0 ? audit_table(session) : run_part(session, operands));
}
