#include "worker.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define RETRY_PAUSE_MS 1000

static bool
cancelled(const struct worker *worker)
{
	return worker->task.cancel && *worker->task.cancel;
}

static void
clear_results(struct task *task)
{
	findings_init(&task->findings, task->arena);
	task->outputs = (struct pairs){ 0 };
	task->artifacts = (struct artifacts){ 0 };
	task->materials = (struct pairs){ 0 };
	task->summary = NULL;
}

/* A verdict that refuses fails the action like an error: the first finding that refuses speaks for all. */
static bool
refused(struct worker *worker)
{
	const struct findings *findings = &worker->task.findings;

	if (!worker->rule->check || !findings_refuse(findings))
		return false;
	for (size_t i = 0; i < findings->count; i++)
		if (!findings->items[i].advice && fault_row(findings->items[i].fault)->status != STATUS_OK) {
			fail_at(&worker->err, findings->items[i].at, findings->items[i].fault, "%s", findings->items[i].text);
			break;
		}
	return true;
}

static bool
attempt(struct worker *worker)
{
	clear_results(&worker->task);
	worker->err = (struct error){ 0 };
	worker->attempt++;
	return worker->rule->build(worker->seen.spec, &worker->task, &worker->err) && !refused(worker);
}

/* Outputs that are plain parameters need no word of the rule's. */
static void
add_plain_outputs(struct worker *worker)
{
	for (const struct output *output = worker->rule->outputs; output && output->name; output++) {
		if (!output->param || pairs_get(&worker->task.outputs, output->name))
			continue;
		for (const struct param *param = worker->rule->params; param->name; param++)
			if (strcmp(param->name, output->param) == 0) {
				const char *text = params_text(param, worker->seen.spec, &worker->arena);

				if (text)
					task_output(&worker->task, output->name, text);
			}
	}
}

/* The same output as before, made again because it was not there or not right: what used it meanwhile may have had something else. */
static int64_t
mended_at(const struct worker *worker)
{
	const struct record *before = worker->seen.record;

	if (!before || !digest_equal(&before->output, &worker->record.output))
		return 0;
	if (worker->seen.reason == REASON_OUTPUT_MISSING || worker->seen.reason == REASON_OUTPUT_DIFFERS)
		return worker->record.ended_ns;
	return before->mended_ns;
}

static void
make_record(struct worker *worker)
{
	struct task *task = &worker->task;

	add_plain_outputs(worker);
	worker->record = (struct record){
		.target = worker->target->name,
		.rule = worker->rule->name,
		.rule_version = worker->rule->version,
		.fingerprint = worker->seen.fingerprint,
		.outputs = task->outputs,
		.artifacts = task->artifacts,
		.materials = task->materials,
		.ingredients = task->ingredients,
		.summary = task->summary,
		.run = task->run,
		.started_ns = worker->started_ns,
		.ended_ns = clock_now_ns(),
	};
	record_output_digest(&worker->record, worker->rule->check);
	worker->record.mended_ns = mended_at(worker);
}

static void
build(struct worker *worker)
{
	const struct target *target = worker->target;

	inspect_again(worker->inspection, target, worker->current, worker->asked_for, &worker->task, &worker->seen);
	if (worker->seen.reason == REASON_NONE && !worker->seen.refused) {
		worker->same = worker->ok = true;
		return;
	}
	if (worker->seen.detail && worker->seen.detail->error.fault != FAULT_NONE) {
		worker->err = worker->seen.detail->error;
		return;
	}
	if (!worker->seen.fingerprint_known) {
		fail_at(&worker->err, target->at, FAULT_INTERNAL, "target `%s`: an output that it needs is still not known", target->name);
		return;
	}
	while (!(worker->ok = attempt(worker)) && worker->attempt <= (unsigned)target->retries && !cancelled(worker)) {
		task_log(&worker->task, "attempt %u failed: %s", worker->attempt, worker->err.text);
		clock_sleep_ms(RETRY_PAUSE_MS, worker->task.cancel);
	}
	if (worker->ok)
		make_record(worker);
	else if (!worker->err.at.file)
		worker->err.at = target->at;
}

static bool
other_work(struct worker *worker)
{
	const struct rule *rule = worker->rule;

	switch (worker->kind) {
	case WORK_REMOVE:
		return !rule->destroy || rule->destroy(&worker->task, &worker->err);
	case WORK_SETTLE:
		return rule->settle(&worker->task, &worker->err);
	case WORK_REVERT:
		return rule->revert(&worker->task, &worker->err);
	case WORK_SWEEP:
		return rule->sweep(&worker->task, &worker->err);
	case WORK_BUILD:
		break;
	}
	return false;
}

/* The old instance may have come back with another identity (a process has a new pid): what the rule says now replaces that part of the record. */
static void
update_record(struct worker *worker)
{
	const struct task *task = &worker->task;

	if (worker->kind != WORK_REVERT || !worker->ok || task->artifacts.count == 0)
		return;
	worker->record = *task->record;
	record_unpack_why(&worker->record, task->record->body, task->record->body_size, &worker->arena);
	worker->record.artifacts = task->artifacts;
	for (size_t i = 0; i < task->outputs.count; i++)
		pairs_set(&worker->record.outputs, &worker->arena, task->outputs.items[i].key, task->outputs.items[i].value);
	record_output_digest(&worker->record, worker->rule->check);
}

static void
run(struct job *job)
{
	struct worker *worker = (struct worker *)job;

	worker->started_ns = clock_now_ns();
	if (worker->kind == WORK_BUILD)
		build(worker);
	else
		worker->ok = other_work(worker);
	update_record(worker);
	worker->ended_ns = clock_now_ns();
}

struct worker *
worker_new(enum work_kind kind, const struct inspection *inspection, const struct target *target, const char *name, const struct rule *rule,
	const struct record *record, const char *run_id, struct desk *desk, int64_t grace)
{
	struct worker *worker = xmalloc(sizeof *worker);

	*worker = (struct worker){ .kind = kind, .action = UINT32_MAX, .inspection = inspection, .target = target, .rule = rule };
	worker->job.run = run;
	arena_init(&worker->arena);
	task_init(&worker->task, inspection, target, name, &worker->arena);
	worker->task.record = record;
	worker->task.run = run_id;
	worker->task.desk = desk;
	worker->task.cancel = &worker->cancel;
	worker->task.grace = grace;
	log_init(&worker->log, arena_printf(&worker->arena, "%s/logs/%s/%s.log", inspection->project->state_dir, run_id, worker->task.name));
	worker->task.log = &worker->log;
	return worker;
}

void
worker_free(struct worker *worker)
{
	log_finish(&worker->log);
	task_finish(&worker->task);
	arena_finish(&worker->arena);
	free(worker);
}

size_t
worker_list_length(const struct worker *list)
{
	size_t count = 0;

	for (; list; list = list->next)
		count++;
	return count;
}
