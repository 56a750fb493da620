#include "child.h"

#include <sys/stat.h>

#include "client/process.h"
#include "engine/base/arena.h"
#include "engine/task.h"

static const char *
note_path(const char *state_dir, struct arena *arena)
{
	return arena_printf(arena, "%s/runtime/children", state_dir);
}

bool
child_run(struct task *task, const struct process_spec *spec, struct process_result *result, struct error *err)
{
	struct arena *arena = task_arena(task);
	struct process_spec noted = *spec;

	/* A plan writes nothing, and asks only what has answered in a moment. */
	if (task_planning(task))
		return process_run(spec, arena, result, err);
	noted.note = note_path(task_state_dir(task), arena);
	noted.tag = arena_printf(arena, "%s/%s/%s/child/%s/%s", task_project(task), task_deployment(task), task_target(task), task_run(task),
		task_new_id(task, arena));
	return process_run(&noted, arena, result, err);
}

bool
child_any_left(const char *state_dir, struct arena *arena)
{
	struct stat st;

	return lstat(note_path(state_dir, arena), &st) == 0;
}

void
child_forget(const char *state_dir, struct arena *arena)
{
	process_forget(note_path(state_dir, arena));
}

bool
child_clear(const char *state_dir, int64_t grace_ms, struct arena *arena, struct error *err)
{
	return process_clear(note_path(state_dir, arena), grace_ms, err);
}
