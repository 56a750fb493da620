#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "cli/report/pace.h"
#include "cli/report/words.h"
#include "engine/base/arena.h"

static struct pace_row *
progress(struct pace *pace, const char *stage, uint64_t done, uint64_t total, int64_t now_ms)
{
	return pace_note(pace, &(struct event){ .kind = EVENT_PROGRESS, .target = "weights", .stage = stage, .done = done, .total = total,
		.unit = "bytes" }, now_ms);
}

static void
measures_and_forecasts(void **state)
{
	struct pace pace = { 0 };
	struct pace_row *row;
	struct arena arena;

	(void)state;
	arena_init(&arena);
	pace_note(&pace, &(struct event){ .kind = EVENT_STARTED, .target = "weights", .reason = REASON_NEVER_BUILT }, 0);
	row = progress(&pace, "download", 0, 20600000000, 0);
	assert_int_equal(pace_left(row), -1);
	/* Too short a time says nothing. */
	row = progress(&pace, "download", 500000000, 20600000000, 100);
	assert_true(row->rate <= 0);
	row = progress(&pace, "download", 600000000, 20600000000, 10000);
	assert_int_equal((int64_t)row->rate, 60000000);
	assert_in_range(pace_left(row), 333000, 334000);
	assert_string_equal(words_progress(row, ", ", &arena), "600 MB / 20.6 GB, 60 MB/s, ~5 m 30 s left");
	row = pace_note(&pace, &(struct event){ .kind = EVENT_PROGRESS, .target = "weights", .stage = "download", .done = 600000000, .total = 20600000000,
		.unit = "bytes", .file = "model-00002.safetensors", .file_done = 2, .file_total = 3 }, 10001);
	assert_string_equal(words_progress(row, ", ", &arena), "600 MB / 20.6 GB, 60 MB/s, ~5 m 30 s left, model-00002.safetensors 66 %");
	row = progress(&pace, "verify", 0, 20600000000, 11000);
	assert_true(row->rate <= 0);
	assert_int_equal(pace_left(row), -1);
	row = progress(&pace, "verify", 700, 0, 11100);
	assert_string_equal(words_progress(row, ", ", &arena), "700 B");
	pace_drop(&pace, "weights");
	assert_int_equal(pace.count, 0);
	assert_int_equal(pace.bytes_ended, 700);
	assert_null(pace_find(&pace, "weights"));
	pace_finish(&pace);
	arena_finish(&arena);
}

/* A number that goes back (a retry that starts over) gives no rate that is absurd. */
static void
survives_going_back(void **state)
{
	struct pace pace = { 0 };
	struct pace_row *row;

	(void)state;
	progress(&pace, "download", 1000, 2000, 0);
	row = progress(&pace, "download", 10, 2000, 5000);
	assert_true(row->rate <= 0);
	row = progress(&pace, "download", 3000, 2000, 9000);
	assert_int_equal(pace_left(row), -1);
	pace_finish(&pace);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(measures_and_forecasts), cmocka_unit_test(survives_going_back) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
