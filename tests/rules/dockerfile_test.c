/* dockerfile.c: bases and steps of Dockerfiles, as the builders count them. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>

#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "rules/dockerfile.h"

#include <cmocka.h> /* last: its macro `fail` hides our function */

static void
files(void **state)
{
	static const struct {
		const char *text, *target, *bases;
		size_t steps;
		bool buildkit;
	} cases[] = {
		{ "FROM a\nRUN b\n", NULL, "a", 2, false },
		{ "# c\n\nfrom  a:1  as x\r\nrun b\r\n", NULL, "a:1", 2, false },
		{ "FROM scratch\nCOPY x /x", NULL, "", 2, false },
		{ "FROM a AS b\nFROM b\nFROM c\n", NULL, "a c", 3, false },
		{ "FROM --platform=$BUILDPLATFORM a\n", NULL, "a", 1, false },
		{ "FROM a\nFROM a\n", NULL, "a", 2, false },
		{ "ARG V=1\nFROM a:$V\n", NULL, "a:1", 2, false },
		{ "ARG V=\"1\"\nFROM a:${V}-x\n", NULL, "a:1-x", 2, false },
		{ "ARG V\nFROM a:$V\n", NULL, "", 2, false },
		{ "ARG GIVEN=x\nFROM a:$GIVEN\n", NULL, "a:outside", 2, false },
		{ "FROM a:$GIVEN\n", NULL, "", 1, false },
		{ "ARG V\nFROM a:${V:-2}\n", NULL, "a:2", 2, false },
		{ "ARG V=1\nFROM a${V:+:${V}}\n", NULL, "a:1", 2, false },
		{ "FROM a${V:+x}\n", NULL, "a", 1, false },
		{ "FROM a${V:?x}\n", NULL, "", 1, false },
		{ "ARG A=1 B=2\nFROM a:$A$B", NULL, "a:12", 2, false },
		{ "FROM a\nARG V=1\nFROM b:$V", NULL, "a", 3, false },
		{ "FROM a\nRUN x \\\n  # comment\n\n  y \\\n FROM z\nCMD q", NULL, "a", 3, false },
		{ "# escape=`\nFROM a\nRUN c:\\\nRUN x `\nFROM y", NULL, "a", 3, false },
		{ "# syntax=docker/dockerfile:1\n# escape=`\nFROM a\nRUN x `\n y", NULL, "a", 2, false },
		{ "# just words\n# escape=`\nFROM a\nRUN x `\nRUN y", NULL, "a", 3, false },
		{ "FROM a AS x\nCOPY --from=x /a /a\nCOPY --from=0 /a /a\nCOPY --chown=1 --from=d:1 /a /a", NULL, "a d:1", 4, false },
		{ "FROM a\nRUN --mount=type=secret,id=x cat", NULL, "a", 2, true },
		{ "FROM a\nRUN <<EOF\nFROM b\nEOF\nRUN y", NULL, "a", 3, true },
		{ "FROM a\nCOPY <<-\"A\" <<B /to/\n\tFROM b\n\tA\nFROM c\nB\nRUN y", NULL, "a", 3, true },
		{ "FROM a\nRUN echo $((1<<3)) '<<EOF'\nRUN y", NULL, "a", 3, false },
		{ "FROM a AS one\nRUN x\nFROM b AS two\nRUN y\nFROM c\n", "two", "a b", 4, false },
		{ "FROM a AS one\nRUN x\nFROM b AS two\nRUN y\nFROM c\n", "0", "a", 2, false },
		{ "FROM a AS one\nRUN x\nFROM b AS two\n", "ONE", "a", 2, false },
		{ "FROM r.io:5000/a/b@sha256:00\n", NULL, "r.io:5000/a/b@sha256:00", 1, false },
		{ "FROM a\nFROMAGE b\n", NULL, "a", 2, false },
		{ "FROM a\nRUN b \\", NULL, "a", 2, false },
	};
	struct pair given = { "GIVEN", "outside" };
	struct pairs args = { .items = &given, .count = 1 };

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct arena arena = { 0 };
		struct dockerfile file;
		struct error err = { 0 };
		struct buf bases;

		if (!dockerfile_read(cases[i].text, strlen(cases[i].text), &args, cases[i].target, &arena, &file, &err))
			fail_msg("case %zu: %s", i, err.text);
		buf_init(&bases, 1000);
		for (size_t j = 0; j < file.bases.count; j++)
			buf_printf(&bases, "%s%s", j ? " " : "", file.bases.items[j]);
		if (strcmp(bases.data, cases[i].bases) != 0 || file.steps != cases[i].steps || file.wants_buildkit != cases[i].buildkit)
			fail_msg("case %zu: bases `%s`, %zu steps, BuildKit %d", i, bases.data, file.steps, file.wants_buildkit);
		buf_finish(&bases);
		arena_finish(&arena);
	}
}

static void
files_that_are_none(void **state)
{
	static const struct {
		const char *text, *target, *words;
	} cases[] = {
		{ "", NULL, "no FROM" },
		{ "RUN x\n", NULL, "no FROM" },
		{ "FROM a AS one\nFROM b AS two\n", "three", "no stage `three`; its stages: `one`, `two`" },
		{ "FROM a\n", "x", "none has a name" },
		{ "FROM a\n", "1", "no stage `1`" },
	};
	const struct pairs none = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct arena arena = { 0 };
		struct dockerfile file;
		struct error err = { 0 };

		assert_false(dockerfile_read(cases[i].text, strlen(cases[i].text), &none, cases[i].target, &arena, &file, &err));
		if (!strstr(err.text, cases[i].words))
			fail_msg("case %zu: %s", i, err.text);
		arena_finish(&arena);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(files), cmocka_unit_test(files_that_are_none) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
