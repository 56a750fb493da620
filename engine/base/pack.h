/* pack.h - fields in a row as bytes: how records are kept and hashes are fed.
 *
 * A field is its length in 4 bytes, little-endian, then its bytes. Reading never looks beyond the end: a torn pack reads as a failure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;

struct unpack {
	const unsigned char *bytes;
	size_t size;
	size_t at;
	bool bad; /* a field was torn; everything read after that is empty */
};

void pack_bytes(struct buf *buf, const void *bytes, size_t size);
void pack_text(struct buf *buf, const char *text); /* packed with its NUL; NULL is a field of length 0, "" one of length 1 */
void pack_int(struct buf *buf, int64_t value);

/* A sum (siphash.h) of all that was packed so far, as the last field: it finds accidents, not intent. */
#define PACK_SUM 8
void pack_sum(struct buf *buf);

/* Whether that sum is there and right: then `*size` is what lies before it. */
bool unpack_sound(const void *bytes, size_t *size);

void unpack_init(struct unpack *unpack, const void *bytes, size_t size);
const void *unpack_bytes(struct unpack *unpack, size_t *size);
const char *unpack_text(struct unpack *unpack); /* points into the pack; NULL where NULL was packed, or bad (no NUL at its end) */
int64_t unpack_int(struct unpack *unpack);
bool unpack_done(const struct unpack *unpack); /* all read, nothing bad */
