#include "records.h"

#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "engine/base/cleanup.h"
#include "engine/base/strings.h"
#include "engine/record.h"
#include "rows.h"
#include "sql.h"

/* Below SQLite's own limit, so that ours speaks first. */
#define BODY_LIMIT (15u << 20)

bool
records_deployment(struct sql *sql, const char *name, bool add, int64_t *id, struct error *err)
{
	struct rows rows finally(rows_finish) = { 0 };
	bool more;

	if (add && !sql_run(sql, SQL_ADD_DEPLOYMENT, VALUES(value_text(name)), err))
		return false;
	if (!sql_ask(sql, SQL_DEPLOYMENT_ID, VALUES(value_text(name)), &rows, err) || !rows_next(&rows, &more, err))
		return false;
	*id = more ? rows_int(&rows, 0) : 0;
	return true;
}

bool
records_deployments(struct sql *sql, struct arena *arena, const char ***names, size_t *count, struct error *err)
{
	struct growing found finally(growing_finish) = { .size = sizeof(const char *) };
	struct rows rows finally(rows_finish) = { 0 };
	bool more;

	if (!sql_ask(sql, SQL_DEPLOYMENTS, NO_VALUES, &rows, err))
		return false;
	while (rows_next(&rows, &more, err)) {
		const char **name;

		if (!more) {
			*names = growing_take(&found, arena, count);
			return true;
		}
		name = growing_add(&found);
		*name = rows_text(&rows, 0, arena);
	}
	return false;
}

/* Body and name lie in one piece, the body first, where it is aligned. */
static bool
read_row(const struct rows *rows, struct arena *arena, const char *rule_before, struct row *row)
{
	size_t name_size, rule_size, body_size;
	const void *name = rows_bytes(rows, 0, &name_size);
	const void *rule = rows_bytes(rows, 1, &rule_size);
	const void *body = rows_bytes(rows, 5, &body_size);
	char *piece = arena_alloc(arena, body_size + name_size + 1);

	if (body_size > 0)
		memcpy(piece, body, body_size);
	if (name_size > 0)
		memcpy(piece + body_size, name, name_size);
	row->body = piece;
	row->body_size = body_size;
	row->target = piece + body_size;
	/* Neighbours mostly have the same rule: one text serves them all. */
	if (rule_before && strlen(rule_before) == rule_size && rule_size > 0 && memcmp(rule_before, rule, rule_size) == 0)
		row->rule = rule_before;
	else
		row->rule = rule ? arena_copy_bytes(arena, rule, rule_size) : "";
	row->rule_version = (uint32_t)rows_int(rows, 2);
	return rows_digest(rows, 3, &row->fingerprint) && rows_digest(rows, 4, &row->output);
}

bool
records_load(struct sql *sql, enum record_table table, const char *deployment, struct arena *arena, struct row **result,
	size_t *count, struct error *err)
{
	struct growing found finally(growing_finish) = { .size = sizeof(struct row) };
	struct rows rows finally(rows_finish) = { 0 };
	const char *rule = NULL;
	int64_t id;
	bool more;

	if (!records_deployment(sql, deployment, false, &id, err))
		return false;
	if (!sql_ask(sql, table == RECORDS_KEPT ? SQL_KEPT : SQL_RECORDS, VALUES(value_int(id)), &rows, err))
		return false;
	while (rows_next(&rows, &more, err)) {
		struct row *row;

		if (!more) {
			*result = growing_take(&found, arena, count);
			return true;
		}
		row = growing_add(&found);
		if (!read_row(&rows, arena, rule, row))
			return fail(err, FAULT_DATABASE, "`%s`: the record of `%s` has no digests", sql->path, row->target);
		rule = row->rule;
	}
	return false;
}

bool
records_one(struct sql *sql, const char *deployment, const char *target, struct arena *arena, struct row **result, struct error *err)
{
	struct rows rows finally(rows_finish) = { 0 };
	struct row *row;
	int64_t id;
	bool more;

	if (!records_deployment(sql, deployment, false, &id, err))
		return false;
	if (!sql_ask(sql, SQL_RECORD_ONE, VALUES(value_int(id), value_text(target)), &rows, err) || !rows_next(&rows, &more, err))
		return false;
	if (!more)
		return true;
	row = arena_alloc(arena, sizeof *row);
	if (!read_row(&rows, arena, NULL, row))
		return fail(err, FAULT_DATABASE, "`%s`: the record of `%s` has no digests", sql->path, target);
	*result = row;
	return true;
}

/* As long as this stands in the chain of the history, the record cannot be changed behind its back. */
static void
digest_row(const struct row *row, struct digest *digest)
{
	struct hasher hasher finally(hasher_finish) = { 0 };
	const unsigned char version[4] = { (unsigned char)row->rule_version, (unsigned char)(row->rule_version >> 8),
		(unsigned char)(row->rule_version >> 16), (unsigned char)(row->rule_version >> 24) };

	hasher_init(&hasher);
	hasher_add_field(&hasher, row->target, strlen(row->target));
	hasher_add_field(&hasher, row->rule, strlen(row->rule));
	hasher_add_field(&hasher, version, sizeof version);
	hasher_add_field(&hasher, row->fingerprint.bytes, DIGEST_SIZE);
	hasher_add_field(&hasher, row->output.bytes, DIGEST_SIZE);
	hasher_add_field(&hasher, row->body, row->body_size);
	hasher_digest(&hasher, digest);
}

static bool
put_record(struct sql *sql, int64_t deployment, const struct record *record, struct record_change *change, struct error *err)
{
	struct buf body finally(buf_finish) = { 0 };
	struct row row = { .target = record->target, .rule = record->rule, .rule_version = record->rule_version,
		.fingerprint = record->fingerprint, .output = record->output };

	buf_init(&body, BODY_LIMIT);
	record_pack(record, &body);
	if (body.truncated)
		return fail(err, FAULT_TOO_LARGE, "the record of `%s` would be larger than %u MiB", record->target, BODY_LIMIT >> 20);
	row.body = body.data;
	row.body_size = body.size;
	change->changed = true;
	digest_row(&row, &change->digest);
	return sql_run(sql, SQL_PUT_RECORD,
		VALUES(value_int(deployment), value_text(row.target), value_text(row.rule), value_int(row.rule_version),
			value_blob(row.fingerprint.bytes, DIGEST_SIZE), value_blob(row.output.bytes, DIGEST_SIZE),
			value_blob(row.body, row.body_size)),
		err);
}

/* Where nothing was put aside, nothing was replaced either: the current record is the old one. */
static bool
restore_record(struct sql *sql, int64_t deployment, const char *target, struct record_change *change, struct error *err)
{
	struct arena arena finally(arena_finish) = { 0 };
	struct rows rows finally(rows_finish) = { 0 };
	struct row row;
	bool more;

	if (!sql_ask(sql, SQL_KEPT_ONE, VALUES(value_int(deployment), value_text(target)), &rows, err) ||
		!rows_next(&rows, &more, err))
		return false;
	if (!more)
		return true;
	if (!read_row(&rows, &arena, NULL, &row))
		return fail(err, FAULT_DATABASE, "`%s`: the record of `%s` that was put aside has no digests", sql->path, target);
	change->changed = true;
	digest_row(&row, &change->digest);
	rows_finish(&rows);
	return sql_run(sql, SQL_RESTORE_RECORD, VALUES(value_int(deployment), value_text(target)), err) &&
		sql_run(sql, SQL_DROP_KEPT, VALUES(value_int(deployment), value_text(target)), err);
}

static bool
remove_record(struct sql *sql, int64_t deployment, const char *target, struct record_change *change, struct error *err)
{
	if (!sql_run(sql, SQL_REMOVE_RECORD, VALUES(value_int(deployment), value_text(target)), err))
		return false;
	change->changed = change->removed = sql_changed(sql) > 0;
	return true;
}

bool
records_apply(struct sql *sql, int64_t deployment, const struct outcome *outcome, struct record_change *change, struct error *err)
{
	const char *target = outcome->target;

	*change = (struct record_change){ 0 };
	/* One that was put aside already stays: its successors never proved themselves. */
	if (outcome->keep_old && !sql_run(sql, SQL_KEEP_RECORD, VALUES(value_int(deployment), value_text(target)), err))
		return false;
	if (outcome->restore_old && !restore_record(sql, deployment, target, change, err))
		return false;
	if (outcome->record && !put_record(sql, deployment, outcome->record, change, err))
		return false;
	if (outcome->removed && !remove_record(sql, deployment, target, change, err))
		return false;
	return !outcome->drop_old || sql_run(sql, SQL_DROP_KEPT, VALUES(value_int(deployment), value_text(target)), err);
}

static bool
verify_current(struct sql *sql, struct error *err)
{
	struct rows rows finally(rows_finish) = { 0 };
	bool more;

	if (!sql_ask(sql, SQL_CURRENT_RECORDS, NO_VALUES, &rows, err))
		return false;
	while (rows_next(&rows, &more, err)) {
		struct arena arena finally(arena_finish) = { 0 };
		struct digest digest, told;
		struct row row = { 0 };

		if (!more)
			return true;
		if (!read_row(&rows, &arena, NULL, &row))
			return fail(err, FAULT_MISMATCH, "the record of `%s` has no digests", row.target);
		digest_row(&row, &digest);
		if (!rows_digest(&rows, 7, &told) || !digest_equal(&digest, &told))
			return fail(err, FAULT_MISMATCH, "the record of `%s` (deployment `%s`) is not the one that the history speaks of",
				row.target, rows_text(&rows, 6, &arena));
	}
	return false;
}

bool
records_verify(struct sql *sql, struct error *err)
{
	struct arena arena finally(arena_finish) = { 0 };
	struct rows rows finally(rows_finish) = { 0 };
	bool more;

	if (!verify_current(sql, err) || !sql_ask(sql, SQL_LOST_RECORDS, NO_VALUES, &rows, err) || !rows_next(&rows, &more, err))
		return false;
	return !more || fail(err, FAULT_MISMATCH, "entry %lld of the history recorded `%s` (deployment `%s`), whose record is gone",
				(long long)rows_int(&rows, 2), rows_text(&rows, 1, &arena), rows_text(&rows, 0, &arena));
}
