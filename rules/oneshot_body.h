/* oneshot_body.h - what the engine is asked to create a container of oneshot.h from. */
#pragma once

#include <jansson.h>

#include "oneshot.h"

/* One container on its way. */
struct shot {
	struct docker *docker;
	struct task *task;
	const struct oneshot *spec;
	const char *name;
	const char *directory;    /* on the host, of `file`; or NULL */
	bool rootless;
	int64_t deadline;         /* monotonic ms; 0: none */
};

/* The caller owns the body. GPUs are not asked for in it: docker_launch knows how. */
bool oneshot_body(const struct shot *shot, json_t **body, struct error *err);
