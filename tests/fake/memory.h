/* memory.h - a memory in the process: fits the engine's socket, keeps what it is told, shows it to the test. */
#pragma once

#include "engine/base/arena.h"
#include "engine/memory.h"
#include "engine/record.h"

#define FAKE_ROWS 128

struct fake_checkpoint {
	const char *key;
	const void *bytes;
	size_t size;
};

struct fake_memory {
	struct memory socket;
	struct arena arena;
	struct row rows[FAKE_ROWS];
	size_t count;
	struct row kept[FAKE_ROWS];
	size_t kept_count;
	struct intent intents[FAKE_ROWS];
	size_t intent_count;
	struct fake_checkpoint checkpoints[FAKE_ROWS];
	size_t checkpoint_count;
	const char *history[4 * FAKE_ROWS]; /* "TARGET ACTION RESULT" of every outcome, in order */
	size_t history_count;
	const char *ended;                  /* the word of end_run */
	bool refuses_runs;                  /* begin_run fails */
	size_t fail_after;                  /* commits that still work; SIZE_MAX: all */
};

void fake_memory_init(struct fake_memory *memory);
void fake_memory_finish(struct fake_memory *memory);

/* Remember a record as if a run had committed it. */
void fake_memory_put(struct fake_memory *memory, const struct record *record);

/* NULL if nothing is recorded. */
const struct row *fake_memory_row(const struct fake_memory *memory, const char *target);
