#include "names.h"

#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "siphash.h"

#define FIRST_SLOTS 64

void
names_init(struct names *names, struct arena *arena)
{
	*names = (struct names){ .arena = arena };
}

void
names_finish(struct names *names)
{
	free(names->text);
	free(names->hash);
	free(names->slots);
	*names = (struct names){ 0 };
}

/* With the arena's address as key: names come from hubs too, and nobody shall know which ones collide. */
static uint32_t
hash_of(const struct names *names, const char *text, size_t length)
{
	uint64_t key = (uint64_t)(uintptr_t)names->arena * 0x9e3779b97f4a7c15u;
	uint64_t hash = siphash(text, length, key, ~key);

	return (uint32_t)(hash ^ hash >> 32);
}

/* The slot that holds the name, or the empty one where it belongs. */
static size_t
find_slot(const struct names *names, const char *text, size_t length, uint32_t hash)
{
	size_t mask = names->slot_count - 1;
	size_t slot = hash & mask;

	while (names->slots[slot]) {
		uint32_t id = names->slots[slot] - 1;

		if (names->hash[id] == hash && strncmp(names->text[id], text, length) == 0 &&
			names->text[id][length] == '\0')
			break;
		slot = (slot + 1) & mask;
	}
	return slot;
}

static void
grow_slots(struct names *names)
{
	size_t count = names->slot_count ? names->slot_count * 2 : FIRST_SLOTS;
	uint32_t *slots = calloc(count, sizeof *slots);

	if (!slots)
		out_of_memory();
	for (uint32_t id = 0; id < names->count; id++) {
		size_t slot = names->hash[id] & (count - 1);

		while (slots[slot])
			slot = (slot + 1) & (count - 1);
		slots[slot] = id + 1;
	}
	free(names->slots);
	names->slots = slots;
	names->slot_count = count;
}

static void
grow_ids(struct names *names)
{
	size_t capacity = names->capacity ? names->capacity * 2 : FIRST_SLOTS;

	/* The last id is NO_NAME, and the slots hold id + 1. */
	if (capacity >= UINT32_MAX)
		out_of_memory();
	names->text = xrealloc(names->text, capacity * sizeof *names->text);
	names->hash = xrealloc(names->hash, capacity * sizeof *names->hash);
	names->capacity = capacity;
}

uint32_t
names_add(struct names *names, const char *text)
{
	return names_add_n(names, text, strlen(text));
}

uint32_t
names_add_n(struct names *names, const char *text, size_t length)
{
	uint32_t hash = hash_of(names, text, length);
	uint32_t id = (uint32_t)names->count;
	size_t slot;

	if (names->count >= names->slot_count / 2)
		grow_slots(names);
	slot = find_slot(names, text, length, hash);
	if (names->slots[slot])
		return names->slots[slot] - 1;
	if (names->count == names->capacity)
		grow_ids(names);
	names->text[id] = arena_copy_bytes(names->arena, text, length);
	names->hash[id] = hash;
	names->slots[slot] = id + 1;
	names->count++;
	return id;
}

uint32_t
names_find(const struct names *names, const char *text)
{
	size_t length = strlen(text);
	size_t slot;

	if (names->slot_count == 0)
		return NO_NAME;
	slot = find_slot(names, text, length, hash_of(names, text, length));
	return names->slots[slot] ? names->slots[slot] - 1 : NO_NAME;
}

const char *
names_text(const struct names *names, uint32_t id)
{
	return names->text[id];
}
