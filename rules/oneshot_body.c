#include "oneshot_body.h"

#include <string.h>
#include <unistd.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/json.h"
#include "engine/task.h"

#define PIDS_LIMIT 32768
#define CLOSED_PIDS_LIMIT 512
#define CLOSED_MEMORY (INT64_C(4) << 30)
#define MOST_GROUPS 64

/* Bytes that are no UTF-8 cannot be said to the engine. */
static bool
append_text(json_t *list, const char *text, struct error *err)
{
	json_t *value = json_string(text);

	if (!value)
		return fail(err, FAULT_ENCODING, "`%s` is not valid UTF-8, which a container's command and environment must be", text);
	json_push(list, value);
	return true;
}

static bool
add_words(const struct shot *shot, json_t *body, struct error *err)
{
	struct arena *arena = task_arena(shot->task);
	const struct pairs *env = shot->spec->env;
	json_t *cmd = json_array(), *entry = json_array(), *variables = json_array();

	json_put(body, "Entrypoint", entry);
	json_put(body, "Cmd", cmd);
	json_put(body, "Env", variables);
	for (size_t i = 0; shot->spec->argv[i]; i++)
		if (!append_text(i == 0 ? entry : cmd, shot->spec->argv[i], err))
			return false;
	/* Images on CUDA's base ask for all GPUs, and a default runtime of NVIDIA's grants it: who asked for none gets none. */
	if (!shot->spec->gpus && !(env && pairs_get(env, "NVIDIA_VISIBLE_DEVICES")))
		json_push(variables, json_string("NVIDIA_VISIBLE_DEVICES=void"));
	for (size_t i = 0; env && i < env->count; i++)
		if (!append_text(variables, arena_printf(arena, "%s=%s", env->items[i].key, env->items[i].value), err))
			return false;
	return true;
}

/* In an engine of the user's own, root in the container is the user. */
static void
add_user(const struct shot *shot, json_t *body, json_t *config)
{
	json_t *groups = json_array();
	gid_t list[MOST_GROUPS];
	int count = getgroups(MOST_GROUPS, list);

	json_put(body, "User", shot->rootless ? json_string("0:0") : json_sprintf("%u:%u", geteuid(), getegid()));
	for (int i = 0; !shot->rootless && i < count; i++)
		json_push(groups, json_sprintf("%u", list[i]));
	json_put(config, "GroupAdd", groups);
}

static bool
add_mount(json_t *mounts, const char *source, const char *target, bool readonly, struct error *err)
{
	json_t *mount = json_pack("{s:s,s:s,s:s,s:b}", "Type", "bind", "Source", source, "Target", target, "ReadOnly", (int)readonly);

	if (!mount)
		return fail(err, FAULT_ENCODING, "`%s` is not valid UTF-8, which a path in a container must be", source);
	json_push(mounts, mount);
	return true;
}

static bool
add_mounts(const struct shot *shot, json_t *config, struct error *err)
{
	const struct oneshot *spec = shot->spec;
	json_t *mounts = json_array();

	json_put(config, "Mounts", mounts);
	for (size_t i = 0; i < spec->mount_count; i++)
		if (!add_mount(mounts, spec->mounts[i].path, spec->mounts[i].path, spec->mounts[i].readonly, err))
			return false;
	return !shot->directory || add_mount(mounts, shot->directory, spec->file_at, true, err);
}

static void
add_limits(const struct shot *shot, json_t *body, json_t *config)
{
	const struct oneshot *spec = shot->spec;

	json_put(config, "PidsLimit", json_integer(spec->closed ? CLOSED_PIDS_LIMIT : PIDS_LIMIT));
	if (spec->init)
		json_put(config, "Init", json_true());
	if (spec->closed) {
		json_put(config, "Memory", json_integer(CLOSED_MEMORY));
		json_put(config, "ReadonlyRootfs", json_true());
		json_put(config, "Tmpfs", json_pack("{s:s}", "/tmp", "mode=1777"));
	}
	if (!spec->network) {
		json_put(body, "NetworkDisabled", json_true());
		json_put(config, "NetworkMode", json_string("none"));
	}
	/* Another driver's log may not be readable. Podman keeps its logs in a form of its own. */
	if (!shot->docker->podman)
		json_put(config, "LogConfig", json_pack("{s:s,s:{s:s,s:s}}", "Type", "json-file", "Config", "max-size", "50m", "max-file", "2"));
}

static void
add_labels(const struct shot *shot, json_t *body)
{
	struct task *task = shot->task;

	json_put(body, "Labels", json_pack("{s:s,s:s,s:s,s:s,s:s}", "provision.project", task_project(task), "provision.deployment", task_deployment(task),
		"provision.target", task_target(task), "provision.run", task_run(task), "provision.role", shot->spec->role));
}

bool
oneshot_body(const struct shot *shot, json_t **body, struct error *err)
{
	const struct oneshot *spec = shot->spec;
	json_t *made finally(json_release) = json_pack("{s:s,s:s}", "Image", spec->image, "WorkingDir", spec->workdir ? spec->workdir : "/");
	json_t *config = json_pack("{s:s,s:[s],s:[s]}", "IpcMode", "private", "CapDrop", "ALL", "SecurityOpt", "no-new-privileges");

	if (!made)
		return fail(err, FAULT_ENCODING, "`%s` is not valid UTF-8, which a path in a container must be", spec->workdir);
	json_put(made, "HostConfig", config);
	if (!add_words(shot, made, err) || !add_mounts(shot, config, err))
		return false;
	if (spec->as_caller)
		add_user(shot, made, config);
	add_limits(shot, made, config);
	add_labels(shot, made);
	*body = made;
	made = NULL;
	return true;
}
