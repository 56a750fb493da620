/* directory.c: made as asked, put right when it drifts, removed only when it is ours and empty. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rules/rules.h"
#include "tests/fake/site.h"

#include <cmocka.h> /* last: its macro `fail` hides our function */

static const struct rule *const rules[] = { &directory_rule, NULL };

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

static unsigned
mode_of(struct site *site, const char *name)
{
	struct stat st;

	return stat(site_path(site, name), &st) == 0 && S_ISDIR(st.st_mode) ? st.st_mode & 07777 : 0;
}

static void
parameters(void **state)
{
	static const struct {
		const char *targets;
		const char *says; /* "" for good */
	} cases[] = {
		{ "  d: {rule: directory, path: x}\n", "" },
		{ "  d: {rule: directory, path: x, mode: 0750}\n", "" },
		{ "  d: {rule: directory, path: x, mode: \"2775\"}\n", "" },
		{ "  d: {rule: directory}\n", "E0104" },
		{ "  d: {rule: directory, path: x, mode: 0788}\n", "E0103" },
		{ "  d: {rule: directory, path: x, mode: rwx}\n", "E0103" },
		{ "  d: {rule: directory, path: x, mode: 077777}\n", "E0103" },
		{ "  d: {rule: directory, path: x, mode: 7}\n", "E0103" },
		{ "  d: {rule: directory, path: x, mdoe: 0750}\n", "E0102" },
	};
	struct site *site = *state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const char *said = site_check(site, cases[i].targets);

		if (*cases[i].says ? strstr(said, cases[i].says) != said : *said)
			fail_msg("%s: %s", cases[i].targets, said);
	}
}

static void
made_and_put_right(void **state)
{
	static const char targets[] = "  d: {rule: directory, path: a/b/c, mode: 0750}\n";
	struct site *site = *state;
	mode_t mask = umask(077);
	struct seen *seen = site_plan(site, targets, "d");

	assert_int_equal(seen->reason, REASON_NEVER_BUILT);
	assert_int_equal(mode_of(site, "a"), 0);
	assert_int_equal(site_apply(site, targets).changed, 1);
	umask(mask);
	assert_int_equal(mode_of(site, "a/b/c"), 0750);
	assert_int_equal(mode_of(site, "a/b"), 0755);
	assert_int_equal(site_plan(site, targets, "d")->reason, REASON_NONE);
	assert_string_equal(site_record(site, "d")->summary, "mode 0750");

	assert_int_equal(chmod(site_path(site, "a/b/c"), 0700), 0);
	seen = site_plan(site, targets, "d");
	assert_int_equal(seen->reason, REASON_OUTPUT_DIFFERS);
	assert_non_null(strstr(seen->detail->look.what, "mode is 0700, not 0750"));
	assert_int_equal(site_apply(site, targets).changed, 1);
	assert_int_equal(mode_of(site, "a/b/c"), 0750);

	assert_int_equal(rmdir(site_path(site, "a/b/c")), 0);
	assert_int_equal(site_plan(site, targets, "d")->reason, REASON_OUTPUT_MISSING);
	assert_int_equal(site_apply(site, targets).changed, 1);
	assert_int_equal(mode_of(site, "a/b/c"), 0750);
}

static void
without_a_mode_any_will_do(void **state)
{
	static const char targets[] = "  d: {rule: directory, path: d}\n";
	struct site *site = *state;

	assert_int_equal(site_apply(site, targets).changed, 1);
	assert_int_equal(mode_of(site, "d"), 0755);
	assert_int_equal(chmod(site_path(site, "d"), 0711), 0);
	assert_int_equal(site_plan(site, targets, "d")->reason, REASON_NONE);
}

static void
what_is_in_the_way_stays(void **state)
{
	static const char targets[] = "  d: {rule: directory, path: d/e}\n";
	struct site *site = *state;
	struct apply_result result;
	struct stat st;

	site_write(site, "d", "a file");
	result = site_apply(site, targets);
	assert_int_equal(result.failed, 1);
	assert_int_equal(result.error.fault, FAULT_CANNOT_CREATE);
	assert_non_null(strstr(result.error.text, "in the way"));
	assert_int_equal(stat(site_path(site, "d"), &st), 0);
	assert_int_equal(st.st_size, 6);
	assert_null(site_record(site, "d"));
}

static void
owners(void **state)
{
	struct site *site = *state;
	const char *targets = arena_printf(&site->memory.arena, "  d: {rule: directory, path: d, owner: \"%u\"}\n", (unsigned)geteuid());
	struct apply_result result;
	struct stat st;

	assert_int_equal(site_apply(site, targets).changed, 1);
	assert_int_equal(site_plan(site, targets, "d")->reason, REASON_NONE);
	result = site_apply(site, "  e: {rule: directory, path: e, owner: nobody-of-that-name}\n");
	assert_int_equal(result.error.fault, FAULT_BAD_VALUE);
	result = site_apply(site, "  f: {rule: directory, path: f, owner: \"65534\"}\n");
	if (geteuid() != 0) {
		assert_int_equal(result.error.fault, FAULT_PERMISSION);
		return;
	}
	assert_int_equal(result.failed, 0);
	assert_int_equal(stat(site_path(site, "f"), &st), 0);
	assert_int_equal(st.st_uid, 65534);
}

static void
destroyed_only_when_ours_and_empty(void **state)
{
	static const char targets[] = "  d: {rule: directory, path: d}\n";
	struct site *site = *state;

	/* Ours and empty. */
	site_apply(site, targets);
	assert_int_equal(site_destroy(site, targets, "d").failed, 0);
	assert_int_equal(mode_of(site, "d"), 0);
	assert_null(site_record(site, "d"));

	/* Ours, with something in it; made again after it was gone, still ours. */
	site_apply(site, targets);
	site_write(site, "d/keep", "me");
	assert_int_equal(site_destroy(site, targets, "d").failed, 0);
	assert_int_equal(mode_of(site, "d"), 0755);
	assert_int_equal(unlink(site_path(site, "d/keep")), 0);

	/* There before us. */
	site_apply(site, targets);
	assert_int_equal(site_destroy(site, targets, "d").failed, 0);
	assert_int_equal(mode_of(site, "d"), 0755);
	assert_int_equal(rmdir(site_path(site, "d")), 0);

	/* Ours, put right in between. */
	site_apply(site, "  d: {rule: directory, path: d, mode: 0750}\n");
	assert_int_equal(chmod(site_path(site, "d"), 0700), 0);
	site_apply(site, "  d: {rule: directory, path: d, mode: 0750}\n");
	assert_int_equal(site_destroy(site, "  d: {rule: directory, path: d, mode: 0750}\n", "d").failed, 0);
	assert_int_equal(mode_of(site, "d"), 0);

	/* Gone by itself. */
	site_apply(site, targets);
	assert_int_equal(rmdir(site_path(site, "d")), 0);
	assert_int_equal(site_destroy(site, targets, "d").failed, 0);
	assert_null(site_record(site, "d"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(parameters, setup, teardown),
		cmocka_unit_test_setup_teardown(made_and_put_right, setup, teardown),
		cmocka_unit_test_setup_teardown(without_a_mode_any_will_do, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_in_the_way_stays, setup, teardown),
		cmocka_unit_test_setup_teardown(owners, setup, teardown),
		cmocka_unit_test_setup_teardown(destroyed_only_when_ours_and_empty, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
