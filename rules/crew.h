/* crew.h - the files of a snapshot's selection, fetched side by side.
 *
 * The first failure stops them all; what the others had so far is kept for the next run. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "fetch.h"
#include "snapshot.h"

/* What became of one file of the selection. Texts live in the task's arena. */
struct fetched {
	struct digest sha256;
	struct stat_key key;
	uint64_t size;
	const char *served_by;  /* NULL: it was there already */
	const char *checkpoint; /* to be forgotten once recorded; or NULL */
	bool known;             /* by the record: looked at when it came */
	bool done;
};

/* Fetch every file of the selection whose `fetched` is not done yet, below `dirfd`. */
bool crew_fetch(struct snapshot *snapshot, int dirfd, mode_t mode, struct fetch *fetch, struct fetched *fetched, struct error *err);
