/* The rule `service`: its arguments, the body of a container, and whole runs of the engine over processes. The server is this program itself: `service_test serve`. */
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/apply.h"
#include "engine/base/clock.h"
#include "engine/base/file.h"
#include "engine/base/json.h"
#include "engine/inspect.h"
#include "engine/plan.h"
#include "engine/task.h"
#include "rules/client/procfs.h"
#include "rules/rules.h"
#include "rules/service_internal.h"
#include "engine/task_internal.h"
#include "tests/fake/engine.h"
#include "tests/fake/memory.h"

#include <cmocka.h> /* last: its macro `fail` hides our function */

#define IMAGE "provision-service-test:1"

static struct arena arena;

/* What carries a project's mark is looked for on the whole machine, and this test may run twice at once. */
static char own_project[13];

static const char *
of_project(const char *rest)
{
	return arena_printf(&arena, "%s%s", own_project, rest);
}

static int
set_up_arena(void **state)
{
	(void)state;
	arena_init(&arena);
	return 0;
}

static int
tear_down_arena(void **state)
{
	(void)state;
	arena_finish(&arena);
	return 0;
}

/* ------------------------------------------------------------------ the server */

/* serve ADDRESS PORT [delay=MS] [say=TEXT] [exit=CODE] [status=503] [replica=N] [end=N]: answer every request, after a while; or say something and end. Replica `end` ends. */
static int
serve(int argc, char **argv)
{
	static const char *const reasons[] = { "HTTP/1.1 200 OK", "HTTP/1.1 503 Service Unavailable" };
	struct sockaddr_in name = { .sin_family = AF_INET };
	int delay = 0, code = -1, bad = 0, one = 1, replica = -1, end = -2;
	char bytes[4096];

	if (argc < 4)
		return 2;
	inet_pton(AF_INET, argv[2], &name.sin_addr);
	name.sin_port = htons((uint16_t)strtol(argv[3], NULL, 10));
	for (int i = 4; i < argc; i++) {
		if (strncmp(argv[i], "delay=", 6) == 0)
			delay = (int)strtol(argv[i] + 6, NULL, 10);
		else if (strncmp(argv[i], "say=", 4) == 0)
			fprintf(stderr, "%s\n", argv[i] + 4);
		else if (strncmp(argv[i], "exit=", 5) == 0)
			code = (int)strtol(argv[i] + 5, NULL, 10);
		else if (strncmp(argv[i], "replica=", 8) == 0)
			replica = (int)strtol(argv[i] + 8, NULL, 10);
		else if (strncmp(argv[i], "end=", 4) == 0)
			end = (int)strtol(argv[i] + 4, NULL, 10);
		else if (strcmp(argv[i], "status=503") == 0)
			bad = 1;
	}
	usleep((unsigned)delay * 1000);
	if (replica == end)
		return 9;
	if (code >= 0)
		return code;
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(listener, (struct sockaddr *)&name, sizeof name) != 0 || listen(listener, 16) != 0)
		return 3;
	for (;;) {
		int client = accept(listener, NULL, NULL);
		/* Who only looks whether somebody listens asks nothing. */
		if (read(client, bytes, sizeof bytes) > 0) {
			int size = snprintf(bytes, sizeof bytes, "%s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", reasons[bad]);
			send(client, bytes, (size_t)size, MSG_NOSIGNAL);
		}
		close(client);
	}
}

/* ------------------------------------------------------------------ pure parts */

static void
test_args(void **state)
{
	static const struct {
		const char *json, *argv; /* elements with | behind */
	} cases[] = {
		{ NULL, "" },
		{ "[]", "" },
		{ "{}", "" },
		{ "[\"/model\",\"--port\",8000,0.92,true,{\"image\":10}]", "/model|--port|8000|0.92|true|{\"image\":10}|" },
		{ "{\"tensor-parallel-size\":4,\"enforce-eager\":true,\"trust-remote-code\":false,\"x\":null}", "--tensor-parallel-size|4|--enforce-eager|" },
		{ "{\"b\":1,\"a\":2}", "--b|1|--a|2|" },
		{ "{\"served-model-name\":[\"a b\",\"c\"],\"limit-mm-per-prompt\":{\"image\":10,\"video\":0}}",
			"--served-model-name|a b|c|--limit-mm-per-prompt|{\"image\":10,\"video\":0}|" },
		{ "{\"gpu-memory-utilization\":0.9,\"-tp\":2,\"name\":\"it's $HOME; rm\",\"empty\":[]}",
			"--gpu-memory-utilization|0.9|-tp|2|--name|it's $HOME; rm|--empty|" },
		{ "\"--port 8000\"", NULL },
		{ "7", NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct strings argv = { 0 };
		struct error err = { 0 };
		const char *text = "";
		bool ok = service_args(cases[i].json, &arena, &argv, &err);
		assert_int_equal(ok, cases[i].argv != NULL);
		if (!ok) {
			assert_int_equal(err.fault, FAULT_BAD_VALUE);
			continue;
		}
		for (size_t k = 0; k < argv.count; k++)
			text = arena_printf(&arena, "%s%s|", text, argv.items[k]);
		assert_string_equal(text, cases[i].argv);
	}
}

static void
test_fill(void **state)
{
	const struct instance instance = { .host = "127.0.0.1", .port = 8002, .replica = 2 };
	static const char *const cases[][2] = {
		{ "--port={port}", "--port=8002" },
		{ "{host}:{port}/{replica}", "127.0.0.1:8002/2" },
		{ "{\"port\": {port}}", "{\"port\": 8002}" },
		{ "{hosts} {", "{hosts} {" },
		{ "", "" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		assert_string_equal(service_fill(cases[i][0], &instance, &arena), cases[i][1]);
}

static void
test_ulimits(void **state)
{
	static const struct {
		const char *text;
		bool ok;
		int64_t soft, hard;
	} cases[] = {
		{ "-1", true, -1, -1 },
		{ "65535", true, 65535, 65535 },
		{ "1024:65535", true, 1024, 65535 },
		{ "1024:-1", true, 1024, -1 },
		{ "-1:5", false, 0, 0 },
		{ "9:5", false, 0, 0 },
		{ "-2", false, 0, 0 },
		{ "", false, 0, 0 },
		{ "many", false, 0, 0 },
		{ "1:2:3", false, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		int64_t soft, hard;
		assert_int_equal(service_ulimit(cases[i].text, &soft, &hard), cases[i].ok);
		if (cases[i].ok) {
			assert_int_equal(soft, cases[i].soft);
			assert_int_equal(hard, cases[i].hard);
		}
	}
}

static void
test_stages(void **state)
{
	static const struct {
		const char *line, *name;
		uint64_t done, total;
	} cases[] = {
		{ "(Worker pid=1) Loading safetensors checkpoint shards:  75% Completed | 3/4 [00:09<00:03,  3.1s/it]", "loading weights", 3, 4 },
		{ "INFO 11-22 10:04:31 [gpu_model_runner.py:2] Starting to load model /model...", "loading weights", 0, 0 },
		{ "INFO Model loading took 19.1 GiB memory", "warming up", 0, 0 },
		{ "Capturing CUDA graphs (mixed prefill-decode, PIECEWISE):  50%|#####     | 17/35", "warming up", 0, 0 },
		{ "INFO:     Application startup complete.", "port open", 0, 0 },
		{ "INFO: something else | 3/4", NULL, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct service_stage stage = { 0 };
		assert_int_equal(service_stage_of(cases[i].line, &stage), cases[i].name != NULL);
		if (!cases[i].name)
			continue;
		assert_string_equal(stage.name, cases[i].name);
		assert_int_equal(stage.done, cases[i].done);
		assert_int_equal(stage.total, cases[i].total);
	}
}

static const char *
body_text(const struct service *spec, const struct instance *instance, bool podman)
{
	json_t *body = NULL;
	struct error err;

	assert_true(service_docker_body(spec, instance, podman, &arena, &body, &err));
	if (instance->gpus.count)
		docker_ask_gpus(body, docker_gpu_way(podman), &instance->gpus);
	const char *text = json_text(&arena, body, true);
	json_decref(body);
	return text;
}

static void
test_docker_body(void **state)
{
	static const struct mount mounts[] = { { "/data/model", "/model", true } };
	static struct pair limits[] = { { "memlock", "-1" } }, env[] = { { "HF_HUB_OFFLINE", "1" } };
	const char *gpus[] = { "GPU-1", "GPU-2" };
	struct service spec = {
		.image = "server:1", .args = "{\"tensor-parallel-size\":2}", .host = "127.0.0.1", .port = 8000, .container_port = 80, .gpus = "[0,1]",
		.mounts = { mounts, 1, NULL }, .shm_size = 1 << 30, .ulimits = { limits, 1, 1 }, .env = { env, 1, 1 }, .user = "1000:1000",
		.restart = 2,
	};
	struct instance instance = { .image = "sha256:abc", .host = "127.0.0.1", .port = 8001, .gpus = { gpus, 2, 2 }, .stop_timeout = 30500 };

	(void)state;
	assert_string_equal(body_text(&spec, &instance, false),
		"{\"Cmd\":[\"--tensor-parallel-size\",\"2\"],\"Env\":[\"HF_HUB_OFFLINE=1\"],\"ExposedPorts\":{\"80/tcp\":{}},"
		"\"HostConfig\":{\"CapDrop\":[\"ALL\"],\"DeviceRequests\":[{\"Capabilities\":[[\"gpu\"]],\"Count\":0,\"DeviceIDs\":[\"GPU-1\",\"GPU-2\"],"
		"\"Driver\":\"\",\"Options\":{}}],\"Init\":true,\"IpcMode\":\"private\",\"LogConfig\":{\"Config\":{\"max-file\":\"5\",\"max-size\":\"50m\"},"
		"\"Type\":\"json-file\"},\"Mounts\":[{\"ReadOnly\":true,\"Source\":\"/data/model\",\"Target\":\"/model\",\"Type\":\"bind\"}],"
		"\"PidsLimit\":32768,\"PortBindings\":{\"80/tcp\":[{\"HostIp\":\"127.0.0.1\",\"HostPort\":\"8001\"}]},\"RestartPolicy\":{\"Name\":\"no\"},"
		"\"SecurityOpt\":[\"no-new-privileges\"],\"ShmSize\":1073741824,\"Ulimits\":[{\"Hard\":-1,\"Name\":\"memlock\",\"Soft\":-1}]},"
		"\"Image\":\"sha256:abc\",\"Labels\":{},\"StopTimeout\":31,\"User\":\"1000:1000\"}");
	const char *podman = body_text(&spec, &instance, true);
	assert_non_null(strstr(podman, "\"DeviceRequests\":[{\"DeviceIDs\":[\"nvidia.com/gpu=GPU-1\",\"nvidia.com/gpu=GPU-2\"],\"Driver\":\"cdi\"}]"));
	/* Where /dev/shm is the host's, two instances must not meet in it; where it is the container's own, there is nothing to meet. */
	assert_null(strstr(podman, "SHM_BUFFER_NAME"));
	spec.ipc = 1;
	instance.intent = "A1";
	assert_non_null(strstr(body_text(&spec, &instance, false), "\"VLLM_OBJECT_STORAGE_SHM_BUFFER_NAME=provision-A1\""));
	instance.intent = "A2";
	assert_non_null(strstr(body_text(&spec, &instance, false), "\"VLLM_OBJECT_STORAGE_SHM_BUFFER_NAME=provision-A2\""));
	assert_non_null(strstr(body_text(&spec, &instance, false), "\"IpcMode\":\"host\""));
	/* Without GPUs the image's own wish for all of them must not be granted. */
	instance.gpus.count = 0;
	const char *none = body_text(&spec, &instance, false);
	assert_null(strstr(none, "DeviceRequests"));
	assert_non_null(strstr(none, "\"NVIDIA_VISIBLE_DEVICES=void\""));
}

static void
test_note_round_trip(void **state)
{
	struct instance container = {
		.runtime = &docker_runtime, .id = "c0ffee", .tag = "p/d/t/R/1/ID", .run = "R", .replica = 1, .host = "::1", .port = 8001,
		.stop_timeout = 30000, .ready = { "/health", 900000, 2000 }, .ready_ms = 1234, .name = "provision-d-t-R-1", .image = "sha256:1",
		.key = "k", .restart = "unless-stopped",
	};
	struct instance process = container, parsed;
	struct error err;

	(void)state;
	strings_add(&container.gpus, &arena, "GPU-1");
	struct artifact artifact = { .kind = ARTIFACT_CONTAINER, .name = "c0ffee", .note = instance_note(&container, &arena) };
	assert_true(instance_parse(&artifact, &arena, &parsed, &err));
	assert_string_equal(instance_note(&parsed, &arena), artifact.note);
	assert_string_equal(instance_url(&parsed, "/v1", &arena), "http://[::1]:8001/v1");
	assert_true(instances_collide(&parsed, &container));

	process.runtime = &process_runtime;
	process.port = 9000;
	process.process = (struct process_id){ .pid = 4711, .start = 5, .boot = "boot" };
	process.workdir = "/";
	process.log = "/x.log";
	strings_add(&process.argv, &arena, "server");
	strings_add(&process.env_from, &arena, "VLLM_API_KEY");
	pairs_set(&process.env, &arena, "A", "b=c");
	artifact = (struct artifact){ .kind = ARTIFACT_PROCESS, .name = "4711", .note = instance_note(&process, &arena) };
	assert_true(instance_parse(&artifact, &arena, &parsed, &err));
	assert_string_equal(instance_note(&parsed, &arena), artifact.note);
	assert_int_equal(parsed.process.pid, 4711);
	assert_false(instances_collide(&parsed, &container));
	strings_add(&parsed.gpus, &arena, "GPU-1");
	assert_true(instances_collide(&parsed, &container));

	artifact.note = "{\"tag\":\"x\"}";
	assert_false(instance_parse(&artifact, &arena, &parsed, &err));
	artifact.note = NULL;
	assert_false(instance_parse(&artifact, &arena, &parsed, &err));
}

/* ------------------------------------------------------------------ whole runs */

struct gate {
	const char *value;
};

static const struct param gate_params[] = { { "value", PARAM_STRING, offsetof(struct gate, value), .about = "`no` refuses" }, { 0 } };
static const struct output gate_outputs[] = { { 0 } };

/* Stands for `validate`: accepts the service, or not. */
static bool
gate_build(const void *spec, struct task *task, struct error *err)
{
	const struct gate *gate = spec;

	(void)task;
	return !text_equal(gate->value, "no") || (fail)(err, FAULT_NOT_ACCEPTED, "not accepted");
}

static const struct rule gate_rule = {
	.name = "gate", .version = 1, .params = gate_params, .size = sizeof(struct gate), .outputs = gate_outputs, .build = gate_build,
};
static const struct rule *const rules[] = { &service_rule, &gate_rule, NULL };

struct world {
	struct fake_memory memory;
	char root[64];
	int port;
	bool docker;
	const char *advice; /* codes of what the last plan found */
	struct cost cost;   /* likewise */
};

static const char *
memory_project(void *self)
{
	(void)self;
	return own_project;
}

#define PORTS 8

static bool
port_is_free(int port)
{
	const struct sockaddr_in name = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = { htonl(INADDR_LOOPBACK) } };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool is_free = bind(fd, (const struct sockaddr *)&name, sizeof name) == 0;

	close(fd);
	return is_free;
}

/* A port that was free a moment ago, with those above it. Below the range that the kernel deals out: no client's connection can take one meanwhile. */
static int
free_port(void)
{
	static int next;
	int count = 0;

	if (!next)
		next = 10000 + (int)(getpid() % 60) * 360;
	while (count < PORTS) {
		count = port_is_free(next) ? count + 1 : 0;
		next = next < 32000 ? next + 1 : 10000;
	}
	return next - PORTS;
}

static int
set_up(void **state)
{
	struct world *world = calloc(1, sizeof *world);

	arena_init(&arena);
	snprintf(world->root, sizeof world->root, "/tmp/provision-service-XXXXXX");
	if (!mkdtemp(world->root))
		return -1;
	fake_memory_init(&world->memory);
	world->memory.socket.project = memory_project;
	world->port = free_port();
	*state = world;
	return 0;
}

static size_t
count_instances(void)
{
	struct process_id found[16];
	char tag[32];

	/* Not out of the arena: a stranger's thread asks too. */
	snprintf(tag, sizeof tag, "%s/demo/", own_project);
	return process_find_tagged(tag, found, 16);
}

static int
tear_down(void **state)
{
	struct world *world = *state;
	struct process_id found[16];
	struct process_result result;
	struct error err;
	const char *const argv[] = { "/bin/rm", "-r", world->root, NULL };
	const struct process_spec spec = { .argv = argv };

	for (size_t i = process_find_tagged(of_project("/demo/"), found, 16); i-- > 0;)
		process_stop(&found[i], of_project("/demo/"), 100, &err);
	process_run(&spec, &arena, &result, &err);
	fake_memory_finish(&world->memory);
	free(world);
	arena_finish(&arena);
	return 0;
}

enum what { APPLY, DESTROY, PLAN };

/* What differs by runtime. In a container the server is this very program, mounted with the libraries that it needs into an empty image. */
static const char *
runtime_lines(const struct world *world)
{
	char self[256] = { 0 };

	assert_true(readlink("/proc/self/exe", self, sizeof self - 1) > 0);
	if (!world->docker)
		return arena_printf(&arena, "    runtime: process\n    command: [%s, serve, '{host}', '{port}']\n", self);
	return arena_printf(&arena, "    runtime: docker\n    image: " IMAGE "\n    container_port: 80\n    restart: unless-stopped\n    env: {ASAN_OPTIONS: detect_leaks=0}\n"
		"    mounts: [{source: %s, target: /serve, readonly: true}, {source: /lib, target: /lib}, {source: /lib64, target: /lib64}, "
		"{source: /usr/lib, target: /usr/lib, readonly: true}]\n", self);
}

/* One run over a manifest of one service, `extra` its further parameters, and what else there is. */
static struct apply_result
run(struct world *world, enum what what, const char *args, const char *extra)
{
	struct errors errors;
	struct error err = { 0 };
	struct manifest manifest = { 0 };
	struct graph graph;
	struct known known;
	struct inspection inspection;
	struct plan plan;
	struct apply_result result = { 0 };
	const struct pairs no_sets = { 0 };
	const struct strings no_names = { 0 };
	const struct wishes wishes = { .estimate = true };
	const struct project project = { .root = world->root, .state_dir = arena_printf(&arena, "%s/.provision", world->root), .id = own_project };
	const struct apply_options options = { .jobs = 2, .keep_going = 1, .grace = 500, .run = { .id = task_new_id(NULL, &arena), .command = "apply" } };
	bool changed;
	int signal;

	errors_init(&errors, &arena);
	const char *path = arena_printf(&arena, "%s/m.yaml", world->root);
	const char *text = arena_printf(&arena, "provision: 1\nname: demo\ntargets:\n  api:\n    rule: service\n    port: %d\n%s    args: [%s]\n"
		"    stop_timeout: 2s\n%s%s",
		world->port, runtime_lines(world), args, strstr(extra, "ready") ? "" : "    ready: {timeout: 20s, interval: 50ms}\n", extra);
	assert_true(file_save(path, text, strlen(text), 0600, &err));
	if (!manifest_load(&manifest, path, world->root, &no_sets, &arena, &errors) || !graph_link(&graph, &manifest, rules, &errors))
		fail_msg("%s", errors.items[0].text);
	known_init(&known, &world->memory.socket, &arena);
	assert_true(inspect(&inspection, &manifest, &graph, &world->memory.socket, &project, &wishes, &known, &arena, &err));
	if (what == PLAN) {
		result.error = inspection.seen[0].detail ? inspection.seen[0].detail->error : (struct error){ 0 };
		result.changed = inspection.seen[0].reason != REASON_NONE;
		world->advice = "";
		for (size_t i = 0; inspection.seen[0].detail && i < inspection.seen[0].detail->findings.count; i++)
			world->advice = arena_printf(&arena, "%s%s ", world->advice, fault_row(inspection.seen[0].detail->findings.items[i].fault)->code);
		if (inspection.seen[0].detail)
			world->cost = inspection.seen[0].detail->cost;
	} else if (what == DESTROY) {
		assert_true(apply_destroy(&inspection, &no_names, NULL, &options, &arena, &result, &err));
	} else {
		if (!apply_recover(&inspection, NULL, &options, &arena, &changed, &signal, &err))
			fail_msg("%s", err.text);
		assert_true(inspect(&inspection, &manifest, &graph, &world->memory.socket, &project, &wishes, &known, &arena, &err));
		assert_true(plan_make(&plan, &inspection, &arena, &err));
		if (!apply(&plan, NULL, &options, &arena, &result, &err))
			result.error = err;
	}
	graph_finish(&graph);
	known_finish(&known);
	return result;
}

static struct record
recorded(struct world *world)
{
	const struct row *row = fake_memory_row(&world->memory, "api");
	struct record record = { 0 };

	assert_non_null(row);
	assert_true(record_unpack(&record, row->body, row->body_size, &arena));
	return record;
}

static pid_t
recorded_pid(struct world *world)
{
	const struct record record = recorded(world);

	return (pid_t)strtol(pairs_get(&record.outputs, "ids"), NULL, 10);
}

static bool
runs(pid_t pid)
{
	struct procfs_stat stat;

	return procfs_stat(pid, &stat) && stat.state != 'Z' && stat.state != 'X';
}

static void
expect_ok(const struct apply_result *result, uint32_t changed)
{
	if (result->error.fault != FAULT_NONE)
		fail_msg("%s", result->error.text);
	assert_int_equal(result->status, STATUS_OK);
	assert_int_equal(result->changed, changed);
}

static void
test_start_look_destroy(void **state)
{
	struct world *world = *state;
	struct apply_result result = run(world, APPLY, "say=hello", "");
	char url[64];

	expect_ok(&result, 1);
	pid_t pid = recorded_pid(world);
	assert_true(runs(pid));
	assert_int_equal(count_instances(), 1);
	assert_int_equal(world->memory.intent_count, 0);
	const struct record record = recorded(world);
	snprintf(url, sizeof url, "http://127.0.0.1:%d/v1", world->port);
	assert_string_equal(pairs_get(&record.outputs, "url"), url);
	assert_string_equal(pairs_get(&record.outputs, "urls"), url);
	assert_string_equal(pairs_get(&record.outputs, "gpus"), "");

	result = run(world, APPLY, "say=hello", "");
	expect_ok(&result, 0);
	assert_int_equal(recorded_pid(world), pid);

	/* Killed by somebody: the next run starts it again. */
	kill(pid, SIGKILL);
	while (runs(pid))
		clock_sleep_ms(5, NULL);
	result = run(world, APPLY, "say=hello", "");
	expect_ok(&result, 1);
	assert_true(recorded_pid(world) != pid);
	pid = recorded_pid(world);
	const struct record last = recorded(world);
	struct instance instance;
	struct error err;
	assert_true(instance_parse(&last.artifacts.items[0], &arena, &instance, &err));
	assert_int_equal(access(instance.log, F_OK), 0);

	result = run(world, DESTROY, "say=hello", "");
	expect_ok(&result, 1);
	assert_false(runs(pid));
	assert_int_equal(access(instance.log, F_OK), -1);
	assert_int_equal(count_instances(), 0);
	assert_null(fake_memory_row(&world->memory, "api"));
	assert_null(process_port_holder("127.0.0.1", world->port, &arena));
}

static void
test_swap(void **state)
{
	struct world *world = *state;
	struct apply_result result = run(world, APPLY, "one", "  accept: {rule: gate, needs: [api]}\n");

	expect_ok(&result, 2);
	pid_t old = recorded_pid(world);
	result = run(world, APPLY, "two", "  accept: {rule: gate, needs: [api]}\n");
	expect_ok(&result, 2);
	assert_false(runs(old));
	assert_true(runs(recorded_pid(world)));
	assert_int_equal(count_instances(), 1);
	assert_int_equal(world->memory.kept_count, 0);

	/* Another port needs nothing of the old one: both run until the new one is accepted. */
	old = recorded_pid(world);
	world->port = free_port();
	result = run(world, APPLY, "two", "  accept: {rule: gate, needs: [api]}\n");
	expect_ok(&result, 2);
	assert_false(runs(old));
	assert_int_equal(count_instances(), 1);
}

static void
test_old_one_comes_back(void **state)
{
	static const struct {
		const char *args, *extra;
		enum fault fault;
		const char *says, *hint;
	} cases[] = {
		{ "exit=1, 'say=torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.16 GiB'", "", FAULT_OUT_OF_MEMORY,
			"ended before it was ready (exit 1): the weights do not fit", "more GPUs" },
		{ "exit=3, say=what is this", "", FAULT_START, "ended before it was ready (exit 3); log: what is this", "provision logs api" },
		{ "status=503", "    ready: {timeout: 400ms, interval: 50ms}\n", FAULT_NOT_READY, "answered 503", "timeout" },
		{ "delay=60000", "    ready: {timeout: 400ms, interval: 50ms}\n", FAULT_NOT_READY, "not ready within", "timeout" },
		{ "two", "    env_from: [SURELY_NOT_SET]\n", FAULT_PERMISSION, "SURELY_NOT_SET", NULL },
		{ "two", "    gpus: [0]\n", FAULT_NO_DRIVER, "", NULL },
		{ "two", "  accept: {rule: gate, needs: [api], value: no}\n", FAULT_NOT_ACCEPTED, "not accepted", NULL },
	};
	struct world *world = *state;
	struct apply_result result = run(world, APPLY, "one", "");

	expect_ok(&result, 1);
	setenv("PROVISION_NVML", "/no/such/library", 1);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const char *extra = cases[i].extra;
		result = run(world, APPLY, cases[i].args, extra);
		assert_int_equal(result.status, fault_row(cases[i].fault)->status);
		if (result.error.fault != cases[i].fault || !strstr(result.error.text, cases[i].says))
			fail_msg("case %zu: %s", i, result.error.text);
		if (cases[i].hint && !strstr(result.error.hint, cases[i].hint))
			fail_msg("case %zu: hint: %s", i, result.error.hint);
		assert_int_equal(count_instances(), 1);
		assert_true(runs(recorded_pid(world)));
		assert_int_equal(world->memory.kept_count, 0);
		assert_int_equal(world->memory.intent_count, 0);
		/* The record speaks of the instance that runs: there is nothing to do. */
		pid_t pid = recorded_pid(world);
		result = run(world, PLAN, "one", "");
		assert_int_equal(result.changed, 0);
		assert_int_equal(recorded_pid(world), pid);
	}
	unsetenv("PROVISION_NVML");
}

static void
test_old_one_is_waited_for(void **state)
{
	struct world *world = *state;
	struct apply_result result = run(world, APPLY, "delay=700", "");

	expect_ok(&result, 1);
	result = run(world, APPLY, "exit=1", "");
	assert_int_equal(result.error.fault, FAULT_START);
	assert_true(service_is_listening("127.0.0.1", world->port));
	/* The target's own limit counts, too. */
	result = run(world, APPLY, "delay=60000", "    timeout: 300ms\n");
	assert_int_equal(result.error.fault, FAULT_NOT_READY);
	assert_non_null(strstr(result.error.text, "within 0.3 s"));
}

static bool (*remember_intent)(void *self, const struct intent *intent, struct error *err);
static size_t intents_seen, too_early;

static bool
look_and_remember(void *self, const struct intent *intent, struct error *err)
{
	intents_seen++;
	too_early += count_instances();
	return remember_intent(self, intent, err);
}

/* What is started before its intent is durable is nobody's after a crash. */
static void
test_intent_comes_first(void **state)
{
	struct world *world = *state;
	struct apply_result result;

	remember_intent = world->memory.socket.add_intent;
	world->memory.socket.add_intent = look_and_remember;
	result = run(world, APPLY, "say=hello", "");
	expect_ok(&result, 1);
	assert_true(intents_seen > 0);
	assert_int_equal(too_early, 0);
	result = run(world, DESTROY, "say=hello", "");
	expect_ok(&result, 1);
}

static void
test_first_start_fails_clean(void **state)
{
	struct world *world = *state;
	struct apply_result result = run(world, APPLY, "exit=0", "");

	assert_int_equal(result.error.fault, FAULT_START);
	assert_int_equal(count_instances(), 0);
	assert_null(fake_memory_row(&world->memory, "api"));
	assert_int_equal(world->memory.intent_count, 0);
}

static void
test_port_is_held(void **state)
{
	struct world *world = *state;
	struct sockaddr_in name = { .sin_family = AF_INET, .sin_port = htons((uint16_t)world->port), .sin_addr = { htonl(INADDR_LOOPBACK) } };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&name, sizeof name), 0);
	assert_int_equal(listen(fd, 1), 0);
	struct apply_result result = run(world, APPLY, "one", "");
	assert_int_equal(result.error.fault, FAULT_PORT_HELD);
	assert_non_null(strstr(result.error.text, arena_printf(&arena, "(pid %d)", (int)getpid())));
	assert_int_equal(result.error.at.line, 6);
	assert_int_equal(count_instances(), 0);
	close(fd);
}

/* Takes the port as soon as the service was started, and answers in its place. */
static void *
answer_in_its_place(void *context)
{
	const struct world *world = context;
	struct sockaddr_in name = { .sin_family = AF_INET, .sin_port = htons((uint16_t)world->port), .sin_addr = { htonl(INADDR_LOOPBACK) } };
	static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
	char bytes[4096];

	while (count_instances() == 0)
		clock_sleep_ms(5, NULL);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(listener, (struct sockaddr *)&name, sizeof name) != 0 || listen(listener, 4) != 0)
		return context;
	int client = accept(listener, NULL, NULL);
	if (read(client, bytes, sizeof bytes) > 0)
		send(client, answer, sizeof answer - 1, MSG_NOSIGNAL);
	/* It is still there when the answer is looked at. */
	while (count_instances() > 0)
		clock_sleep_ms(5, NULL);
	close(client);
	close(listener);
	return NULL;
}

static void
test_a_stranger_does_not_make_it_ready(void **state)
{
	struct world *world = *state;
	void *trouble;
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, answer_in_its_place, world), 0);
	struct apply_result result = run(world, APPLY, "delay=60000", "");
	pthread_join(thread, &trouble);
	assert_null(trouble); /* it could listen */
	assert_int_equal(result.error.fault, FAULT_PORT_HELD);
	assert_non_null(strstr(result.error.text, arena_printf(&arena, "(pid %d), not by the service", (int)getpid())));
	assert_int_equal(result.error.at.line, 6);
	assert_int_equal(count_instances(), 0);
	assert_null(fake_memory_row(&world->memory, "api"));
}

static size_t
count_logs(const struct world *world, const char *ending)
{
	DIR *directory = opendir(arena_printf(&arena, "%s/.provision/runtime", world->root));
	const struct dirent *entry;
	size_t count = 0;

	assert_non_null(directory);
	while ((entry = readdir(directory)))
		count += text_ends(entry->d_name, ending);
	closedir(directory);
	return count;
}

static struct instance
recorded_instance(struct world *world)
{
	const struct record record = recorded(world);
	struct instance instance;
	struct error err;

	assert_true(instance_parse(&record.artifacts.items[0], &arena, &instance, &err));
	return instance;
}

/* Three of instances that are gone, and the one that is in use, of this target alone. */
static void
test_old_logs_go(void **state)
{
	struct world *world = *state;
	static const char *const others[] = { "demo.api-two.0-OLDLOGXX.log", "demo.api.x.0-OLDLOGXX.log", "demo2.api.0-OLDLOGXX.log" };
	struct error err;

	expect_ok((struct apply_result[]){ run(world, APPLY, "n0", "") }, 1);
	for (size_t i = 0; i < 3; i++)
		assert_true(file_save(arena_printf(&arena, "%s/.provision/runtime/%s", world->root, others[i]), "x", 1, 0600, &err));
	for (int i = 1; i < 7; i++) {
		const struct apply_result result = run(world, APPLY, arena_printf(&arena, "n%d", i), "");
		expect_ok(&result, 1);
		assert_int_equal(access(recorded_instance(world).log, F_OK), 0);
	}
	/* A start that failed has said why. */
	assert_int_equal(run(world, APPLY, "exit=1, say=this is why", "").error.fault, FAULT_START);
	assert_int_equal(count_logs(world, "-OLDLOGXX.log"), 3);
	assert_int_equal(count_logs(world, ".log"), 1 + 3 + 3);
	assert_int_equal(access(recorded_instance(world).log, F_OK), 0);
}

static void
test_long_logs_are_cut(void **state)
{
	static const char last[] = "the last words\n";
	struct world *world = *state;
	const char *runtime = arena_printf(&arena, "%s/.provision", world->root);
	struct error err = { 0 };
	struct stat st;

	expect_ok((struct apply_result[]){ run(world, APPLY, "say=hello", "") }, 1);
	const char *log = recorded_instance(world).log, *tail = arena_printf(&arena, "%s.1", log);
	assert_true(rules_tidy(runtime, 100, &arena, &err));
	assert_int_equal(access(tail, F_OK), -1);

	/* The server's own descriptor, as it was given to it. */
	int fd = open(arena_printf(&arena, "/proc/%d/fd/2", (int)recorded_pid(world)), O_WRONLY | O_APPEND | O_CLOEXEC);
	assert_int_equal(ftruncate(fd, (off_t)100 << 20), 0);
	assert_int_equal(write(fd, last, sizeof last - 1), sizeof last - 1);
	if (!rules_tidy(runtime, 100, &arena, &err))
		fail_msg("%s", err.text);
	assert_int_equal(stat(log, &st), 0);
	assert_int_equal(st.st_size, 0);
	assert_int_equal(stat(tail, &st), 0);
	assert_int_equal(st.st_size, 16 << 20);
	const char *text;
	size_t size;
	assert_true(file_load(tail, 17 << 20, &arena, &text, &size, &err));
	assert_string_equal(text + size - (sizeof last - 1), last);
	/* It goes on at the beginning: it was opened for appending. */
	assert_int_equal(write(fd, last, sizeof last - 1), sizeof last - 1);
	close(fd);
	assert_int_equal(stat(log, &st), 0);
	assert_int_equal(st.st_size, sizeof last - 1);
	FILE *info = fopen(arena_printf(&arena, "/proc/%d/fdinfo/2", (int)recorded_pid(world)), "re");
	unsigned flags = 0;
	assert_int_equal(fscanf(info, "pos: %*d flags: %o", &flags), 1);
	fclose(info);
	assert_true(flags & O_APPEND);
	expect_ok((struct apply_result[]){ run(world, DESTROY, "say=hello", "") }, 1);
	assert_int_equal(access(tail, F_OK), -1);
}

static void
test_reserved_gpus(void **state)
{
	struct world *world = *state;
	struct apply_result result = run(world, PLAN, "one", "    gpus: [2, 3]\nreserve: {gpus: [3], for: training}\n");

	assert_int_equal(result.error.fault, FAULT_RESERVED_GPU);
	assert_int_equal(result.error.at.line, 12);
	result = run(world, PLAN, "one", "    gpus: [1, 2]\nreserve: {gpus: [3], for: training}\n");
	assert_int_equal(result.error.fault, FAULT_NONE);
}

static void
test_replicas(void **state)
{
	struct world *world = *state;
	struct apply_result result = run(world, APPLY, "one", "    replicas: 3\n");

	expect_ok(&result, 1);
	assert_int_equal(count_instances(), 3);
	for (int i = 0; i < 3; i++)
		assert_true(service_is_listening("127.0.0.1", world->port + i));
	assert_false(service_is_listening("127.0.0.1", world->port + 3));
	/* One of them goes: all are made anew, and no more than asked for. */
	kill(recorded_pid(world), SIGKILL);
	while (service_is_listening("127.0.0.1", world->port))
		clock_sleep_ms(5, NULL);
	result = run(world, APPLY, "one", "    replicas: 2\n");
	expect_ok(&result, 1);
	assert_int_equal(count_instances(), 2);
	/* The second of two fails: nothing of the new ones stays, the old ones run. */
	result = run(world, APPLY, "'replica={replica}', end=1", "    replicas: 2\n");
	assert_int_equal(result.error.fault, FAULT_START);
	assert_non_null(strstr(result.error.text, "replica 1 ended before it was ready (exit 9)"));
	assert_int_equal(count_instances(), 2);
	result = run(world, PLAN, "one", "    replicas: 2\n");
	assert_int_equal(result.changed, 0);
}

static void
test_plan_advises_and_estimates(void **state)
{
	static const struct {
		const char *args, *extra, *codes;
	} cases[] = {
		{ "one", "", "" },
		{ "one", "    host: 0.0.0.0\n", "W0801 " },
		{ "one", "    host: 0.0.0.0\n    env_from: [VLLM_API_KEY]\n", "" },
		{ "--api-key, x", "    host: 0.0.0.0\n", "" },
		{ "one", "    host: 127.0.0.1\n", "" },
	};
	struct world *world = *state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		run(world, PLAN, cases[i].args, cases[i].extra);
		assert_string_equal(world->advice, cases[i].codes);
		assert_false(world->cost.stops);
	}
	world->docker = true;
	run(world, PLAN, "one", "    env_from: [VLLM_API_KEY]\n");
	assert_string_equal(world->advice, "W0802 ");
	world->docker = false;

	struct apply_result result = run(world, APPLY, "one", "");
	expect_ok(&result, 1);
	run(world, PLAN, "two", "");
	assert_true(world->cost.stops);
	assert_true(world->cost.downtime > 0 && world->cost.downtime < 20000);
	assert_non_null(strstr(world->cost.lines[0], "stops the instance of run"));
}

#define GPU(number, used, processes) "{\"uuid\": \"GPU-" number "\", \"used_mib\": " used ", \"reserved_mib\": 300, \"processes\": [" processes "]}"

static void
set_gpus(struct world *world, const char *json)
{
	const char *path = arena_printf(&arena, "%s/nvml.json", world->root);
	struct error err;

	assert_true(file_save(path, json, strlen(json), 0600, &err));
	setenv("PROVISION_NVML", FAKE_NVML, 1);
	setenv("PROVISION_FAKE_NVML", path, 1);
}

static const char *
shm_name_of(pid_t pid)
{
	static const char variable[] = "VLLM_OBJECT_STORAGE_SHM_BUFFER_NAME=";
	char text[16384];
	FILE *file = fopen(arena_printf(&arena, "/proc/%d/environ", (int)pid), "r");
	size_t size = file ? fread(text, 1, sizeof text - 1, file) : 0;

	if (file)
		fclose(file);
	text[size] = '\0';
	for (const char *at = text; at < text + size; at += strlen(at) + 1)
		if (strncmp(at, variable, sizeof variable - 1) == 0)
			return arena_copy(&arena, at);
	fail_msg("%d has no %s", (int)pid, variable);
	return "";
}

static void
test_gpus_are_dealt_out(void **state)
{
	struct world *world = *state;
	struct process_id found[4];

	set_gpus(world, "{\"gpus\": [" GPU("a", "0", "") "," GPU("b", "0", "") "," GPU("c", "0", "") "]}");
	struct apply_result result = run(world, APPLY, "one", "    gpus: [1, 2]\n    replicas: 2\n");
	expect_ok(&result, 1);
	struct record record = recorded(world);
	assert_string_equal(pairs_get(&record.outputs, "gpus"), "GPU-b,GPU-c");
	assert_int_equal(process_find_tagged(of_project("/demo/"), found, 4), 2);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(procfs_has_variable(found[i].pid, "CUDA_VISIBLE_DEVICES", "GPU-b") + procfs_has_variable(found[i].pid, "CUDA_VISIBLE_DEVICES", "GPU-c"), 1);
	}
	/* They share /dev/shm, so what vLLM keeps there has a name for each. */
	assert_string_not_equal(shm_name_of(found[0].pid), shm_name_of(found[1].pid));
	assert_non_null(record_artifact(&record, ARTIFACT_GPU, "GPU-b"));

	/* Somebody else took one meanwhile: that is found before the old ones are touched. Who it is, is said. */
	pid_t old = recorded_pid(world);
	set_gpus(world, arena_printf(&arena, "{\"gpus\": [" GPU("a", "20000", "{\"pid\": %d, \"mib\": 20000}") "," GPU("b", "0", "") "," GPU("c", "0", "") "]}",
		(int)getpid()));
	result = run(world, APPLY, "one", "    gpus: [0, 1]\n    replicas: 2\n");
	assert_int_equal(result.error.fault, FAULT_GPU_HELD);
	assert_non_null(strstr(result.error.text, "GPU 0 is not free: 19.5 GiB in use, by"));
	assert_non_null(strstr(result.error.text, arena_printf(&arena, "(pid %d", (int)getpid())));
	assert_int_equal(count_instances(), 2);
	result = run(world, PLAN, "one", "    gpus: [1, 2]\n    replicas: 2\n");
	assert_int_equal(result.changed, 0);
	assert_int_equal(recorded_pid(world), old);

	/* A GPU in common is enough to have to wait for it, on whatever port. */
	world->port = free_port();
	result = run(world, APPLY, "one", "    gpus: [1]\n");
	expect_ok(&result, 1);
	assert_false(runs(old));
	assert_int_equal(count_instances(), 1);
	/* Nobody asked for a GPU, nobody sees one. */
	result = run(world, APPLY, "one", "");
	expect_ok(&result, 1);
	assert_true(process_find_tagged(of_project("/demo/"), found, 4) == 1 && procfs_has_variable(found[0].pid, "CUDA_VISIBLE_DEVICES", "") &&
		!procfs_has_variable(found[0].pid, "CUDA_VISIBLE_DEVICES", "GPU-b"));
	unsetenv("PROVISION_NVML");
	unsetenv("PROVISION_FAKE_NVML");
}

static void *
interrupt_soon(void *unused)
{
	sigset_t interrupts;

	sigemptyset(&interrupts);
	sigaddset(&interrupts, SIGINT);
	pthread_sigmask(SIG_BLOCK, &interrupts, NULL);
	clock_sleep_ms(400, NULL);
	kill(getpid(), SIGINT);
	return unused;
}

static void
test_interrupted(void **state)
{
	struct world *world = *state;
	struct apply_result result;
	pthread_t thread;

	for (int before = 0; before < 2; before++) {
		int64_t began = clock_monotonic_ms();
		pthread_create(&thread, NULL, interrupt_soon, NULL);
		result = run(world, APPLY, "delay=60000", "");
		pthread_join(thread, NULL);
		assert_int_equal(result.signal, SIGINT);
		assert_in_range(clock_monotonic_ms() - began, 400, 5000);
		assert_int_equal(count_instances(), (size_t)before);
		assert_int_equal(world->memory.intent_count, 0);
		if (before) {
			/* The old one is on its way again; it may not listen yet. */
			clock_sleep_ms(500, NULL);
			result = run(world, PLAN, "one", "");
			assert_int_equal(result.changed, 0);
		}
		result = run(world, APPLY, "one", "");
		expect_ok(&result, before ? 0 : 1);
	}
}

/* What a killed run left: an intent, a process with its tag, no record. */
static void
test_orphan_of_a_killed_run(void **state)
{
	struct world *world = *state;
	const char *const argv[] = { "/bin/sleep", "60", NULL };
	const struct process_spec spec = { .argv = argv };
	const char *tag = of_project("/demo/api/OLDRUN/0/ORPHANED");
	const struct intent intent = { .id = "ORPHANED", .target = "api", .kind = "service/process", .name = tag, .run = "OLDRUN" };
	struct process_id orphan, neighbour;
	struct error err = { 0 };

	assert_true(process_start(&spec, arena_printf(&arena, "%s/orphan.log", world->root), tag, &arena, &orphan, &err));
	assert_true(process_start(&spec, arena_printf(&arena, "%s/neighbour.log", world->root), of_project("/demo/api2/R/0/X"), &arena, &neighbour, &err));
	assert_true(world->memory.socket.add_intent(world->memory.socket.self, &intent, &err));
	struct apply_result result = run(world, APPLY, "one", "");
	expect_ok(&result, 1);
	assert_false(runs(orphan.pid));
	assert_true(runs(neighbour.pid));
	assert_int_equal(world->memory.intent_count, 0);
	assert_true(process_stop(&neighbour, of_project("/demo/api2/R/0/X"), 100, &err));
}

static void
test_inspection_is_quick(void **state)
{
	struct world *world = *state;
	struct apply_result result = run(world, APPLY, "one", "");
	struct instance instance;
	struct look look = { .state = STATE_FRESH };
	struct site site = { .arena = &arena };
	struct error err;

	expect_ok(&result, 1);
	const struct record record = recorded(world);
	assert_true(instance_parse(&record.artifacts.items[0], &arena, &instance, &err));
	int64_t best = INT64_MAX;
	for (int i = 0; i < 20; i++) {
		int64_t began = clock_now_ns(), took;
		assert_true(process_runtime.inspect(&site, NULL, &instance, &look, &err));
		took = clock_now_ns() - began;
		best = took < best ? took : best;
	}
	assert_int_equal(look.state, STATE_FRESH);
	/* The best of some, so that a busy machine does not count; generous, for sanitizers. */
	assert_in_range(best, 0, 1000000);
}

/* What a resumed process had said before is not taken for what it says now. */
static void
test_old_words_are_not_read_again(void **state)
{
	struct world *world = *state;
	struct apply_result result = run(world, APPLY, "say=CUDA out of memory", "");
	struct process_result found;
	struct error err;

	expect_ok(&result, 1);
	result = run(world, APPLY, "exit=3, say=what is this", "");
	assert_int_equal(result.error.fault, FAULT_START);
	assert_true(runs(recorded_pid(world)));
	/* Once of the first start, once of the second. */
	const char *const argv[] = { "/bin/grep", "-rh", "CUDA out of memory", arena_printf(&arena, "%s/.provision/logs", world->root), NULL };
	const struct process_spec spec = { .argv = argv, .capture = 4096 };
	assert_true(process_run(&spec, &arena, &found, &err));
	size_t lines = 0;
	for (const char *at = found.out; *at; at++)
		lines += *at == '\n';
	assert_int_equal(lines, 2);
}

static atomic_bool gpus_are_free;

static void *
free_gpus_after(void *context)
{
	struct world *world = context;
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	while (count_instances() > 0)
		clock_sleep_ms(20, NULL);
	/* A driver takes its time, and shows the process meanwhile. */
	clock_sleep_ms(500, NULL);
	gpus_are_free = true;
	const char *text = "{\"gpus\": [{\"uuid\": \"GPU-a\"}, {\"uuid\": \"GPU-b\"}, {\"uuid\": \"GPU-c\"}]}";
	char path[128];
	snprintf(path, sizeof path, "%s/nvml.json", world->root);
	FILE *file = fopen(path, "w");
	if (file) {
		fputs(text, file);
		fclose(file);
	}
	return NULL;
}

/* What the old instance holds will be free when the new one starts. */
static void
test_own_gpus_count_as_free(void **state)
{
	struct world *world = *state;
	pthread_t thread;

	set_gpus(world, "{\"gpus\": [" GPU("a", "0", "") "," GPU("b", "0", "") "," GPU("c", "0", "") "]}");
	struct apply_result result = run(world, APPLY, "one", "    gpus: {count: 2, free: true}\n");
	expect_ok(&result, 1);
	set_gpus(world, arena_printf(&arena, "{\"gpus\": [" GPU("a", "20000", "{\"pid\": %d, \"mib\": 20000}") "," GPU("b", "20000", "") "," GPU("c", "0", "") "]}",
		(int)recorded_pid(world)));
	pthread_create(&thread, NULL, free_gpus_after, world);
	result = run(world, APPLY, "two", "    gpus: {count: 2, free: true}\n");
	if (result.error.fault)
		run(world, DESTROY, "two", "");
	pthread_join(thread, NULL);
	expect_ok(&result, 1);
	struct record record = recorded(world);
	assert_string_equal(pairs_get(&record.outputs, "gpus"), "GPU-a,GPU-b");
	unsetenv("PROVISION_NVML");
	unsetenv("PROVISION_FAKE_NVML");
}

/* Seen on a driver of branch 580: the process has ended and is shown all the same, with all its memory. */
static void
test_waits_for_what_ended_processes_held(void **state)
{
	struct world *world = *state;
	pthread_t thread;

	set_gpus(world, "{\"gpus\": [" GPU("a", "0", "") "," GPU("b", "0", "") "]}");
	struct apply_result result = run(world, APPLY, "one", "    gpus: [1]\n");
	expect_ok(&result, 1);
	set_gpus(world, arena_printf(&arena, "{\"gpus\": [" GPU("a", "0", "") "," GPU("b", "20000", "{\"pid\": %d, \"mib\": 20000}") "]}",
		(int)recorded_pid(world)));
	gpus_are_free = false;
	pthread_create(&thread, NULL, free_gpus_after, world);
	result = run(world, DESTROY, "one", "");
	bool waited = gpus_are_free;
	pthread_join(thread, NULL);
	assert_int_equal(result.error.fault, FAULT_NONE);
	assert_true(waited);
	unsetenv("PROVISION_NVML");
	unsetenv("PROVISION_FAKE_NVML");
}

/* ------------------------------------------------------------------ against an engine of canned answers */

struct canned {
	struct fake_engine *engine;
	struct manifest manifest;
	struct project project;
	struct inspection inspection;
	struct task task;
	struct site site;
	char directory[64];
};

static int
set_up_canned(void **state)
{
	struct canned *canned = calloc(1, sizeof *canned);
	char socket[96];

	arena_init(&arena);
	snprintf(canned->directory, sizeof canned->directory, "/tmp/provision-canned-XXXXXX");
	if (!mkdtemp(canned->directory))
		return -1;
	snprintf(socket, sizeof socket, "%s/s", canned->directory);
	canned->engine = fake_engine_start(socket);
	setenv("DOCKER_HOST", arena_printf(&arena, "unix://%s", socket), 1);
	canned->manifest = (struct manifest){ .name = "demo" };
	canned->project = (struct project){ .root = "/", .state_dir = "/.provision", .id = own_project };
	canned->inspection = (struct inspection){ .manifest = &canned->manifest, .project = &canned->project };
	task_init(&canned->task, &canned->inspection, NULL, "api", &arena);
	canned->site = (struct site){ .task = &canned->task, .arena = &arena };
	*state = canned;
	return 0;
}

static int
tear_down_canned(void **state)
{
	struct canned *canned = *state;

	if (canned->site.has_docker)
		docker_finish(&canned->site.docker);
	task_finish(&canned->task);
	fake_engine_stop(canned->engine);
	unlink(arena_printf(&arena, "%s/s", canned->directory));
	rmdir(canned->directory);
	setenv("DOCKER_HOST", "unix:///no/such/engine.sock", 1);
	free(canned);
	arena_finish(&arena);
	return 0;
}

/* Podman below 5.4 cannot change a policy at all, and Docker not the one of a container that is being removed. */
static void
test_container_that_cannot_be_changed(void **state)
{
	struct canned *canned = *state;
	struct instance instance = { .runtime = &docker_runtime, .id = "c0ffee", .stop_timeout = 1000, .restart = "no", .name = "n" };
	struct error err = { 0 };

	fake_engine_answer(canned->engine, "GET /containers/c0ffee/json", 200, "{\"HostConfig\":{\"RestartPolicy\":{\"Name\":\"no\"}},\"State\":{\"Running\":true}}");
	fake_engine_answer(canned->engine, "POST /containers/c0ffee/stop", 204, "");
	fake_engine_answer(canned->engine, "DELETE /containers/c0ffee", 204, "");
	if (!docker_runtime.halt(&canned->site, &instance, &err))
		fail_msg("%s", err.text);
	assert_non_null(strstr(fake_engine_requests(canned->engine), "/c0ffee/stop?t=1"));

	fake_engine_answer(canned->engine, "GET /containers/c0ffee/json", 200,
		"{\"HostConfig\":{\"RestartPolicy\":{\"Name\":\"unless-stopped\"}},\"State\":{\"Running\":true}}");
	fake_engine_answer(canned->engine, "POST /containers/c0ffee/update", 409, "{\"message\":\"container is marked for removal and cannot be updated\"}");
	assert_false(docker_runtime.halt(&canned->site, &instance, &err));
	fake_engine_answer(canned->engine, "POST /containers/c0ffee/stop", 500, "{\"message\":\"cannot stop\"}");
	if (!docker_runtime.remove(&canned->site, &instance, &err))
		fail_msg("%s", err.text);
	assert_non_null(strstr(fake_engine_requests(canned->engine), "DELETE /v1.41/containers/c0ffee?v=1&force=1"));
	fake_engine_answer(canned->engine, "DELETE /containers/c0ffee", 500, "{\"message\":\"device busy\"}");
	assert_false(docker_runtime.remove(&canned->site, &instance, &err));
	assert_non_null(strstr(err.text, "device busy"));
}

/* A container that was removed by hand cannot come back; one of an engine that does not answer may. Nothing else is touched in either case. */
static void
test_old_container_is_lost(void **state)
{
	struct canned *canned = *state;
	struct instance instance = {
		.runtime = &docker_runtime, .id = "c0ffee", .tag = "p/d/t/R/0/ID", .run = "RUNA", .host = "127.0.0.1", .port = 8000, .ready = { "/health", 1000, 100 },
		.name = "n", .image = "sha256:1", .key = "k", .restart = "no",
	};
	struct record kept = { .target = "api", .rule = "service" };
	struct error err = { 0 };

	artifacts_add(&kept.artifacts, &arena,
		&(struct artifact){ .kind = ARTIFACT_CONTAINER, .name = "c0ffee", .note = instance_note(&instance, &arena) });
	canned->task.record = &kept;
	fake_engine_answer(canned->engine, "GET /containers/c0ffee/json", 500, "{\"message\":\"database is locked\"}");
	assert_false(service_rule.revert(&canned->task, &err));
	assert_null(canned->task.lost);

	fake_engine_answer(canned->engine, "GET /containers/c0ffee/json", 404, "{\"message\":\"No such container: c0ffee\"}");
	if (!service_rule.revert(&canned->task, &err))
		fail_msg("%s", err.text);
	assert_string_equal(canned->task.lost, "container c0ffee of run RUNA was removed: there is nothing to put back");
	assert_null(strstr(fake_engine_requests(canned->engine), "DELETE"));
	assert_null(strstr(fake_engine_requests(canned->engine), "POST"));

	canned->task.lost = NULL;
	setenv("DOCKER_HOST", "unix:///no/such/engine.sock", 1);
	assert_false(service_rule.revert(&canned->task, &err));
	assert_null(canned->task.lost);
}

/* The engine's log of a container that was started again begins with what the first start said. */
static void
test_log_begins_with_the_last_start(void **state)
{
	struct canned *canned = *state;
	struct instance instance = { .runtime = &docker_runtime, .id = "c0ffee", .name = "n" };
	struct error err = { 0 };

	fake_engine_answer(canned->engine, "POST /containers/c0ffee/start", 204, "");
	fake_engine_answer(canned->engine, "GET /containers/c0ffee/logs", 200, "");
	assert_true(docker_runtime.read_log(&canned->site, &instance, NULL, NULL, &err));
	assert_null(strstr(fake_engine_requests(canned->engine), "since="));
	assert_true(docker_runtime.resume(&canned->site, &instance, &err));
	if (!docker_runtime.read_log(&canned->site, &instance, NULL, NULL, &err))
		fail_msg("%s", err.text);
	const char *since = strstr(fake_engine_requests(canned->engine), "since=");
	assert_non_null(since);
	assert_in_range(strtoll(since + 6, NULL, 10), clock_now_ns() / 1000000000 - 60, clock_now_ns() / 1000000000);
}

#define PODMAN "Api-Version: 1.44\r\nLibpod-Api-Version: 5.8.2\r\nServer: Libpod/5.8.2 (linux)\r\n"
#define DOCKER "Api-Version: 1.48\r\nServer: Docker/28.0.0 (linux)\r\n"
#define NO_DRIVER_WORDS "{\"message\":\"could not select device driver \\\"\\\" with capabilities: [[gpu]]\"}"
#define UNRESOLVABLE "{\"message\":\"CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=GPU-1\"}"
#define HOOK_MODE "{\"message\":\"failed to create task for container: error running prestart hook #0: exit status 1, stdout: , stderr: Using requested mode 'cdi'\\n" \
	"invoking the NVIDIA Container Runtime Hook directly (e.g. specifying the docker --gpus flag) is not supported. Please use the NVIDIA Container Runtime " \
	"(e.g. specify the --runtime=nvidia flag) instead.: unknown\"}"
#define TOO_OLD "{\"message\":\"nvidia-container-cli: requirement error: unsatisfied condition: cuda>=12.9, please update your driver to a newer version\"}"

/* Each engine's own way to hand GPUs out, what it refuses, and what it shows of the container that runs. */
static void
test_gpus_reach_the_container(void **state)
{
	static const struct {
		const char *ping, *info;
		const char *first;      /* refusal of the first start; NULL: it starts */
		const char *second;     /* of the second */
		const char *shown;      /* of the container's HostConfig */
		enum fault fault;
		const char *says;       /* the error, or what was asked for last */
	} cases[] = {
		{ DOCKER, "{}", NULL, NULL, "\"DeviceRequests\":[{\"Driver\":\"\",\"DeviceIDs\":[\"GPU-1\"]}]", FAULT_NONE, "\"Driver\":\"\",\"Count\":0,\"DeviceIDs\":[\"GPU-1\"]" },
		/* The toolkit is not where the engine looks for its hook, but its runtime is registered, or its specification is there. */
		{ DOCKER, "{\"Runtimes\":{\"nvidia\":{}}}", NO_DRIVER_WORDS, NULL, "\"Runtime\":\"nvidia\"", FAULT_NONE, "\"Runtime\":\"nvidia\"" },
		{ DOCKER, "{\"Runtimes\":{\"nvidia\":{}}}", HOOK_MODE, NULL, "\"Runtime\":\"nvidia\"", FAULT_NONE, "\"NVIDIA_VISIBLE_DEVICES=GPU-1\"" },
		{ DOCKER, "{\"CDISpecDirs\":[\"/etc/cdi\"]}", NO_DRIVER_WORDS, NULL, "\"DeviceRequests\":[{\"Driver\":\"cdi\"}]", FAULT_NONE, "\"DeviceIDs\":[\"nvidia.com/gpu=GPU-1\"]" },
		/* The four causes. */
		{ DOCKER, "{\"Runtimes\":{\"runc\":{}}}", NO_DRIVER_WORDS, NULL, "", FAULT_ENGINE_GPUS, "could not select device driver" },
		{ DOCKER, "{\"CDISpecDirs\":[\"/etc/cdi\"]}", NO_DRIVER_WORDS, UNRESOLVABLE, "", FAULT_ENGINE_GPUS, "could not select device driver" },
		{ DOCKER, "{\"Runtimes\":{\"nvidia\":{}}}", TOO_OLD, NULL, "", FAULT_CUDA_VERSION, "unsatisfied condition: cuda>=12.9" },
		{ PODMAN, "{}", UNRESOLVABLE, NULL, "", FAULT_ENGINE_GPUS, "unresolvable CDI devices" },
		{ PODMAN, "{}", NULL, NULL, "\"Devices\":[]", FAULT_ENGINE_GPUS, "started it without the GPUs that were asked for" },
		/* An echo of the request is no device. */
		{ PODMAN, "{}", NULL, NULL, "\"DeviceRequests\":[{\"Driver\":\"cdi\"}]", FAULT_ENGINE_GPUS, "started it without the GPUs that were asked for" },
		{ DOCKER, "{}", NULL, NULL, "\"DeviceRequests\":null", FAULT_ENGINE_GPUS, "started it without the GPUs that were asked for" },
		{ PODMAN, "{}", NULL, NULL, "\"Devices\":[{\"PathOnHost\":\"/dev/nvidia1\",\"PathInContainer\":\"/dev/nvidia1\"}]", FAULT_NONE, "\"DeviceIDs\":[\"nvidia.com/gpu=GPU-1\"]" },
	};
	struct canned *canned = *state;
	const char *gpus[] = { "GPU-1" };
	const struct service spec = { .host = "127.0.0.1", .port = 8000 };

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct instance instance = { .runtime = &docker_runtime, .name = "n", .image = "sha256:1", .gpus = { gpus, 1, 1 }, .run = "R", .key = "k", .tag = "t" };
		struct error err = { 0 };
		const char *requests, *last;

		if (canned->site.has_docker)
			docker_finish(&canned->site.docker);
		canned->site.has_docker = false;
		fake_engine_forget(canned->engine);
		fake_engine_ping(canned->engine, cases[i].ping);
		fake_engine_answer(canned->engine, "GET /info", 200, cases[i].info);
		fake_engine_answer(canned->engine, "POST /containers/create", 201, "{\"Id\":\"c1\"}");
		fake_engine_answer(canned->engine, "POST /containers/c1/start", cases[i].second ? 500 : 204, cases[i].second ? cases[i].second : "");
		if (cases[i].first)
			fake_engine_answer_once(canned->engine, "POST /containers/c1/start", 500, cases[i].first);
		fake_engine_answer(canned->engine, "DELETE /containers/c1", 204, "");
		fake_engine_answer(canned->engine, "GET /containers/c1/json", 200,
			arena_printf(&arena, "{\"State\":{\"Running\":true,\"Pid\":%d},\"HostConfig\":{%s}}", (int)getpid(), cases[i].shown));
		assert_true(site_docker(&canned->site, &err));
		bool started = docker_runtime.start(&canned->site, &spec, &instance, &err);
		if (started != (cases[i].fault == FAULT_NONE) || (!started && (err.fault != cases[i].fault || !strstr(err.text, cases[i].says) || !*err.hint)))
			fail_msg("case %zu: %s: %s (%s)", i, fault_row(err.fault)->code, err.text, err.hint);
		requests = fake_engine_requests(canned->engine);
		last = NULL;
		for (const char *at = requests; (at = strstr(at, "POST /v1.44/containers/create")); at++)
			last = at;
		if (started && (!last || !strstr(last, cases[i].says)))
			fail_msg("case %zu: %s", i, requests);
		/* Numbers of the host have no meaning inside. */
		assert_null(strstr(requests, "CUDA_VISIBLE_DEVICES"));
		/* What was refused is not left behind, nor in the way of the next. */
		assert_int_equal(strstr(requests, "DELETE /v1.44/containers/c1") != NULL, (started || cases[i].second) && cases[i].first);
	}
}

/* Who listens for a container is the engine, if anybody does: the container is to be named. */
static void
test_ports_of_containers(void **state)
{
	static const struct instances nothing = { 0 };
	static const struct {
		const char *host, *address, *type;
		bool held;
	} cases[] = {
		{ "127.0.0.1", "127.0.0.1", "tcp", true },
		{ "127.0.0.1", "0.0.0.0", "tcp", true },
		{ "0.0.0.0", "127.0.0.1", "tcp", true },
		{ "localhost", "127.0.0.1", "tcp", true },
		{ "127.0.0.1", "10.0.0.1", "tcp", false },
		{ "127.0.0.1", "127.0.0.1", "udp", false },
	};
	struct canned *canned = *state;
	struct error err = { 0 };

	assert_true(site_docker(&canned->site, &err));
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct instance instance = { .runtime = &docker_runtime, .host = cases[i].host, .port = free_port() };
		const struct instances fresh = { .items = &instance, .count = 1 };
		fake_engine_forget(canned->engine);
		fake_engine_answer(canned->engine, "GET /containers/json", 200,
			arena_printf(&arena, "[{\"Id\":\"aaa\",\"Names\":[\"/other\"],\"Ports\":[{\"PrivatePort\":%d,\"Type\":\"tcp\"},"
				"{\"IP\":\"%s\",\"PrivatePort\":80,\"PublicPort\":%d,\"Type\":\"%s\"}]}]", (int)instance.port, cases[i].address,
				(int)instance.port, cases[i].type));
		if (service_check_ports(&canned->site, &fresh, &nothing, 0, &err) == cases[i].held)
			fail_msg("case %zu", i);
		if (cases[i].held && (err.fault != FAULT_PORT_HELD || !strstr(err.text, "is held by container `other`")))
			fail_msg("case %zu: %s", i, err.text);
		/* Our own instance that is about to make way is not in the way. */
		assert_true(service_check_ports(&canned->site, &fresh, &fresh, 0, &err));
		assert_null(strstr(fake_engine_requests(canned->engine), "POST"));
	}
}

/* An engine that leaves a filter out must not make us remove what belongs to others. */
static void
test_sweep_takes_only_what_is_ours(void **state)
{
	static const struct instances nothing = { 0 };
	struct canned *canned = *state;
	struct error err = { 0 };

	fake_engine_answer(canned->engine, "GET /containers/", 200, "{\"State\":{}}");
	fake_engine_answer(canned->engine, "GET /containers/json", 200, arena_printf(&arena,
		"[{\"Id\":\"aaa\",\"Labels\":{\"provision.project\":\"%s\",\"provision.deployment\":\"other\",\"provision.target\":\"api\"}},"
		"{\"Id\":\"bbb\",\"Labels\":{}},{\"Id\":\"ccc\",\"Labels\":{\"provision.project\":\"%s\",\"provision.deployment\":\"demo\","
		"\"provision.target\":\"api\"}},"
		"{\"Id\":\"ddd\",\"Labels\":{\"provision.tag\":\"%s/demo/api/RUN/0/ID\",\"provision.project\":\"%s\",\"provision.deployment\":\"demo\",\"provision.target\":\"api\"}}]",
		own_project, own_project, own_project, own_project));
	fake_engine_answer(canned->engine, "POST /containers/", 204, "");
	fake_engine_answer(canned->engine, "DELETE /containers/", 204, "");
	assert_true(site_docker(&canned->site, &err));
	if (!docker_runtime.sweep(&canned->site, &nothing, &err))
		fail_msg("%s", err.text);
	const char *requests = fake_engine_requests(canned->engine);
	assert_non_null(strstr(requests, "DELETE /v1.41/containers/ddd"));
	assert_null(strstr(requests, "/containers/aaa"));
	assert_null(strstr(requests, "/containers/bbb"));
	assert_null(strstr(requests, "/containers/ccc"));
}

/* ------------------------------------------------------------------ against a real engine: PROVISION_TEST_DOCKER=unix:///path/of.sock */

static struct process_result
docker(const char *script)
{
	struct pairs env = { 0 };
	struct process_result result;
	struct error err;

	pairs_set(&env, &arena, "DOCKER_HOST", getenv("PROVISION_TEST_DOCKER"));
	const char *const argv[] = { "/bin/sh", "-c", script, NULL };
	const struct process_spec spec = { .argv = argv, .env = process_environment(&env, &arena), .capture = 65536 };
	assert_true(process_run(&spec, &arena, &result, &err));
	return result;
}

static int
set_up_docker(void **state)
{
	if (set_up(state) != 0 || !getenv("PROVISION_TEST_DOCKER"))
		return 0;
	struct world *world = *state;
	world->docker = true;
	setenv("DOCKER_HOST", getenv("PROVISION_TEST_DOCKER"), 1);
	return docker("tar c -T /dev/null | docker import --change 'ENTRYPOINT [\"/serve\", \"serve\", \"0.0.0.0\", \"80\"]' - " IMAGE).exit_code;
}

static int
tear_down_docker(void **state)
{
	if (getenv("PROVISION_TEST_DOCKER")) {
		docker(arena_printf(&arena, "docker ps -aq --filter label=provision.project=%s | xargs -r docker rm -f; docker rmi -f " IMAGE, own_project));
		setenv("DOCKER_HOST", "unix:///no/such/engine.sock", 1);
	}
	return tear_down(state);
}

static void
skip_without_engine(void)
{
	if (!getenv("PROVISION_TEST_DOCKER"))
		skip();
}

static size_t
count_containers(const char *filter)
{
	const char *out = docker(arena_printf(&arena, "docker ps -q %s --filter label=provision.project=%s", filter, own_project)).out;
	size_t lines = 0;

	for (; *out; out++)
		lines += *out == '\n';
	return lines;
}

static void
test_container_start_look_destroy(void **state)
{
	struct world *world = *state;

	skip_without_engine();
	struct apply_result result = run(world, APPLY, "say=hello", "    shm_size: 64MiB\n    ulimits: {nofile: 4096}\n");
	expect_ok(&result, 1);
	struct record record = recorded(world);
	const char *id = pairs_get(&record.outputs, "ids");
	const char *shown = docker(arena_printf(&arena, "docker inspect --format '{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.CapDrop}} {{.Name}} "
		"{{.HostConfig.ShmSize}} {{.HostConfig.Init}} {{index .Config.Labels \"provision.target\"}}' %s", id)).out;
	assert_string_equal(shown, arena_printf(&arena, "unless-stopped [ALL] /provision-demo-api-%s-0 67108864 true api\n", record.run));
	assert_true(service_is_listening("127.0.0.1", world->port));
	result = run(world, APPLY, "say=hello", "    shm_size: 64MiB\n    ulimits: {nofile: 4096}\n");
	expect_ok(&result, 0);

	/* Stopped and removed by hand. */
	docker(arena_printf(&arena, "docker stop -t 1 %s", id));
	result = run(world, APPLY, "say=hello", "    shm_size: 64MiB\n    ulimits: {nofile: 4096}\n");
	expect_ok(&result, 1);
	assert_int_equal(count_containers("-a"), 1);
	docker(arena_printf(&arena, "docker rm -f $(docker ps -q --filter label=provision.project=%s)", own_project));
	result = run(world, APPLY, "say=hello", "");
	expect_ok(&result, 1);
	assert_int_equal(count_containers("-a"), 1);

	result = run(world, DESTROY, "say=hello", "");
	expect_ok(&result, 1);
	assert_int_equal(count_containers("-a"), 0);
	assert_false(service_is_listening("127.0.0.1", world->port));
}

static void
test_old_container_comes_back(void **state)
{
	static const struct {
		const char *args, *extra;
		enum fault fault;
		const char *says;
	} cases[] = {
		{ "exit=1, 'say=torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.16 GiB'", "", FAULT_OUT_OF_MEMORY, "the weights do not fit" },
		{ "exit=0", "", FAULT_START, "ended before it was ready (exit 0)" },
		{ "status=503", "    ready: {timeout: 500ms, interval: 50ms}\n", FAULT_NOT_READY, "answered 503" },
		{ "two", "    user: no-such-user\n", FAULT_ENGINE, "no-such-user" },
		{ "two", "  accept: {rule: gate, needs: [api], value: no}\n", FAULT_NOT_ACCEPTED, "not accepted" },
	};
	struct world *world = *state;

	skip_without_engine();
	struct apply_result result = run(world, APPLY, "one", "");
	expect_ok(&result, 1);
	const struct record first = recorded(world);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		result = run(world, APPLY, cases[i].args, cases[i].extra);
		if (result.error.fault != cases[i].fault || !strstr(result.error.text, cases[i].says))
			fail_msg("case %zu: %s: %s", i, fault_row(result.error.fault)->code, result.error.text);
		assert_int_equal(count_containers("-a"), 1);
		assert_int_equal(count_containers(""), 1);
		const struct record now = recorded(world);
		assert_string_equal(pairs_get(&now.outputs, "ids"), pairs_get(&first.outputs, "ids"));
		result = run(world, PLAN, "one", "");
		assert_int_equal(result.changed, 0);
		const char *policy = docker(arena_printf(&arena, "docker inspect --format '{{.HostConfig.RestartPolicy.Name}}' %s",
			pairs_get(&now.outputs, "ids"))).out;
		assert_string_equal(policy, "unless-stopped\n");
	}
	/* A run that was killed while it stopped the old one left it running without its policy. */
	docker(arena_printf(&arena, "docker update --restart no %s", pairs_get(&first.outputs, "ids")));
	const int port = world->port;
	world->port = free_port();
	result = run(world, APPLY, "exit=1", "");
	assert_int_equal(result.error.fault, FAULT_START);
	world->port = port;
	assert_string_equal(docker(arena_printf(&arena, "docker inspect --format '{{.HostConfig.RestartPolicy.Name}}' %s",
		pairs_get(&first.outputs, "ids"))).out, "unless-stopped\n");
	/* And a good one takes its place. */
	result = run(world, APPLY, "two", "");
	expect_ok(&result, 1);
	assert_int_equal(count_containers("-a"), 1);
	/* From containers to a process, under the same name. */
	world->docker = false;
	result = run(world, APPLY, "two", "");
	expect_ok(&result, 1);
	assert_int_equal(count_containers("-a"), 0);
	assert_int_equal(count_instances(), 1);
}

static void
test_what_validate_refuses(void **state)
{
	static const struct {
		const char *lines;
		enum fault fault;
	} cases[] = {
		{ "runtime: docker, port: 8000", FAULT_MISSING_KEY },
		{ "runtime: process, port: 8000", FAULT_MISSING_KEY },
		{ "runtime: docker, image: x, port: 8000, command: [a]", FAULT_CONFLICT },
		{ "runtime: process, command: [a], port: 8000, image: x", FAULT_CONFLICT },
		{ "runtime: process, command: [a], port: 8000, restart: on-failure", FAULT_CONFLICT },
		{ "runtime: docker, image: x, port: 0", FAULT_BAD_VALUE },
		{ "runtime: docker, image: x, port: 65535, replicas: 2", FAULT_BAD_VALUE },
		{ "runtime: docker, image: x, port: 8000, args: --port 1", FAULT_BAD_VALUE },
		{ "runtime: docker, image: x, port: 8000, host: example", FAULT_BAD_VALUE },
		{ "runtime: docker, image: x, port: 8000, ulimits: {nofile: lots}", FAULT_BAD_VALUE },
		{ "runtime: docker, image: x, port: 8000, ready: {path: health}", FAULT_BAD_VALUE },
		{ "runtime: docker, image: x, port: 8000, labels: {provision.run: x}", FAULT_CONFLICT },
		{ "runtime: docker, image: x, port: 8000, mounts: [{source: /x, target: y}]", FAULT_BAD_VALUE },
		{ "runtime: docker, image: x, port: 8000, gpus: [0, 1, 2], replicas: 2", FAULT_CONFLICT },
		{ "runtime: docker, image: x, port: 8000, env: {HF_TOKEN: hf_abcdefghijklmnopqrstuvwxyzABCDEFGH}", FAULT_SECRET_IN_TEXT },
		{ "runtime: docker, image: x, port: 8000, args: {api-key: hf_abcdefghijklmnopqrstuvwxyzABCDEFGH}", FAULT_SECRET_IN_TEXT },
		{ "runtime: docker, image: x, port: 8000, env_from: ['A=b']", FAULT_BAD_VALUE },
		{ "runtime: docker, image: x, port: 8000, gpus: [0, 1], replicas: 2, args: {a: 1}", FAULT_NONE },
		/* Which GPUs are seen is for `gpus` to say: nothing else may reach a reserved one, or hide one. */
		{ "runtime: process, command: [a], port: 8000, gpus: [0], env: {CUDA_VISIBLE_DEVICES: '3'}", FAULT_CONFLICT },
		{ "runtime: process, command: [a], port: 8000, env: {CUDA_VISIBLE_DEVICES: '3'}", FAULT_CONFLICT },
		{ "runtime: process, command: [a], port: 8000, env_from: [CUDA_VISIBLE_DEVICES]", FAULT_CONFLICT },
		{ "runtime: docker, image: x, port: 8000, gpus: [1, 2], env: {CUDA_VISIBLE_DEVICES: '1,2'}", FAULT_CONFLICT },
		{ "runtime: docker, image: x, port: 8000, gpus: [1, 2], env_from: [NVIDIA_VISIBLE_DEVICES]", FAULT_CONFLICT },
		{ "runtime: docker, image: x, port: 8000, gpus: [1], env: {NVIDIA_VISIBLE_DEVICES: void}", FAULT_CONFLICT },
		{ "runtime: docker, image: x, port: 8000, env: {NVIDIA_VISIBLE_DEVICES: all}", FAULT_CONFLICT },
		{ "runtime: docker, image: x, port: 8000, env: {NVIDIA_VISIBLE_DEVICES: void}", FAULT_NONE },
		{ "runtime: docker, image: x, port: 8000, env: {CUDA_VISIBLE_DEVICES: '0'}", FAULT_NONE },
	};
	struct world *world = *state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct errors errors;
		struct error err;
		struct manifest manifest = { 0 };
		struct graph graph = { 0 };
		const struct pairs no_sets = { 0 };
		const char *path = arena_printf(&arena, "%s/v.yaml", world->root);
		const char *text = arena_printf(&arena, "provision: 1\nname: demo\nreserve: {gpus: [3], for: training}\ntargets:\n  api: {rule: service, %s}\n",
			cases[i].lines);
		errors_init(&errors, &arena);
		assert_true(file_save(path, text, strlen(text), 0600, &err));
		bool ok = manifest_load(&manifest, path, world->root, &no_sets, &arena, &errors) && graph_link(&graph, &manifest, rules, &errors);
		enum fault fault = errors.count ? errors.items[0].fault : FAULT_NONE;
		if (ok != (cases[i].fault == FAULT_NONE) || fault != cases[i].fault)
			fail_msg("`%s`: %s (%zu errors)", cases[i].lines, errors.count ? errors.items[0].text : "accepted", errors.count);
		assert_true(errors.count == 0 || errors.items[0].at.line == 5);
		graph_finish(&graph);
	}
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_args, set_up_arena, tear_down_arena),
		cmocka_unit_test_setup_teardown(test_fill, set_up_arena, tear_down_arena),
		cmocka_unit_test_setup_teardown(test_ulimits, set_up_arena, tear_down_arena),
		cmocka_unit_test_setup_teardown(test_stages, set_up_arena, tear_down_arena),
		cmocka_unit_test_setup_teardown(test_docker_body, set_up_arena, tear_down_arena),
		cmocka_unit_test_setup_teardown(test_note_round_trip, set_up_arena, tear_down_arena),
		cmocka_unit_test_setup_teardown(test_start_look_destroy, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_intent_comes_first, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_swap, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_old_one_comes_back, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_old_one_is_waited_for, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_first_start_fails_clean, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_port_is_held, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_stranger_does_not_make_it_ready, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_old_logs_go, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_long_logs_are_cut, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_reserved_gpus, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_replicas, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_plan_advises_and_estimates, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_gpus_are_dealt_out, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_interrupted, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_orphan_of_a_killed_run, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_inspection_is_quick, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_old_words_are_not_read_again, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_own_gpus_count_as_free, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_waits_for_what_ended_processes_held, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_container_that_cannot_be_changed, set_up_canned, tear_down_canned),
		cmocka_unit_test_setup_teardown(test_old_container_is_lost, set_up_canned, tear_down_canned),
		cmocka_unit_test_setup_teardown(test_log_begins_with_the_last_start, set_up_canned, tear_down_canned),
		cmocka_unit_test_setup_teardown(test_gpus_reach_the_container, set_up_canned, tear_down_canned),
		cmocka_unit_test_setup_teardown(test_ports_of_containers, set_up_canned, tear_down_canned),
		cmocka_unit_test_setup_teardown(test_sweep_takes_only_what_is_ours, set_up_canned, tear_down_canned),
		cmocka_unit_test_setup_teardown(test_container_start_look_destroy, set_up_docker, tear_down_docker),
		cmocka_unit_test_setup_teardown(test_old_container_comes_back, set_up_docker, tear_down_docker),
		cmocka_unit_test_setup_teardown(test_what_validate_refuses, set_up, tear_down),
	};

	if (argc > 1 && strcmp(argv[1], "serve") == 0)
		return serve(argc, argv);
	/* No engine of this machine is asked for containers. */
	setenv("DOCKER_HOST", "unix:///no/such/engine.sock", 1);
	snprintf(own_project, sizeof own_project, "%012x", (unsigned)getpid());
	return cmocka_run_group_tests(tests, NULL, NULL);
}
