/* gpu.h - devices, memory, links, who uses them: the only NVML, opened at run time.
 *
 * A machine without a driver is a fact (E0501), not a crash. PROVISION_NVML names another library, for tests. docker-and-gpu.md section 2. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"

struct arena;

struct gpu_process {
	unsigned pid;
	uint64_t memory;     /* bytes; UINT64_MAX: not available */
	const char *name;    /* or "" */
	const char *user;    /* or "" */
};

struct gpu {
	unsigned index;
	const char *uuid;
	const char *name;
	const char *pci;
	uint64_t total, used, free, reserved; /* bytes */
	int major, minor;    /* compute capability; 0: unknown */
	const char *broken;  /* why it cannot be used ("fell off the bus"), or NULL */
	struct gpu_process *processes;
	size_t process_count;
};

struct gpus {
	const char *driver;  /* "575.57.08" */
	const char *cuda;    /* "12.9" */
	struct gpu *items;
	size_t count;
	signed char *p2p;    /* count x count: 1 yes, 0 no, -1 unknown */
	signed char *nvlink; /* likewise */
};

/* One look at all devices. E0501 with cause and remedy if there is no driver. */
bool gpus_read(struct gpus *gpus, struct arena *arena, struct error *err);

/* Whether nobody uses it: used - reserved below 300 MiB and no process. */
bool gpu_is_free(const struct gpu *gpu);
const struct gpu *gpus_find(const struct gpus *gpus, const char *index_or_uuid);
