#include "loop.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/units.h"
#include "seal.h"

#define TICK_MS 100

static void
tell(const struct loop *loop, struct event event)
{
	event.done_count = loop->ended;
	event.total_count = loop->total;
	if (loop->watcher && loop->watcher->tell)
		loop->watcher->tell(loop->watcher->self, &event);
}

void
loop_launch(struct loop *loop, struct worker *worker, enum reason reason)
{
	worker->next = loop->running;
	loop->running = worker;
	loop->running_count++;
	worker->launched_ms = clock_monotonic_ms();
	tell(loop, (struct event){
		.kind = worker->kind == WORK_REVERT ? EVENT_REVERTING : EVENT_STARTED,
		.target = worker->task.name,
		.rule = worker->rule->name,
		.reason = reason,
		.removes = worker->kind == WORK_REMOVE,
		.attempt = 1,
		.log = worker->log.path,
	});
	pool_start(&loop->pool, &worker->job);
}

static bool
is_swap(enum work_kind kind)
{
	return kind == WORK_SETTLE || kind == WORK_REVERT;
}

static bool
is_cancelled(const struct loop *loop, enum work_kind kind)
{
	return is_swap(kind) ? loop->cancel_swap : loop->cancel;
}

/* A build that its rule does not time itself. */
static bool
is_past_limit(const struct worker *worker)
{
	const struct target *target = worker->target;

	return worker->kind == WORK_BUILD && target->timeout > 0 && !target->rule->keeps_time &&
		clock_monotonic_ms() - worker->launched_ms >= target->timeout;
}

/* What ends all is handed on, and what is over ends alone. */
static void
hand_on(struct loop *loop)
{
	for (struct worker *worker = loop->running; worker; worker = worker->next) {
		if (worker->cancel)
			continue;
		worker->late = is_past_limit(worker);
		worker->cancel = worker->late || is_cancelled(loop, worker->kind);
	}
}

struct worker *
loop_hire(struct loop *loop, enum work_kind kind, const struct target *target, const char *name, const struct rule *rule, const struct record *record)
{
	struct worker *worker = worker_new(kind, loop->inspection, target, name, rule, record, loop->options->run.id, &loop->desk,
		loop->options->grace);

	worker->current = loop->current;
	worker->cancel = is_cancelled(loop, kind);
	return worker;
}

static void
tell_lines(struct loop *loop, struct worker *worker)
{
	struct buf lines = worker->task.lines;
	char *line = lines.data, *end;

	while (line && (end = strchr(line, '\n'))) {
		*end = '\0';
		tell(loop, (struct event){ .kind = EVENT_LOG, .target = worker->task.name, .text = line });
		line = end + 1;
	}
	if (line)
		buf_clear(&worker->task.lines);
}

static void
tell_progress(struct loop *loop)
{
	for (struct worker *worker = loop->running; worker; worker = worker->next) {
		struct progress progress;

		pthread_mutex_lock(&loop->desk.mutex);
		progress = worker->task.progress;
		worker->task.progress.changed = false;
		tell_lines(loop, worker);
		pthread_mutex_unlock(&loop->desk.mutex);
		if (!progress.changed)
			continue;
		if (strcmp(progress.stage, "download") == 0)
			worker->downloaded = progress.done;
		tell(loop, (struct event){
			.kind = EVENT_PROGRESS,
			.target = worker->task.name,
			.rule = worker->rule->name,
			.stage = progress.stage,
			.done = progress.done,
			.total = progress.total,
			.unit = progress.unit,
			.file = *progress.file ? progress.file : NULL,
			.file_done = progress.file_done,
			.file_total = progress.file_total,
		});
	}
}

static void
heed_signals(struct loop *loop)
{
	int number;

	while ((number = signals_read(&loop->signals))) {
		if (number == SIGUSR1) {
			tell(loop, (struct event){ .kind = EVENT_STATUS });
			continue;
		}
		if (loop->cancel) {
			loop->cancel_swap = true;
			signals_kill_children();
			/* Whoever asks a third time wants no safe point any more. */
			signals_let_go();
		}
		loop->cancel = true;
		loop->stop = true;
		loop->result->signal = number;
		tell(loop, (struct event){ .kind = EVENT_STOPPING, .text = strsignal(number) });
	}
}

bool
loop_record(struct loop *loop, struct outcome *outcomes, size_t count)
{
	struct known_file *files = NULL;
	size_t file_count = known_take_new(loop->inspection->known, &files);
	const struct memory *memory = loop->inspection->memory;
	bool ok = count + file_count == 0 || memory->commit(memory->self, outcomes, count, files, file_count, &loop->broken);

	free(files);
	if (!ok) {
		loop->stop = true;
		loop->cancel = true;
	}
	return ok;
}

/* Failures that the user asked for are no failures of the target. */
enum result
loop_result(const struct loop *loop, const struct worker *worker)
{
	bool cancelled = is_cancelled(loop, worker->kind) && !worker->late;

	if (worker->ok)
		return worker->same ? RESULT_SAME : worker->task.lost ? RESULT_SKIPPED : RESULT_OK;
	return cancelled && loop->broken.fault == FAULT_NONE ? RESULT_INTERRUPTED : RESULT_FAILED;
}

void
loop_count_failure(struct loop *loop, const struct worker *worker)
{
	struct apply_result *result = loop->result;
	const struct fault_row *row = fault_row(worker->err.fault);

	if (result->failed++ == 0) {
		result->error = worker->err;
		result->failed_target = arena_copy(loop->arena, worker->task.name);
		result->class = row->class;
	}
	result->status = status_worse(result->status, row->status == STATUS_OK ? STATUS_FAILED : row->status);
	if (loop->options->keep_going && result->failed >= loop->options->keep_going)
		loop->stop = true;
}

void
loop_tell_ended(struct loop *loop, const struct worker *worker, enum result result)
{
	const struct record *made = worker->kind == WORK_BUILD && result == RESULT_OK ? &worker->record : worker->task.record;

	tell(loop, (struct event){
		.kind = worker->kind == WORK_SETTLE || worker->kind == WORK_SWEEP ? EVENT_SETTLED : worker->kind == WORK_REVERT ? EVENT_REVERTED : EVENT_ENDED,
		.target = worker->task.name,
		.rule = worker->rule->name,
		.removes = worker->kind == WORK_REMOVE,
		.result = result,
		.duration = (worker->ended_ns - worker->started_ns) / 1000000,
		.attempt = worker->attempt,
		.record = made,
		.text = worker->kind == WORK_REMOVE ? worker->task.summary : worker->task.lost,
		.error = worker->ok ? NULL : &worker->err,
		.findings = worker->task.findings.count ? &worker->task.findings : NULL,
		.log = worker->log.path,
	});
}

static void
unlink_running(struct loop *loop, const struct worker *worker)
{
	struct worker **link = &loop->running;

	while (*link != worker)
		link = &(*link)->next;
	*link = worker->next;
	loop->running_count--;
}

/* That it was stopped is the consequence; why is what the user wants to know. */
static void
tell_limit(struct worker *worker)
{
	struct arena *arena = &worker->arena;

	if (!worker->late || worker->ok)
		return;
	fail_at(&worker->err, worker->target->at, FAULT_TIME_LIMIT, "target `%s`: not done within %s", worker->target->name,
		units_show_duration(arena, worker->target->timeout));
	error_hint(&worker->err, "what came so far is kept; raise `timeout`, or run the same command again to go on");
}

/* Take what has finished: record all of it in one transaction, only then let dependents start. */
struct worker *
loop_take_done(struct loop *loop)
{
	struct job *done, *next;
	struct worker *list = NULL;

	tell_progress(loop);
	done = pool_take_done(&loop->pool);
	for (; done; done = next) {
		struct worker *worker = (struct worker *)done;

		next = done->next;
		unlink_running(loop, worker);
		tell_limit(worker);
		worker->next = list;
		list = worker;
	}
	return list;
}

void
loop_wait(struct loop *loop)
{
	struct pollfd fds[] = { { .fd = loop->wake, .events = POLLIN }, { .fd = loop->signals.fd, .events = POLLIN } };
	uint64_t count;

	poll(fds, 2, TICK_MS);
	while (read(loop->wake, &count, sizeof count) > 0)
		;
	heed_signals(loop);
	hand_on(loop);
	desk_serve(&loop->desk, loop->inspection->memory, loop->inspection->manifest->name);
	tell_progress(loop);
}

/* Everything that works on its own ends here. */
static void
disband(struct loop *loop)
{
	pool_finish(&loop->pool);
	desk_finish(&loop->desk);
	signals_finish(&loop->signals);
	close_fd(&loop->wake);
}

/* From here on the world changes: what was seen while planning is no answer any more, and the seal of an earlier run neither. */
static bool
begin_run(struct loop *loop, struct error *err)
{
	const struct memory *memory = loop->inspection->memory;
	struct known *known = loop->inspection->known;

	known_hold_still(known, false);
	/* Workers ask the memory for nothing: what they will look at must be known, and was looked at while planning, or is loaded now. */
	if ((!known->singly || loop->inspection->looked_in_part) && !known_load(known, err))
		return false;
	return memory->save_checkpoint(memory->self, SEAL_KEY, NULL, 0, err) &&
	       memory->begin_run(memory->self, &loop->options->run, err);
}

bool
loop_open(struct loop *loop, struct error *err)
{
	uint32_t count = loop->inspection->graph->count;

	loop->started_ms = clock_monotonic_ms();
	loop->current = arena_array(loop->arena, count + 1, sizeof *loop->current);
	loop->replaced = arena_array(loop->arena, count + 1, sizeof *loop->replaced);
	loop->fate = arena_alloc(loop->arena, count + 1);
	for (uint32_t i = 0; i < count; i++)
		loop->current[i] = loop->inspection->seen[i].record;
	loop->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->wake < 0)
		return fail_errno(err, "open an event descriptor");
	if (!signals_init(&loop->signals)) {
		fail_errno(err, "open a descriptor for signals");
		close_fd(&loop->wake);
		return false;
	}
	desk_init(&loop->desk, loop->wake);
	loop->desk.verbose = loop->options->verbose;
	if (!pool_init(&loop->pool, loop->options->jobs, loop->wake)) {
		fail_errno(err, "start a thread");
		desk_finish(&loop->desk);
		signals_finish(&loop->signals);
		close_fd(&loop->wake);
		return false;
	}
	if (begin_run(loop, err))
		return true;
	disband(loop);
	return false;
}

bool
loop_close(struct loop *loop, struct error *err)
{
	const struct memory *memory = loop->inspection->memory;
	struct apply_result *result = loop->result;
	const char *word = result->signal ? "interrupted" : result->failed || loop->broken.fault != FAULT_NONE ? "failed" : "ok";

	disband(loop);
	result->duration = clock_monotonic_ms() - loop->started_ms;
	if (result->signal)
		result->status = (enum status)(128 + result->signal);
	if (loop->broken.fault != FAULT_NONE) {
		*err = loop->broken;
		return false;
	}
	return memory->end_run(memory->self, word, (int)result->status, clock_now_ns(), err);
}

/* Run one job to its end while the desk is served. The caller frees the worker. */
struct worker *
loop_run_alone(struct loop *loop, struct worker *worker, enum reason reason)
{
	struct worker *done;

	loop_launch(loop, worker, reason);
	while (!(done = loop_take_done(loop)))
		loop_wait(loop);
	return done;
}

bool
loop_finish_alone(struct loop *loop, struct worker *worker, struct outcome *outcome)
{
	enum result result = loop_result(loop, worker);
	bool recorded = loop_record(loop, outcome, 1);

	if (result == RESULT_FAILED)
		loop_count_failure(loop, worker);
	loop_tell_ended(loop, worker, result);
	return recorded && worker->ok;
}
