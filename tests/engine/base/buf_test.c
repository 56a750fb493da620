#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "engine/base/buf.h"

static void
grows_up_to_its_limit(void **state)
{
	static const size_t limits[] = { 0, 1, 2, 62, 63, 64, 65, 127, 128, 1000, 4096, SIZE_MAX };

	(void)state;
	for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
		size_t limit = limits[i];
		size_t expected = limit < 5000 ? limit : 5000;
		struct buf buf;

		buf_init(&buf, limit);
		assert_non_null(buf.data);
		assert_string_equal(buf.data, "");
		for (size_t k = 0; k < 5000; k++)
			buf_char(&buf, (char)('a' + k % 26));
		assert_int_equal(buf.size, expected);
		assert_int_equal(buf.truncated, limit < 5000);
		assert_int_equal(strlen(buf.data), expected);
		for (size_t k = 0; k < expected; k++)
			if (buf.data[k] != (char)('a' + k % 26))
				fail_msg("limit %zu: byte %zu is wrong", limit, k);
		buf_clear(&buf);
		assert_int_equal(buf.size, 0);
		assert_false(buf.truncated);
		assert_string_equal(buf.data, "");
		buf_finish(&buf);
		assert_null(buf.data);
		buf_finish(&buf);
	}
}

static void
formats_like_printf(void **state)
{
	char expected[300];

	(void)state;
	for (size_t limit = 0; limit < 140; limit++)
		for (int width = 0; width < 130; width += 3) {
			struct buf buf;
			size_t length;

			buf_init(&buf, limit);
			buf_text(&buf, "<");
			buf_printf(&buf, "%*d", width, 7);
			buf_printf(&buf, "%s", ">");
			length = (size_t)snprintf(expected, sizeof expected, "<%*d>", width, 7);
			if (length > limit)
				expected[limit] = '\0';
			assert_string_equal(buf.data, expected);
			assert_int_equal(buf.size, strlen(expected));
			assert_int_equal(buf.truncated, length > limit);
			buf_finish(&buf);
		}
}

static void
bytes_may_be_zero(void **state)
{
	struct buf buf;

	(void)state;
	buf_init(&buf, 100);
	buf_add(&buf, "a\0b", 3);
	buf_add(&buf, NULL, 0);
	buf_printf(&buf, "%s", "");
	buf_add(&buf, "c", 1);
	assert_int_equal(buf.size, 4);
	assert_memory_equal(buf.data, "a\0bc", 5);
	buf_finish(&buf);
}

static void
one_that_was_never_born_takes_nothing(void **state)
{
	struct buf buf = { 0 };

	(void)state;
	buf_text(&buf, "text");
	buf_printf(&buf, "%d", 1);
	assert_true(buf.truncated);
	assert_int_equal(buf.size, 0);
	buf_clear(&buf);
	buf_finish(&buf);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(grows_up_to_its_limit),
		cmocka_unit_test(formats_like_printf),
		cmocka_unit_test(bytes_may_be_zero),
		cmocka_unit_test(one_that_was_never_born_takes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
