#include "sql.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"

#define HISTORY_COLUMNS "seq, run, deployment, kind, target, action, result, started_ns, ended_ns, body, record, hash"
#define ROW_COLUMNS "target, rule, rule_version, fingerprint, output, body"

/* `+deployment` keeps the scans of records off the index: rows are read in the order in which they lie. */
static const char *const texts[SQL_COUNT] = {
	[SQL_BEGIN] = "BEGIN IMMEDIATE",
	[SQL_COMMIT] = "COMMIT",
	[SQL_ROLLBACK] = "ROLLBACK",

	[SQL_PROJECT] = "SELECT value FROM meta WHERE key = 'project'",
	[SQL_SET_PROJECT] = "INSERT INTO meta (key, value) VALUES ('project', ?1)",

	[SQL_DEPLOYMENT_ID] = "SELECT id FROM deployment WHERE name = ?1",
	[SQL_ADD_DEPLOYMENT] = "INSERT INTO deployment (name) VALUES (?1) ON CONFLICT (name) DO NOTHING",
	[SQL_DEPLOYMENTS] = "SELECT name FROM deployment WHERE EXISTS (SELECT 1 FROM record WHERE deployment = deployment.id)"
			    " OR EXISTS (SELECT 1 FROM kept WHERE deployment = deployment.id) ORDER BY name",

	[SQL_RECORDS] = "SELECT " ROW_COLUMNS " FROM record WHERE +deployment = ?1 ORDER BY id",
	[SQL_RECORD_ONE] = "SELECT " ROW_COLUMNS " FROM record WHERE deployment = ?1 AND target = ?2",
	[SQL_KEPT] = "SELECT " ROW_COLUMNS " FROM kept WHERE +deployment = ?1 ORDER BY id",
	[SQL_PUT_RECORD] = "INSERT INTO record (deployment, " ROW_COLUMNS ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"
			   " ON CONFLICT (deployment, target) DO UPDATE SET rule = ?3, rule_version = ?4, fingerprint = ?5,"
			   " output = ?6, body = ?7",
	[SQL_REMOVE_RECORD] = "DELETE FROM record WHERE deployment = ?1 AND target = ?2",
	[SQL_KEEP_RECORD] = "INSERT INTO kept (deployment, " ROW_COLUMNS ") SELECT deployment, " ROW_COLUMNS
			    " FROM record WHERE deployment = ?1 AND target = ?2"
			    " ON CONFLICT (deployment, target) DO NOTHING",
	[SQL_KEPT_ONE] = "SELECT " ROW_COLUMNS " FROM kept WHERE deployment = ?1 AND target = ?2",
	[SQL_DROP_KEPT] = "DELETE FROM kept WHERE deployment = ?1 AND target = ?2",
	[SQL_RESTORE_RECORD] = "INSERT INTO record (deployment, " ROW_COLUMNS ") SELECT deployment, " ROW_COLUMNS
			       " FROM kept WHERE deployment = ?1 AND target = ?2"
			       " ON CONFLICT (deployment, target) DO UPDATE SET rule = excluded.rule,"
			       " rule_version = excluded.rule_version, fingerprint = excluded.fingerprint,"
			       " output = excluded.output, body = excluded.body",

	[SQL_DURATION_ONE] = "SELECT ms FROM duration WHERE deployment = ?1 AND target = ?2",
	[SQL_DURATIONS] = "SELECT target, ms FROM duration WHERE deployment = ?1 ORDER BY target",
	[SQL_PUT_DURATION] = "INSERT INTO duration (deployment, target, ms) VALUES (?1, ?2, ?3)"
			     " ON CONFLICT (deployment, target) DO UPDATE SET ms = ?3",

	[SQL_FILE_ONE] = "SELECT device, inode, size, mtime_ns, ctime_ns, hashed_ns, digest FROM file WHERE device = ?1 AND inode = ?2",
	[SQL_FILES] = "SELECT device, inode, size, mtime_ns, ctime_ns, hashed_ns, digest FROM file ORDER BY device, inode",
	[SQL_PUT_FILE] = "INSERT INTO file (device, inode, size, mtime_ns, ctime_ns, hashed_ns, digest)"
			 " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (device, inode) DO UPDATE SET size = ?3,"
			 " mtime_ns = ?4, ctime_ns = ?5, hashed_ns = ?6, digest = ?7",

	[SQL_CHECKPOINT] = "SELECT bytes FROM checkpoint WHERE key = ?1",
	[SQL_PUT_CHECKPOINT] = "INSERT INTO checkpoint (key, bytes) VALUES (?1, ?2)"
			       " ON CONFLICT (key) DO UPDATE SET bytes = ?2",
	[SQL_DROP_CHECKPOINT] = "DELETE FROM checkpoint WHERE key = ?1",

	[SQL_INTENTS] = "SELECT name, target, kind, thing, run FROM intent WHERE deployment = ?1 ORDER BY rowid",
	[SQL_PUT_INTENT] = "INSERT INTO intent (name, deployment, target, kind, thing, run) VALUES (?1, ?2, ?3, ?4, ?5, ?6)"
			   " ON CONFLICT (name) DO UPDATE SET deployment = ?2, target = ?3, kind = ?4, thing = ?5, run = ?6",
	[SQL_DROP_INTENT] = "DELETE FROM intent WHERE name = ?1",

	[SQL_HISTORY_HEAD] = "SELECT " HISTORY_COLUMNS " FROM history ORDER BY seq DESC LIMIT 1",
	[SQL_HISTORY_APPEND] = "INSERT INTO history (" HISTORY_COLUMNS ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11,"
			       " ?12)",
	[SQL_HISTORY_ALL] = "SELECT " HISTORY_COLUMNS " FROM history ORDER BY seq",
	[SQL_HISTORY_RUN] = "SELECT " HISTORY_COLUMNS " FROM history WHERE run = ?1 ORDER BY seq",
	[SQL_HISTORY_LAST_ACTION] = "SELECT " HISTORY_COLUMNS " FROM history WHERE deployment = ?1 AND target = ?2"
				    " AND kind = 'action' ORDER BY seq DESC LIMIT 1",

	/* What the history says that the current record is, beside what it is; and what it says that should be there and is not. */
	[SQL_CURRENT_RECORDS] = "SELECT " ROW_COLUMNS ", deployment.name, (SELECT history.record FROM history"
				" WHERE history.kind = 'action' AND history.deployment = deployment.name"
				" AND history.target = record.target AND history.record IS NOT NULL ORDER BY seq DESC LIMIT 1)"
				" FROM record JOIN deployment ON deployment.id = record.deployment ORDER BY record.id",
	[SQL_LOST_RECORDS] = "SELECT deployment, target, seq FROM (SELECT deployment, target, record, max(seq) AS seq FROM history"
			     " WHERE kind = 'action' AND record IS NOT NULL GROUP BY deployment, target) AS last"
			     " WHERE length(last.record) = 32 AND NOT EXISTS (SELECT 1 FROM record"
			     " JOIN deployment ON deployment.id = record.deployment WHERE deployment.name = last.deployment"
			     " AND record.target = last.target) LIMIT 1",
};

struct code_row {
	int code;
	enum fault fault; /* FAULT_NONE: by errno */
	const char *hint;
};

static const struct code_row codes[] = {
	{ SQLITE_FULL, FAULT_CANNOT_CREATE, "make room on that file system; nothing that was recorded is lost" },
	{ SQLITE_IOERR, FAULT_NONE, NULL },
	{ SQLITE_CANTOPEN, FAULT_NONE, NULL },
	{ SQLITE_CORRUPT, FAULT_DATABASE, "nothing was changed: keep the file, and let --cache name another one meanwhile" },
	{ SQLITE_NOTADB, FAULT_DATABASE, "nothing was changed: keep the file, and let --cache name another one meanwhile" },
	{ SQLITE_READONLY, FAULT_PERMISSION, "the file or its directory may not be written to" },
	{ SQLITE_PERM, FAULT_PERMISSION, NULL },
	{ SQLITE_AUTH, FAULT_PERMISSION, NULL },
	{ SQLITE_BUSY, FAULT_LOCKED, "another program holds the database file itself; end it and try again" },
	{ SQLITE_LOCKED, FAULT_LOCKED, "another program holds the database file itself; end it and try again" },
	{ SQLITE_PROTOCOL, FAULT_LOCKED, "other programs come and go too fast; try again" },
	{ SQLITE_TOOBIG, FAULT_TOO_LARGE, NULL },
};

static const struct code_row *
find_code(int code)
{
	for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
		if (codes[i].code == (code & 0xff))
			return &codes[i];
	return NULL;
}

/* Why the last failing call on one of its files failed; 0: none did. */
static int
errno_of_files(sqlite3 *db)
{
	static const int files[] = { SQLITE_FCNTL_JOURNAL_POINTER, SQLITE_FCNTL_FILE_POINTER };
	int number = 0;

	for (size_t i = 0; i < sizeof files / sizeof *files && number == 0; i++) {
		sqlite3_file *file = NULL;

		if (sqlite3_file_control(db, "main", files[i], &file) == SQLITE_OK && file && file->pMethods)
			file->pMethods->xFileControl(file, SQLITE_FCNTL_LAST_ERRNO, &number);
	}
	return number;
}

/* SQLite remembers what errno was when it had tidied up; where that was looking for something that need not be there, its files know better. */
static int
errno_of(sqlite3 *db)
{
	int number = sqlite3_system_errno(db);

	if (number == 0 || number == ENOENT)
		number = errno_of_files(db);
	return number == ENOENT ? 0 : number;
}

static bool
sql_fail(struct sql *sql, int code, struct error *err)
{
	const struct code_row *row = find_code(code);
	int number;

	if (code == SQLITE_NOMEM)
		out_of_memory();
	/* A disk that cannot read is told as a database that is broken. */
	if ((code & 0xff) == SQLITE_CORRUPT && errno_of_files(sql->db) == EIO)
		row = find_code(code = SQLITE_IOERR);
	number = errno_of(sql->db);
	if (row && row->fault == FAULT_NONE && number != 0) {
		errno = number;
		return fail_errno(err, "`%s`: %s", sql->path, sqlite3_errstr(code & 0xff));
	}
	fail(err, !row ? FAULT_INTERNAL : row->fault == FAULT_NONE ? FAULT_IO : row->fault, "`%s`: %s", sql->path,
		sqlite3_errmsg(sql->db));
	return row && row->hint ? error_hint(err, "%s", row->hint) : false;
}

/* SQLite, run by root, gives -wal and -shm to the owner of the database each time it opens them, and so changes their time stamps. */
static int
give_to(int fd, uid_t uid, gid_t gid)
{
	struct stat st;

	if (fstat(fd, &st) == 0 && st.st_uid == uid && st.st_gid == gid)
		return 0;
	return fchown(fd, uid, gid);
}

static void
spare_owners(void)
{
	sqlite3_vfs *vfs = sqlite3_vfs_find("unix");

	if (vfs && vfs->iVersion >= 3)
		vfs->xSetSystemCall(vfs, "fchown", (sqlite3_syscall_ptr)give_to);
}

bool
sql_unread(struct sql *sql, const char *complaint, struct error *err)
{
	const char *words = strstr(complaint, "error code=");
	int code;

	if (!words || sscanf(words, "error code=%d", &code) != 1 || (code & 0xff) != SQLITE_IOERR)
		return false;
	errno = errno_of_files(sql->db);
	if (errno == 0)
		errno = EIO;
	fail_errno(err, "`%s`: %s", sql->path, sqlite3_errstr(SQLITE_IOERR));
	return true;
}

bool
sql_open(struct sql *sql, const char *uri, const char *path, int flags, const char *vfs, struct error *err)
{
	int code;

	sql->path = path;
	spare_owners();
	code = sqlite3_open_v2(uri, &sql->db, flags | SQLITE_OPEN_URI | SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_FULLMUTEX, vfs);
	if (!sql->db)
		out_of_memory();
	sqlite3_extended_result_codes(sql->db, 1);
	if (code == SQLITE_OK)
		return true;
	if (sqlite3_extended_errcode(sql->db) == SQLITE_CANTOPEN_SYMLINK)
		fail(err, FAULT_DATABASE, "`%s`: a symbolic link stands where the database should", path);
	else
		sql_fail(sql, code, err);
	sql_close(sql);
	return false;
}

void
sql_close(struct sql *sql)
{
	for (size_t i = 0; i < SQL_COUNT; i++) {
		sqlite3_finalize(sql->prepared[i]);
		sql->prepared[i] = NULL;
	}
	sqlite3_close(sql->db);
	sql->db = NULL;
}

bool
sql_script(struct sql *sql, const char *text, struct error *err)
{
	int code = sqlite3_exec(sql->db, text, NULL, NULL, NULL);

	return code == SQLITE_OK || sql_fail(sql, code, err);
}

bool
sql_answer(struct sql *sql, const char *text, char *answer, size_t size, struct error *err)
{
	struct rows rows finally(rows_finish) = { .sql = sql };
	int code = sqlite3_prepare_v2(sql->db, text, -1, &rows.statement, NULL);
	const char *value = NULL;

	if (code == SQLITE_OK) {
		code = sqlite3_step(rows.statement);
		if (code == SQLITE_ROW)
			value = (const char *)sqlite3_column_text(rows.statement, 0);
	}
	if (code == SQLITE_ROW || code == SQLITE_DONE)
		snprintf(answer, size, "%s", value ? value : "");
	else
		sql_fail(sql, code, err);
	/* Not one of the table: rows_finish would keep it. */
	sqlite3_finalize(rows.statement);
	rows.statement = NULL;
	return code == SQLITE_ROW || code == SQLITE_DONE;
}

static bool
bind(sqlite3_stmt *statement, int place, const struct value *value)
{
	switch (value->type) {
	case VALUE_NULL:
		return sqlite3_bind_null(statement, place) == SQLITE_OK;
	case VALUE_INT:
		return sqlite3_bind_int64(statement, place, value->number) == SQLITE_OK;
	case VALUE_TEXT:
		return sqlite3_bind_text64(statement, place, value->bytes, value->size, SQLITE_STATIC, SQLITE_UTF8) == SQLITE_OK;
	case VALUE_BLOB:
		/* A NULL pointer would bind NULL, not an empty blob. */
		return sqlite3_bind_blob64(statement, place, value->size == 0 ? "" : value->bytes, value->size, SQLITE_STATIC) ==
			SQLITE_OK;
	}
	return false;
}

bool
sql_ask(struct sql *sql, enum statement id, const struct value *values, size_t count, struct rows *rows, struct error *err)
{
	sqlite3_stmt **statement = &sql->prepared[id];

	if (!*statement) {
		int code = sqlite3_prepare_v3(sql->db, texts[id], -1, SQLITE_PREPARE_PERSISTENT, statement, NULL);

		if (code != SQLITE_OK)
			return sql_fail(sql, code, err);
	}
	for (size_t i = 0; i < count; i++)
		if (!bind(*statement, (int)i + 1, &values[i]))
			return sql_fail(sql, sqlite3_extended_errcode(sql->db), err);
	*rows = (struct rows){ .sql = sql, .statement = *statement };
	return true;
}

bool
rows_next(struct rows *rows, bool *more, struct error *err)
{
	int code = sqlite3_step(rows->statement);

	if (code != SQLITE_ROW && code != SQLITE_DONE)
		return sql_fail(rows->sql, code, err);
	*more = code == SQLITE_ROW;
	return true;
}

void
rows_finish(struct rows *rows)
{
	if (!rows->statement)
		return;
	sqlite3_reset(rows->statement);
	sqlite3_clear_bindings(rows->statement);
	rows->statement = NULL;
}

bool
sql_run(struct sql *sql, enum statement id, const struct value *values, size_t count, struct error *err)
{
	struct rows rows finally(rows_finish) = { 0 };
	bool more;

	return sql_ask(sql, id, values, count, &rows, err) && rows_next(&rows, &more, err);
}

size_t
sql_changed(const struct sql *sql)
{
	return (size_t)sqlite3_changes64(sql->db);
}

int64_t
rows_int(const struct rows *rows, int column)
{
	return sqlite3_column_int64(rows->statement, column);
}

uint64_t
rows_bits(const struct rows *rows, int column)
{
	return (uint64_t)sqlite3_column_int64(rows->statement, column);
}

/* SQLite gives nothing both for what is NULL and for what it has no memory to give. */
static const void *
given(const struct rows *rows, const void *bytes)
{
	if (!bytes && sqlite3_errcode(rows->sql->db) == SQLITE_NOMEM)
		out_of_memory();
	return bytes;
}

const void *
rows_bytes(const struct rows *rows, int column, size_t *size)
{
	const void *bytes = given(rows, sqlite3_column_blob(rows->statement, column));

	*size = bytes ? (size_t)sqlite3_column_bytes(rows->statement, column) : 0;
	return bytes;
}

const char *
rows_text(const struct rows *rows, int column, struct arena *arena)
{
	const char *text = given(rows, sqlite3_column_text(rows->statement, column));

	return text ? arena_copy_bytes(arena, text, (size_t)sqlite3_column_bytes(rows->statement, column)) : NULL;
}

struct value
rows_value(const struct rows *rows, int column)
{
	struct value value = { 0 };

	switch (sqlite3_column_type(rows->statement, column)) {
	case SQLITE_INTEGER:
		return value_int(rows_int(rows, column));
	case SQLITE_TEXT:
		value.type = VALUE_TEXT;
		break;
	case SQLITE_NULL:
		return value;
	default:
		value.type = VALUE_BLOB;
		break;
	}
	value.bytes = rows_bytes(rows, column, &value.size);
	return value;
}

bool
transaction_begin(struct transaction *transaction, struct sql *sql, struct error *err)
{
	if (!sql_run(sql, SQL_BEGIN, NO_VALUES, err))
		return false;
	transaction->sql = sql;
	return true;
}

bool
transaction_commit(struct transaction *transaction, struct error *err)
{
	if (!sql_run(transaction->sql, SQL_COMMIT, NO_VALUES, err))
		return false;
	transaction->sql = NULL;
	return true;
}

void
transaction_finish(struct transaction *transaction)
{
	struct error ignored;

	/* After a full disk or an I/O error SQLite has rolled back by itself. */
	if (transaction->sql && !sqlite3_get_autocommit(transaction->sql->db))
		sql_run(transaction->sql, SQL_ROLLBACK, NO_VALUES, &ignored);
	transaction->sql = NULL;
}
