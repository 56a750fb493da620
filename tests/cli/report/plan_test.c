#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#include "cli/report/out.h"
#include "cli/report/plan.h"
#include "cli/report/verdict.h"
#include "engine/base/arena.h"

static const struct rule image = { .name = "image" };
static const struct rule service = { .name = "service" };
static const struct rule validate = { .name = "validate", .check = true };
static const struct rule preflight = { .name = "preflight", .check = true };

/* A plan that was never inspected: everything that a report reads, and nothing else. */
struct stage {
	struct arena arena;
	struct manifest manifest;
	struct graph graph;
	struct project project;
	struct inspection inspection;
	struct plan plan;
};

static void
open_stage(struct stage *stage, uint32_t count)
{
	memset(stage, 0, sizeof *stage);
	arena_init(&stage->arena);
	stage->manifest.name = "demo";
	stage->manifest.file = "demo.yaml";
	stage->project.root = "/";
	stage->graph.arena = &stage->arena;
	stage->graph.targets = arena_array(&stage->arena, count, sizeof *stage->graph.targets);
	stage->graph.order = arena_array(&stage->arena, count, sizeof *stage->graph.order);
	stage->graph.needs = arena_array(&stage->arena, count, sizeof *stage->graph.needs);
	names_init(&stage->graph.names, &stage->arena);
	stage->inspection = (struct inspection){ .manifest = &stage->manifest, .graph = &stage->graph, .project = &stage->project,
		.seen = arena_array(&stage->arena, count, sizeof *stage->inspection.seen) };
	stage->plan = (struct plan){ .inspection = &stage->inspection, .verdict = VERDICT_FEASIBLE,
		.actions = arena_array(&stage->arena, count, sizeof *stage->plan.actions) };
}

static void
close_stage(struct stage *stage)
{
	names_finish(&stage->graph.names);
	arena_finish(&stage->arena);
}

/* One more target, which needs the one before it. */
static struct action *
add(struct stage *stage, const char *name, const struct rule *rule, enum action_kind kind, enum reason reason)
{
	uint32_t id = stage->graph.count++;
	struct target *target = &stage->graph.targets[id];
	struct seen *seen = &stage->inspection.seen[id];
	struct action *action = &stage->plan.actions[stage->plan.count++];

	names_add(&stage->graph.names, name);
	stage->graph.order[id] = id;
	*target = (struct target){ .id = id, .name = name, .rule = rule, .needs = id, .need_count = id > 0 };
	if (id > 0)
		stage->graph.needs[id] = id - 1;
	*seen = (struct seen){ .wanted = true, .reason = reason, .refused = kind == ACTION_INFEASIBLE };
	if (kind != ACTION_NONE)
		seen->detail = arena_alloc(&stage->arena, sizeof *seen->detail);
	*action = (struct action){ .kind = kind, .reason = reason, .target = target, .seen = seen, .name = name, .duration = -1 };
	stage->plan.counts[kind]++;
	return action;
}

static struct detail *
detail(const struct action *action)
{
	return action->seen->detail;
}

static void
expect(const struct stage *stage, bool verbose, const char *wanted)
{
	struct out out;

	out_init_memory(&out);
	plan_show_actions(&out, &stage->plan, verbose, stage->graph.arena);
	verdict_show(&out, &stage->plan, 0, 0, stage->graph.arena);
	assert_string_equal(out_held(&out), wanted);
	out_finish(&out);
}

static void
shows_reasons_and_costs(void **state)
{
	struct cause changed = { .reason = REASON_INPUT_CHANGED, .what = "docker/Dockerfile", .before = "transformers==4.57.1",
		.after = "transformers==5.0.0rc1", .line = 7 };
	struct stage stage;
	struct action *action;

	(void)state;
	open_stage(&stage, 8);
	add(&stage, "host", &preflight, ACTION_NONE, REASON_NONE);
	add(&stage, "weights", &image, ACTION_NONE, REASON_NONE);
	action = add(&stage, "image", &image, ACTION_REDO, REASON_INPUT_CHANGED);
	action->duration = 130000;
	detail(action)->causes = (struct causes){ &changed, 1, 1 };
	detail(action)->cost.lines[0] = "layers 1-5 reused, pull 0 B, keep +1.2 GB";
	action = add(&stage, "service", &service, ACTION_REDO, REASON_DEPENDENCY);
	detail(action)->root = "image";
	detail(action)->cost.stops = true;
	detail(action)->cost.downtime = 168000;
	action = add(&stage, "validate", &validate, ACTION_CHECK, REASON_DEPENDENCY);
	action->duration = 4000;
	stage.plan.cost = (struct cost){ .download = 0, .duration = 302000, .downtime = 168000, .stops = true };
	expect(&stage, false,
		"\n"
		"  -/+ image       image          input changed: docker/Dockerfile\n"
		"                                   line 7: transformers==4.57.1 -> transformers==5.0.0rc1\n"
		"                                 layers 1-5 reused, pull 0 B, keep +1.2 GB          ~2 m 10 s\n"
		"  -/+ service     service        dependency will change: image\n"
		"                                 DOWN ~2 m 50 s while it starts\n"
		"   >  validate    validate       runs after service                                 ~4.0 s\n"
		"   =  2 up to date: host, weights\n"
		"\n"
		"Plan: 1 to redo, 1 to restart, 1 check. Download 0 B, ~5 m, service down ~2 m 50 s.\n");
	close_stage(&stage);
}

static void
says_what_stands_in_the_way(void **state)
{
	struct stage stage;
	struct action *action;

	(void)state;
	open_stage(&stage, 8);
	add(&stage, "image", &image, ACTION_HELD, REASON_NEVER_BUILT);
	action = add(&stage, "preflight", &preflight, ACTION_INFEASIBLE, REASON_NEVER_BUILT);
	detail(action)->look.summary = "infeasible: 32 attention heads, 3 GPUs";
	add(&stage, "service", &service, ACTION_BLOCKED, REASON_NEVER_BUILT);
	add(&stage, "validate\x1b[2J", &validate, ACTION_BLOCKED, REASON_NEVER_BUILT);
	stage.plan.verdict = VERDICT_INFEASIBLE;
	expect(&stage, false,
		"\n"
		"   .  image            image          never built\n"
		"   !  preflight        preflight      infeasible: 32 attention heads, 3 GPUs\n"
		"   .  service          service        blocked by preflight\n"
		"   .  validate\\x1b[2J  validate       blocked by preflight\n"
		"\n"
		"Plan: infeasible as written (1 held back, 1 infeasible, 2 blocked).\n");
	close_stage(&stage);
}

static size_t
count_lines(const char *text)
{
	size_t count = 0;

	for (; (text = strchr(text, '\n')); text++)
		count++;
	return count;
}

/* 2,000 changed targets are no reason to scroll; what refuses is shown however late it comes. */
static void
long_plans_are_cut(void **state)
{
	struct stage stage;
	struct out out;

	(void)state;
	open_stage(&stage, 2001);
	for (unsigned i = 0; i < 2000; i++)
		add(&stage, arena_printf(&stage.arena, "t%u", i), &image, ACTION_MAKE, REASON_NEVER_BUILT);
	add(&stage, "last", &preflight, ACTION_INFEASIBLE, REASON_NEVER_BUILT);
	out_init_memory(&out);
	plan_show_actions(&out, &stage.plan, false, &stage.arena);
	assert_int_equal(count_lines(out_held(&out)), 200 + 1 + 1 + 2);
	assert_non_null(strstr(out_held(&out), "... and 1800 more (-v shows all)\n"));
	assert_non_null(strstr(out_held(&out), " !  last "));
	out_finish(&out);
	out_init_memory(&out);
	plan_show_actions(&out, &stage.plan, true, &stage.arena);
	assert_int_equal(count_lines(out_held(&out)), 2001 + 2);
	out_finish(&out);
	close_stage(&stage);
}

static void
narrow_screens(void **state)
{
	static const struct {
		unsigned columns;
		const char *wanted;
	} cases[] = {
		{ 0, "\n"
		     "  -/+ image       image          asked for\n"
		     "                                 layers 1-5 of 健康 reused, pull 0 B                ~4.0 s\n\n" },
		{ 60, "\n"
		      "  -/+ image       image          asked for\n"
		      "                                 layers 1-5 of 健康 reused,\n"
		      "                                 pull 0 B ~4.0 s\n\n" },
		{ 40, "\n"
		      "  -/+ image       image          \n"
		      "        asked for\n"
		      "        layers 1-5 of 健康 reused, pull\n"
		      "        0 B ~4.0 s\n\n" },
	};
	struct action *action;
	struct stage stage;
	struct out out;

	(void)state;
	open_stage(&stage, 1);
	action = add(&stage, "image", &image, ACTION_REDO, REASON_ASKED_FOR);
	action->duration = 4000;
	detail(action)->cost.lines[0] = "layers 1-5 of 健康 reused, pull 0 B";
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		out_init_memory(&out);
		out.columns = cases[i].columns;
		plan_show_actions(&out, &stage.plan, false, &stage.arena);
		assert_string_equal(out_held(&out), cases[i].wanted);
		out_finish(&out);
	}
	close_stage(&stage);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shows_reasons_and_costs),
		cmocka_unit_test(says_what_stands_in_the_way),
		cmocka_unit_test(long_plans_are_cut),
		cmocka_unit_test(narrow_screens),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
