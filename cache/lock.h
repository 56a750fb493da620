/* lock.h - one writer a project: an OFD lock on `.provision/lock` that dies with its holder.
 *
 * The file's text only says who; it never decides. reliability.md section 4. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/error.h"

struct arena;

struct lock {
	int fd; /* -1: not held */
};

/* What the lock's text says of its holder. */
struct lock_holder {
	const char *command;
	const char *run;
	const char *user;
	const char *host;
	int64_t pid;
	int64_t since_ns;
};

/* Take it, waiting at most `timeout_ms` (0: not at all); `waiting` (may be NULL) is called each 10 s. E0901 names the holder; E0903 where locks do not work. */
bool lock_take(struct lock *lock, const char *state_dir, const char *command, const char *run, int64_t timeout_ms,
	void (*waiting)(void *context, const struct lock_holder *holder), void *context, struct error *err);
void lock_release(struct lock *lock);

/* Who holds it now; false if nobody does. Changes nothing. */
bool lock_read(const char *state_dir, struct arena *arena, struct lock_holder *holder);
