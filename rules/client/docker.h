/* docker.h - Engine API of Docker and Podman, over the unix socket.
 *
 * Negotiates the version (docker-and-gpu.md 1.3): min(1.44, the server's), at least 1.41. The engine's own words are in every error. Builds are not here: they
 * are the command line's, run by the rule `image`. */
#pragma once

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"
#include "engine/base/strings.h"
#include "http.h"

struct arena;

struct docker {
	struct http http;
	struct arena *arena;
	const char *socket;      /* path */
	const char *origin;      /* where the setting came from: "DOCKER_HOST", "context `x`", "the default" */
	const char *version;     /* of the engine */
	char api[8];             /* "1.41" */
	bool podman;
};

/* Find the endpoint (DOCKER_HOST, DOCKER_CONTEXT, config.json, /var/run/docker.sock, the user's own sockets) and ping it. E0511 says what is wrong and what to do; E0907 if the socket
 * may not be used. */
bool docker_init(struct docker *docker, const char *engine, const atomic_bool *cancel, struct arena *arena, struct error *err); /* engine: "auto", "docker", "podman" */
void docker_finish(struct docker *docker);

/* The environment that makes the command line reach the same engine: DOCKER_HOST=unix://..., DOCKER_CONTEXT unset. The program: absolute path of docker or podman, NULL if
 * there is none. */
const char *docker_cli(struct docker *docker, struct pairs *env);

/* JSON answers are the caller's to release. `*missing` is set instead of an error where the thing is not there. */
bool docker_info(struct docker *docker, json_t **info, struct error *err);
bool docker_image(struct docker *docker, const char *ref, json_t **image, bool *missing, struct error *err);
bool docker_image_remove(struct docker *docker, const char *ref, bool *missing, struct error *err);
bool docker_image_tag(struct docker *docker, const char *id, const char *tag, struct error *err);
bool docker_pull(struct docker *docker, const char *ref, const char *platform,
	void (*progress)(void *context, uint64_t done, uint64_t total), void *context, struct error *err);

bool docker_create(struct docker *docker, const char *name, const json_t *body, const char **id, struct error *err);
bool docker_start(struct docker *docker, const char *id, struct error *err);
bool docker_stop(struct docker *docker, const char *id, int64_t grace_ms, struct error *err); /* fine if stopped or gone */
bool docker_remove(struct docker *docker, const char *id, struct error *err);                 /* fine if gone */
bool docker_container(struct docker *docker, const char *id, json_t **container, bool *missing, struct error *err);
bool docker_containers(struct docker *docker, const struct strings *labels, json_t **list, struct error *err); /* all=1; labels "k=v" */
/* The container that publishes this TCP port of the host at an address that `address` meets; NULL: none, or the engine does not say. */
const char *docker_port_holder(struct docker *docker, const char *address, int64_t port);
bool docker_update_restart(struct docker *docker, const char *id, const char *policy, struct error *err);

/* Digest that the registry holds under a tag now, asked by the engine without credentials: "sha256:...". */
bool docker_registry_digest(struct docker *docker, const char *ref, const char **digest, struct error *err);

/* Whether the user's config.json has credentials, or a helper that may have them, for the registry of `ref`: then only the command line can pull it. */
bool docker_has_login(const char *ref, struct arena *arena);

/* How a container asks for GPUs. Not every engine knows every way, and none says before which. */
enum docker_gpu_way {
	DOCKER_GPU_HOOK,    /* DeviceRequests, as `docker run --gpus` */
	DOCKER_GPU_CDI,     /* DeviceRequests of the driver `cdi`: devices by the names of a specification */
	DOCKER_GPU_RUNTIME, /* the runtime `nvidia`, and a variable that it reads */
	DOCKER_GPU_WAYS
};

/* The one that is tried first. */
enum docker_gpu_way docker_gpu_way(bool podman);

/* Add the wish for the GPUs with these UUIDs, for all of them if there are none, to a body for docker_create that has a HostConfig. */
void docker_ask_gpus(json_t *body, enum docker_gpu_way way, const struct strings *uuids);

/* Create a container and start it. `gpus`: to see these, all if there are none; in each way that the engine offers until one is not refused (E0512). NULL: no GPUs, and
 * `body` as it is. On failure `*id` is set if a container is left. Creation is not interrupted, so that no container is left that nobody knows of. */
bool docker_launch(struct docker *docker, const char *name, const json_t *body, const struct strings *gpus, const char **id, struct error *err);

/* Whether a container that asked for GPUs and runs was given any: by what the engine shows of it, else by the nodes in its /dev. E0512 if it was started without. */
bool docker_check_gpus(struct docker *docker, const char *id, struct error *err);

/* Whether root in a container is an ordinary user of the host: the one whose engine it is. */
bool docker_is_rootless(struct docker *docker, bool *rootless, struct error *err);

/* Log so far, demultiplexed, from `since` ("", or seconds since 1970 with a fraction, or RFC 3339). */
bool docker_logs(struct docker *docker, const char *id, bool tty, const char *since,
	void (*output)(void *context, bool is_stderr, const char *bytes, size_t size), void *context, struct error *err);

/* The whole log as it is written, until the container ends. `timeout_ms` 0: however long that takes; what takes longer fails. */
bool docker_follow(struct docker *docker, const char *id, int64_t timeout_ms,
	void (*output)(void *context, bool is_stderr, const char *bytes, size_t size), void *context, struct error *err);

/* Until the container has ended: its exit status. `timeout_ms` as above. */
bool docker_wait(struct docker *docker, const char *id, int64_t timeout_ms, int64_t *code, struct error *err);

/* Demultiplexer of log frames as a state machine of its own, fed in slices; false on a broken stream. */
struct docker_frames {
	unsigned char head[8];
	size_t have;
	uint64_t left;
	int stream;
};
bool docker_frames_feed(struct docker_frames *frames, const char *bytes, size_t size,
	void (*output)(void *context, bool is_stderr, const char *bytes, size_t size), void *context);
