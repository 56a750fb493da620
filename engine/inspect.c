#include "inspect.h"

#include <string.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "base/glob.h"
#include "base/suggest.h"
#include "fingerprint.h"
#include "seal.h"
#include "task_internal.h"

#define SCAN_SHARE 8 /* with more than one of so many targets changed, all records are read at once */

/* From where the needs of a target are seen: from the plan (current is NULL), or from a run in which they have been built. */
struct view {
	const struct inspection *inspection;
	const struct record *const *current;
	struct arena *arena; /* of whoever looks: a worker must not touch the inspection's */
};

/* Everything that one look at a target works on. */
struct work {
	struct view view;
	const struct target *target;
	struct task *task;
	struct hasher *hasher;
	struct seen *seen;
	bool asked_for;
	bool need_will_change;
	const char *root;        /* the target where a change began */
	const char *unknown;     /* the target whose output is not known yet */
	const struct record *before; /* the record with its ingredients, once it was read */
};

static struct detail *
detail(struct work *work)
{
	if (!work->seen->detail)
		work->seen->detail = arena_alloc(work->task->arena, sizeof *work->seen->detail);
	return work->seen->detail;
}

static void
refuse(struct work *work, const struct error *err)
{
	detail(work)->error = *err;
	if (!detail(work)->error.at.file)
		detail(work)->error.at = work->target->at;
	work->seen->refused = true;
}

static const struct record *
need_record(const struct view *view, uint32_t id)
{
	if (view->current)
		return view->current[id];
	return view->inspection->seen[id].reason == REASON_NONE ? view->inspection->seen[id].record : NULL;
}

static const char *
known_output(void *context, const char *target, const char *output)
{
	const struct view *view = context;
	uint32_t id = names_find(&view->inspection->graph->names, target);
	const struct record *record = need_record(view, id);
	const struct seen *seen = &view->inspection->seen[id];

	if (record)
		return pairs_get(&record->outputs, output);
	if (!view->current && seen->passed_now && pairs_get(&seen->detail->outputs, output))
		return pairs_get(&seen->detail->outputs, output);
	return graph_plain_output(&view->inspection->graph->targets[id], output, view->arena);
}

/* A target that it needs will be made or made anew: remember where that began. */
static void
need_changes(struct work *work, uint32_t id)
{
	const struct seen *seen = &work->view.inspection->seen[id];

	work->need_will_change = true;
	if (!work->root)
		work->root = seen->detail && seen->detail->root ? seen->detail->root : work->view.inspection->graph->targets[id].name;
}

/* Parameters as far as outputs are known. False: something is missing, or an error was kept. */
static bool
fill(struct work *work)
{
	const struct target *target = work->target;
	struct node *node;
	struct error err = { 0 };

	work->seen->spec = target->spec;
	if (!target->pending)
		return true;
	node = resolve_outputs(target->node, known_output, &work->view, work->task->arena, &work->unknown);
	if (!node) {
		need_changes(work, names_find(&work->view.inspection->graph->names, work->unknown));
		return false;
	}
	if (graph_fill(work->view.inspection->graph, target, node, work->task->arena, &work->seen->spec, &err))
		return true;
	refuse(work, &err);
	return false;
}

/* The record with its ingredients, which are read only where a difference must be explained: most targets spare it. */
static const struct record *
record_before(struct work *work)
{
	struct record *copy;

	if (work->before || !work->seen->record)
		return work->before;
	copy = arena_alloc(work->task->arena, sizeof *copy);
	*copy = *work->seen->record;
	work->before = record_unpack_why(copy, copy->body, copy->body_size, work->task->arena) ? copy : work->seen->record;
	return work->before;
}

static void
check_digest(struct digest *digest)
{
	struct record passed = { 0 };

	record_output_digest(&passed, true);
	*digest = passed.output;
}

/* What the target needs as ingredients. A need whose digest is not known yet stands in with the recorded one, so that it is no first-hand cause. */
static bool
add_needs(struct work *work)
{
	const struct inspection *inspection = work->view.inspection;
	const struct graph *graph = inspection->graph;
	bool all_known = true;

	for (uint32_t i = 0; i < work->target->need_count; i++) {
		uint32_t id = graph->needs[work->target->needs + i];
		const struct target *need = &graph->targets[id];
		const struct record *record = need_record(&work->view, id);
		const char *name = arena_join(work->task->arena, "need:", need->name);
		struct digest digest;

		if (need->rule->check) {
			check_digest(&digest);
		} else if (record) {
			digest = record->output;
		} else {
			const struct record *before = record_before(work);
			const struct ingredient *old = before ? ingredients_find(&before->ingredients, name) : NULL;

			all_known = false;
			need_changes(work, id);
			ingredients_add(&work->task->ingredients, INGREDIENT_NEED, name, old ? old->value : "", NULL);
			continue;
		}
		ingredients_add(&work->task->ingredients, INGREDIENT_NEED, name, digest_text(work->task->arena, &digest), NULL);
	}
	return all_known;
}

static bool
gather(struct work *work, bool *all_known)
{
	const struct rule *rule = work->target->rule;
	struct error err = { 0 };

	params_ingredients(rule->params, work->seen->spec, &work->task->ingredients);
	*all_known = add_needs(work);
	if (!rule->ingredients || rule->ingredients(work->seen->spec, work->task, &err))
		return true;
	refuse(work, &err);
	return false;
}

static bool
look_at_world(struct work *work, struct look *look)
{
	struct seen *seen = work->seen;
	struct error err = { 0 };
	bool same = seen->record && seen->fingerprint_known && digest_equal(&seen->record->fingerprint, &seen->fingerprint);

	if (!work->target->rule->inspect || (!same && !work->target->rule->check))
		return false;
	work->task->record = same ? seen->record : NULL;
	if (work->target->rule->inspect(seen->spec, work->task, look, &err))
		return true;
	refuse(work, &err);
	return false;
}

/* A check that gave its verdict: it refuses, or it passes as things stand. */
static void
judge(struct work *work, const struct look *look)
{
	if (work->task->findings.count)
		detail(work)->findings = work->task->findings;
	if (!look->judged)
		return;
	if (findings_refuse(&work->task->findings)) {
		work->seen->refused = true;
	} else {
		work->seen->passed_now = true;
		detail(work)->outputs = work->task->outputs;
	}
}

/* A cause of the target's own says more than that something it needs will change. */
static enum reason
first_hand(const struct causes *causes, enum reason reason)
{
	for (size_t i = 0; i < causes->count; i++)
		if (causes->items[i].reason != REASON_DEPENDENCY)
			return causes->items[i].reason;
	return causes->count ? REASON_DEPENDENCY : reason;
}

/* What is missing now only because a target that comes before will make it anew has not changed first-hand. */
static void
leave_out_what_is_made_later(struct work *work, struct causes *causes)
{
	const char *root = work->view.inspection->project->root;
	size_t kept = 0;

	for (size_t i = 0; i < causes->count; i++) {
		const struct cause *cause = &causes->items[i];

		if (cause->reason == REASON_INPUT_CHANGED && !cause->after &&
			task_is_made_later(work->task, path_absolute(work->task->arena, root, cause->what)))
			continue;
		causes->items[kept++] = *cause;
	}
	causes->count = kept;
}

static void
explain(struct work *work, const struct look *look)
{
	struct seen *seen = work->seen;
	struct detail *more = detail(work);
	const struct record *before;

	if (look)
		more->look = *look;
	more->unknown = work->unknown;
	more->root = work->root;
	if (!seen->record || !seen->spec || work->unknown)
		return;
	before = record_before(work);
	stale_causes(&before->ingredients, &work->task->ingredients, work->task->arena, &more->causes);
	leave_out_what_is_made_later(work, &more->causes);
	if (seen->reason == REASON_PARAMETER_CHANGED || seen->reason == REASON_DEPENDENCY)
		seen->reason = first_hand(&more->causes, seen->reason);
}

static void
estimate(struct work *work)
{
	const struct rule *rule = work->target->rule;
	struct detail *more = detail(work);
	struct error err = { 0 };

	more->cost = (struct cost){ .download = 0, .keep = 0, .duration = -1, .downtime = -1 };
	if (!work->view.inspection->wishes->estimate || work->view.current || work->seen->refused || work->unknown || !rule->estimate)
		return;
	work->task->record = work->seen->record;
	if (!rule->estimate(work->seen->spec, work->task, &more->cost, &err))
		refuse(work, &err);
	if (work->task->findings.count)
		more->findings = work->task->findings;
}

/* What the target is made of, as far as it can be known, and whether the world still holds it. */
static bool
look_twice(struct work *work, struct look *look)
{
	struct seen *seen = work->seen;
	bool all_known;

	if (!fill(work))
		return false;
	work->task->record = seen->record;
	if (!gather(work, &all_known))
		return false;
	if (all_known) {
		seen->fingerprint_known = true;
		fingerprint(work->hasher, work->target->rule->name, work->target->rule->version, &work->task->ingredients, &seen->fingerprint);
	} else {
		fingerprint_sort(&work->task->ingredients); /* for the causes */
	}
	return look_at_world(work, look);
}

/* A service that was started while its weights were wrong may hold them in memory. */
static bool
is_need_mended(struct work *work)
{
	const struct graph *graph = work->view.inspection->graph;
	const struct target *target = work->target;

	if (!target->rule->settle || !work->seen->record)
		return false;
	for (uint32_t i = 0; i < target->need_count; i++) {
		uint32_t id = graph->needs[target->needs + i];
		const struct record *record = need_record(&work->view, id);

		if (!record || record->mended_ns <= work->seen->record->started_ns)
			continue;
		work->root = graph->targets[id].name;
		return true;
	}
	return false;
}

static void
look_closely(struct work *work)
{
	struct seen *seen = work->seen;
	struct look look = { .state = STATE_FRESH };
	bool looked = look_twice(work, &look);

	if (looked)
		judge(work, &look);
	seen->reason = stale(&(struct evidence){
		.record = seen->record,
		.rule_version = work->target->rule->version,
		.fingerprint = seen->fingerprint_known ? &seen->fingerprint : NULL,
		.need_will_change = work->need_will_change,
		.need_mended = is_need_mended(work),
		.asked_for = work->asked_for,
		.look = looked ? &look : NULL,
	});
	if (seen->reason == REASON_NONE && !seen->refused)
		return;
	if (seen->reason == REASON_NONE)
		seen->reason = REASON_OUTPUT_DIFFERS; /* recorded as passed, and refuses now */
	explain(work, looked ? &look : NULL);
	estimate(work);
}

void
inspect_again(const struct inspection *inspection, const struct target *target, const struct record *const *current, bool asked_for,
	struct task *task, struct seen *seen)
{
	struct hasher hasher finally(hasher_finish) = { 0 };
	struct work work = {
		.view = { .inspection = inspection, .current = current, .arena = task->arena },
		.target = target,
		.task = task,
		.hasher = &hasher,
		.seen = seen,
		.asked_for = asked_for,
	};

	hasher_init(&hasher);
	*seen = (struct seen){ .wanted = true, .record = current[target->id] };
	look_closely(&work);
	task->record = seen->record;
	/* Only ingredients are for the record; what was judged or put out here is made again by build. */
	task->outputs = (struct pairs){ 0 };
	task->artifacts = (struct artifacts){ 0 };
	task->materials = (struct pairs){ 0 };
	findings_init(&task->findings, task->arena);
}

/* A torn body is no record, and has no rule: the target is built anew. */
static void
unpack_row(struct arena *arena, const struct row *row, struct record *record)
{
	record->target = row->target;
	record->rule = row->rule;
	record->rule_version = row->rule_version;
	record->fingerprint = row->fingerprint;
	record->output = row->output;
	record->body = row->body;
	record->body_size = row->body_size;
	if (!record_unpack(record, row->body, row->body_size, arena))
		record->rule = NULL;
}

static void
unpack_rows(struct arena *arena, const struct row *rows, size_t count, struct record *records)
{
	for (size_t i = 0; i < count; i++)
		unpack_row(arena, &rows[i], &records[i]);
}

const struct record *
inspection_kept(const struct inspection *inspection, const char *target)
{
	for (size_t i = 0; i < inspection->kept_count; i++)
		if (strcmp(inspection->kept[i].target, target) == 0)
			return &inspection->kept[i];
	return NULL;
}

/* All records of the deployment, in one scan. */
static bool
load_records(struct inspection *inspection, struct error *err)
{
	const struct memory *memory = inspection->memory;
	struct arena *arena = inspection->arena;
	struct record *records;
	struct row *rows;
	size_t count;

	if (!memory->records(memory->self, inspection->manifest->name, arena, &rows, &count, err))
		return false;
	records = arena_array(arena, count + 1, sizeof *records);
	unpack_rows(arena, rows, count, records);
	for (size_t i = 0; i < count; i++) {
		uint32_t id = names_find(&inspection->graph->names, records[i].target);

		if (!records[i].rule)
			continue;
		if (id < inspection->graph->count && strcmp(records[i].rule, inspection->graph->targets[id].rule->name) == 0) {
			inspection->seen[id].record = &records[i];
		} else {
			if (!inspection->gone)
				inspection->gone = arena_array(arena, count, sizeof *inspection->gone);
			inspection->gone[inspection->gone_count++] = records[i];
		}
	}
	for (uint32_t i = 0; i < inspection->graph->count; i++)
		inspection->seen[i].has_record = true;
	return true;
}

/* The record of one target, where they were not all read. */
static bool
load_record(struct inspection *inspection, uint32_t id, struct error *err)
{
	const struct memory *memory = inspection->memory;
	const struct target *target = &inspection->graph->targets[id];
	struct seen *seen = &inspection->seen[id];
	struct record *record;
	struct row *row;

	if (seen->has_record)
		return true;
	if (!memory->record(memory->self, inspection->manifest->name, target->name, inspection->arena, &row, err))
		return false;
	seen->has_record = true;
	if (!row)
		return true;
	record = arena_alloc(inspection->arena, sizeof *record);
	unpack_row(inspection->arena, row, record);
	if (record->rule && strcmp(record->rule, target->rule->name) == 0)
		seen->record = record;
	return true;
}

/* What a run left that did not come to its end. */
static bool
load_leftovers(struct inspection *inspection, struct error *err)
{
	const struct memory *memory = inspection->memory;
	const char *deployment = inspection->manifest->name;
	struct arena *arena = inspection->arena;
	struct row *rows;
	size_t count;

	if (!memory->kept(memory->self, deployment, arena, &rows, &count, err))
		return false;
	inspection->kept = arena_array(arena, count + 1, sizeof *inspection->kept);
	unpack_rows(arena, rows, count, inspection->kept);
	for (size_t i = 0; i < count; i++)
		if (inspection->kept[i].rule)
			inspection->kept[inspection->kept_count++] = inspection->kept[i];
	return memory->intents(memory->self, deployment, arena, &inspection->intents, &inspection->intent_count, err);
}

/* Records are read one by one where the seal spares most of them: it was made when none was without a target, and every run drops it. */
static bool
load(struct inspection *inspection, struct error *err)
{
	const struct seal *seal = inspection->wishes->seal;

	if (!load_leftovers(inspection, err))
		return false;
	if (!seal || seal->changed_count >= inspection->graph->count / SCAN_SHARE)
		return load_records(inspection, err);
	known_ask_singly(inspection->known);
	return true;
}

static bool
no_such_target(const struct graph *graph, const char *name, struct error *err)
{
	const char *near = NULL;

	for (uint32_t i = 0; i < graph->count; i++)
		near = suggest_better(name, near, graph->targets[i].name);
	fail(err, FAULT_NO_SUCH_TARGET, "the manifest has no target `%s`", name);
	return near ? error_hint(err, "did you mean `%s`?", near) : false;
}

/* Mark what the names and patterns mean. */
static bool
mark(const struct graph *graph, const struct strings *names, void (*reach)(const struct graph *, uint32_t, unsigned char *),
	unsigned char *marks, struct error *err)
{
	for (size_t i = 0; i < names->count; i++) {
		bool found = false;

		for (uint32_t id = 0; id < graph->count; id++)
			if (glob_match_name(names->items[i], graph->targets[id].name)) {
				reach(graph, id, marks);
				found = true;
			}
		if (!found)
			return no_such_target(graph, names->items[i], err);
	}
	return true;
}

static void
mark_one(const struct graph *graph, uint32_t id, unsigned char *marks)
{
	(void)graph;
	marks[id] = 1;
}

bool
inspect_names(const struct graph *graph, const struct wishes *wishes, struct error *err)
{
	struct arena arena finally(arena_finish) = { 0 };
	unsigned char *marks = arena_alloc(&arena, graph->count + 1);

	return mark(graph, &wishes->targets, mark_one, marks, err) && mark(graph, &wishes->excludes, mark_one, marks, err) &&
		mark(graph, &wishes->replaces, mark_one, marks, err);
}

static bool
mark_wanted(const struct inspection *inspection, unsigned char *wanted, unsigned char *asked, struct error *err)
{
	const struct graph *graph = inspection->graph;
	const struct wishes *wishes = inspection->wishes;
	unsigned char *excluded = arena_alloc(inspection->arena, graph->count + 1);

	if (wishes->targets.count == 0) {
		for (uint32_t id = 0; id < graph->count; id++)
			if (!graph->targets[id].optional && !wanted[id])
				graph_mark_needs(graph, id, wanted);
	} else if (!mark(graph, &wishes->targets, graph_mark_needs, wanted, err)) {
		return false;
	}
	if (!mark(graph, &wishes->excludes, graph_mark_users, excluded, err) || !mark(graph, &wishes->replaces, mark_one, asked, err))
		return false;
	for (uint32_t id = 0; id < graph->count; id++)
		if (excluded[id])
			wanted[id] = 0;
	return true;
}

/* Up to date, and nothing of the look is kept. */
static bool
is_plain(const struct work *work)
{
	return work->seen->reason == REASON_NONE && !work->seen->detail && work->seen->spec == work->target->spec;
}

/* Whether the target is as the seal says: then all that it needs is up to date as well. */
static bool
is_sealed(const struct inspection *inspection, const struct target *target)
{
	const struct seal *seal = inspection->wishes->seal;

	if (!seal || !seal_has(seal, target->id))
		return false;
	for (uint32_t i = 0; i < target->need_count; i++) {
		const struct seen *need = &inspection->seen[inspection->graph->needs[target->needs + i]];

		if (!need->wanted || need->reason != REASON_NONE || need->refused)
			return false;
	}
	return true;
}

/* Its own record, and those of what it needs. */
static bool
load_for(struct inspection *inspection, const struct target *target, struct error *err)
{
	bool ok = load_record(inspection, target->id, err);

	for (uint32_t i = 0; i < target->need_count && ok; i++)
		ok = load_record(inspection, inspection->graph->needs[target->needs + i], err);
	return ok && (inspection->known->singly || known_load(inspection->known, err));
}

/* Look at one target while nothing changes. */
static void
look_at(struct inspection *inspection, const struct target *target, bool asked_for, struct task *task, struct hasher *hasher)
{
	struct arena *arena = inspection->arena;
	struct known *known = inspection->known;
	struct work work = {
		.view = { .inspection = inspection, .arena = arena },
		.target = target,
		.task = task,
		.hasher = hasher,
		.seen = &inspection->seen[target->id],
		.asked_for = asked_for,
	};
	struct arena_mark mark = arena_mark(arena);

	known->elsewhere = false;
	work.seen->sights = (uint32_t)known->trail_count;
	task_reset(task, target);
	look_closely(&work);
	work.seen->sight_count = (uint32_t)known->trail_count - work.seen->sights;
	work.seen->elsewhere = known->elsewhere;
	inspection->looked_in_part |= work.unknown != NULL;
	if (!is_plain(&work))
		return;
	/* Of most targets nothing remains but that they are up to date. */
	arena_rewind(arena, mark);
	ingredients_init(&task->ingredients, arena);
}

bool
inspect(struct inspection *inspection, const struct manifest *manifest, const struct graph *graph, const struct memory *memory,
	const struct project *project, const struct wishes *wishes, struct known *known, struct arena *arena, struct error *err)
{
	struct hasher hasher finally(hasher_finish) = { 0 };
	struct task task finally(task_finish) = { 0 };
	unsigned char *wanted = arena_alloc(arena, graph->count + 1);
	unsigned char *asked = arena_alloc(arena, graph->count + 1);

	*inspection = (struct inspection){
		.manifest = manifest,
		.graph = graph,
		.memory = memory,
		.project = project,
		.wishes = wishes,
		.known = known,
		.arena = arena,
		.seen = arena_array(arena, graph->count + 1, sizeof *inspection->seen),
	};
	if (!load(inspection, err) || !mark_wanted(inspection, wanted, asked, err))
		return false;
	hasher_init(&hasher);
	if (graph->count)
		task_init(&task, inspection, &graph->targets[0], NULL, arena);
	task.grace = wishes->grace;
	known_hold_still(known, true);
	for (uint32_t i = 0; i < graph->count; i++) {
		const struct target *target = &graph->targets[graph->order[i]];
		struct seen *seen = &inspection->seen[target->id];

		seen->wanted = wanted[target->id];
		if (!seen->wanted)
			continue;
		seen->sealed = is_sealed(inspection, target);
		if (seen->sealed || (wishes->files_alone && !target->rule->files_alone))
			continue;
		if (!load_for(inspection, target, err))
			return false;
		look_at(inspection, target, asked[target->id], &task, &hasher);
	}
	return true;
}
