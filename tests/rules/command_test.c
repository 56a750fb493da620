/* command.c: files from files; built once, again for every cause, never recorded when it is not so. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/file.h"
#include "rules/rules.h"
#include "tests/fake/site.h"

#include <cmocka.h> /* last: its macro `fail` hides our function */

static const struct rule *const rules[] = { &command_rule, NULL };

static int
setup(void **state)
{
	struct site *site = test_calloc(1, sizeof *site);

	site_init(site, rules);
	*state = site;
	return 0;
}

static int
teardown(void **state)
{
	site_finish(*state);
	test_free(*state);
	return 0;
}

static const char *
content(struct site *site, const char *name)
{
	const char *text;
	struct error err;

	return file_load(site_path(site, name), 1 << 20, &site->arena, &text, NULL, &err) ? text : "(none)";
}

/* How often commands said so: each appends one letter to `count`. */
static size_t
runs(struct site *site)
{
	const char *text = content(site, "count");

	return strcmp(text, "(none)") == 0 ? 0 : strlen(text);
}

static void
applies(struct site *site, const char *targets, uint32_t changed)
{
	struct apply_result result = site_apply(site, targets);

	if (result.failed > 0)
		fail_msg("%s: %s", fault_row(result.error.fault)->code, result.error.text);
	assert_int_equal(result.changed, changed);
}

static void
fails(struct site *site, const char *targets, enum fault fault, const char *says)
{
	struct apply_result result = site_apply(site, targets);

	if (result.error.fault != fault || !strstr(result.error.text, says))
		fail_msg("%s: %s: %s", targets, fault_row(result.error.fault)->code, result.error.text);
	assert_int_equal(result.failed, 1);
	assert_null(site_record(site, "t"));
}

static void
parameters(void **state)
{
	static const struct {
		const char *targets;
		const char *says; /* "" for good */
	} cases[] = {
		{ "  t: {rule: command, command: [cp, a, b], inputs: a, outputs: b}\n", "" },
		{ "  t: {rule: command, command: make}\n", "" },
		{ "  t: {rule: command, command: make all, shell: true}\n", "" },
		{ "  t: {rule: command}\n", "E0104" },
		{ "  t: {rule: command, command: []}\n", "E0103" },
		{ "  t: {rule: command, command: ['']}\n", "E0103" },
		{ "  t: {rule: command, command: make all}\n", "E0103" },
		{ "  t: {rule: command, command: [make, all], shell: true}\n", "E0115" },
		{ "  t: {rule: command, command: [a], inputs: x, outputs: x}\n", "E0115" },
		{ "  t: {rule: command, command: [a], outputs: ['*.o']}\n", "E0103" },
		{ "  t: {rule: command, command: [a], outputs: [x, x]}\n", "E0115" },
		{ "  t: {rule: command, command: [a], outputs: [x, x/y]}\n", "E0115" },
		{ "  t: {rule: command, command: [a], depfile: x.d}\n", "E0115" },
		{ "  t: {rule: command, command: [a], image: alpine}\n", "" },
		{ "  t: {rule: command, command: [a], image: \"\"}\n", "E0103" },
		{ "  t: {rule: command, command: [a], output: b}\n", "E0102" },
		{ "  a: {rule: command, command: [a], outputs: b}\n  c: {rule: command, command: [c], outputs: b}\n", "E0204" },
	};
	struct site *site = *state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const char *said = site_check(site, cases[i].targets);

		if (*cases[i].says ? strstr(said, cases[i].says) != said : *said)
			fail_msg("%s: %s", cases[i].targets, said);
	}
}

#define COPY "  t: {rule: command, command: 'echo -n x >>count; cat in >out/copy', shell: true, inputs: in, outputs: out/copy}\n"

static void
built_once_and_recorded(void **state)
{
	struct site *site = *state;
	const struct record *record;
	const struct artifact *artifact;
	struct digest digest;
	struct seen *seen;

	site_write(site, "in", "hello");
	seen = site_plan(site, COPY, "t");
	assert_int_equal(seen->reason, REASON_NEVER_BUILT);
	assert_non_null(strstr(seen->detail->cost.lines[0], "runs a shell: echo"));
	assert_int_equal(runs(site), 0);
	applies(site, COPY, 1);
	assert_string_equal(content(site, "out/copy"), "hello");
	assert_int_equal(runs(site), 1);
	assert_int_equal(site_plan(site, COPY, "t")->reason, REASON_NONE);
	applies(site, COPY, 0);
	assert_int_equal(runs(site), 1);

	record = site_record(site, "t");
	assert_string_equal(record->summary, "1 output, 5 B");
	artifact = record_artifact(record, ARTIFACT_FILE, site_path(site, "out/copy"));
	assert_non_null(artifact);
	assert_int_equal(artifact->size, 5);
	digest_of("hello", 5, &digest);
	assert_true(digest_equal(&artifact->digest, &digest));
	assert_non_null(ingredients_find(&record->ingredients, "file:in"));
	assert_non_null(strstr(pairs_get(&record->outputs, "outputs"), "out/copy"));
}

static void
keep_time(struct site *site, const char *name, const struct stat *st)
{
	const struct timespec times[] = { st->st_atim, st->st_mtim };

	assert_int_equal(utimensat(AT_FDCWD, site_path(site, name), times, 0), 0);
}

static void
every_change_is_seen(void **state)
{
	struct site *site = *state;
	struct stat st;

	site_write(site, "in", "hello");
	applies(site, COPY, 1);

	site_write(site, "in", "hello"); /* other file, same bytes */
	assert_int_equal(site_plan(site, COPY, "t")->reason, REASON_NONE);
	assert_int_equal(stat(site_path(site, "in"), &st), 0);
	site_write(site, "in", "world"); /* same size, old time */
	keep_time(site, "in", &st);
	assert_int_equal(site_plan(site, COPY, "t")->reason, REASON_INPUT_CHANGED);
	applies(site, COPY, 1);
	assert_string_equal(content(site, "out/copy"), "world");

	assert_int_equal(stat(site_path(site, "out/copy"), &st), 0);
	site_write(site, "out/copy", "wOrld");
	keep_time(site, "out/copy", &st);
	assert_int_equal(site_plan(site, COPY, "t")->reason, REASON_OUTPUT_DIFFERS);
	applies(site, COPY, 1);
	assert_int_equal(truncate(site_path(site, "out/copy"), 2), 0);
	assert_int_equal(site_plan(site, COPY, "t")->reason, REASON_OUTPUT_DIFFERS);
	applies(site, COPY, 1);
	assert_int_equal(unlink(site_path(site, "out/copy")), 0);
	assert_int_equal(site_plan(site, COPY, "t")->reason, REASON_OUTPUT_MISSING);
	assert_non_null(strstr(site_plan(site, COPY, "t")->detail->look.what, "out/copy: missing"));
	applies(site, COPY, 1);
	assert_int_equal(unlink(site_path(site, "out/copy")), 0);
	assert_int_equal(mkdir(site_path(site, "out/copy"), 0755), 0);
	assert_int_equal(site_plan(site, COPY, "t")->reason, REASON_OUTPUT_DIFFERS);
	assert_int_equal(rmdir(site_path(site, "out/copy")), 0);
	applies(site, COPY, 1);
	assert_int_equal(runs(site), 6);
	assert_int_equal(site_plan(site,
				 "  t: {rule: command, command: 'echo -n y >>count; cat in >out/copy', shell: true, inputs: in, outputs: out/copy}\n", "t")
				 ->reason,
		REASON_PARAMETER_CHANGED);
}

static void
failures_have_names(void **state)
{
	static const struct {
		const char *targets;
		enum fault fault;
		const char *says;
	} cases[] = {
		{ "  t: {rule: command, command: [sh, -c, exit 3]}\n", FAULT_COMMAND, "status 3" },
		{ "  t: {rule: command, command: 'kill -SEGV $$', shell: true}\n", FAULT_COMMAND, "signal 11 (SIGSEGV)" },
		{ "  t: {rule: command, command: [sleep, '20'], timeout: 300ms}\n", FAULT_TIME_LIMIT, "took longer" },
		{ "  t: {rule: command, command: [no-such-program-anywhere]}\n", FAULT_NO_COMMAND, "no-such-program" },
		{ "  t: {rule: command, command: ['true'], outputs: [made, missing]}\n", FAULT_COMMAND, "made" },
		{ "  t: {rule: command, command: [touch, made], outputs: [made, missing]}\n", FAULT_COMMAND, "missing" },
		{ "  t: {rule: command, command: [ln, -sf, /etc/passwd, link], outputs: link}\n", FAULT_COMMAND, "symbolic link" },
		{ "  t: {rule: command, command: [mkfifo, pipe], outputs: pipe}\n", FAULT_IO, "pipe" },
		{ "  t: {rule: command, command: [touch, a], outputs: [a], depfile: a.d}\n", FAULT_COMMAND, "a.d" },
	};
	struct site *site = *state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		fails(site, cases[i].targets, cases[i].fault, cases[i].says);
}

static void
missing_inputs_are_named_with_their_place(void **state)
{
	static const char targets[] = "  t: {rule: command, command: ['true'],\n    inputs: nowhere}\n";
	struct site *site = *state;
	struct seen *seen = site_plan(site, targets, "t");

	assert_int_equal(seen->detail->error.fault, FAULT_NOT_FOUND);
	assert_int_equal(seen->detail->error.at.line, 5);
	assert_non_null(strstr(seen->detail->error.text, "`nowhere`"));
	seen = site_plan(site, "  t: {rule: command, command: ['true'], inputs: ['*.nothing']}\n", "t");
	assert_int_equal(seen->detail->error.fault, FAULT_NO_MATCH);
}

/* An input that changes while it is used: nothing is recorded, also when the bytes come back. */
static void
inputs_must_hold_still(void **state)
{
	static const char *const cases[] = {
		"  t: {rule: command, command: 'cp in out; echo more >>in', shell: true, inputs: in, outputs: out}\n",
		"  t: {rule: command, command: 'cp in out; cp in tmp; echo x >in; cp tmp in', shell: true, inputs: in, outputs: out}\n",
		"  t: {rule: command, command: 'cp in out; echo x >new.in', shell: true, inputs: [in, '*.in'], outputs: out}\n",
		"  t: {rule: command, command: 'cp in out; rm a.in', shell: true, inputs: [in, '*.in'], outputs: out}\n",
		"  t: {rule: command, command: 'cp in out; echo >dir/two', shell: true, inputs: [in, dir], outputs: out}\n",
		"  t: {rule: command, command: 'cp in out; mv dir/one dir/two', shell: true, inputs: [in, dir], outputs: out}\n",
		"  t: {rule: command, command: 'cp in out; chmod +x dir/one', shell: true, inputs: [in, dir], outputs: out}\n",
		"  t: {rule: command, command: 'cp in out; echo \"out: in late.h\" >d; echo >late.h', shell: true, inputs: in, outputs: out, depfile: d}\n",
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct site *site = *state;

		site_write(site, "in", "hello");
		site_write(site, "a.in", "a");
		site_write(site, "b.in", "b");
		site_write(site, "dir/one", "1");
		fails(site, cases[i], FAULT_INPUT_CHANGED, "changed while it was being used");
		site_finish(site);
		site_init(site, rules);
	}
}

#define CHAIN \
	"  t: {rule: command, command: 'echo -n x >>count; head -c 1 mid >out', shell: true, inputs: mid, outputs: out}\n" \
	"  m: {rule: command, command: 'echo -n x >>count; tr a-z A-Z <in >mid', shell: true, inputs: in, outputs: mid}\n"

/* An input that another target makes is waited for, and what comes out the same stops there. */
static void
makers_come_first(void **state)
{
	struct site *site = *state;

	site_write(site, "in", "hello");
	assert_int_equal(site_plan(site, CHAIN, "t")->reason, REASON_NEVER_BUILT);
	applies(site, CHAIN, 2);
	assert_string_equal(content(site, "out"), "H");
	assert_int_equal(runs(site), 2);
	site_write(site, "in", "Hello"); /* mid stays the same */
	assert_int_equal(site_plan(site, CHAIN, "t")->reason, REASON_DEPENDENCY);
	applies(site, CHAIN, 1);
	assert_int_equal(runs(site), 3);
	assert_int_equal(unlink(site_path(site, "mid")), 0);
	applies(site, CHAIN, 1);
	assert_int_equal(runs(site), 4);
	site_write(site, "in", "world");
	applies(site, CHAIN, 2);
	assert_string_equal(content(site, "out"), "W");
	assert_int_equal(site_plan(site, CHAIN, "t")->reason, REASON_NONE);
}

#define PATTERN "  t: {rule: command, command: 'cat *.txt >all', shell: true, inputs: ['*.txt', 'al*'], outputs: all}\n"

static void
patterns_see_what_comes_and_goes(void **state)
{
	struct site *site = *state;

	site_write(site, "a.txt", "a");
	site_write(site, "alpha", "no output");
	applies(site, PATTERN, 1);
	/* `al*` matches the output, which is none of the inputs. */
	assert_int_equal(site_plan(site, PATTERN, "t")->reason, REASON_NONE);
	site_write(site, "b.txt", "b");
	assert_int_equal(site_plan(site, PATTERN, "t")->reason, REASON_INPUT_CHANGED);
	applies(site, PATTERN, 1);
	assert_string_equal(content(site, "all"), "ab");
	assert_int_equal(unlink(site_path(site, "a.txt")), 0);
	assert_int_equal(site_plan(site, PATTERN, "t")->reason, REASON_INPUT_CHANGED);
	applies(site, PATTERN, 1);
	assert_string_equal(content(site, "all"), "b");
}

#define TREE "  t: {rule: command, command: 'rm -rf out; cp -r src out; ln -s a out/link', shell: true, inputs: src, outputs: out}\n"

static void
directories_are_files_too(void **state)
{
	struct site *site = *state;
	struct stat st;

	site_write(site, "src/a", "a");
	site_write(site, "src/deep/b", "b");
	applies(site, TREE, 1);
	assert_int_equal(site_plan(site, TREE, "t")->reason, REASON_NONE);
	site_write(site, "src/deep/b", "B");
	assert_int_equal(site_plan(site, TREE, "t")->reason, REASON_INPUT_CHANGED);
	applies(site, TREE, 1);
	site_write(site, "out/deep/extra", "");
	assert_int_equal(site_plan(site, TREE, "t")->reason, REASON_OUTPUT_DIFFERS);

	/* What was edited stays, what was not goes. */
	assert_int_equal(site_destroy(site, TREE, "t").failed, 0);
	assert_string_equal(content(site, "out/deep/b"), "B");
	applies(site, TREE, 1);
	assert_int_equal(site_destroy(site, TREE, "t").failed, 0);
	assert_int_equal(lstat(site_path(site, "out"), &st), -1);
	assert_string_equal(content(site, "src/a"), "a");
}

#define COMPILE \
	"  t: {rule: command, command: 'echo -n x >>count; cat main.c inc/x.h >main.o; echo \"main.o: main.c inc/x.h\" >main.d'," \
	" shell: true, inputs: main.c, outputs: main.o, depfile: main.d}\n"

static void
what_the_compiler_read_counts(void **state)
{
	struct site *site = *state;
	struct seen *seen;

	site_write(site, "main.c", "main");
	site_write(site, "inc/x.h", "x");
	applies(site, COMPILE, 1);
	assert_int_equal(site_plan(site, COMPILE, "t")->reason, REASON_NONE);
	applies(site, COMPILE, 0);
	assert_int_equal(runs(site), 1);
	site_write(site, "inc/x.h", "x"); /* same bytes */
	assert_int_equal(site_plan(site, COMPILE, "t")->reason, REASON_NONE);
	site_write(site, "inc/x.h", "y");
	seen = site_plan(site, COMPILE, "t");
	assert_int_equal(seen->reason, REASON_INPUT_CHANGED);
	assert_string_equal(seen->detail->look.what, "inc/x.h: changed");
	applies(site, COMPILE, 1);
	assert_string_equal(content(site, "main.o"), "mainy");
	assert_int_equal(site_plan(site, COMPILE, "t")->reason, REASON_NONE);
	assert_int_equal(unlink(site_path(site, "inc/x.h")), 0);
	assert_int_equal(site_plan(site, COMPILE, "t")->reason, REASON_INPUT_CHANGED);
	site_write(site, "inc/x.h", "y");
	assert_int_equal(site_plan(site, COMPILE, "t")->reason, REASON_NONE);
	/* Read by name as well: not counted twice. */
	applies(site,
		"  t: {rule: command, command: 'echo main.o: inc/x.h >main.d; touch main.o', shell: true, inputs: [main.c, inc/x.h], outputs: main.o, depfile: main.d}\n",
		1);
	assert_null(site_record(site, "t")->artifacts.items[0].note);
}

static void
always_and_never_again(void **state)
{
	struct site *site = *state;
	const char *always = "  t: {rule: command, command: 'echo -n x >>count', shell: true, always: true}\n";
	const char *once = "  o: {rule: command, command: 'echo -n x >>count', shell: true}\n";
	const char *changed = "  o: {rule: command, command: 'echo -n  x >>count', shell: true}\n";

	for (size_t i = 1; i <= 3; i++) {
		applies(site, always, 1);
		assert_int_equal(runs(site), i);
	}
	applies(site, once, 2); /* and the target before it is gone */
	applies(site, once, 0);
	assert_int_equal(runs(site), 4);
	applies(site, changed, 1);
	assert_int_equal(runs(site), 5);
}

static void
environment_and_directory(void **state)
{
	struct site *site = *state;

	setenv("PROVISION_TEST_LEAK", "leaked", 1);
	site_write(site, "sub/script", "#!/bin/sh\necho -n \"$GREETING$PROVISION_TEST_LEAK $(basename \"$PWD\")\" >said\n");
	assert_int_equal(chmod(site_path(site, "sub/script"), 0755), 0);
	applies(site, "  t: {rule: command, command: [./script], workdir: sub, env: {GREETING: hi}, outputs: sub/said}\n", 1);
	assert_string_equal(content(site, "sub/said"), "hi sub");
	assert_int_equal(site_plan(site, "  t: {rule: command, command: [./script], workdir: sub, env: {GREETING: ho}, outputs: sub/said}\n", "t")->reason,
		REASON_PARAMETER_CHANGED);
	assert_int_equal(site_plan(site, "  t: {rule: command, command: [./script], workdir: ., env: {GREETING: hi}, outputs: sub/said}\n", "t")->reason,
		REASON_PARAMETER_CHANGED);
}

static void
destroy_removes_what_is_as_recorded(void **state)
{
	static const char targets[] = "  t: {rule: command, command: [cp, in, a, ], outputs: a, inputs: in}\n"
				      "  u: {rule: command, command: [touch, b, c], outputs: [b, c]}\n";
	struct site *site = *state;

	site_write(site, "in", "hello");
	applies(site, targets, 2);
	site_write(site, "b", "mine now");
	assert_int_equal(site_destroy(site, targets, "t").failed, 0);
	assert_int_equal(site_destroy(site, targets, "u").failed, 0);
	assert_string_equal(content(site, "a"), "(none)");
	assert_string_equal(content(site, "b"), "mine now");
	assert_string_equal(content(site, "c"), "(none)");
	assert_string_equal(content(site, "in"), "hello");
	assert_null(site_record(site, "t"));
}

#define MAKES(name, files, more) "  " name ": {rule: command, command: 'for f in " files "; do mkdir -p $(dirname $f); echo hi >$f; done', shell: true, outputs: [" \
	more "]}\n"

/* What a target made under a name that it has no more is removed once the new record stands; not what was changed, nor what lies where somebody makes something. */
static void
renamed_outputs_go(void **state)
{
	struct site *site = *state;
	struct seen *seen;

	applies(site, MAKES("t", "out/a out/b out/c d/x", "out/a, out/b, out/c, d"), 1);
	site_write(site, "out/c", "by hand");
	seen = site_plan(site, MAKES("t", "out/a out/new d/y", "out/a, out/new, d/y") MAKES("u", "out/u", "out/u"), "t");
	assert_string_equal(seen->detail->cost.lines[1], "removes out/b");
	assert_string_equal(seen->detail->cost.lines[2], "keeps out/c: it is not what was recorded");
	assert_true(seen->detail->cost.deletes);
	assert_string_equal(content(site, "out/b"), "hi\n");
	applies(site, MAKES("t", "out/a out/new d/y", "out/a, out/new, d/y") MAKES("u", "out/u", "out/u"), 2);
	assert_string_equal(content(site, "out/b"), "(none)");
	assert_string_equal(content(site, "out/c"), "by hand");
	assert_string_equal(content(site, "out/new"), "hi\n");
	/* The directory was made before, and holds now what is made. */
	assert_string_equal(content(site, "d/y"), "hi\n");
	assert_int_equal(site->memory.kept_count, 0);
	assert_int_equal(site_plan(site, MAKES("t", "out/a out/new d/y", "out/a, out/new, d/y"), "t")->reason, REASON_NONE);

	/* Another target has taken it over; and nothing goes where nothing was renamed. */
	applies(site, MAKES("t", "out/a", "out/a") MAKES("u", "out/u out/new", "out/u, out/new"), 2);
	assert_string_equal(content(site, "out/new"), "hi\n");
	assert_string_equal(content(site, "d/y"), "(none)");
	seen = site_plan(site, MAKES("t", "./out/a", "out/a") MAKES("u", "out/u out/new", "out/u, out/new"), "t");
	assert_int_equal(seen->reason, REASON_PARAMETER_CHANGED);
	assert_null(seen->detail->cost.lines[1]);
	assert_false(seen->detail->cost.deletes);
}

/* A build that fails leaves all that was there. */
static void
failure_removes_nothing(void **state)
{
	struct site *site = *state;

	applies(site, MAKES("t", "out/a", "out/a"), 1);
	assert_int_equal(site_apply(site, "  t: {rule: command, command: ['false'], outputs: out/b}\n").failed, 1);
	assert_string_equal(content(site, "out/a"), "hi\n");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(parameters, setup, teardown),
		cmocka_unit_test_setup_teardown(built_once_and_recorded, setup, teardown),
		cmocka_unit_test_setup_teardown(every_change_is_seen, setup, teardown),
		cmocka_unit_test_setup_teardown(failures_have_names, setup, teardown),
		cmocka_unit_test_setup_teardown(missing_inputs_are_named_with_their_place, setup, teardown),
		cmocka_unit_test_setup_teardown(inputs_must_hold_still, setup, teardown),
		cmocka_unit_test_setup_teardown(makers_come_first, setup, teardown),
		cmocka_unit_test_setup_teardown(patterns_see_what_comes_and_goes, setup, teardown),
		cmocka_unit_test_setup_teardown(directories_are_files_too, setup, teardown),
		cmocka_unit_test_setup_teardown(what_the_compiler_read_counts, setup, teardown),
		cmocka_unit_test_setup_teardown(always_and_never_again, setup, teardown),
		cmocka_unit_test_setup_teardown(environment_and_directory, setup, teardown),
		cmocka_unit_test_setup_teardown(renamed_outputs_go, setup, teardown),
		cmocka_unit_test_setup_teardown(failure_removes_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(destroy_removes_what_is_as_recorded, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
