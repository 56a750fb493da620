#include "fingerprint.h"

#include <stdlib.h>
#include <string.h>

static int
by_name(const void *a, const void *b)
{
	const struct ingredient *left = a, *right = b;

	return strcmp(left->name, right->name);
}

/* Ingredients mostly come sorted already, and qsort is dear for a handful. */
static bool
is_sorted(const struct ingredients *ingredients)
{
	for (size_t i = 1; i < ingredients->count; i++)
		if (strcmp(ingredients->items[i - 1].name, ingredients->items[i].name) > 0)
			return false;
	return true;
}

static void
add_text(struct hasher *hasher, const char *text)
{
	hasher_add_field(hasher, text, strlen(text));
}

void
fingerprint_sort(struct ingredients *ingredients)
{
	if (!is_sorted(ingredients))
		qsort(ingredients->items, ingredients->count, sizeof *ingredients->items, by_name);
}

void
fingerprint(struct hasher *hasher, const char *rule, uint32_t version, struct ingredients *ingredients, struct digest *digest)
{
	unsigned char number[4] = {
		(unsigned char)version, (unsigned char)(version >> 8), (unsigned char)(version >> 16), (unsigned char)(version >> 24),
	};

	fingerprint_sort(ingredients);
	add_text(hasher, rule);
	hasher_add_field(hasher, number, sizeof number);
	for (size_t i = 0; i < ingredients->count; i++) {
		add_text(hasher, ingredients->items[i].name);
		add_text(hasher, ingredients->items[i].value);
	}
	hasher_digest(hasher, digest);
}
