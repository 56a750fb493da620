#include "clock.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "arena.h"

#define SECOND	       INT64_C(1000000000)
#define LONGEST_NAP_MS 100

int64_t
clock_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * SECOND + now.tv_nsec;
}

int64_t
clock_monotonic_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Whole seconds, rounded down before 1970 too. */
static time_t
seconds_of(int64_t ns)
{
	return (time_t)(ns / SECOND - (ns % SECOND < 0));
}

const char *
clock_utc(struct arena *arena, int64_t ns)
{
	time_t seconds = seconds_of(ns);
	int milliseconds = (int)((ns % SECOND + SECOND) % SECOND / 1000000);
	struct tm tm;

	/* 2^63 nanoseconds end in 2262: every year fits. */
	gmtime_r(&seconds, &tm);
	return arena_printf(arena, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
		tm.tm_hour, tm.tm_min, tm.tm_sec, milliseconds);
}

const char *
clock_local(struct arena *arena, int64_t ns)
{
	time_t seconds = seconds_of(ns);
	struct tm tm;
	int offset;

	localtime_r(&seconds, &tm);
	offset = (int)(tm.tm_gmtoff / 60);
	return arena_printf(arena, "%04d-%02d-%02d %02d:%02d:%02d %c%02d:%02d", tm.tm_year + 1900, tm.tm_mon + 1,
		tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, offset < 0 ? '-' : '+', abs(offset) / 60,
		abs(offset) % 60);
}

const char *
clock_hms(struct arena *arena, int64_t ns)
{
	time_t seconds = seconds_of(ns);
	struct tm tm;

	localtime_r(&seconds, &tm);
	return arena_printf(arena, "%02d:%02d:%02d", tm.tm_hour, tm.tm_min, tm.tm_sec);
}

void
clock_sleep_ms(int64_t ms, const atomic_bool *cancel)
{
	int64_t now = clock_monotonic_ms();
	int64_t end;

	if (__builtin_add_overflow(now, ms, &end))
		end = INT64_MAX;
	for (; now < end && !(cancel && *cancel); now = clock_monotonic_ms()) {
		int64_t nap = end - now < LONGEST_NAP_MS ? end - now : LONGEST_NAP_MS;
		struct timespec time = { .tv_nsec = (long)nap * 1000000 };

		/* A signal ends it early, and the loop sees how much is left. */
		nanosleep(&time, NULL);
	}
}

void
clock_wait_ms(pthread_cond_t *condition, pthread_mutex_t *mutex, int64_t ms)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += (time_t)(ms / 1000);
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_cond_timedwait(condition, mutex, &until);
}
