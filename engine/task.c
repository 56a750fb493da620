#include "task.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "graph.h"
#include "inspect.h"
#include "shed.h"
#include "task_internal.h"

#define LINES_LIMIT (256u << 10)
#define DEFAULT_DOWNLOADS 4
#define ID_LENGTH 8

void
task_init(struct task *task, const struct inspection *inspection, const struct target *target, const char *name, struct arena *arena)
{
	*task = (struct task){
		.target = target,
		.name = name ? name : target->name,
		.arena = arena,
		.inspection = inspection,
		.run = "",
	};
	ingredients_init(&task->ingredients, arena);
	findings_init(&task->findings, arena);
}

void
task_finish(struct task *task)
{
	buf_finish(&task->lines);
}

void
task_reset(struct task *task, const struct target *target)
{
	task->target = target;
	task->name = target->name;
	task->record = NULL;
	task->ingredients.count = 0;
	findings_init(&task->findings, task->arena);
	task->outputs = (struct pairs){ 0 };
	task->artifacts = (struct artifacts){ 0 };
	task->materials = (struct pairs){ 0 };
	task->summary = NULL;
}

struct arena *
task_arena(struct task *task)
{
	return task->arena;
}

const char *
task_target(const struct task *task)
{
	return task->name;
}

const char *
task_deployment(const struct task *task)
{
	return task->inspection->manifest->name;
}

const char *
task_run(const struct task *task)
{
	return task->run;
}

const char *
task_project(const struct task *task)
{
	return task->inspection->project->id;
}

const char *
task_state_dir(const struct task *task)
{
	return task->inspection->project->state_dir;
}

const char *
task_root(const struct task *task)
{
	return task->inspection->project->root;
}

const char *
task_workdir(const struct task *task)
{
	return task->target ? task->target->workdir : task_root(task);
}

int64_t
task_timeout(const struct task *task)
{
	return task->target ? task->target->timeout : 0;
}

struct place
task_place(const struct task *task, const char *param)
{
	if (!task->target)
		return (struct place){ 0 };
	return node_get(task->target->node, param) ? node_place(task->target->node, param) : task->target->at;
}

bool
task_is_pending(const struct task *task, const char *param)
{
	const struct node *node = task->target ? node_get(task->target->node, param) : NULL;

	return node && node->pending;
}

const struct record *
task_record(const struct task *task)
{
	return task->record;
}

bool
task_offline(const struct task *task)
{
	return task->inspection->wishes->offline;
}

bool
task_refresh(const struct task *task)
{
	return task->inspection->wishes->refresh;
}

bool
task_adopting(const struct task *task)
{
	return task->inspection->wishes->adopt;
}

bool
task_deep(const struct task *task)
{
	return task->inspection->wishes->deep;
}

bool
task_planning(const struct task *task)
{
	return !task->desk;
}

const atomic_bool *
task_cancel(const struct task *task)
{
	return task->cancel;
}

int64_t
task_grace(const struct task *task)
{
	return task->grace;
}

unsigned
task_downloads(const struct task *task)
{
	return task->inspection->wishes->downloads ? task->inspection->wishes->downloads : DEFAULT_DOWNLOADS;
}

const int64_t *
task_reserved_gpus(const struct task *task, size_t *count, const char **purpose)
{
	const struct reserve *reserve = &task->inspection->manifest->reserve;

	*count = reserve->count;
	if (purpose)
		*purpose = reserve->purpose;
	return reserve->gpus;
}

bool
task_is_held_by_us(const struct task *task, enum artifact_kind kind, const char *name)
{
	const struct inspection *inspection = task->inspection;

	for (uint32_t i = 0; i < inspection->graph->count; i++)
		if (inspection->seen[i].record && record_artifact(inspection->seen[i].record, kind, name))
			return true;
	for (size_t i = 0; i < inspection->gone_count; i++)
		if (record_artifact(&inspection->gone[i], kind, name))
			return true;
	return false;
}

/* A maker of what a target reads is one of its needs: where none of them changes, the path need not be looked up. */
static bool
a_need_changes(const struct task *task)
{
	const struct graph *graph = task->inspection->graph;

	for (uint32_t i = 0; task->target && i < task->target->need_count; i++)
		if (task->inspection->seen[graph->needs[task->target->needs + i]].reason != REASON_NONE)
			return true;
	return false;
}

/* A directory that targets make things in: what those do that this one needs. */
static bool
is_filled_later(const struct task *task, const char *directory)
{
	const struct graph *graph = task->inspection->graph;

	if (!graph_is_parent(graph, directory))
		return false;
	for (uint32_t i = 0; i < task->target->need_count; i++) {
		uint32_t need = graph->needs[task->target->needs + i];

		if (task->inspection->seen[need].reason != REASON_NONE && graph_makes_below(graph, need, directory, task->arena))
			return true;
	}
	return false;
}

bool
task_is_made_later(const struct task *task, const char *path)
{
	uint32_t maker;

	if (task->desk || !a_need_changes(task))
		return false;
	maker = graph_maker(task->inspection->graph, path);
	if (maker == NO_NAME)
		return is_filled_later(task, path);
	return maker != task->target->id && task->inspection->seen[maker].reason != REASON_NONE;
}

void
task_leftovers(const struct task *task, const struct strings *makes, struct artifacts *left)
{
	if (task->record)
		shed_list(task->inspection, NULL, task->record, makes, task->arena, left);
}

bool
task_digest(struct task *task, const char *path, struct digest *digest, struct stat_key *key, struct error *err)
{
	return known_digest(task->inspection->known, path, task_deep(task), task->cancel, digest, key, err);
}

void
task_looked_elsewhere(struct task *task)
{
	if (!task->desk)
		task->inspection->known->elsewhere = true;
}

bool
task_knows(struct task *task, const struct stat_key *key, const struct digest *digest)
{
	return !task_deep(task) && known_has(task->inspection->known, key, digest);
}

void
task_learned(struct task *task, const struct stat_key *key, const struct digest *digest, int64_t hashed_ns)
{
	known_add(task->inspection->known, key, digest, hashed_ns);
}

static const char *
copy_or_null(struct arena *arena, const char *text)
{
	return text ? arena_copy(arena, text) : NULL;
}

void
task_ingredient(struct task *task, enum ingredient_kind kind, const char *name, const char *value, const char *text, const char *path)
{
	ingredients_add(&task->ingredients, kind, arena_copy(task->arena, name), arena_copy(task->arena, value),
		copy_or_null(task->arena, text));
	task->ingredients.items[task->ingredients.count - 1].path = copy_or_null(task->arena, path);
}

void
task_output(struct task *task, const char *name, const char *value)
{
	pairs_set(&task->outputs, task->arena, arena_copy(task->arena, name), arena_copy(task->arena, value));
}

void
task_artifact(struct task *task, const struct artifact *artifact)
{
	struct artifact copy = *artifact;

	copy.name = arena_copy(task->arena, artifact->name);
	copy.note = copy_or_null(task->arena, artifact->note);
	artifacts_add(&task->artifacts, task->arena, &copy);
}

void
task_material(struct task *task, const char *uri, const char *digest)
{
	pairs_set(&task->materials, task->arena, arena_copy(task->arena, uri), arena_copy(task->arena, digest));
}

void
task_summary(struct task *task, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	task->summary = arena_vprintf(task->arena, format, args);
	va_end(args);
}

void
task_lost(struct task *task, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	task->lost = arena_vprintf(task->arena, format, args);
	va_end(args);
}

struct findings *
task_findings(struct task *task)
{
	return &task->findings;
}

const struct ingredients *
task_ingredients(const struct task *task)
{
	return &task->ingredients;
}

void
task_progress(struct task *task, const char *stage, uint64_t done, uint64_t total, const char *unit)
{
	struct progress *progress = &task->progress;

	if (!task->desk)
		return;
	pthread_mutex_lock(&task->desk->mutex);
	/* A file belongs to the stage in which it was named. */
	if (*progress->stage && strcmp(progress->stage, stage) != 0)
		*progress->file = '\0';
	snprintf(progress->stage, sizeof progress->stage, "%s", stage);
	progress->done = done;
	progress->total = total;
	progress->unit = unit;
	progress->changed = true;
	pthread_mutex_unlock(&task->desk->mutex);
}

void
task_progress_file(struct task *task, const char *name, uint64_t done, uint64_t total)
{
	struct progress *progress = &task->progress;

	if (!task->desk)
		return;
	pthread_mutex_lock(&task->desk->mutex);
	snprintf(progress->file, sizeof progress->file, "%s", name);
	progress->file_done = done < total ? done : total;
	progress->file_total = total;
	pthread_mutex_unlock(&task->desk->mutex);
}

static void
keep_lines(struct task *task, const char *bytes, size_t size)
{
	pthread_mutex_lock(&task->desk->mutex);
	if (!task->lines.data)
		buf_init(&task->lines, LINES_LIMIT);
	buf_add(&task->lines, bytes, size);
	pthread_mutex_unlock(&task->desk->mutex);
}

void
task_log_bytes(void *context, bool is_stderr, const char *bytes, size_t size)
{
	struct task *task = context;

	(void)is_stderr; /* one log keeps the order in which both were written */
	if (!task->log)
		return;
	log_bytes(task->log, bytes, size);
	if (task->desk->verbose)
		keep_lines(task, bytes, size);
}

void
task_log(struct task *task, const char *format, ...)
{
	struct buf line finally(buf_finish) = { 0 };
	va_list args;

	if (!task->log)
		return;
	buf_init(&line, LINES_LIMIT);
	va_start(args, format);
	buf_vprintf(&line, format, args);
	va_end(args);
	buf_char(&line, '\n');
	task_log_bytes(task, false, line.data, line.size);
}

const char *
task_log_tail(struct task *task)
{
	return task->log ? log_tail(task->log, task->arena) : "";
}

const char *
task_log_path(const struct task *task)
{
	return task->log ? task->log->path : "";
}

const char *
task_new_id(struct task *task, struct arena *arena)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
	unsigned char bytes[ID_LENGTH];
	char id[ID_LENGTH + 1] = { 0 };

	(void)task;
	random_bytes(bytes, sizeof bytes);
	for (size_t i = 0; i < ID_LENGTH; i++)
		id[i] = alphabet[bytes[i] % 32];
	return arena_copy(arena, id);
}
