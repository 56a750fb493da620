#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "engine/base/strings.h"
#include "engine/base/suggest.h"

static void
did_you_mean(void **state)
{
	static const char *const candidates[] = { "container_port", "port",     "timeout", "revision", "gpus", "image", "max_model_len",
		                                  "a",              "weights",  NULL };
	static const struct {
		const char *word, *expected;
	} cases[] = {
		{ "contaner_port", "container_port" }, { "container-port", "container_port" }, { "CONTAINER_PORT", "container_port" },
		{ "timeot", "timeout" },               { "tiemout", "timeout" },               { "revison", "revision" },
		{ "gpu", "gpus" },                     { "gpsu", "gpus" },                     { "guops", NULL },
		{ "prot", "port" },                    { "Ports", "port" },                    { "imgae", "image" },
		{ "max-model-length", "max_model_len" }, { "xyz", NULL },                      { "", "a" },
		{ "b", "a" },                          { "weihgst", "weights" },               { "wigtsh", NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const char *found = suggest(cases[i].word, candidates);

		if (!text_equal(found, cases[i].expected))
			fail_msg("`%s`: %s", cases[i].word, found ? found : "nothing");
	}
}

static void
the_limit_is_a_third(void **state)
{
	/* Distance d is allowed for words of 3 d letters and more; one letter for all. */
	static const struct {
		const char *word, *candidate;
		bool near;
	} cases[] = {
		{ "badc", "abcd", false }, { "bacd", "abcd", true }, { "", "ab", false }, { "AZ", "az", true }, { "AZ", "bz", true }, { "AZ", "ya", false },
		{ "AAAA", "aabb", false }, { "ZZZZ", "zzzx", true }, { "ZZZZ", "zzxx", false }, { "AAAA", "aaaa", true },
		{ "ab", "ax", true }, { "ab", "xy", false }, { "abcde", "xycde", false }, { "abcdef", "xycdef", true },
		{ "abcdef", "xyzdef", false }, { "abcdefgh", "xyzdefgh", false }, { "abcdefghi", "xyzdefghi", true },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		assert_int_equal(suggest_better(cases[i].word, NULL, cases[i].candidate) != NULL, cases[i].near);
}

static void
the_nearer_one_wins_and_the_first_of_equals(void **state)
{
	static const char *const none[] = { NULL };
	static const char *const equals[] = { "targex", "targey", NULL };
	char long_word[200];

	(void)state;
	assert_null(suggest("word", none));
	assert_string_equal(suggest("target", equals), "targex");
	assert_string_equal(suggest_better("target", "tarxex", "targex"), "targex");
	assert_string_equal(suggest_better("target", "targex", "tarxex"), "targex");
	assert_string_equal(suggest_better("target", "targex", "other"), "targex");
	assert_string_equal(suggest_better("target", "targex", "target"), "target");
	memset(long_word, 'a', sizeof long_word - 1);
	long_word[sizeof long_word - 1] = '\0';
	assert_null(suggest_better(long_word, NULL, "aaaa"));
	assert_null(suggest_better("aaaa", NULL, long_word));
	long_word[81] = '\0';
	assert_null(suggest_better(long_word, NULL, long_word + 1));
	/* The longest that is looked at, on both sides. */
	long_word[80] = '\0';
	assert_ptr_equal(suggest_better(long_word, NULL, long_word + 1), long_word + 1);
	assert_ptr_equal(suggest_better(long_word + 1, NULL, long_word), long_word);
	assert_ptr_equal(suggest_better(long_word, NULL, long_word), long_word);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(did_you_mean),
		cmocka_unit_test(the_limit_is_a_third),
		cmocka_unit_test(the_nearer_one_wins_and_the_first_of_equals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
