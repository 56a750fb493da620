/* plan.h - what must be done, in order, and why.
 *
 * A plan is made once from an inspection and never altered; making it changes nothing in the world. The same list serves `plan` and `apply`. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "inspect.h"

enum action_kind {
	ACTION_NONE,       /* up to date: listed only to be shown */
	ACTION_MAKE,       /* + */
	ACTION_REDO,       /* -/+ */
	ACTION_CHECK,      /* > a verdict to be given; shown as = where it was given now and is good */
	ACTION_REMOVE,     /* - recorded, but not in the manifest */
	ACTION_INFEASIBLE, /* ! a check that refuses, or a target that cannot be looked at */
	ACTION_HELD,       /* . could run, but is pointless while the plan cannot succeed */
	ACTION_BLOCKED,    /* . needs one that is infeasible */
	ACTION_KIND_COUNT,
};

struct action {
	enum action_kind kind;
	enum reason reason;
	const struct target *target;   /* NULL for ACTION_REMOVE */
	const struct record *record;   /* of ACTION_REMOVE */
	const struct seen *seen;       /* NULL for ACTION_REMOVE */
	const char *name;
	int64_t duration;              /* ms expected: history, else the rule's guess; -1 unknown */
	bool from_history;
	bool needs_consent;            /* stops something live, or deletes data */
};

enum verdict { VERDICT_NOTHING, VERDICT_FEASIBLE, VERDICT_INFEASIBLE };

struct plan {
	const struct inspection *inspection;
	struct action *actions;        /* removals first, then run order, up-to-date ones included */
	size_t count;
	size_t counts[ACTION_KIND_COUNT];
	enum verdict verdict;
	enum status status;            /* exit status if the verdict is infeasible */
	unsigned classes;              /* bits of enum failure_class that refuse */
	struct cost cost;              /* sums; -1 where a part is not known */
	int64_t least_download;        /* of the parts that are known */
	int64_t least_keep;
	bool cost_is_guess;
};

bool plan_make(struct plan *plan, const struct inspection *inspection, struct arena *arena, struct error *err);

/* Whether there is nothing to do but to show it. */
bool plan_is_empty(const struct plan *plan);
