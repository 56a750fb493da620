#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "child.h"
#include "client/process.h"
#include "command_image.h"
#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/file.h"
#include "engine/base/glob.h"
#include "engine/base/path.h"
#include "engine/base/units.h"
#include "engine/rule.h"
#include "engine/task.h"
#include "inputs.h"
#include "oneshot.h"
#include "rules.h"
#include "tree.h"

#define LINE_LIMIT 400
#define NOT_FOUND 127 /* of a shell and of a container's first process */

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
		.about = "files and directories that it makes; `destroy` removes them, and a rebuild those that it names no more" },
	{ "env", PARAM_PAIRS, offsetof(struct command, env), .about = "environment, besides PATH, HOME and a few more" },
	{ "image", PARAM_STRING, offsetof(struct command, image), .about = "container image to run it in, by name or id" },
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
	if (command->image && !*command->image)
		refuse(task, "image", errors, FAULT_BAD_VALUE, "`image` is empty", "leave it out to run the command on the host");
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
	return !command->image || oneshot_ingredient(task, "auto", command->image, err);
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

static const char *
and_more(struct arena *arena, const char *first, size_t count)
{
	return count > 1 ? arena_printf(arena, "%s and %zu more", first, count - 1) : first;
}

/* What it made under names that `outputs` has no more goes, if it is still what was recorded. */
static bool
estimate_leftovers(const struct command *command, struct task *task, struct cost *cost, struct error *err)
{
	struct arena *arena = task_arena(task);
	struct artifacts left = { 0 };
	const char *first = NULL;
	size_t count = 0;

	task_leftovers(task, &command->outputs, &left);
	for (size_t i = 0; i < left.count; i++) {
		struct look look = { .state = STATE_FRESH };

		if (!inspect_output(task, &left.items[i], &look, err))
			return false;
		if (look.state == STATE_DRIFTED && !cost->lines[2])
			cost->lines[2] = arena_printf(arena, "keeps %s: it is not what was recorded", path_shown(arena, task_root(task), left.items[i].name));
		if (look.state == STATE_FRESH && count++ == 0)
			first = path_shown(arena, task_root(task), left.items[i].name);
	}
	if (count > 0)
		cost->lines[1] = arena_printf(arena, "removes %s", and_more(arena, first, count));
	cost->deletes = count > 0;
	return true;
}

static bool
command_estimate(const void *spec, struct task *task, struct cost *cost, struct error *err)
{
	const struct command *command = spec;

	if (!estimate_leftovers(command, task, cost, err))
		return false;
	cost->lines[0] = arena_printf(task_arena(task), "runs %s%s%s%s", command->shell ? "a shell: " : "", show(command, task_arena(task)),
		command->image ? " in image " : "", command->image ? command->image : "");
	/* A list ends with its first gap. */
	if (!cost->lines[1]) {
		cost->lines[1] = cost->lines[2];
		cost->lines[2] = NULL;
	}
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
static void
make_environment(const struct command *command, struct task *task, struct pairs *env)
{
	struct arena *arena = task_arena(task);

	pairs_set(env, arena, "PROVISION_RUN", task_run(task));
	pairs_set(env, arena, "PROVISION_TARGET", task_target(task));
	pairs_set(env, arena, "PROVISION_PROJECT", task_root(task));
	for (size_t i = 0; i < command->env.count; i++)
		pairs_set(env, arena, command->env.items[i].key, command->env.items[i].value);
}

static bool
run_in_image(const struct command *command, const struct command_image *inside, struct task *task, struct error *err)
{
	struct process_result result;

	if (!command_image_run(inside, task, &result, err))
		return error_wrap(err, "`%s`", show(command, task_arena(task)));
	if (judge(command, task, &result, err))
		return true;
	return result.exit_code == NOT_FOUND ? error_hint(err, "is the program in the image `%s`?", inside->ref) : false;
}

static bool
run(const struct command *command, const struct command_image *inside, struct task *task, struct error *err)
{
	struct arena *arena = task_arena(task);
	struct process_result result;
	struct process_spec spec = {
		.argv = inside->argv,
		.env = process_environment(inside->env, arena),
		.workdir = task_workdir(task),
		.timeout_ms = task_timeout(task),
		.grace_ms = task_grace(task),
		.cancel = task_cancel(task),
		.output = task_log_bytes,
		.context = task,
	};

	task_log(task, "$ %s", show(command, arena));
	if (command->image)
		return run_in_image(command, inside, task, err);
	return child_run(task, &spec, &result, err) && judge(command, task, &result, err);
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
	struct strings visible = { 0 };
	struct pairs env = { 0 };
	const struct command_image inside = { command->image, make_argv(command, task), &env, &command->inputs, &command->outputs, command->depfile };
	const char *note = NULL;
	size_t writable;

	make_environment(command, task, &env);
	if (command->image)
		command_image_paths(&inside, task, &visible, &writable);
	if (!inputs_read(task, &command->inputs, &command->outputs, &before, err) || !inputs_as_fingerprinted(task, &before, err))
		return false;
	if (!make_parents(command, task, err) || !run(command, &inside, task, err))
		return false;
	if (!inputs_read(task, &command->inputs, &command->outputs, &after, err) || !inputs_unchanged(&before, &after, err))
		return false;
	if (command->depfile && !inputs_discover(task, command->depfile, &before, &command->outputs, command->image ? &visible : NULL, started_ns, &note, err))
		return false;
	return take_outputs(command, task, note, err);
}

/* What became of the outputs that were to go. */
struct removal {
	const char *first, *kept; /* as shown */
	size_t removed, left;
};

/* Whether it is of its kind still, or nobody could look: then what failed says nothing about its content. */
static bool
is_there(const struct artifact *artifact)
{
	struct stat st;

	if (lstat(artifact->name, &st) != 0)
		return !path_errno_tells(errno);
	return artifact->kind == ARTIFACT_DIRECTORY ? S_ISDIR(st.st_mode) : S_ISREG(st.st_mode);
}

static bool
remove_output(struct task *task, const struct artifact *artifact, struct removal *removal, struct error *err)
{
	struct arena *arena = task_arena(task);
	const char *shown = path_shown(arena, task_root(task), artifact->name);
	struct look look = { .state = STATE_FRESH };

	err->fault = FAULT_NONE;
	if (!inspect_output(task, artifact, &look, err) || (err->fault == FAULT_IO && is_there(artifact)))
		return false;
	if (look.state == STATE_ABSENT)
		return true;
	if (look.state != STATE_FRESH) {
		task_log(task, "left `%s`: it is not what was recorded", artifact->name);
		removal->kept = removal->left++ ? removal->kept : shown;
		return true;
	}
	removal->first = removal->removed++ ? removal->first : shown;
	if (artifact->kind == ARTIFACT_DIRECTORY)
		return tree_remove(artifact->name, err);
	if (unlink(artifact->name) < 0 && errno != ENOENT)
		return fail_errno(err, "remove `%s`", artifact->name);
	return file_sync_dir(path_dir(arena, artifact->name), err);
}

static void
summarise(struct task *task, const struct removal *removal)
{
	struct arena *arena = task_arena(task);
	const char *removed = removal->removed ? arena_printf(arena, "removed %s", and_more(arena, removal->first, removal->removed)) : "";

	if (removal->left)
		task_summary(task, "%s%skept %s: not what was recorded", removed, *removed ? "; " : "", and_more(arena, removal->kept, removal->left));
	else if (*removed)
		task_summary(task, "%s", removed);
}

static bool
command_destroy(struct task *task, struct error *err)
{
	const struct record *record = task_record(task);
	struct removal removal = { 0 };

	if (!oneshot_sweep(task, err))
		return false;
	for (size_t i = 0; record && i < record->artifacts.count; i++)
		if (!remove_output(task, &record->artifacts.items[i], &removal, err))
			return false;
	summarise(task, &removal);
	return true;
}

const struct rule command_rule = {
	.name = "command",
	.about = "the generic recipe: files from files, by a program",
	.version = 1,
	.keeps_time = true,
	.files_alone = true,
	.sheds = true,
	.params = params,
	.size = sizeof(struct command),
	.outputs = outputs,
	.validate = command_validate,
	.paths = command_paths,
	.ingredients = command_ingredients,
	.inspect = command_inspect,
	.estimate = command_estimate,
	.build = command_build,
	.sweep = oneshot_sweep,
	.destroy = command_destroy,
};
