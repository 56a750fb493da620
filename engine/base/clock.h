/* clock.h - times: nanoseconds since 1970 for what is recorded, monotonic milliseconds for what is measured. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

struct arena;

int64_t clock_now_ns(void);
int64_t clock_monotonic_ms(void);

/* `2026-11-22T02:04:31.004Z`, RFC 3339 in UTC: for records and JSON. */
const char *clock_utc(struct arena *arena, int64_t ns);

/* `2026-11-22 10:04:31 +08:00`, local: for people. `clock_hms` is `10:04:31` alone. */
const char *clock_local(struct arena *arena, int64_t ns);
const char *clock_hms(struct arena *arena, int64_t ns);

/* Sleep, in pieces of 100 ms at most, until the time is over or `*cancel` is set (may be NULL). */
void clock_sleep_ms(int64_t ms, const atomic_bool *cancel);

/* Wait for a condition, its mutex held, at most so long: whoever waits looks himself at what has changed. */
void clock_wait_ms(pthread_cond_t *condition, pthread_mutex_t *mutex, int64_t ms);
