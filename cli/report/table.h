/* table.h - rows of text in columns as wide as their widest cell; the last one is not padded. */
#pragma once

#include <stddef.h>

struct arena;
struct out;

#define TABLE_COLUMNS 8

struct table {
	size_t columns;
	size_t count;
	size_t capacity;
	const char **cells;  /* row after row; borrowed */
	size_t widths[TABLE_COLUMNS];
	struct arena *arena;
};

/* `heads` ends with NULL. `rows`: how many there will be, as a guess. */
void table_init(struct table *table, const char *const *heads, size_t rows, struct arena *arena);

/* One cell for each head. */
void table_add(struct table *table, const char *const *cells);

void table_print(const struct table *table, struct out *out);
