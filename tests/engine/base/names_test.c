#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/names.h"

static void
ids_are_dense_in_order_of_first_use(void **state)
{
	struct arena arena = { 0 };
	struct names names;
	char text[32];

	(void)state;
	names_init(&names, &arena);
	assert_int_equal(names_find(&names, "x"), NO_NAME);
	for (uint32_t round = 0; round < 2; round++)
		for (uint32_t i = 0; i < 100000; i++) {
			snprintf(text, sizeof text, "target-%u", i);
			if (names_add(&names, text) != i)
				fail_msg("`%s` in round %u", text, round);
		}
	assert_int_equal(names.count, 100000);
	for (uint32_t i = 0; i < 100000; i += 97) {
		snprintf(text, sizeof text, "target-%u", i);
		assert_int_equal(names_find(&names, text), i);
		assert_string_equal(names_text(&names, i), text);
	}
	assert_int_equal(names_find(&names, "target-100000"), NO_NAME);
	assert_int_equal(names_find(&names, "target-"), NO_NAME);
	assert_int_equal(names_find(&names, ""), NO_NAME);
	assert_int_equal(names.count, 100000);
	names_finish(&names);
	names_finish(&names);
	arena_finish(&arena);
}

static void
one_pointer_for_one_name(void **state)
{
	struct arena arena = { 0 };
	struct names names;
	char text[] = "service";
	const char *first;
	uint32_t id;

	(void)state;
	names_init(&names, &arena);
	id = names_add(&names, text);
	first = names_text(&names, id);
	assert_ptr_not_equal(first, text);
	for (int i = 0; i < 1000; i++) {
		char other[20];

		snprintf(other, sizeof other, "other%d", i);
		names_add(&names, other);
	}
	text[0] = 'S';
	assert_ptr_equal(names_text(&names, id), first);
	assert_string_equal(first, "service");
	assert_int_equal(names_add(&names, "service"), id);
	names_finish(&names);
	arena_finish(&arena);
}

static void
lengths_and_beginnings_count(void **state)
{
	static const char text[] = "abcdefghijklmnopqrstuvwxyz";
	struct arena arena = { 0 };
	struct names names;

	(void)state;
	names_init(&names, &arena);
	for (size_t length = 0; length <= 26; length++)
		assert_int_equal(names_add_n(&names, text, length), length);
	for (size_t length = 0; length <= 26; length++) {
		assert_int_equal(names_add_n(&names, text, length), length);
		assert_int_equal(strlen(names_text(&names, (uint32_t)length)), length);
	}
	assert_int_equal(names_find(&names, "abc"), 3);
	assert_int_equal(names_find(&names, ""), 0);
	/* One byte more or less, at each place. */
	for (size_t at = 0; at < 26; at++) {
		char other[27];

		memcpy(other, text, sizeof other);
		other[at] ^= 1;
		assert_int_equal(names_find(&names, other), NO_NAME);
	}
	names_finish(&names);
	arena_finish(&arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ids_are_dense_in_order_of_first_use),
		cmocka_unit_test(one_pointer_for_one_name),
		cmocka_unit_test(lengths_and_beginnings_count),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
