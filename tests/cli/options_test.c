#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/project.h"
#include "engine/base/arena.h"
#include "engine/manifest.h"

#define WORDS_MOST 12

/* Words of a command line, "provision" left out. */
struct line {
	const char *words[WORDS_MOST];
};

static bool
parse(struct options *options, const struct line *line, struct arena *arena, struct error *err)
{
	char *argv[WORDS_MOST + 2] = { arena_copy(arena, "provision") };
	int argc = 1;

	for (size_t i = 0; i < WORDS_MOST && line->words[i]; i++)
		argv[argc++] = arena_copy(arena, line->words[i]);
	*err = (struct error){ 0 };
	return options_parse(options, argc, argv, arena, err);
}

static void
refuses(void **state)
{
	static const struct {
		struct line line;
		const char *text; /* part of the message */
		const char *hint;
	} rows[] = {
		{ { { "pln" } }, "unknown command `pln`", "did you mean `plan`?" },
		{ { { "qqqqqqqq" } }, "unknown command", "lists the commands" },
		{ { { "plan", "--taget", "x" } }, "unknown option `--taget`", "did you mean `--target`?" },
		{ { { "plan", "--taget=x" } }, "unknown option `--taget`", "did you mean `--target`?" },
		{ { { "plan", "-z" } }, "unknown option `-z`", "" },
		{ { { "plan", "--yes" } }, "has no option `--yes`", "help plan" },
		{ { { "graph", "--jobs", "2" } }, "has no option `--jobs`", "" },
		{ { { "plan", "--target" } }, "wants a value", "" },
		{ { { "apply", "-j" } }, "wants a value", "" },
		{ { { "apply", "-j", "0" } }, "from 1 to 256", "" },
		{ { { "apply", "-j", "x" } }, "wants a number", "" },
		{ { { "apply", "-j", "99999999999999999999" } }, "wants a number", "" },
		{ { { "apply", "--grace", "10" } }, "wants a duration", "90s" },
		{ { { "apply", "--grace", "99999h" } }, "too long", "" },
		{ { { "apply", "--yes=1" } }, "takes no value", "" },
		{ { { "plan", "--color", "blue" } }, "is one of auto|always|never", "" },
		{ { { "plan", "--set", "novalue" } }, "wants KEY=VALUE", "" },
		{ { { "plan", "--set", "=x" } }, "wants KEY=VALUE", "" },
		{ { { "plan", "--target", "a", "--exclude", "a" } }, "both name `a`", "" },
		/* 24 bytes is not what anybody means. */
		{ { { "shapes", "m", "--gpu-memory", "24" } }, "`--gpu-memory` wants a size, not `24`", "24GiB" },
		{ { { "shapes", "m", "--gpu-memory", "much" } }, "wants a size", "" },
		{ { { "shapes", "m", "--gpu-memory-utilization", "0" } }, "above 0 and at most 1", "" },
		{ { { "shapes", "m", "--gpu-memory-utilization", "nan" } }, "above 0 and at most 1", "" },
		{ { { "shapes", "m", "--gpu-count", "0" } }, "from 1 to 1024", "" },
		{ { { "shapes", "m", "--set", "a=b" } }, "has no option `--set`", "" },
		{ { { "shapes" } }, "wants MODEL", "usage: provision shapes MODEL" },
		{ { { "diagnose", "a", "b" } }, "`b` is too much", "" },
		{ { { "why" } }, "wants", "usage: provision why" },
		{ { { "logs", "a", "b" } }, "`b` is too much", "usage" },
		{ { { "version", "x" } }, "`x` is too much", "" },
	};
	struct options options;
	struct error err;

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct arena arena;

		arena_init(&arena);
		assert_false(parse(&options, &rows[i].line, &arena, &err));
		print_message("%s\n", err.text);
		assert_int_equal(err.fault, FAULT_USAGE);
		assert_int_equal(fault_row(err.fault)->status, STATUS_USAGE);
		assert_non_null(strstr(err.text, rows[i].text));
		assert_non_null(strstr(err.hint, rows[i].hint));
		arena_finish(&arena);
	}
}

static void
reads_every_kind(void **state)
{
	const struct line line = { { "-C", "/tmp", "apply", "m.yaml", "--target", "a", "--target=b", "-qqvy", "-k0",
		"--jobs=7" } };
	const struct line more = { { "plan", "--set", "a=1", "--set", "a=x=y", "--diag", "github", "--", "-odd",
		"--json" } };
	const struct line sizes = { { "shapes", "m", "--gpu-memory", "24GiB", "--gpu-count", "4" } };
	struct options options;
	struct arena arena;
	struct error err;

	(void)state;
	arena_init(&arena);
	assert_true(parse(&options, &line, &arena, &err));
	assert_int_equal(options.command->id, COMMAND_APPLY);
	assert_string_equal(options.chdir, "/tmp");
	assert_int_equal(options.operands.count, 1);
	assert_string_equal(options.operands.items[0], "m.yaml");
	assert_int_equal(options.targets.count, 2);
	assert_string_equal(options.targets.items[1], "b");
	assert_int_equal(options.quiet, 2);
	assert_int_equal(options.verbose, 1);
	assert_true(options.yes);
	assert_int_equal(options.keep_going, 0);
	assert_int_equal(options.jobs, 7);
	assert_int_equal(options.grace, 10000);
	assert_int_equal(options.heartbeat, 30000);
	assert_true(parse(&options, &more, &arena, &err));
	assert_int_equal(options.sets.count, 1);
	assert_string_equal(pairs_get(&options.sets, "a"), "x=y");
	assert_int_equal(options.diagnostics, 3);
	assert_false(options.json);
	assert_int_equal(options.operands.count, 2);
	assert_string_equal(options.operands.items[0], "-odd");
	assert_true(parse(&options, &sizes, &arena, &err));
	assert_int_equal(options.gpu_memory, 24LL << 30);
	assert_int_equal(options.gpu_count, 4);
	assert_true(options.gpu_memory_utilization > 0.89 && options.gpu_memory_utilization < 0.91);
	arena_finish(&arena);
}

/* Help does nothing else, so nothing else can be wrong. */
static void
help_wins(void **state)
{
	const struct line lines[] = { { { "apply", "--nonsense", "-h" } }, { { "--help", "apply" } },
		{ { "apply", "--set", "--help" } } };
	const struct line not_help = { { "why", "--", "--help" } };
	struct options options;
	struct arena arena;
	struct error err;

	(void)state;
	arena_init(&arena);
	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
		assert_true(parse(&options, &lines[i], &arena, &err));
		assert_true(options.help);
		assert_int_equal(options.command->id, COMMAND_APPLY);
	}
	assert_true(parse(&options, &not_help, &arena, &err));
	assert_false(options.help);
	assert_string_equal(options.operands.items[0], "--help");
	arena_finish(&arena);
}

static const char *
fake_environment(const char *name)
{
	static const char *const values[][2] = { { "PROVISION_JOBS", "9" }, { "PROVISION_OFFLINE", "1" },
		{ "PROVISION_NO_INPUT", "0" }, { "PROVISION_PROGRESS", "" } };

	for (size_t i = 0; i < sizeof values / sizeof *values; i++)
		if (strcmp(values[i][0], name) == 0)
			return values[i][1];
	return NULL;
}

static const char *
bad_environment(const char *name)
{
	return strcmp(name, "PROVISION_JOBS") == 0 ? "many" : NULL;
}

static enum origin
origin_of(const struct options *options, const char *name)
{
	for (const struct option *option = option_table; option->name; option++)
		if (strcmp(option->name, name) == 0)
			return (enum origin)options->origins[option - option_table];
	fail();
	return ORIGIN_DEFAULT;
}

static void
the_nearer_origin_wins(void **state)
{
	static const char text[] = "jobs: 3\noffline: false\nascii: true\ngrace: 1m\n";
	const struct line line = { { "apply", "--grace", "2s" } };
	struct options options;
	struct sources sources = { 0 };
	struct errors errors;
	struct arena arena;
	struct error err;
	struct node *map;

	(void)state;
	arena_init(&arena);
	sources.arena = &arena;
	sources.cwd = "/";
	errors_init(&errors, &arena);
	map = manifest_parse_text(&sources, "config.yaml", text, strlen(text), &errors);
	assert_non_null(map);
	assert_true(parse(&options, &line, &arena, &err));
	assert_true(options_environment(&options, fake_environment, &arena, &err));
	assert_true(options_settings(&options, map, ORIGIN_USER, &arena, &err));
	assert_int_equal(options.jobs, 9);
	assert_int_equal(origin_of(&options, "jobs"), ORIGIN_ENVIRONMENT);
	assert_true(options.offline);
	assert_false(options.no_input);
	assert_true(options.ascii);
	assert_int_equal(origin_of(&options, "ascii"), ORIGIN_USER);
	assert_int_equal(options.grace, 2000);
	assert_int_equal(origin_of(&options, "grace"), ORIGIN_OPTION);
	assert_int_equal(origin_of(&options, "progress"), ORIGIN_DEFAULT);
	assert_true(parse(&options, &line, &arena, &err));
	assert_false(options_environment(&options, bad_environment, &arena, &err));
	assert_non_null(strstr(err.text, "PROVISION_JOBS"));
	arena_finish(&arena);
}

static void
settings_are_checked(void **state)
{
	static const struct {
		const char *text;
		enum fault fault;
		uint32_t line, column;
		const char *hint;
	} rows[] = {
		{ "jbos: 3\n", FAULT_UNKNOWN_KEY, 1, 1, "`jobs`" },
		{ "jobs: 3\nyes: true\n", FAULT_UNKNOWN_KEY, 2, 1, "" }, /* consent is no setting */
		{ "jobs: [1]\n", FAULT_BAD_VALUE, 1, 7, "" },
		{ "color: blue\n", FAULT_BAD_VALUE, 1, 8, "" },
	};
	const struct line line = { { "plan" } };

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct options options;
		struct sources sources = { 0 };
		struct errors errors;
		struct arena arena;
		struct error err;
		struct node *map;

		arena_init(&arena);
		sources.arena = &arena;
		sources.cwd = "/";
		errors_init(&errors, &arena);
		map = manifest_parse_text(&sources, "config.yaml", rows[i].text, strlen(rows[i].text), &errors);
		assert_non_null(map);
		assert_true(parse(&options, &line, &arena, &err));
		assert_false(options_settings(&options, map, ORIGIN_USER, &arena, &err));
		assert_int_equal(err.fault, rows[i].fault);
		assert_int_equal(err.at.line, rows[i].line);
		assert_int_equal(err.at.column, rows[i].column);
		assert_non_null(strstr(err.hint, rows[i].hint));
		arena_finish(&arena);
	}
}

/* Help and errors show the choices by the name of the argument. */
static void
assert_choices_shown(const struct option *option)
{
	char text[256] = "";

	for (size_t i = 0; option->choices[i]; i++)
		snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", i ? "|" : "", option->choices[i]);
	assert_string_equal(option->argument, text);
}

/* No two options share a name or a letter, and every command has a function, an example and its own bit. */
static void
tables_are_sound(void **state)
{
	(void)state;
	for (const struct option *a = option_table; a->name; a++) {
		assert_non_null(a->about);
		assert_true(a->kind != OPTION_CHOICE || a->choices);
		if (a->kind == OPTION_CHOICE)
			assert_choices_shown(a);
		for (const struct option *b = a + 1; b->name; b++) {
			assert_string_not_equal(a->name, b->name);
			assert_true(!a->letter || a->letter != b->letter);
		}
	}
	for (const struct command *a = command_table; a->name; a++) {
		assert_non_null(a->run);
		assert_non_null(a->examples[0]);
		assert_true(a->least <= a->most);
		for (const struct command *b = a + 1; b->name; b++)
			assert_int_not_equal(a->id, b->id);
	}
}

static void
manifests_are_told_from_targets(void **state)
{
	static const struct {
		const char *operand;
		bool manifest;
	} rows[] = {
		{ "-", true },
		{ "tp4.yaml", true },
		{ "x.yml", true },
		{ "dir/x", true },
		{ "Provisionfile", true },
		{ "tp4.yaml.bak", true },
		{ "weights", false },
		{ "w*", false },
		{ "a[bc]?", false },
		{ "a-b_1", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		assert_int_equal(project_is_manifest(rows[i].operand), rows[i].manifest);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refuses),
		cmocka_unit_test(reads_every_kind),
		cmocka_unit_test(help_wins),
		cmocka_unit_test(the_nearer_origin_wins),
		cmocka_unit_test(settings_are_checked),
		cmocka_unit_test(tables_are_sound),
		cmocka_unit_test(manifests_are_told_from_targets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
