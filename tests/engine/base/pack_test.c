#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "engine/base/buf.h"
#include "engine/base/pack.h"

static void
the_format_is_fixed(void **state)
{
	static const unsigned char expected[] = {
		3, 0, 0, 0, 'a', 0, 'b',       /* bytes */
		3, 0, 0, 0, 'h', 'i', 0,       /* text with its NUL */
		1, 0, 0, 0, 0,                 /* "" */
		0, 0, 0, 0,                    /* NULL */
		8, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		8, 0, 0, 0, 0x08, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01,
	};
	struct buf buf;

	(void)state;
	buf_init(&buf, 1000);
	pack_bytes(&buf, "a\0b", 3);
	pack_text(&buf, "hi");
	pack_text(&buf, "");
	pack_text(&buf, NULL);
	pack_int(&buf, -2);
	pack_int(&buf, 0x0102030405060708);
	assert_int_equal(buf.size, sizeof expected);
	assert_memory_equal(buf.data, expected, sizeof expected);
	buf_finish(&buf);
}

static void
fill(struct buf *buf)
{
	buf_init(buf, 1000);
	pack_text(buf, "name");
	pack_text(buf, NULL);
	pack_text(buf, "");
	pack_int(buf, INT64_MIN);
	pack_int(buf, INT64_MAX);
	pack_bytes(buf, "x\0y", 3);
	pack_bytes(buf, "", 0);
	pack_text(buf, "end");
}

/* Whether everything comes back; false at the first thing that does not. */
static bool
reads_back(struct unpack *unpack)
{
	const char *text;
	const void *bytes;
	size_t size;

	text = unpack_text(unpack);
	if (!text || strcmp(text, "name") != 0)
		return false;
	if (unpack_text(unpack) || unpack->bad)
		return false;
	text = unpack_text(unpack);
	if (!text || *text)
		return false;
	if (unpack_int(unpack) != INT64_MIN || unpack_int(unpack) != INT64_MAX)
		return false;
	bytes = unpack_bytes(unpack, &size);
	if (!bytes || size != 3 || memcmp(bytes, "x\0y", 3) != 0)
		return false;
	unpack_bytes(unpack, &size);
	if (size != 0 || unpack->bad)
		return false;
	text = unpack_text(unpack);
	return text && strcmp(text, "end") == 0 && unpack_done(unpack);
}

static void
what_is_packed_is_unpacked(void **state)
{
	struct unpack unpack;
	struct buf buf;

	(void)state;
	fill(&buf);
	unpack_init(&unpack, buf.data, buf.size);
	assert_false(unpack_done(&unpack));
	assert_true(reads_back(&unpack));
	/* Nothing follows. */
	assert_null(unpack_text(&unpack));
	assert_true(unpack.bad);
	buf_finish(&buf);
	unpack_init(&unpack, NULL, 0);
	assert_true(unpack_done(&unpack));
}

static void
a_torn_pack_fails_at_each_length(void **state)
{
	struct buf buf;

	(void)state;
	fill(&buf);
	for (size_t size = 0; size < buf.size; size++) {
		/* A copy of just that size, so that a sanitizer sees a read behind it. */
		char *torn = malloc(size ? size : 1);
		struct unpack unpack;
		size_t got;

		memcpy(torn, buf.data, size);
		unpack_init(&unpack, torn, size);
		assert_false(reads_back(&unpack));
		while (!unpack.bad && unpack.at < unpack.size)
			unpack_bytes(&unpack, &got);
		if (unpack.bad) {
			/* Everything after it is empty. */
			assert_null(unpack_text(&unpack));
			assert_int_equal(unpack_int(&unpack), 0);
			assert_null(unpack_bytes(&unpack, &got));
			assert_int_equal(got, 0);
			assert_false(unpack_done(&unpack));
		}
		free(torn);
	}
	buf_finish(&buf);
}

static void
damaged_fields_are_bad(void **state)
{
	static const struct {
		unsigned char bytes[16];
		size_t size;
		bool text_bad, int_bad;
	} cases[] = {
		{ { 0xff, 0xff, 0xff, 0xff, 'a' }, 5, true, true },
		{ { 2, 0, 0, 0, 'a', 'b' }, 6, true, true },
		{ { 3, 0, 0, 0, 'a', 0, 'b' }, 7, true, true },
		{ { 3, 0, 0, 0, 'a', 0, 0 }, 7, true, true },
		{ { 2, 0, 0, 0, 'a', 0 }, 6, false, true },
		{ { 7, 0, 0, 0, 1, 2, 3, 4, 5, 6, 0 }, 11, false, true },
		{ { 8, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 0 }, 12, false, false },
		{ { 0, 0, 0, 0 }, 4, false, true },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct unpack unpack;

		unpack_init(&unpack, cases[i].bytes, cases[i].size);
		unpack_text(&unpack);
		assert_int_equal(unpack.bad, cases[i].text_bad);
		assert_int_equal(unpack_done(&unpack), !cases[i].text_bad);
		unpack_init(&unpack, cases[i].bytes, cases[i].size);
		unpack_int(&unpack);
		assert_int_equal(unpack.bad, cases[i].int_bad);
	}
}

static void
what_does_not_fit_is_said(void **state)
{
	struct buf buf;

	(void)state;
	buf_init(&buf, 6);
	pack_text(&buf, "hi");
	assert_true(buf.truncated);
	buf_finish(&buf);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_format_is_fixed),
		cmocka_unit_test(what_is_packed_is_unpacked),
		cmocka_unit_test(a_torn_pack_fails_at_each_length),
		cmocka_unit_test(damaged_fields_are_bad),
		cmocka_unit_test(what_does_not_fit_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
