#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/base/arena.h"
#include "engine/base/glob.h"
#include "scratch.h"

static void
hub_patterns(void **state)
{
	static const struct {
		const char *pattern, *path;
		bool matches;
	} cases[] = {
		{ "*.safetensors", "model.safetensors", true },
		{ "*.safetensors", "sub/model.safetensors", true },
		{ "*.safetensors", "model.safetensors.index.json", false },
		{ "*", "a/b/.c", true },
		{ "", "", true },
		{ "", "a", false },
		{ "*", "", true },
		{ "original/", "original/a/b", true },
		{ "original/", "original/", true },
		{ "original/", "original", false },
		{ "original/", "x/original/a", false },
		{ "/", "a/b", false },
		{ "Model*", "model.bin", false },
		{ "model-\?\?\?\?\?-of-\?\?\?\?\?.safetensors", "model-00001-of-00004.safetensors", true },
		{ "model-\?\?\?\?\?-of-\?\?\?\?\?.safetensors", "model-0001-of-00004.safetensors", false },
		{ "[a-c]x", "bx", true },
		{ "[a-c]x", "dx", false },
		{ "[!a-c]x", "dx", true },
		{ "[!a-c]x", "ax", false },
		{ "[]]x", "]x", true },
		{ "[!]]x", "]x", false },
		{ "[a-]x", "-x", true },
		{ "[-a]x", "-x", true },
		{ "[abc", "[abc", true },
		{ "[abc", "a", false },
		{ "[", "[", true },
		{ "[]", "[]", true },
		{ "[!]", "[!]", true },
		{ "a[*]b", "a*b", true },
		{ "a[*]b", "axb", false },
		{ "a?c", "a/c", true },
		{ "?", "\xe5\x81\xa5", true },
		{ "?\?", "\xe5\x81\xa5", false },
		{ "[\xe5\x81\xa5-\xe5\x81\xb7]", "\xe5\x81\xb0", true },
		{ "[\xe5\x81\xa5-\xe5\x81\xb7]", "\xe5\x82\xb0", false },
		{ "*\xa5", "\xe5\x81\xa5", false },
		{ "?x", "\xffx", true },
		{ "**a**b**", "xxaxxbxx", true },
		{ "*a*b*c", "abcabcabcab", false },
		{ "a\\*", "a*", false },
		{ "a\\*", "a\\x", true },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		if (glob_match_hub(cases[i].pattern, cases[i].path) != cases[i].matches)
			fail_msg("`%s` against `%s`", cases[i].pattern, cases[i].path);
}

static void
name_patterns(void **state)
{
	static const struct {
		const char *pattern, *name;
		bool matches;
	} cases[] = {
		{ "w*", "weights", true }, { "w*", "host", false }, { "*-[0-9]", "service-1", true }, { "serv?ce", "service", true },
		{ "service", "service", true }, { "service", "service2", false }, { "host/", "host/x", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		if (glob_match_name(cases[i].pattern, cases[i].name) != cases[i].matches)
			fail_msg("`%s` against `%s`", cases[i].pattern, cases[i].name);
	assert_true(glob_is_pattern("a*"));
	assert_true(glob_is_pattern("a?"));
	assert_true(glob_is_pattern("a[b]"));
	assert_false(glob_is_pattern("a.b/c]"));
}

/* Recursive and slow, but so short that it can be believed. */
static bool
reference(const char *pattern, const char *text)
{
	if (!*pattern)
		return !*text;
	if (*pattern == '*')
		return reference(pattern + 1, text) || (*text && reference(pattern, text + 1));
	return *text && (*pattern == '?' || *pattern == *text) && reference(pattern + 1, text + 1);
}

static void
agrees_with_the_definition(void **state)
{
	uint32_t random = 1;

	(void)state;
	for (int round = 0; round < 200000; round++) {
		char pattern[8] = "", text[10] = "";

		for (size_t i = 0; i < 7; i++) {
			random = random * 1664525u + 1013904223u;
			pattern[i] = "ab*?/\0\0*"[random >> 29];
		}
		for (size_t i = 0; i < 9; i++) {
			random = random * 1664525u + 1013904223u;
			text[i] = "aab/b\0ab"[random >> 29];
		}
		if (glob_match_name(pattern, text) != reference(pattern, text))
			fail_msg("`%s` against `%s`", pattern, text);
	}
}

static void
hostile_patterns_take_no_time(void **state)
{
	char pattern[801], text[4001];
	clock_t start = clock();

	(void)state;
	for (size_t i = 0; i < 800; i += 2)
		memcpy(pattern + i, "*a", 2);
	pattern[799] = 'b';
	pattern[800] = '\0';
	memset(text, 'a', 4000);
	text[4000] = '\0';
	assert_false(glob_match_hub(pattern, text));
	assert_true(clock() - start < 2 * CLOCKS_PER_SEC);
}

static void
make_tree(struct scratch *scratch)
{
	static const char *const directories[] = { "src", "src/a", "src/a/b", "src/.hidden", "other" };
	static const char *const files[] = { "top.c",       "src/x.c",        "src/y.h",      "src/a/x.c",  "src/a/b/x.c",
		                             "src/a/b/z.h", "src/.hidden/x.c", "src/.dot.c",  "other/x.c",  "src/a/[1].c" };

	for (size_t i = 0; i < sizeof directories / sizeof *directories; i++)
		assert_int_equal(mkdirat(scratch->fd, directories[i], 0755), 0);
	for (size_t i = 0; i < sizeof files / sizeof *files; i++)
		scratch_file(scratch, files[i], "");
	assert_int_equal(symlinkat("../other", scratch->fd, "src/link"), 0);
	assert_int_equal(symlinkat("nowhere", scratch->fd, "src/dangling.c"), 0);
}

static void
expansion(void **state)
{
	static const struct {
		const char *pattern, *paths; /* below the scratch directory */
	} cases[] = {
		{ "top.c", "top.c" },
		{ "missing.c", "missing.c" },
		{ "*.c", "top.c" },
		{ "*.missing", "" },
		{ "missing/*.c", "" },
		{ "top.c/*", "" },
		{ "src/*.c", "src/dangling.c src/x.c" },
		{ "src/.*.c", "src/.dot.c" },
		{ "*/x.c", "other/x.c src/x.c" },
		{ "src/*/x.c", "src/a/x.c src/link/x.c" },
		{ "src/**/x.c", "src/a/b/x.c src/a/x.c src/x.c" },
		{ "**/*.h", "src/a/b/z.h src/y.h" },
		{ "src/**", "src/a/[1].c src/a/b/x.c src/a/b/z.h src/a/x.c src/dangling.c src/link src/x.c src/y.h" },
		{ "src/**/", "src/a src/a/b" },
		{ "src/**/**/*.h", "src/a/b/z.h src/y.h" },
		{ "**/a/**/*.c", "src/a/[1].c src/a/b/x.c src/a/x.c" },
		{ "**/b/**/**/z.h", "src/a/b/z.h" },
		{ "src/*/", "src/a src/link" },
		{ "src/a/[[]1].c", "src/a/[1].c" },
		{ "src/[xy].?", "src/x.c src/y.h" },
		{ "src/.hidden/*", "src/.hidden/x.c" },
		{ "src/**a/x.c", "src/a/x.c" },
		{ "src/.*", "src/.dot.c src/.hidden" },
	};
	struct scratch *scratch = *state;
	struct arena arena = { 0 };

	make_tree(scratch);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct strings paths = { 0 };
		struct error err = { 0 };
		char joined[1000] = "";
		size_t size = 0;

		if (!glob_expand(scratch_path(scratch, cases[i].pattern), &arena, &paths, &err))
			fail_msg("`%s`: %s", cases[i].pattern, err.text);
		for (size_t k = 0; k < paths.count; k++)
			size += (size_t)snprintf(joined + size, sizeof joined - size, "%s%s", k ? " " : "", paths.items[k] + strlen(scratch->path) + 1);
		if (strcmp(joined, cases[i].paths) != 0)
			fail_msg("`%s` gives `%s`", cases[i].pattern, joined);
	}
	arena_finish(&arena);
}

static void
what_was_there_before_stays(void **state)
{
	static const char *const loops[] = { "src/a/loop/*", "src/*/loop/*", "src/**/loop/*", "src/a/loop/**", "src/*/loop/**/x" };
	struct scratch *scratch = *state;
	struct strings paths = { 0 };
	struct arena arena = { 0 };
	struct error err = { 0 };
	char deep[PATH_MAX];

	make_tree(scratch);
	strings_add(&paths, &arena, "zzz");
	assert_true(glob_expand(scratch_path(scratch, "src/*.[ch]"), &arena, &paths, &err));
	assert_int_equal(paths.count, 4);
	assert_string_equal(paths.items[0], "zzz");
	/* Deeper than anybody means. */
	snprintf(deep, sizeof deep, "%s", scratch->path);
	for (int i = 0; i < 70; i++) {
		snprintf(deep + strlen(deep), 3, "/d");
		assert_int_equal(mkdir(deep, 0755), 0);
	}
	assert_false(glob_expand(scratch_path(scratch, "**/x"), &arena, &paths, &err));
	assert_int_equal(err.fault, FAULT_TOO_LARGE);
	assert_int_equal(paths.count, 4);
	/* What cannot be listed is an error, on each way that leads there. */
	assert_int_equal(symlinkat("loop", scratch->fd, "src/a/loop"), 0);
	for (size_t i = 0; i < sizeof loops / sizeof *loops; i++) {
		assert_false(glob_expand(scratch_path(scratch, loops[i]), &arena, &paths, &err));
		assert_int_equal(err.fault, FAULT_IO);
		assert_int_equal(paths.count, 4);
	}
	if (geteuid() != 0) {
		assert_int_equal(fchmodat(scratch->fd, "other", 0, 0), 0);
		assert_false(glob_expand(scratch_path(scratch, "other/*"), &arena, &paths, &err));
		assert_int_equal(err.fault, FAULT_PERMISSION);
		assert_int_equal(fchmodat(scratch->fd, "other", 0755, 0), 0);
	}
	arena_finish(&arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hub_patterns),
		cmocka_unit_test(name_patterns),
		cmocka_unit_test(agrees_with_the_definition),
		cmocka_unit_test(hostile_patterns_take_no_time),
		cmocka_unit_test_setup_teardown(expansion, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(what_was_there_before_stays, scratch_setup, scratch_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
