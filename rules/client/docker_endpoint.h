/* docker_endpoint.h - where an engine may listen, by the command line's own order (docker-and-gpu.md 1.1), and what its config.json says. Asks no engine. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/error.h"

struct arena;

struct docker_endpoint {
	const char *socket;
	const char *origin; /* "DOCKER_HOST", "context `x` of DOCKER_CONTEXT", "the default" ... */
};

/* Candidates, the preferred first. One alone if a setting names it: then no other may be used in its place. E0511 for a setting that leads to no unix socket. */
bool docker_endpoints(const char *engine, struct arena *arena, struct docker_endpoint **endpoints, size_t *count, struct error *err);
