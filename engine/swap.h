/* swap.h - a swap is never left half done: what replaced something live is settled or put back. */
#pragma once

#include "loop.h"

/* At the end of a run: settle what has been accepted with everything that stands on it, put the old back otherwise. */
void swap_finish(struct loop *loop);

/* A target whose old record may list what it makes no more by the new one. */
struct shedding {
	const struct target *target; /* NULL: the manifest has it no more */
	const struct rule *rule;
	const struct record *old;
	const struct record *now;    /* NULL: it has none */
};

/* Remove what is made no more, side by side, then forget the old records. */
void swap_shed(struct loop *loop, const struct shedding *items, size_t count);

/* Whether anything of the old record is to be removed so. */
bool swap_sheds(struct loop *loop, const struct record *old, const struct record *now, const struct rule *rule, struct artifacts *left);

/* `kept`: the old record was put aside, and its successor recorded. Otherwise the build failed and the old record is current still. */
bool swap_revert(struct loop *loop, const struct target *target, const struct record *old, const struct rule *rule, bool kept);
