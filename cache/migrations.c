#include "migrations.h"

#include <stdlib.h>

#include "engine/base/cleanup.h"
#include "sql.h"

/* Step i brings schema i to i + 1. A step that was released is never changed. */
static const char *const steps[] = {
	/* 1 */
	"PRAGMA application_id = 0x50525653;"
	"PRAGMA user_version = 1;"

	"CREATE TABLE meta ("
	" key TEXT PRIMARY KEY,"
	" value TEXT NOT NULL"
	") STRICT, WITHOUT ROWID;"

	"CREATE TABLE deployment ("
	" id INTEGER PRIMARY KEY,"
	" name TEXT NOT NULL UNIQUE"
	") STRICT;"

	"CREATE TABLE record ("
	" id INTEGER PRIMARY KEY,"
	" deployment INTEGER NOT NULL REFERENCES deployment (id),"
	" rule_version INTEGER NOT NULL,"
	" target TEXT NOT NULL,"
	" rule TEXT NOT NULL,"
	" fingerprint BLOB NOT NULL CHECK (length(fingerprint) = 32),"
	" output BLOB NOT NULL CHECK (length(output) = 32),"
	" body BLOB NOT NULL"
	") STRICT;"
	"CREATE UNIQUE INDEX record_target ON record (deployment, target);"

	"CREATE TABLE kept ("
	" id INTEGER PRIMARY KEY,"
	" deployment INTEGER NOT NULL REFERENCES deployment (id),"
	" rule_version INTEGER NOT NULL,"
	" target TEXT NOT NULL,"
	" rule TEXT NOT NULL,"
	" fingerprint BLOB NOT NULL CHECK (length(fingerprint) = 32),"
	" output BLOB NOT NULL CHECK (length(output) = 32),"
	" body BLOB NOT NULL"
	") STRICT;"
	"CREATE UNIQUE INDEX kept_target ON kept (deployment, target);"

	"CREATE TABLE duration ("
	" deployment INTEGER NOT NULL REFERENCES deployment (id),"
	" target TEXT NOT NULL,"
	" ms INTEGER NOT NULL,"
	" PRIMARY KEY (deployment, target)"
	") STRICT, WITHOUT ROWID;"

	"CREATE TABLE file ("
	" device INTEGER NOT NULL,"
	" inode INTEGER NOT NULL,"
	" size INTEGER NOT NULL,"
	" mtime_ns INTEGER NOT NULL,"
	" ctime_ns INTEGER NOT NULL,"
	" hashed_ns INTEGER NOT NULL,"
	" digest BLOB NOT NULL CHECK (length(digest) = 32),"
	" PRIMARY KEY (device, inode)"
	") STRICT, WITHOUT ROWID;"

	"CREATE TABLE checkpoint ("
	" key TEXT NOT NULL UNIQUE,"
	" bytes BLOB NOT NULL"
	") STRICT;"

	"CREATE TABLE intent ("
	" name TEXT NOT NULL UNIQUE,"
	" deployment INTEGER NOT NULL REFERENCES deployment (id),"
	" target TEXT NOT NULL,"
	" kind TEXT NOT NULL,"
	" thing TEXT NOT NULL,"
	" run TEXT NOT NULL"
	") STRICT;"

	"CREATE TABLE history ("
	" seq INTEGER PRIMARY KEY,"
	" run TEXT NOT NULL,"
	" deployment TEXT NOT NULL,"
	" kind TEXT NOT NULL CHECK (kind IN ('run', 'action', 'end')),"
	" target TEXT,"
	" action TEXT,"
	" result TEXT,"
	" started_ns INTEGER NOT NULL,"
	" ended_ns INTEGER NOT NULL,"
	" body TEXT NOT NULL,"
	" record BLOB CHECK (length(record) IN (0, 32)),"
	" hash BLOB NOT NULL CHECK (length(hash) = 32)"
	") STRICT;"
	"CREATE INDEX history_run ON history (run);"
	"CREATE INDEX history_target ON history (deployment, target) WHERE kind = 'action';"

	/* For other tools: our own connections run no trigger and have no statement that changes the past. */
	"CREATE TRIGGER history_no_update BEFORE UPDATE ON history"
	" BEGIN SELECT raise(ABORT, 'the history is append-only'); END;"
	"CREATE TRIGGER history_no_delete BEFORE DELETE ON history"
	" BEGIN SELECT raise(ABORT, 'the history is append-only'); END;",
};

int
migrations_newest(void)
{
	return (int)(sizeof steps / sizeof *steps);
}

bool
migrations_version(struct sql *sql, int *version, struct error *err)
{
	char id[24];
	char number[24];
	long found;

	if (!sql_answer(sql, "PRAGMA application_id", id, sizeof id, err) ||
		!sql_answer(sql, "PRAGMA user_version", number, sizeof number, err))
		return false;
	if (strtol(id, NULL, 10) != CACHE_APPLICATION_ID) {
		fail(err, FAULT_DATABASE, "`%s` is not a cache of provision: it is empty or another program's", sql->path);
		return error_hint(err, "nothing was changed: move it away, or let --cache name another file");
	}
	found = strtol(number, NULL, 10);
	if (found > migrations_newest()) {
		fail(err, FAULT_NEWER_DATABASE, "`%s` has schema %ld, this program knows schemas up to %d", sql->path, found,
			migrations_newest());
		return error_hint(err, "use the newer provision that wrote it; nothing was changed");
	}
	if (found < 1)
		return fail(err, FAULT_DATABASE, "`%s` says that it has schema %ld, which never was", sql->path, found);
	*version = (int)found;
	return true;
}

bool
migrations_apply(struct sql *sql, int version, struct error *err)
{
	struct transaction transaction finally(transaction_finish) = { 0 };

	if (version == migrations_newest())
		return true;
	if (!transaction_begin(&transaction, sql, err))
		return false;
	for (int i = version; i < migrations_newest(); i++)
		if (!sql_script(sql, steps[i], err))
			return error_wrap(err, "schema %d", i + 1);
	return transaction_commit(&transaction, err);
}
