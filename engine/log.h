/* log.h - one bounded, redacted log per run and target.
 *
 * `DIR/RUN/TARGET.log`, made with the first line. Control characters are written as ^[ and the like; over 64 MiB the middle is left out with a note. Thread-safe. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

struct arena;

struct log {
	pthread_mutex_t mutex;
	const char *path;
	int fd;             /* -1: not opened yet */
	bool after_cr;      /* a CR ended the last line: an LF that follows ends nothing */
	size_t written;
	size_t left_out;    /* bytes that came when the file was full; what the tail holds of them is written at the end */
	struct buf partial; /* a line that has not ended */
	struct buf tail;    /* the last 64 KiB, for diagnosis */
};

void log_init(struct log *log, const char *path);
void log_finish(struct log *log);

/* Raw output of a child; lines may come in pieces. A CR ends a line too (progress bars). */
void log_bytes(struct log *log, const char *bytes, size_t size);
void log_printf(struct log *log, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A copy of the last bytes, redacted, at most 64 KiB. */
const char *log_tail(struct log *log, struct arena *arena);
