/* What becomes of a worker's work in the history: JSON that can be read, however much there is to say. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>

#include <stdlib.h>
#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/json.h"
#include "engine/base/secret.h"
#include "engine/outcome.h"

#include <cmocka.h> /* last: its macro `fail` hides our function */

#define LONG (60u << 10)

static size_t
count_reasons(struct cause *causes, size_t count)
{
	static const struct rule rule = { .name = "thing" };
	struct arena arena finally(arena_finish) = { 0 };
	json_t *reasons finally(json_release) = NULL;
	struct detail detail = { .causes = { .items = causes, .count = count } };
	struct worker worker = { .kind = WORK_BUILD, .rule = &rule, .ok = true, .task = { .name = "a" },
		.seen = { .reason = REASON_PARAMETER_CHANGED, .detail = &detail } };
	struct outcome outcome;
	struct error err = { 0 };

	outcome = outcome_make(&arena, &worker, RESULT_OK);
	if (!json_parse(outcome.reasons, strlen(outcome.reasons), "reasons", &reasons, &err))
		fail_msg("%s", err.text);
	return json_array_size(reasons);
}

static void
test_reasons(void **state)
{
	static char text[LONG + 1];
	struct cause causes[200];

	(void)state;
	memset(text, 'x', LONG);
	causes[0] = (struct cause){ .reason = REASON_PARAMETER_CHANGED, .what = "command", .before = "one", .after = "two" };
	assert_int_equal(count_reasons(causes, 1), 2);
	causes[0].before = causes[0].after = text;
	assert_int_equal(count_reasons(causes, 1), 2);
	for (size_t i = 0; i < 200; i++)
		causes[i] = (struct cause){ .reason = REASON_INPUT_CHANGED, .what = "file", .before = text + LONG - 7000, .after = text + LONG - 7000 };
	assert_in_range(count_reasons(causes, 200), 2, 10);
}

/* The history keeps what went wrong, and never a secret that stood in it. */
static void
test_secret(void **state)
{
	static const char value[] = "outcome-canary-5512";
	static const struct rule rule = { .name = "thing" };
	struct arena arena finally(arena_finish) = { 0 };
	struct secret secret finally(secret_finish) = { 0 };
	struct secret_ref ref = { .env = "PROVISION_OUTCOME_CANARY" };
	struct worker worker = { .kind = WORK_BUILD, .rule = &rule, .task = { .name = "a" } };
	struct outcome outcome;
	struct error err = { 0 };

	(void)state;
	setenv("PROVISION_OUTCOME_CANARY", value, 1);
	assert_true(secret_load(&ref, false, &secret, &err));
	(fail)(&worker.err, FAULT_COMMAND, "the server refused `%s`", value);
	outcome = outcome_make(&arena, &worker, RESULT_FAILED);
	assert_non_null(strstr(outcome.message, "the server refused"));
	assert_null(strstr(outcome.message, value));
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_reasons), cmocka_unit_test(test_secret) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
