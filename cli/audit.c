/* audit.c - `provision audit`: what was recorded, and by whom. */
#include "audit.h"

#include <string.h>

#include "commands.h"
#include "engine/base/cleanup.h"
#include "engine/base/json.h"
#include "engine/base/suggest.h"

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

const char *
audit_last_result(struct session *session, const char *deployment, const char *target)
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
