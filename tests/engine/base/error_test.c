#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/error.h"
#include "engine/base/strings.h"

static void
failing_fills_everything(void **state)
{
	struct error err;

	(void)state;
	memset(&err, 'x', sizeof err);
	assert_false((fail)(&err, FAULT_GPU_COUNT, "only %d of %d devices", 3, 4));
	assert_int_equal(err.fault, FAULT_GPU_COUNT);
	assert_string_equal(err.text, "only 3 of 4 devices");
	assert_string_equal(err.label, "");
	assert_string_equal(err.hint, "");
	assert_null(err.at.file);
	assert_int_equal(err.at.line, 0);
	assert_false(fail_at(&err, (struct place){ "a.yaml", 3, 5, 7 }, FAULT_BAD_VALUE, "%s", "bad"));
	assert_string_equal(err.at.file, "a.yaml");
	assert_int_equal(err.at.line, 3);
	assert_int_equal(err.at.column, 5);
	assert_int_equal(err.at.length, 7);
	assert_false(error_label(&err, "%d heads", 32));
	assert_false(error_hint(&err, "use %d", 4));
	assert_string_equal(err.label, "32 heads");
	assert_string_equal(err.hint, "use 4");
	assert_false(error_wrap(&err, "target `%s`", "service"));
	assert_string_equal(err.text, "target `service`: bad");
	assert_string_equal(err.hint, "use 4");
	assert_int_equal(err.fault, FAULT_BAD_VALUE);
	assert_string_equal(err.at.file, "a.yaml");
}

static void
an_error_may_be_made_from_itself(void **state)
{
	struct error err = { 0 };

	(void)state;
	(fail)(&err, FAULT_IO, "inner");
	(fail)(&err, FAULT_DATABASE, "outer: %s", err.text);
	assert_string_equal(err.text, "outer: inner");
	error_wrap(&err, "[%s]", err.text);
	assert_string_equal(err.text, "[outer: inner]: outer: inner");
}

static void
nobody_wants_the_error(void **state)
{
	(void)state;
	assert_false((fail)(NULL, FAULT_IO, "x"));
	assert_false(fail_at(NULL, (struct place){ 0 }, FAULT_IO, "x"));
	assert_false(fail_errno(NULL, "x"));
	assert_false(error_wrap(NULL, "x"));
	assert_false(error_hint(NULL, "x"));
	assert_false(error_label(NULL, "x"));
}

static void
long_text_is_cut_between_characters(void **state)
{
	struct error err = { 0 };
	char text[2000];

	(void)state;
	/* A character of three bytes, at each offset. */
	for (size_t shift = 0; shift < 4; shift++) {
		size_t length = strlen(err.text);
		const char *at;

		memset(text, 'a', shift);
		for (size_t i = 0; i < 600; i++)
			memcpy(text + shift + 3 * i, "\xe5\x81\xa5", 3);
		text[shift + 1800] = '\0';
		assert_false((fail)(&err, FAULT_IO, "%s", text));
		length = strlen(err.text);
		assert_in_range(length, sizeof err.text - 4, sizeof err.text - 1);
		assert_true(text_ends(err.text, "\xe2\x80\xa6"));
		for (at = err.text; *at; at += text_utf8(at, strlen(at)))
			assert_int_not_equal(text_utf8(at, strlen(at)), 0);
		error_wrap(&err, "context");
		assert_true(text_starts(err.text, "context: a") || shift == 0);
		assert_true(strlen(err.text) < sizeof err.text);
		for (at = err.text; *at; at += text_utf8(at, strlen(at)))
			assert_int_not_equal(text_utf8(at, strlen(at)), 0);
	}
	/* What just fits is not cut. */
	memset(text, 'b', sizeof text);
	text[sizeof err.text - 1] = '\0';
	(fail)(&err, FAULT_IO, "%s", text);
	assert_string_equal(err.text, text);
	/* One more is cut, and what stands behind it in the error is left alone. */
	text[sizeof err.text - 1] = 'b';
	text[sizeof err.text] = '\0';
	error_label(&err, "label");
	error_wrap(&err, "%s", "");
	memset(err.label, 'l', sizeof err.label - 1);
	(fail)(&err, FAULT_IO, "%s", text);
	assert_true(text_ends(err.text, "b\xe2\x80\xa6"));
	assert_int_equal(strlen(err.text), sizeof err.text - 1);
	text[sizeof err.hint - 1] = '\0';
	error_hint(&err, "%s", text);
	assert_string_equal(err.hint, text);
}

static void
errno_decides_the_fault(void **state)
{
	static const struct {
		int number;
		enum fault fault;
		const char *text;
	} cases[] = {
		{ ENOENT, FAULT_NOT_FOUND, "open `x`: No such file or directory" },
		{ ENOSPC, FAULT_CANNOT_CREATE, "open `x`: No space left on device" },
		{ EDQUOT, FAULT_CANNOT_CREATE, "open `x`: Disk quota exceeded" },
		{ EROFS, FAULT_CANNOT_CREATE, "open `x`: Read-only file system" },
		{ EACCES, FAULT_PERMISSION, "open `x`: Permission denied" },
		{ EPERM, FAULT_PERMISSION, "open `x`: Operation not permitted" },
		{ EIO, FAULT_IO, "open `x`: Input/output error" },
		{ EMFILE, FAULT_IO, "open `x`: Too many open files" },
		{ 99999, FAULT_IO, "open `x`: error 99999" },
	};

	(void)state;
	setlocale(LC_ALL, "");
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct error err = { 0 };

		errno = cases[i].number;
		assert_false(fail_errno(&err, "open `%s`", "x"));
		assert_int_equal(err.fault, cases[i].fault);
		assert_string_equal(err.text, cases[i].text);
		assert_int_equal(errno, cases[i].number);
	}
}

static void
errors_are_sorted_by_place(void **state)
{
	static const struct error unsorted[] = {
		{ .text = "9", .fault = FAULT_IO },
		{ .text = "6", .at = { "b.yaml", 1, 1, 0 } },
		{ .text = "3", .at = { "a.yaml", 10, 2, 0 } },
		{ .text = "1", .at = { "a.yaml", 9, 7, 0 } },
		{ .text = "7", .at = { "b.yaml", 2, 1, 0 } },
		{ .text = "2", .at = { "a.yaml", 10, 1, 0 } },
		{ .text = "8", .at = { "b.yaml", 2, 1, 9 } },
		{ .text = "4", .at = { "a.yaml", 10, 2, 0 } },
		{ .text = "5", .at = { "a.yaml", 10, 2, 0 } },
	};
	struct arena arena = { 0 };
	struct errors errors;

	(void)state;
	errors_init(&errors, &arena);
	errors_sort(&errors);
	for (size_t i = 0; i < sizeof unsorted / sizeof *unsorted; i++)
		errors_add(&errors, &unsorted[i]);
	errors_sort(&errors);
	assert_int_equal(errors.count, 9);
	for (size_t i = 0; i < errors.count; i++)
		assert_int_equal(errors.items[i].text[0], '1' + (int)i);
	/* It can grow afterwards. */
	errors_add(&errors, &unsorted[0]);
	assert_string_equal(errors.items[9].text, "9");
	assert_string_equal(errors.items[0].text, "1");
	arena_finish(&arena);
}

static void
a_file_without_a_line_is_nowhere(void **state)
{
	struct arena arena = { 0 };
	struct errors errors;
	struct error err = { 0 };

	(void)state;
	errors_init(&errors, &arena);
	fail_at(&err, (struct place){ "a.yaml", 0, 0, 0 }, FAULT_IO, "last");
	errors_add(&errors, &err);
	fail_at(&err, (struct place){ "z.yaml", 1, 1, 0 }, FAULT_IO, "first");
	errors_add(&errors, &err);
	fail_at(&err, (struct place){ "a.yaml", 0, 0, 0 }, FAULT_IO, "last");
	errors_add(&errors, &err);
	fail_at(&err, (struct place){ NULL, 5, 0, 0 }, FAULT_IO, "last");
	errors_add(&errors, &err);
	fail_at(&err, (struct place){ "z.yaml", 2, 1, 0 }, FAULT_IO, "second");
	errors_add(&errors, &err);
	errors_sort(&errors);
	assert_string_equal(errors.items[0].text, "first");
	assert_string_equal(errors.items[1].text, "second");
	assert_string_equal(errors.items[4].text, "last");
	arena_finish(&arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(failing_fills_everything),
		cmocka_unit_test(an_error_may_be_made_from_itself),
		cmocka_unit_test(nobody_wants_the_error),
		cmocka_unit_test(long_text_is_cut_between_characters),
		cmocka_unit_test(errno_decides_the_fault),
		cmocka_unit_test(errors_are_sorted_by_place),
		cmocka_unit_test(a_file_without_a_line_is_nowhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
