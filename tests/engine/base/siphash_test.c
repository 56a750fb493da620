/* SipHash-1-3 against what its other implementations give for the key 00 01 .. 0f and nothing. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "engine/base/siphash.h"

#define KEY0 UINT64_C(0x0706050403020100)
#define KEY1 UINT64_C(0x0f0e0d0c0b0a0908)

static void
known_value(void **state)
{
	(void)state;
	assert_true(siphash("", 0, KEY0, KEY1) == UINT64_C(0xabac0158050fc4dc));
}

/* Every bit of the input counts, and so does the length. */
static void
every_bit(void **state)
{
	unsigned char bytes[29] = { 0 };
	uint64_t before = siphash(bytes, sizeof bytes, 1, 2);

	(void)state;
	for (size_t bit = 0; bit < 8 * sizeof bytes; bit++) {
		bytes[bit / 8] = (unsigned char)(bytes[bit / 8] ^ 1u << bit % 8);
		assert_true(siphash(bytes, sizeof bytes, 1, 2) != before);
		bytes[bit / 8] = (unsigned char)(bytes[bit / 8] ^ 1u << bit % 8);
	}
	assert_true(siphash(bytes, sizeof bytes - 1, 1, 2) != before);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(known_value), cmocka_unit_test(every_bit) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
