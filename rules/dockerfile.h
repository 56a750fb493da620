/* dockerfile.h - what a Dockerfile says about its bases. Text alone; the builder is the judge of everything else. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/error.h"
#include "engine/base/strings.h"

struct arena;

struct dockerfile {
	struct strings bases;  /* images of FROM and COPY --from, each once, in order; no stages, no `scratch`, none whose name the text does not settle */
	size_t steps;          /* instructions, as the classic builder counts them */
	bool wants_buildkit;   /* `RUN --mount`, heredocs: the classic builder refuses them */
};

/* Read as far as stage `target` (NULL: to the end). `args` are the build arguments, which win over the defaults of ARG. E0103 if there is no such stage, or no
 * FROM at all. */
bool dockerfile_read(const char *text, size_t size, const struct pairs *args, const char *target, struct arena *arena, struct dockerfile *file,
	struct error *err);
