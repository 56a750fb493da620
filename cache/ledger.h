/* ledger.h - the cache database: open, lock, current records, checkpoints, intents. Fills the memory socket.
 *
 * WAL, synchronous=FULL, STRICT tables, every value bound (reliability.md section 3). Readers change no byte and no time stamp. */
#pragma once

#include <stdbool.h>

#include "engine/base/error.h"
#include "engine/memory.h"

struct arena;
struct ledger;

/* Open for reading. No database yet is fine: the memory is then empty. E0902, E0904 if it cannot be believed. */
bool ledger_open_reading(const char *path, struct ledger **ledger, struct error *err);

/* Open for writing, creating directory and file; the caller holds the lock. E0903 on file systems that cannot carry it. */
bool ledger_open_writing(const char *path, struct ledger **ledger, struct error *err);

void ledger_close(struct ledger *ledger);

struct memory *ledger_memory(struct ledger *ledger);
