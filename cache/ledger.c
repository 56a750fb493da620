#include "ledger_internal.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "files.h"
#include "place.h"
#include "records.h"
#include "rows.h"
#include "sql.h"

/* A reading is done again when a writer came or went while it was under way. */
#define READ_AGAIN_UNLESS_STILL(ledger, ok, err, reading) \
	do { \
		unsigned tries = 0; \
		bool empty; \
\
		do \
			(ok) = database_ready(&(ledger)->database, &empty, (err)) && (empty || (reading)); \
		while (database_moved(&(ledger)->database, &(ok), &tries, (err))); \
	} while (0)

static bool
load_project(struct ledger *ledger, struct error *err)
{
	struct sql *sql = &ledger->database.sql;
	struct rows rows finally(rows_finish) = { 0 };
	const char *project;
	size_t size;
	bool more;

	if (!sql_ask(sql, SQL_PROJECT, NO_VALUES, &rows, err) || !rows_next(&rows, &more, err))
		return false;
	project = more ? rows_bytes(&rows, 0, &size) : NULL;
	if (!project || size != 12)
		return fail(err, FAULT_DATABASE, "`%s` lacks the id of its project", sql->path);
	memcpy(ledger->project, project, size);
	return true;
}

static const char *
ledger_project(void *self)
{
	const struct ledger *ledger = self;

	return ledger->project;
}

static bool
ledger_records(void *self, const char *deployment, struct arena *arena, struct row **rows, size_t *count, struct error *err)
{
	struct ledger *ledger = self;
	bool ok;

	*rows = NULL;
	*count = 0;
	READ_AGAIN_UNLESS_STILL(ledger, ok, err,
		records_load(&ledger->database.sql, RECORDS_CURRENT, deployment, arena, rows, count, err));
	return ok;
}

static bool
ledger_record(void *self, const char *deployment, const char *target, struct arena *arena, struct row **row, struct error *err)
{
	struct ledger *ledger = self;
	bool ok;

	*row = NULL;
	READ_AGAIN_UNLESS_STILL(ledger, ok, err, records_one(&ledger->database.sql, deployment, target, arena, row, err));
	return ok;
}

static bool
ledger_kept(void *self, const char *deployment, struct arena *arena, struct row **rows, size_t *count, struct error *err)
{
	struct ledger *ledger = self;
	bool ok;

	*rows = NULL;
	*count = 0;
	READ_AGAIN_UNLESS_STILL(ledger, ok, err,
		records_load(&ledger->database.sql, RECORDS_KEPT, deployment, arena, rows, count, err));
	return ok;
}

static bool
ledger_files(void *self, struct arena *arena, struct known_file **files, size_t *count, struct error *err)
{
	struct ledger *ledger = self;
	bool ok;

	*files = NULL;
	*count = 0;
	READ_AGAIN_UNLESS_STILL(ledger, ok, err, files_load(&ledger->database.sql, arena, files, count, err));
	return ok;
}

static bool
ledger_file(void *self, uint64_t device, uint64_t inode, struct known_file *file, bool *found, struct error *err)
{
	struct ledger *ledger = self;
	bool ok;

	*found = false;
	READ_AGAIN_UNLESS_STILL(ledger, ok, err, files_one(&ledger->database.sql, device, inode, file, found, err));
	return ok;
}

static bool
load_intents(struct sql *sql, const char *deployment, struct arena *arena, struct intent **intents, size_t *count, struct error *err)
{
	struct growing found finally(growing_finish) = { .size = sizeof(struct intent) };
	struct rows rows finally(rows_finish) = { 0 };
	int64_t id;
	bool more;

	if (!records_deployment(sql, deployment, false, &id, err) || !sql_ask(sql, SQL_INTENTS, VALUES(value_int(id)), &rows, err))
		return false;
	while (rows_next(&rows, &more, err)) {
		struct intent *intent;

		if (!more) {
			*intents = growing_take(&found, arena, count);
			return true;
		}
		intent = growing_add(&found);
		intent->id = rows_text(&rows, 0, arena);
		intent->target = rows_text(&rows, 1, arena);
		intent->kind = rows_text(&rows, 2, arena);
		intent->name = rows_text(&rows, 3, arena);
		intent->run = rows_text(&rows, 4, arena);
	}
	return false;
}

static bool
ledger_intents(void *self, const char *deployment, struct arena *arena, struct intent **intents, size_t *count, struct error *err)
{
	struct ledger *ledger = self;
	bool ok;

	*intents = NULL;
	*count = 0;
	READ_AGAIN_UNLESS_STILL(ledger, ok, err, load_intents(&ledger->database.sql, deployment, arena, intents, count, err));
	return ok;
}

static bool
load_checkpoint(struct sql *sql, const char *key, struct arena *arena, const void **bytes, size_t *size, struct error *err)
{
	struct rows rows finally(rows_finish) = { 0 };
	const void *kept;
	bool more;

	if (!sql_ask(sql, SQL_CHECKPOINT, VALUES(value_text(key)), &rows, err) || !rows_next(&rows, &more, err))
		return false;
	if (!more)
		return true;
	kept = rows_bytes(&rows, 0, size);
	*bytes = arena_copy_bytes(arena, kept ? kept : "", *size);
	return true;
}

static bool
ledger_checkpoint(void *self, const char *key, struct arena *arena, const void **bytes, size_t *size, struct error *err)
{
	struct ledger *ledger = self;
	bool ok;

	*bytes = NULL;
	*size = 0;
	READ_AGAIN_UNLESS_STILL(ledger, ok, err, load_checkpoint(&ledger->database.sql, key, arena, bytes, size, err));
	return ok;
}

static bool
ledger_deployments(void *self, struct arena *arena, const char ***names, size_t *count, struct error *err)
{
	struct ledger *ledger = self;
	bool ok;

	*names = NULL;
	*count = 0;
	READ_AGAIN_UNLESS_STILL(ledger, ok, err, records_deployments(&ledger->database.sql, arena, names, count, err));
	return ok;
}

static bool
ledger_last_action(void *self, const char *deployment, const char *target, struct arena *arena, struct history_entry *entry,
	bool *found, struct error *err)
{
	struct ledger *ledger = self;
	bool ok;

	*found = false;
	READ_AGAIN_UNLESS_STILL(ledger, ok, err,
		history_last_action(&ledger->database.sql, deployment, target, arena, entry, found, err));
	return ok;
}

static bool
ledger_history(void *self, const char *run, struct arena *arena, struct history_entry **entries, size_t *count, struct error *err)
{
	struct ledger *ledger = self;
	bool ok;

	*entries = NULL;
	*count = 0;
	READ_AGAIN_UNLESS_STILL(ledger, ok, err, history_read(&ledger->database.sql, run, arena, entries, count, err));
	return ok;
}

static bool
ledger_verify(void *self, struct arena *arena, struct history_entry *head, char head_hash[DIGEST_HEX], size_t *runs,
	struct error *err)
{
	struct ledger *ledger = self;
	bool ok;

	*head = (struct history_entry){ 0 };
	head_hash[0] = '\0';
	*runs = 0;
	READ_AGAIN_UNLESS_STILL(ledger, ok, err,
		database_check(&ledger->database, false, err) && load_project(ledger, err) &&
			history_verify(&ledger->database.sql, ledger->project, arena, head, head_hash, runs, err) &&
			records_verify(&ledger->database.sql, err));
	return ok;
}

static bool
load_durations(struct sql *sql, const char *deployment, struct arena *arena, const char ***targets, int64_t **ms, size_t *count,
	struct error *err)
{
	struct growing names finally(growing_finish) = { .size = sizeof(const char *) };
	struct growing times finally(growing_finish) = { .size = sizeof(int64_t) };
	struct rows rows finally(rows_finish) = { 0 };
	int64_t id;
	bool more;

	if (!records_deployment(sql, deployment, false, &id, err) || !sql_ask(sql, SQL_DURATIONS, VALUES(value_int(id)), &rows, err))
		return false;
	while (rows_next(&rows, &more, err)) {
		const char **name;
		int64_t *time;

		if (!more) {
			*targets = growing_take(&names, arena, count);
			*ms = growing_take(&times, arena, count);
			return true;
		}
		name = growing_add(&names);
		*name = rows_text(&rows, 0, arena);
		time = growing_add(&times);
		*time = rows_int(&rows, 1);
	}
	return false;
}

static bool
load_duration(struct sql *sql, const char *deployment, const char *target, int64_t *ms, bool *found, struct error *err)
{
	struct rows rows finally(rows_finish) = { 0 };
	int64_t id;

	if (!records_deployment(sql, deployment, false, &id, err) ||
		!sql_ask(sql, SQL_DURATION_ONE, VALUES(value_int(id), value_text(target)), &rows, err) || !rows_next(&rows, found, err))
		return false;
	if (*found)
		*ms = rows_int(&rows, 0);
	return true;
}

static bool
ledger_duration(void *self, const char *deployment, const char *target, int64_t *ms, bool *found, struct error *err)
{
	struct ledger *ledger = self;
	bool ok;

	*found = false;
	READ_AGAIN_UNLESS_STILL(ledger, ok, err, load_duration(&ledger->database.sql, deployment, target, ms, found, err));
	return ok;
}

static bool
ledger_durations(void *self, const char *deployment, struct arena *arena, const char ***targets, int64_t **ms, size_t *count,
	struct error *err)
{
	struct ledger *ledger = self;
	bool ok;

	*targets = NULL;
	*ms = NULL;
	*count = 0;
	READ_AGAIN_UNLESS_STILL(ledger, ok, err, load_durations(&ledger->database.sql, deployment, arena, targets, ms, count, err));
	return ok;
}

static const struct memory reading = {
	.project = ledger_project,
	.records = ledger_records,
	.record = ledger_record,
	.kept = ledger_kept,
	.files = ledger_files,
	.file = ledger_file,
	.intents = ledger_intents,
	.checkpoint = ledger_checkpoint,
	.deployments = ledger_deployments,
	.last_action = ledger_last_action,
	.history = ledger_history,
	.verify = ledger_verify,
	.durations = ledger_durations,
	.duration = ledger_duration,
};

static void
plug_in(struct ledger *ledger)
{
	ledger->memory = reading;
	ledger->memory.self = ledger;
	if (ledger->database.manner == ACCESS_WRITING)
		ledger_plug_writing(ledger);
}

/* A ledger that could not be opened is gone. */
static bool
finish_opening(struct ledger *opened, bool ok, struct ledger **ledger, struct error *err)
{
	if (ok)
		READ_AGAIN_UNLESS_STILL(opened, ok, err, load_project(opened, err));
	if (!ok) {
		ledger_close(opened);
		return false;
	}
	plug_in(opened);
	*ledger = opened;
	return true;
}

bool
ledger_open_reading(const char *path, struct ledger **ledger, struct error *err)
{
	struct ledger *opened = xmalloc(sizeof *opened);

	memset(opened, 0, sizeof *opened);
	return finish_opening(opened, database_open_reading(&opened->database, path, err), ledger, err);
}

bool
ledger_open_writing(const char *path, struct ledger **ledger, struct error *err)
{
	struct arena arena finally(arena_finish) = { 0 };
	struct ledger *opened = xmalloc(sizeof *opened);
	int place finally(close_fd) = -1;

	memset(opened, 0, sizeof *opened);
	return finish_opening(opened,
		place_open(path_dir(&arena, path), &place, err) && database_open_writing(&opened->database, path, err), ledger, err);
}

void
ledger_close(struct ledger *ledger)
{
	if (!ledger)
		return;
	database_close(&ledger->database);
	free(ledger);
}

struct memory *
ledger_memory(struct ledger *ledger)
{
	return &ledger->memory;
}
