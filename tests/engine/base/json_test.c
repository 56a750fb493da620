#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "engine/base/cleanup.h"
#include "engine/base/json.h"
#include "engine/base/strings.h"
#include "scratch.h"

/* `open` n times, then `middle`, then `close` n times. */
static char *
nested(const char *open, const char *middle, const char *close, size_t n)
{
	struct buf buf;

	buf_init(&buf, 1 << 20);
	for (size_t i = 0; i < n; i++)
		buf_text(&buf, open);
	buf_text(&buf, middle);
	for (size_t i = 0; i < n; i++)
		buf_text(&buf, close);
	return buf.data;
}

static void
good_and_bad_texts(void **state)
{
	static const struct {
		const char *text;
		bool good;
	} cases[] = {
		{ "{}", true }, { "[1, 2]", true }, { "\"x\"", true }, { "null", true }, { " {\"a\": 1.5e3} \n", true },
		{ "{\"a\": 1, \"b\": {\"a\": 2}}", true }, { "\"\xe5\x81\xa5\"", true }, { "9223372036854775807", true },
		{ "", false }, { "{", false }, { "{} x", false }, { "{'a': 1}", false }, { "[1,]", false }, { "nul", false },
		{ "{\"a\": 1, \"a\": 2}", false }, { "{\"b\": {\"a\": 1, \"a\": 1}}", false },
		{ "\"\xff\"", false }, { "\"\xc0\x80\"", false }, { "\"\xed\xa0\x80\"", false }, { "\"\\ud800\"", false },
		{ "{\"a\\u0000\": 1}", false }, { "\"a\\u0000b\"", false },
		{ "9223372036854775808", false }, { "1e999", false }, { "01", false }, { "\xef\xbb\xbf{}", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		json_t *value finally(json_release) = NULL;
		struct error err = { 0 };

		if (json_parse(cases[i].text, strlen(cases[i].text), "the answer", &value, &err) != cases[i].good)
			fail_msg("`%s`", cases[i].text);
		assert_int_equal(value != NULL, cases[i].good);
		if (!cases[i].good) {
			assert_int_equal(err.fault, FAULT_PROTOCOL);
			assert_true(text_starts(err.text, "the answer: "));
		}
	}
}

static void
a_nul_byte_is_refused(void **state)
{
	json_t *value = NULL;
	struct error err = { 0 };

	(void)state;
	assert_false(json_parse("[1]\0", 4, "x", &value, &err));
	assert_false(json_parse("\"a\0b\"", 5, "x", &value, &err));
	assert_null(value);
}

static void
depth_is_counted_outside_of_strings(void **state)
{
	char *exact;
	static const struct {
		const char *open, *middle, *close;
		size_t count;
		bool good;
	} cases[] = {
		{ "[", "", "]", 64, true }, { "[", "", "]", 65, false }, { "[", "{}", "]", 63, true }, { "[", "{}", "]", 64, false },
		{ "{\"a\":", "1", "}", 64, true }, { "{\"a\":", "1", "}", 65, false }, { "[", "\"[[[[\"", "]", 64, true },
		{ "[", "\"\\\"[[[[\"", "]", 64, true }, { "[", "\"\\\\\",[1]", "]", 64, false }, { "[", "[1],[2],[3]", "]", 63, true },
		{ "[", "", "]", 100000, false }, { "[", "", "", 100000, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char *text finally(free_text) = nested(cases[i].open, cases[i].middle, cases[i].close, cases[i].count);
		json_t *value finally(json_release) = NULL;
		struct error err = { 0 };

		assert_int_equal(json_depth_ok(text, strlen(text), 64), cases[i].good);
		assert_int_equal(json_parse(text, strlen(text), "x", &value, &err), cases[i].good);
	}
	assert_true(json_depth_ok("", 0, 0));
	assert_true(json_depth_ok("]]]]", 4, 0));
	assert_false(json_depth_ok("]]]][", 5, 0));
	assert_true(json_depth_ok("\"\\", 2, 0));
	assert_true(json_depth_ok("]][", 3, 1));
	/* Just so many bytes: a sanitizer sees one more. */
	exact = malloc(3);
	memcpy(exact, "[[\"", 3);
	assert_true(json_depth_ok(exact, 3, 2));
	free(exact);
}

static void
too_long_is_refused_unread(void **state)
{
	json_t *value = NULL;
	struct error err = { 0 };

	(void)state;
	assert_false(json_parse("[]", (size_t)JSON_LIMIT + 1, "the listing", &value, &err));
	assert_int_equal(err.fault, FAULT_PROTOCOL);
}

static void
files_are_parsed(void **state)
{
	struct scratch *scratch = *state;
	json_t *value finally(json_release) = NULL;
	struct error err = { 0 };
	const char *path;

	scratch_file(scratch, "a.json", "{\"a\": [1]}");
	path = scratch_path(scratch, "a.json");
	assert_true(json_parse_file(path, 100, &value, &err));
	assert_true(json_is_array(json_at(value, "a")));
	assert_false(json_parse_file(path, 5, &value, &err));
	assert_int_equal(err.fault, FAULT_TOO_LARGE);
	scratch_file(scratch, "a.json", "{");
	assert_false(json_parse_file(path, 100, &value, &err));
	assert_int_equal(err.fault, FAULT_PROTOCOL);
	assert_true(text_starts(err.text, scratch->path));
	assert_false(json_parse_file("/missing.json", 100, &value, &err));
	assert_int_equal(err.fault, FAULT_NOT_FOUND);
}

static void
paths_are_looked_up(void **state)
{
	static const char text[] = "{\"config\": {\"text\": {\"heads\": 32, \"name\": \"glm\"}, \"rate\": 1.5}, \"list\": [1], \"no\": null, \"yes\": true}";
	json_t *value finally(json_release) = NULL;
	struct error err = { 0 };
	int64_t number = 7;
	char long_key[400];

	(void)state;
	assert_true(json_parse(text, sizeof text - 1, "x", &value, &err));
	assert_true(json_int_at(value, "config.text.heads", &number));
	assert_int_equal(number, 32);
	assert_string_equal(json_string_at(value, "config.text.name"), "glm");
	assert_ptr_equal(json_at(value, ""), value);
	assert_true(json_is_null(json_at(value, "no")));
	number = 7;
	assert_false(json_int_at(value, "config.rate", &number));
	assert_false(json_int_at(value, "config.text.name", &number));
	assert_false(json_int_at(value, "yes", &number));
	assert_false(json_int_at(value, "config.text.heads.more", &number));
	assert_false(json_int_at(value, "config.missing.heads", &number));
	assert_false(json_int_at(NULL, "a", &number));
	assert_int_equal(number, 7);
	assert_null(json_string_at(value, "config.text.heads"));
	assert_null(json_string_at(value, "list.0"));
	assert_null(json_at(value, "config..text"));
	memset(long_key, 'a', sizeof long_key - 1);
	long_key[sizeof long_key - 1] = '\0';
	assert_null(json_at(value, long_key));
	long_key[256] = '\0';
	assert_null(json_at(value, long_key));
}

static void
values_become_text(void **state)
{
	static const char text[] = "{ \"b\" : [1, 2.5, null] , \"a\" : \"\xe5\x81\xa5\\n\" }";
	json_t *value finally(json_release) = NULL;
	struct arena arena = { 0 };
	struct error err = { 0 };

	(void)state;
	assert_true(json_parse(text, sizeof text - 1, "x", &value, &err));
	assert_string_equal(json_text(&arena, value, false), "{\"b\":[1,2.5,null],\"a\":\"\xe5\x81\xa5\\n\"}");
	assert_string_equal(json_text(&arena, value, true), "{\"a\":\"\xe5\x81\xa5\\n\",\"b\":[1,2.5,null]}");
	assert_string_equal(json_text(&arena, json_at(value, "a"), true), "\"\xe5\x81\xa5\\n\"");
	arena_finish(&arena);
}

static void
quoting(void **state)
{
	static const struct {
		const char *text, *quoted;
	} cases[] = {
		{ "", "\"\"" },
		{ "plain", "\"plain\"" },
		{ "a\"b\\c", "\"a\\\"b\\\\c\"" },
		{ "\b\f\n\r\t", "\"\\b\\f\\n\\r\\t\"" },
		{ "\x01\x1b[31m\x7f", "\"\\u0001\\u001b[31m\\u007f\"" },
		{ "\xe5\x81\xa5\xf0\x9f\x98\x80", "\"\xe5\x81\xa5\xf0\x9f\x98\x80\"" },
		{ "\xff", "\"\xef\xbf\xbd\"" },
		{ "a\xe5\x81", "\"a\xef\xbf\xbd\xef\xbf\xbd\"" },
		{ "\xed\xa0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"" },
		{ "a/b ~", "\"a/b ~\"" },
		{ "bfnrt", "\"bfnrt\"" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		json_t *value finally(json_release) = NULL;
		struct error err = { 0 };
		struct buf buf;

		buf_init(&buf, 1000);
		json_quote(&buf, cases[i].text);
		assert_string_equal(buf.data, cases[i].quoted);
		assert_true(json_parse(buf.data, buf.size, "x", &value, &err));
		buf_finish(&buf);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_and_bad_texts),
		cmocka_unit_test(a_nul_byte_is_refused),
		cmocka_unit_test(depth_is_counted_outside_of_strings),
		cmocka_unit_test(too_long_is_refused_unread),
		cmocka_unit_test_setup_teardown(files_are_parsed, scratch_setup, scratch_teardown),
		cmocka_unit_test(paths_are_looked_up),
		cmocka_unit_test(values_become_text),
		cmocka_unit_test(quoting),
	};

	setlocale(LC_ALL, "");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
