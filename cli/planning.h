/* planning.h - a plan with all that is said about it: findings, and the fallbacks that were really planned.
 *
 * For `plan` and `apply` alike. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "session.h"

#define CHAIN_MOST 16

/* Fallbacks that were planned one after the other, until one works. */
struct chain {
	struct shape *shapes[CHAIN_MOST];
	size_t count;
	bool works;         /* the last one is feasible */
	enum status status; /* a manifest of the chain could not be used; it has been said why */
};

/* Plan the fallbacks of `first` for these classes (bits of enum failure_class). `tried` holds absolute paths and grows. */
void planning_chain(struct session *session, const struct shape *first, unsigned classes, struct strings *tried,
	struct chain *chain);
void chain_finish(struct chain *chain);

/* A fallback is another shape of the same deployment, or it would leave this one behind: E0116 if it is not. */
enum status planning_check_name(struct session *session, const struct shape *first, const struct fallback_entry *entry,
	const struct shape *shape);

/* What refuses or warns in it alone, and of an infeasible plan the verdict: for who asked for quiet. */
void planning_brief(struct session *session, const struct shape *first, const struct chain *chain);

/* Print the plan of `first` and what its chain came to; JSON Lines with --json. */
void planning_show(struct session *session, const struct shape *first, const struct chain *chain);

/* "because: infeasible": the classes in words. */
const char *planning_because(struct session *session, unsigned classes);
