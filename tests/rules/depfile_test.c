/* depfile.c: what GCC, Clang and others write, and what they do not. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>

#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "rules/depfile.h"

#include <cmocka.h> /* last: its macro `fail` hides our function */

static void
rules_in_make_syntax(void **state)
{
	static const struct {
		const char *text;
		const char *paths[6];
	} cases[] = {
		{ "", { NULL } },
		{ "\n\n# nothing\n", { NULL } },
		{ "a.o: a.c\n", { "a.c" } },
		{ "a.o: a.c", { "a.c" } },
		{ "a.o :a.c b.h", { "a.c", "b.h" } },
		{ "a.o : a.c b.h\n", { "a.c", "b.h" } },
		{ "a.o: a.c \\\n  b.h \\\n\tc.h\n", { "a.c", "b.h", "c.h" } },
		{ "a.o: a.c \\\r\n  b.h\r\n", { "a.c", "b.h" } },
		{ "a.o: \\\n a.c\n\nb.h:\n\nc.h:\n", { "a.c" } },
		{ "a.o a.d: a.c\n", { "a.c" } },
		{ "a.o: my\\ file.h b.h\n", { "my file.h", "b.h" } },
		{ "a.o: cost$$.h \\#1.h\n", { "cost$.h", "#1.h" } },
		{ "a.o: b.h # and no more\n", { "b.h" } },
		{ "a.o: back\\slash.h\n", { "back\\slash.h" } },
		{ "c:/a.o: c:/b.h\n", { "c:/b.h" } },
		{ "a.o: std::vec.h\n", { "std::vec.h" } },
		{ "a.o: one\nb.o: two one\n", { "one", "two", "one" } },
		{ "a.o: end\\\n", { "end" } },
		{ "a.o: \xc3\xa4.h\n", { "\xc3\xa4.h" } },
		{ "a.o:\\\n b.h", { "b.h" } },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct arena arena finally(arena_finish) = { 0 };
		struct strings paths = { 0 };
		struct error err;
		size_t count = 0;

		if (!depfile_parse(cases[i].text, strlen(cases[i].text), &arena, &paths, &err))
			fail_msg("%s: %s", cases[i].text, err.text);
		while (cases[i].paths[count])
			count++;
		if (paths.count != count)
			fail_msg("%s: %zu paths, not %zu", cases[i].text, paths.count, count);
		for (size_t j = 0; j < count; j++)
			assert_string_equal(paths.items[j], cases[i].paths[j]);
	}
}

static void
what_is_no_rule_is_refused(void **state)
{
	static const struct {
		const char *text;
		size_t size;
	} cases[] = {
		{ "just words\n", 11 },
		{ ": a.c\n", 6 },
		{ "a: b : c\n", 9 },
		{ "a.o: a\0b\n", 9 },
	};
	static char endless[6000];

	(void)state;
	memset(endless, 'x', sizeof endless);
	memcpy(endless, "a: ", 3);
	for (size_t i = 0; i <= sizeof cases / sizeof *cases; i++) {
		struct arena arena finally(arena_finish) = { 0 };
		struct strings paths = { 0 };
		bool last = i == sizeof cases / sizeof *cases;
		struct error err;

		assert_false(depfile_parse(last ? endless : cases[i].text, last ? sizeof endless : cases[i].size, &arena, &paths, &err));
		assert_int_equal(err.fault, FAULT_PROTOCOL);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rules_in_make_syntax),
		cmocka_unit_test(what_is_no_rule_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
