/* bulk.h - many files hashed side by side: one file per core, the largest first.
 *
 * Bytes are read once, in order, and without a trace: what was not in the page cache before does not stay there, so that
 * verifying a model pushes nothing out that others use. A file that changes meanwhile is an error of its own. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "digest.h"
#include "file.h"

struct bulk_file {
	const char *path;
	uint64_t size;         /* as expected: decides the order, and the git blob id */
	bool git;              /* the git blob id is wanted too */

	/* Results. */
	enum fault fault;      /* FAULT_NONE: it was read; E0910: not come to */
	char *why;             /* what went wrong, in words */
	struct digest sha256;
	struct checksum blob;
	struct stat_key key;
	int64_t hashed_ns;     /* when reading began */
};

struct bulk {
	struct bulk_file *files;
	size_t count;
	int dirfd;             /* that paths are below, safely opened; -1: paths are absolute */
	unsigned threads;      /* 0: one for each core that this process may use */
	uint64_t total;        /* bytes, by the expected sizes */

	_Atomic uint64_t done; /* bytes so far */
	_Atomic size_t ended;  /* files that were read, or could not be */
	atomic_bool halt;      /* set: leave within one block */

	uint32_t *order;       /* the rest is its own */
	_Atomic size_t next;
};

/* Read all files. The calling thread calls `tick` (may be NULL) every 50 ms meanwhile. False only where no thread could be started. */
bool bulk_hash(struct bulk *bulk, void (*tick)(void *self), void *self, struct error *err);

/* Release what bulk_hash made; the files are the caller's. */
void bulk_finish(struct bulk *bulk);
