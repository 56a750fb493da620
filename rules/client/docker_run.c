#include "docker.h"

#include <string.h>

#include "docker_call.h"
#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/json.h"

#define LOG_MS (10 * 60 * 1000)

bool
docker_is_rootless(struct docker *docker, bool *rootless, struct error *err)
{
	json_t *info finally(json_release) = NULL;
	const json_t *option;
	size_t i;

	if (!docker_info(docker, &info, err))
		return false;
	*rootless = false;
	json_array_foreach(json_at(info, "SecurityOptions"), i, option)
		if (json_is_string(option) && strstr(json_string_value(option), "name=rootless"))
			*rootless = true;
	return true;
}

static bool
is_every_address(const char *address)
{
	return !*address || strcmp(address, "0.0.0.0") == 0 || strcmp(address, "::") == 0;
}

static bool
publishes(const json_t *container, const char *address, int64_t port)
{
	const json_t *ports = json_at(container, "Ports"), *published;
	size_t i;

	json_array_foreach(ports, i, published) {
		const char *at = json_string_at(published, "IP"), *type = json_string_at(published, "Type");
		int64_t number;

		if (json_int_at(published, "PublicPort", &number) && number == port && (!type || strcmp(type, "tcp") == 0) &&
			(!at || is_every_address(at) || is_every_address(address) || strcmp(at, address) == 0))
			return true;
	}
	return false;
}

const char *
docker_port_holder(struct docker *docker, const char *address, int64_t port)
{
	static const struct strings all = { 0 };
	json_t *list finally(json_release) = NULL;
	const json_t *container;
	struct error ignored;
	size_t i;

	if (!docker_containers(docker, &all, &list, &ignored))
		return NULL;
	json_array_foreach(list, i, container) {
		const char *name = json_string_value(json_array_get(json_at(container, "Names"), 0)), *id = json_string_at(container, "Id");

		if (publishes(container, strcmp(address, "localhost") == 0 ? "127.0.0.1" : address, port))
			return arena_printf(docker->arena, "container `%.64s`", name ? name + (*name == '/') : id ? id : "?");
	}
	return NULL;
}

/* One log on its way to whoever wants it. */
struct log_reader {
	struct docker_frames frames;
	void (*output)(void *context, bool is_stderr, const char *bytes, size_t size);
	void *context;
	bool tty;
	bool broken;
};

static bool
read_log(void *context, const char *bytes, size_t size)
{
	struct log_reader *reader = context;

	if (reader->tty)
		reader->output(reader->context, false, bytes, size);
	else
		reader->broken = !docker_frames_feed(&reader->frames, bytes, size, reader->output, reader->context);
	return !reader->broken;
}

static bool
get_log(struct docker *docker, const char *id, const char *query, int64_t timeout_ms, bool patient, struct log_reader *reader, struct error *err)
{
	struct arena arena finally(arena_finish) = { 0 };
	struct http_response response finally(http_response_finish) = { 0 };
	struct docker_call call = {
		.path = docker_path(&arena, "/containers/", id, query), .timeout_ms = timeout_ms, .patient = patient, .on_body = read_log, .context = reader,
	};
	bool answered = docker_call(docker, &call, &arena, &response, err);

	if (reader->broken)
		return fail(err, FAULT_PROTOCOL, "log of container `%.12s`: not the frames of a container's log (engine at unix://%s, %s)", id,
			docker->socket, docker->origin);
	if (!answered)
		return false;
	if (response.status != 200)
		return docker_refused(docker, &response, err, "log of container `%.12s`", id);
	return true;
}

bool
docker_logs(struct docker *docker, const char *id, bool tty, const char *since,
	void (*output)(void *context, bool is_stderr, const char *bytes, size_t size), void *context, struct error *err)
{
	struct arena arena finally(arena_finish) = { 0 };
	struct log_reader reader = { .output = output, .context = context, .tty = tty };
	const char *query = since && *since ? arena_printf(&arena, "/logs?stdout=1&stderr=1&since=%s", http_escape(&arena, since, ""))
					    : "/logs?stdout=1&stderr=1";

	return get_log(docker, id, query, LOG_MS, false, &reader, err);
}

bool
docker_follow(struct docker *docker, const char *id, int64_t timeout_ms,
	void (*output)(void *context, bool is_stderr, const char *bytes, size_t size), void *context, struct error *err)
{
	struct log_reader reader = { .output = output, .context = context };

	return get_log(docker, id, "/logs?stdout=1&stderr=1&follow=1", timeout_ms, true, &reader, err);
}

bool
docker_wait(struct docker *docker, const char *id, int64_t timeout_ms, int64_t *code, struct error *err)
{
	struct arena arena finally(arena_finish) = { 0 };
	struct http_response response finally(http_response_finish) = { 0 };
	json_t *answer finally(json_release) = NULL;
	struct docker_call call = {
		.method = "POST", .path = docker_path(&arena, "/containers/", id, "/wait?condition=not-running"), .timeout_ms = timeout_ms,
		.patient = true,
	};
	const char *what = arena_printf(&arena, "wait for container `%.12s`", id), *message;

	if (!docker_call(docker, &call, &arena, &response, err))
		return false;
	if (response.status != 200)
		return docker_refused(docker, &response, err, "%s", what);
	if (!json_parse(response.body.data, response.body.size, what, &answer, err))
		return false;
	message = json_string_at(answer, "Error.Message");
	if (message && *message)
		return docker_said(docker, message, err, what);
	return json_int_at(answer, "StatusCode", code) || docker_said(docker, "the answer holds no exit status", err, what);
}
