#include "buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"

#define FIRST_SIZE 64

void
buf_init(struct buf *buf, size_t limit)
{
	/* One byte of every capacity is the NUL's. */
	if (limit == SIZE_MAX)
		limit--;
	*buf = (struct buf){ .limit = limit, .capacity = limit < FIRST_SIZE ? limit + 1 : FIRST_SIZE };
	buf->data = xmalloc(buf->capacity);
	buf->data[0] = '\0';
}

void
buf_finish(struct buf *buf)
{
	free(buf->data);
	*buf = (struct buf){ 0 };
}

void
buf_clear(struct buf *buf)
{
	buf->size = 0;
	buf->truncated = false;
	if (buf->data)
		buf->data[0] = '\0';
}

/* How many of `size` more bytes fit; there is room for them and the NUL afterwards. */
static size_t
make_room(struct buf *buf, size_t size)
{
	size_t wanted;

	if (size > buf->limit - buf->size) {
		buf->truncated = true;
		size = buf->limit - buf->size;
	}
	wanted = buf->size + size + 1;
	if (wanted > buf->capacity && buf->data) {
		size_t capacity = buf->capacity > buf->limit / 2 ? buf->limit + 1 : buf->capacity * 2;

		buf->capacity = capacity > wanted ? capacity : wanted;
		buf->data = xrealloc(buf->data, buf->capacity);
	}
	return size;
}

void
buf_add(struct buf *buf, const void *bytes, size_t size)
{
	size = make_room(buf, size);
	if (size == 0)
		return;
	memcpy(buf->data + buf->size, bytes, size);
	buf->size += size;
	buf->data[buf->size] = '\0';
}

void
buf_text(struct buf *buf, const char *text)
{
	buf_add(buf, text, strlen(text));
}

void
buf_char(struct buf *buf, char c)
{
	buf_add(buf, &c, 1);
}

void
buf_printf(struct buf *buf, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	buf_vprintf(buf, format, args);
	va_end(args);
}

void
buf_vprintf(struct buf *buf, const char *format, va_list args)
{
	size_t room = buf->data ? buf->capacity - buf->size : 0;
	va_list again;
	size_t size;
	int length;

	va_copy(again, args);
	length = vsnprintf(room ? buf->data + buf->size : NULL, room, format, args);
	if (length < 0)
		out_of_memory();
	size = make_room(buf, (size_t)length);
	if (size >= room && buf->data)
		vsnprintf(buf->data + buf->size, size + 1, format, again);
	va_end(again);
	buf->size += size;
}
