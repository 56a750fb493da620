#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <locale.h>
#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/units.h"

#define GB INT64_C(1000000000)
#define GIB (INT64_C(1) << 30)
#define BAD INT64_C(-7)

static void
sizes(void **state)
{
	static const struct {
		const char *text;
		int64_t bytes; /* BAD: refused */
	} cases[] = {
		{ "0", 0 }, { "0B", 0 }, { "4096", 4096 }, { "512B", 512 }, { "9kB", 9000 }, { "1MB", 1000000 }, { "20GB", 20 * GB },
		{ "1.5 TB", 1500 * GB }, { "80GiB", 80 * GIB }, { "80 GiB", 80 * GIB }, { "1KiB", 1024 }, { "1MiB", 1 << 20 }, { "2TiB", 2048 * GIB },
		{ "0.5KiB", 512 }, { "1.1kB", 1100 }, { "0.1GiB", 107374182 }, { "1.9999999999999999999999999kB", 1999 }, { "0.0000000001GB", 0 },
		{ "1.000000001GB", 1000000001 }, { "007GB", 7 * GB },
		{ "9223372036854775807", INT64_MAX }, { "9223372036854775808", BAD }, { "99999999999999999999", BAD },
		{ "8388607TiB", INT64_C(8388607) << 40 }, { "8388607.9999TiB", 9223372036744824645 }, { "8388608TiB", BAD },
		{ "", BAD }, { "GB", BAD }, { " 1GB", BAD }, { "1GB ", BAD }, { "1  GB", BAD }, { "1 ", BAD }, { "-1GB", BAD }, { "+1GB", BAD },
		{ "1gb", BAD }, { "1KB", BAD }, { "1kiB", BAD }, { "1Gi", BAD }, { "1G", BAD }, { "1PB", BAD }, { "1.GB", BAD }, { ".5GB", BAD },
		{ "1,5GB", BAD }, { "1.5", BAD }, { "1.5.5GB", BAD }, { "1e3", BAD }, { "0x10", BAD }, { "1GBx", BAD }, { "1 G B", BAD },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		int64_t bytes = BAD;

		if (units_size(cases[i].text, &bytes) != (cases[i].bytes != BAD) || bytes != cases[i].bytes)
			fail_msg("`%s`: %lld", cases[i].text, (long long)bytes);
	}
}

static void
durations(void **state)
{
	static const struct {
		const char *text;
		int64_t milliseconds;
	} cases[] = {
		{ "0s", 0 }, { "90s", 90000 }, { "15m", 900000 }, { "1h30m", 5400000 }, { "250ms", 250 }, { "1h2m3s4ms", 3723004 },
		{ "1m1m", 120000 }, { "1s1ms", 1001 }, { "48h", 172800000 },
		{ "9223372036854775807ms", INT64_MAX }, { "9223372036854775808ms", BAD }, { "9223372036854775807ms1ms", BAD }, { "9223372036854775807s", BAD },
		{ "", BAD }, { "s", BAD }, { "90", BAD }, { "1h30", BAD }, { "-1s", BAD }, { "1.5h", BAD }, { "1 s", BAD }, { "1s ", BAD }, { "1d", BAD },
		{ "1S", BAD }, { "1mss", BAD }, { "m1", BAD },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		int64_t milliseconds = BAD;

		if (units_duration(cases[i].text, &milliseconds) != (cases[i].milliseconds != BAD) || milliseconds != cases[i].milliseconds)
			fail_msg("`%s`: %lld", cases[i].text, (long long)milliseconds);
	}
}

static void
integers(void **state)
{
	static const struct {
		const char *text;
		bool good;
		int64_t value;
	} cases[] = {
		{ "0", true, 0 }, { "-0", true, 0 }, { "+5", true, 5 }, { "-5", true, -5 }, { "007", true, 7 },
		{ "9223372036854775807", true, INT64_MAX }, { "9223372036854775808", false, 0 },
		{ "-9223372036854775808", true, INT64_MIN }, { "-9223372036854775809", false, 0 },
		{ "", false, 0 }, { "-", false, 0 }, { "+-1", false, 0 }, { "1 ", false, 0 }, { " 1", false, 0 }, { "1.0", false, 0 }, { "0x1", false, 0 },
		{ "1_000", false, 0 }, { "abc", false, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		int64_t value = 77;

		if (units_int(cases[i].text, &value) != cases[i].good || value != (cases[i].good ? cases[i].value : 77))
			fail_msg("`%s`: %lld", cases[i].text, (long long)value);
	}
}

static void
floats(void **state)
{
	static const struct {
		const char *text;
		bool good;
		double value;
	} cases[] = {
		{ "0.9", true, 0.9 }, { "1", true, 1 }, { "-1.5e3", true, -1500 }, { "+.5", true, 0.5 }, { "5.", true, 5 }, { "1E-2", true, 0.01 },
		{ "1e-400", true, 0 },
		{ "", false, 0 }, { ".", false, 0 }, { "e5", false, 0 }, { "1e", false, 0 }, { "1e+", false, 0 }, { "1e999", false, 0 }, { "inf", false, 0 },
		{ ".inf", false, 0 }, { "nan", false, 0 }, { "0x1p3", false, 0 }, { "0,9", false, 0 }, { "1 ", false, 0 }, { "1.2.3", false, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		double value = 77;

		if (units_float(cases[i].text, &value) != cases[i].good || value < (cases[i].good ? cases[i].value : 77) ||
		    value > (cases[i].good ? cases[i].value : 77))
			fail_msg("`%s`: %g", cases[i].text, value);
	}
}

static void
sizes_for_people(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *size, *memory;
	} cases[] = {
		{ 0, "0 B", "0 B" },
		{ 1, "1 B", "1 B" },
		{ 999, "999 B", "999 B" },
		{ 1000, "1 kB", "1000 B" },
		{ 1023, "1.02 kB", "1023 B" },
		{ 1024, "1.02 kB", "1 KiB" },
		{ 9300, "9.3 kB", "9.08 KiB" },
		{ 9999, "10.0 kB", "9.76 KiB" },
		{ 10040, "10.0 kB", "9.80 KiB" },
		{ 10240, "10.2 kB", "10 KiB" },
		{ 100400, "100 kB", "98.0 KiB" },
		{ 102400, "102 kB", "100 KiB" },
		{ 99949, "99.9 kB", "97.6 KiB" },
		{ 99950, "100 kB", "97.6 KiB" },
		{ 999499, "999 kB", "976 KiB" },
		{ 999500, "1.00 MB", "976 KiB" },
		{ 1000000, "1 MB", "977 KiB" },
		{ 1048064, "1.05 MB", "1.00 MiB" },
		{ 20597112334, "20.6 GB", "19.2 GiB" },
		{ 30000000000, "30 GB", "27.9 GiB" },
		{ 29998000000, "30.0 GB", "27.9 GiB" },
		{ 4980000000, "4.98 GB", "4.64 GiB" },
		{ 25769803776, "25.8 GB", "24 GiB" },
		{ 25438978048, "25.4 GB", "23.7 GiB" },
		{ 212000000000, "212 GB", "197 GiB" },
		{ 1500000000000, "1.5 TB", "1.36 TiB" },
		{ UINT64_MAX, "18446744 TB", "16777216 TiB" },
	};
	struct arena arena = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		assert_string_equal(units_show_size(&arena, cases[i].bytes), cases[i].size);
		assert_string_equal(units_show_memory(&arena, cases[i].bytes), cases[i].memory);
	}
	arena_finish(&arena);
}

static void
durations_for_people(void **state)
{
	static const struct {
		int64_t milliseconds;
		const char *text;
	} cases[] = {
		{ -5, "0 s" }, { INT64_MIN, "0 s" }, { 0, "0 s" }, { 49, "0 s" }, { 50, "0.1 s" }, { 400, "0.4 s" }, { 3840, "3.8 s" }, { 9949, "9.9 s" },
		{ 9950, "10 s" }, { 10499, "10 s" }, { 48000, "48 s" }, { 59499, "59 s" }, { 59500, "1 m 00 s" }, { 60000, "1 m 00 s" },
		{ 245000, "4 m 05 s" }, { 3599499, "59 m 59 s" }, { 3599500, "1 h 00 m" }, { 4320000, "1 h 12 m" }, { 4349499, "1 h 12 m" },
		{ 4350000, "1 h 13 m" }, { 7199999, "2 h 00 m" }, { 360000000, "100 h 00 m" }, { INT64_MAX, "2562047788015 h 13 m" },
	};
	struct arena arena = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		assert_string_equal(units_show_duration(&arena, cases[i].milliseconds), cases[i].text);
	arena_finish(&arena);
}

/* What is shown reads back to about the same, for every power and its neighbours. */
static void
shown_sizes_read_back(void **state)
{
	struct arena arena = { 0 };

	(void)state;
	for (uint64_t number = 1; number < UINT64_C(1) << 60; number += number / 7 + 1) {
		const char *text = units_show_size(&arena, number);
		int64_t back = 0;

		if (!units_size(text, &back) || (uint64_t)back > number + number / 199 || (uint64_t)back < number - number / 199)
			fail_msg("%llu shows as %s", (unsigned long long)number, text);
		text = units_show_memory(&arena, number);
		if (!units_size(text, &back) || (uint64_t)back > number + number / 199 + 1 || (uint64_t)back < number - number / 199 - 1)
			fail_msg("%llu shows as %s", (unsigned long long)number, text);
	}
	arena_finish(&arena);
}

static int
in_a_language_with_a_comma(void **state)
{
	(void)state;
	/* Where it is not installed the tests run in the C locale alone. */
	if (!setlocale(LC_ALL, "de_DE.UTF-8"))
		setlocale(LC_ALL, "");
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes),
		cmocka_unit_test(durations),
		cmocka_unit_test(integers),
		cmocka_unit_test(floats),
		cmocka_unit_test(sizes_for_people),
		cmocka_unit_test(durations_for_people),
		cmocka_unit_test(shown_sizes_read_back),
	};

	return cmocka_run_group_tests(tests, in_a_language_with_a_comma, NULL);
}
