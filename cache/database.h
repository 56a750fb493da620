/* database.h - the database file: opened so that what writers commit survives a power cut and readers leave no trace.
 *
 * A reader changes no byte, no time stamp and no name. How it opens depends on what lies beside the file (reliability.md section 3); when that changes
 * under its hands, database_moved says so and what was read is read again. */
#pragma once

#include <stdbool.h>

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "sql.h"

enum manner {
	ACCESS_NONE,    /* no database yet: nothing is open */
	ACCESS_WRITING,
	ACCESS_ALONE,   /* no -wal, or nothing in it: the file is taken as it stands */
	ACCESS_BESIDE,  /* -wal and -shm, of a writer that lives or was killed */
	ACCESS_LEFT,    /* -wal without -shm, as a power cut leaves it: its index is made in our own memory */
};

/* What lay there before the database was opened. */
struct sight {
	bool exists;
	bool wal, shm;
	struct stat_key file_key, wal_key;
};

struct database {
	struct sql sql;
	char *given;     /* the path as it was asked for */
	char *path;      /* the same without links on the way, since SQLite follows none */
	enum manner manner;
	struct sight sight;
};

bool database_open_reading(struct database *database, const char *path, struct error *err);

/* Made whole under another name first, so that no moment shows half a database. */
bool database_open_writing(struct database *database, const char *path, struct error *err);
void database_close(struct database *database);

/* Before something is read: `*empty` says that there is no database yet. Opens it again if that failed the last time. */
bool database_ready(struct database *database, bool *empty, struct error *err);

/* After something was read: whether it must be read again, since a writer came or went meanwhile; then the database is open anew. `*ok` is what the reading said, and
 * false if it cannot be opened any more. `*tries` begins with 0. */
bool database_moved(struct database *database, bool *ok, unsigned *tries, struct error *err);

/* Whether all pages are sound: E0902 with the first thing that is not. `quick` leaves the indexes out. */
bool database_check(struct database *database, bool quick, struct error *err);
