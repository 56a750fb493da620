#include "command_image.h"

#include <string.h>
#include <unistd.h>

#include "client/docker.h"
#include "client/process.h"
#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/file.h"
#include "engine/base/glob.h"
#include "engine/task.h"
#include "inputs.h"
#include "oneshot.h"

static void
see(struct strings *paths, struct task *task, const char *path)
{
	if (!inputs_within(paths, path))
		strings_add(paths, task_arena(task), path);
}

void
command_image_paths(const struct command_image *command, struct task *task, struct strings *paths, size_t *writable)
{
	struct arena *arena = task_arena(task);

	see(paths, task, task_root(task));
	see(paths, task, task_workdir(task));
	for (size_t i = 0; i < command->outputs->count; i++)
		see(paths, task, path_dir(arena, command->outputs->items[i]));
	if (command->depfile)
		see(paths, task, path_dir(arena, command->depfile));
	*writable = paths->count;
	for (size_t i = 0; i < command->inputs->count; i++) {
		const char *input = command->inputs->items[i];

		see(paths, task, glob_is_pattern(input) ? inputs_fixed_part(arena, input) : input);
	}
}

static bool
make_mounts(const struct command_image *command, struct task *task, struct oneshot *spec, struct error *err)
{
	struct strings paths = { 0 };
	size_t writable;

	command_image_paths(command, task, &paths, &writable);
	struct oneshot_mount *mounts = arena_array(task_arena(task), paths.count, sizeof *mounts);
	for (size_t i = 0; i < paths.count; i++) {
		if (strcmp(paths.items[i], "/") == 0) {
			fail_at(err, task_place(task, "image"), FAULT_CONFLICT, "the command would see all of `/`, which a container cannot");
			return error_hint(err, "keep the project, inputs and outputs below directories of their own");
		}
		mounts[i] = (struct oneshot_mount){ .path = paths.items[i], .readonly = i >= writable };
	}
	spec->mounts = mounts;
	spec->mount_count = paths.count;
	return true;
}

/* A user whom the image does not know has `/` for a home, where nothing can be written. */
static void
make_environment(const struct command_image *command, struct task *task, struct pairs *env)
{
	struct arena *arena = task_arena(task);

	if (geteuid() != 0)
		pairs_set(env, arena, "HOME", "/tmp");
	for (size_t i = 0; i < command->env->count; i++)
		pairs_set(env, arena, command->env->items[i].key, command->env->items[i].value);
}

bool
command_image_run(const struct command_image *command, struct task *task, struct process_result *result, struct error *err)
{
	struct docker docker finally(docker_finish) = { 0 };
	struct arena *arena = task_arena(task);
	struct oneshot_result ended;
	struct pairs env = { 0 };
	struct oneshot spec = {
		.role = "command",
		.argv = command->argv,
		.env = &env,
		.workdir = task_workdir(task),
		.as_caller = true,
		.network = true,
		.init = true,
		.timeout_ms = task_timeout(task),
		.output = task_log_bytes,
		.context = task,
	};

	if (!docker_init(&docker, "auto", task_cancel(task), arena, err) ||
		!oneshot_image(&docker, task, "image", command->ref, &spec.image, err) || !make_mounts(command, task, &spec, err))
		return false;
	make_environment(command, task, &env);
	task_log(task, "in image `%s` (%.19s)", command->ref, spec.image);
	if (!oneshot_run(&docker, task, &spec, &ended, err))
		return false;
	task_material(task, arena_printf(arena, "image:%s", command->ref), spec.image);
	*result = (struct process_result){ .exit_code = ended.exit_code, .timed_out = ended.timed_out, .cancelled = ended.cancelled };
	return true;
}
