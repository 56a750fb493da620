/* width.h - how many columns UTF-8 text takes on a terminal, and text that cannot harm one.
 *
 * A table of its own, since `wcwidth` depends on locale and libc: wide 2, combining 0, ambiguous 1. Control characters, bytes that are no
 * UTF-8 and marks that turn the direction of text are never passed on: they are written as `\x1b` or `\u{202e}`. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;

#define WIDTH_BAD UINT32_MAX /* a byte that is no UTF-8 */

unsigned width_of_point(uint32_t point);

/* The first code point and its bytes; WIDTH_BAD, and 1, for a byte that starts none. 0 at the end. */
size_t width_point(const char *text, size_t size, uint32_t *point);

/* Append one code point as it may be shown; the columns that it takes. */
size_t width_safe(struct buf *out, const char *text, size_t size, uint32_t point);

/* The same for a text. */
size_t width_add_safe(struct buf *out, const char *text, size_t size);

/* Columns of a text as it would be shown. */
size_t width_of(const char *text);

/* Bytes of the longest beginning that takes at most `columns`. */
size_t width_fit(const char *text, size_t columns);
