#include "outcome.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/secret.h"

#define TEXT_LIMIT (64u << 10)
#define REASON_LIMIT (16u << 10)
#define BODY_LIMIT (16u << 20)

static const char *
redacted(struct arena *arena, const char *text)
{
	struct buf out finally(buf_finish) = { 0 };

	if (secret_none_loaded())
		return arena_copy(arena, text);
	/* What stands for a secret may be longer than the secret. */
	buf_init(&out, 8 * TEXT_LIMIT);
	secret_redact(text, strlen(text), &out);
	return arena_copy(arena, out.data);
}

static const char *
action_word(const struct worker *worker)
{
	switch (worker->kind) {
	case WORK_REMOVE:
		return "remove";
	case WORK_SETTLE:
		return "settle";
	case WORK_REVERT:
		return "revert";
	case WORK_SWEEP:
		return "sweep";
	case WORK_BUILD:
		break;
	}
	if (worker->rule->check)
		return "check";
	return worker->task.record ? "redo" : "make";
}

static void
add_member(struct buf *json, const char *name, const char *value)
{
	if (!value)
		return;
	buf_printf(json, ",\"%s\":", name);
	json_quote(json, value);
}

/* One object; nothing of it where it would be too long. */
static void
add_reason(struct buf *json, const char *id, const char *what, const struct cause *cause)
{
	struct buf one finally(buf_finish) = { 0 };

	buf_init(&one, REASON_LIMIT);
	buf_printf(&one, "{\"id\":\"%s\"", id);
	add_member(&one, "what", what);
	add_member(&one, "before", cause ? cause->before : NULL);
	add_member(&one, "after", cause ? cause->after : NULL);
	if (one.truncated) {
		buf_clear(&one);
		buf_printf(&one, "{\"id\":\"%s\"", id);
	}
	buf_char(&one, '}');
	buf_printf(json, "%s%s", json->size > 1 ? "," : "", one.data);
}

/* Every first-hand cause with its old and new value, as far as they are of a size that somebody would read. */
static const char *
reasons_json(struct arena *arena, const struct seen *seen)
{
	struct buf json finally(buf_finish) = { 0 };

	buf_init(&json, TEXT_LIMIT);
	buf_char(&json, '[');
	add_reason(&json, reason_id(seen->reason), seen->detail ? seen->detail->look.what : NULL, NULL);
	for (size_t i = 0; seen->detail && i < seen->detail->causes.count && json.size < TEXT_LIMIT / 2; i++) {
		const struct cause *cause = &seen->detail->causes.items[i];

		add_reason(&json, reason_id(cause->reason), cause->what, cause);
	}
	buf_char(&json, ']');
	return redacted(arena, json.data);
}

static const char *const *
copy_list(struct arena *arena, const struct strings *list)
{
	const char **copy = arena_array(arena, list->count + 1, sizeof *copy);

	for (size_t i = 0; i < list->count; i++)
		copy[i] = arena_copy(arena, list->items[i]);
	return copy;
}

struct outcome
outcome_make(struct arena *arena, const struct worker *worker, enum result result)
{
	const struct task *task = &worker->task;
	struct outcome outcome = {
		.target = arena_copy(arena, task->name),
		.action = action_word(worker),
		.result = result_id(result),
		.reasons = worker->kind == WORK_BUILD ? reasons_json(arena, &worker->seen) : "[]",
		.message = worker->ok ? NULL : redacted(arena, worker->err.text),
		.started_ns = worker->started_ns,
		.ended_ns = worker->ended_ns,
	};

	if (!worker->ok)
		return outcome;
	outcome.checkpoints_done = copy_list(arena, &task->checkpoints_done);
	outcome.checkpoints_done_count = task->checkpoints_done.count;
	outcome.intents_done = copy_list(arena, &task->intents_done);
	outcome.intents_done_count = task->intents_done.count;
	return outcome;
}

const struct record *
outcome_record(const struct record *record, struct arena *arena)
{
	struct buf body finally(buf_finish) = { 0 };
	struct record *copy = arena_alloc(arena, sizeof *copy);

	buf_init(&body, BODY_LIMIT);
	record_pack(record, &body);
	*copy = (struct record){
		.target = arena_copy(arena, record->target),
		.rule = arena_copy(arena, record->rule),
		.rule_version = record->rule_version,
		.fingerprint = record->fingerprint,
		.output = record->output,
		.body = arena_copy_bytes(arena, body.data, body.size),
		.body_size = body.size,
	};
	record_unpack(copy, copy->body, copy->body_size, arena);
	/* Packed again by the memory: it must be whole. */
	record_unpack_why(copy, copy->body, copy->body_size, arena);
	return copy;
}
