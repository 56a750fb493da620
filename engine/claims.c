#include <string.h>

#include "base/arena.h"
#include "base/finding.h"
#include "base/strings.h"
#include "link.h"

/* A claim that stands, in a list of those with the same kind and name. */
struct holder {
	const struct target *target;
	const struct claim *claim;
	struct holder *next;
};

void
claims_add(struct claims *claims, struct arena *arena, const struct claim *claim)
{
	if (claims->count == claims->capacity)
		claims->items = arena_grow(arena, claims->items, claims->count, &claims->capacity, sizeof *claims->items);
	claims->items[claims->count++] = *claim;
}

void
link_refuse_second(struct linking *linking, const struct target *first, struct place first_at, const struct target *second, struct place at,
	const char *what)
{
	struct error err = { 0 };

	fail_at(&err, at, FAULT_TWO_MAKERS, "targets `%s` and `%s` both %s", first->name, second->name, what);
	error_label(&err, "`%s` does so already", first->name);
	error_hint(&err, "give one of them another; `%s` does so at %s:%u:%u", first->name, first_at.file ? first_at.file : "?", first_at.line,
		first_at.column);
	errors_add(linking->errors, &err);
}

static struct place
param_place(const struct target *target, const char *param)
{
	return node_get(target->node, param) ? node_place(target->node, param) : target->at;
}

/* What is not known yet may turn out to be the same. */
static bool
are_alike(const struct linking *linking, const struct target *a, const struct target *b)
{
	if (a->rule != b->rule)
		return false;
	for (const struct param *param = a->rule->params; param->name; param++)
		if (!param->unhashed && !text_equal(params_text(param, a->spec, linking->scratch), params_text(param, b->spec, linking->scratch)))
			return a->pending || b->pending;
	return true;
}

static bool
collides(const struct linking *linking, const struct holder *holder, const struct target *target, const struct claim *claim)
{
	if (holder->target == target)
		return false;
	if (holder->claim->where && claim->where && strcmp(holder->claim->where, claim->where) != 0)
		return false;
	return !holder->claim->shared || !claim->shared || !are_alike(linking, holder->target, target);
}

static const char *
words(const struct linking *linking, const struct claim *claim)
{
	return arena_printf(linking->scratch, "want %s `%s`", claim->kind, claim->name);
}

/* Whether the claim stands. Holders of one thing are few: those that stand collide with none of the others. */
static bool
check(struct linking *linking, const struct holder *holders, const struct target *target, const struct claim *claim)
{
	for (; holders; holders = holders->next) {
		if (!collides(linking, holders, target, claim))
			continue;
		link_refuse_second(linking, holders->target, param_place(holders->target, holders->claim->param), target,
			param_place(target, claim->param), words(linking, claim));
		return false;
	}
	return true;
}

void
link_claims(struct linking *linking)
{
	const struct graph *graph = linking->graph;
	struct holder **holders = NULL;
	size_t capacity = 0;
	struct names names;

	names_init(&names, linking->scratch);
	for (uint32_t i = 0; i < graph->count; i++) {
		const struct target *target = &graph->targets[i];
		struct claims claims = { 0 };

		/* One that is left out unless it is named may stand in for another. */
		if (!target->rule->claims || !target->spec || target->optional)
			continue;
		target->rule->claims(target->spec, linking->scratch, &claims);
		for (size_t j = 0; j < claims.count; j++) {
			const struct claim *claim = &claims.items[j];
			uint32_t id = names_add(&names, arena_printf(linking->scratch, "%s %s", claim->kind, claim->name));
			struct holder *holder;

			if (id >= capacity)
				holders = arena_grow(linking->scratch, holders, id, &capacity, sizeof *holders);
			/* One error for a target says enough. */
			if (!check(linking, holders[id], target, claim))
				break;
			holder = arena_alloc(linking->scratch, sizeof *holder);
			*holder = (struct holder){ .target = target, .claim = claim, .next = holders[id] };
			holders[id] = holder;
		}
	}
	names_finish(&names);
}
