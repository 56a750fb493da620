/* outcome.h - a finished job as an entry of the history, and its record as bytes. Pure. */
#pragma once

#include "event.h"
#include "memory.h"
#include "worker.h"

/* The entry without a record; texts are copied and redacted into the arena. */
struct outcome outcome_make(struct arena *arena, const struct worker *worker, enum result result);

/* A copy of a record that stands on its own packed body in the arena. */
const struct record *outcome_record(const struct record *record, struct arena *arena);
