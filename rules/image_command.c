#include "image_command.h"

#include <stdlib.h>
#include <string.h>

#include "child.h"
#include "client/process.h"
#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/units.h"
#include "engine/task.h"

#define PROBE_MS 30000

/* "Step 3/7 : RUN make" of the classic builder and of Podman ("STEP"). */
static bool
read_step(const char *line, const char **stage, uint64_t *done, uint64_t *total)
{
	const char *at = line + 5;
	char *end;

	if (!text_starts(line, "Step ") && !text_starts(line, "STEP "))
		return false;
	*done = strtoull(at, &end, 10);
	if (end == at || *end != '/')
		return false;
	at = end + 1;
	*total = strtoull(at, &end, 10);
	*stage = end + strspn(end, " :");
	return end > at;
}

/* "#8 [stage-1 3/7] RUN make" of BuildKit. */
static bool
read_vertex(const char *line, const char **stage, uint64_t *done, uint64_t *total)
{
	const char *close = *line == '#' ? strchr(line, ']') : NULL;
	const char *open = close ? memchr(line, '[', (size_t)(close - line)) : NULL;
	const char *slash = open ? memchr(open, '/', (size_t)(close - open)) : NULL;
	const char *from = slash;
	char *end;

	while (from && from > open + 1 && from[-1] >= '0' && from[-1] <= '9')
		from--;
	if (!from || from == slash)
		return false;
	*done = strtoull(from, &end, 10);
	*total = strtoull(slash + 1, &end, 10);
	*stage = close + 1 + strspn(close + 1, " ");
	return end == close;
}

/* "FROM docker.io/library/x:1@sha256:...": what BuildKit made of a base that the engine may never hold itself. */
static void
read_base(struct command *command, const char *stage)
{
	struct arena *arena = task_arena(command->task);
	const char *name = text_starts(stage, "FROM ") ? stage + 5 : "";
	const char *at = strstr(name, "@sha256:");
	size_t length = at ? 1 + strspn(at + 1, "sha256:0123456789bcdef") : 0;

	if (!at || !command->bases || length != 1 + 7 + 64)
		return;
	name = arena_copy_bytes(arena, name, (size_t)(at - name));
	for (size_t i = 0; i < command->file->bases.count; i++)
		if (strcmp(image_full_name(arena, command->file->bases.items[i]), name) == 0)
			pairs_set(command->bases, arena, command->file->bases.items[i], arena_copy_bytes(arena, at + 1, length - 1));
}

static void
end_line(struct command *command, bool is_stderr)
{
	struct buf *line = &command->lines[is_stderr];
	uint64_t done, total;
	const char *stage;

	if (line->size > 0 && strspn(line->data, " \t-") < line->size) {
		if (read_step(line->data, &stage, &done, &total) || read_vertex(line->data, &stage, &done, &total)) {
			task_progress(command->task, stage, done, total, "steps");
			read_base(command, stage);
		}
		memcpy(command->last[is_stderr], line->data, line->size + 1);
	}
	buf_clear(line);
}

static void
read_output(void *context, bool is_stderr, const char *bytes, size_t size)
{
	struct command *command = context;

	task_log_bytes(command->task, is_stderr, bytes, size);
	for (size_t i = 0; i < size; i++) {
		if (bytes[i] == '\n' || bytes[i] == '\r')
			end_line(command, is_stderr);
		else if (bytes[i])
			buf_char(&command->lines[is_stderr], bytes[i]);
	}
}

/* What the command said last, without secrets: the builders say on stderr why they gave up. */
static const char *
last_words(struct command *command)
{
	struct buf text finally(buf_finish) = { 0 };
	const char *last;

	end_line(command, false);
	end_line(command, true);
	last = *command->last[true] ? command->last[true] : command->last[false];
	buf_init(&text, COMMAND_LINE_LIMIT);
	secret_redact(last, strlen(last), &text);
	return text.size ? arena_copy(task_arena(command->task), text.data) : "it said nothing";
}

static bool
ended_well(struct command *command, const struct process_result *result, enum fault fault, const char *what, struct error *err)
{
	struct task *task = command->task;

	if (result->cancelled)
		return fail(err, FAULT_INTERRUPTED, "%s: interrupted", what);
	if (result->timed_out)
		return fail(err, FAULT_TIME_LIMIT, "%s: not done within %s", what, units_show_duration(task_arena(task), task_timeout(task)));
	if (result->signal)
		fail(err, fault, "%s: ended by signal %d; last: %s", what, result->signal, last_words(command));
	else if (result->exit_code != 0)
		fail(err, fault, "%s: %s", what, last_words(command));
	else
		return true;
	if (strstr(command->last[0], "no space left on device") || strstr(command->last[1], "no space left on device"))
		err->fault = FAULT_NO_SPACE;
	return *task_log_path(task) ? error_hint(err, "the whole output: %s", task_log_path(task)) : false;
}

bool
command_init(struct command *command, struct docker *docker, struct task *task, struct error *err)
{
	*command = (struct command){ .docker = docker, .task = task };
	buf_init(&command->lines[0], COMMAND_LINE_LIMIT - 1);
	buf_init(&command->lines[1], COMMAND_LINE_LIMIT - 1);
	command->program = docker_cli(docker, &command->env);
	if (command->program)
		return true;
	fail(err, FAULT_NO_COMMAND, "no `%s` command in PATH", docker->podman ? "podman` or `docker" : "docker");
	return error_hint(err, "images are built, and pulled with credentials, by the command line: install %s",
		docker->podman ? "Podman" : "Docker's (package docker-ce-cli or docker.io)");
}

void
command_finish(struct command *command)
{
	buf_finish(&command->lines[0]);
	buf_finish(&command->lines[1]);
}

bool
command_run(struct command *command, const struct strings *argv, enum fault fault, const char *what, struct error *err)
{
	struct task *task = command->task;
	struct process_spec spec = {
		.argv = argv->items,
		.env = process_environment(&command->env, task_arena(task)),
		.timeout_ms = task_timeout(task),
		.grace_ms = task_grace(task),
		.cancel = task_cancel(task),
		.output = read_output,
		.context = command,
	};
	struct process_result result;

	return child_run(task, &spec, &result, err) && ended_well(command, &result, fault, what, err);
}

bool
command_ask(struct command *command, const char *first, const char *second, const char **out)
{
	struct arena *arena = task_arena(command->task);
	const char *argv[] = { command->program, first, second, NULL };
	struct process_spec spec = {
		.argv = argv,
		.env = process_environment(&command->env, arena),
		.timeout_ms = PROBE_MS,
		.cancel = task_cancel(command->task),
		.capture = COMMAND_LINE_LIMIT,
	};
	struct process_result result;
	struct error ignored = { 0 };

	if (!child_run(command->task, &spec, &result, &ignored) || result.exit_code != 0)
		return false;
	*out = result.out ? result.out : "";
	return true;
}
