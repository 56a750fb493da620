/* plan.h - a plan as people read it: targets with symbols and reasons, what it costs, whether it can work.
 *
 * Written in parts, since diagnostics and fallbacks stand between them. A plan of 100,000 targets prints about as fast as its text can be written;
 * without `verbose` no more than a screenful or four is. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/plan.h"

struct arena;
struct known;
struct out;

void plan_show_header(struct out *out, const struct plan *plan, struct arena *arena);

/* One block for each target, what is up to date folded into one line unless `verbose`. */
void plan_show_actions(struct out *out, const struct plan *plan, bool verbose, struct arena *arena);

/* "Cost, if it could run: ...": of a plan that cannot. */
void plan_show_cost(struct out *out, const struct plan *plan, struct arena *arena);

/* One line about a fallback: whether it works, what it costs, what it gives up that `first` had. */
void plan_show_fallback(struct out *out, size_t index, const char *shown, const struct plan *first, const struct plan *plan, struct arena *arena);

/* "Plan: ...". `fallback`: index of the fallback that works, 0 if none does; `fallbacks`: how many were planned. */
void plan_show_verdict(struct out *out, const struct plan *plan, size_t fallback, size_t fallbacks, struct arena *arena);

/* "Nothing to do: 6 targets up to date (checked 18 files by stat, 0 by hash) in 0.05 s." */
void plan_show_nothing(struct out *out, const struct plan *plan, const struct known *known, int64_t took_ms, struct arena *arena);

/* Counts as the verdict and the JSON stream give them. */
struct plan_counts {
	size_t make, redo, restart, check, remove, same, held, blocked, infeasible;
};

void plan_count(const struct plan *plan, struct plan_counts *counts);
