#include "stale.h"

#include <string.h>

#include "base/arena.h"

/* The reason that a look at the world gives; a rule that names none gets the general word. */
static enum reason
world_reason(const struct look *look)
{
	if (look->reason != REASON_NONE)
		return look->reason;
	return look->state == STATE_ABSENT ? REASON_OUTPUT_MISSING : REASON_OUTPUT_DIFFERS;
}

/* Which of the two words a changed fingerprint gets is settled by its causes; without them a parameter is meant. */
static enum reason
changed_reason(const struct evidence *evidence)
{
	return evidence->record->rule_version != evidence->rule_version ? REASON_RULE_VERSION : REASON_PARAMETER_CHANGED;
}

enum reason
stale(const struct evidence *evidence)
{
	if (!evidence->record)
		return REASON_NEVER_BUILT;
	if (evidence->asked_for)
		return REASON_ASKED_FOR;
	if (evidence->need_will_change)
		return REASON_DEPENDENCY;
	if (!evidence->fingerprint)
		return REASON_UNKNOWN_UNTIL;
	if (!digest_equal(&evidence->record->fingerprint, evidence->fingerprint))
		return changed_reason(evidence);
	if (evidence->look && evidence->look->state != STATE_FRESH)
		return world_reason(evidence->look);
	return evidence->need_mended ? REASON_NEED_MENDED : REASON_NONE;
}

/* "param:args" -> "args". */
static const char *
bare_name(const char *name)
{
	const char *colon = strchr(name, ':');

	return colon ? colon + 1 : name;
}

static enum reason
kind_reason(enum ingredient_kind kind)
{
	static const enum reason reasons[] = {
		[INGREDIENT_PARAM] = REASON_PARAMETER_CHANGED,
		[INGREDIENT_FILE] = REASON_INPUT_CHANGED,
		[INGREDIENT_TREE] = REASON_INPUT_CHANGED,
		[INGREDIENT_NEED] = REASON_DEPENDENCY,
		[INGREDIENT_FACT] = REASON_UPSTREAM_MOVED,
	};

	return reasons[kind];
}

static size_t
line_length(const char *text)
{
	return strcspn(text, "\n");
}

static const char *
line_copy(struct arena *arena, const char *text)
{
	return arena_copy_bytes(arena, text, line_length(text));
}

/* The first line that differs between two kept texts becomes the cause's before and after. */
static void
compare_lines(const char *before, const char *after, struct arena *arena, struct cause *cause)
{
	uint32_t line = 1;

	while (*before && *after) {
		size_t length = line_length(before);

		if (length != line_length(after) || memcmp(before, after, length) != 0)
			break;
		before += length + (before[length] == '\n');
		after += length + (after[length] == '\n');
		line++;
	}
	cause->line = line;
	cause->before = line_copy(arena, before);
	cause->after = line_copy(arena, after);
}

/* Whether files of the tree are among the causes: then its digest, which covers them, says nothing more. */
static bool
is_covered(const struct causes *causes, const struct ingredient *tree)
{
	const char *name = bare_name(tree->name);
	size_t length = strlen(name);
	bool here = strcmp(name, ".") == 0;

	for (size_t i = 0; i < causes->count; i++) {
		const struct cause *cause = &causes->items[i];

		if (cause->reason == REASON_INPUT_CHANGED &&
			(here ? *cause->what != '/' : strncmp(cause->what, name, length) == 0 && cause->what[length] == '/'))
			return true;
	}
	return false;
}

static void
add_cause(struct causes *causes, struct arena *arena, const struct ingredient *before, const struct ingredient *after)
{
	const struct ingredient *named = after ? after : before;
	struct cause cause = {
		.reason = kind_reason(named->kind), /* NOLINT(clang-analyzer-core.NullDereference): one of the two is there */
		.what = bare_name(named->name),
		.before = before ? before->value : NULL,
		.after = after ? after->value : NULL,
		.path = after ? after->path : NULL,
	};

	if (named->kind == INGREDIENT_TREE && is_covered(causes, named))
		return;
	if (before && after && before->text && after->text)
		compare_lines(before->text, after->text, arena, &cause);
	if (causes->count == causes->capacity)
		causes->items = arena_grow(arena, causes->items, causes->count, &causes->capacity, sizeof *causes->items);
	causes->items[causes->count++] = cause;
}

void
stale_causes(const struct ingredients *before, const struct ingredients *after, struct arena *arena, struct causes *causes)
{
	size_t i = 0, j = 0;

	while (i < before->count || j < after->count) {
		const struct ingredient *old = i < before->count ? &before->items[i] : NULL;
		const struct ingredient *new = j < after->count ? &after->items[j] : NULL;
		int order = !old ? 1 : !new ? -1 : strcmp(old->name, new->name);

		if (order < 0)
			add_cause(causes, arena, old, NULL);
		else if (order > 0)
			add_cause(causes, arena, NULL, new);
		else if (strcmp(old->value, new->value) != 0)
			add_cause(causes, arena, old, new);
		i += order <= 0;
		j += order >= 0;
	}
}
