#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "engine/base/clock.h"
#include "rules/rules.h"
#include "tests/fake/engine.h"
#include "tests/fake/gpus.h"
#include "tests/fake/site.h"

#define FOUR "{\"gpus\": [{}, {}, {}, {}]}"

static const struct rule *const rules[] = { &host_rule, NULL };

struct world {
	struct scratch *scratch;
	struct site site;
};

static int
setup(void **state)
{
	struct world *world = calloc(1, sizeof *world);
	void *scratch;

	if (!world || scratch_setup(&scratch) != 0)
		return -1;
	world->scratch = scratch;
	fake_gpus(world->scratch, FAKE_NVML, FOUR);
	site_init(&world->site, rules);
	*state = world;
	return 0;
}

static int
teardown(void **state)
{
	struct world *world = *state;
	void *scratch = world->scratch;

	site_finish(&world->site);
	free(world);
	return scratch_teardown(&scratch);
}

#define CHECK(text) "  check:\n    rule: host\n" text

static struct seen *
plan(struct world *world, const char *text)
{
	return site_plan(&world->site, text, "check");
}

/* "E0506 text; note; help" of all findings, one a line. */
static const char *
told(struct world *world, const struct seen *seen)
{
	const char *text = "";

	for (size_t i = 0; seen->detail && i < seen->detail->findings.count; i++) {
		const struct finding *finding = &seen->detail->findings.items[i];

		text = arena_printf(&world->site.arena, "%s%s %s", text, fault_row(finding->fault)->code, finding->text);
		for (size_t n = 0; n < 6 && finding->notes[n]; n++)
			text = arena_printf(&world->site.arena, "%s; %s", text, finding->notes[n]);
		for (size_t n = 0; n < 6 && finding->helps[n]; n++)
			text = arena_printf(&world->site.arena, "%s; %s", text, finding->helps[n]);
		text = arena_printf(&world->site.arena, "%s\n", text);
	}
	return text;
}

/* One machine, one wish: what is found, and how the verdict reads. */
static void
judges_gpus(void **state)
{
	static const char busy[] =
		"{\"gpus\": [{}, {\"used_mib\": 20480, \"processes\": [{\"pid\": 4000001, \"mib\": 20480}]}, {}, {\"used_mib\": 9000}]}";
	static const struct {
		const char *json, *wish;
		const char *found;  /* "": passes */
		const char *summary;
	} cases[] = {
		{ FOUR, "    gpus: {count: 4, memory: 24GiB}\n", "", "4 GPUs, 24 GiB each" },
		{ FOUR, "    gpus: {name: rtx 3090}\n    driver: \">=575\"\n    cuda: \">=12.9\"\n", "", "4 GPUs, 24 GiB each" },
		{ FOUR, "    gpus: {name: \"*3090\", free: true}\n", "", "4 GPUs, 24 GiB each" },
		{ FOUR, "    gpus: {count: 5}\n", "E0502 4 of 5 GPUs work", "4 of 5 GPUs work" },
		{ "{\"gpus\": [{}, {\"code\": 15}]}", "    gpus: {count: 2}\n", "E0502 1 of 2 GPUs work; GPU 1 cannot be used: fell off the bus", "1 of 2" },
		{ "{\"gpus\": [{}, {\"code\": 15}]}", "    gpus: {count: 1}\n", "", "1 of 2 GPUs as asked, 24 GiB each" },
		{ "{\"gpus\": []}", "    gpus: {free: true}\n", "E0502 0 of 0", "0 of 0" },
		{ FOUR, "    gpus: {name: H100}\n", "E0503 0 of 4 GPUs are of the kind asked for: H100; GPU 0: NVIDIA GeForce RTX 3090, 24 GiB", "0 of 4" },
		{ FOUR, "    gpus: {memory: 25GiB}\n", "E0503 0 of 4 GPUs are of the kind asked for, at least 25 GiB", "0 of 4" },
		/* Enough of them: what else is in the machine does not matter. */
		{ "{\"gpus\": [{}, {\"total_mib\": 8192}, {}]}", "    gpus: {count: 2, memory: 24GiB}\n", "", "2 of 3 GPUs as asked, 24 GiB each" },
		{ "{\"gpus\": [{}, {\"total_mib\": 8192}, {}]}", "    gpus: {count: 3, memory: 24GiB}\n", "E0503 2 of 3", "2 of 3" },
		{ busy, "    gpus: {count: 4, free: true}\n", "E0506 2 of 4 GPUs are free; GPU 1: a process (pid 4000001), 20 GiB; GPU 3: 9.10 GiB in use", "2 of 4" },
		{ busy, "    gpus: {count: 2, free: true}\n", "", "2 of 4 GPUs free, 24 GiB each" },
		{ "{\"gpus\": [{}, {\"used_mib\": 9000}]}", "    gpus: {count: 1, free: true}\n", "", "1 of 2 GPUs free, 24 GiB each" },
		{ "{\"gpus\": [{}, {\"total_mib\": 8192}, {\"used_mib\": 9000}]}", "    gpus: {count: 1, memory: 24GiB, free: true}\n", "",
			"1 of 3 GPUs as asked and free, 24 GiB each" },
		/* The reserved one may be in use: it is not ours. */
		{ busy, "    gpus: {count: 4, free: true}\nreserve: {gpus: [1, 3]}\n", "", "2 of 4 GPUs free, 2 reserved, 24 GiB each" },
		{ busy, "    gpus: {count: 4, free: true}\nreserve: {gpus: [3]}\n", "E0506 2 of 3", "2 of 3" },
		{ FOUR, "    gpus: {p2p: true}\n", "E0514 not all GPUs", "not all" },
		{ "{\"gpus\": [{}, {}], \"p2p\": [[0, 0], [0, 0]]}", "    gpus: {p2p: true}\n", "", "2 GPUs" },
		{ "{\"gpus\": [{}, {}], \"missing\": [\"nvmlDeviceGetP2PStatus\"]}", "    gpus: {p2p: true}\n", "E0514 whether", "2 GPUs" },
		{ "{\"driver\": \"535.54.03\", \"gpus\": [{}]}", "    driver: \">=575\"\n", "E0504 the NVIDIA driver is 535.54.03, asked for is >=575", "the NVIDIA driver" },
		{ "{\"cuda\": 12020, \"gpus\": [{}]}", "    cuda: \">=12.9\"\n", "E0505 the driver's CUDA is 12.2, asked for is >=12.9", "the driver's CUDA" },
		{ NULL, "    gpus: {count: 1}\n", "E0501 no NVIDIA driver", "no NVIDIA driver" },
		{ "{\"init\": 18}", "    driver: \">=575\"\n", "E0501 the NVIDIA kernel module and the driver's library are of different versions", "the NVIDIA kernel" },
		{ NULL, "    commands: [sh]\n", "", "as asked" },
		{ NULL, "    commands: [sh, no-such-program]\n", "E0510 `no-such-program` is not installed", "`no-such" },
	};
	struct world *world = *state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		bool advice = strncmp(cases[i].found, "E0514 whether", 13) == 0;
		const struct seen *seen;
		char text[512];

		fake_gpus(world->scratch, FAKE_NVML, cases[i].json);
		snprintf(text, sizeof text, CHECK("%s"), cases[i].wish);
		seen = plan(world, text);
		if (seen->refused != (*cases[i].found && !advice) ||
			(*cases[i].found ? !strstr(told(world, seen), cases[i].found) : *told(world, seen)))
			fail_msg("case %zu: %s", i, told(world, seen));
		if (strncmp(seen->detail->look.summary, cases[i].summary, strlen(cases[i].summary)) != 0)
			fail_msg("case %zu: %s", i, seen->detail->look.summary);
	}
}

static void
tells_all_at_once(void **state)
{
	struct world *world = *state;
	const struct seen *seen = plan(world,
		CHECK("    gpus: {count: 8, name: H100}\n    driver: \">=600\"\n    commands: [no-such-program]\n    disk: "
			"[{path: /, free: 8000TB}, {path: /no/such, free: 1B}]\n"));

	assert_true(seen->refused);
	assert_int_equal(seen->detail->findings.count, 5);
	assert_non_null(strstr(told(world, seen), "E0507 "));
	assert_non_null(strstr(told(world, seen), "free at `/`, 8000 TB is asked for"));
	assert_non_null(strstr(seen->detail->look.summary, "and 4 more"));
}

static int
listen_on(int *port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t size = sizeof address;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
	assert_int_equal(listen(fd, 8), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
	*port = ntohs(address.sin_port);
	return fd;
}

/* What another target of ours holds is ours to replace. */
static void
hold(struct world *world, enum artifact_kind kind, const char *name)
{
	struct artifact artifact = { .kind = kind, .name = name };
	struct record record = {
		.target = "service",
		.rule = "service",
		.rule_version = 1,
		.artifacts = { .items = &artifact, .count = 1, .capacity = 1 },
		.summary = "",
		.run = "R",
	};

	fake_memory_put(&world->site.memory, &record);
}

static void
judges_ports(void **state)
{
	struct world *world = *state;
	const struct seen *seen;
	char text[128], name[64];
	int port, fd = listen_on(&port);

	snprintf(text, sizeof text, CHECK("    ports: [%d]\n"), port);
	seen = plan(world, text);
	assert_true(seen->refused);
	snprintf(name, sizeof name, "E0508 port %d is held by rules_host_test", port);
	assert_non_null(strstr(told(world, seen), name));
	snprintf(name, sizeof name, "127.0.0.1:%d", port);
	hold(world, ARTIFACT_PORT, name);
	assert_true(plan(world, text)->passed_now);
	close(fd);
	assert_true(plan(world, text)->passed_now);
}

/* As many as the replicas of a service, from the first on; never past the last port that there is. */
static void
judges_ports_in_a_row(void **state)
{
	struct world *world = *state;
	char text[128], name[64];
	int port, fd = listen_on(&port);

	snprintf(name, sizeof name, "E0508 port %d is held by rules_host_test", port);
	snprintf(text, sizeof text, CHECK("    ports: [%d]\n    port_count: 3\n"), port - 2);
	assert_non_null(strstr(told(world, plan(world, text)), name));
	snprintf(text, sizeof text, CHECK("    ports: [%d]\n    port_count: 2\n"), port - 2);
	assert_null(strstr(told(world, plan(world, text)), name));
	close(fd);
	assert_true(plan(world, CHECK("    ports: [65535]\n    port_count: 3\n"))->passed_now);
}

static void
takes_our_own_gpus_for_free(void **state)
{
	struct world *world = *state;
	const char *text = CHECK("    gpus: {count: 1, free: true}\n");

	fake_gpus(world->scratch, FAKE_NVML, "{\"gpus\": [{\"uuid\": \"GPU-ours\", \"used_mib\": 20000}]}");
	assert_true(plan(world, text)->refused);
	hold(world, ARTIFACT_GPU, "GPU-ours");
	assert_true(plan(world, text)->passed_now);
	assert_string_equal(plan(world, text)->detail->look.summary, "0 of 1 GPU free, 1 in use by this deployment, 24 GiB each");
}

/* After it passed once, what was used up since is not held against it; what the machine is, is. */
static void
judges_identity_once_recorded(void **state)
{
	struct world *world = *state;
	char text[256];
	const struct seen *seen;
	int port, fd = listen_on(&port);

	close(fd);
	snprintf(text, sizeof text,
		CHECK("    gpus: {count: 1, free: true}\n    driver: \">=500\"\n    ports: [%d]\n    hubs: "
			"[http://127.0.0.1:%d/]\n"),
		port, port);
	world->site.wishes.offline = true;
	assert_int_equal(site_apply(&world->site, text).status, STATUS_OK);
	world->site.wishes.offline = false;
	assert_string_equal(pairs_get(&site_record(&world->site, "check")->outputs, "driver"), "575.57.08");
	assert_string_equal(pairs_get(&site_record(&world->site, "check")->outputs, "cuda"), "12.9");
	assert_memory_equal(pairs_get(&site_record(&world->site, "check")->outputs, "gpus"),
		"GPU-00000000-0000-0000-0000-000000000000,GPU-", 45);

	/* The GPU is in use, the port taken, the hub gone. */
	fake_gpus(world->scratch, FAKE_NVML, "{\"gpus\": [{\"used_mib\": 20000}]}");
	seen = plan(world, text);
	assert_int_equal(seen->reason, REASON_NONE);
	assert_false(seen->refused);
	fake_gpus(world->scratch, FAKE_NVML, "{\"driver\": \"470.1\", \"gpus\": [{}]}");
	seen = plan(world, text);
	assert_true(seen->refused);
	assert_non_null(strstr(told(world, seen), "E0504"));
	fake_gpus(world->scratch, FAKE_NVML, NULL);
	assert_true(plan(world, text)->refused);
}

static void *
answer_once(void *context)
{
	static const char answer[] = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
	char request[2048];
	int fd = accept(*(int *)context, NULL, NULL);

	if (recv(fd, request, sizeof request, 0) > 0 && write(fd, answer, sizeof answer - 1) < 0)
		abort();
	close(fd);
	return NULL;
}

/* Several hubs are asked side by side: two that never answer cost no more than one. */
static void
asks_hubs(void **state)
{
	struct world *world = *state;
	const struct seen *seen;
	pthread_t thread;
	char text[1024];
	int64_t before;
	int good, silent, gone, fd = listen_on(&good), mute = listen_on(&silent), closed = listen_on(&gone);

	close(closed);
	assert_int_equal(pthread_create(&thread, NULL, answer_once, &fd), 0);
	snprintf(text, sizeof text,
		CHECK("    hubs: [http://127.0.0.1:%d/, http://127.0.0.1:%d/, http://127.0.0.1:%d/, http://127.0.0.1:%d/a]\n"),
		good, silent, gone, silent);
	before = clock_monotonic_ms();
	seen = plan(world, text);
	assert_true(clock_monotonic_ms() - before < 8000);
	pthread_join(thread, NULL);
	assert_true(seen->refused);
	assert_int_equal(seen->detail->findings.count, 3);
	snprintf(text, sizeof text, "E0509 `http://127.0.0.1:%d/` cannot be reached", gone);
	assert_non_null(strstr(told(world, seen), text));
	/* None is left out, however many there are. */
	int length = snprintf(text, sizeof text, CHECK("    hubs: [nowhere"));
	length -= (int)strlen("nowhere");
	for (int i = 0; i < 18; i++)
		length += snprintf(text + length, sizeof text - (size_t)length, "http://127.0.0.1:%d/,", gone);
	snprintf(text + length, sizeof text - (size_t)length, "]\n");
	assert_int_equal(plan(world, text)->detail->findings.count, 18);
	close(fd);
	close(mute);
	world->site.wishes.offline = true;
	snprintf(text, sizeof text, CHECK("    hubs: [http://127.0.0.1:%d/]\n"), gone);
	assert_true(plan(world, text)->passed_now);
}

static void
judges_the_engine(void **state)
{
#define WISH CHECK("    container: {engine: docker, version: \">=20.10\", nvidia: true}\n")
	static const struct {
		const char *info;
		bool good;
	} cases[] = {
		{ "{\"Runtimes\": {\"runc\": {}, \"nvidia\": {\"path\": \"nvidia-container-runtime\"}}}", true },
		{ "{\"Runtimes\": {\"runc\": {}}, \"DiscoveredDevices\": [{\"Source\": \"cdi\", \"ID\": \"nvidia.com/gpu=0\"}]}", true },
		{ "{\"Runtimes\": {\"runc\": {}}, \"DiscoveredDevices\": [{\"Source\": \"cdi\", \"ID\": \"vendor.com/net=0\"}]}", false },
		/* Directories are named by default; only a specification in one says something. */
		{ "{\"Runtimes\": {\"runc\": {}}, \"CDISpecDirs\": [\"/nonexistent/cdi\"]}", false },
		{ "{\"Runtimes\": null, \"CDISpecDirs\": null, \"DiscoveredDevices\": null}", false },
	};
	struct world *world = *state;
	struct fake_engine *engine;
	char socket_path[128], host[160];
	const struct seen *seen;

	snprintf(socket_path, sizeof socket_path, "%s/engine.sock", world->scratch->path);
	snprintf(host, sizeof host, "unix://%s", socket_path);
	setenv("DOCKER_HOST", host, 1);
	engine = fake_engine_start(socket_path);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		fake_engine_answer(engine, "GET /info", 200, cases[i].info);
		seen = plan(world, WISH);
		if (seen->refused == cases[i].good)
			fail_msg("case %zu: %s", i, told(world, seen));
		assert_true(cases[i].good ||
			strstr(told(world, seen), "E0512 containers cannot see the GPUs; host driver: ok, 4 GPUs; Docker 20.10"));
	}
	seen = plan(world, CHECK("    container: {version: \">=99\"}\n"));
	assert_non_null(strstr(told(world, seen), "E0513 Docker 20.10"));
	seen = plan(
		world, CHECK("    container: {version: \">=20\"}\n    gpus: {count: 4}\n    disk: [{path: /, free: 1B}]\n"));
	assert_true(seen->passed_now);
	assert_memory_equal(seen->detail->look.summary, "4 GPUs, 24 GiB each, ", 21);
	assert_non_null(strstr(seen->detail->look.summary, "B free, Docker 20.10"));
	assert_memory_equal(pairs_get(&seen->detail->outputs, "engine"), "Docker 20.10", 12);
	fake_engine_stop(engine);
	unlink(socket_path);
	seen = plan(world, WISH);
	assert_true(seen->refused);
	assert_non_null(strstr(told(world, seen), "E0511"));
	unsetenv("DOCKER_HOST");
}

#define SELF_TEST CHECK("    container: {engine: docker, self_test: cuda}\n")

/* One frame of a container's log. */
static void
answer_log(struct fake_engine *engine, const char *text)
{
	char frame[2048] = { 1, 0, 0, 0, 0, 0 };
	size_t size = strlen(text);

	frame[6] = (char)(size >> 8);
	frame[7] = (char)(size & 0xff);
	memcpy(frame + 8, text, size);
	fake_engine_answer_bytes(engine, "GET /containers/c1/logs", 200, "", frame, size ? size + 8 : 0, 0);
}

/* An engine that has the image `cuda`, and creates, starts and removes a container of it. */
static void
answer_run(struct fake_engine *engine, const char *start, const char *log)
{
	fake_engine_answer(engine, "GET /images/cuda/json", 200, "{\"Id\":\"sha256:1111\"}");
	fake_engine_answer(engine, "POST /containers/create", 201, "{\"Id\":\"c1\"}");
	fake_engine_answer(engine, "POST /containers/c1/start", start ? 500 : 204, start ? start : "");
	fake_engine_answer(engine, "POST /containers/c1/wait", 200, "{\"StatusCode\":0}");
	fake_engine_answer(engine, "POST /containers/c1/stop", 304, "");
	fake_engine_answer(engine, "DELETE /containers/", 204, "");
	answer_log(engine, log);
}

static struct fake_engine *
begin_engine(const char *socket_path)
{
	char host[160];

	snprintf(host, sizeof host, "unix://%s", socket_path);
	setenv("DOCKER_HOST", host, 1);
	return fake_engine_start(socket_path);
}

#define RUNC "OCI runtime create failed: runc create failed: unable to start container process: error during container init: error running hook #0: "
#define GPU(i) "GPU " #i ": NVIDIA GeForce RTX 3090 (UUID: GPU-0000000" #i "-1111-2222-3333-444444444444)\n"
#define NODE(i) "node /dev/nvidia" #i "\n"

/* Answers of engines and hooks, and what a container printed, to the cause that is told. */
static void
names_the_cause(void **state)
{
	static const struct {
		const char *gpus;
		const char *start;  /* the engine's refusal; NULL: it starts */
		const char *log;
		enum fault fault;   /* FAULT_NONE: all GPUs are seen */
		const char *says;
	} cases[] = {
		{ FOUR, NULL, NODE(0) NODE(1) NODE(2) NODE(3) GPU(0) GPU(1) GPU(2) GPU(3), FAULT_NONE, "4 seen from a container" },
		/* An image that lets nvidia-smi out. */
		{ FOUR, NULL, NODE(0) NODE(1) NODE(2) NODE(3), FAULT_NONE, "4 seen from a container" },
		/* Windows' Linux has no nodes. */
		{ "{\"gpus\": [{}]}", NULL, GPU(0), FAULT_NONE, "1 seen from a container" },
		{ FOUR, "{\"message\":\"could not select device driver \\\"\\\" with capabilities: [[gpu]]\"}", "", FAULT_ENGINE_GPUS,
			"the NVIDIA Container Toolkit is not installed, or the engine was not told of it" },
		{ NULL, "{\"message\":\"could not select device driver \\\"\\\" with capabilities: [[gpu]]\"}", "", FAULT_ENGINE_GPUS,
			"the NVIDIA Container Toolkit is not installed" },
		{ FOUR, "{\"message\":\"CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=GPU-0\"}", "", FAULT_ENGINE_GPUS,
			"list of devices (CDI) lacks these GPUs" },
		{ FOUR, "{\"message\":\"" RUNC "nvidia-container-cli: requirement error: unsatisfied condition: cuda>=12.9, please update your driver\"}", "",
			FAULT_CUDA_VERSION, "the driver is too old for this image" },
		{ FOUR, "{\"message\":\"" RUNC "invoking the NVIDIA Container Runtime Hook directly (e.g. specifying the docker --gpus flag) is not supported\"}", "",
			FAULT_ENGINE_GPUS, "a mode that refuses `--gpus`" },
		{ FOUR, "{\"message\":\"" RUNC "nvidia-container-cli: initialization error: nvml error: driver/library version mismatch: unknown\"}", "",
			FAULT_NO_DRIVER, "the NVIDIA kernel module is of another version" },
		{ NULL, "{\"message\":\"" RUNC "nvidia-container-cli: initialization error: load library failed: libnvidia-ml.so.1: cannot open shared object\"}",
			"", FAULT_NO_DRIVER, "the host has no NVIDIA driver" },
		{ NULL, "{\"message\":\"" RUNC "nvidia-container-cli: initialization error: nvml error: driver not loaded: unknown\"}", "", FAULT_NO_DRIVER,
			"the NVIDIA driver is not loaded" },
		{ FOUR, "{\"message\":\"" RUNC "nvidia-container-cli: mount error: permission denied\"}", "", FAULT_ENGINE_GPUS, "the NVIDIA Container Toolkit fails" },
		{ FOUR, "{\"message\":\"exec: \\\"/bin/sh\\\": stat /bin/sh: no such file or directory\"}", "", FAULT_ENGINE, "the test in image `cuda`: start" },
		/* It started, and that was all. */
		{ FOUR, NULL, "", FAULT_ENGINE_GPUS, "the engine started it without any" },
		{ NULL, NULL, "", FAULT_ENGINE_GPUS, "the engine started it without any" },
		{ FOUR, NULL, NODE(0) NODE(1) GPU(0) GPU(1), FAULT_ENGINE_GPUS, "it sees 2 of 4" },
		{ FOUR, NULL, NODE(0) NODE(1) NODE(2) NODE(3) "Failed to initialize NVML: Unknown Error\nfailed 255\n", FAULT_ENGINE_GPUS,
			"it was given them, but may not use them" },
		{ FOUR, NULL, NODE(0) "Failed to initialize NVML: Driver/library version mismatch\nfailed 18\n", FAULT_NO_DRIVER,
			"the NVIDIA kernel module is of another version" },
	};
	struct world *world = *state;
	struct fake_engine *engine;
	char socket_path[128];

	snprintf(socket_path, sizeof socket_path, "%s/engine.sock", world->scratch->path);
	engine = begin_engine(socket_path);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct apply_result result;

		fake_gpus(world->scratch, FAKE_NVML, cases[i].gpus);
		fake_engine_forget(engine);
		answer_run(engine, cases[i].start, cases[i].log);
		result = site_apply(&world->site, SELF_TEST);
		if (result.error.fault != cases[i].fault)
			fail_msg("case %zu: %s %s", i, fault_row(result.error.fault)->code, result.error.text);
		if (cases[i].fault == FAULT_NONE && !strstr(site_record(&world->site, "check")->summary, cases[i].says))
			fail_msg("case %zu: %s", i, site_record(&world->site, "check")->summary);
		if (cases[i].fault != FAULT_NONE && !strstr(result.error.text, cases[i].says))
			fail_msg("case %zu: %s", i, result.error.text);
		assert_non_null(strstr(fake_engine_requests(engine), "DELETE /v1.41/containers/provision-demo-check-"));
		assert_int_equal(world->site.memory.intent_count, 0);
		site_destroy(&world->site, SELF_TEST, "check");
	}
	fake_engine_stop(engine);
	unsetenv("DOCKER_HOST");
}

/* A plan starts nothing; an apply asks for what is not reserved; another driver or image is tested anew. */
static void
tests_itself_when_it_must(void **state)
{
	static const char reserving[] = SELF_TEST "reserve: {gpus: [3]}\n";
	struct world *world = *state;
	struct fake_engine *engine;
	char socket_path[128];
	struct seen *seen;

	snprintf(socket_path, sizeof socket_path, "%s/engine.sock", world->scratch->path);
	engine = begin_engine(socket_path);
	answer_run(engine, NULL, NODE(0) NODE(1) NODE(2) GPU(0) GPU(1) GPU(2));
	seen = plan(world, reserving);
	assert_false(seen->refused);
	assert_false(seen->passed_now);
	assert_string_equal(seen->detail->cost.lines[0], "looks for the GPUs from a container of cuda");
	assert_null(strstr(fake_engine_requests(engine), "POST"));
	assert_int_equal(site_apply(&world->site, reserving).status, STATUS_OK);
	assert_non_null(strstr(fake_engine_requests(engine), "\"DeviceIDs\":[\"GPU-00000000-0000-0000-0000-000000000000\",\"GPU-"));
	assert_null(strstr(fake_engine_requests(engine), "GPU-00000003"));
	assert_non_null(strstr(fake_engine_requests(engine), "\"NetworkMode\":\"none\""));
	assert_int_equal(plan(world, reserving)->reason, REASON_NONE);
	fake_gpus(world->scratch, FAKE_NVML, "{\"driver\": \"580.1\", \"gpus\": [{}, {}, {}, {}]}");
	assert_int_equal(plan(world, reserving)->reason, REASON_UPSTREAM_MOVED);
	fake_gpus(world->scratch, FAKE_NVML, FOUR);
	assert_int_equal(plan(world, reserving)->reason, REASON_NONE);
	fake_engine_answer(engine, "GET /images/cuda/json", 200, "{\"Id\":\"sha256:2222\"}");
	assert_int_equal(plan(world, reserving)->reason, REASON_UPSTREAM_MOVED);
	/* Podman's socket drops the request without a word. */
	fake_engine_ping(engine, "Api-Version: 1.41\r\nLibpod-Api-Version: 5.2.0\r\nServer: Libpod/5.2.0 (linux)\r\n");
	fake_engine_forget(engine);
	answer_run(engine, NULL, "");
	struct apply_result result = site_apply(&world->site, CHECK("    container: {self_test: cuda}\n"));
	assert_int_equal(result.error.fault, FAULT_ENGINE_VERSION);
	assert_null(strstr(fake_engine_requests(engine), "POST"));
	fake_engine_answer(engine, "GET /images/cuda/json", 404, "{\"message\":\"No such image: cuda\"}");
	fake_engine_ping(engine, "Api-Version: 1.41\r\nServer: Docker/20.10.24 (linux)\r\n");
	site_destroy(&world->site, SELF_TEST, "check");
	assert_int_equal(site_apply(&world->site, SELF_TEST).error.fault, FAULT_NO_IMAGE);
	fake_engine_stop(engine);
	unsetenv("DOCKER_HOST");
}

static void
refuses_bad_parameters(void **state)
{
	static const struct {
		const char *wish, *error;
	} cases[] = {
		{ "    driver: \">=575\"\n", "" },
		{ "    driver: newest\n", "E0103 `driver`: `newest`" },
		{ "    container: {version: \"~>2\"}\n", "E0103 `container`" },
		{ "    hubs: [nexus]\n", "E0103 `hubs`: `nexus` is no hub" },
		{ "    ports: [0]\n", "E0103 " },
		{ "    gpus: {count: 0}\n", "E0103 " },
		{ "    gpus: {kind: x}\n", "E0102 " },
		{ "    disk: [{path: /}]\n", "E0104 " },
		{ "    container: {engine: containerd}\n", "E0103 " },
		{ "    container: {self_test: nvidia/cuda}\n", "" },
		{ "    container: {self_test: \"\"}\n", "E0103 `self_test` of `container` is empty" },
	};
	struct world *world = *state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char text[256];
		const char *error;

		snprintf(text, sizeof text, CHECK("%s"), cases[i].wish);
		error = site_check(&world->site, text);
		if (*cases[i].error ? strncmp(error, cases[i].error, strlen(cases[i].error)) != 0 : *error)
			fail_msg("case %zu: %s", i, error);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(judges_gpus, setup, teardown),
		cmocka_unit_test_setup_teardown(tells_all_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(judges_ports, setup, teardown),
		cmocka_unit_test_setup_teardown(judges_ports_in_a_row, setup, teardown),
		cmocka_unit_test_setup_teardown(takes_our_own_gpus_for_free, setup, teardown),
		cmocka_unit_test_setup_teardown(judges_identity_once_recorded, setup, teardown),
		cmocka_unit_test_setup_teardown(asks_hubs, setup, teardown),
		cmocka_unit_test_setup_teardown(judges_the_engine, setup, teardown),
		cmocka_unit_test_setup_teardown(names_the_cause, setup, teardown),
		cmocka_unit_test_setup_teardown(tests_itself_when_it_must, setup, teardown),
		cmocka_unit_test_setup_teardown(refuses_bad_parameters, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
