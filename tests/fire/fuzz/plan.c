/* Small graphs, what was applied before, what the world shows, what is wished for: the plan, against an engine that is slow and simple.
 *
 * Input: a byte with the number of targets, eight bytes for each, three of wishes. */
#include "engine/plan.h"

#include <stdio.h>
#include <string.h>

#include "engine/base/buf.h"
#include "engine/base/file.h"
#include "engine/task_internal.h"
#include "fuzz.h"
#include "tests/fake/memory.h"

#define MOST 7

/* One target, then and now. */
struct item {
	bool check_before, check;       /* its rule gives a verdict */
	bool existed, recorded, exists; /* in the manifest before; still in the cache; in the manifest now */
	unsigned value_before, value;
	unsigned needs_before, needs;   /* bits of targets with a lower number */
	int from_before, from;          /* target whose output is an input; -1: none */
	unsigned world;                 /* 0: as recorded, 1: gone, 2: differs */
	bool refuses, optional;
};

struct world {
	struct item items[MOST];
	unsigned count;
	int only, excluded, replaced; /* wishes; -1: none */
};

/* The world of the input that is running, for the rules. */
static const struct world *shown;

struct thing {
	const char *value;
	const char *from;
};

static const struct param thing_params[] = {
	{ "value", PARAM_STRING, offsetof(struct thing, value), .about = "anything" },
	{ "from", PARAM_STRING, offsetof(struct thing, from), .about = "anything" },
	{ 0 },
};

static const struct output thing_outputs[] = { { "id", "known after a build", NULL }, { 0 } };

static const struct item *
item_of(struct task *task)
{
	return &shown->items[task_target(task)[1] - '0'];
}

static bool
thing_inspect(const void *spec, struct task *task, struct look *look, struct error *err)
{
	static const struct look looks[] = { { .state = STATE_FRESH }, { .state = STATE_ABSENT, .reason = REASON_CONTAINER_GONE }, { .state = STATE_DRIFTED } };

	(void)spec;
	(void)err;
	*look = looks[item_of(task)->world];
	return true;
}

static bool
verdict_inspect(const void *spec, struct task *task, struct look *look, struct error *err)
{
	(void)spec;
	(void)err;
	look->judged = true;
	if (item_of(task)->refuses)
		findings_add(task_findings(task), FAULT_INFEASIBLE, task_place(task, "value"), "it cannot work");
	return true;
}

static bool
no_build(const void *spec, struct task *task, struct error *err)
{
	(void)spec;
	(void)task;
	(void)err;
	return true;
}

static const struct rule thing = { .name = "thing", .version = 1, .params = thing_params, .size = sizeof(struct thing), .outputs = thing_outputs,
	.inspect = thing_inspect, .build = no_build };
static const struct rule verdict = { .name = "verdict", .version = 1, .check = true, .params = thing_params, .size = sizeof(struct thing),
	.inspect = verdict_inspect, .build = no_build };
static const struct rule *const rules[] = { &thing, &verdict, NULL };

/* ---- the slow engine: what each target is, asked again and again from below */

static unsigned
needs_of(const struct item *item, bool before)
{
	int from = before ? item->from_before : item->from;

	return (before ? item->needs_before : item->needs) | (from < 0 ? 0 : 1u << from);
}

static bool
has_record(const struct item *item)
{
	return item->existed && item->recorded && item->check_before == item->check;
}

/* A need that gave a product gives a verdict now: what is seen of it is not what was. */
static bool
needs_another_kind(const struct world *world, const struct item *item)
{
	for (unsigned i = 0; i < world->count; i++)
		if ((needs_of(item, false) >> i & 1) && world->items[i].check != world->items[i].check_before)
			return true;
	return false;
}

static enum reason
reason_of(const struct world *world, unsigned id)
{
	const struct item *item = &world->items[id];
	bool need_changes = false;

	for (unsigned i = 0; i < id; i++)
		if ((needs_of(item, false) >> i & 1) && !world->items[i].check && reason_of(world, i) != REASON_NONE)
			need_changes = true;
	if (!has_record(item))
		return REASON_NEVER_BUILT;
	if (world->replaced == (int)id)
		return REASON_ASKED_FOR;
	/* What its input will be cannot be said, so nothing else about it is. */
	if (item->from >= 0 && reason_of(world, (unsigned)item->from) != REASON_NONE)
		return REASON_DEPENDENCY;
	if (item->value != item->value_before || item->from != item->from_before)
		return REASON_PARAMETER_CHANGED;
	if (need_changes || needs_of(item, false) != needs_of(item, true) || needs_another_kind(world, item))
		return REASON_DEPENDENCY;
	if (item->check)
		return item->refuses ? REASON_OUTPUT_DIFFERS : REASON_NONE;
	return item->world == 0 ? REASON_NONE : item->world == 1 ? REASON_CONTAINER_GONE : REASON_OUTPUT_DIFFERS;
}

static bool
is_refused(const struct world *world, unsigned id)
{
	const struct item *item = &world->items[id];

	/* Without its parameters a check cannot be asked. */
	return item->check && item->refuses && (item->from < 0 || reason_of(world, (unsigned)item->from) == REASON_NONE);
}

static bool
is_behind(const struct world *world, unsigned id)
{
	for (unsigned i = 0; i < id; i++)
		if ((needs_of(&world->items[id], false) >> i & 1) && (is_refused(world, i) || is_behind(world, i)))
			return true;
	return false;
}

static bool
needs_somehow(const struct world *world, unsigned user, unsigned need)
{
	if (user == need)
		return true;
	for (unsigned i = 0; i < user; i++)
		if ((needs_of(&world->items[user], false) >> i & 1) && needs_somehow(world, i, need))
			return true;
	return false;
}

static bool
is_wanted(const struct world *world, unsigned id)
{
	bool wanted = false;

	for (unsigned user = id; user < world->count; user++)
		if (world->items[user].exists && (world->only < 0 ? !world->items[user].optional : world->only == (int)user) && needs_somehow(world, user, id))
			wanted = true;
	return wanted && (world->excluded < 0 || !needs_somehow(world, id, (unsigned)world->excluded));
}

static enum action_kind
kind_of(const struct world *world, unsigned id, bool infeasible)
{
	enum reason reason = reason_of(world, id);

	if (!is_behind(world, id) && is_refused(world, id))
		return ACTION_INFEASIBLE;
	if (reason == REASON_NONE)
		return ACTION_NONE;
	if (is_behind(world, id))
		return ACTION_BLOCKED;
	if (world->items[id].check)
		return infeasible && world->items[id].from >= 0 && reason_of(world, (unsigned)world->items[id].from) != REASON_NONE ? ACTION_HELD : ACTION_CHECK;
	return infeasible ? ACTION_HELD : has_record(&world->items[id]) ? ACTION_REDO : ACTION_MAKE;
}

static void
expect(const struct world *world, struct buf *text)
{
	bool infeasible = false;

	for (unsigned i = 0; i < world->count; i++)
		infeasible |= world->items[i].exists && is_wanted(world, i) && !is_behind(world, i) && is_refused(world, i);
	for (unsigned i = 0; i < world->count && world->only < 0; i++) {
		const struct item *item = &world->items[i];

		if (item->existed && item->recorded && (!item->exists || item->check != item->check_before))
			buf_printf(text, "t%u %d %d\n", i, infeasible ? ACTION_HELD : ACTION_REMOVE, REASON_NOT_WANTED);
	}
	for (unsigned i = 0; i < world->count; i++)
		if (world->items[i].exists && is_wanted(world, i)) {
			enum reason reason = reason_of(world, i);

			if (reason == REASON_NONE && is_refused(world, i))
				reason = REASON_OUTPUT_DIFFERS;
			buf_printf(text, "t%u %d %d\n", i, kind_of(world, i, infeasible), reason);
		}
}

/* ---- the product */

struct bench {
	struct arena arena;
	struct fake_memory memory;
	struct known known;
	struct manifest manifest;
	struct graph graph;
	struct project project;
	struct wishes wishes;
	struct inspection inspection;
};

static void
bench_finish(struct bench *bench)
{
	graph_finish(&bench->graph);
	known_finish(&bench->known);
	fake_memory_finish(&bench->memory);
	arena_finish(&bench->arena);
}

static void
write_manifest(const struct world *world, bool before)
{
	struct buf text finally(buf_finish) = { 0 };

	buf_init(&text, 1 << 16);
	buf_text(&text, "provision: 1\nname: fuzz\ntargets:\n");
	for (unsigned i = 0; i < world->count; i++) {
		const struct item *item = &world->items[i];
		int from = before ? item->from_before : item->from;

		if (!(before ? item->existed : item->exists))
			continue;
		buf_printf(&text, "  t%u: {rule: %s, value: v%u", i, (before ? item->check_before : item->check) ? "verdict" : "thing",
			before ? item->value_before : item->value);
		if (from >= 0)
			buf_printf(&text, ", from: \"${t%d.id}\"", from);
		buf_text(&text, ", needs: [");
		for (unsigned j = 0; j < i; j++)
			if ((before ? item->needs_before : item->needs) >> j & 1)
				buf_printf(&text, "t%u, ", j);
		buf_printf(&text, "], optional: %s}\n", item->optional && !before ? "true" : "false");
	}
	buf_text(&text, "  z: {rule: thing, optional: true}\n");
	scratch_write("m.yaml", text.data, text.size);
}

static void
load(struct bench *bench)
{
	const struct pairs no_sets = { 0 };
	struct error err = { 0 };
	struct errors errors;

	errors_init(&errors, &bench->arena);
	promise(manifest_load(&bench->manifest, arena_join(&bench->arena, scratch_path(), "/m.yaml"), scratch_path(), &no_sets, &bench->arena, &errors));
	promise(graph_link(&bench->graph, &bench->manifest, rules, &errors));
	promise(inspect(&bench->inspection, &bench->manifest, &bench->graph, &bench->memory.socket, &bench->project, &bench->wishes, &bench->known,
		&bench->arena, &err));
}

/* As if all of it had been applied, and some of it forgotten since. */
static void
apply_before(struct bench *bench, const struct world *world)
{
	const struct record **current;

	write_manifest(world, true);
	load(bench);
	current = arena_array(&bench->arena, bench->graph.count + 1, sizeof *current);
	for (uint32_t i = 0; i < bench->graph.count; i++) {
		const struct target *target = &bench->graph.targets[bench->graph.order[i]];
		struct record *record = arena_alloc(&bench->arena, sizeof *record);
		struct task task finally(task_finish) = { 0 };
		struct seen seen;

		task_init(&task, &bench->inspection, target, NULL, &bench->arena);
		inspect_again(&bench->inspection, target, current, false, &task, &seen);
		promise(seen.fingerprint_known);
		*record = (struct record){ .target = target->name, .rule = target->rule->name, .rule_version = 1, .fingerprint = seen.fingerprint,
			.ingredients = task.ingredients, .run = "BEFORE" };
		pairs_set(&record->outputs, &bench->arena, "id", arena_printf(&bench->arena, "id of %s", target->name));
		record_output_digest(record, target->rule->check);
		current[target->id] = record;
		if (*target->name == 't' && world->items[target->name[1] - '0'].recorded)
			fake_memory_put(&bench->memory, record);
	}
	graph_finish(&bench->graph);
}

static void
wish(struct bench *bench, struct strings *list, int target)
{
	if (target >= 0)
		strings_add(list, &bench->arena, arena_printf(&bench->arena, "t%d", target));
}

static void
plan(const struct world *world, struct buf *text)
{
	struct bench bench finally(bench_finish) = { .project = { .root = scratch_path(), .state_dir = scratch_path(), .id = "" } };
	struct error err = { 0 };
	struct plan made;

	fake_memory_init(&bench.memory);
	known_init(&bench.known, &bench.memory.socket, &bench.arena);
	apply_before(&bench, world);
	wish(&bench, &bench.wishes.targets, world->only);
	wish(&bench, &bench.wishes.excludes, world->excluded);
	wish(&bench, &bench.wishes.replaces, world->replaced);
	write_manifest(world, false);
	load(&bench);
	promise(plan_make(&made, &bench.inspection, &bench.arena, &err));
	for (size_t i = 0; i < made.count; i++)
		buf_printf(text, "%s %d %d\n", made.actions[i].name, made.actions[i].kind, made.actions[i].reason);
}

static int
pick(const struct world *world, unsigned byte)
{
	int id = (int)(byte % 16);

	return id < (int)world->count && world->items[id].exists ? id : -1;
}

static void
read_world(struct feed *feed, struct world *world)
{
	world->count = 1 + (unsigned)feed_below(feed, MOST);
	for (unsigned i = 0; i < world->count; i++) {
		struct item *item = &world->items[i];
		unsigned flags = feed_byte(feed), more = feed_byte(feed), same = feed_byte(feed);

		*item = (struct item){ .check_before = flags & 1, .existed = flags & 2, .recorded = flags & 4, .exists = flags & 8, .refuses = flags & 16,
			.optional = (flags & 0xe0) == 0xe0, .value_before = more & 1, .value = more >> 1 & 1, .world = more >> 2 & 3, .from = -1, .from_before = -1 };
		item->check = (more >> 4 & 7) == 7 ? !item->check_before : item->check_before;
		item->world = item->world == 3 ? 0 : item->world;
		for (unsigned j = 0, now = feed_byte(feed), then = same & 3 ? now : feed_byte(feed); j < i; j++) {
			item->needs |= world->items[j].exists ? now & 1u << j : 0;
			item->needs_before |= world->items[j].existed ? then & 1u << j : 0;
		}
		if (feed_byte(feed) & 1) {
			int now = (int)feed_below(feed, MOST), then = same & 12 ? now : (int)feed_below(feed, MOST);

			item->from = now < (int)i && world->items[now].exists && !world->items[now].check ? now : -1;
			item->from_before = then < (int)i && world->items[then].existed && !world->items[then].check_before ? then : -1;
		}
	}
	world->only = pick(world, feed_byte(feed));
	world->excluded = pick(world, feed_byte(feed));
	world->replaced = pick(world, feed_byte(feed));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf wanted finally(buf_finish) = { 0 };
	struct buf got finally(buf_finish) = { 0 };
	struct feed feed = { data, size };
	struct world world = { 0 };

	if (size > 128)
		return 0;
	read_world(&feed, &world);
	shown = &world;
	buf_init(&wanted, 1 << 16);
	buf_init(&got, 1 << 16);
	expect(&world, &wanted);
	plan(&world, &got);
	if (strcmp(wanted.data, got.data) != 0)
		fprintf(stderr, "expected\n%sgot\n%s", wanted.data, got.data);
	promise(strcmp(wanted.data, got.data) == 0);
	return 0;
}
