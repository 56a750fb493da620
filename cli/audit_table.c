/* audit_table.c - `provision audit`: the last run of each target. */
#include <string.h>

#include "audit.h"
#include "engine/audit.h"
#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/names.h"
#include "engine/base/units.h"
#include "report/table.h"
#include "rules/rules.h"

/* One deployment: what is recorded, and what was tried in vain. */
struct section {
	struct records records;
	struct attempt *failed;
	size_t failed_count;
};

struct sections {
	struct section *items;
	size_t count;
	size_t capacity;
};

static struct section *
find_section(struct sections *sections, const char *deployment, struct arena *arena)
{
	for (size_t i = 0; i < sections->count; i++)
		if (strcmp(sections->items[i].records.deployment, deployment) == 0)
			return &sections->items[i];
	if (sections->count == sections->capacity)
		sections->items =
			arena_grow(arena, sections->items, sections->count, &sections->capacity, sizeof *sections->items);
	sections->items[sections->count] = (struct section){ .records = { .deployment = deployment } };
	return &sections->items[sections->count++];
}

/* Attempts at targets without a record, deployment by deployment. */
static void
sort_in(struct sections *sections, const struct attempt *attempts, size_t count, struct arena *arena)
{
	struct names recorded;

	names_init(&recorded, arena);
	for (size_t i = 0; i < sections->count; i++)
		for (size_t j = 0; j < sections->items[i].records.count; j++)
			names_add(&recorded, arena_printf(arena, "%s %s", sections->items[i].records.deployment,
						     sections->items[i].records.items[j].target));
	for (size_t i = 0; i < count; i++) {
		struct section *section;

		if (names_find(&recorded, arena_printf(arena, "%s %s", attempts[i].deployment, attempts[i].entry->target)) !=
			NO_NAME)
			continue;
		section = find_section(sections, attempts[i].deployment, arena);
		if (!section->failed)
			section->failed = arena_array(arena, count, sizeof *section->failed);
		section->failed[section->failed_count++] = attempts[i];
	}
	names_finish(&recorded);
}

static enum status
gather(struct session *session, struct sections *sections)
{
	struct records *deployments;
	struct attempt *attempts;
	size_t count, attempt_count;
	enum status status = audit_records(session, &deployments, &count);

	if (status == STATUS_OK)
		status = audit_attempts(session, &attempts, &attempt_count);
	if (status != STATUS_OK)
		return status;
	for (size_t i = 0; i < count; i++)
		find_section(sections, deployments[i].deployment, &session->arena)->records = deployments[i];
	sort_in(sections, attempts, attempt_count, &session->arena);
	return STATUS_OK;
}

static const char *
when(struct arena *arena, int64_t ns)
{
	return arena_copy_bytes(arena, clock_local(arena, ns) + 5, 11);
}

static void
add_failed(struct session *session, struct table *table, const struct section *section)
{
	struct arena *arena = &session->arena;
	struct run_memo memo = { 0 };

	for (size_t i = 0; i < section->failed_count; i++) {
		const struct history_entry *entry = section->failed[i].entry;

		table_add(table, (const char *const[]){
			entry->target,
			entry->result,
			when(arena, entry->ended_ns),
			units_show_duration(arena, (entry->ended_ns - entry->started_ns) / 1000000),
			audit_who(session, entry->run, &memo),
			"-",
			section->failed[i].message ? section->failed[i].message : "-",
		});
	}
}

static void
show_last_run(struct session *session, const struct run_memo *memo)
{
	if (!memo->run || !memo->manifest)
		return;
	out_printf(&session->out, "Run %s, manifest ", memo->run);
	out_safe(&session->out, memo->manifest);
	if (memo->fallback_of) {
		out_text(&session->out, " (fallback of ");
		out_safe(&session->out, memo->fallback_of);
		out_text(&session->out, ")");
	}
	out_text(&session->out, ".\n");
}

static enum status
show_section(struct session *session, const struct section *section)
{
	static const char *const heads[] = { "TARGET", "RESULT", "WHEN", "TOOK", "BY", "STILL THERE", "OUTPUT", NULL };
	const struct records *records = &section->records;
	struct arena *arena = &session->arena;
	struct strings all = { 0 };
	struct run_memo memo = { 0 };
	struct error err = { 0 };
	const struct audit_wishes wishes = { .deployment = records->deployment, .names = &all, .rules = all_rules, .level = AUDIT_NORMAL };
	struct audit audit;
	struct table table;

	if (!audit_verify(&audit, &wishes, session->memory, &session->project, &session->known, arena, &err)) {
		session->signal = audit.signal;
		return session_fail(session, &err, NULL);
	}
	table_init(&table, heads, records->count + section->failed_count, arena);
	for (size_t i = 0; i < records->count; i++) {
		const struct record *record = &records->items[i];

		table_add(&table, (const char *const[]){
			record->target,
			audit_last_result(session, records->deployment, record->target),
			when(arena, record->ended_ns),
			units_show_duration(arena, (record->ended_ns - record->started_ns) / 1000000),
			audit_who(session, record->run, &memo),
			/* Both were read in one order. */
			audit.rows[i].ok ? "yes" : "no",
			record->summary ? record->summary : "-",
		});
	}
	add_failed(session, &table, section);
	table_print(&table, &session->out);
	show_last_run(session, &memo);
	return STATUS_OK;
}

static json_t *
record_json(struct session *session, const char *deployment, const struct record *record)
{
	json_t *value = json_object();

	json_object_set_new(value, "target", diagnostic_json_text(record->target));
	json_object_set_new(value, "rule", json_string(record->rule));
	json_object_set_new(value, "run", json_string(record->run ? record->run : ""));
	json_object_set_new(value, "result", json_string(audit_last_result(session, deployment, record->target)));
	json_object_set_new(value, "ended", json_string(clock_utc(&session->arena, record->ended_ns)));
	json_object_set_new(value, "fingerprint", json_string(digest_text(&session->arena, &record->fingerprint)));
	json_object_set_new(value, "output", json_string(digest_text(&session->arena, &record->output)));
	if (record->summary)
		json_object_set_new(value, "summary", diagnostic_json_text(record->summary));
	return value;
}

static json_t *
attempt_json(struct session *session, const struct attempt *attempt)
{
	const struct history_entry *entry = attempt->entry;
	json_t *value = json_object();

	json_object_set_new(value, "target", diagnostic_json_text(entry->target));
	json_object_set_new(value, "run", json_string(entry->run));
	json_object_set_new(value, "result", json_string(entry->result));
	json_object_set_new(value, "ended", json_string(clock_utc(&session->arena, entry->ended_ns)));
	if (attempt->message)
		json_object_set_new(value, "msg", diagnostic_json_text(attempt->message));
	return value;
}

static json_t *
section_json(struct session *session, const struct section *section)
{
	json_t *records = json_array(), *failed = json_array();

	for (size_t i = 0; i < section->records.count; i++)
		json_array_append_new(records, record_json(session, section->records.deployment, &section->records.items[i]));
	for (size_t i = 0; i < section->failed_count; i++)
		json_array_append_new(failed, attempt_json(session, &section->failed[i]));
	return json_pack("{s:s, s:o, s:o}", "deployment", section->records.deployment, "records", records, "failed", failed);
}

static void
show_json(struct session *session, const struct sections *sections)
{
	json_t *document = json_array();

	for (size_t i = 0; i < sections->count; i++)
		json_array_append_new(document, section_json(session, &sections->items[i]));
	session_document(session, document);
}

static enum status
show_text(struct session *session, const struct sections *sections)
{
	enum status status = STATUS_OK;

	if (sections->count == 0)
		out_text(&session->out, "Nothing is recorded yet.\n");
	for (size_t i = 0; status == STATUS_OK && i < sections->count; i++) {
		if (sections->count > 1) {
			out_text(&session->out, i > 0 ? "\n" : "");
			out_safe(&session->out, sections->items[i].records.deployment);
			out_text(&session->out, "\n");
		}
		status = show_section(session, &sections->items[i]);
	}
	return status;
}

enum status
audit_table(struct session *session)
{
	struct sections sections = { 0 };
	enum status status = gather(session, &sections);

	if (status != STATUS_OK)
		return status;
	if (!session->options.json)
		return show_text(session, &sections);
	show_json(session, &sections);
	return STATUS_OK;
}
