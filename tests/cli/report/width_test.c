#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#include "cli/report/width.h"
#include "engine/base/buf.h"

struct row {
	const char *text;
	size_t columns;
	const char *shown;
};

static const struct row rows[] = {
	{ "", 0, "" },
	{ "plain", 5, "plain" },
	{ "健康", 4, "健康" },
	{ "ｶﾅ", 2, "ｶﾅ" },
	{ "Ａ", 2, "Ａ" },
	{ "e\xcc\x81", 1, "e\xcc\x81" },         /* a combining accent */
	{ "한글", 4, "한글" },
	{ "α±", 2, "α±" },                       /* ambiguous width counts as one */
	{ "\xf0\x9f\x99\x82", 2, "\xf0\x9f\x99\x82" },
	{ "a\x1b[31m", 9, "a\\x1b[31m" },
	{ "a\tb\n", 10, "a\\x09b\\x0a" },
	{ "\x7f", 4, "\\x7f" },
	{ "\xc2\x9b", 4, "\\x9b" },              /* the one-character CSI */
	{ "\xe2\x80\xae", 8, "\\u{202e}" },      /* text from right to left */
	{ "\xe2\x80\x8b", 8, "\\u{200b}" },
	{ "\xff\xfe", 8, "\\xff\\xfe" },
	{ "\xe5\x81", 8, "\\xe5\\x81" },         /* cut in the middle */
	{ "\xc0\xaf", 8, "\\xc0\\xaf" },         /* overlong */
	{ "\xed\xa0\x80", 12, "\\xed\\xa0\\x80" }, /* a surrogate */
};

static void
counts_and_shows(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct buf shown;

		buf_init(&shown, 1024);
		assert_int_equal(width_of(rows[i].text), rows[i].columns);
		assert_int_equal(width_add_safe(&shown, rows[i].text, strlen(rows[i].text)), rows[i].columns);
		assert_string_equal(shown.data, rows[i].shown);
		buf_finish(&shown);
	}
}

static void
cuts_between_characters(void **state)
{
	static const struct {
		const char *text;
		size_t columns;
		size_t bytes;
	} cuts[] = {
		{ "abc", 2, 2 }, { "abc", 9, 3 }, { "健康", 3, 3 }, { "健康", 4, 6 }, { "健康", 1, 0 },
		{ "a\x1b", 4, 1 }, { "a\x1b", 5, 2 }, { "e\xcc\x81x", 1, 3 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++)
		assert_int_equal(width_fit(cuts[i].text, cuts[i].columns), cuts[i].bytes);
}

/* The tables are searched by halves: every range must lie behind the one before. */
static void
finds_the_ends_of_ranges(void **state)
{
	static const struct {
		uint32_t point;
		unsigned width;
	} points[] = {
		{ 0x2ff, 1 },
		{ 0x300, 0 },
		{ 0x36f, 0 },
		{ 0x370, 1 },
		{ 0x10ff, 1 },
		{ 0x1100, 2 },
		{ 0x115f, 2 },
		{ 0x1160, 0 },
		{ 0x11ff, 0 },
		{ 0x1200, 1 },
		{ 0x33ff, 2 },
		{ 0x3400, 2 },
		{ 0x4dbf, 2 },
		{ 0x4dc0, 1 },
		{ 0x4e00, 2 },
		{ 0x9fff, 2 },
		{ 0xabff, 1 },
		{ 0xac00, 2 },
		{ 0xd7a3, 2 },
		{ 0xd7a4, 1 },
		{ 0xff60, 2 },
		{ 0xff61, 1 },
		{ 0x1f600, 2 },
		{ 0x20000, 2 },
		{ 0x3fffd, 2 },
		{ 0xe0100, 0 },
		{ 0x10ffff, 1 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof points / sizeof *points; i++)
		assert_int_equal(width_of_point(points[i].point), points[i].width);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counts_and_shows),
		cmocka_unit_test(cuts_between_characters),
		cmocka_unit_test(finds_the_ends_of_ranges),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
