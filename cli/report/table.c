#include "table.h"

#include "engine/base/arena.h"
#include "out.h"
#include "width.h"

#define WIDEST 60 /* a wider cell moves its own row alone */

void
table_init(struct table *table, const char *const *heads, size_t rows, struct arena *arena)
{
	*table = (struct table){ .arena = arena };
	while (table->columns < TABLE_COLUMNS && heads[table->columns])
		table->columns++;
	table->capacity = (rows + 1) * table->columns;
	table->cells = arena_array(arena, table->capacity, sizeof *table->cells);
	table_add(table, heads);
}

void
table_add(struct table *table, const char *const *cells)
{
	for (size_t i = 0; i < table->columns; i++) {
		size_t width = width_of(cells[i]);

		if (table->count == table->capacity)
			table->cells = arena_grow(
				table->arena, table->cells, table->count, &table->capacity, sizeof *table->cells);
		table->cells[table->count++] = cells[i];
		if (width > table->widths[i])
			table->widths[i] = width < WIDEST ? width : WIDEST;
	}
}

void
table_print(const struct table *table, struct out *out)
{
	for (size_t i = 0; i < table->count && !out->error; i++) {
		size_t column = i % table->columns;

		if (column + 1 < table->columns) {
			out_cell(out, table->cells[i], table->widths[column] + 2);
			continue;
		}
		out_safe(out, table->cells[i]);
		out_text(out, "\n");
	}
}
