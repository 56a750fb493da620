#include "docker.h"

#include <dirent.h>
#include <string.h>

#include "docker_call.h"
#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/json.h"

#define DEVICE "nvidia.com/gpu="

/* UUIDs, or the word for all of them. */
static json_t *
names_of(const struct strings *uuids, const char *before)
{
	json_t *names = json_array();

	for (size_t i = 0; i < uuids->count; i++)
		json_push(names, json_sprintf("%s%s", before, uuids->items[i]));
	return names;
}

static void
ask_hook(json_t *body, const struct strings *uuids)
{
	json_put(json_object_get(body, "HostConfig"), "DeviceRequests", json_pack("[{s:s,s:i,s:o,s:[[s]],s:{}}]", "Driver", "", "Count",
		uuids->count ? 0 : -1, "DeviceIDs", names_of(uuids, ""), "Capabilities", "gpu", "Options"));
}

static void
ask_cdi(json_t *body, const struct strings *uuids)
{
	json_t *names = names_of(uuids, DEVICE);

	if (!uuids->count)
		json_push(names, json_string(DEVICE "all"));
	json_put(json_object_get(body, "HostConfig"), "DeviceRequests", json_pack("[{s:s,s:o}]", "Driver", "cdi", "DeviceIDs", names));
}

static void
ask_runtime(json_t *body, const struct strings *uuids)
{
	struct arena arena finally(arena_finish) = { 0 };
	json_t *variables = json_object_get(body, "Env");
	const char *text = "";

	for (size_t i = 0; i < uuids->count; i++)
		text = arena_printf(&arena, "%s%s%s", text, i ? "," : "", uuids->items[i]);
	if (!variables)
		json_put(body, "Env", variables = json_array());
	json_push(variables, json_sprintf("NVIDIA_VISIBLE_DEVICES=%s", *text ? text : "all"));
	json_put(json_object_get(body, "HostConfig"), "Runtime", json_string("nvidia"));
}

/* By enum docker_gpu_way. */
static void (*const ways[DOCKER_GPU_WAYS])(json_t *body, const struct strings *uuids) = { ask_hook, ask_cdi, ask_runtime };

void
docker_ask_gpus(json_t *body, enum docker_gpu_way way, const struct strings *uuids)
{
	ways[way](body, uuids);
}

enum docker_gpu_way
docker_gpu_way(bool podman)
{
	return podman ? DOCKER_GPU_CDI : DOCKER_GPU_HOOK;
}

/* What else to try where the engine knows no driver for the usual way: what it has been told of. */
static size_t
other_ways(struct docker *docker, enum docker_gpu_way *found)
{
	json_t *info finally(json_release) = NULL;
	struct error ignored;
	size_t count = 0;

	if (docker->podman || !docker_info(docker, &info, &ignored))
		return 0;
	if (json_at(info, "Runtimes.nvidia"))
		found[count++] = DOCKER_GPU_RUNTIME;
	if (json_array_size(json_at(info, "CDISpecDirs")) > 0)
		found[count++] = DOCKER_GPU_CDI;
	return count;
}

static bool
create_and_start(struct docker *docker, const char *name, const json_t *body, const char **id, struct error *err)
{
	const atomic_bool *cancel = docker->http.cancel;
	bool created;

	/* The answer to a creation is waited for, whatever happens: nobody else would know of the container. */
	docker->http.cancel = NULL;
	created = docker_create(docker, name, body, id, err);
	docker->http.cancel = cancel;
	return created && docker_start(docker, *id, err);
}

bool
docker_launch(struct docker *docker, const char *name, const json_t *body, const struct strings *gpus, const char **id, struct error *err)
{
	enum docker_gpu_way others[DOCKER_GPU_WAYS];
	size_t count = DOCKER_GPU_WAYS;
	struct error refusal = { 0 };

	if (!gpus)
		return create_and_start(docker, name, body, id, err);
	others[0] = docker_gpu_way(docker->podman);
	for (size_t i = 0; i < count; i++) {
		json_t *whole finally(json_release) = json_deep_copy(body);
		const char *made = NULL;
		struct error ignored;

		docker_ask_gpus(whole, others[i], gpus);
		if (create_and_start(docker, name, whole, &made, &refusal)) {
			*id = made;
			return true;
		}
		if (i == 0)
			count = refusal.fault == FAULT_ENGINE_GPUS ? 1 + other_ways(docker, others + 1) : 1;
		/* A runtime was registered by somebody, so its words count; directories of CDI are there by default, and say nothing when nothing is in them. */
		if (i == 0 || others[i] == DOCKER_GPU_RUNTIME)
			*err = refusal;
		/* The last one is the caller's to clear away, as one without GPUs is. */
		if (made && (i + 1 == count || !docker_remove(docker, made, &ignored))) {
			*id = made;
			return false;
		}
	}
	return false;
}

static bool
is_listed(const json_t *container, bool podman)
{
	const json_t *devices = json_at(container, "HostConfig.Devices"), *device;
	const char *runtime = json_string_at(container, "HostConfig.Runtime");
	size_t i;

	json_array_foreach(devices, i, device) {
		const char *path = json_string_at(device, "PathOnHost");

		if (path && strstr(path, "nvidia"))
			return true;
	}
	/* Docker refuses what it cannot do; Podman's answer to a request says nothing. */
	return !podman && (json_array_size(json_at(container, "HostConfig.DeviceRequests")) > 0 || (runtime && strcmp(runtime, "nvidia") == 0));
}

/* In the container's own /dev, as far as this user may look. */
static bool
has_node(int64_t pid)
{
	struct arena arena finally(arena_finish) = { 0 };
	DIR *dir finally(close_dir) = opendir(arena_printf(&arena, "/proc/%lld/root/dev", (long long)pid));
	const struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		if (strncmp(entry->d_name, "nvidia", 6) == 0 && entry->d_name[6] >= '0' && entry->d_name[6] <= '9')
			return true;
	return false;
}

bool
docker_check_gpus(struct docker *docker, const char *id, struct error *err)
{
	json_t *container finally(json_release) = NULL;
	bool missing = false;
	int64_t pid = 0;

	if (!docker_container(docker, id, &container, &missing, err))
		return false;
	/* What has ended already is told by how it ended. */
	if (missing || !json_is_true(json_at(container, "State.Running")) || !json_int_at(container, "State.Pid", &pid))
		return true;
	if (is_listed(container, docker->podman) || has_node(pid))
		return true;
	fail(err, FAULT_ENGINE_GPUS, "the engine started it without the GPUs that were asked for, and said nothing (engine at unix://%s, %s)", docker->socket,
		docker->origin);
	return error_hint(err, docker->podman ? "ask the administrator: sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml, and see `podman info`"
					      : "ask the administrator to install nvidia-container-toolkit and to restart the engine");
}
