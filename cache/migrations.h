/* migrations.h - the table of schema versions, applied in order.
 *
 * A schema only moves forward; all steps that are missing are one transaction. */
#pragma once

#include <stdbool.h>

#include "engine/base/error.h"

struct sql;

/* "PRVS": what says that a SQLite file is ours. */
#define CACHE_APPLICATION_ID 0x50525653

/* The newest schema that this program knows. */
int migrations_newest(void);

/* What schema the database has. E0902 if it is not ours, E0904 if it is newer than we are. */
bool migrations_version(struct sql *sql, int *version, struct error *err);

/* Bring the database from schema `version` (0: empty) to the newest. */
bool migrations_apply(struct sql *sql, int version, struct error *err);
