#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "engine/base/version.h"

static int
sign(int number)
{
	return (number > 0) - (number < 0);
}

static void
comparing(void **state)
{
	static const struct {
		const char *a, *b;
		int order;
	} cases[] = {
		{ "1", "1", 0 }, { "1", "2", -1 }, { "9", "10", -1 }, { "550.54", "550", 1 }, { "550.0", "550", 0 }, { "550.0.0", "550", 0 },
		{ "550.54.15", "550.54.15", 0 }, { "550.54.15", "550.54.14", 1 }, { "550.54.15", "560", -1 }, { "1.02", "1.2", 0 },
		{ "29.0.1-ce", "29.0.1", 0 }, { "29.0.1-ce", "29.0.2", -1 }, { "v0.12.0", "0.12", 0 }, { "v0.12.0", "v0.13", -1 },
		{ "5.0.0rc0", "5.0.0", 0 }, { "12.9 (extra)", "12.9", 0 }, { "1.", "1", 0 }, { "1..2", "1", 0 }, { "", "0", 0 }, { "", "", 0 },
		{ "", "1", -1 }, { "abc", "0.0", 0 }, { "12345678901234567890123", "12345678901234567890124", -1 },
		{ "0000000000000000000000001", "1", 0 }, { "1.0.1", "1", 1 }, { "0", "0.0.1", -1 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		if (sign(version_compare(cases[i].a, cases[i].b)) != cases[i].order || sign(version_compare(cases[i].b, cases[i].a)) != -cases[i].order)
			fail_msg("`%s` and `%s`", cases[i].a, cases[i].b);
	}
}

static void
conditions(void **state)
{
	static const struct {
		const char *version, *condition;
		bool valid, meets;
	} cases[] = {
		{ "550.54", ">=550", true, true }, { "549.99", ">=550", true, false }, { "550", ">=550", true, true }, { "550", ">550", true, false },
		{ "550.1", ">550", true, true }, { "550", "<=550", true, true }, { "550.1", "<=550", true, false }, { "549", "<550", true, true },
		{ "550", "<550", true, false }, { "550", "=550", true, true }, { "550.0", "==550", true, true }, { "550.1", "=550", true, false },
		{ "551", "550", true, true }, { "549", "550", true, false }, { "12.9", " >= 12.9 ", true, true },
		{ "20.10.5", ">=20.10,<29", true, true }, { "29.0", ">=20.10,<29", true, false }, { "20.9", ">=20.10, <29", true, false },
		{ "25", ">=20, <30, =25", true, true }, { "25", ">=20, <30, =26", true, false },
		{ "1", "", false, false }, { "1", ">=", false, false }, { "1", ">=a", false, false }, { "1", ">=1,", false, false }, { "1", ",>=1", false, false },
		{ "1", "~1", false, false }, { "1", ">=1 2", false, false }, { "1", ">=1.", false, false }, { "1", ">=1-ce", false, false },
		{ "1", "=>1", false, false }, { "1", ">= =1", false, false }, { "1", ">=1,,<2", false, false },
		{ "2", "<3,x", false, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		if (version_condition_valid(cases[i].condition) != cases[i].valid || version_meets(cases[i].version, cases[i].condition) != cases[i].meets)
			fail_msg("`%s` and `%s`", cases[i].version, cases[i].condition);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(comparing),
		cmocka_unit_test(conditions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
