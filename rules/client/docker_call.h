/* docker_call.h - one request to the engine and what its refusal means; for docker's own files alone. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "docker.h"

struct docker_call {
	const char *method;     /* NULL: GET */
	const char *path;       /* behind the version: "/images/x/json" */
	const json_t *body;     /* or NULL */
	int64_t timeout_ms;     /* 0: none, for streams */
	bool patient;           /* what is waited for is a container, not the engine: no cap on the time limit */
	unsigned silence;       /* as in http_request, for streams without a time limit */
	bool (*on_body)(void *context, const char *bytes, size_t size); /* or NULL: kept in the response */
	void *context;
};

/* Send it. True when an answer came whole, whatever its status; the environment's PROVISION_ENGINE_TIMEOUT caps its time limit; the arena holds the response's headers. */
bool docker_call(struct docker *docker, const struct docker_call *call, struct arena *arena, struct http_response *response, struct error *err);

/* Fail with the engine's own message, by the fault that its words mean; `what` says what was tried. */
bool docker_refused(const struct docker *docker, const struct http_response *response, struct error *err, const char *what, ...)
	__attribute__((format(printf, 4, 5)));

/* The same for a message out of a stream. */
bool docker_said(const struct docker *docker, const char *message, struct error *err, const char *what);

/* A path with a name, percent-encoded, in the middle. */
const char *docker_path(struct arena *arena, const char *before, const char *name, const char *behind);

/* Repository and tag (or digest) of a reference; the tag is NULL if it has none. */
const char *docker_split_ref(struct arena *arena, const char *ref, const char **tag);

/* Ask the engine for its version and choose the one to speak. */
bool docker_negotiate(struct docker *docker, struct error *err);
