/* docker.c and its parts against a fake engine: frames, endpoints, versions, errors, pulls. */
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/digest.h"
#include "engine/base/file.h"
#include "engine/base/json.h"
#include "rules/client/docker.h"
#include "tests/fake/engine.h"

#include <cmocka.h> /* last: its macro `fail` hides our function */

/* A directory of its own, an engine in it, and a clean environment that leads there. */
struct world {
	struct arena arena;
	char directory[64];
	const char *socket;
	struct fake_engine *engine;
	struct docker docker;
	struct error err;
};

static int
set_up(void **state)
{
	struct world *world = xmalloc(sizeof *world);

	*world = (struct world){ .directory = "/tmp/docker-test-XXXXXX" };
	arena_init(&world->arena);
	assert_non_null(mkdtemp(world->directory));
	world->socket = path_join(&world->arena, world->directory, "engine.sock");
	world->engine = fake_engine_start(world->socket);
	setenv("HOME", world->directory, 1);
	setenv("XDG_RUNTIME_DIR", world->directory, 1);
	setenv("DOCKER_HOST", arena_printf(&world->arena, "unix://%s", world->socket), 1);
	unsetenv("DOCKER_CONTEXT");
	unsetenv("DOCKER_CONFIG");
	unsetenv("CONTAINER_HOST");
	*state = world;
	return 0;
}

static void
remove_files(struct world *world)
{
	static const char *const files[] = { "engine.sock", "config.json", ".docker/config.json" };

	for (size_t i = 0; i < sizeof files / sizeof *files; i++)
		unlink(path_join(&world->arena, world->directory, files[i]));
	rmdir(path_join(&world->arena, world->directory, ".docker"));
	rmdir(world->directory);
}

static int
tear_down(void **state)
{
	struct world *world = *state;

	docker_finish(&world->docker);
	fake_engine_stop(world->engine);
	remove_files(world);
	arena_finish(&world->arena);
	free(world);
	return 0;
}

static void
open_docker(struct world *world)
{
	if (!docker_init(&world->docker, "auto", NULL, &world->arena, &world->err))
		fail_msg("%s", world->err.text);
}

/* ---- frames */

struct collected {
	struct buf out, err;
};

static void
collect(void *context, bool is_stderr, const char *bytes, size_t size)
{
	struct collected *collected = context;

	buf_add(is_stderr ? &collected->err : &collected->out, bytes, size);
}

static void
frames_in_any_slices(void **state)
{
	static const char stream[] = "\1\0\0\0\0\0\0\3abc\2\0\0\0\0\0\0\2xy\1\0\0\0\0\0\0\0\3\0\0\0\0\0\0\1!\0\0\0\0\0\0\0\1d";

	(void)state;
	for (size_t slice = 1; slice < sizeof stream; slice++) {
		struct docker_frames frames = { 0 };
		struct collected got;

		buf_init(&got.out, 100);
		buf_init(&got.err, 100);
		for (size_t at = 0; at < sizeof stream - 1; at += slice) {
			size_t rest = sizeof stream - 1 - at;

			assert_true(docker_frames_feed(&frames, stream + at, rest < slice ? rest : slice, collect, &got));
		}
		assert_string_equal(got.out.data, "abcd");
		assert_string_equal(got.err.data, "xy!");
		buf_finish(&got.out);
		buf_finish(&got.err);
	}
}

static void
frames_that_are_none(void **state)
{
	static const char *const broken[] = { "\4\0\0\0\0\0\0\1a", "\1\1\0\0\0\0\0\1a", "\1\0\0\1\0\0\0\1a", "\1\0\0\0\0\x10\0\1a", "\1\0\0\0\xff\xff\xff\xff", "HTTP/1.1 2" };

	(void)state;
	for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
		struct docker_frames frames = { 0 };
		struct collected got;

		buf_init(&got.out, 100);
		buf_init(&got.err, 100);
		assert_false(docker_frames_feed(&frames, broken[i], 9, collect, &got));
		assert_int_equal(got.out.size + got.err.size, 0);
		buf_finish(&got.out);
		buf_finish(&got.err);
	}
}

/* ---- endpoints */

static void
save(struct world *world, const char *name, const char *text)
{
	const char *path = path_join(&world->arena, world->directory, name);

	assert_true(file_make_dirs(path_dir(&world->arena, path), 0700, &world->err));
	assert_true(file_save(path, text, strlen(text), 0600, &world->err));
}

static void
refuses(struct world *world, const char *engine, enum fault fault, const char *words)
{
	assert_false(docker_init(&world->docker, engine, NULL, &world->arena, &world->err));
	if (world->err.fault != fault || !strstr(world->err.text, words))
		fail_msg("fault %d, wanted %d; `%s`, wanted `%s`", world->err.fault, fault, world->err.text, words);
	docker_finish(&world->docker);
}

static void
endpoint_that_cannot_be_used(void **state)
{
	struct world *world = *state;
	const char *stale = path_join(&world->arena, world->directory, "config.json");

	setenv("DOCKER_HOST", "tcp://10.0.0.1:2375", 1);
	refuses(world, "auto", FAULT_NO_ENGINE, "DOCKER_HOST is `tcp://10.0.0.1:2375`: only unix sockets");
	setenv("DOCKER_HOST", "unix:///nowhere/docker.sock", 1);
	refuses(world, "auto", FAULT_NO_ENGINE, "unix:///nowhere/docker.sock (DOCKER_HOST): there is no such socket");
	save(world, "config.json", "{}");
	setenv("DOCKER_HOST", arena_printf(&world->arena, "unix://%s", stale), 1);
	refuses(world, "auto", FAULT_NO_ENGINE, "nothing listens");
	setenv("DOCKER_HOST",
		"unix:///a/path/that/is/much/longer/than/what/the/address/of/a/unix/socket/has/room/for/even/with/all/of/its/hundred/and/eight/bytes", 1);
	refuses(world, "auto", FAULT_NO_ENGINE, "longer than a socket's may be");
}

static const char *
context_path(struct world *world, const char *name)
{
	struct digest id;

	digest_of(name, strlen(name), &id);
	return arena_printf(&world->arena, ".docker/contexts/meta/%s/meta.json", digest_text(&world->arena, &id));
}

static void
forget_context(struct world *world, const char *name)
{
	const char *path = path_join(&world->arena, world->directory, context_path(world, name));

	unlink(path);
	for (int i = 0; i < 3; i++) {
		path = path_dir(&world->arena, path);
		rmdir(path);
	}
}

static void
endpoint_of_a_context(void **state)
{
	struct world *world = *state;
	const char *meta = arena_printf(&world->arena, "{\"Name\":\"lab\",\"Endpoints\":{\"docker\":{\"Host\":\"unix://%s\"}}}", world->socket);

	unsetenv("DOCKER_HOST");
	setenv("DOCKER_CONTEXT", "lab", 1);
	refuses(world, "auto", FAULT_NO_ENGINE, "context `lab` of DOCKER_CONTEXT");
	save(world, context_path(world, "lab"), meta);
	open_docker(world);
	assert_string_equal(world->docker.origin, "context `lab` of DOCKER_CONTEXT");
	docker_finish(&world->docker);
	unsetenv("DOCKER_CONTEXT");
	save(world, ".docker/config.json", "{\"currentContext\":\"lab\"}");
	open_docker(world);
	assert_string_equal(world->docker.origin, "context `lab` of config.json");
	docker_finish(&world->docker);
	save(world, ".docker/config.json", "{\"currentContext\":");
	refuses(world, "auto", FAULT_NO_ENGINE, "docker's configuration");
	save(world, context_path(world, "lab"), "{\"Endpoints\":{\"docker\":{\"Host\":\"ssh://me@there\"}}}");
	save(world, ".docker/config.json", "{\"currentContext\":\"lab\"}");
	refuses(world, "auto", FAULT_NO_ENGINE, "`ssh://me@there`: only unix sockets");
	forget_context(world, "lab");
}

static void
logins_of_registries(void **state)
{
	static const struct {
		const char *config, *ref;
		bool login;
	} cases[] = {
		{ NULL, "vllm/vllm-openai", false },
		{ "{}", "vllm/vllm-openai", false },
		{ "{\"auths\":{\"https://index.docker.io/v1/\":{}}}", "vllm/vllm-openai:v1", true },
		{ "{\"auths\":{\"https://index.docker.io/v1/\":{}}}", "ghcr.io/a/b", false },
		{ "{\"auths\":{\"ghcr.io\":{}}}", "ghcr.io/a/b@sha256:00", true },
		{ "{\"auths\":{\"localhost:5000\":{}}}", "localhost:5000/b", true },
		{ "{\"auths\":{\"localhost:5000\":{}}}", "localhost/b", false },
		{ "{\"credHelpers\":{\"gcr.io\":\"gcloud\"}}", "gcr.io/x", true },
		{ "{\"credHelpers\":{\"gcr.io\":\"gcloud\"}}", "busybox", false },
		{ "{\"credsStore\":\"pass\"}", "busybox", true },
		{ "{\"auths\":", "busybox", false },
	};
	struct world *world = *state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		if (cases[i].config)
			save(world, ".docker/config.json", cases[i].config);
		if (docker_has_login(cases[i].ref, &world->arena) != cases[i].login)
			fail_msg("case %zu: %s with %s", i, cases[i].ref, cases[i].config);
	}
}

/* ---- versions */

static void
version_to_speak(void **state)
{
	static const struct {
		const char *ping, *api, *version;
		bool podman;
	} cases[] = {
		{ "Api-Version: 1.41\r\nServer: Docker/20.10.24+dfsg1 (linux)\r\n", "1.41", "20.10.24+dfsg1", false },
		{ "Api-Version: 1.43\r\nServer: Docker/24.0.7 (linux)\r\n", "1.43", "24.0.7", false },
		{ "Api-Version: 1.44\r\n", "1.44", "", false },
		{ "Api-Version: 1.42\r\nServer: Docker/23.0.6 (linux)\r\n", "1.42", "23.0.6", false },
		{ "Api-Version: 1.52\r\nServer: Docker/29.0.1 (linux)\r\n", "1.44", "29.0.1", false },
		{ "Api-Version: 1.44\r\nLibpod-Api-Version: 5.8.2\r\nServer: Libpod/5.8.2 (linux)\r\n", "1.44", "5.8.2", true },
		{ "Api-Version: 1.54\r\nServer: Docker/29.3.0 (linux)\r\n", "1.44", "29.3.0", false },
		{ "Api-Version: 1.41\r\nLibpod-Api-Version: 5.2.0\r\nServer: Libpod/5.2.0 (linux)\r\n", "1.41", "5.2.0", true },
	};
	struct world *world = *state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		fake_engine_ping(world->engine, cases[i].ping);
		open_docker(world);
		assert_string_equal(world->docker.api, cases[i].api);
		assert_string_equal(world->docker.version, cases[i].version);
		assert_int_equal(world->docker.podman, cases[i].podman);
		docker_finish(&world->docker);
	}
	fake_engine_ping(world->engine, "Api-Version: 1.40\r\n");
	refuses(world, "auto", FAULT_ENGINE_VERSION, "speaks API 1.40 at most");
	fake_engine_ping(world->engine, "");
	refuses(world, "auto", FAULT_NO_ENGINE, "not as a container engine");
	fake_engine_ping(world->engine, "Api-Version: 1.41\r\n");
	setenv("CONTAINER_HOST", getenv("DOCKER_HOST"), 1);
	refuses(world, "podman", FAULT_NO_ENGINE, "Podman is asked for, but");
	fake_engine_ping(world->engine, "Api-Version: 1.41\r\nLibpod-Api-Version: 5.2.0\r\n");
	refuses(world, "docker", FAULT_NO_ENGINE, "Docker is asked for, but");
}

static void
engine_updated_meanwhile(void **state)
{
	struct world *world = *state;
	json_t *info finally(json_release) = NULL;

	open_docker(world);
	fake_engine_forget(world->engine);
	fake_engine_ping(world->engine, "Api-Version: 1.52\r\n");
	fake_engine_answer(world->engine, "GET /info", 400,
		"{\"message\":\"client version 1.41 is too old. Minimum supported API version is 1.44, please upgrade your client to a newer version\"}");
	/* Still refused in the new version: said once, not asked for ever. */
	assert_false(docker_info(&world->docker, &info, &world->err));
	assert_string_equal(fake_engine_requests(world->engine), "GET /v1.41/info\nGET /_ping\nGET /v1.44/info\n");
	assert_int_equal(world->err.fault, FAULT_ENGINE_VERSION);
	assert_non_null(strstr(world->err.text, "Minimum supported API version is 1.44"));
}

/* An administrator, or a later engine, has raised the oldest version beyond what is spoken here: nothing in common, and both numbers are said. */
static void
engine_that_is_too_new(void **state)
{
	struct world *world = *state;
	json_t *info finally(json_release) = NULL;

	fake_engine_ping(world->engine, "Api-Version: 1.54\r\nServer: Docker/29.3.0 (linux)\r\n");
	fake_engine_answer(world->engine, "GET /info", 400,
		"{\"message\":\"client version 1.44 is too old. Minimum supported API version is 1.48, please upgrade your client to a newer version\"}");
	open_docker(world);
	assert_false(docker_info(&world->docker, &info, &world->err));
	assert_int_equal(world->err.fault, FAULT_ENGINE_VERSION);
	assert_non_null(strstr(world->err.text, "client version 1.44 is too old. Minimum supported API version is 1.48"));
}

/* ---- calls */

static void
words_of_the_engine(void **state)
{
	static const struct {
		int status;
		const char *body;
		enum fault fault;
		const char *words;
	} cases[] = {
		{ 500, "{\"message\":\"could not select device driver \\\"\\\" with capabilities: [[gpu]]\"}", FAULT_ENGINE_GPUS,
			"start container `abc`: could not select device driver \"\" with capabilities: [[gpu]] (engine at unix://" },
		{ 500, "{\"message\":\"Bind for 127.0.0.1:8000 failed: port is already allocated\"}", FAULT_PORT_HELD, "port is already allocated" },
		{ 500, "{\"message\":\"CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=9\"}", FAULT_ENGINE_GPUS, "nvidia.com/gpu=9" },
		{ 500, "{\"message\":\"nvidia-container-cli: requirement error: unsatisfied condition: cuda>=12.9\"}", FAULT_CUDA_VERSION, "cuda>=12.9" },
		{ 404, "{\"message\":\"No such container: abc\"}", FAULT_ENGINE, "No such container: abc" },
		{ 500, "not JSON\nat all", FAULT_ENGINE, "start container `abc`: not JSON (engine" },
		{ 500, "", FAULT_ENGINE, "HTTP status 500 without a word" },
		{ 500, "{\"cause\":\"x\"}", FAULT_ENGINE, "{\"cause\":\"x\"}" },
	};
	struct world *world = *state;

	open_docker(world);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		fake_engine_answer(world->engine, "POST /containers/abc/start", cases[i].status, cases[i].body);
		assert_false(docker_start(&world->docker, "abc", &world->err));
		if (world->err.fault != cases[i].fault || !strstr(world->err.text, cases[i].words))
			fail_msg("case %zu: fault %d, `%s`", i, world->err.fault, world->err.text);
		assert_non_null(strstr(world->err.text, "DOCKER_HOST)"));
	}
}

static void
statuses_that_are_fine(void **state)
{
	struct world *world = *state;
	bool missing;

	open_docker(world);
	fake_engine_answer(world->engine, "POST /containers/a/start", 304, "");
	assert_true(docker_start(&world->docker, "a", &world->err));
	fake_engine_answer(world->engine, "POST /containers/a/stop?t=3", 304, "");
	assert_true(docker_stop(&world->docker, "a", 2500, &world->err));
	fake_engine_answer(world->engine, "DELETE /containers/a?v=1&force=1", 404, "{\"message\":\"No such container: a\"}");
	assert_true(docker_remove(&world->docker, "a", &world->err));
	fake_engine_answer(world->engine, "DELETE /images/a/b:1", 404, "{}");
	assert_true(docker_image_remove(&world->docker, "a/b:1", &missing, &world->err));
	assert_true(missing);
	fake_engine_answer(world->engine, "DELETE /images/a/b:1", 409, "{\"message\":\"conflict: unable to remove repository reference\"}");
	assert_false(docker_image_remove(&world->docker, "a/b:1", &missing, &world->err));
}

static void
images_and_containers(void **state)
{
	struct world *world = *state;
	json_t *image finally(json_release) = NULL;
	json_t *list finally(json_release) = NULL;
	json_t *body finally(json_release) = json_pack("{s:s}", "Image", "sha256:00");
	struct strings labels = { 0 };
	const char *id = NULL;
	bool missing;

	open_docker(world);
	fake_engine_answer(world->engine, "GET /images/localhost:5000/a/b@sha256:0/json", 200, "{\"Id\":\"sha256:1\"}");
	assert_true(docker_image(&world->docker, "localhost:5000/a/b@sha256:0", &image, &missing, &world->err));
	assert_false(missing);
	assert_string_equal(json_string_at(image, "Id"), "sha256:1");
	fake_engine_answer(world->engine, "GET /images/none/json", 404, "{\"message\":\"No such image: none\"}");
	assert_true(docker_image(&world->docker, "none", &image, &missing, &world->err));
	assert_true(missing);
	strings_add(&labels, &world->arena, "provision.project=ab");
	fake_engine_answer(world->engine, "GET /containers/json?all=1&filters=%7B%22label%22%3A%5B%22provision.project%3Dab%22%5D%7D", 200, "[]");
	assert_true(docker_containers(&world->docker, &labels, &list, &world->err));
	fake_engine_answer(world->engine, "POST /containers/create?name=x", 201, "{\"Id\":\"c1\",\"Warnings\":[]}");
	assert_true(docker_create(&world->docker, "x", body, &id, &world->err));
	assert_string_equal(id, "c1");
	assert_non_null(strstr(fake_engine_requests(world->engine), "POST /v1.41/containers/create?name=x {\"Image\":\"sha256:00\"}\n"));
	fake_engine_answer(world->engine, "POST /containers/create?name=x", 409, "{\"message\":\"Conflict. The container name \\\"/x\\\" is already in use\"}");
	assert_false(docker_create(&world->docker, "x", body, &id, &world->err));
	assert_non_null(strstr(world->err.text, "create container `x`: Conflict."));
	fake_engine_answer(world->engine, "POST /images/sha256:1/tag?repo=localhost%3A5000%2Fa&tag=2", 201, "");
	assert_true(docker_image_tag(&world->docker, "sha256:1", "localhost:5000/a:2", &world->err));
	fake_engine_answer(world->engine, "GET /images/bad/json", 200, "{\"Id\":");
	assert_false(docker_image(&world->docker, "bad", &image, &missing, &world->err));
	assert_int_equal(world->err.fault, FAULT_PROTOCOL);
}

static void
logs_of_a_container(void **state)
{
	static const char frames[] = "\1\0\0\0\0\0\0\3one\2\0\0\0\0\0\0\3two";
	struct world *world = *state;
	struct collected got;

	open_docker(world);
	buf_init(&got.out, 100);
	buf_init(&got.err, 100);
	fake_engine_answer_bytes(world->engine, "GET /containers/a/logs?stdout=1&stderr=1", 200, "", frames, sizeof frames - 1, 3);
	assert_true(docker_logs(&world->docker, "a", false, "", collect, &got, &world->err));
	assert_string_equal(got.out.data, "one");
	assert_string_equal(got.err.data, "two");
	buf_clear(&got.out);
	assert_true(docker_logs(&world->docker, "a", true, "12.5", collect, &got, &world->err));
	assert_int_equal(got.out.size, sizeof frames - 1);
	assert_non_null(strstr(fake_engine_requests(world->engine), "&since=12.5\n"));
	fake_engine_answer(world->engine, "GET /containers/a/logs", 200, "plain text is not framed");
	assert_false(docker_logs(&world->docker, "a", false, "", collect, &got, &world->err));
	assert_int_equal(world->err.fault, FAULT_PROTOCOL);
	fake_engine_answer(world->engine, "GET /containers/a/logs", 501, "{\"message\":\"configured logging driver does not support reading\"}");
	assert_false(docker_logs(&world->docker, "a", false, "", collect, &got, &world->err));
	assert_non_null(strstr(world->err.text, "configured logging driver does not support reading"));
	buf_finish(&got.out);
	buf_finish(&got.err);
}

/* ---- pulls */

struct seen_progress {
	uint64_t done, total;
};

static void
see(void *context, uint64_t done, uint64_t total)
{
	*(struct seen_progress *)context = (struct seen_progress){ done, total };
}

static void
run_to_the_end(void **state)
{
	static const char frames[] = "\1\0\0\0\0\0\0\3one";
	struct world *world = *state;
	struct collected got;
	int64_t code = 0;

	open_docker(world);
	buf_init(&got.out, 100);
	buf_init(&got.err, 100);
	fake_engine_answer_bytes(world->engine, "GET /containers/a/logs?stdout=1&stderr=1&follow=1", 200, "", frames, sizeof frames - 1, 1);
	assert_true(docker_follow(&world->docker, "a", 5000, collect, &got, &world->err));
	assert_string_equal(got.out.data, "one");
	fake_engine_answer(world->engine, "POST /containers/a/wait?condition=not-running", 200, "{\"StatusCode\":137,\"Error\":null}");
	assert_true(docker_wait(&world->docker, "a", 0, &code, &world->err));
	assert_int_equal(code, 137);
	fake_engine_answer(world->engine, "POST /containers/a/wait", 200, "{\"StatusCode\":-1,\"Error\":{\"Message\":\"lost\"}}");
	assert_false(docker_wait(&world->docker, "a", 0, &code, &world->err));
	assert_non_null(strstr(world->err.text, "wait for container `a`: lost"));
	fake_engine_answer(world->engine, "POST /containers/a/wait", 200, "{}");
	assert_false(docker_wait(&world->docker, "a", 0, &code, &world->err));
	fake_engine_answer(world->engine, "POST /containers/a/wait", 404, "{\"message\":\"No such container: a\"}");
	assert_false(docker_wait(&world->docker, "a", 0, &code, &world->err));
	assert_int_equal(code, 137);
	buf_finish(&got.out);
	buf_finish(&got.err);
}

static void
requests_for_gpus(void **state)
{
	static const struct {
		enum docker_gpu_way way;
		size_t count;
		const char *json;
	} cases[] = {
		{ DOCKER_GPU_HOOK, 2, "{\"HostConfig\":{\"DeviceRequests\":[{\"Driver\":\"\",\"Count\":0,\"DeviceIDs\":[\"GPU-a\",\"GPU-b\"],\"Capabilities\":[[\"gpu\"]],\"Options\":{}}]}}" },
		{ DOCKER_GPU_HOOK, 0, "{\"HostConfig\":{\"DeviceRequests\":[{\"Driver\":\"\",\"Count\":-1,\"DeviceIDs\":[],\"Capabilities\":[[\"gpu\"]],\"Options\":{}}]}}" },
		{ DOCKER_GPU_CDI, 1, "{\"HostConfig\":{\"DeviceRequests\":[{\"Driver\":\"cdi\",\"DeviceIDs\":[\"nvidia.com/gpu=GPU-a\"]}]}}" },
		{ DOCKER_GPU_CDI, 0, "{\"HostConfig\":{\"DeviceRequests\":[{\"Driver\":\"cdi\",\"DeviceIDs\":[\"nvidia.com/gpu=all\"]}]}}" },
		{ DOCKER_GPU_RUNTIME, 2, "{\"HostConfig\":{\"Runtime\":\"nvidia\"},\"Env\":[\"NVIDIA_VISIBLE_DEVICES=GPU-a,GPU-b\"]}" },
		{ DOCKER_GPU_RUNTIME, 0, "{\"HostConfig\":{\"Runtime\":\"nvidia\"},\"Env\":[\"NVIDIA_VISIBLE_DEVICES=all\"]}" },
	};
	struct arena arena finally(arena_finish) = { 0 };
	const char *uuids[] = { "GPU-a", "GPU-b" };

	(void)state;
	arena_init(&arena);
	assert_int_equal(docker_gpu_way(false), DOCKER_GPU_HOOK);
	assert_int_equal(docker_gpu_way(true), DOCKER_GPU_CDI);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		json_t *body finally(json_release) = json_pack("{s:{}}", "HostConfig");

		docker_ask_gpus(body, cases[i].way, &(struct strings){ .items = uuids, .count = cases[i].count });
		assert_string_equal(json_text(&arena, body, false), cases[i].json);
	}
}

static void
whose_root_it_is(void **state)
{
	static const struct {
		const char *info;
		bool rootless;
	} cases[] = {
		{ "{\"SecurityOptions\":[\"name=seccomp,profile=default\",\"name=rootless\"]}", true },
		{ "{\"SecurityOptions\":[\"name=apparmor\"]}", false },
		{ "{\"SecurityOptions\":null}", false },
		{ "{}", false },
	};
	struct world *world = *state;

	open_docker(world);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		bool rootless = !cases[i].rootless;

		fake_engine_answer(world->engine, "GET /info", 200, cases[i].info);
		assert_true(docker_is_rootless(&world->docker, &rootless, &world->err));
		assert_int_equal(rootless, cases[i].rootless);
	}
}

/* An engine that dies within an answer: what came of it is not believed, even where it reads well. */
static void
answers_that_break_off(void **state)
{
	static const char frames[] = "\1\0\0\0\0\0\0\3one";
	struct world *world = *state;
	json_t *container finally(json_release) = NULL;
	const char *id = NULL;
	struct collected got;
	bool missing;

	open_docker(world);
	buf_init(&got.out, 100);
	buf_init(&got.err, 100);
	fake_engine_answer(world->engine, "GET /containers/a/json", 200, "{\"Id\":\"a\"}");
	fake_engine_answer(world->engine, "POST /containers/create", 201, "{\"Id\":\"a\"}");
	fake_engine_answer(world->engine, "POST /containers/a/start", 200, "");
	fake_engine_answer_bytes(world->engine, "GET /containers/a/logs", 200, "", frames, sizeof frames - 1, 0);
	fake_engine_break_off(world->engine, true);
	assert_false(docker_container(&world->docker, "a", &container, &missing, &world->err));
	assert_int_equal(world->err.fault, FAULT_ENGINE);
	assert_non_null(strstr(world->err.text, "broke off"));
	assert_false(docker_create(&world->docker, "a", NULL, &id, &world->err));
	assert_non_null(strstr(world->err.text, "broke off"));
	assert_false(docker_start(&world->docker, "a", &world->err));
	assert_false(docker_logs(&world->docker, "a", false, "", collect, &got, &world->err));
	assert_int_equal(world->err.fault, FAULT_ENGINE);
	fake_engine_break_off(world->engine, false);
	assert_true(docker_container(&world->docker, "a", &container, &missing, &world->err));
	buf_finish(&got.out);
	buf_finish(&got.err);
}

static void
pulls(void **state)
{
	static const struct {
		const char *ref, *request, *body;
		int status;
		bool breaks_off;
		enum fault fault; /* FAULT_NONE: fine */
		const char *words;
	} cases[] = {
		{ "a/b", "POST /images/create?fromImage=a%2Fb&tag=latest&platform=linux%2Famd64",
			"{\"status\":\"Pulling fs layer\",\"id\":\"x\"}\r\n"
			"{\"status\":\"Downloading\",\"progressDetail\":{\"current\":3,\"total\":10},\"id\":\"x\"}{\"status\":\"Downloading\",\"id\":\"y\",\"progressDetail\":"
			"{\"current\":5,\"total\":20}}\r\n{\"status\":\"Download complete\",\"id\":\"x\"}\r\n{\"status\":\"a } in \\\" text {\"}", 200, false, FAULT_NONE, NULL },
		{ "a:1@sha256:00", "POST /images/create?fromImage=a&tag=sha256%3A00", "{\"status\":\"x\"}", 200, false, FAULT_NONE, NULL },
		{ "h:5000/a:1", "POST /images/create?fromImage=h%3A5000%2Fa&tag=1", "{\"status\":\"x\"}", 200, false, FAULT_NONE, NULL },
		{ "a", "POST /images/create?fromImage=a&tag=latest", "{\"status\":\"x\"}\r\n{\"errorDetail\":{\"message\":\"manifest unknown\"},\"error\":\"short\"}", 200, false,
			FAULT_NO_IMAGE, "pull `a`: manifest unknown" },
		{ "a", "POST /images/create?fromImage=a&tag=latest", "{\"message\":\"pull access denied for a\"}", 404, false, FAULT_NO_IMAGE, "pull access denied for a" },
		{ "a", "POST /images/create?fromImage=a&tag=latest", "{\"message\":\"Get https://r: dial tcp: lookup r: no such host\"}", 500, false, FAULT_NETWORK,
			"no such host" },
		{ "a", "POST /images/create?fromImage=a&tag=latest", "{\"status\":\"x\"}", 200, true, FAULT_ENGINE, "broke off" },
		{ "a", "POST /images/create?fromImage=a&tag=latest", "{\"status\":\"x\"", 200, false, FAULT_ENGINE, "broke off" },
		{ "a", "POST /images/create?fromImage=a&tag=latest", "{nothing}", 200, false, FAULT_ENGINE, "not valid JSON" },
	};
	struct world *world = *state;

	open_docker(world);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct seen_progress progress = { 0 };
		bool good;

		fake_engine_forget(world->engine);
		fake_engine_answer_bytes(world->engine, cases[i].request, cases[i].status, "", cases[i].body, strlen(cases[i].body), 7);
		fake_engine_break_off(world->engine, cases[i].breaks_off);
		good = docker_pull(&world->docker, cases[i].ref, i == 0 ? "linux/amd64" : NULL, see, &progress, &world->err);
		if (good != (cases[i].fault == FAULT_NONE))
			fail_msg("case %zu: %s\n%s", i, world->err.text, fake_engine_requests(world->engine));
		if (i == 0) {
			assert_int_equal(progress.done, 15);
			assert_int_equal(progress.total, 30);
		}
		if (!good && (world->err.fault != cases[i].fault || !strstr(world->err.text, cases[i].words)))
			fail_msg("case %zu: fault %d, `%s`", i, world->err.fault, world->err.text);
	}
}

static void
cancelled_call(void **state)
{
	struct world *world = *state;
	atomic_bool cancel = false;
	json_t *info finally(json_release) = NULL;

	assert_true(docker_init(&world->docker, "auto", &cancel, &world->arena, &world->err));
	cancel = true;
	assert_false(docker_info(&world->docker, &info, &world->err));
	assert_int_equal(world->err.fault, FAULT_INTERRUPTED);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_in_any_slices),
		cmocka_unit_test(frames_that_are_none),
		cmocka_unit_test_setup_teardown(endpoint_that_cannot_be_used, set_up, tear_down),
		cmocka_unit_test_setup_teardown(endpoint_of_a_context, set_up, tear_down),
		cmocka_unit_test_setup_teardown(logins_of_registries, set_up, tear_down),
		cmocka_unit_test_setup_teardown(version_to_speak, set_up, tear_down),
		cmocka_unit_test_setup_teardown(engine_updated_meanwhile, set_up, tear_down),
		cmocka_unit_test_setup_teardown(engine_that_is_too_new, set_up, tear_down),
		cmocka_unit_test_setup_teardown(words_of_the_engine, set_up, tear_down),
		cmocka_unit_test_setup_teardown(statuses_that_are_fine, set_up, tear_down),
		cmocka_unit_test_setup_teardown(images_and_containers, set_up, tear_down),
		cmocka_unit_test_setup_teardown(logs_of_a_container, set_up, tear_down),
		cmocka_unit_test_setup_teardown(run_to_the_end, set_up, tear_down),
		cmocka_unit_test(requests_for_gpus),
		cmocka_unit_test_setup_teardown(whose_root_it_is, set_up, tear_down),
		cmocka_unit_test_setup_teardown(answers_that_break_off, set_up, tear_down),
		cmocka_unit_test_setup_teardown(pulls, set_up, tear_down),
		cmocka_unit_test_setup_teardown(cancelled_call, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
