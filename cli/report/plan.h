/* plan.h - the targets of a plan as people read them: symbols, reasons, costs.
 *
 * A plan of 100,000 targets prints about as fast as its text can be written;
 * without `verbose` no more than a screenful or four is. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/plan.h"

struct arena;
struct out;

void plan_show_header(struct out *out, const struct plan *plan, struct arena *arena);

/* One block for each target, what is up to date folded into one line unless `verbose`. */
void plan_show_actions(struct out *out, const struct plan *plan, bool verbose, struct arena *arena);
