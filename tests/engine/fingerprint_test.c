#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>

#include "engine/base/arena.h"
#include "engine/base/digest.h"
#include "engine/fingerprint.h"

#include <cmocka.h>

static struct digest
of(const char *rule, uint32_t version, const char *const (*pairs)[2], size_t count)
{
	struct ingredients ingredients;
	struct hasher hasher;
	struct digest digest;
	struct arena arena;

	arena_init(&arena);
	hasher_init(&hasher);
	ingredients_init(&ingredients, &arena);
	for (size_t i = 0; i < count; i++)
		ingredients_add(&ingredients, INGREDIENT_PARAM, pairs[i][0], pairs[i][1], "shown, not hashed");
	fingerprint(&hasher, rule, version, &ingredients, &digest);
	hasher_finish(&hasher);
	arena_finish(&arena);
	return digest;
}

static void
test_known_value(void **state)
{
	/* sha256 over len8 "r", len8 01000000, len8 "a", len8 "1", computed with another tool. */
	static const char *const one[][2] = { { "a", "1" } };
	struct digest digest = of("r", 1, one, 1), expected;

	(void)state;
	assert_true(digest_parse("5ba5766f15903fb8d8028995f85361cebdef8296be3c4ee72cb9ec2e4ecb8378", &expected));
	assert_true(digest_equal(&digest, &expected));
}

static void
test_order_and_borders(void **state)
{
	static const char *const ab[][2] = { { "a", "1" }, { "b", "2" } };
	static const char *const ba[][2] = { { "b", "2" }, { "a", "1" } };
	static const char *const moved[][2] = { { "a", "1b" }, { "", "2" } };
	static const char *const swapped[][2] = { { "a", "2" }, { "b", "1" } };
	struct digest reference = of("r", 1, ab, 2), digest;

	(void)state;
	digest = of("r", 1, ba, 2);
	assert_true(digest_equal(&reference, &digest));
	digest = of("r", 1, moved, 2);
	assert_false(digest_equal(&reference, &digest));
	digest = of("r", 1, swapped, 2);
	assert_false(digest_equal(&reference, &digest));
	digest = of("r", 2, ab, 2);
	assert_false(digest_equal(&reference, &digest));
	digest = of("s", 1, ab, 2);
	assert_false(digest_equal(&reference, &digest));
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_known_value), cmocka_unit_test(test_order_and_borders) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
