/* nvml.h - the driver's library, opened at run time: its calls under short names, its layouts, why it does not start. For gpu.c alone. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"

struct arena;

/* Codes of NVML that mean something of their own here. */
enum {
	NVML_OK = 0,
	NVML_NOT_SUPPORTED = 3,
	NVML_INSUFFICIENT_SIZE = 7,
	NVML_LIBRARY_NOT_FOUND = 12,
	NVML_FUNCTION_NOT_FOUND = 13,
};

enum { P2P_READ = 0, P2P_NVLINK = 2 };

/* Layouts of nvml.h, which is not needed to build. */
struct nvml_memory {
	uint64_t total, free, used;
};

struct nvml_memory_v2 {
	unsigned version;
	uint64_t total, reserved, free, used;
};

struct nvml_pci {
	char legacy[16];
	unsigned domain, bus, device, id, subsystem;
	char bus_id[32];
};

_Static_assert(sizeof(struct nvml_memory) == 24, "nvmlMemory_t");
_Static_assert(sizeof(struct nvml_memory_v2) == 40 && offsetof(struct nvml_memory_v2, total) == 8, "nvmlMemory_v2_t");
_Static_assert(sizeof(struct nvml_pci) == 68 && offsetof(struct nvml_pci, bus_id) == 36, "nvmlPciInfo_t");

/* Calls that the library lacks are NULL, but for init, shutdown, count and handle. */
struct nvml {
	void *library;
	bool started;
	int (*init)(void);
	int (*shutdown)(void);
	const char *(*error_string)(int code);
	int (*driver_version)(char *text, unsigned size);
	int (*cuda_version)(int *version);
	int (*cuda_version_old)(int *version);
	int (*count)(unsigned *count);
	int (*handle)(unsigned index, void **device);
	int (*name)(void *device, char *text, unsigned size);
	int (*uuid)(void *device, char *text, unsigned size);
	int (*pci)(void *device, struct nvml_pci *pci);
	int (*memory)(void *device, struct nvml_memory *memory);
	int (*memory_v2)(void *device, struct nvml_memory_v2 *memory);
	int (*capability)(void *device, int *major, int *minor);
	int (*compute)(void *device, unsigned *count, void *records);
	int (*graphics)(void *device, unsigned *count, void *records);
	int (*p2p)(void *a, void *b, int capability, int *status);
};

/* Load and start it. E0501 with cause and remedy. */
bool nvml_open(struct nvml *nvml, struct arena *arena, struct error *err);
void nvml_close(struct nvml *nvml);

/* A code of the start, or of a call that concerns all devices, as E0501. */
bool nvml_failed(const struct nvml *nvml, int code, struct arena *arena, struct error *err);
