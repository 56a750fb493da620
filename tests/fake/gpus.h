/* gpus.h - a machine with the GPUs that a test wants, through the stand-in of the driver's library. */
#pragma once

#include <stdio.h>
#include <stdlib.h>

#include "tests/engine/base/scratch.h"

/* Make gpu.c open the stand-in `library`, which answers as `json` says; NULL: a machine without a driver. */
static inline void
fake_gpus(struct scratch *scratch, const char *library, const char *json)
{
	const char *path = scratch_path(scratch, "nvml.json");
	FILE *file = fopen(path, "w");

	setenv("PROVISION_NVML", json ? library : scratch_path(scratch, "no-such-library.so.1"), 1);
	setenv("PROVISION_FAKE_NVML", scratch_path(scratch, "nvml.json"), 1);
	if (!file || fputs(json ? json : "{}", file) < 0 || fclose(file) != 0)
		abort();
}
