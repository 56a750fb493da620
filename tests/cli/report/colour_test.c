#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#include "cli/report/colour.h"

/* The environment of the row that is tried. */
static const char *const *now;

static const char *
lookup(const char *name)
{
	for (const char *const *pair = now; *pair; pair += 2)
		if (strcmp(pair[0], name) == 0)
			return pair[1];
	return NULL;
}

static void
first_match_wins(void **state)
{
	static const struct {
		const char *environment[9];
		enum choice option;
		bool terminal;
		bool wanted;
	} rows[] = {
		{ { "TERM", "xterm", NULL }, CHOICE_AUTO, true, true },
		{ { "TERM", "xterm", NULL }, CHOICE_AUTO, false, false },
		{ { "TERM", "dumb", NULL }, CHOICE_AUTO, true, false },
		{ { NULL }, CHOICE_AUTO, true, false },
		{ { NULL }, CHOICE_ALWAYS, false, true },
		{ { "TERM", "xterm", "PROVISION_COLOR", "always", NULL }, CHOICE_NEVER, true, false },
		{ { "NO_COLOR", "1", "PROVISION_COLOR", "always", NULL }, CHOICE_AUTO, false, true },
		{ { "TERM", "xterm", "PROVISION_COLOR", "never", NULL }, CHOICE_AUTO, true, false },
		{ { "TERM", "xterm", "PROVISION_COLOR", "auto", NULL }, CHOICE_AUTO, true, true },
		{ { "TERM", "xterm", "NO_COLOR", "1", "CLICOLOR_FORCE", "1", NULL }, CHOICE_AUTO, true, false },
		{ { "TERM", "xterm", "NO_COLOR", "", NULL }, CHOICE_AUTO, true, true },
		{ { "CLICOLOR_FORCE", "1", NULL }, CHOICE_AUTO, false, true },
		{ { "FORCE_COLOR", "1", NULL }, CHOICE_AUTO, false, true },
		{ { "FORCE_COLOR", "0", NULL }, CHOICE_AUTO, false, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		now = rows[i].environment;
		assert_int_equal(colour_wanted(rows[i].option, lookup, rows[i].terminal), rows[i].wanted);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(first_match_wins) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
