/* pace.h - the targets that are running: how far they are and how fast they go.
 *
 * Fed with the engine's events; knows the clock only by what it is given. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/event.h"

struct pace_row {
	char target[64];
	char stage[96];
	char unit[16];
	uint64_t done, total;   /* total 0: unknown */
	char file[96];          /* one of the stage's files, of several; "": none is told of */
	uint64_t file_done, file_total;
	double rate;            /* per second, smoothed; 0: not known */
	int64_t started_ms;
	int64_t sampled_ms;     /* of the last sample that the rate was made of */
	uint64_t sampled;
	int64_t said_ms;        /* when it was last told to the user: whoever shows it keeps this */
	uint64_t said_done;
	bool reverting;
	bool removing;
};

struct pace {
	struct pace_row *rows;
	size_t count;
	size_t capacity;
	uint64_t bytes_ended;   /* bytes of targets that have ended */
};

void pace_finish(struct pace *pace);

/* A target started, or went on. The row stays valid until the next call. */
struct pace_row *pace_note(struct pace *pace, const struct event *event, int64_t now_ms);

/* NULL if the target is not running. */
const struct pace_row *pace_find(const struct pace *pace, const char *target);

/* It ended. */
void pace_drop(struct pace *pace, const char *target);

/* Milliseconds to its end at this rate; -1: not known. */
int64_t pace_left(const struct pace_row *row);

/* Whether the numbers are bytes. */
bool pace_is_bytes(const struct pace_row *row);
