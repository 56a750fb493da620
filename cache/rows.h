/* rows.h - many rows into one flat array: it grows outside of the arena and moves in once its size is known. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/digest.h"

struct arena;
struct rows;

struct growing {
	size_t size; /* of one item */
	char *items;
	size_t count;
	size_t capacity;
};

void *growing_add(struct growing *growing); /* zeroed; holds until the next one */
void *growing_take(struct growing *growing, struct arena *arena, size_t *count);
void growing_finish(struct growing *growing);

/* A column that holds a digest; false if it does not. */
bool rows_digest(const struct rows *rows, int column, struct digest *digest);
