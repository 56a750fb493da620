/* swap.h - a swap is never left half done: what replaced something live is settled or put back. */
#pragma once

#include "loop.h"

/* At the end of a run: settle what has been accepted with everything that stands on it, put the old back otherwise. */
void swap_finish(struct loop *loop);

/* `kept`: the old record was put aside, and its successor recorded. Otherwise the build failed and the old record is current still. */
bool swap_revert(struct loop *loop, const struct target *target, const struct record *old, const struct rule *rule, bool kept);
