#include "consent.h"

#include "base/arena.h"
#include "base/units.h"

/* One row for each entry of `limits:`. */
struct limit_row {
	const char *name;
	int64_t limit;
	int64_t forecast;
	const char *(*show)(struct arena *arena, int64_t value);
};

static const char *
show_bytes(struct arena *arena, int64_t value)
{
	return units_show_size(arena, (uint64_t)value);
}

static const char *
show_time(struct arena *arena, int64_t value)
{
	return units_show_duration(arena, value);
}

static void
ask_limits(const struct plan *plan, struct arena *arena, struct strings *lines)
{
	const struct limits *limits = &plan->inspection->manifest->limits;
	const struct limit_row rows[] = {
		{ "download", limits->download, plan->cost.download, show_bytes },
		{ "disk", limits->disk, plan->cost.keep, show_bytes },
		{ "time", limits->time, plan->cost.duration, show_time },
		{ "downtime", limits->downtime, plan->cost.downtime, show_time },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		if (rows[i].limit >= 0 && rows[i].forecast > rows[i].limit)
			strings_add(lines, arena,
				arena_printf(arena, "%s of %s is over the limit of %s", rows[i].name, rows[i].show(arena, rows[i].forecast),
					rows[i].show(arena, rows[i].limit)));
}

void
consent(const struct plan *plan, struct arena *arena, struct strings *lines)
{
	for (size_t i = 0; i < plan->count; i++) {
		const struct action *action = &plan->actions[i];

		if (!action->needs_consent)
			continue;
		if (action->kind == ACTION_REMOVE)
			strings_add(lines, arena, arena_printf(arena, "what `%s` made will be removed: the manifest has it no more", action->name));
		else if (action->kind == ACTION_REDO && action->seen->detail && action->seen->detail->cost.deletes)
			strings_add(lines, arena, arena_printf(arena, "what `%s` made will be removed where it makes it no more", action->name));
		else if (action->kind == ACTION_REDO)
			strings_add(lines, arena, arena_printf(arena, "`%s` is running and will be replaced", action->name));
	}
	ask_limits(plan, arena, lines);
}
