/* units.h - sizes and durations to numbers and back; whole input consumed, overflow refused. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct arena;

/* `80GiB`, `20GB`, `1.5 TB`, `512B`, `4096` -> bytes. */
bool units_size(const char *text, int64_t *bytes);

/* `90s`, `15m`, `1h30m`, `250ms` -> milliseconds. */
bool units_duration(const char *text, int64_t *milliseconds);

/* Decimal integer with an optional sign. */
bool units_int(const char *text, int64_t *value);
bool units_float(const char *text, double *value);

/* For people, three significant digits: `20.6 GB`, `23.6 GiB`, `48 s`, `4 m 05 s`, `1 h 12 m`, `0.4 s`. */
const char *units_show_size(struct arena *arena, uint64_t bytes);
const char *units_show_memory(struct arena *arena, uint64_t bytes);
const char *units_show_duration(struct arena *arena, int64_t milliseconds);
