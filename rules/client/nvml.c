#include "nvml.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/file.h"

/* A symbol that an old driver lacks leaves its fact unknown; without the required ones nothing can be said. */
static const struct {
	const char *name;
	size_t offset;
	bool required;
} symbols[] = {
	{ "nvmlInit_v2", offsetof(struct nvml, init), true },
	{ "nvmlShutdown", offsetof(struct nvml, shutdown), true },
	{ "nvmlErrorString", offsetof(struct nvml, error_string), false },
	{ "nvmlSystemGetDriverVersion", offsetof(struct nvml, driver_version), false },
	{ "nvmlSystemGetCudaDriverVersion_v2", offsetof(struct nvml, cuda_version), false },
	{ "nvmlSystemGetCudaDriverVersion", offsetof(struct nvml, cuda_version_old), false },
	{ "nvmlDeviceGetCount_v2", offsetof(struct nvml, count), true },
	{ "nvmlDeviceGetHandleByIndex_v2", offsetof(struct nvml, handle), true },
	{ "nvmlDeviceGetName", offsetof(struct nvml, name), false },
	{ "nvmlDeviceGetUUID", offsetof(struct nvml, uuid), false },
	{ "nvmlDeviceGetPciInfo_v3", offsetof(struct nvml, pci), false },
	{ "nvmlDeviceGetMemoryInfo", offsetof(struct nvml, memory), false },
	{ "nvmlDeviceGetMemoryInfo_v2", offsetof(struct nvml, memory_v2), false },
	{ "nvmlDeviceGetCudaComputeCapability", offsetof(struct nvml, capability), false },
	{ "nvmlDeviceGetComputeRunningProcesses_v3", offsetof(struct nvml, compute), false },
	{ "nvmlDeviceGetGraphicsRunningProcesses_v3", offsetof(struct nvml, graphics), false },
	{ "nvmlDeviceGetP2PStatus", offsetof(struct nvml, p2p), false },
};

static const char *const places[] = { "libnvidia-ml.so.1", "/usr/lib/wsl/lib/libnvidia-ml.so.1" };

static const struct {
	int code;
	const char *text;
	const char *hint;
} start_failures[] = {
	{ 4, "NVML may not be used: no permission", "make /dev/nvidiactl and /dev/nvidia* readable for this user (groups `video` or `render`)" },
	{ 9, "the NVIDIA driver is not loaded", "ask the administrator for: sudo modprobe nvidia (after a kernel update the driver must be built anew)" },
	{ 12, "NVML lacks a library of its driver", "reinstall the driver's user space" },
	{ 15, "the GPUs are lost", "see the kernel's log for Xid errors; a reboot is needed" },
	{ 17, "NVML is blocked by the operating system", "look at the cgroup or container that this runs in" },
	{ 18, "the NVIDIA kernel module and the driver's library are of different versions",
		"the driver was updated under a running kernel module: reboot, or unload and load the module" },
};

void
nvml_close(struct nvml *nvml)
{
	if (nvml->started)
		nvml->shutdown();
	if (nvml->library)
		dlclose(nvml->library);
	*nvml = (struct nvml){ 0 };
}

static void *
open_library(const char **name)
{
	const char *chosen = getenv("PROVISION_NVML");
	void *library = NULL;

	if (chosen && *chosen) {
		*name = chosen;
		return dlopen(chosen, RTLD_NOW | RTLD_LOCAL);
	}
	for (size_t i = 0; i < sizeof places / sizeof *places && !library; i++) {
		*name = places[i];
		library = dlopen(places[i], RTLD_NOW | RTLD_LOCAL);
	}
	if (!library)
		*name = places[0];
	return library;
}

/* The kernel module's version explains why the library refuses it. */
static const char *
module_version(struct arena *arena)
{
	struct error ignored = { 0 };
	const char *text, *end;
	size_t size;

	if (!file_load("/proc/driver/nvidia/version", 4096, arena, &text, &size, &ignored))
		return NULL;
	text = strstr(text, "Module  ");
	if (!text)
		return NULL;
	text += strlen("Module  ");
	end = text + strcspn(text, " \n");
	return arena_copy_bytes(arena, text, (size_t)(end - text));
}

bool
nvml_failed(const struct nvml *nvml, int code, struct arena *arena, struct error *err)
{
	const char *module = module_version(arena), *words = nvml->error_string ? nvml->error_string(code) : NULL;

	for (size_t i = 0; i < sizeof start_failures / sizeof *start_failures; i++) {
		if (start_failures[i].code != code)
			continue;
		fail(err, FAULT_NO_DRIVER, "%s (NVML code %d%s%s)", start_failures[i].text, code,
			module ? "; kernel module " : "", module ? module : "");
		return error_hint(err, "%s", start_failures[i].hint);
	}
	fail(err, FAULT_NO_DRIVER, "NVML does not start: %s (code %d)", words ? words : "unknown error", code);
	return error_hint(err, "see what `nvidia-smi` says");
}

bool
nvml_open(struct nvml *nvml, struct arena *arena, struct error *err)
{
	const char *name;
	int code;

	nvml->library = open_library(&name);
	if (!nvml->library) {
		fail(err, FAULT_NO_DRIVER, "no NVIDIA driver: `%s` is not there", name);
		return error_hint(err, "ask the administrator for the NVIDIA driver, and see that `nvidia-smi` works");
	}
	for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
		void *symbol = dlsym(nvml->library, symbols[i].name);

		if (!symbol && symbols[i].required) {
			fail(err, FAULT_NO_DRIVER, "`%s` lacks %s: the driver is too old", name, symbols[i].name);
			return error_hint(err, "install a current NVIDIA driver");
		}
		memcpy((char *)nvml + symbols[i].offset, &symbol, sizeof symbol);
	}
	code = nvml->init();
	if (code != NVML_OK)
		return nvml_failed(nvml, code, arena, err);
	nvml->started = true;
	return true;
}
