#include "docker_call.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/json.h"
#include "engine/base/version.h"

#define NEWEST_API "1.44" /* every field that is used exists in it */
#define OLDEST_API "1.41"
#define PING_TIMEOUT_MS 30000

/* What an engine's words mean; the first row that fits. Everything else is E0701. */
static const struct meaning {
	const char *words;
	enum fault fault;
	const char *hint;
} meanings[] = {
	{ "unsatisfied condition: cuda", FAULT_CUDA_VERSION,
		"the image wants a newer driver than this host has: ask the administrator to update it, or use an image for an older CUDA" },
	{ "could not select device driver", FAULT_ENGINE_GPUS,
		"ask the administrator to install nvidia-container-toolkit, to run `nvidia-ctk runtime configure --runtime=docker` and to restart the engine" },
	{ "unresolvable CDI devices", FAULT_ENGINE_GPUS,
		"ask the administrator to run `nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml`; it has to be repeated after each driver update" },
	{ "invoking the NVIDIA Container Runtime Hook directly", FAULT_ENGINE_GPUS,
		"ask the administrator to set `mode = \"legacy\"` in /etc/nvidia-container-runtime/config.toml, or to make the runtime `nvidia` or CDI known to the engine" },
	{ "nvidia-container-cli", FAULT_ENGINE_GPUS, "does `nvidia-smi` work on this host? If so, its message above is for the administrator" },
	{ "nvidia-container-runtime", FAULT_ENGINE_GPUS, "does `nvidia-smi` work on this host? If so, its message above is for the administrator" },
	{ "port is already allocated", FAULT_PORT_HELD, "another container publishes this port: `docker ps` shows which" },
	{ "address already in use", FAULT_PORT_HELD, "`ss -ltnp` shows who listens there" },
	{ "no space left on device", FAULT_NO_SPACE, "`docker system df` shows what fills the engine's disk" },
	{ "toomanyrequests", FAULT_RATE_LIMIT, "wait, or `docker login`: registries let known users pull more" },
	{ "No such image", FAULT_NO_IMAGE, NULL },
	{ "no such image", FAULT_NO_IMAGE, NULL },
	{ "pull access denied", FAULT_NO_IMAGE, "check the name; if the repository is private, `docker login` first" },
	{ "unauthorized", FAULT_NO_IMAGE, "`docker login` to that registry first" },
	{ "denied: ", FAULT_NO_IMAGE, "check the name; if the repository is private, `docker login` first" },
	{ "manifest unknown", FAULT_NO_IMAGE, "the repository is there, but has no such tag or digest" },
	{ "no matching manifest", FAULT_NO_IMAGE, "the image is not made for this platform" },
	{ "client version", FAULT_ENGINE_VERSION, "the engine has been set to another range of API versions" },
	{ "dial tcp", FAULT_NETWORK, "the engine cannot reach the registry; is a proxy or a mirror set for it?" },
	{ "TLS handshake timeout", FAULT_NETWORK, "the engine cannot reach the registry; is a proxy or a mirror set for it?" },
	{ "Client.Timeout exceeded", FAULT_NETWORK, "the engine cannot reach the registry; is a proxy or a mirror set for it?" },
};

bool
docker_said(const struct docker *docker, const char *message, struct error *err, const char *what)
{
	for (size_t i = 0; i < sizeof meanings / sizeof *meanings; i++) {
		if (!strstr(message, meanings[i].words))
			continue;
		fail(err, meanings[i].fault, "%s: %s (engine at unix://%s, %s)", what, message, docker->socket, docker->origin);
		return meanings[i].hint ? error_hint(err, "%s", meanings[i].hint) : false;
	}
	return fail(err, FAULT_ENGINE, "%s: %s (engine at unix://%s, %s)", what, message, docker->socket, docker->origin);
}

bool
docker_refused(const struct docker *docker, const struct http_response *response, struct error *err, const char *what, ...)
{
	struct arena arena finally(arena_finish) = { 0 };
	json_t *answer finally(json_release) = NULL;
	struct error ignored = { 0 };
	const char *message = NULL;
	va_list args;
	const char *tried;

	va_start(args, what);
	tried = arena_vprintf(&arena, what, args);
	va_end(args);
	if (response->body.size > 0 && json_parse(response->body.data, response->body.size, "answer", &answer, &ignored))
		message = json_string_at(answer, "message");
	if (!message && response->body.size > 0)
		message = arena_copy_bytes(&arena, response->body.data, strcspn(response->body.data, "\r\n"));
	if (!message || !*message)
		message = arena_printf(&arena, "HTTP status %ld without a word", response->status);
	return docker_said(docker, message, err, tried);
}

const char *
docker_path(struct arena *arena, const char *before, const char *name, const char *behind)
{
	return arena_printf(arena, "%s%s%s", before, http_escape(arena, name, "/:@"), behind);
}

const char *
docker_split_ref(struct arena *arena, const char *ref, const char **tag)
{
	const char *at = strchr(ref, '@');
	const char *slash = strrchr(ref, '/');
	const char *colon = strchr(slash ? slash : ref, ':');
	const char *end = at ? at : colon;

	*tag = end ? arena_copy(arena, end + 1) : NULL;
	/* `NAME:TAG@DIGEST`: the digest says it all. */
	if (at && colon && colon < at)
		end = colon;
	return end ? arena_copy_bytes(arena, ref, (size_t)(end - ref)) : arena_copy(arena, ref);
}

static bool
ask(struct docker *docker, const char *url, const struct docker_call *call, const char *body, struct arena *arena, struct http_response *response,
	struct error *err)
{
	int64_t cap;
	struct http_request request = {
		.method = call->method,
		.url = url,
		.unix_socket = docker->socket,
		.body = body,
		.body_size = body ? strlen(body) : 0,
		.body_type = body ? "application/json" : NULL,
		.timeout_ms = call->timeout_ms,
		.no_stall_limit = call->silence == 0,
		.silence = call->silence,
		.no_redirect = true,
		.no_proxy = true,
		.on_body = call->on_body,
		.context = call->context,
	};

	if (!http_span("PROVISION_ENGINE_TIMEOUT", call->timeout_ms, &cap, err))
		return false;
	if (!call->patient && cap < request.timeout_ms)
		request.timeout_ms = cap;
	if (http_do(&docker->http, &request, arena, response, err)) {
		if (!response->partial)
			return true;
		http_response_finish(response);
		fail(err, FAULT_ENGINE, "the answer broke off");
	}
	if (err->fault == FAULT_NETWORK)
		err->fault = FAULT_ENGINE;
	return error_wrap(err, "engine at unix://%s (%s)", docker->socket, docker->origin);
}

/* An engine that was updated while we run speaks other versions now. */
static bool
wants_other_version(const struct http_response *response)
{
	return response->status == 400 && response->body.size > 0 && strstr(response->body.data, "client version") &&
		(strstr(response->body.data, "too old") || strstr(response->body.data, "too new"));
}

bool
docker_call(struct docker *docker, const struct docker_call *call, struct arena *arena, struct http_response *response, struct error *err)
{
	const char *body = call->body ? json_text(arena, call->body, false) : NULL;
	char before[sizeof docker->api];

	if (!ask(docker, arena_printf(arena, "http://localhost/v%s%s", docker->api, call->path), call, body, arena, response, err))
		return false;
	if (!wants_other_version(response))
		return true;
	memcpy(before, docker->api, sizeof before);
	if (!docker_negotiate(docker, err))
		return false;
	if (strcmp(before, docker->api) == 0)
		return true;
	http_response_finish(response);
	return ask(docker, arena_printf(arena, "http://localhost/v%s%s", docker->api, call->path), call, body, arena, response, err);
}

/* The version within `Server: Docker/28.0.0 (linux)`. */
static const char *
server_version(struct arena *arena, const char *server)
{
	const char *slash = server ? strchr(server, '/') : NULL;

	return slash ? arena_copy_bytes(arena, slash + 1, strcspn(slash + 1, " ")) : "";
}

bool
docker_negotiate(struct docker *docker, struct error *err)
{
	static const struct docker_call ping = { .timeout_ms = PING_TIMEOUT_MS };
	struct arena arena finally(arena_finish) = { 0 };
	struct http_response response finally(http_response_finish) = { 0 };
	const char *api;

	if (!ask(docker, "http://localhost/_ping", &ping, NULL, &arena, &response, err))
		return false;
	if (response.status != 200)
		return docker_refused(docker, &response, err, "ping");
	api = http_header(&response, "api-version");
	if (!api)
		return fail(err, FAULT_NO_ENGINE, "unix://%s (%s) answers, but not as a container engine: no Api-Version", docker->socket, docker->origin);
	docker->podman = http_header(&response, "libpod-api-version") != NULL;
	docker->version = server_version(docker->arena, http_header(&response, "server"));
	if (version_compare(api, OLDEST_API) < 0)
		return fail(err, FAULT_ENGINE_VERSION, "engine at unix://%s (%s) speaks API %s at most; %s is needed (Docker 20.10 or newer, Podman 4.4 or newer)",
			docker->socket, docker->origin, api, OLDEST_API);
	snprintf(docker->api, sizeof docker->api, "%s", version_compare(api, NEWEST_API) < 0 ? api : NEWEST_API);
	return true;
}
