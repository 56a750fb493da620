#include "history.h"

#include <stdio.h>
#include <string.h>

#include "body.h"
#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "engine/base/cleanup.h"
#include "records.h"
#include "rows.h"
#include "sql.h"

#define BODY_LIMIT (15u << 20)

/* Columns in the order of the statements; all but the last are hashed. */
enum column {
	COLUMN_SEQ,
	COLUMN_RUN,
	COLUMN_DEPLOYMENT,
	COLUMN_KIND,
	COLUMN_TARGET,
	COLUMN_ACTION,
	COLUMN_RESULT,
	COLUMN_STARTED,
	COLUMN_ENDED,
	COLUMN_BODY,
	COLUMN_RECORD,
	COLUMN_HASH,
	COLUMN_COUNT,
};

/* Each value after its type and length, so that no two different entries look alike. */
static void
hash_entry(const struct digest *before, const struct value *values, struct digest *hash)
{
	struct hasher hasher finally(hasher_finish) = { 0 };

	hasher_init(&hasher);
	hasher_add(&hasher, before->bytes, DIGEST_SIZE);
	for (size_t i = 0; i < COLUMN_HASH; i++) {
		const unsigned char type = (unsigned char)values[i].type;
		unsigned char number[8];

		hasher_add(&hasher, &type, 1);
		if (values[i].type != VALUE_INT) {
			hasher_add_field(&hasher, values[i].bytes, values[i].size);
			continue;
		}
		for (size_t j = 0; j < sizeof number; j++)
			number[j] = (unsigned char)((uint64_t)values[i].number >> (8 * j));
		hasher_add_field(&hasher, number, sizeof number);
	}
	hasher_digest(&hasher, hash);
}

/* A chain belongs to its project: it cannot be put under another one's name. */
static void
first_hash(const char *project, struct digest *hash)
{
	digest_of(project, strlen(project), hash);
}

static void
keep_text(char *to, size_t size, const struct rows *rows, enum column column)
{
	size_t length;
	const char *text = rows_bytes(rows, (int)column, &length);

	snprintf(to, size, "%.*s", (int)(length < size ? length : size - 1), text ? text : "");
}

bool
history_tip(struct sql *sql, const char *project, struct tip *tip, struct error *err)
{
	struct rows rows finally(rows_finish) = { 0 };
	char kind[8];
	bool more;

	*tip = (struct tip){ 0 };
	first_hash(project, &tip->hash);
	if (!sql_ask(sql, SQL_HISTORY_HEAD, NO_VALUES, &rows, err) || !rows_next(&rows, &more, err))
		return false;
	if (!more)
		return true;
	tip->seq = rows_int(&rows, COLUMN_SEQ);
	tip->ended_ns = rows_int(&rows, COLUMN_ENDED);
	keep_text(kind, sizeof kind, &rows, COLUMN_KIND);
	keep_text(tip->run, sizeof tip->run, &rows, COLUMN_RUN);
	keep_text(tip->deployment, sizeof tip->deployment, &rows, COLUMN_DEPLOYMENT);
	tip->open = strcmp(kind, "end") != 0;
	return rows_digest(&rows, COLUMN_HASH, &tip->hash) ||
		fail(err, FAULT_DATABASE, "`%s`: entry %lld of the history has no hash", sql->path, (long long)tip->seq);
}

static bool
append(struct sql *sql, struct tip *tip, struct value values[COLUMN_COUNT], struct error *err)
{
	struct digest hash;

	values[COLUMN_SEQ] = value_int(tip->seq + 1);
	hash_entry(&tip->hash, values, &hash);
	values[COLUMN_HASH] = value_blob(hash.bytes, DIGEST_SIZE);
	if (!sql_run(sql, SQL_HISTORY_APPEND, values, COLUMN_COUNT, err))
		return false;
	tip->seq++;
	tip->hash = hash;
	return true;
}

static void
begin_values(struct value values[COLUMN_COUNT], const struct current_run *run, const char *kind)
{
	memset(values, 0, COLUMN_COUNT * sizeof *values);
	values[COLUMN_RUN] = value_text(run->id);
	values[COLUMN_DEPLOYMENT] = value_text(run->deployment);
	values[COLUMN_KIND] = value_text(kind);
	values[COLUMN_STARTED] = value_int(run->started_ns);
}

static bool
append_end(struct sql *sql, struct tip *tip, const struct current_run *run, const char *result, const char *body, int64_t ended_ns,
	struct error *err)
{
	struct value values[COLUMN_COUNT];

	begin_values(values, run, "end");
	values[COLUMN_RESULT] = value_text(result);
	values[COLUMN_ENDED] = value_int(ended_ns);
	values[COLUMN_BODY] = value_text(body);
	if (!append(sql, tip, values, err))
		return false;
	tip->open = false;
	return true;
}

static bool
started_of(struct sql *sql, const char *run, int64_t *started_ns, struct error *err)
{
	struct rows rows finally(rows_finish) = { 0 };
	bool more;

	if (!sql_ask(sql, SQL_HISTORY_RUN, VALUES(value_text(run)), &rows, err) || !rows_next(&rows, &more, err))
		return false;
	*started_ns = more ? rows_int(&rows, COLUMN_STARTED) : 0;
	return true;
}

bool
history_bury(struct sql *sql, struct tip *tip, struct error *err)
{
	struct current_run run = { 0 };

	if (!tip->open)
		return true;
	snprintf(run.id, sizeof run.id, "%s", tip->run);
	snprintf(run.deployment, sizeof run.deployment, "%s", tip->deployment);
	/* Nobody saw when it died: its last entry is what is known. */
	return started_of(sql, run.id, &run.started_ns, err) && append_end(sql, tip, &run, "died", "{}", tip->ended_ns, err);
}

bool
history_begin(struct sql *sql, struct tip *tip, const struct run_info *info, struct current_run *run, struct error *err)
{
	struct buf body finally(buf_finish) = { 0 };
	struct value values[COLUMN_COUNT];
	struct current_run next = { .started_ns = info->started_ns };

	if (strlen(info->id) >= sizeof next.id || strlen(info->deployment) >= sizeof next.deployment)
		return fail(err, FAULT_INTERNAL, "run `%s` of `%s`: the name is too long", info->id, info->deployment);
	snprintf(next.id, sizeof next.id, "%s", info->id);
	snprintf(next.deployment, sizeof next.deployment, "%s", info->deployment);
	buf_init(&body, BODY_LIMIT);
	body_of_run(&body, info);
	if (body.truncated)
		return fail(err, FAULT_TOO_LARGE, "what this run was called with is too long to be recorded");
	begin_values(values, &next, "run");
	values[COLUMN_ACTION] = value_text(info->command);
	values[COLUMN_ENDED] = value_int(info->started_ns);
	values[COLUMN_BODY] = value_text(body.data);
	if (!append(sql, tip, values, err))
		return false;
	tip->open = true;
	*run = next;
	return true;
}

bool
history_action(struct sql *sql, struct tip *tip, const struct current_run *run, const struct outcome *outcome,
	const struct record_change *change, struct error *err)
{
	struct buf body finally(buf_finish) = { 0 };
	struct value values[COLUMN_COUNT];

	buf_init(&body, BODY_LIMIT);
	body_of_action(&body, outcome);
	if (body.truncated)
		return fail(err, FAULT_TOO_LARGE, "what `%s` was made of is too much to be recorded", outcome->target);
	begin_values(values, run, "action");
	values[COLUMN_TARGET] = value_text(outcome->target);
	values[COLUMN_ACTION] = value_text(outcome->action);
	values[COLUMN_RESULT] = value_text(outcome->result);
	values[COLUMN_STARTED] = value_int(outcome->started_ns);
	values[COLUMN_ENDED] = value_int(outcome->ended_ns);
	values[COLUMN_BODY] = value_text(body.data);
	if (change->changed)
		values[COLUMN_RECORD] = value_blob(change->digest.bytes, change->removed ? 0 : DIGEST_SIZE);
	return append(sql, tip, values, err);
}

bool
history_end(struct sql *sql, struct tip *tip, const struct current_run *run, const char *result, int status, int64_t ended_ns,
	struct error *err)
{
	char body[32];

	snprintf(body, sizeof body, "{\"status\":%d}", status);
	return append_end(sql, tip, run, result, body, ended_ns, err);
}

static void
read_entry(const struct rows *rows, struct arena *arena, struct history_entry *entry)
{
	*entry = (struct history_entry){
		.seq = rows_int(rows, COLUMN_SEQ),
		.run = rows_text(rows, COLUMN_RUN, arena),
		.kind = rows_text(rows, COLUMN_KIND, arena),
		.target = rows_text(rows, COLUMN_TARGET, arena),
		.action = rows_text(rows, COLUMN_ACTION, arena),
		.result = rows_text(rows, COLUMN_RESULT, arena),
		.started_ns = rows_int(rows, COLUMN_STARTED),
		.ended_ns = rows_int(rows, COLUMN_ENDED),
		.body = rows_text(rows, COLUMN_BODY, arena),
	};
	/* Where it is not as long as a digest, it stays zero: nothing equals that. */
	rows_digest(rows, COLUMN_HASH, &entry->hash);
}

bool
history_read(struct sql *sql, const char *run, struct arena *arena, struct history_entry **entries, size_t *count,
	struct error *err)
{
	struct growing found finally(growing_finish) = { .size = sizeof(struct history_entry) };
	struct rows rows finally(rows_finish) = { 0 };
	bool more;

	if (!(run ? sql_ask(sql, SQL_HISTORY_RUN, VALUES(value_text(run)), &rows, err)
		  : sql_ask(sql, SQL_HISTORY_ALL, NO_VALUES, &rows, err)))
		return false;
	while (rows_next(&rows, &more, err)) {
		if (!more) {
			*entries = growing_take(&found, arena, count);
			return true;
		}
		read_entry(&rows, arena, growing_add(&found));
	}
	return false;
}

bool
history_last_action(struct sql *sql, const char *deployment, const char *target, struct arena *arena,
	struct history_entry *entry, bool *found, struct error *err)
{
	struct rows rows finally(rows_finish) = { 0 };
	bool more;

	if (!sql_ask(sql, SQL_HISTORY_LAST_ACTION, VALUES(value_text(deployment), value_text(target)), &rows, err) ||
		!rows_next(&rows, &more, err))
		return false;
	if (more)
		read_entry(&rows, arena, entry);
	*found = more;
	return true;
}

/* One link. `*seq` and `*hash` are those of the entry before, and move on. */
static bool
verify_entry(const struct rows *rows, int64_t *seq, struct digest *hash, struct error *err)
{
	struct value values[COLUMN_COUNT];
	struct digest kept;

	if (rows_int(rows, COLUMN_SEQ) != *seq + 1)
		return fail(err, FAULT_MISMATCH, "entry %lld of the history is missing", (long long)*seq + 1);
	for (int i = 0; i < COLUMN_HASH; i++)
		values[i] = rows_value(rows, i);
	hash_entry(hash, values, hash);
	++*seq;
	if (rows_digest(rows, COLUMN_HASH, &kept) && digest_equal(hash, &kept))
		return true;
	return fail(err, FAULT_MISMATCH, "entry %lld of the history is not as it was written: its hash differs", (long long)*seq);
}

bool
history_verify(struct sql *sql, const char *project, struct arena *arena, struct history_entry *head,
	char head_hash[DIGEST_HEX], size_t *runs, struct error *err)
{
	struct rows rows finally(rows_finish) = { 0 };
	struct digest hash;
	int64_t seq = 0;
	size_t begun = 0;
	bool more;

	first_hash(project, &hash);
	if (!sql_ask(sql, SQL_HISTORY_ALL, NO_VALUES, &rows, err))
		return false;
	for (;;) {
		char kind[8];

		if (!rows_next(&rows, &more, err))
			return false;
		if (!more)
			break;
		if (!verify_entry(&rows, &seq, &hash, err))
			return false;
		keep_text(kind, sizeof kind, &rows, COLUMN_KIND);
		begun += strcmp(kind, "run") == 0;
	}
	*head = (struct history_entry){ 0 };
	head_hash[0] = '\0';
	*runs = begun;
	rows_finish(&rows);
	if (seq == 0)
		return true;
	digest_hex(&hash, head_hash);
	if (!sql_ask(sql, SQL_HISTORY_HEAD, NO_VALUES, &rows, err) || !rows_next(&rows, &more, err))
		return false;
	if (more)
		read_entry(&rows, arena, head);
	return true;
}
