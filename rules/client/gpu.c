#include "gpu.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/file.h"
#include "engine/base/units.h"
#include "nvml.h"

#define FREE_BELOW ((uint64_t)300 << 20)
#define MOST_DEVICES 1024
#define MOST_PROCESSES 4096
#define SENTINEL 0xAA

#define MEMORY_V2 (40u | 2u << 24)
/* Both layouts of a process record agree in the first bytes: pid at 0, memory at 8. */
#define SHORT_RECORD 24u
#define LONG_RECORD 32u

static const struct {
	int code;
	const char *text;
} device_failures[] = {
	{ 4, "no permission to use it" },
	{ 15, "fell off the bus" },
	{ 16, "needs a reset" },
	{ 17, "blocked by the operating system" },
};

static const char *
broken_text(const struct nvml *nvml, int code, struct arena *arena)
{
	const char *words = nvml->error_string ? nvml->error_string(code) : NULL;

	for (size_t i = 0; i < sizeof device_failures / sizeof *device_failures; i++)
		if (device_failures[i].code == code)
			return device_failures[i].text;
	return arena_printf(arena, "%s (NVML code %d)", words ? words : "unknown error", code);
}

static const char *
text_of(int (*get)(void *, char *, unsigned), void *device, struct arena *arena)
{
	char text[96] = "";

	if (!get || get(device, text, sizeof text) != NVML_OK)
		return "";
	text[sizeof text - 1] = '\0';
	return arena_copy(arena, text);
}

static int
read_memory(const struct nvml *nvml, void *device, struct gpu *gpu)
{
	struct nvml_memory_v2 split = { .version = MEMORY_V2 };
	struct nvml_memory plain = { 0 };
	int code;

	if (nvml->memory_v2 && nvml->memory_v2(device, &split) == NVML_OK) {
		gpu->total = split.total;
		gpu->used = split.used + split.reserved;
		gpu->free = split.free;
		gpu->reserved = split.reserved;
		return NVML_OK;
	}
	if (!nvml->memory)
		return NVML_FUNCTION_NOT_FOUND;
	code = nvml->memory(device, &plain);
	if (code == NVML_OK) {
		gpu->total = plain.total;
		gpu->used = plain.used;
		gpu->free = plain.free;
	}
	return code;
}

static const char *
process_name(unsigned pid, struct arena *arena)
{
	char path[32];
	struct error ignored = { 0 };
	const char *text;
	size_t size;

	snprintf(path, sizeof path, "/proc/%u/comm", pid);
	if (!pid || !file_load(path, 256, arena, &text, &size, &ignored))
		return "";
	return arena_copy_bytes(arena, text, strcspn(text, "\n"));
}

static const char *
process_user(unsigned pid, struct arena *arena)
{
	char path[32], room[4096];
	struct passwd entry, *found = NULL;
	struct stat st;

	snprintf(path, sizeof path, "/proc/%u", pid);
	if (!pid || stat(path, &st) != 0)
		return "";
	if (getpwuid_r(st.st_uid, &entry, room, sizeof room, &found) == 0 && found)
		return arena_copy(arena, found->pw_name);
	return arena_printf(arena, "uid %u", (unsigned)st.st_uid);
}

static void
add_process(struct gpu *gpu, const char *record, size_t *capacity, struct arena *arena)
{
	unsigned pid;
	uint64_t memory;

	memcpy(&pid, record, sizeof pid);
	memcpy(&memory, record + 8, sizeof memory);
	for (size_t i = 0; i < gpu->process_count; i++)
		if (gpu->processes[i].pid == pid && pid)
			return;
	if (gpu->process_count == *capacity)
		gpu->processes = arena_grow(arena, gpu->processes, gpu->process_count, capacity, sizeof *gpu->processes);
	gpu->processes[gpu->process_count++] = (struct gpu_process){
		.pid = pid,
		.memory = memory,
		.name = process_name(pid, arena),
		.user = process_user(pid, arena),
	};
}

/* Drivers of one branch fill records of 24 or of 32 bytes under the same name: what they overwrote tells which. 0: neither. */
static size_t
stride_of(const char *records, size_t size, unsigned count)
{
	while (size > 0 && (unsigned char)records[size - 1] == SENTINEL)
		size--;
	if (count == 1)
		return size <= LONG_RECORD ? SHORT_RECORD : 0;
	/* The last bytes of a record may hold the sentinel's value themselves. */
	if (size > (size_t)count * SHORT_RECORD)
		return size <= (size_t)count * LONG_RECORD && size > (size_t)(count - 1) * LONG_RECORD ? LONG_RECORD : 0;
	return size > (size_t)(count - 1) * SHORT_RECORD ? SHORT_RECORD : 0;
}

static void
read_processes(
	int (*get)(void *, unsigned *, void *), void *device, struct gpu *gpu, size_t *capacity, struct arena *arena)
{
	unsigned room = 64, count;
	char *records finally(free_text) = NULL;
	size_t stride;
	int code;

	if (!get)
		return;
	do {
		records = xrealloc(records, (size_t)room * LONG_RECORD);
		memset(records, SENTINEL, (size_t)room * LONG_RECORD);
		count = room;
		code = get(device, &count, records);
		room *= 2;
	} while (code == NVML_INSUFFICIENT_SIZE && room <= MOST_PROCESSES);
	if (code != NVML_OK || !count || count > room / 2)
		return;
	stride = stride_of(records, (size_t)(room / 2) * LONG_RECORD, count);
	for (unsigned i = 0; stride && i < count; i++)
		add_process(gpu, records + i * stride, capacity, arena);
}

static void
read_device(const struct nvml *nvml, unsigned index, void **device, struct gpu *gpu, struct arena *arena)
{
	struct nvml_pci pci = { 0 };
	size_t capacity = 0;
	int code = nvml->handle(index, device);

	*gpu = (struct gpu){ .index = index, .uuid = "", .name = "", .pci = "" };
	if (code != NVML_OK) {
		gpu->broken = broken_text(nvml, code, arena);
		*device = NULL;
		return;
	}
	gpu->uuid = text_of(nvml->uuid, *device, arena);
	gpu->name = text_of(nvml->name, *device, arena);
	if (nvml->pci && nvml->pci(*device, &pci) == NVML_OK)
		gpu->pci = arena_printf(arena, "%.31s", pci.bus_id);
	if (!nvml->capability || nvml->capability(*device, &gpu->major, &gpu->minor) != NVML_OK)
		gpu->major = gpu->minor = 0;
	code = read_memory(nvml, *device, gpu);
	if (code != NVML_OK && code != NVML_NOT_SUPPORTED && code != NVML_FUNCTION_NOT_FOUND) {
		gpu->broken = broken_text(nvml, code, arena);
		return;
	}
	read_processes(nvml->compute, *device, gpu, &capacity, arena);
	read_processes(nvml->graphics, *device, gpu, &capacity, arena);
}

static signed char
link_of(const struct nvml *nvml, void *a, void *b, int capability)
{
	int status;

	if (!nvml->p2p || !a || !b || nvml->p2p(a, b, capability, &status) != NVML_OK)
		return -1;
	return status == 0;
}

static void
read_links(const struct nvml *nvml, void *const *devices, struct gpus *gpus, struct arena *arena)
{
	size_t count = gpus->count;

	gpus->p2p = arena_alloc(arena, count * count + 1);
	gpus->nvlink = arena_alloc(arena, count * count + 1);
	for (size_t a = 0; a < count; a++)
		for (size_t b = 0; b < count; b++) {
			/* NVML refuses a device beside itself. */
			gpus->p2p[a * count + b] = a == b ? 1 : link_of(nvml, devices[a], devices[b], P2P_READ);
			gpus->nvlink[a * count + b] = a == b ? 1 : link_of(nvml, devices[a], devices[b], P2P_NVLINK);
		}
}

/* The newer call asks libcuda, which may be missing where the driver is not. */
static const char *
cuda_version(const struct nvml *nvml, struct arena *arena)
{
	int version = 0, code = nvml->cuda_version ? nvml->cuda_version(&version) : NVML_FUNCTION_NOT_FOUND;

	if ((code == NVML_LIBRARY_NOT_FOUND || code == NVML_FUNCTION_NOT_FOUND) && nvml->cuda_version_old)
		code = nvml->cuda_version_old(&version);
	if (code != NVML_OK || version <= 0)
		return "";
	return arena_printf(arena, "%d.%d", version / 1000, version % 1000 / 10);
}

bool
gpus_read(struct gpus *gpus, struct arena *arena, struct error *err)
{
	struct nvml nvml finally(nvml_close) = { 0 };
	struct gpus made = { .driver = "" };
	char driver[80] = "";
	unsigned count = 0;
	void **devices;
	int code;

	if (!nvml_open(&nvml, arena, err))
		return false;
	code = nvml.count(&count);
	if (code != NVML_OK)
		return nvml_failed(&nvml, code, arena, err);
	if (count > MOST_DEVICES)
		return fail(err, FAULT_NO_DRIVER, "NVML speaks of %u GPUs", count);
	if (nvml.driver_version && nvml.driver_version(driver, sizeof driver - 1) == NVML_OK)
		made.driver = arena_copy(arena, driver);
	made.cuda = cuda_version(&nvml, arena);
	made.count = count;
	made.items = arena_array(arena, (size_t)count + 1, sizeof *made.items);
	devices = arena_array(arena, (size_t)count + 1, sizeof *devices);
	for (unsigned i = 0; i < count; i++)
		read_device(&nvml, i, &devices[i], &made.items[i], arena);
	read_links(&nvml, devices, &made, arena);
	*gpus = made;
	return true;
}

bool
gpu_is_free(const struct gpu *gpu)
{
	uint64_t taken = gpu->used > gpu->reserved ? gpu->used - gpu->reserved : 0;

	return !gpu->broken && gpu->process_count == 0 && taken < FREE_BELOW;
}

const struct gpu *
gpus_find(const struct gpus *gpus, const char *name)
{
	int64_t index;
	bool by_index = *name >= '0' && *name <= '9' && units_int(name, &index);

	for (size_t i = 0; i < gpus->count; i++)
		if (by_index ? (int64_t)gpus->items[i].index == index : *name && strcmp(gpus->items[i].uuid, name) == 0)
			return &gpus->items[i];
	return NULL;
}
