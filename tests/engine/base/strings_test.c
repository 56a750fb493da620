#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/strings.h"

static void
lists_grow(void **state)
{
	struct arena arena = { 0 };
	struct strings strings = { 0 };
	struct pairs pairs = { 0 };

	(void)state;
	assert_false(strings_has(&strings, ""));
	assert_null(pairs_get(&pairs, ""));
	for (int i = 0; i < 1000; i++) {
		const char *text = arena_printf(&arena, "%d", i);

		strings_add(&strings, &arena, text);
		pairs_set(&pairs, &arena, text, text);
	}
	assert_int_equal(strings.count, 1000);
	assert_string_equal(strings.items[999], "999");
	assert_true(strings_has(&strings, "500"));
	assert_false(strings_has(&strings, "1000"));
	assert_false(strings_has(&strings, "5000"));
	pairs_set(&pairs, &arena, "500", "new");
	assert_int_equal(pairs.count, 1000);
	assert_string_equal(pairs_get(&pairs, "500"), "new");
	assert_string_equal(pairs_get(&pairs, "501"), "501");
	assert_string_equal(pairs.items[500].value, "new");
	assert_null(pairs_get(&pairs, "1000"));
	arena_finish(&arena);
}

static void
comparing(void **state)
{
	static const struct {
		const char *text, *other;
		bool equal, starts, ends;
	} cases[] = {
		{ "", "", true, true, true },          { "a", "", false, true, true },       { "", "a", false, false, false },
		{ "abc", "abc", true, true, true },    { "abc", "ab", false, true, false },  { "abc", "bc", false, false, true },
		{ "abc", "b", false, false, false },   { "ab", "abc", false, false, false }, { "aa", "a", false, true, true },
		{ "abc", "ABC", false, false, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		assert_int_equal(text_equal(cases[i].text, cases[i].other), cases[i].equal);
		assert_int_equal(text_starts(cases[i].text, cases[i].other), cases[i].starts);
		assert_int_equal(text_ends(cases[i].text, cases[i].other), cases[i].ends);
	}
	assert_true(text_equal(NULL, NULL));
	assert_false(text_equal(NULL, ""));
	assert_false(text_equal("", NULL));
}

/* Every sequence of up to three bytes, against the definition by code points. */
static size_t
reference(const unsigned char *b, size_t size)
{
	uint32_t code;

	if (size >= 1 && b[0] < 0x80)
		return 1;
	if (size >= 2 && (b[0] & 0xe0) == 0xc0 && (b[1] & 0xc0) == 0x80) {
		code = (b[0] & 0x1fu) << 6 | (b[1] & 0x3fu);
		return code >= 0x80 ? 2 : 0;
	}
	if (size >= 3 && (b[0] & 0xf0) == 0xe0 && (b[1] & 0xc0) == 0x80 && (b[2] & 0xc0) == 0x80) {
		code = (b[0] & 0x0fu) << 12 | (b[1] & 0x3fu) << 6 | (b[2] & 0x3fu);
		return code >= 0x800 && (code < 0xd800 || code > 0xdfff) ? 3 : 0;
	}
	if (size >= 4 && (b[0] & 0xf8) == 0xf0 && (b[1] & 0xc0) == 0x80 && (b[2] & 0xc0) == 0x80 && (b[3] & 0xc0) == 0x80) {
		code = (b[0] & 0x07u) << 18 | (b[1] & 0x3fu) << 12 | (b[2] & 0x3fu) << 6 | (b[3] & 0x3fu);
		return code >= 0x10000 && code <= 0x10ffff ? 4 : 0;
	}
	return 0;
}

static void
utf8_as_defined(void **state)
{
	static const unsigned char last[] = { 0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xff };

	(void)state;
	assert_int_equal(text_utf8("", 0), 0);
	for (unsigned first = 0; first < 256; first++)
		for (unsigned second = 0; second < 256; second++)
			for (size_t i = 0; i < sizeof last * sizeof last; i++) {
				unsigned char bytes[] = { (unsigned char)first, (unsigned char)second, last[i % sizeof last], last[i / sizeof last] };

				for (size_t size = 1; size <= 4; size++)
					if (text_utf8((const char *)bytes, size) != reference(bytes, size))
						fail_msg("%02x %02x %02x %02x of %zu", bytes[0], bytes[1], bytes[2], bytes[3], size);
			}
}

static void
words_of_a_shell(void **state)
{
	struct arena arena;

	(void)state;
	arena_init(&arena);
	assert_string_equal(text_shell(&arena, "manifests/tp4.yaml"), "manifests/tp4.yaml");
	assert_string_equal(text_shell(&arena, "健康.yaml"), "健康.yaml");
	assert_string_equal(text_shell(&arena, "a b"), "'a b'");
	assert_string_equal(text_shell(&arena, "it's"), "'it'\\''s'");
	assert_string_equal(text_shell(&arena, ""), "''");
	arena_finish(&arena);
}

static void
last_lines(void **state)
{
	static const struct {
		const char *text;
		const char *last; /* NULL: there is none */
	} cases[] = {
		{ "", NULL }, { "\n", NULL }, { " \r\n ", NULL }, { "one", "one" }, { "one\n", "one" }, { "one\ntwo \r\n\n", "two" }, { "one\n two", " two" },
	};
	struct arena arena finally(arena_finish) = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const char *last = text_last_line(&arena, cases[i].text, strlen(cases[i].text));

		assert_true(text_equal(last, cases[i].last));
	}
	/* Only so many bytes count. */
	assert_string_equal(text_last_line(&arena, "one\ntwo", 3), "one");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lists_grow),
		cmocka_unit_test(comparing),
		cmocka_unit_test(utf8_as_defined),
		cmocka_unit_test(words_of_a_shell),
		cmocka_unit_test(last_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
