#include "sights.h"

#include <stdlib.h>
#include <string.h>

/* FNV-1a: the paths are the manifest's own. */
static uint64_t
hash_of(const char *path)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (; *path; path++)
		hash = (hash ^ (unsigned char)*path) * UINT64_C(0x100000001b3);
	return hash ^ (hash >> 29);
}

/* The slot that holds the path, or the empty one where it belongs. */
static uint32_t *
slot_of(const struct sights *sights, const char *path, uint64_t hash)
{
	size_t at = (size_t)hash & (sights->slot_count - 1);

	while (sights->slots[at]) {
		const struct sight *sight = &sights->items[sights->slots[at] - 1];

		if (sight->hash == hash && strcmp(sight->path, path) == 0)
			break;
		at = (at + 1) & (sights->slot_count - 1);
	}
	return &sights->slots[at];
}

static void
grow(struct sights *sights)
{
	sights->slot_count = sights->slot_count ? sights->slot_count * 2 : 1024;
	free(sights->slots);
	sights->slots = xmalloc(sights->slot_count * sizeof *sights->slots);
	memset(sights->slots, 0, sights->slot_count * sizeof *sights->slots);
	for (size_t i = 0; i < sights->count; i++)
		*slot_of(sights, sights->items[i].path, sights->items[i].hash) = (uint32_t)i + 1;
}

void
sights_finish(struct sights *sights)
{
	free(sights->items);
	free(sights->slots);
	arena_finish(&sights->texts);
	*sights = (struct sights){ 0 };
}

const struct sight *
sights_find(const struct sights *sights, const char *path)
{
	uint32_t slot = sights->slot_count ? *slot_of(sights, path, hash_of(path)) : 0;

	return slot ? &sights->items[slot - 1] : NULL;
}

const struct sight *
sights_add(struct sights *sights, const char *path, const struct stat_key *key, const struct digest *digest)
{
	uint64_t hash = hash_of(path);

	if (sights->count == sights->capacity) {
		sights->capacity = sights->capacity ? sights->capacity * 2 : 256;
		sights->items = xrealloc(sights->items, sights->capacity * sizeof *sights->items);
	}
	if (2 * (sights->count + 1) > sights->slot_count)
		grow(sights);
	sights->items[sights->count++] = (struct sight){ .path = arena_copy(&sights->texts, path), .hash = hash, .key = *key, .digest = *digest };
	*slot_of(sights, path, hash) = (uint32_t)sights->count;
	return &sights->items[sights->count - 1];
}
