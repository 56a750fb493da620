#include "pack.h"

#include <string.h>

#include "buf.h"
#include "siphash.h"

static void
put_number(unsigned char *to, uint64_t number, size_t count)
{
	for (size_t i = 0; i < count; i++)
		to[i] = (unsigned char)(number >> (8 * i));
}

static uint64_t
get_number(const unsigned char *from, size_t count)
{
	uint64_t number = 0;

	for (size_t i = 0; i < count; i++)
		number |= (uint64_t)from[i] << (8 * i);
	return number;
}

void
pack_bytes(struct buf *buf, const void *bytes, size_t size)
{
	unsigned char length[4];

	if (size > UINT32_MAX) {
		buf->truncated = true;
		return;
	}
	put_number(length, size, sizeof length);
	buf_add(buf, length, sizeof length);
	buf_add(buf, bytes, size);
}

void
pack_text(struct buf *buf, const char *text)
{
	pack_bytes(buf, text, text ? strlen(text) + 1 : 0);
}

void
pack_int(struct buf *buf, int64_t value)
{
	unsigned char bytes[8];

	put_number(bytes, (uint64_t)value, sizeof bytes);
	pack_bytes(buf, bytes, sizeof bytes);
}

static void
sum_up(const void *bytes, size_t size, unsigned char sum[PACK_SUM])
{
	put_number(sum, siphash(bytes, size, 0, 0), PACK_SUM);
}

void
pack_sum(struct buf *buf)
{
	unsigned char sum[PACK_SUM];

	sum_up(buf->data, buf->size, sum);
	pack_bytes(buf, sum, sizeof sum);
}

bool
unpack_sound(const void *bytes, size_t *size)
{
	const unsigned char *all = bytes;
	unsigned char sum[PACK_SUM];
	size_t before;

	if (*size < 4 + PACK_SUM)
		return false;
	before = *size - 4 - PACK_SUM;
	sum_up(all, before, sum);
	if (get_number(all + before, 4) != PACK_SUM || memcmp(all + before + 4, sum, PACK_SUM) != 0)
		return false;
	*size = before;
	return true;
}

void
unpack_init(struct unpack *unpack, const void *bytes, size_t size)
{
	*unpack = (struct unpack){ .bytes = bytes, .size = size };
}

const void *
unpack_bytes(struct unpack *unpack, size_t *size)
{
	size_t left = unpack->size - unpack->at;
	const unsigned char *field;
	size_t length;

	*size = 0;
	if (unpack->bad)
		return NULL;
	unpack->bad = left < 4;
	if (unpack->bad)
		return NULL;
	field = unpack->bytes + unpack->at + 4;
	length = (size_t)get_number(unpack->bytes + unpack->at, 4);
	unpack->bad = left - 4 < length;
	if (unpack->bad)
		return NULL;
	unpack->at += 4 + length;
	*size = length;
	return field;
}

const char *
unpack_text(struct unpack *unpack)
{
	size_t size;
	const char *text = unpack_bytes(unpack, &size);

	if (size == 0)
		return NULL;
	/* The first NUL is the last byte: what was cut or glued together is not taken for text. */
	if (memchr(text, '\0', size) != text + size - 1) {
		unpack->bad = true;
		return NULL;
	}
	return text;
}

int64_t
unpack_int(struct unpack *unpack)
{
	size_t size;
	const void *bytes = unpack_bytes(unpack, &size);

	if (size != 8) {
		unpack->bad = true;
		return 0;
	}
	return (int64_t)get_number(bytes, 8);
}

bool
unpack_done(const struct unpack *unpack)
{
	return !unpack->bad && unpack->at == unpack->size;
}
