#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "engine/base/arena.h"
#include "engine/base/clock.h"

#define MS INT64_C(1000000)

static void
utc_of_known_moments(void **state)
{
	static const struct {
		int64_t ns;
		const char *text;
	} cases[] = {
		{ 0, "1970-01-01T00:00:00.000Z" },
		{ 999999, "1970-01-01T00:00:00.000Z" },
		{ 1 * MS, "1970-01-01T00:00:00.001Z" },
		{ INT64_C(1795313071004) * MS, "2026-11-22T02:04:31.004Z" },
		{ INT64_C(2147483648000) * MS, "2038-01-19T03:14:08.000Z" },
		{ INT64_C(951782400000) * MS, "2000-02-29T00:00:00.000Z" },
		{ -1, "1969-12-31T23:59:59.999Z" },
		{ -1000 * MS, "1969-12-31T23:59:59.000Z" },
		{ -1001 * MS, "1969-12-31T23:59:58.999Z" },
		{ INT64_MAX, "2262-04-11T23:47:16.854Z" },
		{ INT64_MIN, "1677-09-21T00:12:43.145Z" },
	};
	struct arena arena = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		assert_string_equal(clock_utc(&arena, cases[i].ns), cases[i].text);
	arena_finish(&arena);
}

static void
local_times_carry_their_offset(void **state)
{
	static const struct {
		const char *zone;
		const char *local;
		const char *hms;
	} cases[] = {
		{ "CST-8", "2026-11-22 10:04:31 +08:00", "10:04:31" },
		{ "UTC0", "2026-11-22 02:04:31 +00:00", "02:04:31" },
		{ "NST3:30", "2026-11-21 22:34:31 -03:30", "22:34:31" },
		{ "NPT-5:45", "2026-11-22 07:49:31 +05:45", "07:49:31" },
	};
	struct arena arena = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		setenv("TZ", cases[i].zone, 1);
		tzset();
		assert_string_equal(clock_local(&arena, INT64_C(1795313071004) * MS), cases[i].local);
		assert_string_equal(clock_hms(&arena, INT64_C(1795313071004) * MS), cases[i].hms);
	}
	arena_finish(&arena);
}

static void
clocks_go_forward(void **state)
{
	int64_t now = clock_now_ns();
	int64_t start = clock_monotonic_ms();
	clock_t used = clock();

	(void)state;
	assert_true(now > INT64_C(1700000000) * 1000 * MS);
	clock_sleep_ms(120, NULL);
	assert_in_range(clock_monotonic_ms() - start, 120, 10000);
	assert_true(clock_now_ns() - now >= 100 * MS);
	/* It slept, and did not turn in circles. */
	assert_true(clock() - used < CLOCKS_PER_SEC / 20);
	for (int i = 0; i < 20; i++) {
		struct timespec time;

		clock_sleep_ms(7, NULL);
		clock_gettime(CLOCK_MONOTONIC, &time);
		assert_in_range((int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000 + 100 - clock_monotonic_ms(), 0, 100);
	}
}

static atomic_bool cancelled;

static void *
cancel_soon(void *unused)
{
	(void)unused;
	clock_sleep_ms(50, NULL);
	cancelled = true;
	return NULL;
}

static void
sleep_can_be_cancelled(void **state)
{
	int64_t start = clock_monotonic_ms();
	atomic_bool at_once = true;
	pthread_t thread;

	(void)state;
	clock_sleep_ms(60000, &at_once);
	clock_sleep_ms(0, NULL);
	clock_sleep_ms(-5, NULL);
	assert_true(clock_monotonic_ms() - start < 2000);
	assert_int_equal(pthread_create(&thread, NULL, cancel_soon, NULL), 0);
	clock_sleep_ms(INT64_MAX, &cancelled);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_true(clock_monotonic_ms() - start < 5000);
}

/* Nobody wakes it: it comes back after its time, with the mutex held, and not before. */
static void
a_wait_ends(void **state)
{
	pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
	int64_t start = clock_monotonic_ms();

	(void)state;
	pthread_mutex_lock(&mutex);
	while (clock_monotonic_ms() - start < 60)
		clock_wait_ms(&condition, &mutex, 30);
	assert_int_not_equal(pthread_mutex_trylock(&mutex), 0);
	pthread_mutex_unlock(&mutex);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(utc_of_known_moments),
		cmocka_unit_test(local_times_carry_their_offset),
		cmocka_unit_test(clocks_go_forward),
		cmocka_unit_test(sleep_can_be_cancelled),
		cmocka_unit_test(a_wait_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
