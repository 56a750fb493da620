/* audit_attempts.c - targets that never came to a record: what became of the last attempt. */
#include <string.h>

#include "audit.h"
#include "engine/base/cleanup.h"
#include "engine/base/json.h"
#include "engine/base/names.h"

/* The history while it is read, an attempt for each target of each deployment. */
struct reading {
	struct arena *arena;
	struct names names;
	struct attempt *items; /* by id of the name */
	size_t capacity;
	const char *deployment; /* of the run in hand */
};

static const char *
text_in(struct arena *arena, const char *json, const char *key)
{
	json_t *body finally(json_release) = NULL;
	struct error err = { 0 };
	const char *text;

	if (!json || !json_parse(json, strlen(json), "an entry of the history", &body, &err))
		return NULL;
	text = json_string_at(body, key);
	return text ? arena_copy(arena, text) : NULL;
}

/* What a swap does afterwards is no attempt. */
static bool
is_attempt(const struct history_entry *entry)
{
	static const char *const actions[] = { "make", "redo", "check", "remove" };

	if (strcmp(entry->kind, "action") != 0 || !entry->target || !entry->action || !entry->result)
		return false;
	for (size_t i = 0; i < sizeof actions / sizeof *actions; i++)
		if (strcmp(entry->action, actions[i]) == 0)
			return true;
	return false;
}

static void
take(struct reading *reading, const struct history_entry *entry)
{
	uint32_t id;

	if (strcmp(entry->kind, "run") == 0)
		reading->deployment = text_in(reading->arena, entry->body, "deployment");
	if (!reading->deployment || !is_attempt(entry))
		return;
	/* No name has a blank in it. */
	id = names_add(&reading->names, arena_printf(reading->arena, "%s %s", reading->deployment, entry->target));
	if (id >= reading->capacity)
		reading->items = arena_grow(reading->arena, reading->items, id, &reading->capacity, sizeof *reading->items);
	reading->items[id] = (struct attempt){ .deployment = reading->deployment, .entry = entry };
}

enum status
audit_attempts(struct session *session, struct attempt **attempts, size_t *count)
{
	struct reading reading = { .arena = &session->arena };
	struct history_entry *entries;
	struct error err = { 0 };
	size_t length;

	*count = 0;
	if (!session->memory->history(session->memory->self, NULL, &session->arena, &entries, &length, &err))
		return session_fail(session, &err, NULL);
	names_init(&reading.names, &session->arena);
	for (size_t i = 0; i < length; i++)
		take(&reading, &entries[i]);
	for (size_t i = 0; i < reading.names.count; i++) {
		struct attempt *attempt = &reading.items[i];

		if (strcmp(attempt->entry->result, "ok") == 0)
			continue;
		attempt->message = text_in(&session->arena, attempt->entry->body, "message");
		reading.items[(*count)++] = *attempt;
	}
	names_finish(&reading.names);
	*attempts = reading.items;
	return STATUS_OK;
}
