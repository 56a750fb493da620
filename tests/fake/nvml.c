/* A stand-in for the driver's library: exports what gpu.c looks up, and answers as the JSON file named in PROVISION_FAKE_NVML says.
 *
 *   {"init": 0, "driver": "575.57.08", "cuda": 12090, "cuda_code": 0, "stride": 24, "missing": ["nvmlDeviceGetP2PStatus"],
 *    "gpus": [{"name": "...", "uuid": "GPU-...", "total_mib": 24576, "used_mib": 0, "reserved_mib": 318, "code": 0, "capability": [8, 6],
 *              "processes": [{"pid": 1, "mib": 100}], "graphics": []}],
 *    "p2p": [[0, 1], [1, 0]], "nvlink": [[5, 0], [0, 5]]}
 *
 * Answers of a real driver, as tests/gpu/run --record keeps them, have of each GPU: "pci", "memory": {"total", "reserved", "free", "used"} and "plain":
 * [total, free, used] in bytes, and "processes_raw" and "graphics_raw": {"count": 2, "bytes": "1f0c..."}, the records as the driver wrote them.
 *
 * Everything has a default. `code` of a GPU is what asking for its handle returns; `missing` names calls that answer "function not found"; with FAKE_NVML_OLD
 * the newer symbols are not there at all. */
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
#define MIB ((uint64_t)1 << 20)
#define MOST 16

enum { OK = 0, UNINITIALIZED = 1, INVALID = 2, INSUFFICIENT_SIZE = 7, NOT_FOUND = 13, BAD_VERSION = 25, UNKNOWN = 999 };

/* One process uses one library, and the library has no other place to keep what it read. */
static json_t *config;
static char handles[MOST];

int nvmlInit_v2(void);
int nvmlShutdown(void);
const char *nvmlErrorString(int code);
int nvmlSystemGetDriverVersion(char *text, unsigned size);
int nvmlSystemGetCudaDriverVersion(int *version);
int nvmlSystemGetCudaDriverVersion_v2(int *version);
int nvmlDeviceGetCount_v2(unsigned *count);
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device);
int nvmlDeviceGetName(void *device, char *text, unsigned size);
int nvmlDeviceGetUUID(void *device, char *text, unsigned size);
int nvmlDeviceGetPciInfo_v3(void *device, void *pci);
int nvmlDeviceGetMemoryInfo(void *device, void *memory);
int nvmlDeviceGetMemoryInfo_v2(void *device, void *memory);
int nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor);
int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *count, void *records);
int nvmlDeviceGetGraphicsRunningProcesses_v3(void *device, unsigned *count, void *records);
int nvmlDeviceGetP2PStatus(void *a, void *b, int capability, int *status);

static json_int_t
number(const json_t *object, const char *key, json_int_t otherwise)
{
	const json_t *value = json_object_get(object, key);

	return json_is_integer(value) ? json_integer_value(value) : otherwise;
}

static int
is_missing(const char *symbol)
{
	const json_t *missing = json_object_get(config, "missing"), *item;
	size_t i;

	json_array_foreach (missing, i, item)
		if (strcmp(json_string_value(item), symbol) == 0)
			return 1;
	return 0;
}

static const json_t *
gpu_of(const void *device)
{
	return json_array_get(json_object_get(config, "gpus"), (size_t)((const char *)device - handles));
}

static int
copy(char *text, unsigned size, const char *value)
{
	if (strlen(value) >= size)
		return INSUFFICIENT_SIZE;
	memcpy(text, value, strlen(value) + 1);
	return OK;
}

EXPORT int
nvmlInit_v2(void)
{
	const char *path = getenv("PROVISION_FAKE_NVML");
	json_error_t error;
	int code;

	json_decref(config);
	config = path ? json_load_file(path, 0, &error) : NULL;
	code = config ? (int)number(config, "init", OK) : UNKNOWN;
	/* Nobody shuts down what did not start. */
	if (code != OK)
		nvmlShutdown();
	return code;
}

EXPORT int
nvmlShutdown(void)
{
	json_decref(config);
	config = NULL;
	return OK;
}

EXPORT const char *
nvmlErrorString(int code)
{
	return code == UNKNOWN ? "Unknown Error" : "some error";
}

EXPORT int
nvmlSystemGetDriverVersion(char *text, unsigned size)
{
	const char *driver = json_string_value(json_object_get(config, "driver"));

	return copy(text, size, driver ? driver : "575.57.08");
}

EXPORT int
nvmlSystemGetCudaDriverVersion(int *version)
{
	*version = (int)number(config, "cuda", 12090);
	return OK;
}

EXPORT int
nvmlSystemGetCudaDriverVersion_v2(int *version)
{
	int code = (int)number(config, "cuda_code", OK);

	if (code != OK)
		return code;
	return nvmlSystemGetCudaDriverVersion(version);
}

EXPORT int
nvmlDeviceGetCount_v2(unsigned *count)
{
	if (!config)
		return UNINITIALIZED;
	*count = (unsigned)json_array_size(json_object_get(config, "gpus"));
	return OK;
}

EXPORT int
nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device)
{
	const json_t *gpu = json_array_get(json_object_get(config, "gpus"), index);

	if (!gpu || index >= MOST)
		return INVALID;
	*device = &handles[index];
	return (int)number(gpu, "code", OK);
}

EXPORT int
nvmlDeviceGetName(void *device, char *text, unsigned size)
{
	const char *name = json_string_value(json_object_get(gpu_of(device), "name"));

	return copy(text, size, name ? name : "NVIDIA GeForce RTX 3090");
}

EXPORT int
nvmlDeviceGetUUID(void *device, char *text, unsigned size)
{
	const char *uuid = json_string_value(json_object_get(gpu_of(device), "uuid"));
	char made[48];

	snprintf(made, sizeof made, "GPU-00000000-0000-0000-0000-%012d", (int)((char *)device - handles));
	return copy(text, size, uuid ? uuid : made);
}

EXPORT int
nvmlDeviceGetPciInfo_v3(void *device, void *pci)
{
	const char *kept = json_string_value(json_object_get(gpu_of(device), "pci"));

	if (kept)
		return copy((char *)pci + 36, 32, kept);
	snprintf((char *)pci + 36, 32, "00000000:%02X:00.0", (unsigned)((char *)device - handles) + 1);
	return OK;
}

static uint64_t
bytes_of(const void *device, const char *key, json_int_t otherwise)
{
	return (uint64_t)number(gpu_of(device), key, otherwise) * MIB;
}

EXPORT int
nvmlDeviceGetMemoryInfo(void *device, void *memory)
{
	uint64_t total = bytes_of(device, "total_mib", 24576);
	uint64_t used = bytes_of(device, "used_mib", 0) + bytes_of(device, "reserved_mib", 318);
	uint64_t answer[3] = { total, total - used, used };
	const json_t *kept = json_object_get(gpu_of(device), "plain");

	if (is_missing("nvmlDeviceGetMemoryInfo"))
		return NOT_FOUND;
	for (size_t i = 0; kept && i < 3; i++)
		answer[i] = (uint64_t)json_integer_value(json_array_get(kept, i));
	memcpy(memory, answer, sizeof answer);
	return OK;
}

#ifndef FAKE_NVML_OLD

static int
kept_records(const json_t *kept, unsigned *count, unsigned char *records)
{
	const char *digits = json_string_value(json_object_get(kept, "bytes"));
	unsigned room = *count, byte;

	*count = (unsigned)number(kept, "count", 0);
	if (*count > room)
		return INSUFFICIENT_SIZE;
	for (size_t i = 0; digits && sscanf(digits + 2 * i, "%2x", &byte) == 1; i++)
		records[i] = (unsigned char)byte;
	return OK;
}

static int
processes(const void *device, const char *key, const char *raw_key, unsigned *count, void *records)
{
	const json_t *raw = json_object_get(gpu_of(device), raw_key);
	const json_t *list = json_object_get(gpu_of(device), key), *process;
	size_t stride = (size_t)number(config, "stride", 24), i;
	unsigned room = *count;

	if (raw)
		return kept_records(raw, count, records);
	*count = (unsigned)json_array_size(list);
	if (*count > room)
		return INSUFFICIENT_SIZE;
	json_array_foreach (list, i, process) {
		unsigned char *record = (unsigned char *)records + i * stride;
		unsigned pid = (unsigned)number(process, "pid", 0);
		uint64_t memory = json_object_get(process, "mib") ? (uint64_t)number(process, "mib", 0) * MIB : UINT64_MAX;

		memset(record, 0, stride);
		memset(record + 16, 0xFF, 8);
		memcpy(record, &pid, sizeof pid);
		memcpy(record + 8, &memory, sizeof memory);
	}
	return OK;
}

EXPORT int
nvmlDeviceGetMemoryInfo_v2(void *device, void *memory)
{
	uint64_t total = bytes_of(device, "total_mib", 24576), used = bytes_of(device, "used_mib", 0);
	uint64_t reserved = bytes_of(device, "reserved_mib", 318);
	uint64_t answer[4] = { total, reserved, total - used - reserved, used };
	static const char *const fields[] = { "total", "reserved", "free", "used" };
	const json_t *kept = json_object_get(gpu_of(device), "memory");
	unsigned version;

	memcpy(&version, memory, sizeof version);
	if (version != (40u | 2u << 24))
		return BAD_VERSION;
	if (is_missing("nvmlDeviceGetMemoryInfo_v2"))
		return NOT_FOUND;
	for (size_t i = 0; kept && i < 4; i++)
		answer[i] = (uint64_t)number(kept, fields[i], 0);
	memcpy((char *)memory + 8, answer, sizeof answer);
	return OK;
}

EXPORT int
nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor)
{
	const json_t *capability = json_object_get(gpu_of(device), "capability");

	*major = capability ? (int)json_integer_value(json_array_get(capability, 0)) : 8;
	*minor = capability ? (int)json_integer_value(json_array_get(capability, 1)) : 6;
	return OK;
}

EXPORT int
nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *count, void *records)
{
	return processes(device, "processes", "processes_raw", count, records);
}

EXPORT int
nvmlDeviceGetGraphicsRunningProcesses_v3(void *device, unsigned *count, void *records)
{
	return processes(device, "graphics", "graphics_raw", count, records);
}

EXPORT int
nvmlDeviceGetP2PStatus(void *a, void *b, int capability, int *status)
{
	const json_t *matrix = json_object_get(config, capability == 2 ? "nvlink" : "p2p");
	const json_t *cell =
		json_array_get(json_array_get(matrix, (size_t)((char *)a - handles)), (size_t)((char *)b - handles));

	if (a == b)
		return INVALID;
	if (is_missing("nvmlDeviceGetP2PStatus"))
		return NOT_FOUND;
	*status = cell ? (int)json_integer_value(cell) : 5;
	return OK;
}

#endif
