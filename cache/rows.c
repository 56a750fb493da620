#include "rows.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/arena.h"
#include "sql.h"

void *
growing_add(struct growing *growing)
{
	char *item;

	if (growing->count == growing->capacity) {
		growing->capacity = growing->capacity ? 2 * growing->capacity : 64;
		growing->items = xrealloc(growing->items, growing->capacity * growing->size);
	}
	item = growing->items + growing->count++ * growing->size;
	memset(item, 0, growing->size);
	return item;
}

void *
growing_take(struct growing *growing, struct arena *arena, size_t *count)
{
	void *items = arena_array(arena, growing->count, growing->size);

	if (growing->count > 0)
		memcpy(items, growing->items, growing->count * growing->size);
	*count = growing->count;
	return items;
}

void
growing_finish(struct growing *growing)
{
	free(growing->items);
	*growing = (struct growing){ 0 };
}

bool
rows_digest(const struct rows *rows, int column, struct digest *digest)
{
	size_t size;
	const void *bytes = rows_bytes(rows, column, &size);

	if (size != DIGEST_SIZE)
		return false;
	memcpy(digest->bytes, bytes, DIGEST_SIZE);
	return true;
}
