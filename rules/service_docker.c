#include "service_internal.h"

#include <string.h>
#include <sys/stat.h>

#include "diagnose.h"
#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/digest.h"
#include "engine/base/json.h"
#include "engine/base/version.h"
#include "engine/task.h"

#define PIDS_LIMIT 32768 /* threads count too, and a server on many cores has thousands */

const char *const service_ipc_modes[] = { "private", "host", "shareable", "none", NULL };
const char *const service_restart_policies[] = { "no", "on-failure", "unless-stopped", NULL };

static json_t *
environment_of(const struct service *spec, const struct instance *instance, struct arena *arena)
{
	json_t *env = json_array();

	/* Images on CUDA's base ask for all GPUs, and a default runtime of NVIDIA's grants it: who asked for none gets none. */
	if (!instance->gpus.count && !pairs_get(&spec->env, "NVIDIA_VISIBLE_DEVICES"))
		json_push(env, json_string("NVIDIA_VISIBLE_DEVICES=void"));
	if (strcmp(service_ipc_modes[spec->ipc], "host") == 0 && instance->gpus.count && !pairs_get(&spec->env, SERVICE_SHM_VARIABLE))
		json_push(env, json_string(arena_printf(arena, SERVICE_SHM_VARIABLE "=%s", service_shm_name(instance, arena))));
	for (size_t i = 0; i < spec->env.count; i++)
		json_push(env, json_string(arena_printf(arena, "%s=%s", spec->env.items[i].key, spec->env.items[i].value)));
	return env;
}

static json_t *
mounts_of(const struct service *spec)
{
	json_t *mounts = json_array();
	const struct mount *items = spec->mounts.items;

	for (size_t i = 0; i < spec->mounts.count; i++)
		json_push(mounts, json_pack("{s:s,s:s,s:s,s:b}", "Type", "bind", "Source", items[i].source, "Target", items[i].target, "ReadOnly",
			(int)items[i].readonly));
	return mounts;
}

static json_t *
ulimits_of(const struct service *spec)
{
	json_t *limits = json_array();
	int64_t soft, hard;

	for (size_t i = 0; i < spec->ulimits.count; i++)
		if (service_ulimit(spec->ulimits.items[i].value, &soft, &hard))
			json_push(limits, json_pack("{s:s,s:I,s:I}", "Name", spec->ulimits.items[i].key, "Soft", (json_int_t)soft, "Hard", (json_int_t)hard));
	return limits;
}

static json_t *
host_config_of(const struct service *spec, const struct instance *instance, const char *port, bool podman, struct arena *arena)
{
	const char *address = strcmp(spec->host, "localhost") == 0 ? "127.0.0.1" : spec->host;
	json_t *config = json_pack("{s:s,s:{s:s},s:[s],s:[s],s:b,s:i,s:{s:[{s:s,s:s}]}}", "IpcMode", service_ipc_modes[spec->ipc], "RestartPolicy", "Name", "no",
		"SecurityOpt", "no-new-privileges", "CapDrop", "ALL", "Init", 1, "PidsLimit", PIDS_LIMIT, "PortBindings", port, "HostIp", address,
		"HostPort", arena_printf(arena, "%lld", (long long)instance->port));

	json_put(config, "Mounts", mounts_of(spec));
	json_put(config, "Ulimits", ulimits_of(spec));
	if (spec->shm_size)
		json_put(config, "ShmSize", json_integer(spec->shm_size));
	/* Podman knows no max-file, and keeps its logs in a form of its own. */
	if (!podman)
		json_put(config, "LogConfig", json_pack("{s:s,s:{s:s,s:s}}", "Type", "json-file", "Config", "max-size", "50m", "max-file", "5"));
	return config;
}

bool
service_docker_body(const struct service *spec, const struct instance *instance, bool podman, struct arena *arena, json_t **body, struct error *err)
{
	const char *port = arena_printf(arena, "%lld/tcp", (long long)(spec->container_port ? spec->container_port : spec->port));
	struct strings argv = { 0 };
	json_t *cmd;

	if (!service_args(spec->args, arena, &argv, err))
		return false;
	cmd = json_array();
	for (size_t i = 0; i < argv.count; i++)
		json_push(cmd, json_string(argv.items[i]));
	json_t *made = json_pack("{s:s,s:o,s:o,s:{s:{}},s:I,s:o}", "Image", instance->image, "Cmd", cmd, "Env", environment_of(spec, instance, arena),
		"ExposedPorts", port, "StopTimeout", (json_int_t)((instance->stop_timeout + 999) / 1000), "HostConfig",
		host_config_of(spec, instance, port, podman, arena));
	if (!made)
		return fail(err, FAULT_ENCODING, "a value for the container is not valid UTF-8");
	if (spec->user)
		json_put(made, "User", json_string(spec->user));
	json_t *labels = json_object();
	for (size_t i = 0; i < spec->labels.count; i++)
		json_put(labels, spec->labels.items[i].key, json_string(spec->labels.items[i].value));
	json_put(made, "Labels", labels);
	*body = made;
	return true;
}

/* What the container is made from, in one digest: the GPUs as they are first asked for, in whatever way the engine then takes them. */
static const char *
key_of(const json_t *body, const struct instance *instance, bool podman, struct arena *arena)
{
	json_t *whole finally(json_release) = json_deep_copy(body);
	struct digest digest;
	const char *text;

	if (instance->gpus.count)
		docker_ask_gpus(whole, docker_gpu_way(podman), &instance->gpus);
	text = json_text(arena, whole, true);
	digest_of(text, strlen(text), &digest);
	return digest_text(arena, &digest);
}

/* What identifies the container as ours, and as made from this very body. */
static void
add_labels(struct site *site, json_t *body, const struct instance *instance)
{
	json_t *labels = json_object_get(body, "Labels");

	json_put(labels, "provision.project", json_string(task_project(site->task)));
	json_put(labels, "provision.deployment", json_string(task_deployment(site->task)));
	json_put(labels, "provision.target", json_string(task_target(site->task)));
	json_put(labels, "provision.run", json_string(instance->run));
	json_put(labels, "provision.key", json_string(instance->key));
	json_put(labels, "provision.replica", json_string(arena_printf(site->arena, "%lld", (long long)instance->replica)));
	json_put(labels, "provision.tag", json_string(instance->tag));
}

static bool
check_mounts(const struct site *site, const struct service *spec, struct error *err)
{
	const struct mount *mounts = spec->mounts.items;
	struct stat st;

	for (size_t i = 0; i < spec->mounts.count; i++) {
		if (stat(mounts[i].source, &st) == 0)
			continue;
		fail_errno(err, "mount `%s`", mounts[i].source);
		err->at = spec->mounts.at ? spec->mounts.at[i] : task_place(site->task, "mounts");
		return error_hint(err, "make the directory first, for instance by a target of rule `directory`");
	}
	return true;
}

static bool
docker_prepare(struct site *site, const struct service *spec, struct instance *instance, struct error *err)
{
	json_t *image finally(json_release) = NULL, *body finally(json_release) = NULL;
	bool missing = false;

	if (!site_docker(site, err) || !check_mounts(site, spec, err))
		return false;
	if (site->docker.podman && instance->gpus.count && version_compare(site->docker.version, "5.5") < 0) {
		fail(err, FAULT_ENGINE_VERSION, "Podman %s cannot pass GPUs to a container over its socket", site->docker.version);
		return error_hint(err, "use Podman 5.5 or later, or Docker");
	}
	if (!docker_image(&site->docker, spec->image, &image, &missing, err))
		return false;
	const char *id = missing ? NULL : json_string_at(image, "Id");
	if (!id) {
		fail_at(err, task_place(site->task, "image"), FAULT_NO_IMAGE, "the engine has no image `%s`", spec->image);
		return error_hint(err, "build or pull it by a target of rule `image`, and refer to its `id`");
	}
	instance->image = arena_copy(site->arena, id);
	if (!service_docker_body(spec, instance, site->docker.podman, site->arena, &body, err))
		return false;
	instance->key = key_of(body, instance, site->docker.podman, site->arena);
	instance->restart = service_restart_policies[spec->restart];
	instance->name = arena_printf(site->arena, "provision-%s-%s-%s-%lld", task_deployment(site->task), task_target(site->task), instance->run,
		(long long)instance->replica);
	return true;
}

/* The engine's words often say more than its status: a missing NVIDIA runtime, a port that was taken in between. */
static bool
explain_start(const struct instance *instance, struct arena *arena, struct error *err)
{
	struct diagnosis known;

	diagnose(err->text, strlen(err->text), arena, &known);
	if (known.id && err->fault == FAULT_ENGINE) {
		err->fault = strcmp(known.id, "F25") == 0 ? FAULT_PORT_HELD : known.fault;
		if (known.hint)
			error_hint(err, "%s", known.hint);
	}
	return error_wrap(err, "container `%s`", instance->name);
}

static bool
docker_start_instance(struct site *site, const struct service *spec, struct instance *instance, struct error *err)
{
	json_t *body finally(json_release) = NULL;
	struct pairs secrets = { 0 };

	if (!service_secrets(&spec->env_from, site->arena, &secrets, err) ||
		!service_docker_body(spec, instance, site->docker.podman, site->arena, &body, err))
		return false;
	for (size_t i = 0; i < secrets.count; i++)
		json_push(json_object_get(body, "Env"), json_string(arena_printf(site->arena, "%s=%s", secrets.items[i].key, secrets.items[i].value)));
	add_labels(site, body, instance);
	if (!docker_launch(&site->docker, instance->name, body, instance->gpus.count ? &instance->gpus : NULL, &instance->id, err))
		return explain_start(instance, site->arena, err);
	/* Podman's socket says yes to what it does not do. */
	return !instance->gpus.count || docker_check_gpus(&site->docker, instance->id, err) || explain_start(instance, site->arena, err);
}

static bool
docker_look(struct site *site, struct instance *instance, struct instance_state *state, struct error *err)
{
	json_t *container finally(json_release) = NULL;
	bool missing = false;
	int64_t code;

	if (!site_docker(site, err) || !docker_container(&site->docker, instance->id, &container, &missing, err))
		return false;
	*state = (struct instance_state){ .exit_code = -1 };
	if (missing) {
		state->detail = "the container was removed";
		state->gone = true;
		return true;
	}
	const char *detail = json_string_at(container, "State.Error");
	state->running = json_is_true(json_at(container, "State.Running")) && !json_is_true(json_at(container, "State.Restarting"));
	state->out_of_memory = json_is_true(json_at(container, "State.OOMKilled"));
	state->known = json_int_at(container, "State.ExitCode", &code);
	state->exit_code = state->known ? (int)code : -1;
	state->detail = detail && *detail ? arena_copy(site->arena, detail) : NULL;
	return true;
}

/* Skips what was delivered before: the engine's log has no positions to go on from. */
struct log_tap {
	struct instance *instance;
	size_t seen;
	void (*output)(void *context, bool is_stderr, const char *bytes, size_t size);
	void *context;
};

static void
tap(void *context, bool is_stderr, const char *bytes, size_t size)
{
	struct log_tap *log = context;
	size_t old = log->instance->log_taken > log->seen ? log->instance->log_taken - log->seen : 0;

	log->seen += size;
	if (old < size)
		log->output(log->context, is_stderr, bytes + old, size - old);
}

static bool
docker_read_log(struct site *site, struct instance *instance, void (*output)(void *context, bool is_stderr, const char *bytes, size_t size),
	void *context, struct error *err)
{
	struct log_tap log = { instance, 0, output, context };

	if (!site_docker(site, err) || !docker_logs(&site->docker, instance->id, false, instance->log_since, tap, &log, err))
		return false;
	if (log.seen > instance->log_taken)
		instance->log_taken = log.seen;
	return true;
}

static bool
docker_became_ready(struct site *site, struct instance *instance, struct error *err)
{
	/* Not before: a server that cannot start would be started for ever, and its log be a mixture of attempts. */
	return strcmp(instance->restart, "no") == 0 ||
		(site_docker(site, err) && docker_update_restart(&site->docker, instance->id, instance->restart, err));
}

static bool
docker_halt(struct site *site, struct instance *instance, struct error *err)
{
	json_t *container finally(json_release) = NULL;
	bool missing = false;

	if (!site_docker(site, err) || !docker_container(&site->docker, instance->id, &container, &missing, err))
		return false;
	if (missing)
		return true;
	/* What is kept in reserve must not come up again with the engine. Only asked for where it would: not every engine can change a policy. */
	const char *policy = json_string_at(container, "HostConfig.RestartPolicy.Name");
	if (!(policy && (!*policy || strcmp(policy, "no") == 0)) && !docker_update_restart(&site->docker, instance->id, "no", err))
		return false;
	return docker_stop(&site->docker, instance->id, instance->stop_timeout, err);
}

static bool
docker_resume(struct site *site, struct instance *instance, struct error *err)
{
	int64_t now = clock_now_ns();

	/* The engine's log begins with what the first start said: that would be taken for the reason of what happens now. */
	instance->log_since = arena_printf(site->arena, "%lld.%09lld", (long long)(now / 1000000000), (long long)(now % 1000000000));
	instance->log_taken = 0;
	return site_docker(site, err) && (docker_start(&site->docker, instance->id, err) || explain_start(instance, site->arena, err));
}

static bool
docker_remove_instance(struct site *site, struct instance *instance, struct error *err)
{
	struct error ignored = { 0 };

	/* One that cannot be stopped any more, since somebody is removing it or the engine has lost its process, must still go. */
	if (!site_docker(site, err))
		return false;
	if (!docker_stop(&site->docker, instance->id, instance->stop_timeout, &ignored))
		task_log(site->task, "%s", ignored.text);
	return docker_remove(&site->docker, instance->id, err);
}

static bool
is_kept(const struct instances *keep, const char *id)
{
	for (size_t i = 0; i < keep->count; i++)
		if (keep->items[i].runtime == &docker_runtime && strcmp(keep->items[i].id, id) == 0)
			return true;
	return false;
}

/* The filter's answer is not taken on trust where what it lists is going to be removed. A container has its image's labels too, which name project, deployment and
 * target where we built that image: the tag is set on what we start alone. */
static bool
is_ours(const struct site *site, const json_t *container)
{
	const json_t *labels = json_object_get(container, "Labels");
	const char *tag = json_string_value(json_object_get(labels, "provision.tag"));

	if (!tag || !text_starts(tag, service_tag_prefix(site->task, site->arena)))
		return false;
	return text_equal(json_string_value(json_object_get(labels, "provision.project")), task_project(site->task)) &&
		text_equal(json_string_value(json_object_get(labels, "provision.deployment")), task_deployment(site->task)) &&
		text_equal(json_string_value(json_object_get(labels, "provision.target")), task_target(site->task));
}

static bool
docker_sweep(struct site *site, const struct instances *keep, struct error *err)
{
	json_t *list finally(json_release) = NULL;
	struct strings labels = { 0 };
	const json_t *container;
	size_t i;

	if (!*task_project(site->task))
		return true;
	strings_add(&labels, site->arena, arena_printf(site->arena, "provision.project=%s", task_project(site->task)));
	strings_add(&labels, site->arena, arena_printf(site->arena, "provision.deployment=%s", task_deployment(site->task)));
	strings_add(&labels, site->arena, arena_printf(site->arena, "provision.target=%s", task_target(site->task)));
	if (!docker_containers(&site->docker, &labels, &list, err))
		return false;
	json_array_foreach(list, i, container) {
		const char *id = json_string_at(container, "Id");
		struct instance stray = { .runtime = &docker_runtime, .id = id, .stop_timeout = task_grace(site->task) };
		if (!id || !is_ours(site, container) || is_kept(keep, id))
			continue;
		task_log(site->task, "removing container %.12s", id);
		if (!docker_remove_instance(site, &stray, err))
			return error_wrap(err, "remove container %.12s", id);
	}
	return true;
}

static bool
drifted(struct look *look, enum reason reason, const char *what)
{
	look->state = STATE_DRIFTED;
	look->reason = reason;
	look->what = what;
	return true;
}

/* A tag may have moved since the container was started from it; an id cannot. */
static bool
image_moved(struct site *site, const struct service *spec, const struct instance *instance, struct look *look, struct error *err)
{
	json_t *image finally(json_release) = NULL;
	bool missing = false;

	if (!spec || !spec->image || text_starts(spec->image, "sha256:"))
		return true;
	if (!docker_image(&site->docker, spec->image, &image, &missing, err))
		return false;
	const char *id = missing ? NULL : json_string_at(image, "Id");
	if (id && strcmp(id, instance->image) != 0)
		drifted(look, REASON_OUTPUT_DIFFERS, arena_printf(site->arena, "`%s` is another image now (%.19s)", spec->image, id));
	return true;
}

static bool
docker_inspect(struct site *site, const struct service *spec, struct instance *instance, struct look *look, struct error *err)
{
	json_t *container finally(json_release) = NULL;
	bool missing = false;
	int64_t code = 0;

	if (!site_docker(site, err) || !docker_container(&site->docker, instance->id, &container, &missing, err))
		return false;
	if (missing) {
		look->state = STATE_ABSENT;
		look->reason = REASON_CONTAINER_GONE;
		look->what = "container removed";
		return true;
	}
	const char *image = json_string_at(container, "Image");
	const json_t *labels = json_at(container, "Config.Labels");
	const char *key = json_string_value(json_object_get(labels, "provision.key"));
	if (!text_equal(image, instance->image) || !text_equal(key, instance->key))
		return drifted(look, REASON_CONTAINER_NOT_OURS, "container replaced by hand");
	json_int_at(container, "State.ExitCode", &code);
	if (json_is_true(json_at(container, "State.Restarting")))
		return drifted(look, REASON_CONTAINER_GONE, arena_printf(site->arena, "restarting again and again (exit %lld)", (long long)code));
	if (json_is_true(json_at(container, "State.Paused")))
		return drifted(look, REASON_CONTAINER_GONE, "paused");
	if (!json_is_true(json_at(container, "State.Running")))
		return drifted(look, REASON_CONTAINER_GONE, arena_printf(site->arena, "exited (%lld)", (long long)code));
	return image_moved(site, spec, instance, look, err);
}

const struct runtime docker_runtime = {
	.name = "docker",
	.artifact = ARTIFACT_CONTAINER,
	.words = "container",
	.prepare = docker_prepare,
	.start = docker_start_instance,
	.look = docker_look,
	.inspect = docker_inspect,
	.read_log = docker_read_log,
	.became_ready = docker_became_ready,
	.halt = docker_halt,
	.resume = docker_resume,
	.remove = docker_remove_instance,
	.sweep = docker_sweep,
};
