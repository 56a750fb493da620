#include "engine/manifest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/base/arena.h"
#include "engine/base/buf.h"

static struct node *
parse(struct arena *arena, const char *text, struct errors *errors)
{
	struct sources *sources = arena_alloc(arena, sizeof *sources);

	*sources = (struct sources){ .arena = arena, .cwd = "/work" };
	errors_init(errors, arena);
	return manifest_parse_text(sources, "m.yaml", text, strlen(text), errors);
}

/* Text in, JSON out. */
static void
test_trees(void **state)
{
	static const struct {
		const char *text, *json;
	} cases[] = {
		{ "a: 1\nb: [x, 'y', \"z\"]\n", "{\"a\":1,\"b\":[\"x\",\"y\",\"z\"]}" },
		{ "a: on\nb: yes\nc: true\nd: False\ne: ~\nf:\n", "{\"a\":\"on\",\"b\":\"yes\",\"c\":true,\"d\":false,\"e\":null,\"f\":null}" },
		{ "a: 0o17\nb: 0x1F\nc: 007\nd: +5\ne: -3\n", "{\"a\":15,\"b\":31,\"c\":7,\"d\":5,\"e\":-3}" },
		{ "a: 1.50\nb: .5\nc: 1.\nd: 1e3\ne: .inf\nf: -.5\n", "{\"a\":1.50,\"b\":0.5,\"c\":1,\"d\":1e3,\"e\":\".inf\",\"f\":-0.5}" },
		{ "a: '1'\nb: \"true\"\nc: !!str 5\nd: ! 6\n", "{\"a\":\"1\",\"b\":\"true\",\"c\":\"5\",\"d\":\"6\"}" },
		{ "a: 99999999999999999999\n", "{\"a\":99999999999999999999}" },
		{ "a: |\n  x\n  y\nb: >\n  x\n  y\n", "{\"a\":\"x\\ny\\n\",\"b\":\"x y\\n\"}" },
		{ "a: &x {p: 1}\nb: *x\n", "{\"a\":{\"p\":1},\"b\":{\"p\":1}}" },
		{ "a: &x {p: 1, q: 2}\nb:\n  <<: *x\n  q: 3\n", "{\"a\":{\"p\":1,\"q\":2},\"b\":{\"q\":3,\"p\":1}}" },
		{ "a: &x {p: 1}\nb: &y {p: 2, q: 2}\nc: {<<: [*x, *y], r: 3}\n", "{\"a\":{\"p\":1},\"b\":{\"p\":2,\"q\":2},\"c\":{\"r\":3,\"p\":1,\"q\":2}}" },
		{ "a: {'<<': 1}\n", "{\"a\":{\"<<\":1}}" },
		{ "&k key: 1\nother: *k\n", "{\"key\":1,\"other\":\"key\"}" },
		{ "- - 1\n  - 2\n- {}\n- []\n", "[[1,2],{},[]]" },
		{ "\xef\xbb\xbf" "a: 1\n", "{\"a\":1}" },
		{ "a: 健康\r\nb: 2\r\n", "{\"a\":\"健康\",\"b\":2}" },
		{ "%YAML 1.2\n---\na: 1\n...\n", "{\"a\":1}" },
		{ "", "null" },
		{ "# nothing\n", "null" },
		{ "a: \"\\u263a \\\"q\\\"\"\n", "{\"a\":\"☺ \\\"q\\\"\"}" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct arena arena = { 0 };
		struct errors errors;
		struct node *node;

		arena_init(&arena);
		node = parse(&arena, cases[i].text, &errors);
		if (!node)
			print_error("case %zu: %s\n", i, errors.count ? errors.items[0].text : "no error");
		assert_non_null(node);
		assert_string_equal(node_json(node, &arena), cases[i].json);
		arena_finish(&arena);
	}
}

/* What is wrong, and where. */
static void
test_errors(void **state)
{
	static const struct {
		const char *text;
		enum fault fault;
		uint32_t line, column;
		const char *words, *hint;
	} cases[] = {
		{ "a: 1\nb:\n  c: 1\n  c: 2\n", FAULT_DUPLICATE_KEY, 4, 3, "line 3, column 3", NULL },
		{ "健: 1\n 康: [\n", FAULT_SYNTAX, 2, 3, "not valid YAML", NULL },
		{ "a:\n\tb: 1\n", FAULT_SYNTAX, 2, 1, "not valid YAML", "tab" },
		{ "v: ok\na: {p: ${x}/y}\n", FAULT_SYNTAX, 2, 0, "not valid YAML", "quotes" },
		{ "a: >=12.9\n", FAULT_SYNTAX, 1, 0, "not valid YAML", "quotes" },
		{ "a: [1, 2\n", FAULT_SYNTAX, 2, 1, "not valid YAML", NULL },
		{ "[a, b]: 1\n", FAULT_BAD_VALUE, 1, 1, "a list cannot be a key", NULL },
		{ "? {a: b}\n: 1\n", FAULT_BAD_VALUE, 1, 3, "a map cannot be a key", NULL },
		{ "'': 1\n", FAULT_BAD_VALUE, 1, 1, "empty text cannot be a key", NULL },
		{ "a: *nobody\n", FAULT_SYNTAX, 1, 4, "no anchor `&nobody`", NULL },
		{ "a: &x [1, *x]\n", FAULT_SYNTAX, 1, 11, "within its own anchor", NULL },
		{ "a: &x {p: {<<: *x}}\n", FAULT_SYNTAX, 1, 16, "within its own anchor", NULL },
		{ "a: !!binary aGk=\n", FAULT_BAD_VALUE, 1, 0, "tag", NULL },
		{ "a: !!int x\n", FAULT_BAD_VALUE, 1, 0, "tag", NULL },
		{ "a: !thing {b: 1}\n", FAULT_BAD_VALUE, 1, 0, "tag", NULL },
		{ "a: {<<: 5}\n", FAULT_BAD_VALUE, 1, 5, "merge key", NULL },
		{ "a: 1\n---\nb: 2\n", FAULT_SYNTAX, 2, 1, "second document", NULL },
		{ "a: \"\\0\"\n", FAULT_BAD_VALUE, 1, 4, "NUL", NULL },
		{ "a: 1\nb: \xff\n", FAULT_ENCODING, 2, 4, "UTF-8", NULL },
		{ "a: 1\nb: x\x01y\n", FAULT_ENCODING, 2, 0, "UTF-8", NULL },
		{ "a: 1 # \xe2\x80\xa8 x\n", FAULT_ENCODING, 1, 8, "separator", NULL },
		{ "a: 1\rb: 2\n", FAULT_ENCODING, 1, 5, "carriage return", NULL },
		{ "a: b\n  c: d\n", FAULT_SYNTAX, 2, 0, "not valid YAML", NULL },
		{ "t: hf_abcdefghijklmnopqrstuvwxyzABCDEFGH\n", FAULT_SECRET_IN_TEXT, 1, 4, "secret", "env" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct arena arena = { 0 };
		struct errors errors;
		const struct error *err;

		arena_init(&arena);
		if (parse(&arena, cases[i].text, &errors) || errors.count == 0)
			fail_msg("case %zu is accepted", i);
		err = &errors.items[0];
		if (err->fault != cases[i].fault || err->at.line != cases[i].line || (cases[i].column && err->at.column != cases[i].column)
			|| !strstr(err->text, cases[i].words) || (cases[i].hint && !strstr(err->hint, cases[i].hint)))
			fail_msg("case %zu: fault %d at %u:%u: %s (%s)", i, err->fault, err->at.line, err->at.column, err->text, err->hint);
		assert_string_equal(err->at.file, "m.yaml");
		assert_null(strstr(err->text, "hf_"));
		arena_finish(&arena);
	}
}

static void
test_all_duplicates_are_told(void **state)
{
	struct arena arena = { 0 };
	struct errors errors;

	(void)state;
	arena_init(&arena);
	assert_null(parse(&arena, "a: 1\na: 2\nb: {c: 1, c: 2}\na: 3\n", &errors));
	assert_int_equal(errors.count, 3);
	arena_finish(&arena);
}

static void
test_places_count_characters(void **state)
{
	struct arena arena = { 0 };
	struct errors errors;
	const struct node *root, *ready;

	(void)state;
	arena_init(&arena);
	root = parse(&arena, "ready: {path: /健康, timeot: 15m}\n", &errors);
	ready = node_get(root, "ready");
	assert_int_equal(ready->entries[1].at.line, 1);
	assert_int_equal(ready->entries[1].at.column, 20);
	assert_int_equal(ready->entries[1].at.length, 6);
	assert_int_equal(node_place(ready, "path").column, 15);
	assert_int_equal(node_place(ready, "path").length, 3);
	assert_int_equal(node_place(ready, "absent").column, ready->at.column);
	arena_finish(&arena);
}

/* Ten aliases of ten aliases of ...: small as text, and refused before anybody walks it. */
static void
test_alias_bomb(void **state)
{
	struct arena arena = { 0 };
	struct errors errors;
	struct buf text = { 0 };

	(void)state;
	arena_init(&arena);
	buf_init(&text, 1 << 20);
	buf_text(&text, "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
	for (int i = 1; i < 20; i++) {
		buf_printf(&text, "a%d: &a%d [", i, i);
		for (int k = 0; k < 10; k++)
			buf_printf(&text, "%s*a%d", k ? "," : "", i - 1);
		buf_text(&text, "]\n");
	}
	assert_null(parse(&arena, text.data, &errors));
	assert_int_equal(errors.count, 1);
	assert_int_equal(errors.items[0].fault, FAULT_TOO_LARGE);
	assert_in_range(errors.items[0].at.line, 6, 8);
	buf_finish(&text);
	arena_finish(&arena);
}

static void
test_merge_bomb(void **state)
{
	struct arena arena = { 0 };
	struct errors errors;
	struct buf text = { 0 };

	(void)state;
	arena_init(&arena);
	buf_init(&text, 1 << 24);
	buf_text(&text, "base: &b\n");
	for (int i = 0; i < 5000; i++)
		buf_printf(&text, "  k%d: 1\n", i);
	for (int i = 0; i < 2000; i++)
		buf_printf(&text, "m%d: {<<: *b}\n", i);
	assert_null(parse(&arena, text.data, &errors));
	assert_int_equal(errors.items[0].fault, FAULT_TOO_LARGE);
	buf_finish(&text);
	arena_finish(&arena);
}

static void
test_depth(void **state)
{
	static const struct {
		int depth;
		bool ok;
	} cases[] = { { 64, true }, { 65, false }, { 100000, false } };

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct arena arena = { 0 };
		struct errors errors;
		struct buf text = { 0 };

		arena_init(&arena);
		buf_init(&text, 1 << 20);
		for (int k = 0; k < cases[i].depth; k++)
			buf_char(&text, '[');
		for (int k = 0; k < cases[i].depth; k++)
			buf_char(&text, ']');
		assert_int_equal(parse(&arena, text.data, &errors) != NULL, cases[i].ok);
		if (!cases[i].ok)
			assert_int_equal(errors.items[0].fault, FAULT_TOO_LARGE);
		buf_finish(&text);
		arena_finish(&arena);
	}
}

static void
test_directives(void **state)
{
	struct arena arena = { 0 };
	struct errors errors;
	struct buf text = { 0 };

	(void)state;
	arena_init(&arena);
	buf_init(&text, 1 << 20);
	for (int i = 0; i < 1000; i++)
		buf_printf(&text, "%%TAG !t%d! tag:x,2000:\n", i);
	buf_text(&text, "---\na: 1\n");
	assert_null(parse(&arena, text.data, &errors));
	assert_int_equal(errors.items[0].fault, FAULT_TOO_LARGE);
	buf_finish(&text);
	arena_finish(&arena);
}

/* A map with 100,000 keys, and a hundred thousand targets: nothing quadratic. The test's time limit is the judge. */
static void
test_many_keys(void **state)
{
	struct arena arena = { 0 };
	struct errors errors;
	struct buf text = { 0 };
	struct node *root;

	(void)state;
	arena_init(&arena);
	buf_init(&text, 1 << 26);
	buf_text(&text, "targets:\n");
	for (int i = 0; i < 100000; i++)
		buf_printf(&text, "  t%d:\n    rule: command\n    command: [cp, in%d, out%d]\n    needs: [t%d]\n", i, i, i, i / 2);
	buf_text(&text, "  t5:\n    rule: again\n");
	assert_null(parse(&arena, text.data, &errors));
	assert_int_equal(errors.count, 1);
	assert_int_equal(errors.items[0].fault, FAULT_DUPLICATE_KEY);
	text.data[text.size - strlen("  t5:\n    rule: again\n")] = '#';
	text.size -= strlen("  t5:\n    rule: again\n");
	text.data[text.size] = '\0';
	root = parse(&arena, text.data, &errors);
	assert_non_null(root);
	assert_int_equal(node_get(root, "targets")->count, 100000);
	buf_finish(&text);
	arena_finish(&arena);
}

static void
test_files(void **state)
{
	char path[] = "/tmp/manifest-XXXXXX";
	struct arena arena = { 0 };
	struct sources sources = { .arena = &arena, .cwd = "/" };
	struct errors errors;
	int fd = mkstemp(path);

	(void)state;
	arena_init(&arena);
	errors_init(&errors, &arena);
	assert_null(manifest_parse(&sources, "empty.yaml", path, &errors));
	assert_int_equal(errors.items[0].fault, FAULT_SYNTAX);
	assert_non_null(strstr(errors.items[0].text, "empty"));
	assert_int_equal(write(fd, "- 1\n", 4), 4);
	assert_null(manifest_parse(&sources, "list.yaml", path, &errors));
	assert_int_equal(errors.items[1].fault, FAULT_BAD_VALUE);
	assert_int_equal(ftruncate(fd, 65 << 20), 0);
	assert_null(manifest_parse(&sources, "large.yaml", path, &errors));
	assert_int_equal(errors.items[2].fault, FAULT_TOO_LARGE);
	close(fd);
	unlink(path);
	assert_null(manifest_parse(&sources, "gone.yaml", path, &errors));
	assert_int_equal(errors.items[3].fault, FAULT_NOT_FOUND);
	assert_string_equal(sources_find(&sources, "list.yaml")->directory, "/tmp");
	arena_finish(&arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_trees), cmocka_unit_test(test_errors), cmocka_unit_test(test_all_duplicates_are_told),
		cmocka_unit_test(test_places_count_characters), cmocka_unit_test(test_alias_bomb), cmocka_unit_test(test_merge_bomb),
		cmocka_unit_test(test_depth), cmocka_unit_test(test_directives), cmocka_unit_test(test_many_keys), cmocka_unit_test(test_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
