#include "engine/params.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/arena.h"
#include "engine/record.h"

struct ready {
	const char *path;
	int64_t timeout;
};

struct mount {
	const char *source;
	const char *target;
	bool readonly;
};

struct spec {
	const char *name;
	int64_t port;
	double share;
	bool flag;
	int64_t size;
	int64_t time;
	const char *dir;
	int mode;
	struct strings words;
	struct strings files;
	struct ints gpus;
	struct pairs env;
	const struct ready *ready;
	struct list mounts;
	struct secret_ref token;
	const char *args;
};

struct common {
	const char *rule;
	struct strings needs;
};

static const char *const modes[] = { "auto", "docker", "podman", NULL };

static const struct param ready_params[] = {
	{ "path", PARAM_STRING, offsetof(struct ready, path), .fallback = "/health" },
	{ "timeout", PARAM_DURATION, offsetof(struct ready, timeout), .fallback = "15m", .unhashed = true },
	{ 0 },
};

static const struct param mount_params[] = {
	{ "source", PARAM_PATH, offsetof(struct mount, source), .required = true },
	{ "target", PARAM_STRING, offsetof(struct mount, target), .required = true },
	{ "readonly", PARAM_BOOL, offsetof(struct mount, readonly), .about = "" },
	{ 0 },
};

static const struct param params[] = {
	{ "name", PARAM_STRING, offsetof(struct spec, name), .required = true, .about = "what it is called" },
	{ "port", PARAM_INT, offsetof(struct spec, port), .least = 1, .most = 65535 },
	{ "share", PARAM_FLOAT, offsetof(struct spec, share), .fallback = "0.9", .least = 0, .most = 1 },
	{ "flag", PARAM_BOOL, offsetof(struct spec, flag), .fallback = "true" },
	{ "size", PARAM_SIZE, offsetof(struct spec, size), .about = "" },
	{ "time", PARAM_DURATION, offsetof(struct spec, time), .unhashed = true },
	{ "dir", PARAM_PATH, offsetof(struct spec, dir), .about = "" },
	{ "mode", PARAM_ENUM, offsetof(struct spec, mode), .choices = modes },
	{ "words", PARAM_STRINGS, offsetof(struct spec, words), .fallback = "[a, b]" },
	{ "files", PARAM_PATHS, offsetof(struct spec, files), .about = "" },
	{ "gpus", PARAM_INTS, offsetof(struct spec, gpus), .least = 0, .most = 15 },
	{ "env", PARAM_PAIRS, offsetof(struct spec, env), .about = "" },
	{ "ready", PARAM_STRUCT, offsetof(struct spec, ready), .fields = ready_params, .size = sizeof(struct ready) },
	{ "mounts", PARAM_LIST, offsetof(struct spec, mounts), .fields = mount_params, .size = sizeof(struct mount) },
	{ "token", PARAM_SECRET, offsetof(struct spec, token), .about = "" },
	{ "container_port", PARAM_JSON, offsetof(struct spec, args), .about = "" },
	{ 0 },
};

static const struct param common_params[] = {
	{ "rule", PARAM_STRING, offsetof(struct common, rule), .about = "" },
	{ "needs", PARAM_STRINGS, offsetof(struct common, needs), .about = "" },
	{ 0 },
};

struct world {
	struct arena arena;
	struct sources sources;
	struct errors errors;
	struct spec spec;
	struct common common;
};

static void
begin(struct world *world)
{
	*world = (struct world){ 0 };
	arena_init(&world->arena);
	errors_init(&world->errors, &world->arena);
	world->sources = (struct sources){ .arena = &world->arena, .cwd = "/base" };
}

static bool
fill(struct world *world, const char *text)
{
	struct place at = { .file = "m.yaml", .line = 99, .column = 3 };
	struct node *node = manifest_parse_text(&world->sources, "m.yaml", text, strlen(text), &world->errors);

	assert_non_null(node);
	return params_fill(params, node, at, "target `t` (rule: r)", &world->sources, common_params, &world->common, &world->arena, &world->spec,
		&world->errors);
}

static void
test_values(void **state)
{
	const struct mount *mounts;
	struct world world;
	struct spec *spec = &world.spec;

	(void)state;
	begin(&world);
	setenv("HOME", "/home/li", 1);
	assert_true(fill(&world, "rule: r\nneeds: one\nname: 1.10\nport: 8000\nshare: 1\nflag: false\nsize: 2KiB\ntime: 1m30s\ndir: x/../y\nmode: podman\n"
		"words: single\nfiles: [a, /b, ~/c, ~]\ngpus: [0, 2]\nenv: {A: 1, B: x, C: null}\nready: {timeout: 5s}\n"
		"mounts: [{source: s, target: /t}, {source: /u, target: /v, readonly: true}]\ntoken: {env: HF}\ncontainer_port: {k: [1, 'x']}\n") == false);
	assert_int_equal(world.errors.count, 1); /* `~` is null, not a path */
	arena_finish(&world.arena);
	begin(&world);
	assert_true(fill(&world, "rule: r\nneeds: one\nname: 1.10\nport: 8000\nshare: 1\nflag: false\nsize: 2KiB\ntime: 1m30s\ndir: x/../y\nmode: podman\n"
		"words: single\nfiles: [a, /b, ~/c, '~']\ngpus: [0, 2]\nenv: {A: 1, B: x, C: null}\nready: {timeout: 5s}\n"
		"mounts: [{source: s, target: /t}, {source: /u, target: /v, readonly: true}]\ntoken: {env: HF}\ncontainer_port: {k: [1, 'x']}\n"));
	assert_string_equal(world.common.rule, "r");
	assert_string_equal(world.common.needs.items[0], "one");
	assert_string_equal(spec->name, "1.10");
	assert_int_equal(spec->port, 8000);
	assert_true(spec->share == 1.0);
	assert_false(spec->flag);
	assert_int_equal(spec->size, 2048);
	assert_int_equal(spec->time, 90000);
	assert_string_equal(spec->dir, "/base/y");
	assert_int_equal(spec->mode, 2);
	assert_int_equal(spec->words.count, 1);
	assert_string_equal(spec->files.items[0], "/base/a");
	assert_string_equal(spec->files.items[1], "/b");
	assert_string_equal(spec->files.items[2], "/home/li/c");
	assert_string_equal(spec->files.items[3], "/home/li");
	assert_int_equal(spec->gpus.items[1], 2);
	assert_int_equal(spec->env.count, 2);
	assert_string_equal(pairs_get(&spec->env, "A"), "1");
	assert_string_equal(spec->ready->path, "/health");
	assert_int_equal(spec->ready->timeout, 5000);
	mounts = spec->mounts.items;
	assert_int_equal(spec->mounts.count, 2);
	assert_string_equal(mounts[0].source, "/base/s");
	assert_true(mounts[1].readonly);
	assert_int_equal(spec->mounts.at[1].line, 16);
	assert_string_equal(spec->token.env, "HF");
	assert_string_equal(spec->args, "{\"k\":[1,\"x\"]}");
	arena_finish(&world.arena);
}

static void
test_defaults(void **state)
{
	struct world world;

	(void)state;
	begin(&world);
	assert_true(fill(&world, "name: n\nport: null\n"));
	assert_true(world.spec.share > 0.89 && world.spec.share < 0.91);
	assert_true(world.spec.flag);
	assert_int_equal(world.spec.words.count, 2);
	assert_null(world.spec.ready);
	assert_null(world.spec.args);
	assert_int_equal(world.spec.port, 0);
	arena_finish(&world.arena);
}

static void
test_errors(void **state)
{
	static const struct {
		const char *text;
		enum fault fault;
		uint32_t line, column;
		const char *words, *hint;
	} cases[] = {
		{ "port: 1\n", FAULT_MISSING_KEY, 99, 3, "target `t` (rule: r) lacks `name`", "what it is called" },
		{ "name: n\ncontaner_port: 1\n", FAULT_UNKNOWN_KEY, 2, 1, "unknown key `contaner_port` in target `t` (rule: r)", "did you mean `container_port`" },
		{ "name: n\ncontainer-port: 1\n", FAULT_UNKNOWN_KEY, 2, 1, "`container-port`", "did you mean `container_port`" },
		{ "name: n\nneed: [x]\n", FAULT_UNKNOWN_KEY, 2, 1, "`need`", "did you mean `needs`" },
		{ "name: n\ntimeout: 5s\n", FAULT_UNKNOWN_KEY, 2, 1, "`timeout`", "belongs into `ready`" },
		{ "name: n\nready: {timeot: 15m}\n", FAULT_UNKNOWN_KEY, 2, 9, "unknown key `timeot` in `ready`", "did you mean `timeout`" },
		{ "name: n\nready: {port: 1}\n", FAULT_UNKNOWN_KEY, 2, 9, "`port` in `ready`", "one level up" },
		{ "name: n\nzzzzzz: 1\n", FAULT_UNKNOWN_KEY, 2, 1, "`zzzzzz`", NULL },
		{ "name: [n]\n", FAULT_BAD_VALUE, 1, 7, "must be text, not a list", NULL },
		{ "name: n\nport: many\n", FAULT_BAD_VALUE, 2, 7, "must be an integer, not `many`", NULL },
		{ "name: n\nport: 70000\n", FAULT_BAD_VALUE, 2, 7, "between 1 and 65535, not `70000`", NULL },
		{ "name: n\nport: 0\n", FAULT_BAD_VALUE, 2, 7, "between 1 and 65535", NULL },
		{ "name: n\nport: 99999999999999999999\n", FAULT_BAD_VALUE, 2, 7, "an integer", NULL },
		{ "name: n\nshare: 1.5\n", FAULT_BAD_VALUE, 2, 8, "between 0 and 1", NULL },
		{ "name: n\nshare: .nan\n", FAULT_BAD_VALUE, 2, 8, "between 0 and 1", NULL },
		{ "name: n\nflag: yes\n", FAULT_BAD_VALUE, 2, 7, "true or false, not `yes`", "`true`" },
		{ "name: n\nsize: 5 apples\n", FAULT_BAD_VALUE, 2, 7, "a size", "80GiB" },
		{ "name: n\ntime: soon\n", FAULT_BAD_VALUE, 2, 7, "a duration", "90s" },
		{ "name: n\ndir: ''\n", FAULT_BAD_VALUE, 2, 6, "a path", NULL },
		{ "name: n\nmode: dokcer\n", FAULT_BAD_VALUE, 2, 7, "one of auto, docker, podman", "did you mean `docker`" },
		{ "name: n\nwords: {a: 1}\n", FAULT_BAD_VALUE, 2, 8, "a list of texts, not a map", NULL },
		{ "name: n\nwords: [a, [b]]\n", FAULT_BAD_VALUE, 2, 12, "a list of texts, not a list", NULL },
		{ "name: n\ngpus: [0, 16]\n", FAULT_BAD_VALUE, 2, 11, "between 0 and 15", NULL },
		{ "name: n\nenv: {A: [1]}\n", FAULT_BAD_VALUE, 2, 10, "a map of texts", NULL },
		{ "name: n\nenv: [A]\n", FAULT_BAD_VALUE, 2, 6, "a map of texts, not a list", NULL },
		{ "name: n\nready: 5s\n", FAULT_BAD_VALUE, 2, 8, "a map, not `5s`", NULL },
		{ "name: n\nmounts: {source: a, target: b}\n", FAULT_BAD_VALUE, 2, 9, "a list of maps", NULL },
		{ "name: n\nmounts: [{source: a}]\n", FAULT_MISSING_KEY, 2, 10, "`mounts` lacks `target`", NULL },
		{ "name: n\ntoken: abc\n", FAULT_SECRET_IN_TEXT, 2, 8, "holds the secret itself", "{env: NAME}" },
		{ "name: n\ntoken: {value: abc}\n", FAULT_BAD_VALUE, 2, 8, "a secret's name", "{env: NAME}" },
		{ "name: n\ntoken: {env: A, file: b}\n", FAULT_BAD_VALUE, 2, 8, "a secret's name", NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct world world;
		const struct error *err = NULL;

		begin(&world);
		if (fill(&world, cases[i].text) || world.errors.count != 1)
			fail_msg("case %zu: %zu errors", i, world.errors.count);
		err = &world.errors.items[0];
		if (err->fault != cases[i].fault || err->at.line != cases[i].line || err->at.column != cases[i].column || !strstr(err->text, cases[i].words)
			|| (cases[i].hint && !strstr(err->hint, cases[i].hint)) || !*err->label)
			fail_msg("case %zu: fault %d at %u:%u: %s (%s)", i, err->fault, err->at.line, err->at.column, err->text, err->hint);
		assert_null(strstr(err->text, "abc"));
		arena_finish(&world.arena);
	}
}

static void
test_all_errors_are_told(void **state)
{
	struct world world;

	(void)state;
	begin(&world);
	assert_false(fill(&world, "port: x\nflag: y\nwhat: 1\nready: {a: 1, timeout: z}\nmounts: [{}, 5]\n"));
	assert_int_equal(world.errors.count, 9);
	arena_finish(&world.arena);
}

/* What is pending stays zero and is no error; what stands beside it is checked. */
static void
test_pending(void **state)
{
	struct world world;
	const struct mount *mounts;

	(void)state;
	begin(&world);
	assert_true(fill(&world, "name: \"${t.o}\"\nport: \"${t.o}\"\nwords: [\"${t.o}\", b]\nready: {timeout: \"${t.o}\"}\n"
		"mounts: [{source: \"${t.o}\", target: /x}, \"${t.m}\"]\ntoken: {env: \"${t.o}\"}\n"));
	assert_null(world.spec.name);
	assert_int_equal(world.spec.words.count, 0);
	mounts = world.spec.mounts.items;
	assert_null(mounts[0].source);
	assert_string_equal(mounts[0].target, "/x");
	assert_int_equal(world.spec.mounts.count, 2);
	assert_false(fill(&world, "name: n\nmounts: [{source: \"${t.o}\", traget: /x}]\n"));
	assert_int_equal(world.errors.count, 2);
	arena_finish(&world.arena);
}

static void
test_ingredients(void **state)
{
	struct ingredients ingredients;
	struct world world;

	(void)state;
	begin(&world);
	assert_true(fill(&world, "name: n\nport: 8000\nshare: 0.1\nsize: 1KiB\ntime: 5s\nmode: docker\nwords: [x, 'y\"z']\ngpus: [0, 1]\nenv: {B: 2, A: 1}\n"
		"ready: {}\nmounts: [{source: /s, target: /t}]\ntoken: {env: HF}\ncontainer_port: {z: 1, a: 2}\n"));
	ingredients_init(&ingredients, &world.arena);
	params_ingredients(params, &world.spec, &ingredients);
	assert_string_equal(ingredients_find(&ingredients, "param:port")->value, "8000");
	assert_string_equal(ingredients_find(&ingredients, "param:share")->value, "0.1");
	assert_string_equal(ingredients_find(&ingredients, "param:flag")->value, "true");
	assert_string_equal(ingredients_find(&ingredients, "param:size")->value, "1024");
	assert_null(ingredients_find(&ingredients, "param:time"));
	assert_string_equal(ingredients_find(&ingredients, "param:mode")->value, "docker");
	assert_string_equal(ingredients_find(&ingredients, "param:words")->value, "[\"x\",\"y\\\"z\"]");
	assert_null(ingredients_find(&ingredients, "param:files"));
	assert_string_equal(ingredients_find(&ingredients, "param:gpus")->value, "[0,1]");
	assert_string_equal(ingredients_find(&ingredients, "param:env")->value, "{\"A\":\"1\",\"B\":\"2\"}");
	assert_string_equal(ingredients_find(&ingredients, "param:ready")->value, "{\"path\":\"/health\"}");
	assert_string_equal(ingredients_find(&ingredients, "param:mounts")->value, "[{\"source\":\"/s\",\"target\":\"/t\"}]");
	assert_string_equal(ingredients_find(&ingredients, "param:token")->value, "env:HF");
	assert_string_equal(ingredients_find(&ingredients, "param:container_port")->value, "{\"z\":1,\"a\":2}");
	arena_finish(&world.arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values), cmocka_unit_test(test_defaults), cmocka_unit_test(test_errors), cmocka_unit_test(test_all_errors_are_told),
		cmocka_unit_test(test_pending), cmocka_unit_test(test_ingredients),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
