#include "memory.h"

#include <string.h>

#include "engine/base/buf.h"
#include "engine/base/cleanup.h"

static struct row *
find(struct row *rows, size_t count, const char *target)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(rows[i].target, target) == 0)
			return &rows[i];
	return NULL;
}

static void
put(struct row *rows, size_t *count, const struct row *row)
{
	struct row *old = find(rows, *count, row->target);

	*(old ? old : &rows[(*count)++]) = *row;
}

static void
drop(struct row *rows, size_t *count, const char *target)
{
	struct row *old = find(rows, *count, target);

	if (old)
		*old = rows[--*count];
}

void
fake_memory_put(struct fake_memory *memory, const struct record *record)
{
	struct buf body finally(buf_finish) = { 0 };
	struct row row = { .rule_version = record->rule_version, .fingerprint = record->fingerprint, .output = record->output };

	buf_init(&body, 1 << 20);
	record_pack(record, &body);
	row.target = arena_copy(&memory->arena, record->target);
	row.rule = arena_copy(&memory->arena, record->rule);
	row.body = arena_copy_bytes(&memory->arena, body.data, body.size);
	row.body_size = body.size;
	put(memory->rows, &memory->count, &row);
}

const struct row *
fake_memory_row(const struct fake_memory *memory, const char *target)
{
	for (size_t i = 0; i < memory->count; i++)
		if (strcmp(memory->rows[i].target, target) == 0)
			return &memory->rows[i];
	return NULL;
}

static bool
copy_rows(const struct row *from, size_t from_count, struct arena *arena, struct row **rows, size_t *count)
{
	*rows = arena_array(arena, from_count + 1, sizeof **rows);
	memcpy(*rows, from, from_count * sizeof **rows);
	*count = from_count;
	return true;
}

static bool
records(void *self, const char *deployment, struct arena *arena, struct row **rows, size_t *count, struct error *err)
{
	const struct fake_memory *memory = self;

	(void)deployment;
	(void)err;
	return copy_rows(memory->rows, memory->count, arena, rows, count);
}

static bool
one_record(void *self, const char *deployment, const char *target, struct arena *arena, struct row **row, struct error *err)
{
	struct fake_memory *memory = self;
	struct row *found = find(memory->rows, memory->count, target);

	(void)deployment;
	(void)err;
	*row = NULL;
	if (found) {
		*row = arena_alloc(arena, sizeof **row);
		**row = *found;
	}
	return true;
}

static bool
kept(void *self, const char *deployment, struct arena *arena, struct row **rows, size_t *count, struct error *err)
{
	const struct fake_memory *memory = self;

	(void)deployment;
	(void)err;
	return copy_rows(memory->kept, memory->kept_count, arena, rows, count);
}

static bool
one_file(void *self, uint64_t device, uint64_t inode, struct known_file *file, bool *found, struct error *err)
{
	(void)self, (void)device, (void)inode, (void)file, (void)err;
	*found = false;
	return true;
}

static bool
files(void *self, struct arena *arena, struct known_file **list, size_t *count, struct error *err)
{
	(void)self;
	(void)err;
	*list = arena_array(arena, 1, sizeof **list);
	*count = 0;
	return true;
}

static bool
intents(void *self, const char *deployment, struct arena *arena, struct intent **list, size_t *count, struct error *err)
{
	const struct fake_memory *memory = self;

	(void)deployment;
	(void)err;
	*list = arena_array(arena, memory->intent_count + 1, sizeof **list);
	memcpy(*list, memory->intents, memory->intent_count * sizeof **list);
	*count = memory->intent_count;
	return true;
}

static bool
one_duration(void *self, const char *deployment, const char *target, int64_t *ms, bool *found, struct error *err)
{
	(void)self, (void)deployment, (void)target, (void)ms, (void)err;
	*found = false;
	return true;
}

static bool
durations(void *self, const char *deployment, struct arena *arena, const char ***targets, int64_t **ms, size_t *count, struct error *err)
{
	(void)self;
	(void)deployment;
	(void)err;
	*targets = arena_array(arena, 1, sizeof **targets);
	*ms = arena_array(arena, 1, sizeof **ms);
	*count = 0;
	return true;
}

static bool
begin_run(void *self, const struct run_info *run, struct error *err)
{
	const struct fake_memory *memory = self;

	(void)run;
	return !memory->refuses_runs || fail(err, FAULT_IO, "the memory is broken");
}

static bool
end_run(void *self, const char *result, int status, int64_t ended_ns, struct error *err)
{
	struct fake_memory *memory = self;

	(void)status;
	(void)ended_ns;
	(void)err;
	memory->ended = result;
	return true;
}

static bool
drop_intent(void *self, const char *id, struct error *err)
{
	struct fake_memory *memory = self;

	(void)err;
	for (size_t i = 0; i < memory->intent_count; i++)
		if (strcmp(memory->intents[i].id, id) == 0)
			memory->intents[i--] = memory->intents[--memory->intent_count];
	return true;
}

static bool
add_intent(void *self, const struct intent *intent, struct error *err)
{
	struct fake_memory *memory = self;

	(void)err;
	memory->intents[memory->intent_count++] = (struct intent){
		.id = arena_copy(&memory->arena, intent->id),
		.target = arena_copy(&memory->arena, intent->target),
		.kind = arena_copy(&memory->arena, intent->kind),
		.name = arena_copy(&memory->arena, intent->name),
		.run = arena_copy(&memory->arena, intent->run),
	};
	return true;
}

static bool
checkpoint(void *self, const char *key, struct arena *arena, const void **bytes, size_t *size, struct error *err)
{
	const struct fake_memory *memory = self;

	(void)err;
	*bytes = NULL;
	for (size_t i = 0; i < memory->checkpoint_count; i++)
		if (strcmp(memory->checkpoints[i].key, key) == 0) {
			*bytes = arena_copy_bytes(arena, memory->checkpoints[i].bytes, memory->checkpoints[i].size);
			*size = memory->checkpoints[i].size;
		}
	return true;
}

static bool
save_checkpoint(void *self, const char *key, const void *bytes, size_t size, struct error *err)
{
	struct fake_memory *memory = self;

	for (size_t i = 0; i < memory->checkpoint_count; i++)
		if (strcmp(memory->checkpoints[i].key, key) == 0)
			memory->checkpoints[i--] = memory->checkpoints[--memory->checkpoint_count];
	if (!bytes)
		return true;
	if (memory->checkpoint_count == FAKE_ROWS)
		return fail(err, FAULT_IO, "the memory is full");
	memory->checkpoints[memory->checkpoint_count++] = (struct fake_checkpoint){
		.key = arena_copy(&memory->arena, key),
		.bytes = arena_copy_bytes(&memory->arena, bytes, size),
		.size = size,
	};
	return true;
}

static void
take(struct fake_memory *memory, const struct outcome *outcome)
{
	const struct row *old = find(memory->rows, memory->count, outcome->target);

	memory->history[memory->history_count++] = arena_printf(&memory->arena, "%s %s %s", outcome->target, outcome->action, outcome->result);
	if (outcome->keep_old && old && !find(memory->kept, memory->kept_count, outcome->target))
		put(memory->kept, &memory->kept_count, old);
	if (outcome->restore_old && find(memory->kept, memory->kept_count, outcome->target))
		put(memory->rows, &memory->count, find(memory->kept, memory->kept_count, outcome->target));
	if (outcome->restore_old || outcome->drop_old)
		drop(memory->kept, &memory->kept_count, outcome->target);
	if (outcome->record)
		fake_memory_put(memory, outcome->record);
	if (outcome->removed)
		drop(memory->rows, &memory->count, outcome->target);
	for (size_t i = 0; i < outcome->intents_done_count; i++)
		drop_intent(memory, outcome->intents_done[i], NULL);
	for (size_t i = 0; i < outcome->checkpoints_done_count; i++)
		save_checkpoint(memory, outcome->checkpoints_done[i], NULL, 0, NULL);
}

static bool
commit(void *self, const struct outcome *outcomes, size_t count, const struct known_file *list, size_t file_count, struct error *err)
{
	struct fake_memory *memory = self;

	(void)list;
	(void)file_count;
	if (memory->fail_after == 0)
		return fail(err, FAULT_IO, "the memory is broken");
	if (memory->fail_after != SIZE_MAX)
		memory->fail_after--;
	for (size_t i = 0; i < count; i++)
		take(memory, &outcomes[i]);
	return true;
}

void
fake_memory_init(struct fake_memory *memory)
{
	*memory = (struct fake_memory){ .fail_after = SIZE_MAX };
	arena_init(&memory->arena);
	memory->socket = (struct memory){
		.self = memory,
		.records = records,
		.record = one_record,
		.kept = kept,
		.files = files,
		.file = one_file,
		.intents = intents,
		.checkpoint = checkpoint,
		.durations = durations,
		.duration = one_duration,
		.begin_run = begin_run,
		.end_run = end_run,
		.commit = commit,
		.save_checkpoint = save_checkpoint,
		.add_intent = add_intent,
		.drop_intent = drop_intent,
	};
}

void
fake_memory_finish(struct fake_memory *memory)
{
	arena_finish(&memory->arena);
}
