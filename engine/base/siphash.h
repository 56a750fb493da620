/* siphash.h - SipHash-1-3 (Aumasson and Bernstein 2012, with one and three rounds): a fast keyed sum of 64 bits. No digest: whoever knows the key finds collisions. */
#pragma once

#include <stddef.h>
#include <stdint.h>

uint64_t siphash(const void *bytes, size_t size, uint64_t key0, uint64_t key1);
