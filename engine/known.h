/* known.h - digests of files whose stat data says that they have not changed.
 *
 * Loaded from the memory in one scan, when first asked for; thread-safe. A file that is new or changed is hashed and remembered for the next commit. Racily clean files (reliability.md
 * W10) are hashed again. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "memory.h"
#include "sights.h"

#define KNOWN_GRAINS 16 /* file systems of one project */

struct known {
	pthread_mutex_t mutex;
	struct known_file *files;   /* loaded ones, then new ones */
	size_t count;
	size_t capacity;
	size_t saved;               /* files before this index are in the memory already */
	uint32_t *slots;            /* by device and inode; index + 1 */
	size_t slot_count;
	const struct memory *memory; /* where it is loaded from; NULL once that was done */
	bool singly;                /* until then, the memory is asked for each file while all holds still */
	struct arena *arena;
	struct sights sights;       /* paths looked at while all holds still */
	uint32_t *trail;            /* each such look, in order: index of its sight */
	size_t trail_count;
	size_t trail_capacity;
	bool still;
	bool elsewhere;             /* a rule looked at something beside the bytes of files; whoever asks clears it */
	struct known_grain {        /* how far apart two changes of a file may be and still leave one time stamp */
		uint64_t device;
		int64_t ns;
	} grains[KNOWN_GRAINS];
	size_t grain_count;
	int64_t fine_ns;            /* of file systems that stamp with the kernel's clock */
	uint64_t stats;             /* files answered by stat alone, for reports */
	uint64_t hashes;            /* files that were read */
};

/* Nothing is read yet. */
void known_init(struct known *known, const struct memory *memory, struct arena *arena);

/* Read the memory, unless that was done: on the loop's thread, before anything is asked or added. */
bool known_load(struct known *known, struct error *err);

/* Few files will be looked at: ask the memory for each of them, while all holds still and on the loop's thread. */
void known_ask_singly(struct known *known);
void known_finish(struct known *known);

/* SHA-256 of a regular file. `deep` reads it in any case. */
bool known_digest(struct known *known, const char *path, bool deep, const atomic_bool *cancel, struct digest *digest, struct stat_key *key,
	struct error *err);

/* Remember a digest that was computed while the bytes passed; `hashed_ns` is when the last write ended. */
void known_add(struct known *known, const struct stat_key *key, const struct digest *digest, int64_t hashed_ns);

/* While a plan is made nothing changes: from here on one look at a path serves every target that names it. Called again with false before anything is
 * built. Only for one thread. */
void known_hold_still(struct known *known, bool still);

/* Only the table: whether a file with this stat data is known to have that digest. */
bool known_has(struct known *known, const struct stat_key *key, const struct digest *digest);

/* The same of files too young to be believed: for who asks about stat data alone. */
bool known_saw(struct known *known, const struct stat_key *key, const struct digest *digest);

/* What was learnt since the last call; the array is the caller's to free. */
size_t known_take_new(struct known *known, struct known_file **files);
