#include "siphash.h"

#include <string.h>

static uint64_t
rotate(uint64_t x, unsigned bits)
{
	return x << bits | x >> (64 - bits);
}

static void
sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[2] += v[3];
	v[1] = rotate(v[1], 13) ^ v[0];
	v[3] = rotate(v[3], 16) ^ v[2];
	v[0] = rotate(v[0], 32);
	v[2] += v[1];
	v[0] += v[3];
	v[1] = rotate(v[1], 17) ^ v[2];
	v[3] = rotate(v[3], 21) ^ v[0];
	v[2] = rotate(v[2], 32);
}

static uint64_t
load_word(const char *text, size_t size)
{
	uint64_t word = 0;

	memcpy(&word, text, size);
	return word;
}

uint64_t
siphash(const void *bytes, size_t size, uint64_t key0, uint64_t key1)
{
	const char *text = bytes;
	uint64_t v[4] = { key0 ^ 0x736f6d6570736575u, key1 ^ 0x646f72616e646f6du, key0 ^ 0x6c7967656e657261u, key1 ^ 0x7465646279746573u };
	uint64_t last = (uint64_t)size << 56;
	size_t at = 0;

	for (; size - at >= 8; at += 8) {
		uint64_t word = load_word(text + at, 8);

		v[3] ^= word;
		sip_round(v);
		v[0] ^= word;
	}
	last |= load_word(text + at, size - at);
	v[3] ^= last;
	sip_round(v);
	v[0] ^= last;
	v[2] ^= 0xff;
	for (int i = 0; i < 3; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}
