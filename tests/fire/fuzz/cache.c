/* A cache with flipped bytes: whatever it says then, what has changed since is not called up to date, and nothing crashes.
 *
 * Input: a byte whose lowest bit says whether the manifest has changed too; then places and masks, four bytes each: three for the place in the file, one that is
 * laid over the byte there. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/ledger.h"
#include "engine/base/clock.h"
#include "engine/base/file.h"
#include "engine/plan.h"
#include "engine/record.h"
#include "engine/seal.h"
#include "engine/task_internal.h"
#include "fuzz.h"

#define MOST_FLIPS 16

/* A rule that looks at nothing but files: one that it reads, and one that it made. */
struct copy {
	const char *input;
	const char *output;
	const char *note;
};

static const struct param copy_params[] = {
	{ "input", PARAM_PATH, offsetof(struct copy, input), .required = true, .unhashed = true, .about = "a file" },
	{ "output", PARAM_PATH, offsetof(struct copy, output), .required = true, .about = "a file" },
	{ "note", PARAM_STRING, offsetof(struct copy, note), .about = "anything" },
	{ 0 },
};

static bool
copy_ingredients(const void *spec, struct task *task, struct error *err)
{
	const struct copy *copy = spec;
	struct digest digest;

	if (!task_digest(task, copy->input, &digest, NULL, err))
		return false;
	task_ingredient(task, INGREDIENT_FILE, "file:input", digest_text(task_arena(task), &digest), NULL, copy->input);
	return true;
}

static bool
copy_inspect(const void *spec, struct task *task, struct look *look, struct error *err)
{
	const struct copy *copy = spec;
	const struct artifact *artifact = record_artifact(task_record(task), ARTIFACT_FILE, copy->output);
	struct digest digest;

	if (!artifact || !task_digest(task, copy->output, &digest, NULL, err))
		*look = (struct look){ .state = STATE_ABSENT };
	else if (!digest_equal(&digest, &artifact->digest))
		*look = (struct look){ .state = STATE_DRIFTED };
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

static const struct rule copy_rule = { .name = "copy", .version = 1, .files_alone = true, .params = copy_params, .size = sizeof(struct copy),
	.ingredients = copy_ingredients, .inspect = copy_inspect, .build = no_build };
static const struct rule *const rules[] = { &copy_rule, NULL };

static const char before[] = "provision: 1\nname: fuzz\ntargets:\n"
			     "  same: {rule: copy, input: in-same, output: out-same}\n"
			     "  input: {rule: copy, input: in-input, output: out-input}\n"
			     "  output: {rule: copy, input: in-output, output: out-output}\n"
			     "  param: {rule: copy, input: in-same, output: out-param, note: old}\n"
			     "  need: {rule: copy, input: in-same, output: out-need, needs: [input]}\n";
static const char now[] = "provision: 1\nname: fuzz\ntargets:\n"
			  "  same: {rule: copy, input: in-same, output: out-same}\n"
			  "  input: {rule: copy, input: in-input, output: out-input}\n"
			  "  output: {rule: copy, input: in-output, output: out-output}\n"
			  "  param: {rule: copy, input: in-same, output: out-param, note: new}\n"
			  "  need: {rule: copy, input: in-same, output: out-need, needs: [input]}\n"
			  "  never: {rule: copy, input: in-same, output: out-never}\n";

/* One look at the project, as a command has it. */
struct visit {
	struct arena arena;
	const char *manifest_name;
	struct ledger *ledger;
	struct known known;
	bool known_ready;
	struct manifest manifest;
	struct graph graph;
	struct project project;
	struct wishes wishes;
	struct inspection inspection;
};

static void
visit_finish(struct visit *visit)
{
	graph_finish(&visit->graph);
	if (visit->known_ready)
		known_finish(&visit->known);
	ledger_close(visit->ledger);
	arena_finish(&visit->arena);
}

static const char *
place(struct visit *visit, const char *name)
{
	return arena_printf(&visit->arena, "%s/%s", scratch_path(), name);
}

/* False: the cache is refused, which is always allowed. */
static bool
look(struct visit *visit, const struct seal *seal, struct error *err)
{
	const struct pairs no_sets = { 0 };
	struct errors errors;

	visit->project = (struct project){ .root = scratch_path(), .state_dir = scratch_path(), .id = "" };
	errors_init(&errors, &visit->arena);
	promise(manifest_load(&visit->manifest, place(visit, visit->manifest_name), scratch_path(), &no_sets, &visit->arena, &errors));
	promise(graph_link(&visit->graph, &visit->manifest, rules, &errors));
	if (seal && seal_fits(seal, &visit->manifest, &visit->graph))
		visit->wishes.seal = seal;
	known_init(&visit->known, ledger_memory(visit->ledger), &visit->arena);
	visit->known_ready = true;
	return inspect(&visit->inspection, &visit->manifest, &visit->graph, ledger_memory(visit->ledger), &visit->project, &visit->wishes,
		&visit->known, &visit->arena, err);
}

/* ---- the cache as a run left it */

static const char *
output_of(const struct target *target)
{
	return ((const struct copy *)target->spec)->output;
}

static void
record_all(struct visit *visit, const struct memory *memory)
{
	const struct record **current = arena_array(&visit->arena, visit->graph.count + 1, sizeof *current);
	struct known_file *files;
	struct error err = { 0 };

	for (uint32_t i = 0; i < visit->graph.count; i++) {
		const struct target *target = &visit->graph.targets[visit->graph.order[i]];
		struct record *record = arena_alloc(&visit->arena, sizeof *record);
		struct outcome outcome = { .target = target->name, .action = "make", .result = "ok", .reasons = "[]", .started_ns = 1, .ended_ns = 2, .record = record };
		struct artifact artifact = { .kind = ARTIFACT_FILE, .name = output_of(target), .size = 3 };
		struct task task finally(task_finish) = { 0 };
		struct seen seen;
		size_t count;

		task_init(&task, &visit->inspection, target, NULL, &visit->arena);
		inspect_again(&visit->inspection, target, current, false, &task, &seen);
		promise(seen.fingerprint_known && known_digest(&visit->known, artifact.name, false, NULL, &artifact.digest, NULL, &err));
		*record = (struct record){ .target = target->name, .rule = "copy", .rule_version = 1, .fingerprint = seen.fingerprint,
			.ingredients = task.ingredients, .run = "AAAAAAAA" };
		artifacts_add(&record->artifacts, &visit->arena, &artifact);
		record_output_digest(record, false);
		current[target->id] = record;
		count = known_take_new(&visit->known, &files);
		promise(memory->commit(memory->self, &outcome, 1, files, count, &err));
		free(files);
	}
}

static void
save_seal(const struct memory *memory)
{
	struct visit visit finally(visit_finish) = { .manifest_name = "old.yaml" };
	struct buf seal finally(buf_finish) = { 0 };
	struct error err = { 0 };

	promise(ledger_open_reading(place(&visit, "cache.db"), &visit.ledger, &err) && look(&visit, NULL, &err));
	for (uint32_t i = 0; i < visit.graph.count; i++)
		promise(visit.inspection.seen[i].reason == REASON_NONE);
	buf_init(&seal, 1 << 16);
	promise(seal_make(&visit.inspection, &seal));
	promise(memory->save_checkpoint(memory->self, SEAL_KEY, seal.data, seal.size, &err));
}

static void
make_cache(void)
{
	static const char *const files[] = { "in-same", "in-input", "in-output", "out-same", "out-input", "out-output", "out-param", "out-need", "out-never" };
	const struct run_info run = { .id = "AAAAAAAA", .command = "apply", .deployment = "fuzz", .manifest = "m.yaml", .argv = "[]", .user = "u", .host = "h",
		.tool = "0", .started_ns = 1 };
	struct visit visit finally(visit_finish) = { .manifest_name = "old.yaml" };
	const struct memory *memory;
	struct error err = { 0 };

	for (size_t i = 0; i < sizeof files / sizeof *files; i++)
		scratch_write(files[i], "old", 3);
	scratch_write("old.yaml", before, sizeof before - 1);
	clock_sleep_ms(2100, NULL); /* longer than any file system's time stamps are coarse: then stat data is believed */
	promise(ledger_open_writing(place(&visit, "cache.db"), &visit.ledger, &err) && look(&visit, NULL, &err));
	memory = ledger_memory(visit.ledger);
	promise(memory->begin_run(memory->self, &run, &err));
	record_all(&visit, memory);
	save_seal(memory);
	promise(memory->end_run(memory->self, "ok", 0, 2, &err));
}

/* What has changed since, and is therefore not up to date, whatever the cache says. */
static void
change_world(void)
{
	scratch_write("in-input", "newer", 5);
	scratch_write("out-output", "other", 5);
	scratch_write("new.yaml", now, sizeof now - 1);
}

static const char *const changed[] = { "input", "output", "need", "param", "never" };

#define CHANGED_OUTSIDE 3 /* of them without a word in the manifest */
#define CHANGED (sizeof changed / sizeof *changed)

/* ---- the cache after the flips */

static void
read_all(const struct memory *memory, struct arena *arena)
{
	struct history_entry head, *entries;
	struct intent *intents;
	struct known_file *files;
	struct row *rows;
	char hash[DIGEST_HEX];
	const char **names;
	const void *bytes;
	struct error err;
	int64_t *ms;
	size_t count;
	bool found;

	memory->deployments(memory->self, arena, &names, &count, &err);
	memory->records(memory->self, "fuzz", arena, &rows, &count, &err);
	memory->kept(memory->self, "fuzz", arena, &rows, &count, &err);
	memory->files(memory->self, arena, &files, &count, &err);
	memory->intents(memory->self, "fuzz", arena, &intents, &count, &err);
	memory->checkpoint(memory->self, SEAL_KEY, arena, &bytes, &count, &err);
	memory->durations(memory->self, "fuzz", arena, &names, &ms, &count, &err);
	memory->last_action(memory->self, "fuzz", "input", arena, &head, &found, &err);
	memory->history(memory->self, NULL, arena, &entries, &count, &err);
	memory->verify(memory->self, arena, &head, hash, &count, &err);
}

/* The seal, if one is still there, is of another world. */
static bool
take_seal(struct visit *visit, struct seal *seal)
{
	const struct memory *memory = ledger_memory(visit->ledger);
	const void *bytes = NULL;
	struct error err;
	size_t size = 0;

	if (!memory->checkpoint(memory->self, SEAL_KEY, &visit->arena, &bytes, &size, &err) || !bytes || !seal_read(seal, bytes, size, &visit->arena))
		return false;
	if (!seal_is_of(seal, place(visit, visit->manifest_name), scratch_path()))
		return false;
	seal_look(seal);
	promise(!seal_holds(seal));
	return true;
}

static void
plan(bool edited)
{
	struct visit visit finally(visit_finish) = { .manifest_name = edited ? "new.yaml" : "old.yaml" };
	size_t count = edited ? CHANGED : CHANGED_OUTSIDE;
	struct error err = { 0 };
	struct seal seal = { 0 };
	struct plan made;

	if (!ledger_open_reading(place(&visit, "cache.db"), &visit.ledger, &err)) {
		promise(err.fault != FAULT_NONE && *err.text);
		return;
	}
	if (!look(&visit, take_seal(&visit, &seal) ? &seal : NULL, &err) || !plan_make(&made, &visit.inspection, &visit.arena, &err)) {
		promise(err.fault != FAULT_NONE && *err.text);
		return;
	}
	for (size_t i = 0; i < count; i++)
		promise(visit.inspection.seen[graph_find(&visit.graph, changed[i])->id].reason != REASON_NONE);
	read_all(ledger_memory(visit.ledger), &visit.arena);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct arena kept;
	static const char *sound;
	static size_t sound_size;
	struct arena arena finally(arena_finish) = { 0 };
	struct feed feed = { data, size };
	struct error err = { 0 };
	char *flipped;
	bool edited;

	if (size > 1 + 4 * MOST_FLIPS)
		return 0;
	if (!sound) {
		make_cache();
		change_world();
		promise(file_load(arena_join(&arena, scratch_path(), "/cache.db"), 1 << 20, &kept, &sound, &sound_size, &err));
	}
	edited = feed_byte(&feed) & 1;
	flipped = arena_copy_bytes(&arena, sound, sound_size);
	while (feed.left > 0) {
		size_t at = (size_t)feed_byte(&feed) << 16;

		at |= (size_t)feed_byte(&feed) << 8;
		at |= feed_byte(&feed);
		flipped[at % sound_size] ^= (char)feed_byte(&feed);
	}
	scratch_write("cache.db", flipped, sound_size);
	plan(edited);
	return 0;
}
