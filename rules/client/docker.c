#include "docker.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "docker_call.h"
#include "docker_endpoint.h"
#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/json.h"
#include "process.h"

/* The engine answers at once unless it is busy with its disk; starting waits for GPU and network hooks. */
#define QUICK_MS (60 * 1000)
#define SLOW_MS (10 * 60 * 1000)
#define STOP_SLACK_MS (60 * 1000)
#define REMOVAL_WAIT_MS (30 * 1000)

/* errno of a connection to the socket, 0 if somebody listens. */
static int
probe(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t length = strlen(path);
	int fd finally(close_fd) = -1;

	if (length >= sizeof address.sun_path)
		return ENAMETOOLONG;
	memcpy(address.sun_path, path, length);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return errno;
	/* EAGAIN: it listens, but its queue is full for the moment. */
	return connect(fd, (const struct sockaddr *)&address, sizeof address) == 0 || errno == EAGAIN ? 0 : errno;
}

static const char *
probe_words(int code)
{
	switch (code) {
	case ENOENT:
	case ENOTDIR:
		return "there is no such socket";
	case ECONNREFUSED:
		return "the socket is there, but nothing listens";
	case EACCES:
	case EPERM:
		return "permission denied";
	case ENAMETOOLONG:
		return "the path is longer than a socket's may be";
	default:
		return strerror(code);
	}
}

static const char *
engine_name(const char *engine)
{
	return strcmp(engine, "podman") == 0 ? "Podman" : strcmp(engine, "docker") == 0 ? "Docker" : "a container engine";
}

/* The first endpoint where somebody listens; else all that was tried in one message. */
static bool
choose(struct docker *docker, const char *engine, const struct docker_endpoint *endpoints, size_t count, struct error *err)
{
	struct buf tried finally(buf_finish) = { 0 };
	bool forbidden = false;

	buf_init(&tried, 4096);
	for (size_t i = 0; i < count; i++) {
		int code = probe(endpoints[i].socket);

		if (code == 0) {
			docker->socket = endpoints[i].socket;
			docker->origin = endpoints[i].origin;
			return true;
		}
		forbidden = forbidden || code == EACCES || code == EPERM;
		buf_printf(&tried, "%sunix://%s (%s): %s", i ? "; " : "", endpoints[i].socket, endpoints[i].origin, probe_words(code));
	}
	fail(err, forbidden ? FAULT_PERMISSION : FAULT_NO_ENGINE, "cannot reach %s: %s", engine_name(engine), tried.data);
	if (forbidden)
		return error_hint(err, "ask the administrator to add you to the group that owns the socket (`docker`; it equals root on this host), "
			"or start a rootless engine");
	return error_hint(err, count == 1 ? "start that engine, or correct the setting" : "start an engine, or set DOCKER_HOST to its socket");
}

bool
docker_init(struct docker *docker, const char *engine, const atomic_bool *cancel, struct arena *arena, struct error *err)
{
	struct docker_endpoint *endpoints;
	size_t count;

	*docker = (struct docker){ .arena = arena };
	if (!docker_endpoints(engine, arena, &endpoints, &count, err) || !choose(docker, engine, endpoints, count, err))
		return false;
	if (!http_init(&docker->http, cancel, err) || !docker_negotiate(docker, err))
		return false;
	if (strcmp(engine, docker->podman ? "docker" : "podman") == 0)
		return fail(err, FAULT_NO_ENGINE, "%s is asked for, but unix://%s (%s) is %s", engine_name(engine), docker->socket, docker->origin,
			docker->podman ? "Podman" : "Docker");
	return true;
}

void
docker_finish(struct docker *docker)
{
	http_finish(&docker->http);
	*docker = (struct docker){ 0 };
}

const char *
docker_cli(struct docker *docker, struct pairs *env)
{
	const char *host = arena_printf(docker->arena, "unix://%s", docker->socket);
	const char *path = getenv("PATH");
	const char *program = NULL;

	pairs_set(env, docker->arena, "DOCKER_HOST", host);
	pairs_set(env, docker->arena, "BUILDKIT_PROGRESS", "plain");
	pairs_set(env, docker->arena, "DOCKER_CLI_HINTS", "false");
	pairs_set(env, docker->arena, "NO_COLOR", "1");
	if (docker->podman) {
		/* With it the podman command works on the socket instead of a store of its own. */
		pairs_set(env, docker->arena, "CONTAINER_HOST", host);
		program = process_find("podman", path, docker->arena);
	}
	return program ? program : process_find("docker", path, docker->arena);
}

/* A call with an answer of JSON; `missing` (may be NULL) takes a 404. */
static bool
get_json(struct docker *docker, const char *path, const char *what, json_t **value, bool *missing, struct error *err)
{
	struct docker_call call = { .path = path, .timeout_ms = QUICK_MS };
	struct arena arena finally(arena_finish) = { 0 };
	struct http_response response finally(http_response_finish) = { 0 };

	if (!docker_call(docker, &call, &arena, &response, err))
		return false;
	if (missing)
		*missing = response.status == 404;
	if (missing && *missing)
		return true;
	if (response.status != 200)
		return docker_refused(docker, &response, err, "%s", what);
	return json_parse(response.body.data, response.body.size, what, value, err);
}

/* A call whose answer is its status alone. */
struct verb {
	const char *method;
	const char *path;
	const json_t *body;
	int64_t timeout_ms;
	long fine[3];       /* statuses that mean it is so now; 0 ends */
};

static bool
run_verb(struct docker *docker, const struct verb *verb, const char *what, long *status, struct error *err)
{
	struct docker_call call = { .method = verb->method, .path = verb->path, .body = verb->body, .timeout_ms = verb->timeout_ms };
	struct arena arena finally(arena_finish) = { 0 };
	struct http_response response finally(http_response_finish) = { 0 };

	if (!docker_call(docker, &call, &arena, &response, err))
		return false;
	for (size_t i = 0; i < sizeof verb->fine / sizeof *verb->fine && verb->fine[i]; i++)
		if (response.status == verb->fine[i]) {
			*status = response.status;
			return true;
		}
	return docker_refused(docker, &response, err, "%s", what);
}

bool
docker_info(struct docker *docker, json_t **info, struct error *err)
{
	return get_json(docker, "/info", "info", info, NULL, err);
}

bool
docker_image(struct docker *docker, const char *ref, json_t **image, bool *missing, struct error *err)
{
	struct arena arena finally(arena_finish) = { 0 };

	return get_json(docker, docker_path(&arena, "/images/", ref, "/json"), arena_printf(&arena, "inspect image `%s`", ref), image, missing, err);
}

bool
docker_image_remove(struct docker *docker, const char *ref, bool *missing, struct error *err)
{
	struct arena arena finally(arena_finish) = { 0 };
	struct verb verb = {
		.method = "DELETE", .path = docker_path(&arena, "/images/", ref, ""), .timeout_ms = SLOW_MS, .fine = { 200, 404 },
	};
	long status = 0;

	if (!run_verb(docker, &verb, arena_printf(&arena, "remove image `%s`", ref), &status, err))
		return false;
	*missing = status == 404;
	return true;
}

bool
docker_image_tag(struct docker *docker, const char *id, const char *tag, struct error *err)
{
	struct arena arena finally(arena_finish) = { 0 };
	const char *name;
	const char *repo = docker_split_ref(&arena, tag, &name);
	const char *query = arena_printf(&arena, "/tag?repo=%s&tag=%s", http_escape(&arena, repo, ""), http_escape(&arena, name ? name : "latest", ""));
	struct verb verb = {
		.method = "POST", .path = docker_path(&arena, "/images/", id, query), .timeout_ms = QUICK_MS, .fine = { 201, 200 },
	};
	long status = 0;

	return run_verb(docker, &verb, arena_printf(&arena, "tag image `%s` as `%s`", id, tag), &status, err);
}

bool
docker_registry_digest(struct docker *docker, const char *ref, const char **digest, struct error *err)
{
	struct arena arena finally(arena_finish) = { 0 };
	const char *what = arena_printf(&arena, "ask the registry for `%s`", ref);
	json_t *answer finally(json_release) = NULL;
	const char *found;

	if (!get_json(docker, docker_path(&arena, "/distribution/", ref, "/json"), what, &answer, NULL, err))
		return false;
	found = json_string_at(answer, "Descriptor.digest");
	if (!found)
		return docker_said(docker, "the answer holds no digest", err, what);
	*digest = arena_copy(docker->arena, found);
	return true;
}

bool
docker_create(struct docker *docker, const char *name, const json_t *body, const char **id, struct error *err)
{
	struct arena arena finally(arena_finish) = { 0 };
	struct http_response response finally(http_response_finish) = { 0 };
	json_t *answer finally(json_release) = NULL;
	struct docker_call call = {
		.method = "POST",
		.path = name ? arena_printf(&arena, "/containers/create?name=%s", http_escape(&arena, name, "")) : "/containers/create",
		.body = body,
		.timeout_ms = SLOW_MS,
	};
	const char *what = arena_printf(&arena, "create container `%s`", name ? name : "");
	const char *found;

	if (!docker_call(docker, &call, &arena, &response, err))
		return false;
	if (response.status != 201)
		return docker_refused(docker, &response, err, "%s", what);
	if (!json_parse(response.body.data, response.body.size, what, &answer, err))
		return false;
	found = json_string_at(answer, "Id");
	if (!found)
		return docker_said(docker, "the answer holds no id", err, what);
	*id = arena_copy(docker->arena, found);
	return true;
}

bool
docker_start(struct docker *docker, const char *id, struct error *err)
{
	struct arena arena finally(arena_finish) = { 0 };
	struct verb verb = {
		.method = "POST", .path = docker_path(&arena, "/containers/", id, "/start"), .timeout_ms = SLOW_MS, .fine = { 204, 304 },
	};
	long status = 0;

	return run_verb(docker, &verb, arena_printf(&arena, "start container `%.12s`", id), &status, err);
}

bool
docker_stop(struct docker *docker, const char *id, int64_t grace_ms, struct error *err)
{
	struct arena arena finally(arena_finish) = { 0 };
	const char *query = arena_printf(&arena, "/stop?t=%lld", (long long)((grace_ms + 999) / 1000));
	struct verb verb = {
		.method = "POST", .path = docker_path(&arena, "/containers/", id, query), .timeout_ms = grace_ms + STOP_SLACK_MS, .fine = { 204, 304, 404 },
	};
	long status = 0;

	return run_verb(docker, &verb, arena_printf(&arena, "stop container `%.12s`", id), &status, err);
}

bool
docker_remove(struct docker *docker, const char *id, struct error *err)
{
	struct arena arena finally(arena_finish) = { 0 };
	struct verb verb = {
		.method = "DELETE", .path = docker_path(&arena, "/containers/", id, "?v=1&force=1"), .timeout_ms = SLOW_MS, .fine = { 204, 404, 409 },
	};
	int64_t deadline = clock_monotonic_ms() + REMOVAL_WAIT_MS;
	long status = 0;

	/* 409: somebody else's removal is in progress; what counts is that it ends. */
	do {
		if (!run_verb(docker, &verb, arena_printf(&arena, "remove container `%.12s`", id), &status, err))
			return false;
		if (status != 409)
			return true;
		clock_sleep_ms(200, docker->http.cancel);
	} while (clock_monotonic_ms() < deadline && !(docker->http.cancel && *docker->http.cancel));
	verb.fine[2] = 0;
	return run_verb(docker, &verb, arena_printf(&arena, "remove container `%.12s`", id), &status, err);
}

bool
docker_container(struct docker *docker, const char *id, json_t **container, bool *missing, struct error *err)
{
	struct arena arena finally(arena_finish) = { 0 };

	return get_json(docker, docker_path(&arena, "/containers/", id, "/json"), arena_printf(&arena, "inspect container `%.12s`", id), container, missing,
		err);
}

bool
docker_containers(struct docker *docker, const struct strings *labels, json_t **list, struct error *err)
{
	struct arena arena finally(arena_finish) = { 0 };
	json_t *filters finally(json_release) = json_object();
	json_t *wanted = json_array();

	json_object_set_new(filters, "label", wanted);
	for (size_t i = 0; i < labels->count; i++)
		json_array_append_new(wanted, json_string(labels->items[i]));
	return get_json(docker, arena_printf(&arena, "/containers/json?all=1&filters=%s", http_escape(&arena, json_text(&arena, filters, false), "")),
		"list containers", list, NULL, err);
}

bool
docker_update_restart(struct docker *docker, const char *id, const char *policy, struct error *err)
{
	struct arena arena finally(arena_finish) = { 0 };
	json_t *body finally(json_release) = json_pack("{s:{s:s}}", "RestartPolicy", "Name", policy);
	struct verb verb = {
		.method = "POST", .path = docker_path(&arena, "/containers/", id, "/update"), .body = body, .timeout_ms = QUICK_MS, .fine = { 200 },
	};
	long status = 0;

	if (!body)
		out_of_memory();
	return run_verb(docker, &verb, arena_printf(&arena, "set the restart policy of container `%.12s`", id), &status, err);
}
