/* excerpt.h - one line of a manifest as a diagnostic shows it, and where the caret goes.
 *
 * Tabs become spaces, control characters are escaped, what looks like a secret is masked, a very long line is cut around the caret. Carets
 * are right under wide characters and under all of that. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct source;

struct excerpt {
	const char *line;    /* in the source, without its end */
	size_t size;
	size_t offset;       /* of the line in the source, in bytes */
	size_t from;         /* columns before the caret */
	size_t columns;      /* that the caret underlines, at least 1 */
	size_t byte;         /* of the place within the source, and behind it */
	size_t byte_end;
};

/* Find the line; false if the source has no such line. */
bool excerpt_find(struct excerpt *excerpt, const struct source *source, uint32_t line);

/* Append the line as shown, and fill in the rest. `column` counts code points from 1; `length` 0 means one. */
void excerpt_show(struct excerpt *excerpt, uint32_t column, uint32_t length, struct buf *text);
