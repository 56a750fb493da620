#include "oneshot.h"

#include <string.h>
#include <sys/stat.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/file.h"
#include "engine/base/json.h"
#include "engine/task.h"
#include "oneshot_body.h"
#include "tree.h"

#define INTENT "container-in-" /* the engine's name follows */
#define BEHIND_MS 50

static const char *
directory_of(struct task *task, const char *name)
{
	struct arena *arena = task_arena(task);

	return path_join(arena, path_join(arena, task_state_dir(task), "runtime"), name);
}

/* Time left, as a request takes it; false if there is none. A request ends a moment behind the deadline, never before it: then it is known what ended it. */
static bool
left(const struct shot *shot, int64_t *ms)
{
	int64_t now = clock_monotonic_ms();

	*ms = shot->deadline ? shot->deadline - now + BEHIND_MS : 0;
	return !shot->deadline || now < shot->deadline;
}

static bool
is_cancelled(const struct shot *shot)
{
	return task_cancel(shot->task) && *task_cancel(shot->task);
}

static bool
await(const struct shot *shot, const char *id, int64_t *code, struct error *err)
{
	int64_t ms;

	if (!left(shot, &ms))
		return fail(err, FAULT_TIME_LIMIT, "no time left");
	if (!docker_follow(shot->docker, id, ms, shot->spec->output, shot->spec->context, err))
		return false;
	/* The log's end comes a moment before the engine knows how it ended; or the engine went away, and the log with it. */
	return (left(shot, &ms) || fail(err, FAULT_TIME_LIMIT, "no time left")) && docker_wait(shot->docker, id, ms, code, err);
}

/* How it ended; being stopped is no error here, but an answer. */
static bool
see_through(const struct shot *shot, const char *id, struct oneshot_result *result, struct error *err)
{
	struct error ignored;
	int64_t code = -1, ms;
	bool ended = await(shot, id, &code, err);

	result->exit_code = (int)code;
	if (ended)
		return true;
	result->cancelled = is_cancelled(shot);
	result->timed_out = !result->cancelled && !left(shot, &ms);
	shot->docker->http.cancel = NULL;
	if (!docker_stop(shot->docker, id, task_grace(shot->task), &ignored))
		task_log(shot->task, "%s", ignored.text);
	return result->cancelled || result->timed_out;
}

static bool
launch(struct shot *shot, struct oneshot_result *result, struct error *err)
{
	json_t *body finally(json_release) = NULL;
	const char *id = NULL;

	if (!oneshot_body(shot, &body, err))
		return false;
	shot->docker->http.cancel = task_cancel(shot->task);
	if (docker_launch(shot->docker, shot->name, body, shot->spec->gpus, &id, err))
		return see_through(shot, id, result, err);
	result->cancelled = id && is_cancelled(shot);
	return result->cancelled;
}

/* Gone, with all that was made for it; nothing may keep it from going. */
static bool
clear_away(struct docker *docker, struct task *task, const char *name, struct error *err)
{
	const char *directory = directory_of(task, name);
	struct stat st;

	docker->http.cancel = NULL;
	return docker_remove(docker, name, err) && (lstat(directory, &st) < 0 || tree_remove(directory, err));
}

static bool
write_file(struct shot *shot, struct error *err)
{
	const struct oneshot *spec = shot->spec;

	if (!spec->file)
		return true;
	shot->directory = directory_of(shot->task, shot->name);
	return file_make_dirs(shot->directory, 0700, err) &&
		file_save(path_join(task_arena(shot->task), shot->directory, spec->file_name), spec->file, strlen(spec->file), 0600, err);
}

bool
oneshot_run(struct docker *docker, struct task *task, const struct oneshot *spec, struct oneshot_result *result, struct error *err)
{
	struct arena *arena = task_arena(task);
	const char *intent = task_new_id(task, arena);
	struct error failure;
	struct shot shot = {
		.docker = docker,
		.task = task,
		.spec = spec,
		.name = arena_printf(arena, "provision-%s-%s-%s-%s", task_deployment(task), task_target(task), task_run(task), intent),
		.deadline = spec->timeout_ms ? clock_monotonic_ms() + spec->timeout_ms : 0,
	};
	bool ran;

	*result = (struct oneshot_result){ .exit_code = -1 };
	if (spec->as_caller && !docker_is_rootless(docker, &shot.rootless, err))
		return false;
	if (!task_intent(task, intent, arena_printf(arena, INTENT "%s", spec->engine ? spec->engine : "auto"), shot.name, err))
		return false;
	ran = write_file(&shot, err) && launch(&shot, result, err);
	/* What could not be removed keeps its intent: the next run removes it. */
	if (!clear_away(docker, task, shot.name, &failure) || !task_intent_drop(task, intent, &failure)) {
		task_log(task, "%s", failure.text);
		if (ran && !result->cancelled)
			*err = failure;
		ran = ran && result->cancelled;
	}
	docker->http.cancel = task_cancel(task);
	return ran;
}

/* Names are ours by their random part; the label is asked for all the same before anything is removed. */
static bool
sweep_one(const char *engine, struct task *task, const char *name, struct error *err)
{
	struct docker docker finally(docker_finish) = { 0 };
	json_t *container finally(json_release) = NULL;
	const json_t *labels;
	bool missing = false;

	if (!docker_init(&docker, engine, task_cancel(task), task_arena(task), err) || !docker_container(&docker, name, &container, &missing, err))
		return false;
	labels = json_at(container, "Config.Labels");
	if (!missing && !text_equal(json_string_value(json_object_get(labels, "provision.project")), task_project(task)))
		return fail(err, FAULT_NOT_OURS, "container `%s` does not carry our label", name);
	if (!missing)
		task_log(task, "removing container `%s`, left by an earlier run", name);
	return clear_away(&docker, task, name, err);
}

bool
oneshot_sweep(struct task *task, struct error *err)
{
	const struct intent *intents;
	size_t count;

	if (!task_intents(task, &intents, &count, err))
		return false;
	for (size_t i = 0; i < count; i++)
		if (text_starts(intents[i].kind, INTENT) &&
			(!sweep_one(intents[i].kind + strlen(INTENT), task, intents[i].name, err) || !task_intent_drop(task, intents[i].id, err)))
			return error_wrap(err, "remove what an earlier run left");
	return true;
}

static const char *
ingredient_of(struct task *task, const char *ref)
{
	return arena_printf(task_arena(task), "image:%s", ref);
}

static bool
is_as_fingerprinted(struct task *task, const char *ref, const char *id)
{
	const struct ingredient *known = ingredients_find(task_ingredients(task), ingredient_of(task, ref));

	return !known || strcmp(known->value, id) == 0;
}

bool
oneshot_image(struct docker *docker, struct task *task, const char *param, const char *ref, const char **id, struct error *err)
{
	json_t *image finally(json_release) = NULL;
	bool missing = false;
	const char *found;

	if (!docker_image(docker, ref, &image, &missing, err))
		return false;
	found = missing ? NULL : json_string_at(image, "Id");
	if (!found) {
		fail_at(err, task_place(task, param), FAULT_NO_IMAGE, "the engine has no image `%s`", ref);
		return error_hint(err, "build or pull it by a target of rule `image`, and refer to its `id`");
	}
	if (!is_as_fingerprinted(task, ref, found))
		return fail_at(err, task_place(task, param), FAULT_INPUT_CHANGED, "`%s` became another image while it was being used", ref);
	*id = arena_copy(task_arena(task), found);
	return true;
}

static const char *
recorded(struct task *task, const char *name)
{
	const struct record *record = task_record(task);
	struct record whole;
	const struct ingredient *ingredient = NULL;

	if (!record)
		return NULL;
	whole = *record;
	if (record_unpack_why(&whole, record->body, record->body_size, task_arena(task)))
		ingredient = ingredients_find(&whole.ingredients, name);
	return ingredient ? ingredient->value : NULL;
}

bool
oneshot_ingredient(struct task *task, const char *engine, const char *ref, struct error *err)
{
	struct docker docker finally(docker_finish) = { 0 };
	json_t *image finally(json_release) = NULL;
	const char *name = ingredient_of(task, ref), *id;
	bool missing = false;

	if (text_starts(ref, "sha256:"))
		return true;
	task_looked_elsewhere(task);
	if (!docker_init(&docker, engine, task_cancel(task), task_arena(task), err) || !docker_image(&docker, ref, &image, &missing, err))
		return false;
	id = missing ? recorded(task, name) : json_string_at(image, "Id");
	task_ingredient(task, INGREDIENT_FACT, name, id ? id : "not there", NULL, NULL);
	return true;
}
