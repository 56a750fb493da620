#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/process.h"
#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/file.h"
#include "engine/base/glob.h"
#include "engine/base/units.h"
#include "engine/rule.h"
#include "engine/task.h"
#include "inputs.h"
#include "rules.h"
#include "tree.h"

#define LINE_LIMIT 400

struct command {
	struct strings command;
	bool shell;
	struct strings inputs;
	struct strings outputs;
	struct pairs env;
	const char *image;
	const char *depfile;
	bool always;
};

static const struct param params[] = {
	{ "command", PARAM_STRINGS, offsetof(struct command, command), .required = true,
		.about = "program and arguments, as a list; one string only with `shell: true`" },
	{ "shell", PARAM_BOOL, offsetof(struct command, shell), .about = "`command` is one string for `/bin/sh -c`" },
	{ "inputs", PARAM_PATHS, offsetof(struct command, inputs), .unhashed = true,
		.about = "files, directories and patterns that it reads; one that another target makes is a dependency" },
	{ "outputs", PARAM_PATHS, offsetof(struct command, outputs),
		.about = "files and directories that it makes; `destroy` removes them" },
	{ "env", PARAM_PAIRS, offsetof(struct command, env), .about = "environment, besides PATH, HOME and a few more" },
	{ "image", PARAM_STRING, offsetof(struct command, image), .about = "container image to run it in" },
	{ "depfile", PARAM_PATH, offsetof(struct command, depfile),
		.about = "file in Make syntax in which it says what else it has read" },
	{ "always", PARAM_BOOL, offsetof(struct command, always), .unhashed = true, .about = "run it at each apply" },
	{ 0 },
};

static const struct output outputs[] = {
	{ "outputs", "paths of what it made", "outputs" },
	{ 0 },
};

static void
refuse(struct task *task, const char *param, struct errors *errors, enum fault fault, const char *text, const char *hint)
{
	struct error err;

	fail_at(&err, task_place(task, param), fault, "%s", text);
	if (hint)
		error_hint(&err, "%s", hint);
	errors_add(errors, &err);
}

static void
validate_words(const struct command *command, struct task *task, struct errors *errors)
{
	const struct strings *words = &command->command;

	if (words->count == 0 || !words->items[0][0])
		refuse(task, "command", errors, FAULT_BAD_VALUE, "`command` is empty", "write it as a list: `[program, argument]`");
	else if (command->shell && words->count > 1)
		refuse(task, "command", errors, FAULT_CONFLICT, "with `shell: true` the command is one string, not a list", NULL);
	else if (!command->shell && words->count == 1 && strpbrk(words->items[0], " \t\n"))
		refuse(task, "command", errors, FAULT_BAD_VALUE, "`command` is one word with blanks in it",
			"write it as a list, `[program, argument]`, or say `shell: true`");
}

static void
validate_outputs(const struct command *command, struct task *task, struct errors *errors)
{
	struct arena *arena = errors->arena;
	struct strings earlier = { 0 };

	for (size_t i = 0; i < command->outputs.count; i++) {
		const char *path = command->outputs.items[i];

		if (glob_is_pattern(path))
			refuse(task, "outputs", errors, FAULT_BAD_VALUE, arena_printf(arena, "output `%s` is a pattern", path),
				"name each output, or the directory that holds them");
		else if (strings_has(&command->inputs, path))
			refuse(task, "outputs", errors, FAULT_CONFLICT, arena_printf(arena, "`%s` is both input and output", path),
				"let the command write to another file");
		else if (inputs_within(&earlier, path))
			refuse(task, "outputs", errors, FAULT_CONFLICT,
				arena_printf(arena, "output `%s` is named twice, or lies within another one", path), NULL);
		earlier = (struct strings){ .items = command->outputs.items, .count = i + 1 };
	}
}

static void
command_validate(const void *spec, struct task *task, struct errors *errors)
{
	const struct command *command = spec;

	if (!task_is_pending(task, "command"))
		validate_words(command, task, errors);
	validate_outputs(command, task, errors);
	if (command->depfile && command->outputs.count == 0 && !task_is_pending(task, "outputs"))
		refuse(task, "depfile", errors, FAULT_CONFLICT, "`depfile` wants `outputs`: there is nothing to keep up to date", NULL);
	if (command->image)
		refuse(task, "image", errors, FAULT_BAD_VALUE, "`image` is not supported yet: commands run on the host",
			"run the container by the command itself: `[docker, run, --rm, ...]`");
}

static void
command_paths(const void *spec, struct arena *arena, struct paths *paths)
{
	const struct command *command = spec;

	for (size_t i = 0; i < command->inputs.count; i++)
		strings_add(&paths->reads, arena, command->inputs.items[i]);
	for (size_t i = 0; i < command->outputs.count; i++)
		strings_add(&paths->makes, arena, command->outputs.items[i]);
}

static bool
command_ingredients(const void *spec, struct task *task, struct error *err)
{
	const struct command *command = spec;
	struct inputs inputs;

	if (!inputs_read(task, &command->inputs, &command->outputs, &inputs, err))
		return false;
	for (size_t i = 0; i < inputs.count; i++) {
		const struct input *input = &inputs.items[i];
		char hex[DIGEST_HEX];

		digest_hex(&input->digest, hex);
		task_ingredient(task, input->tree ? INGREDIENT_TREE : INGREDIENT_FILE, input->name, hex, NULL, input->path);
	}
	task_ingredient(task, INGREDIENT_PARAM, "param:workdir", path_shown(task_arena(task), task_root(task), task_workdir(task)), NULL,
		NULL);
	return true;
}

static void
differs(struct task *task, const struct artifact *artifact, enum state state, enum reason reason, const char *words, struct look *look)
{
	struct arena *arena = task_arena(task);

	*look = (struct look){ .state = state, .reason = reason,
		.what = arena_printf(arena, "%s: %s", path_shown(arena, task_root(task), artifact->name), words) };
}

/* One stat where nothing has changed. */
static bool
inspect_output(struct task *task, const struct artifact *artifact, struct look *look, struct error *err)
{
	struct digest digest;
	bool read = artifact->kind == ARTIFACT_FILE ? task_digest(task, artifact->name, &digest, NULL, err)
						    : tree_digest(task, artifact->name, &digest, NULL, err);

	if (!read && (err->fault == FAULT_PERMISSION || err->fault == FAULT_INTERRUPTED))
		return false;
	if (!read && err->fault == FAULT_NOT_FOUND)
		differs(task, artifact, STATE_ABSENT, REASON_OUTPUT_MISSING, "missing", look);
	else if (!read)
		differs(task, artifact, STATE_DRIFTED, REASON_OUTPUT_DIFFERS, "not what it was", look);
	else if (!digest_equal(&digest, &artifact->digest))
		differs(task, artifact, STATE_DRIFTED, REASON_OUTPUT_DIFFERS, "content differs", look);
	return true;
}

static bool
command_inspect(const void *spec, struct task *task, struct look *look, struct error *err)
{
	const struct command *command = spec;
	const struct artifacts *artifacts = &task_record(task)->artifacts;
	const char *what = NULL;

	for (size_t i = 0; i < artifacts->count && look->state == STATE_FRESH; i++) {
		const struct artifact *artifact = &artifacts->items[i];

		if (!inspect_output(task, artifact, look, err))
			return false;
		if (!artifact->note || look->state != STATE_FRESH)
			continue;
		if (!inputs_compare(task, artifact->note, &what, err))
			return false;
		if (what)
			*look = (struct look){ .state = STATE_DRIFTED, .reason = REASON_INPUT_CHANGED, .what = what };
	}
	if (command->always && look->state == STATE_FRESH)
		*look = (struct look){ .state = STATE_DRIFTED, .reason = REASON_OUTPUT_DIFFERS, .what = "`always`: runs at each apply" };
	return true;
}

/* As one would type it, cut to a line. */
static const char *
show(const struct command *command, struct arena *arena)
{
	struct buf line finally(buf_finish) = { 0 };

	buf_init(&line, LINE_LIMIT);
	for (size_t i = 0; i < command->command.count; i++)
		buf_printf(&line, "%s%s", i > 0 ? " " : "",
			command->shell ? command->command.items[i] : text_shell(arena, command->command.items[i]));
	for (size_t i = 0; i < line.size; i++)
		if ((unsigned char)line.data[i] < ' ')
			line.data[i] = ' ';
	return arena_printf(arena, "%s%s", line.data, line.truncated ? "..." : "");
}

static bool
command_estimate(const void *spec, struct task *task, struct cost *cost, struct error *err)
{
	const struct command *command = spec;

	(void)err;
	cost->lines[0] = arena_printf(task_arena(task), "runs %s%s", command->shell ? "a shell: " : "", show(command, task_arena(task)));
	return true;
}

static const char *const *
make_argv(const struct command *command, struct task *task)
{
	struct arena *arena = task_arena(task);
	const struct strings *words = &command->command;
	const char **argv = arena_array(arena, words->count + 3, sizeof *argv);
	size_t count = 0;

	if (command->shell) {
		argv[count++] = "/bin/sh";
		argv[count++] = "-c";
	}
	for (size_t i = 0; i < words->count; i++)
		argv[count++] = words->items[i];
	/* `./script` lies where the command runs, wherever we do. */
	if (!command->shell && strchr(argv[0], '/'))
		argv[0] = path_absolute(arena, task_workdir(task), argv[0]);
	return argv;
}

static bool
make_parents(const struct command *command, struct task *task, struct error *err)
{
	struct arena *arena = task_arena(task);

	for (size_t i = 0; i < command->outputs.count; i++)
		if (!file_make_dirs(path_dir(arena, command->outputs.items[i]), 0755, err))
			return error_wrap(err, "output `%s`", command->outputs.items[i]);
	return !command->depfile || file_make_dirs(path_dir(arena, command->depfile), 0755, err);
}

static bool
judge(const struct command *command, struct task *task, const struct process_result *result, struct error *err)
{
	struct arena *arena = task_arena(task);
	const char *name = sigabbrev_np(result->signal);

	if (result->cancelled)
		return fail(err, FAULT_INTERRUPTED, "`%s` was stopped", show(command, arena));
	if (result->timed_out)
		return fail(err, FAULT_TIME_LIMIT, "`%s` took longer than %s", show(command, arena),
			units_show_duration(arena, task_timeout(task)));
	if (result->exit_code == 0)
		return true;
	if (result->exit_code > 0)
		return fail(err, FAULT_COMMAND, "`%s` ended with status %d", show(command, arena), result->exit_code);
	return fail(err, FAULT_COMMAND, "`%s` was ended by signal %d (SIG%s)", show(command, arena), result->signal, name ? name : "?");
}

/* What the manifest sets comes last: it wins. */
static const char *const *
make_environment(const struct command *command, struct task *task)
{
	struct arena *arena = task_arena(task);
	struct pairs env = { 0 };

	pairs_set(&env, arena, "PROVISION_RUN", task_run(task));
	pairs_set(&env, arena, "PROVISION_TARGET", task_target(task));
	pairs_set(&env, arena, "PROVISION_PROJECT", task_root(task));
	for (size_t i = 0; i < command->env.count; i++)
		pairs_set(&env, arena, command->env.items[i].key, command->env.items[i].value);
	return process_environment(&env, arena);
}

static bool
run(const struct command *command, struct task *task, struct error *err)
{
	struct arena *arena = task_arena(task);
	struct process_result result;
	struct process_spec spec = {
		.argv = make_argv(command, task),
		.env = make_environment(command, task),
		.workdir = task_workdir(task),
		.timeout_ms = task_timeout(task),
		.grace_ms = task_grace(task),
		.cancel = task_cancel(task),
		.output = task_log_bytes,
		.context = task,
	};

	task_log(task, "$ %s", show(command, arena));
	return process_run(&spec, arena, &result, err) && judge(command, task, &result, err);
}

static bool
sync_file(const char *path, struct error *err)
{
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	return fd < 0 ? fail_errno(err, "open `%s`", path) : file_sync_close(&fd, path, err);
}

/* Durable first, then digested: what is recorded is what a power cut leaves. */
static bool
take_output(struct task *task, const char *path, const char *note, uint64_t *bytes, struct error *err)
{
	struct artifact artifact = { .kind = ARTIFACT_FILE, .name = path, .note = note };
	struct stat_key key;
	struct stat st;

	if (lstat(path, &st) < 0 && errno == ENOENT)
		return fail(err, FAULT_COMMAND, "the command ended well, but its output `%s` is not there", path);
	if (S_ISLNK(st.st_mode)) {
		fail(err, FAULT_COMMAND, "output `%s` is a symbolic link", path);
		return error_hint(err, "name what it leads to");
	}
	if (S_ISDIR(st.st_mode)) {
		artifact.kind = ARTIFACT_DIRECTORY;
		if (!tree_sync(path, err) || !tree_digest(task, path, &artifact.digest, &artifact.size, err))
			return false;
	} else {
		if (!sync_file(path, err) || !task_digest(task, path, &artifact.digest, &key, err))
			return false;
		artifact.size = key.size;
	}
	*bytes += artifact.size;
	task_artifact(task, &artifact);
	return true;
}

static bool
take_outputs(const struct command *command, struct task *task, const char *note, struct error *err)
{
	struct arena *arena = task_arena(task);
	const char *synced = NULL;
	uint64_t bytes = 0;

	for (size_t i = 0; i < command->outputs.count; i++)
		if (!take_output(task, command->outputs.items[i], i == 0 ? note : NULL, &bytes, err))
			return false;
	for (size_t i = 0; i < command->outputs.count; i++) {
		const char *directory = path_dir(arena, command->outputs.items[i]);

		/* Outputs mostly lie together. */
		if (synced && strcmp(synced, directory) == 0)
			continue;
		if (!file_sync_dir(directory, err))
			return false;
		synced = directory;
	}
	if (command->outputs.count > 0)
		task_summary(task, "%zu output%s, %s", command->outputs.count, command->outputs.count == 1 ? "" : "s",
			units_show_size(arena, bytes));
	return true;
}

static bool
command_build(const void *spec, struct task *task, struct error *err)
{
	const struct command *command = spec;
	int64_t started_ns = clock_now_ns();
	struct inputs before, after;
	const char *note = NULL;

	if (!inputs_read(task, &command->inputs, &command->outputs, &before, err) || !inputs_as_fingerprinted(task, &before, err))
		return false;
	if (!make_parents(command, task, err) || !run(command, task, err))
		return false;
	if (!inputs_read(task, &command->inputs, &command->outputs, &after, err) || !inputs_unchanged(&before, &after, err))
		return false;
	if (command->depfile && !inputs_discover(task, command->depfile, &before, &command->outputs, started_ns, &note, err))
		return false;
	return take_outputs(command, task, note, err);
}

static bool
remove_output(struct task *task, const struct artifact *artifact, struct error *err)
{
	struct look look = { .state = STATE_FRESH };

	if (!inspect_output(task, artifact, &look, err))
		return false;
	if (look.state == STATE_ABSENT)
		return true;
	if (look.state != STATE_FRESH) {
		task_log(task, "left `%s`: it is not what was recorded", artifact->name);
		return true;
	}
	if (artifact->kind == ARTIFACT_DIRECTORY)
		return tree_remove(artifact->name, err);
	if (unlink(artifact->name) < 0 && errno != ENOENT)
		return fail_errno(err, "remove `%s`", artifact->name);
	return file_sync_dir(path_dir(task_arena(task), artifact->name), err);
}

static bool
command_destroy(struct task *task, struct error *err)
{
	const struct record *record = task_record(task);

	for (size_t i = 0; record && i < record->artifacts.count; i++)
		if (!remove_output(task, &record->artifacts.items[i], err))
			return false;
	return true;
}

const struct rule command_rule = {
	.name = "command",
	.about = "the generic recipe: files from files, by a program",
	.version = 1,
	.files_alone = true,
	.params = params,
	.size = sizeof(struct command),
	.outputs = outputs,
	.validate = command_validate,
	.paths = command_paths,
	.ingredients = command_ingredients,
	.inspect = command_inspect,
	.estimate = command_estimate,
	.build = command_build,
	.destroy = command_destroy,
};
