/* consent.h - which actions of a plan want the user's word: what stops something live, deletes data, or goes beyond `limits`. Asks nobody. */
#pragma once

#include "plan.h"

/* One line for each thing that needs consent, in the arena; none: nothing does. */
void consent(const struct plan *plan, struct arena *arena, struct strings *lines);
