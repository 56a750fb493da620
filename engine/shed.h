/* shed.h - what a target made before and makes no more: what its old record lists, and neither it nor another target makes now. Changes nothing. */
#pragma once

#include "inspect.h"

/* Add to `left` what of the old record nobody makes any more. `makes` is what the target itself makes now; `current` the records as of now by target id, NULL for
 * those that were inspected. */
void shed_list(const struct inspection *inspection, const struct record *const *current, const struct record *old, const struct strings *makes,
	struct arena *arena, struct artifacts *left);
