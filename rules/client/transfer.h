/* transfer.h - one large file: resumption, digest as it streams, verified before it gets its name.
 *
 * The order of writing is that of reliability.md section 2. Files come side by side, each on a thread and a connection of its own; threads that have no file left fetch
 * pieces of those that are still coming. What must be durable goes through callbacks, so that nothing here knows the cache; they are called on any of the threads. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "engine/base/digest.h"
#include "engine/base/error.h"
#include "engine/base/file.h"
#include "http.h"

struct arena;

#ifndef TRANSFER_PIECE /* the tests' own build has smaller ones */
#define TRANSFER_PIECE (64u << 20)
#endif

struct transfer_source {
	const char *url;             /* or NULL: a file on this machine */
	const char *path;
	const struct secret *bearer; /* to the URL's own origin alone */
	const char *secret_cookie;
	const char *name;            /* for messages and materials: "huggingface:ORG/NAME" */
	bool insecure_http;
};

struct transfer {
	/* What and where. */
	const struct transfer_source *sources; /* in order of preference */
	size_t source_count;
	int dirfd;                   /* directory that the file's name is relative to; parts lie in its `.provision/parts` */
	const char *dir;             /* its path, for messages and for this process's own bookkeeping */
	const char *name;            /* safe relative path */
	uint64_t size;               /* UINT64_MAX: unknown */
	struct checksum checksum;    /* never CHECKSUM_NONE */
	mode_t mode;                 /* 0: 0444 */
	const char *run;             /* part of the part's name */
	bool replace;                /* a file of another content may stand in the way: we made it */

	/* How. */
	struct transfer_pool *pool;  /* where others may lend a hand; or NULL */
	struct http *http;           /* the caller's, whose connections are used again; NULL: one of its own */
	const atomic_bool *cancel;
	void *context;
	bool (*load)(void *context, const char *key, struct arena *arena, const void **bytes, size_t *size, struct error *err); /* checkpoint */
	bool (*save)(void *context, const char *key, const void *bytes, size_t size, struct error *err);
	void (*progress)(void *context, const struct transfer *transfer, uint64_t bytes); /* more bytes of this file are here */

	/* Results. */
	struct digest sha256;        /* always computed */
	struct stat_key key;         /* of the final file */
	int64_t hashed_ns;
	_Atomic uint64_t fetched;    /* bytes over the network in this call */
	_Atomic uint64_t arrived;    /* bytes that progress was told of; those that came twice count twice */
	uint64_t actual_size;
	const char *served_by;       /* name of the source that gave the bytes */
	bool adopted;                /* it was there already with the right bytes */
	const char *checkpoint;      /* key to forget once recorded; NULL: it is worth keeping, until the file goes */
	bool done;
};

/* True: the file is there, verified, durable, under its name. Adopts a file that is already right. Failures: E0606 wrong bytes from every source, E0609 no space, E0612 a file of other content stands there, or that of the
 * last source. */
bool transfer_fetch(struct transfer *transfer, struct arena *arena, struct error *err);

/* What is kept of a finished file of more than one piece: digests of its pieces, for repairs. */
const char *transfer_key(const struct digest *sha256, const char *dir, const char *name, struct arena *arena);

/* Many files, the largest first, over at most so many connections; cancel is the callers'. The first failure stops all; what the others had so far is kept for the next run.
 * On failure `*failed` is the index of the transfer (`count`: of none). Texts of the results live in the arena. */
bool transfer_fetch_all(struct transfer *transfers, size_t count, unsigned connections, const atomic_bool *cancel, struct arena *arena,
	size_t *failed, struct error *err);

#define TRANSFER_MOST_CONNECTIONS 16u
