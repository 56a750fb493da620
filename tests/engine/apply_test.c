/* The one loop: order, early cut-off, failures, swaps that are settled or undone. Real threads, a fake memory, rules that do what the test says. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/apply.h"
#include "engine/base/buf.h"
#include "engine/base/clock.h"
#include "engine/base/file.h"
#include "engine/seal.h"
#include "engine/task.h"
#include "engine/task_internal.h"
#include "tests/fake/memory.h"

#include <cmocka.h> /* last: its macro `fail` hides our function, hence `(fail)` below */

struct step {
	const char *value;  /* "fail": the build fails; "slow": it waits to be cancelled; "signal": it interrupts the run; "late": it ends after the others */
	const char *makes;  /* what the product is; the same text is the same product */
};

static const struct param params[] = {
	{ "value", PARAM_STRING, offsetof(struct step, value), .about = "what happens" },
	{ "makes", PARAM_STRING, offsetof(struct step, makes), .unhashed = true, .about = "the product" },
	{ 0 },
};

static const struct output outputs[] = { { "product", "what was made", NULL }, { 0 } };

/* What the rules did, in order; workers append to it. */
static struct {
	pthread_mutex_t mutex;
	char text[4000];
} did = { .mutex = PTHREAD_MUTEX_INITIALIZER };

static void
note(const char *what, const char *target)
{
	pthread_mutex_lock(&did.mutex);
	strncat(did.text, what, sizeof did.text - strlen(did.text) - 1);
	strncat(did.text, " ", sizeof did.text - strlen(did.text) - 1);
	strncat(did.text, target, sizeof did.text - strlen(did.text) - 1);
	strncat(did.text, "\n", sizeof did.text - strlen(did.text) - 1);
	pthread_mutex_unlock(&did.mutex);
}

/* The target whose product is found to be wrong, until it is built again. */
static const char *wrong;

static bool
step_build(const void *spec, struct task *task, struct error *err)
{
	const struct step *step = spec;

	note("build", task_target(task));
	if (text_equal(wrong, task_target(task)))
		wrong = NULL;
	if (text_equal(step->value, "fail"))
		return (fail)(err, FAULT_COMMAND, "it failed");
	if (text_equal(step->value, "signal"))
		kill(getpid(), SIGINT);
	if (text_equal(step->value, "slow") || text_equal(step->value, "signal")) {
		while (!*task_cancel(task))
			clock_sleep_ms(10, task_cancel(task));
		return (fail)(err, FAULT_INTERRUPTED, "stopped");
	}
	if (text_equal(step->value, "intent") && !task_intent(task, task_new_id(task, task_arena(task)), "thing", "x", err))
		return false;
	if (text_equal(step->value, "late")) {
		clock_sleep_ms(200, NULL);
		note("ended", task_target(task));
	}
	task_output(task, "product", step->makes ? step->makes : task_target(task));
	return true;
}

static bool
step_inspect(const void *spec, struct task *task, struct look *look, struct error *err)
{
	(void)spec, (void)err;
	*look = (struct look){ .state = text_equal(wrong, task_target(task)) ? STATE_DRIFTED : STATE_FRESH };
	return true;
}

static bool
step_settle(struct task *task, struct error *err)
{
	(void)err;
	note("settle", task_target(task));
	return true;
}

/* What a revert runs into: "" nothing, "fail", "signal"; "lost": the old one is gone for good. */
static const char *revert_meets = "";

static bool
step_revert(struct task *task, struct error *err)
{
	note("revert to", pairs_get(&task_record(task)->outputs, "product"));
	if (text_equal(revert_meets, "signal")) {
		kill(getpid(), SIGINT);
		clock_sleep_ms(300, NULL);
	}
	if (text_equal(revert_meets, "lost"))
		task_lost(task, "it was removed");
	return !text_equal(revert_meets, "fail") || (fail)(err, FAULT_COMMAND, "it does not come back");
}

static bool
step_destroy(struct task *task, struct error *err)
{
	(void)err;
	note("destroy", task_target(task));
	return true;
}

static const struct rule step_rule = {
	.name = "step", .version = 1, .params = params, .size = sizeof(struct step), .outputs = outputs, .inspect = step_inspect,
	.build = step_build, .destroy = step_destroy,
};
static const struct rule live_rule = {
	.name = "live", .version = 1, .params = params, .size = sizeof(struct step), .outputs = outputs, .build = step_build, .settle = step_settle,
	.revert = step_revert, .destroy = step_destroy,
};

/* A rule of files: `makes` is the name of the one that it makes. */
static bool
file_build(const void *spec, struct task *task, struct error *err)
{
	const struct step *step = spec;

	(void)err;
	note("build", task_target(task));
	task_artifact(task, &(struct artifact){ .kind = ARTIFACT_FILE, .name = arena_printf(task_arena(task), "/made/%s", step->makes) });
	return true;
}

static void
file_paths(const void *spec, struct arena *arena, struct paths *paths)
{
	const struct step *step = spec;

	strings_add(&paths->makes, arena, arena_printf(arena, "/made/%s", step->makes));
}

static bool
file_destroy(struct task *task, struct error *err)
{
	const struct artifacts *artifacts = &task_record(task)->artifacts;

	(void)err;
	for (size_t i = 0; i < artifacts->count; i++)
		note("remove", artifacts->items[i].name);
	return true;
}

static const struct rule file_rule = {
	.name = "file", .version = 1, .sheds = true, .params = params, .size = sizeof(struct step), .outputs = outputs, .paths = file_paths, .build = file_build,
	.destroy = file_destroy,
};
static const struct rule *const rules[] = { &step_rule, &live_rule, &file_rule, NULL };

/* ---- */

struct world {
	struct fake_memory memory;
	char root[64];
};

static int
set_up(void **state)
{
	struct world *world = calloc(1, sizeof *world);

	snprintf(world->root, sizeof world->root, "/tmp/provision-apply-XXXXXX");
	if (!mkdtemp(world->root))
		return -1;
	fake_memory_init(&world->memory);
	did.text[0] = '\0';
	*state = world;
	return 0;
}

static int
tear_down(void **state)
{
	struct world *world = *state;
	char path[128];

	snprintf(path, sizeof path, "%s/m.yaml", world->root);
	unlink(path);
	rmdir(world->root);
	fake_memory_finish(&world->memory);
	free(world);
	return 0;
}

/* What `attempt` is to do beside applying all targets. */
struct way {
	unsigned jobs;
	unsigned keep_going;
	const char *only;   /* the one target that is asked for; NULL: all */
	bool as_fallback;   /* without recovery: in one process with the run before */
	bool destroys;
};

/* Apply (or destroy) the targets of a manifest and return the result. */
static struct apply_result
attempt(struct world *world, const char *targets, const struct way *way)
{
	struct arena arena;
	struct errors errors;
	struct error err = { 0 };
	struct manifest manifest = { 0 };
	struct graph graph;
	struct known known;
	struct inspection inspection;
	struct plan plan;
	struct apply_result result = { 0 };
	const struct pairs no_sets = { 0 };
	struct wishes wishes = { 0 };
	const struct project project = { .root = world->root, .state_dir = world->root, .id = "" };
	const struct apply_options options = { .jobs = way->jobs, .keep_going = way->keep_going, .grace = 100, .run = { .id = "RUN", .command = "apply" } };
	const char *path, *text;
	bool changed = false;
	int signal = 0;

	arena_init(&arena);
	if (way->only)
		strings_add(&wishes.targets, &arena, way->only);
	errors_init(&errors, &arena);
	path = arena_printf(&arena, "%s/m.yaml", world->root);
	text = arena_printf(&arena, "provision: 1\nname: demo\ntargets:\n%s", targets);
	assert_true(file_save(path, text, strlen(text), 0600, &err));
	if (!manifest_load(&manifest, path, world->root, &no_sets, &arena, &errors) || !graph_link(&graph, &manifest, rules, &errors))
		fail_msg("%s", errors.items[0].text);
	known_init(&known, &world->memory.socket, &arena);
	assert_true(inspect(&inspection, &manifest, &graph, &world->memory.socket, &project, &wishes, &known, &arena, &err));
	if (!way->as_fallback && !way->destroys && !apply_recover(&inspection, NULL, &options, &arena, &changed, &signal, &err)) {
		result.error = err;
		result.signal = signal;
	} else {
		if (changed)
			assert_true(inspect(&inspection, &manifest, &graph, &world->memory.socket, &project, &wishes, &known, &arena, &err));
		assert_true(plan_make(&plan, &inspection, &arena, &err));
		if (way->destroys ? !apply_destroy(&inspection, &(struct strings){ 0 }, NULL, &options, &arena, &result, &err)
				  : !apply(&plan, NULL, &options, &arena, &result, &err))
			result.error = err;
	}
	result.failed_target = NULL;
	graph_finish(&graph);
	known_finish(&known);
	arena_finish(&arena);
	return result;
}

static struct apply_result
run(struct world *world, const char *targets, unsigned jobs, unsigned keep_going)
{
	return attempt(world, targets, &(struct way){ .jobs = jobs, .keep_going = keep_going });
}

static void
expect_did(const char *text)
{
	assert_string_equal(did.text, text);
	did.text[0] = '\0';
}

/* Not while one of those that it needs still works, however many others are done. */
static void
test_all_needs_end_first(void **state)
{
	struct world *world = *state;
	struct apply_result result = run(world, "  b: {rule: step, value: late}\n  a: {rule: step}\n  c: {rule: step, needs: [a, b]}\n", 4, 1);

	assert_int_equal(result.changed, 3);
	assert_non_null(strstr(did.text, "ended b\nbuild c\n"));
	did.text[0] = '\0';
}

/* The seal of an earlier run is no answer once something changes. */
static void
test_seal_is_broken(void **state)
{
	struct world *world = *state;
	struct memory *memory = &world->memory.socket;
	struct error err = { 0 };

	assert_true(memory->save_checkpoint(memory->self, SEAL_KEY, "seal", 4, &err));
	assert_int_equal(run(world, "  a: {rule: step}\n", 4, 1).changed, 1);
	expect_did("build a\n");
	assert_int_equal(world->memory.checkpoint_count, 0);
}

static void
test_order_and_nothing_to_do(void **state)
{
	struct world *world = *state;
	static const char targets[] = "  c: {rule: step, needs: [b]}\n  b: {rule: step, needs: [a]}\n  a: {rule: step}\n";
	struct apply_result result = run(world, targets, 4, 1);

	assert_int_equal(result.changed, 3);
	expect_did("build a\nbuild b\nbuild c\n");
	result = run(world, targets, 4, 1);
	assert_int_equal(result.changed, 0);
	expect_did("");
	assert_string_equal(world->memory.ended, "ok");
}

static void
test_early_cut_off(void **state)
{
	struct world *world = *state;
	struct apply_result result;

	run(world, "  a: {rule: step, value: one, makes: same}\n  b: {rule: step, needs: [a]}\n  c: {rule: step, needs: [b]}\n", 2, 1);
	expect_did("build a\nbuild b\nbuild c\n");
	result = run(world, "  a: {rule: step, value: two, makes: same}\n  b: {rule: step, needs: [a]}\n  c: {rule: step, needs: [b]}\n", 2, 1);
	expect_did("build a\n");
	assert_int_equal(result.changed, 1);
	assert_int_equal(result.same, 2);
	run(world, "  a: {rule: step, value: three, makes: other}\n  b: {rule: step, needs: [a]}\n  c: {rule: step, needs: [b]}\n", 2, 1);
	/* b is built anew into what it was: there it stops. */
	expect_did("build a\nbuild b\n");
}

static void
test_failure(void **state)
{
	struct world *world = *state;
	struct apply_result result = run(world, "  a: {rule: step, value: fail}\n  b: {rule: step, needs: [a]}\n  c: {rule: step}\n", 1, 0);

	assert_int_equal(result.failed, 1);
	assert_int_equal(result.skipped, 1);
	assert_int_equal(result.status, STATUS_FAILED);
	assert_int_equal(result.error.fault, FAULT_COMMAND);
	assert_null(fake_memory_row(&world->memory, "a"));
	assert_null(fake_memory_row(&world->memory, "b"));
	assert_non_null(fake_memory_row(&world->memory, "c"));
	assert_string_equal(world->memory.ended, "failed");
	did.text[0] = '\0';
	run(world, "  a: {rule: step, value: fail, retries: 1}\n  c: {rule: step}\n", 1, 1);
	expect_did("build a\nbuild a\n");
}

/* A target's own time limit ends it alone, and says so. */
static void
test_time_limit(void **state)
{
	struct world *world = *state;
	struct apply_result result = run(world, "  a: {rule: step, value: slow, timeout: 300ms}\n  b: {rule: step, value: one}\n", 1, 9);

	assert_int_equal(result.failed, 1);
	assert_int_equal(result.error.fault, FAULT_TIME_LIMIT);
	assert_int_equal(result.signal, 0);
	assert_null(fake_memory_row(&world->memory, "a"));
	assert_non_null(fake_memory_row(&world->memory, "b"));
}

static void
test_swap_settled(void **state)
{
	struct world *world = *state;

	run(world, "  s: {rule: live, value: one}\n  accept: {rule: step, needs: [s]}\n", 2, 1);
	expect_did("build s\nbuild accept\n");
	run(world, "  s: {rule: live, value: two, makes: new}\n  accept: {rule: step, needs: [s]}\n", 2, 1);
	expect_did("build s\nbuild accept\nsettle s\n");
	assert_int_equal(world->memory.kept_count, 0);
}

/* What was live while its weights were wrong is started anew, though they are the same again; once. */
static void
test_need_mended(void **state)
{
	static const char targets[] = "  w: {rule: step}\n  s: {rule: live, needs: [w]}\n  other: {rule: step, needs: [w]}\n";
	struct world *world = *state;

	run(world, targets, 1, 1);
	did.text[0] = '\0';
	wrong = "w";
	run(world, targets, 1, 1);
	expect_did("build w\nbuild s\nsettle s\n");
	did.text[0] = '\0';
	run(world, targets, 1, 1);
	expect_did("");
}

static void
test_swap_undone(void **state)
{
	struct world *world = *state;
	struct digest first;
	struct apply_result result;

	run(world, "  s: {rule: live, value: one, makes: old}\n  accept: {rule: step, needs: [s]}\n", 2, 1);
	did.text[0] = '\0';
	first = fake_memory_row(&world->memory, "s")->fingerprint;
	/* Not accepted: the old one comes back, in the world and in the record. */
	result = run(world, "  s: {rule: live, value: two, makes: new}\n  accept: {rule: step, value: fail, needs: [s]}\n", 2, 1);
	expect_did("build s\nbuild accept\nrevert to old\n");
	assert_int_equal(result.failed, 1);
	assert_true(digest_equal(&first, &fake_memory_row(&world->memory, "s")->fingerprint));
	assert_int_equal(world->memory.kept_count, 0);
	/* The new one does not even start. */
	run(world, "  s: {rule: live, value: fail}\n  accept: {rule: step, needs: [s]}\n", 2, 1);
	expect_did("build s\nrevert to old\n");
	assert_true(digest_equal(&first, &fake_memory_row(&world->memory, "s")->fingerprint));
}

static void
test_first_start_is_left_to_be_looked_at(void **state)
{
	struct world *world = *state;

	run(world, "  s: {rule: live, value: one}\n  accept: {rule: step, value: fail, needs: [s]}\n", 2, 1);
	expect_did("build s\nbuild accept\n");
	assert_non_null(fake_memory_row(&world->memory, "s"));
}

static void
test_killed_in_the_middle_of_a_swap(void **state)
{
	struct world *world = *state;

	run(world, "  s: {rule: live, value: one, makes: old}\n  accept: {rule: step, needs: [s]}\n", 2, 1);
	run(world, "  s: {rule: live, value: two, makes: new}\n  accept: {rule: step, needs: [s]}\n", 2, 1);
	did.text[0] = '\0';
	/* As a run leaves it that was killed between the start of the new one and its acceptance. */
	world->memory.kept[world->memory.kept_count++] = *fake_memory_row(&world->memory, "s");
	run(world, "  s: {rule: live, value: two, makes: new}\n  accept: {rule: step, needs: [s]}\n", 2, 1);
	expect_did("settle s\n");
	assert_int_equal(world->memory.kept_count, 0);
	/* The manifest has changed meanwhile: the old one comes back before the new plan is made. */
	world->memory.kept[world->memory.kept_count++] = *fake_memory_row(&world->memory, "s");
	run(world, "  s: {rule: live, value: three, makes: newer}\n  accept: {rule: step, needs: [s]}\n", 2, 1);
	expect_did("revert to new\nbuild s\nbuild accept\nsettle s\n");
}

/* A shape was not accepted and its predecessor did not come back: the next shape, in the same process, must not take what failed for it. */
static void
test_what_was_put_aside_first_comes_back(void **state)
{
	struct world *world = *state;
	struct digest first;

	run(world, "  s: {rule: live, value: one, makes: old}\n  accept: {rule: step, needs: [s]}\n", 2, 1);
	first = fake_memory_row(&world->memory, "s")->fingerprint;
	did.text[0] = '\0';
	revert_meets = "fail";
	run(world, "  s: {rule: live, value: two, makes: new}\n  accept: {rule: step, value: fail, needs: [s]}\n", 2, 1);
	expect_did("build s\nbuild accept\nrevert to old\n");
	assert_int_equal(world->memory.kept_count, 1);
	revert_meets = "";
	attempt(world, "  s: {rule: live, value: three, makes: newer}\n  accept: {rule: step, value: fail, needs: [s]}\n",
		&(struct way){ .jobs = 2, .keep_going = 1, .as_fallback = true });
	expect_did("build s\nbuild accept\nrevert to old\n");
	assert_int_equal(world->memory.kept_count, 0);
	assert_true(digest_equal(&first, &fake_memory_row(&world->memory, "s")->fingerprint));
}

/* What was put aside is gone for good: it is dropped, what replaced it stays, and the run goes on with the plan. */
static void
test_what_was_put_aside_is_lost(void **state)
{
	struct world *world = *state;
	struct apply_result result;

	run(world, "  s: {rule: live, value: one, makes: old}\n", 2, 1);
	world->memory.kept[world->memory.kept_count++] = *fake_memory_row(&world->memory, "s");
	run(world, "  s: {rule: live, value: one, makes: old}\n  a: {rule: step}\n", 2, 1);
	world->memory.kept[world->memory.kept_count++] = *fake_memory_row(&world->memory, "s");
	did.text[0] = '\0';
	/* Not to be put back just now is not lost. */
	revert_meets = "fail";
	result = run(world, "  s: {rule: live, value: two, makes: new}\n", 2, 1);
	assert_int_equal(result.error.fault, FAULT_COMMAND);
	assert_int_equal(world->memory.kept_count, 1);
	expect_did("revert to old\n");
	revert_meets = "lost";
	result = run(world, "  s: {rule: live, value: two, makes: new}\n", 2, 1);
	revert_meets = "";
	assert_int_equal(result.error.fault, FAULT_NONE);
	assert_int_equal(result.changed, 2);
	assert_int_equal(world->memory.kept_count, 0);
	expect_did("revert to old\ndestroy a\nbuild s\nsettle s\n");
	assert_non_null(fake_memory_row(&world->memory, "s"));
}

/* It was removed while its successor was tried: that one stays to be looked at, as if there had been none before it. */
static void
test_lost_while_its_successor_was_tried(void **state)
{
	struct world *world = *state;
	struct digest first;
	struct apply_result result;

	run(world, "  s: {rule: live, value: one, makes: old}\n", 2, 1);
	first = fake_memory_row(&world->memory, "s")->fingerprint;
	did.text[0] = '\0';
	revert_meets = "lost";
	result = run(world, "  s: {rule: live, value: two, makes: new}\n  accept: {rule: step, value: fail, needs: [s]}\n", 2, 1);
	assert_int_equal(result.failed, 1);
	expect_did("build s\nbuild accept\nrevert to old\n");
	assert_int_equal(world->memory.kept_count, 0);
	assert_false(digest_equal(&first, &fake_memory_row(&world->memory, "s")->fingerprint));
	/* A build that failed has left the record of the old one, whose absence the next plan finds. */
	run(world, "  s: {rule: live, value: fail}\n", 2, 1);
	revert_meets = "";
	assert_non_null(fake_memory_row(&world->memory, "s"));
}

/* A run that is about other targets neither settles nor reverts a swap that it did not look at. */
static void
test_open_swap_of_a_target_that_nobody_asked_for(void **state)
{
	static const char targets[] = "  s: {rule: live, value: two, makes: new}\n  accept: {rule: step, needs: [s]}\n  other: {rule: step}\n";
	static const struct way other = { .jobs = 1, .keep_going = 1, .only = "other" };
	struct world *world = *state;

	run(world, targets, 2, 1);
	world->memory.kept[world->memory.kept_count++] = *fake_memory_row(&world->memory, "s");
	did.text[0] = '\0';
	attempt(world, targets, &other);
	expect_did("");
	assert_int_equal(world->memory.kept_count, 1);
	run(world, targets, 2, 1);
	expect_did("settle s\n");
}

/* The intent of a revert that was killed must not settle what was not accepted. */
static void
test_intent_of_an_open_swap(void **state)
{
	static const char targets[] = "  s: {rule: live, value: two, makes: new}\n  accept: {rule: step, value: fail, needs: [s]}\n";
	const struct intent intent = { .id = "X", .target = "s", .kind = "live/thing", .name = "x", .run = "OLD" };
	struct world *world = *state;

	run(world, targets, 2, 1);
	world->memory.kept[world->memory.kept_count++] = *fake_memory_row(&world->memory, "s");
	assert_true(world->memory.socket.add_intent(&world->memory, &intent, NULL));
	did.text[0] = '\0';
	run(world, targets, 2, 1);
	expect_did("build accept\nrevert to new\n");
}

/* A live thing that the manifest has dropped is stopped by the plan, with the user's word, not by recovery. */
static void
test_intent_of_a_dropped_target(void **state)
{
	const struct intent intent = { .id = "X", .target = "s", .kind = "live/thing", .name = "x", .run = "OLD" };
	struct world *world = *state;

	run(world, "  s: {rule: live}\n  a: {rule: step}\n", 2, 1);
	assert_true(world->memory.socket.add_intent(&world->memory, &intent, NULL));
	did.text[0] = '\0';
	run(world, "  a: {rule: step}\n", 2, 1);
	expect_did("settle s\ndestroy s\n");
}

static void
test_destroyed_with_what_was_put_aside(void **state)
{
	static const char targets[] = "  s: {rule: live, makes: new}\n  a: {rule: step}\n";
	struct world *world = *state;
	struct apply_result result;

	run(world, targets, 2, 1);
	world->memory.kept[world->memory.kept_count++] = *fake_memory_row(&world->memory, "s");
	did.text[0] = '\0';
	result = attempt(world, targets, &(struct way){ .jobs = 1, .keep_going = 1, .destroys = true });
	assert_int_equal(result.changed, 2);
	expect_did("destroy a\ndestroy s\n");
	assert_int_equal(world->memory.count, 0);
	/* Else the next run would start what was destroyed. */
	assert_int_equal(world->memory.kept_count, 0);
}

static void
test_interrupted_while_recovering(void **state)
{
	struct world *world = *state;
	struct apply_result result;

	run(world, "  s: {rule: live, value: one, makes: old}\n", 1, 1);
	world->memory.kept[world->memory.kept_count++] = *fake_memory_row(&world->memory, "s");
	did.text[0] = '\0';
	revert_meets = "signal";
	result = run(world, "  s: {rule: live, value: two, makes: new}\n", 1, 1);
	revert_meets = "";
	assert_int_equal(result.signal, SIGINT);
	expect_did("revert to old\n");
}

static void
test_removed_from_the_manifest(void **state)
{
	struct world *world = *state;
	struct apply_result result;

	run(world, "  a: {rule: step}\n  b: {rule: step}\n", 1, 1);
	did.text[0] = '\0';
	result = run(world, "  a: {rule: step}\n", 1, 1);
	expect_did("destroy b\n");
	assert_int_equal(result.changed, 1);
	assert_null(fake_memory_row(&world->memory, "b"));
}

/* What is not made any more goes at the end, and after a run that was killed before that, at the next one. */
static void
test_made_no_more(void **state)
{
	struct world *world = *state;
	struct row first;

	run(world, "  a: {rule: file, value: one, makes: x}\n  b: {rule: step}\n", 2, 1);
	first = *fake_memory_row(&world->memory, "a");
	did.text[0] = '\0';
	run(world, "  a: {rule: file, value: two, makes: y}\n  b: {rule: step, value: fail}\n", 1, 1);
	expect_did("build a\nbuild b\nremove /made/x\n");
	assert_int_equal(world->memory.kept_count, 0);
	world->memory.kept[world->memory.kept_count++] = first;
	run(world, "  a: {rule: file, value: two, makes: y}\n  b: {rule: step}\n", 1, 1);
	expect_did("remove /made/x\n");
	assert_int_equal(world->memory.kept_count, 0);
	/* Made again meanwhile, by another. */
	world->memory.kept[world->memory.kept_count++] = first;
	run(world, "  a: {rule: file, value: two, makes: y}\n  b: {rule: file, makes: x}\n", 1, 1);
	expect_did("destroy b\nbuild b\n");
	assert_int_equal(world->memory.kept_count, 0);
}

static void
test_orphan_of_an_intent(void **state)
{
	struct world *world = *state;
	const struct intent intent = { .id = "X", .target = "gone", .kind = "step/thing", .name = "x", .run = "OLD" };

	run(world, "  a: {rule: step, value: intent}\n", 1, 1);
	assert_int_equal(world->memory.intent_count, 1);
	assert_string_equal(world->memory.intents[0].kind, "step/thing");
	world->memory.intent_count = 0;
	did.text[0] = '\0';
	assert_true(world->memory.socket.add_intent(&world->memory, &intent, NULL));
	run(world, "  a: {rule: step, value: intent}\n", 1, 1);
	expect_did("destroy gone\n");
	assert_int_equal(world->memory.intent_count, 0);
}

static void
test_interrupted(void **state)
{
	struct world *world = *state;
	struct apply_result result = run(world, "  a: {rule: step, value: slow}\n  b: {rule: step, value: signal}\n  c: {rule: step, needs: [a]}\n", 2, 1);

	assert_int_equal(result.signal, SIGINT);
	assert_int_equal(result.failed, 0);
	assert_int_equal((int)result.status, 128 + SIGINT);
	assert_string_equal(world->memory.ended, "interrupted");
	assert_null(fake_memory_row(&world->memory, "a"));
}

static void
test_memory_breaks(void **state)
{
	struct world *world = *state;
	struct apply_result result;

	world->memory.fail_after = 1;
	result = run(world, "  a: {rule: step}\n  b: {rule: step, needs: [a]}\n  c: {rule: step, needs: [b]}\n", 1, 0);
	assert_int_equal(result.error.fault, FAULT_IO);
	assert_non_null(fake_memory_row(&world->memory, "a"));
	assert_null(fake_memory_row(&world->memory, "b"));
	expect_did("build a\nbuild b\n");
}

/* Nothing of a run that could not begin is left: no thread, no blocked signal. */
static void
test_run_that_cannot_begin(void **state)
{
	struct world *world = *state;
	struct apply_result result;
	sigset_t before, after;

	pthread_sigmask(SIG_SETMASK, NULL, &before);
	world->memory.refuses_runs = true;
	result = run(world, "  a: {rule: step}\n", 2, 1);
	pthread_sigmask(SIG_SETMASK, NULL, &after);
	assert_int_equal(result.error.fault, FAULT_IO);
	assert_int_equal(sigismember(&before, SIGINT), sigismember(&after, SIGINT));
	expect_did("");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_order_and_nothing_to_do),
		TEST(test_all_needs_end_first),
		TEST(test_seal_is_broken),
		TEST(test_early_cut_off),
		TEST(test_failure),
		TEST(test_time_limit),
		TEST(test_swap_settled),
		TEST(test_need_mended),
		TEST(test_swap_undone),
		TEST(test_first_start_is_left_to_be_looked_at),
		TEST(test_killed_in_the_middle_of_a_swap),
		TEST(test_what_was_put_aside_first_comes_back),
		TEST(test_what_was_put_aside_is_lost),
		TEST(test_lost_while_its_successor_was_tried),
		TEST(test_open_swap_of_a_target_that_nobody_asked_for),
		TEST(test_intent_of_an_open_swap),
		TEST(test_intent_of_a_dropped_target),
		TEST(test_destroyed_with_what_was_put_aside),
		TEST(test_interrupted_while_recovering),
		TEST(test_removed_from_the_manifest),
		TEST(test_made_no_more),
		TEST(test_orphan_of_an_intent),
		TEST(test_interrupted),
		TEST(test_memory_breaks),
		TEST(test_run_that_cannot_begin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
