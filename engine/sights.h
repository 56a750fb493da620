/* sights.h - paths that were looked at while all holds still: one look serves every target that names a file. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/digest.h"
#include "base/file.h"

struct sight {
	const char *path;
	uint64_t hash;
	struct stat_key key;
	struct digest digest;
};

/* Zeroed memory is an empty set. */
struct sights {
	struct sight *items;
	size_t count;
	size_t capacity;
	uint32_t *slots; /* by path; index + 1 */
	size_t slot_count;
	struct arena texts;
};

void sights_finish(struct sights *sights);

/* NULL if the path was not looked at. Valid until the next one is added. */
const struct sight *sights_find(const struct sights *sights, const char *path);

/* A path that is not there yet. The same holds of what it returns. */
const struct sight *sights_add(struct sights *sights, const char *path, const struct stat_key *key, const struct digest *digest);
