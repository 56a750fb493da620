/* sql.h - the table of statements and the only code that binds and steps.
 *
 * A statement is prepared when it is first used and kept. Every value is bound. Errors of SQLite come back as ours, with the path. */
#pragma once

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "engine/base/error.h"

struct arena;

enum statement {
	SQL_BEGIN,
	SQL_COMMIT,
	SQL_ROLLBACK,
	SQL_PROJECT,
	SQL_SET_PROJECT,
	SQL_DEPLOYMENT_ID,
	SQL_ADD_DEPLOYMENT,
	SQL_DEPLOYMENTS,
	SQL_RECORDS,
	SQL_RECORD_ONE,
	SQL_KEPT,
	SQL_PUT_RECORD,
	SQL_REMOVE_RECORD,
	SQL_KEEP_RECORD,
	SQL_KEPT_ONE,
	SQL_DROP_KEPT,
	SQL_RESTORE_RECORD,
	SQL_DURATIONS,
	SQL_DURATION_ONE,
	SQL_PUT_DURATION,
	SQL_FILES,
	SQL_FILE_ONE,
	SQL_PUT_FILE,
	SQL_CHECKPOINT,
	SQL_PUT_CHECKPOINT,
	SQL_DROP_CHECKPOINT,
	SQL_INTENTS,
	SQL_PUT_INTENT,
	SQL_DROP_INTENT,
	SQL_HISTORY_HEAD,
	SQL_HISTORY_APPEND,
	SQL_HISTORY_ALL,
	SQL_HISTORY_RUN,
	SQL_HISTORY_LAST_ACTION,
	SQL_CURRENT_RECORDS,
	SQL_LOST_RECORDS,
	SQL_COUNT,
};

struct sql {
	sqlite3 *db;      /* NULL: there is no database yet */
	const char *path; /* as shown in messages; borrowed */
	int failure;      /* SQLite's code of the last failure; stays when it is closed */
	sqlite3_stmt *prepared[SQL_COUNT];
};

enum value_type { VALUE_NULL, VALUE_INT, VALUE_TEXT, VALUE_BLOB };

/* What is bound to a place of a statement. Borrowed until the statement has run. */
struct value {
	enum value_type type;
	int64_t number;
	const void *bytes;
	size_t size;
};

static inline struct value
value_int(int64_t number)
{
	return (struct value){ .type = VALUE_INT, .number = number };
}

/* SQLite has no unsigned integers: device and inode numbers keep their bits. */
static inline struct value
value_bits(uint64_t bits)
{
	return (struct value){ .type = VALUE_INT, .number = (int64_t)bits };
}

static inline struct value
value_text(const char *text)
{
	return (struct value){ .type = text ? VALUE_TEXT : VALUE_NULL, .bytes = text, .size = text ? strlen(text) : 0 };
}

static inline struct value
value_blob(const void *bytes, size_t size)
{
	return (struct value){ .type = VALUE_BLOB, .bytes = bytes, .size = size };
}

/* The two arguments `values` and `count`. */
#define VALUES(...) (const struct value[]){ __VA_ARGS__ }, sizeof((const struct value[]){ __VA_ARGS__ }) / sizeof(struct value)
#define NO_VALUES NULL, 0

/* Rows of a running statement. Texts and blobs hold until the next row. */
struct rows {
	struct sql *sql;
	sqlite3_stmt *statement;
};

/* Open, by URI. On failure nothing stays open. `vfs` NULL: the usual one. */
bool sql_open(struct sql *sql, const char *uri, const char *path, int flags, const char *vfs, struct error *err);
void sql_close(struct sql *sql);

/* Run a fixed text of statements: settings and migrations alone. */
bool sql_script(struct sql *sql, const char *text, struct error *err);

/* The first column of the first row of a fixed text, as text ("" if there is none). */
bool sql_answer(struct sql *sql, const char *text, char *answer, size_t size, struct error *err);

/* Whether a check of the database complains of a page that could not be read, not of one that is wrong; then err says why. */
bool sql_unread(struct sql *sql, const char *complaint, struct error *err);

/* Run a statement that gives no rows. */
bool sql_run(struct sql *sql, enum statement id, const struct value *values, size_t count, struct error *err);

/* Rows that the last sql_run changed. */
size_t sql_changed(const struct sql *sql);

/* Run a statement that gives rows: `struct rows rows finally(rows_finish) = { 0 };`. */
bool sql_ask(struct sql *sql, enum statement id, const struct value *values, size_t count, struct rows *rows,
	struct error *err);
bool rows_next(struct rows *rows, bool *more, struct error *err);
void rows_finish(struct rows *rows);

int64_t rows_int(const struct rows *rows, int column);
uint64_t rows_bits(const struct rows *rows, int column);
const void *rows_bytes(const struct rows *rows, int column, size_t *size); /* a text's or blob's; NULL if it is NULL or empty */
const char *rows_text(const struct rows *rows, int column, struct arena *arena); /* a copy; NULL if it is NULL */
struct value rows_value(const struct rows *rows, int column); /* as it would be bound again */

/* A transaction that is rolled back unless it is committed: `struct transaction transaction finally(transaction_finish) = { 0 };`. */
struct transaction {
	struct sql *sql; /* NULL: none is open */
};

bool transaction_begin(struct transaction *transaction, struct sql *sql, struct error *err);
bool transaction_commit(struct transaction *transaction, struct error *err);
void transaction_finish(struct transaction *transaction);
