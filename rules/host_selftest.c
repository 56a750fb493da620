#include "host.h"

#include <stdio.h>
#include <string.h>

#include "client/docker.h"
#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "engine/base/cleanup.h"
#include "engine/base/finding.h"
#include "engine/base/version.h"
#include "engine/task.h"
#include "oneshot.h"

#define TEST_MS (2 * 60 * 1000) /* a driver without persistence mode takes seconds to wake up each card */
#define OUTPUT_LIMIT (64u << 10)
#define LEAST_PODMAN "5.5"

/* The nodes are the fact; nvidia-smi is there where the image lets it in, and says whether they can be used. */
static const char script[] =
	"for node in /dev/nvidia[0-9]*; do [ -e \"$node\" ] && echo \"node $node\"; done\n"
	"if command -v nvidia-smi >/dev/null; then nvidia-smi -L 2>&1 || echo \"failed $?\"; fi\n"
	"true\n";

/* Why a container gets no GPU, by the words of the engine or of its hook; the first row that fits. The words are in no fixed case. */
static const struct cause {
	const char *words;
	enum fault fault;
	const char *text;
	const char *help;
} causes[] = {
	{ "unsatisfied condition", FAULT_CUDA_VERSION, "the driver is too old for this image",
		"ask the administrator for a newer driver, or name an image for an older CUDA" },
	{ "driver/library version mismatch", FAULT_NO_DRIVER, "the NVIDIA kernel module is of another version than the driver's libraries",
		"ask the administrator to reboot: the driver was updated while it was loaded" },
	{ "libnvidia-ml.so", FAULT_NO_DRIVER, "the host has no NVIDIA driver", "ask the administrator to install the driver" },
	{ "driver not loaded", FAULT_NO_DRIVER, "the NVIDIA driver is not loaded", "ask the administrator: sudo modprobe nvidia; `dmesg` says why it does not load" },
	{ "unresolvable CDI devices", FAULT_ENGINE_GPUS, "the engine's list of devices (CDI) lacks these GPUs: it is missing, or older than the driver",
		"ask the administrator: sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml" },
	{ "could not select device driver", FAULT_ENGINE_GPUS, "the NVIDIA Container Toolkit is not installed, or the engine was not told of it",
		"ask the administrator: install nvidia-container-toolkit; sudo nvidia-ctk runtime configure --runtime=docker; sudo systemctl restart docker" },
	{ "invoking the NVIDIA Container Runtime Hook directly", FAULT_ENGINE_GPUS, "the NVIDIA Container Toolkit is set to a mode that refuses `--gpus`",
		"ask the administrator to set `mode = \"legacy\"` in /etc/nvidia-container-runtime/config.toml, or to use CDI" },
	{ "nvidia-container", FAULT_ENGINE_GPUS, "the NVIDIA Container Toolkit fails", "does `nvidia-smi` work on this host? If not, its message is for the administrator" },
	{ "nvidia-ctk", FAULT_ENGINE_GPUS, "the NVIDIA Container Toolkit fails", "does `nvidia-smi` work on this host? If not, its message is for the administrator" },
};

/* One test. */
struct trial {
	const struct host *host;
	struct task *task;
	struct host_facts *facts;
	struct strings wanted;    /* UUIDs; empty: whatever there is */
	const char *driver;       /* of the host, in words */
	bool no_driver;
	struct buf out;
};

static void
finish_trial(struct trial *trial)
{
	buf_finish(&trial->out);
}

static void
take(void *context, bool is_stderr, const char *bytes, size_t size)
{
	struct trial *trial = context;

	task_log_bytes(trial->task, is_stderr, bytes, size);
	buf_add(&trial->out, bytes, size);
}

/* All GPUs that work and may be used. */
static bool
choose(struct trial *trial)
{
	struct arena *arena = task_arena(trial->task);
	size_t count, working = 0;
	const char *purpose;
	const int64_t *reserved = task_reserved_gpus(trial->task, &count, &purpose);
	struct error no_driver;
	struct gpus gpus;

	if (!gpus_read(&gpus, arena, &no_driver)) {
		trial->no_driver = true;
		trial->driver = no_driver.text[0] ? arena_copy(arena, no_driver.text) : "no driver";
		return true;
	}
	for (size_t i = 0; i < gpus.count; i++) {
		bool kept = false;

		for (size_t r = 0; r < count; r++)
			kept = kept || reserved[r] == (int64_t)gpus.items[i].index;
		working += !gpus.items[i].broken;
		if (!kept && !gpus.items[i].broken && *gpus.items[i].uuid)
			strings_add(&trial->wanted, arena, gpus.items[i].uuid);
	}
	trial->driver = arena_printf(arena, "ok, %zu GPU%s", working, working == 1 ? "" : "s");
	return working == 0 || trial->wanted.count > 0;
}

static struct finding *
complain(struct trial *trial, enum fault fault, const char *text)
{
	struct findings *findings = task_findings(trial->task);
	struct finding *finding = findings_add(findings, fault, task_place(trial->task, "container"), "a container cannot use the GPUs: %s", text);

	finding_note(findings, finding, "tried with image `%s`; host driver: %s; engine: %s", trial->host->container->self_test, trial->driver,
		trial->facts->engine);
	return finding;
}

static void
advise(struct trial *trial, struct finding *finding, const char *help)
{
	if (trial->no_driver && finding->fault == FAULT_ENGINE_GPUS)
		finding_help(task_findings(trial->task), finding, "ask the administrator to install the NVIDIA driver first");
	finding_help(task_findings(trial->task), finding, "%s", help);
	finding_help(task_findings(trial->task), finding, "no sudo? give the administrator the text of: provision explain %s", fault_row(finding->fault)->code);
}

static const struct cause *
cause_of(const char *words)
{
	for (size_t i = 0; i < sizeof causes / sizeof *causes; i++)
		if (strcasestr(words, causes[i].words))
			return &causes[i];
	return NULL;
}

/* The container did not come to life, or nvidia-smi failed in it. What has nothing to do with GPUs is told in the engine's own words. */
static void
refuse_words(struct trial *trial, const struct error *err, const char *words)
{
	const struct cause *cause = cause_of(words);
	struct finding *finding;

	if (!cause && err) {
		struct error copy = *err;

		error_wrap(&copy, "the test in image `%s`", trial->host->container->self_test);
		copy.at = task_place(trial->task, "container");
		findings_add_error(task_findings(trial->task), &copy);
		return;
	}
	finding = complain(trial, cause ? cause->fault : FAULT_ENGINE_GPUS,
		cause ? cause->text : "it was given them, but may not use them");
	finding_note(task_findings(trial->task), finding, "%s", words);
	advise(trial, finding, cause ? cause->help
		: "ask the administrator: after `systemctl daemon-reload` an engine with the systemd cgroup driver takes devices away; `nvidia-ctk system create-dev-char-symlinks` prevents it");
}

/* Lines of the script's answer. */
static void
count_lines(const struct trial *trial, struct arena *arena, size_t *nodes, size_t *listed, const char **failure)
{
	const char *at = trial->out.data, *before = "";

	*nodes = *listed = 0;
	*failure = NULL;
	while (*at) {
		size_t length = strcspn(at, "\r\n");
		const char *line = arena_copy_bytes(arena, at, length);

		*nodes += text_starts(line, "node ");
		*listed += text_starts(line, "GPU ") && strstr(line, "UUID:");
		if (text_starts(line, "failed "))
			*failure = *before && !text_starts(before, "node ") ? before : "nvidia-smi failed without a word";
		before = line;
		at += length;
		at += strspn(at, "\r\n");
	}
}

static void
judge(struct trial *trial)
{
	struct arena *arena = task_arena(trial->task);
	size_t nodes, listed, seen, wanted = trial->wanted.count ? trial->wanted.count : 1;
	const char *failure;
	struct finding *finding;

	count_lines(trial, arena, &nodes, &listed, &failure);
	seen = listed ? listed : nodes;
	if (failure && (seen > 0 || cause_of(failure))) {
		refuse_words(trial, NULL, failure);
		return;
	}
	if (seen >= wanted) {
		trial->facts->contained = seen;
		return;
	}
	if (seen == 0)
		finding = complain(trial, FAULT_ENGINE_GPUS, "the engine started it without any, and said nothing");
	else
		finding = complain(trial, FAULT_ENGINE_GPUS, arena_printf(arena, "it sees %zu of %zu", seen, wanted));
	advise(trial, finding, "ask the administrator: install nvidia-container-toolkit and, for Podman or CDI, sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml");
}

/* Podman's socket took requests for GPUs and dropped them. */
static bool
is_deaf(const struct docker *docker)
{
	return docker->podman && version_compare(docker->version, LEAST_PODMAN) < 0;
}

static bool
try(struct trial *trial, struct docker *docker, struct error *err)
{
	static const char *const argv[] = { "/bin/sh", "-c", script, NULL };
	const char *engine = host_engines[trial->host->container->engine];
	struct oneshot_result ended;
	struct oneshot spec = {
		.role = "self-test",
		.engine = engine,
		.argv = argv,
		.gpus = &trial->wanted,
		.closed = true,
		.timeout_ms = TEST_MS,
		.output = take,
		.context = trial,
	};

	if (!docker_init(docker, engine, task_cancel(trial->task), task_arena(trial->task), err))
		return false;
	if (is_deaf(docker)) {
		fail(err, FAULT_ENGINE_VERSION, "Podman %s cannot pass GPUs to a container over its socket", docker->version);
		return error_hint(err, "use Podman " LEAST_PODMAN " or later, or Docker");
	}
	if (!oneshot_image(docker, trial->task, "container", trial->host->container->self_test, &spec.image, err))
		return false;
	task_progress(trial->task, "looking for the GPUs from a container", 0, 0, "");
	if (!oneshot_run(docker, trial->task, &spec, &ended, err))
		return false;
	if (ended.cancelled)
		return fail(err, FAULT_INTERRUPTED, "the test in a container was stopped");
	return !ended.timed_out || fail(err, FAULT_TIME_LIMIT, "no answer within %d s", TEST_MS / 1000);
}

bool
host_self_test(const struct host *host, struct task *task, struct host_facts *facts, struct error *err)
{
	struct docker docker finally(docker_finish) = { 0 };
	struct trial trial finally(finish_trial) = { .host = host, .task = task, .facts = facts };

	/* Without an engine there is a finding already; with all GPUs reserved there is none to look for. */
	if (!host->container || !host->container->self_test || !facts->engine || !choose(&trial))
		return true;
	buf_init(&trial.out, OUTPUT_LIMIT);
	if (try(&trial, &docker, err)) {
		judge(&trial);
		return true;
	}
	if (err->fault == FAULT_INTERRUPTED)
		return false;
	refuse_words(&trial, err, err->text);
	*err = (struct error){ 0 };
	return true;
}

void
host_self_test_facts(const struct host *host, struct task *task)
{
	struct arena *arena = task_arena(task);
	const char *text = "no driver";
	struct error ignored;
	struct gpus gpus;

	if (!host->container || !host->container->self_test)
		return;
	if (gpus_read(&gpus, arena, &ignored)) {
		text = arena_printf(arena, "driver %s", gpus.driver);
		for (size_t i = 0; i < gpus.count; i++)
			text = arena_printf(arena, "%s, %s", text, gpus.items[i].uuid);
	}
	task_ingredient(task, INGREDIENT_FACT, "fact:gpus", text, NULL, NULL);
	/* An engine that does not answer is a finding of the check itself. */
	oneshot_ingredient(task, host_engines[host->container->engine], host->container->self_test, &ignored);
}
