/* Every tests/cases/NAME.case: a manifest, what was applied before, what the world shows, and the exact plan expected. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "engine/base/cleanup.h"
#include "engine/base/file.h"
#include "engine/plan.h"
#include "engine/task_internal.h"
#include "tests/fake/memory.h"

#include <cmocka.h> /* last: its macro `fail` hides our function */

#define CASES_LIMIT 200

/* A case's sections, by name. */
struct scenario {
	struct pairs sections;
	const char *path;
};

/* What the world shows of a target, for the fake rules: set for one case at a time. */
static const char *world;

struct thing {
	const char *value;
	struct strings inputs;
	struct strings reads;
	struct strings makes;
};

struct verdict_spec {
	bool pass;
};

static const struct param thing_params[] = {
	{ "value", PARAM_STRING, offsetof(struct thing, value), .about = "anything" },
	{ "inputs", PARAM_STRINGS, offsetof(struct thing, inputs), .about = "anything" },
	{ "reads", PARAM_PATHS, offsetof(struct thing, reads), .unhashed = true, .about = "files" },
	{ "makes", PARAM_PATHS, offsetof(struct thing, makes), .unhashed = true, .about = "files" },
	{ 0 },
};

static const struct param verdict_params[] = {
	{ "pass", PARAM_BOOL, offsetof(struct verdict_spec, pass), .about = "the verdict" },
	{ 0 },
};

static const struct output thing_outputs[] = {
	{ "id", "known after a build", NULL },
	{ "value", "known at once", "value" },
	{ 0 },
};

/* A line "TARGET WORD" of the section `world`. */
static bool
world_says(const char *target, const char *word)
{
	char line[200];

	snprintf(line, sizeof line, "%s %s\n", target, word);
	return world && strstr(world, line);
}

static void
thing_paths(const void *spec, struct arena *arena, struct paths *paths)
{
	const struct thing *thing = spec;

	for (size_t i = 0; i < thing->reads.count; i++)
		strings_add(&paths->reads, arena, thing->reads.items[i]);
	for (size_t i = 0; i < thing->makes.count; i++)
		strings_add(&paths->makes, arena, thing->makes.items[i]);
}

/* "TARGET lacks PATH": the file is not found, as if a pattern had named it. "TARGET misses PATH": unless it is made later, that is an error. */
static bool
thing_ingredients(const void *spec, struct task *task, struct error *err)
{
	const struct thing *thing = spec;

	for (size_t i = 0; i < thing->reads.count; i++) {
		const char *shown = path_shown(task_arena(task), task_root(task), thing->reads.items[i]);

		if (world_says(task_target(task), arena_printf(task_arena(task), "misses %s", shown))) {
			if (!task_is_made_later(task, thing->reads.items[i]))
				return (fail)(err, FAULT_NOT_FOUND, "`%s` does not exist", shown);
			continue;
		}
		if (!world_says(task_target(task), arena_printf(task_arena(task), "lacks %s", shown)))
			task_ingredient(task, INGREDIENT_FILE, arena_printf(task_arena(task), "file:%s", shown), "bytes", NULL, thing->reads.items[i]);
	}
	return true;
}

static bool
thing_inspect(const void *spec, struct task *task, struct look *look, struct error *err)
{
	(void)spec;
	(void)err;
	if (world_says(task_target(task), "gone"))
		*look = (struct look){ .state = STATE_ABSENT, .reason = REASON_CONTAINER_GONE, .what = "removed by hand" };
	else if (world_says(task_target(task), "differs"))
		*look = (struct look){ .state = STATE_DRIFTED, .what = "other bytes" };
	return true;
}

static bool
verdict_inspect(const void *spec, struct task *task, struct look *look, struct error *err)
{
	const struct verdict_spec *verdict = spec;

	(void)err;
	look->judged = true;
	if (!verdict->pass || world_says(task_target(task), "refuses"))
		findings_add(task_findings(task), FAULT_INFEASIBLE, task_place(task, "pass"), "it cannot work");
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

static bool
no_swap(struct task *task, struct error *err)
{
	(void)task;
	(void)err;
	return true;
}

static const struct rule thing = {
	.name = "thing", .version = 1, .params = thing_params, .size = sizeof(struct thing), .outputs = thing_outputs,
	.paths = thing_paths, .ingredients = thing_ingredients, .inspect = thing_inspect, .build = no_build,
};
static const struct rule live = {
	.name = "live", .version = 1, .params = thing_params, .size = sizeof(struct thing), .outputs = thing_outputs,
	.inspect = thing_inspect, .build = no_build, .settle = no_swap, .revert = no_swap,
};
static const struct rule precious = {
	.name = "precious", .version = 1, .precious = true, .params = thing_params, .size = sizeof(struct thing), .outputs = thing_outputs,
	.inspect = thing_inspect, .build = no_build,
};
static const struct rule verdict = {
	.name = "verdict", .version = 1, .check = true, .params = verdict_params, .size = sizeof(struct verdict_spec),
	.inspect = verdict_inspect, .build = no_build,
};
static const struct rule *const rules[] = { &thing, &live, &precious, &verdict, NULL };

/* ---- running a case */

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

static const char *
write_manifest(struct bench *bench, const char *name, const char *text)
{
	const char *path = arena_printf(&bench->arena, "%s/%s.yaml", bench->project.root, name);
	struct error err = { 0 };

	assert_true(file_save(path, text, strlen(text), 0600, &err));
	return path;
}

static void
load(struct bench *bench, const char *name, const char *text)
{
	struct errors errors;
	const struct pairs no_sets = { 0 };
	struct error err = { 0 };

	errors_init(&errors, &bench->arena);
	if (!manifest_load(&bench->manifest, write_manifest(bench, name, text), bench->project.root, &no_sets, &bench->arena, &errors) ||
		!graph_link(&bench->graph, &bench->manifest, rules, &errors))
		fail_msg("%s: %s", name, errors.items[0].text);
	if (!inspect(&bench->inspection, &bench->manifest, &bench->graph, &bench->memory.socket, &bench->project, &bench->wishes, &bench->known,
		    &bench->arena, &err))
		fail_msg("%s: %s", name, err.text);
}

/* Record every target as if it had been applied, each seeing the records of those it needs. */
static void
apply_before(struct bench *bench, const char *text)
{
	const struct record **current;

	load(bench, "before", text);
	current = arena_array(&bench->arena, bench->graph.count + 1, sizeof *current);
	for (uint32_t i = 0; i < bench->graph.count; i++) {
		const struct target *target = &bench->graph.targets[bench->graph.order[i]];
		struct record *record = arena_alloc(&bench->arena, sizeof *record);
		struct task task finally(task_finish) = { 0 };
		struct seen seen;

		task_init(&task, &bench->inspection, target, NULL, &bench->arena);
		inspect_again(&bench->inspection, target, current, false, &task, &seen);
		assert_true(seen.fingerprint_known);
		*record = (struct record){
			.target = target->name,
			.rule = target->rule->name,
			.rule_version = target->rule->version,
			.fingerprint = seen.fingerprint,
			.ingredients = task.ingredients,
			.run = "BEFORE",
		};
		pairs_set(&record->outputs, &bench->arena, "id", arena_printf(&bench->arena, "id of %s", target->name));
		record_output_digest(record, target->rule->check);
		current[target->id] = record;
		fake_memory_put(&bench->memory, record);
	}
	graph_finish(&bench->graph);
}

static const char *
kind_word(enum action_kind kind)
{
	static const char *const words[ACTION_KIND_COUNT] = {
		[ACTION_NONE] = "fresh", [ACTION_MAKE] = "make", [ACTION_REDO] = "redo", [ACTION_CHECK] = "check", [ACTION_REMOVE] = "remove",
		[ACTION_INFEASIBLE] = "infeasible", [ACTION_HELD] = "held", [ACTION_BLOCKED] = "blocked",
	};

	return words[kind];
}

/* Digests of needs would say nothing to whoever reads a case. */
static void
describe_cause(const struct cause *cause, struct buf *text)
{
	if (cause->reason == REASON_DEPENDENCY)
		buf_printf(text, " [need: %s]", cause->what);
	else
		buf_printf(text, " [%s: %s -> %s]", cause->what, cause->before ? cause->before : "nothing", cause->after ? cause->after : "nothing");
}

static void
describe(const struct plan *plan, struct buf *text)
{
	for (size_t i = 0; i < plan->count; i++) {
		const struct action *action = &plan->actions[i];
		const struct detail *detail = action->seen ? action->seen->detail : NULL;

		buf_printf(text, "%s %s", action->name, kind_word(action->kind));
		if (action->reason != REASON_NONE)
			buf_printf(text, " %s", reason_id(action->reason));
		for (size_t j = 0; detail && j < detail->causes.count; j++)
			describe_cause(&detail->causes.items[j], text);
		if (detail && detail->root)
			buf_printf(text, " from %s", detail->root);
		if (action->needs_consent)
			buf_text(text, " asks");
		buf_char(text, '\n');
	}
}

static void
wish(struct bench *bench, const char *text)
{
	char *copy = arena_copy(&bench->arena, text ? text : ""), *line = copy, *end;

	for (; (end = strchr(line, '\n')); line = end + 1) {
		char *space;

		*end = '\0';
		space = strchr(line, ' ');
		assert_non_null(space);
		*space = '\0';
		if (strcmp(line, "target") == 0)
			strings_add(&bench->wishes.targets, &bench->arena, space + 1);
		else if (strcmp(line, "exclude") == 0)
			strings_add(&bench->wishes.excludes, &bench->arena, space + 1);
		else if (strcmp(line, "replace") == 0)
			strings_add(&bench->wishes.replaces, &bench->arena, space + 1);
		else
			fail_msg("unknown wish `%s`", line);
	}
}

static void
run_case(const struct scenario *scenario, const char *root)
{
	struct bench bench = { .project = { .root = root, .state_dir = root, .id = "" } };
	struct buf got finally(buf_finish) = { 0 };
	struct error err = { 0 };
	struct plan plan;

	arena_init(&bench.arena);
	fake_memory_init(&bench.memory);
	known_init(&bench.known, &bench.memory.socket, &bench.arena);
	assert_true(known_load(&bench.known, &err));
	world = NULL;
	if (pairs_get(&scenario->sections, "before"))
		apply_before(&bench, pairs_get(&scenario->sections, "before"));
	world = pairs_get(&scenario->sections, "world");
	wish(&bench, pairs_get(&scenario->sections, "wish"));
	load(&bench, "manifest", pairs_get(&scenario->sections, "manifest"));
	assert_true(plan_make(&plan, &bench.inspection, &bench.arena, &err));
	buf_init(&got, 1 << 16);
	describe(&plan, &got);
	if (strcmp(got.data, pairs_get(&scenario->sections, "expect")) != 0)
		fail_msg("%s:\nexpected\n%sgot\n%s", scenario->path, pairs_get(&scenario->sections, "expect"), got.data);
	graph_finish(&bench.graph);
	known_finish(&bench.known);
	fake_memory_finish(&bench.memory);
	arena_finish(&bench.arena);
}

/* "name:" at the left margin opens a section; its lines are indented by two. */
static void
parse_case(struct arena *arena, const char *text, struct scenario *scenario)
{
	struct buf body finally(buf_finish) = { 0 };
	const char *name = NULL;

	buf_init(&body, 1 << 16);
	while (*text) {
		size_t length = strcspn(text, "\n");

		if (*text == ' ') {
			buf_add(&body, text + 2, length - 2);
			buf_char(&body, '\n');
		} else if (*text != '#' && length) {
			if (name)
				pairs_set(&scenario->sections, arena, name, arena_copy(arena, body.data));
			name = arena_copy_bytes(arena, text, length - 1);
			buf_clear(&body);
		}
		text += length + (text[length] == '\n');
	}
	if (name)
		pairs_set(&scenario->sections, arena, name, arena_copy(arena, body.data));
}

static int
by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void
test_cases(void **state)
{
	const char *directory = getenv("PROVISION_CASES");
	char root[] = "/tmp/provision-cases-XXXXXX";
	const char *names[CASES_LIMIT];
	struct arena arena;
	struct dirent *entry;
	size_t count = 0;
	DIR *dir;

	(void)state;
	assert_non_null(directory);
	arena_init(&arena);
	assert_non_null(mkdtemp(root));
	dir = opendir(directory);
	assert_non_null(dir);
	while ((entry = readdir(dir)) && count < CASES_LIMIT)
		if (text_ends(entry->d_name, ".case"))
			names[count++] = arena_printf(&arena, "%s/%s", directory, entry->d_name);
	closedir(dir);
	assert_true(count > 0);
	qsort(names, count, sizeof *names, by_text);
	for (size_t i = 0; i < count; i++) {
		struct scenario scenario = { .path = names[i] };
		struct error err = { 0 };
		const char *text;
		size_t size;

		if (!file_load(names[i], 1 << 20, &arena, &text, &size, &err))
			fail_msg("%s", err.text);
		parse_case(&arena, text, &scenario);
		run_case(&scenario, root);
	}
	unlink(arena_printf(&arena, "%s/before.yaml", root));
	unlink(arena_printf(&arena, "%s/manifest.yaml", root));
	rmdir(root);
	arena_finish(&arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_cases) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
