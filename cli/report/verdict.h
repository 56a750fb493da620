/* verdict.h - what a plan comes to: its cost, whether it can work, what its fallbacks would do. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "engine/plan.h"

struct arena;
struct known;
struct out;

/* "Cost, if it could run: ...": of a plan that cannot. */
void verdict_cost(struct out *out, const struct plan *plan, struct arena *arena);

/* One line about a fallback: whether it works, what it costs, what it gives up that `first` had. */
void verdict_fallback(struct out *out, size_t index, const char *shown, const struct plan *first,
	const struct plan *plan, struct arena *arena);

/* "Plan: ...". `fallback`: index of the fallback that works, 0 if none does; `fallbacks`: how many were planned. */
void verdict_show(struct out *out, const struct plan *plan, size_t fallback, size_t fallbacks, struct arena *arena);

/* "Nothing to do: 6 targets up to date (checked 18 files by stat, 0 by hash) in 0.05 s." */
void verdict_nothing(struct out *out, size_t targets, uint64_t stats, uint64_t hashes, int64_t took_ms, struct arena *arena);

/* Counts as the verdict and the JSON stream give them. */
struct verdict_counts {
	size_t make, redo, restart, check, remove, same, held, blocked, infeasible;
};

void verdict_count(const struct plan *plan, struct verdict_counts *counts);
