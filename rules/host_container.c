#include "host.h"

#include <dirent.h>
#include <string.h>

#include "client/docker.h"
#include "client/process.h"
#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/finding.h"
#include "engine/base/json.h"
#include "engine/base/version.h"
#include "engine/task.h"

/* A device specification of NVIDIA's, as its toolkit writes it. */
static bool
has_specification(const char *path)
{
	DIR *dir finally(close_dir) = opendir(path);
	const struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		if (strstr(entry->d_name, "nvidia") && (text_ends(entry->d_name, ".yaml") || text_ends(entry->d_name, ".json")))
			return true;
	return false;
}

static bool
has_device(const json_t *info)
{
	const json_t *devices = json_at(info, "DiscoveredDevices"), *device;
	size_t i;

	json_array_foreach (devices, i, device) {
		const char *id = json_string_at(device, "ID");

		if (id && text_starts(id, "nvidia.com/gpu="))
			return true;
	}
	return false;
}

/* In the order of proof: a runtime, devices that the engine has found, specifications that it would read, the hook. Only a container is the last proof. */
static bool
hands_out_gpus(const struct docker *docker, const json_t *info, struct arena *arena)
{
	static const char *const usual[] = { "/etc/cdi", "/var/run/cdi" };
	static const char *const hooks[] = { "nvidia-container-runtime-hook", "nvidia-cdi-hook" };
	const json_t *dirs = json_at(info, "CDISpecDirs"), *dir;
	size_t i;

	if (json_at(info, "Runtimes.nvidia") || has_device(info))
		return true;
	json_array_foreach (dirs, i, dir)
		if (json_is_string(dir) && has_specification(json_string_value(dir)))
			return true;
	if (docker->podman)
		return has_specification(usual[0]) || has_specification(usual[1]);
	return process_find(hooks[0], NULL, arena) || process_find(hooks[1], NULL, arena);
}

static void
refuse_gpus(const struct docker *docker, const struct host_facts *facts, struct task *task)
{
	struct findings *findings = task_findings(task);
	struct finding *finding =
		findings_add(findings, FAULT_ENGINE_GPUS, task_place(task, "container"), "containers cannot see the GPUs");

	if (facts->gpus_known)
		finding_note(findings, finding, "host driver: ok, %zu GPUs; %s: ok; nvidia runtime: not registered",
			facts->gpus.count, facts->engine);
	else
		finding_note(
			findings, finding, "host driver: not there; %s: ok; nvidia runtime: not registered", facts->engine);
	if (docker->podman)
		finding_help(findings, finding,
			"install nvidia-container-toolkit, then: sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml");
	else
		finding_help(findings, finding,
			"install nvidia-container-toolkit, then: sudo nvidia-ctk runtime configure --runtime=docker");
	finding_help(findings, finding, "no sudo? give the administrator the text of: provision explain E0512");
}

void
host_check_container(const struct host *host, struct task *task, struct host_facts *facts)
{
	struct docker docker finally(docker_finish) = { 0 };
	json_t *info finally(json_release) = NULL;
	struct findings *findings = task_findings(task);
	struct arena *arena = task_arena(task);
	const struct host_container *want = host->container;
	struct finding *finding;
	struct error err = { 0 };

	if (!want)
		return;
	if (!docker_init(&docker, host_engines[want->engine], task_cancel(task), arena, &err) ||
		(want->nvidia && !docker_info(&docker, &info, &err))) {
		err.at = task_place(task, "container");
		findings_add_error(findings, &err);
		return;
	}
	facts->engine = arena_printf(arena, "%s %s", docker.podman ? "Podman" : "Docker", docker.version);
	if (want->version && !version_meets(docker.version, want->version)) {
		finding = findings_add(findings, FAULT_ENGINE_VERSION, task_place(task, "container"),
			"%s answers, asked for is %s", facts->engine, want->version);
		finding_note(findings, finding, "its socket is %s (%s)", docker.socket, docker.origin);
		finding_help(findings, finding, "ask the administrator for a newer one");
	}
	if (want->nvidia && !hands_out_gpus(&docker, info, arena))
		refuse_gpus(&docker, facts, task);
}
