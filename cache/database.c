#include "database.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/digest.h"
#include "migrations.h"

/* A reader that finds the files changed so often in a row gives up. */
#define MOST_TRIES 50
#define WAL_HEADER 32

/* How long a lock of SQLite's own is waited for, where other programs hold it. */
#ifndef DATABASE_BUSY_MS
#define DATABASE_BUSY_MS 5000
#endif
#define TEXT_OF(number) #number
#define NUMBER_TEXT(number) TEXT_OF(number)

static const struct {
	int option;
	int value;
} options[] = {
	{ SQLITE_DBCONFIG_DEFENSIVE, 1 },
	{ SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0 },
	{ SQLITE_DBCONFIG_ENABLE_TRIGGER, 0 },
	{ SQLITE_DBCONFIG_ENABLE_VIEW, 0 },
	{ SQLITE_DBCONFIG_DQS_DML, 0 },
	{ SQLITE_DBCONFIG_DQS_DDL, 0 },
	{ SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0 },
};

static const struct {
	int kind;
	int most;
} limits[] = {
	{ SQLITE_LIMIT_LENGTH, 16 << 20 },
	{ SQLITE_LIMIT_SQL_LENGTH, 100000 },
	{ SQLITE_LIMIT_EXPR_DEPTH, 50 },
	{ SQLITE_LIMIT_COMPOUND_SELECT, 10 },
	{ SQLITE_LIMIT_ATTACHED, 1 },
	{ SQLITE_LIMIT_WORKER_THREADS, 0 },
};

/* No mmap, so that an I/O error stays an error code instead of a SIGBUS. */
static const char settings[] =
	"PRAGMA busy_timeout = " NUMBER_TEXT(DATABASE_BUSY_MS) ";"
	"PRAGMA foreign_keys = ON;"
	"PRAGMA mmap_size = 0;"
	"PRAGMA cell_size_check = ON;"
	"PRAGMA temp_store = MEMORY;";

static const char writer_settings[] =
	"PRAGMA synchronous = FULL;"
	"PRAGMA wal_autocheckpoint = 1000;"
	"PRAGMA journal_size_limit = 67108864;";

static bool
configure(struct sql *sql, struct error *err)
{
	for (size_t i = 0; i < sizeof options / sizeof *options; i++)
		if (sqlite3_db_config(sql->db, options[i].option, options[i].value, NULL) != SQLITE_OK)
			return fail(err, FAULT_INTERNAL, "`%s`: this SQLite lacks option %d", sql->path, options[i].option);
	for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
		sqlite3_limit(sql->db, limits[i].kind, limits[i].most);
	return sql_script(sql, settings, err);
}

/* `file:` and the path, what means something in a URI escaped. */
static const char *
make_uri(struct arena *arena, const char *path, const char *query)
{
	static const char special[] = "%?#";
	struct buf uri finally(buf_finish) = { 0 };

	buf_init(&uri, 3 * strlen(path) + 64);
	buf_text(&uri, "file:");
	for (; *path; path++) {
		if (strchr(special, *path))
			buf_printf(&uri, "%%%02X", (unsigned char)*path);
		else
			buf_char(&uri, *path);
	}
	buf_text(&uri, query);
	return arena_copy(arena, uri.data);
}

/* Where there is no directory yet, the path stays as it is: nothing will be opened. */
static void
resolve(struct database *database)
{
	struct arena arena finally(arena_finish) = { 0 };
	char *directory finally(free_text) = realpath(path_dir(&arena, database->given), NULL);

	free(database->path);
	database->path = xstrdup(directory ? path_join(&arena, directory, path_base(database->given)) : database->given);
}

static bool
look_at(const char *path, bool *there, struct stat_key *key, struct error *err)
{
	struct stat st;

	*there = lstat(path, &st) == 0;
	if (*there)
		*key = stat_key_of(&st);
	return *there || errno == ENOENT || errno == ENOTDIR || fail_errno(err, "`%s`", path);
}

static bool
look(const char *path, struct sight *sight, struct error *err)
{
	struct arena arena finally(arena_finish) = { 0 };
	struct sight now = { 0 };
	struct stat_key ignored;

	if (!look_at(path, &now.exists, &now.file_key, err) ||
		!look_at(arena_printf(&arena, "%s-wal", path), &now.wal, &now.wal_key, err) ||
		!look_at(arena_printf(&arena, "%s-shm", path), &now.shm, &ignored, err))
		return false;
	*sight = now;
	return true;
}

/* A -wal of a header and nothing else says nothing, and a reader by way of its -shm would wait for frames until it gives up. */
static enum manner
choose(const struct sight *sight)
{
	if (!sight->exists)
		return ACCESS_NONE;
	if (!sight->wal || sight->wal_key.size <= WAL_HEADER)
		return ACCESS_ALONE;
	return sight->shm ? ACCESS_BESIDE : ACCESS_LEFT;
}

/* How each kind of reader opens. Where nobody is there to be locked out, locks are left out: database_moved looks whether
 * somebody came. */
static const struct {
	const char *query;
	const char *vfs;
	const char *first; /* before the file is touched */
} readers[] = {
	[ACCESS_ALONE] = { "?mode=ro&immutable=1", NULL, NULL },
	[ACCESS_BESIDE] = { "?mode=ro&readonly_shm=1", NULL, NULL },
	[ACCESS_LEFT] = { "?mode=ro", "unix-none", "PRAGMA locking_mode = EXCLUSIVE" },
};

static bool
open_reader(struct database *database, struct error *err)
{
	struct arena arena finally(arena_finish) = { 0 };
	struct sql *sql = &database->sql;
	int version;

	if (!look(database->path, &database->sight, err))
		return false;
	database->manner = choose(&database->sight);
	if (database->manner == ACCESS_NONE)
		return true;
	if (!sql_open(sql, make_uri(&arena, database->path, readers[database->manner].query), database->path, SQLITE_OPEN_READONLY,
		    readers[database->manner].vfs, err))
		return false;
	sqlite3_db_config(sql->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	if ((!readers[database->manner].first || sql_script(sql, readers[database->manner].first, err)) && configure(sql, err) &&
		migrations_version(sql, &version, err))
		return version == migrations_newest() ||
			fail(err, FAULT_DATABASE, "`%s` has schema %d, which the next apply brings to schema %d", database->path, version,
				migrations_newest());
	return false;
}

/* What a reader is told while a writer sets -wal and -shm up or takes them away, which it must do itself to go on. */
static bool
is_passing(int code)
{
	return (code & 0xff) == SQLITE_READONLY || (code & 0xff) == SQLITE_CANTOPEN;
}

/* Whether what was read may be something that never was. */
static bool
is_stale(const struct database *database, const struct sight *now, bool ok)
{
	const struct sight *then = &database->sight;

	switch (database->manner) {
	case ACCESS_NONE:
		return now->exists;
	case ACCESS_ALONE:
		return choose(now) != ACCESS_ALONE || !stat_key_equal(&now->file_key, &then->file_key);
	case ACCESS_LEFT:
		return choose(now) != ACCESS_LEFT || !stat_key_equal(&now->file_key, &then->file_key) ||
			!stat_key_equal(&now->wal_key, &then->wal_key);
	case ACCESS_BESIDE:
		/* SQLite's own locks see to it that a success is one. */
		return !ok && (choose(now) != ACCESS_BESIDE || is_passing(database->sql.failure));
	case ACCESS_WRITING:
		break;
	}
	return false;
}

/* Whether a writer came or went; then nothing is open any more. */
static bool
came_or_went(struct database *database, bool *ok, unsigned *tries, struct error *err)
{
	struct error failure;
	struct sight now;

	if (!look(database->path, &now, &failure) || !is_stale(database, &now, *ok))
		return false;
	sql_close(&database->sql);
	if (++*tries > MOST_TRIES) {
		if (*ok)
			*ok = fail(err, FAULT_LOCKED, "`%s` changed each time it was read", database->path);
		return false;
	}
	clock_sleep_ms(*tries, NULL);
	return true;
}

static bool
open_still(struct database *database, unsigned *tries, struct error *err)
{
	bool ok;

	do {
		resolve(database);
		ok = open_reader(database, err);
	} while (came_or_went(database, &ok, tries, err));
	if (!ok)
		sql_close(&database->sql);
	return ok;
}

bool
database_open_reading(struct database *database, const char *path, struct error *err)
{
	unsigned tries = 0;

	*database = (struct database){ .given = xstrdup(path) };
	if (open_still(database, &tries, err))
		return true;
	database_close(database);
	return false;
}

bool
database_ready(struct database *database, bool *empty, struct error *err)
{
	unsigned tries = 0;

	database->sql.failure = SQLITE_OK;
	if (!database->sql.db && database->manner != ACCESS_NONE && !open_still(database, &tries, err))
		return false;
	*empty = database->manner == ACCESS_NONE;
	return true;
}

bool
database_moved(struct database *database, bool *ok, unsigned *tries, struct error *err)
{
	if (database->manner == ACCESS_WRITING || !came_or_went(database, ok, tries, err))
		return false;
	*ok = open_still(database, tries, err);
	return *ok;
}

/* What a killed first apply left under the name that a new database is made under. */
static bool
remove_leftovers(struct arena *arena, const char *fresh, struct error *err)
{
	static const char *const endings[] = { "", "-wal", "-shm", "-journal" };

	for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
		const char *name = arena_printf(arena, "%s%s", fresh, endings[i]);

		if (unlink(name) < 0 && errno != ENOENT)
			return fail_errno(err, "remove `%s`", name);
	}
	return true;
}

static bool
use_wal(struct sql *sql, struct error *err)
{
	char mode[16];

	if (!sql_answer(sql, "PRAGMA journal_mode = WAL", mode, sizeof mode, err))
		return false;
	if (strcmp(mode, "wal") == 0)
		return true;
	fail(err, FAULT_NO_LOCKS, "`%s`: the journal is `%s` and will not become `wal`", sql->path, mode);
	return error_hint(err, "this file system cannot share memory: let the cache lie on a local disk, --cache /local/path/cache.db");
}

/* Records of about a kilobyte lie better in pages of 8 KiB: a scan reads a sixth faster, and one commit costs no more. */
static const char fresh_settings[] = "PRAGMA page_size = 8192;";

static bool
open_for_writing(struct sql *sql, struct arena *arena, const char *path, struct error *err)
{
	if (!sql_open(sql, make_uri(arena, path, "?mode=rw"), path, SQLITE_OPEN_READWRITE, NULL, err))
		return false;
	/* Where it cannot open for writing, SQLite opens for reading and says nothing. */
	return sqlite3_db_readonly(sql->db, "main") != 1 || fail(err, FAULT_PERMISSION, "`%s` may not be written to", path);
}

static bool
fill_fresh(struct sql *sql, struct error *err)
{
	unsigned char bytes[6];
	char project[2 * sizeof bytes + 1];
	char busy[8];

	random_bytes(bytes, sizeof bytes);
	for (size_t i = 0; i < sizeof bytes; i++)
		snprintf(project + 2 * i, 3, "%02x", bytes[i]);
	if (!configure(sql, err) || !sql_script(sql, fresh_settings, err) || !sql_script(sql, writer_settings, err) ||
		!use_wal(sql, err) || !migrations_apply(sql, 0, err) ||
		!sql_run(sql, SQL_SET_PROJECT, VALUES(value_text(project)), err))
		return false;
	/* The file must stand alone before it is renamed: its -wal would keep the old name. */
	if (!sql_answer(sql, "PRAGMA wal_checkpoint(TRUNCATE)", busy, sizeof busy, err))
		return false;
	return strcmp(busy, "0") == 0 || fail(err, FAULT_LOCKED, "`%s`: another program holds the new database", sql->path);
}

static bool
make_fresh(struct arena *arena, const char *path, struct error *err)
{
	const char *fresh = arena_printf(arena, "%s.new", path);
	struct sql sql finally(sql_close) = { 0 };
	int fd;

	if (!remove_leftovers(arena, fresh, err))
		return false;
	/* -wal and -shm take over the mode of the file. */
	fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return fail_errno(err, "create `%s`", fresh);
	close(fd);
	if (!open_for_writing(&sql, arena, fresh, err) || !fill_fresh(&sql, err))
		return false;
	sql_close(&sql);
	if (renameat2(AT_FDCWD, fresh, AT_FDCWD, path, RENAME_NOREPLACE) < 0) {
		/* A file system that cannot promise it: the lock keeps others away. */
		if (errno != EINVAL && errno != ENOSYS)
			return fail_errno(err, "create `%s`", path);
		if (rename(fresh, path) < 0)
			return fail_errno(err, "create `%s`", path);
	}
	return file_sync_dir(path_dir(arena, path), err);
}

static bool
open_writer(struct database *database, struct arena *arena, struct error *err)
{
	struct sql *sql = &database->sql;
	int version;

	if (!look(database->path, &database->sight, err))
		return false;
	if (!database->sight.exists && !make_fresh(arena, database->path, err))
		return error_wrap(err, "a new cache");
	return open_for_writing(sql, arena, database->path, err) && configure(sql, err) && sql_script(sql, writer_settings, err) && migrations_version(sql, &version, err) &&
		migrations_apply(sql, version, err) && use_wal(sql, err);
}

bool
database_open_writing(struct database *database, const char *path, struct error *err)
{
	struct arena arena finally(arena_finish) = { 0 };

	*database = (struct database){ .given = xstrdup(path), .manner = ACCESS_WRITING };
	resolve(database);
	if (open_writer(database, &arena, err))
		return true;
	database_close(database);
	return false;
}

void
database_close(struct database *database)
{
	sql_close(&database->sql);
	free(database->path);
	free(database->given);
	*database = (struct database){ 0 };
}

bool
database_check(struct database *database, bool quick, struct error *err)
{
	struct sql *sql = &database->sql;
	char answer[300];

	if (!sql_answer(sql, quick ? "PRAGMA quick_check(1)" : "PRAGMA integrity_check(1)", answer, sizeof answer, err))
		return false;
	if (sql_unread(sql, answer, err))
		return false;
	if (strcmp(answer, "ok") != 0) {
		/* The first line says which database, and there is but one. */
		const char *second = strchr(answer, '\n');

		fail(err, FAULT_DATABASE, "`%s` is damaged: %s", sql->path, second ? second + 1 : answer);
		return error_hint(err, "nothing was changed: keep the file, and let --cache name another one meanwhile");
	}
	if (!sql_answer(sql, "PRAGMA foreign_key_check", answer, sizeof answer, err))
		return false;
	return !answer[0] || fail(err, FAULT_DATABASE, "`%s` is damaged: rows of `%s` belong to no deployment", sql->path, answer);
}
