#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>

#include <string.h>

#include "engine/base/arena.h"
#include "engine/stale.h"

#include <cmocka.h>

static const struct digest same = { { 1 } }, other = { { 2 } };
static const struct record built = { .target = "t", .rule = "r", .rule_version = 3, .fingerprint = { { 1 } } };
static const struct look fresh = { .state = STATE_FRESH }, absent = { .state = STATE_ABSENT },
	gone = { .state = STATE_ABSENT, .reason = REASON_CONTAINER_GONE }, drifted = { .state = STATE_DRIFTED };

static void
test_reasons(void **state)
{
	static const struct {
		struct evidence evidence;
		enum reason reason;
	} cases[] = {
		{ { .record = NULL, .rule_version = 3, .fingerprint = &same }, REASON_NEVER_BUILT },
		{ { .record = NULL, .rule_version = 3, .need_will_change = true }, REASON_NEVER_BUILT },
		{ { .record = &built, .rule_version = 3, .fingerprint = &same, .look = &fresh }, REASON_NONE },
		{ { .record = &built, .rule_version = 3, .fingerprint = &same }, REASON_NONE },
		{ { .record = &built, .rule_version = 3, .fingerprint = &same, .look = &fresh, .asked_for = true }, REASON_ASKED_FOR },
		{ { .record = &built, .rule_version = 3, .fingerprint = &other, .look = &fresh }, REASON_PARAMETER_CHANGED },
		{ { .record = &built, .rule_version = 4, .fingerprint = &other, .look = &fresh }, REASON_RULE_VERSION },
		{ { .record = &built, .rule_version = 3, .fingerprint = &same, .look = &absent }, REASON_OUTPUT_MISSING },
		{ { .record = &built, .rule_version = 3, .fingerprint = &same, .look = &drifted }, REASON_OUTPUT_DIFFERS },
		{ { .record = &built, .rule_version = 3, .fingerprint = &same, .look = &gone }, REASON_CONTAINER_GONE },
		{ { .record = &built, .rule_version = 3, .fingerprint = NULL, .need_will_change = true }, REASON_DEPENDENCY },
		{ { .record = &built, .rule_version = 3, .fingerprint = NULL }, REASON_UNKNOWN_UNTIL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		if (stale(&cases[i].evidence) != cases[i].reason)
			fail_msg("case %zu: got %s", i, reason_id(stale(&cases[i].evidence)));
}

static void
test_causes(void **state)
{
	struct ingredient before[] = {
		{ .kind = INGREDIENT_FILE, .name = "file:Dockerfile", .value = "1", .text = "FROM a\nRUN one\nRUN two\n" },
		{ .kind = INGREDIENT_PARAM, .name = "param:gone", .value = "x" },
		{ .kind = INGREDIENT_PARAM, .name = "param:same", .value = "y" },
	};
	struct ingredient after[] = {
		{ .kind = INGREDIENT_FILE, .name = "file:Dockerfile", .value = "2", .text = "FROM a\nRUN 1\nRUN two\n", .path = "/p/Dockerfile" },
		{ .kind = INGREDIENT_NEED, .name = "need:image", .value = "n" },
		{ .kind = INGREDIENT_PARAM, .name = "param:same", .value = "y" },
	};
	const struct ingredients old = { .items = before, .count = 3 }, new = { .items = after, .count = 3 };
	struct causes causes = { 0 };
	struct arena arena;

	(void)state;
	arena_init(&arena);
	stale_causes(&old, &new, &arena, &causes);
	assert_int_equal(causes.count, 3);
	assert_int_equal(causes.items[0].reason, REASON_INPUT_CHANGED);
	assert_string_equal(causes.items[0].what, "Dockerfile");
	assert_int_equal(causes.items[0].line, 2);
	assert_string_equal(causes.items[0].before, "RUN one");
	assert_string_equal(causes.items[0].after, "RUN 1");
	assert_string_equal(causes.items[0].path, "/p/Dockerfile");
	assert_int_equal(causes.items[1].reason, REASON_DEPENDENCY);
	assert_null(causes.items[1].before);
	assert_string_equal(causes.items[2].what, "gone");
	assert_null(causes.items[2].after);
	arena_finish(&arena);
}

/* A tree's digest is told only where no file of the tree is. */
static void
test_trees(void **state)
{
	static const struct {
		const char *file, *tree;
		size_t causes;
	} cases[] = {
		{ "file:image/Dockerfile", "tree:image", 1 },
		{ "file:Dockerfile", "tree:.", 1 },
		{ "file:image2/Dockerfile", "tree:image", 2 },
		{ "file:/else/Dockerfile", "tree:.", 2 },
		{ "param:image/x", "tree:image", 2 },
	};
	struct arena arena;

	(void)state;
	arena_init(&arena);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		enum ingredient_kind kind = cases[i].file[0] == 'f' ? INGREDIENT_FILE : INGREDIENT_PARAM;
		struct ingredient before[] = { { .kind = kind, .name = cases[i].file, .value = "1" },
			{ .kind = INGREDIENT_TREE, .name = cases[i].tree, .value = "1" } };
		struct ingredient after[] = { { .kind = kind, .name = cases[i].file, .value = "2" },
			{ .kind = INGREDIENT_TREE, .name = cases[i].tree, .value = "2" } };
		const struct ingredients old = { .items = before, .count = 2 }, new = { .items = after, .count = 2 };
		struct causes causes = { 0 };

		stale_causes(&old, &new, &arena, &causes);
		if (causes.count != cases[i].causes)
			fail_msg("%s, %s: %zu causes", cases[i].file, cases[i].tree, causes.count);
	}
	arena_finish(&arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_reasons), cmocka_unit_test(test_causes), cmocka_unit_test(test_trees) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
