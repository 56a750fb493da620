/* buf.h - bytes that grow up to a limit they are born with.
 *
 * Always ends with a NUL that is not counted. What does not fit is cut off and `truncated` says so: a caller that must not lose bytes looks at it. */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
	char *data; /* never NULL after buf_init */
	size_t size;
	size_t capacity;
	size_t limit;
	bool truncated;
};

void buf_init(struct buf *buf, size_t limit);
void buf_finish(struct buf *buf);
void buf_clear(struct buf *buf);

void buf_add(struct buf *buf, const void *bytes, size_t size);
void buf_text(struct buf *buf, const char *text);
void buf_char(struct buf *buf, char c);
void buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_vprintf(struct buf *buf, const char *format, va_list args) __attribute__((format(printf, 2, 0)));
