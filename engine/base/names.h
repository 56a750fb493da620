/* names.h - interned text: one pointer and one dense 32-bit id for each different name.
 *
 * Ids count from 0 in the order of first use. Text lives in the arena given at init. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define NO_NAME UINT32_MAX

struct arena;

struct names {
	struct arena *arena;
	const char **text;  /* id -> text */
	uint32_t *hash;     /* id -> hash */
	uint32_t *slots;    /* open addressing; id + 1, 0 is empty */
	size_t count;
	size_t capacity;    /* of text and hash */
	size_t slot_count;  /* a power of two */
};

void names_init(struct names *names, struct arena *arena);
void names_finish(struct names *names);

uint32_t names_add(struct names *names, const char *text);
uint32_t names_add_n(struct names *names, const char *text, size_t length);

/* NO_NAME if it was never added. */
uint32_t names_find(const struct names *names, const char *text);

/* The one pointer of a name that was added. */
const char *names_text(const struct names *names, uint32_t id);
