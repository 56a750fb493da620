#include "host.h"

#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/file.h"
#include "engine/base/finding.h"
#include "engine/base/units.h"
#include "engine/base/version.h"
#include "engine/task.h"
#include "oneshot.h"
#include "rules.h"

#define LARGEST_COUNT 1024

const char *const host_engines[] = { "auto", "docker", "podman", NULL };

static const struct param gpu_params[] = {
	{ "count", PARAM_INT, offsetof(struct host_gpus, count), .about = "how many must work", .least = 1, .most = LARGEST_COUNT },
	{ "name", PARAM_STRING, offsetof(struct host_gpus, name), .about = "part of the name, or a pattern" },
	{ "memory", PARAM_SIZE, offsetof(struct host_gpus, memory), .about = "of each, as the driver reports it", .least = 1, .most = INT64_MAX },
	{ "free", PARAM_BOOL, offsetof(struct host_gpus, free), .about = "nobody may use them (reserved ones apart)" },
	{ "p2p", PARAM_BOOL, offsetof(struct host_gpus, p2p), .about = "each must reach the memory of each" },
	{ 0 },
};

static const struct param disk_params[] = {
	{ "path", PARAM_PATH, offsetof(struct host_disk, path), .required = true, .about = "somewhere on the file system; need not exist" },
	{ "free", PARAM_SIZE, offsetof(struct host_disk, free), .required = true, .about = "bytes that must be free before anything is built" },
	{ 0 },
};

static const struct param container_params[] = {
	{ "engine", PARAM_ENUM, offsetof(struct host_container, engine), .fallback = "auto", .choices = host_engines, .about = "which engine must answer" },
	{ "version", PARAM_STRING, offsetof(struct host_container, version), .about = "`>=20.10`" },
	{ "nvidia", PARAM_BOOL, offsetof(struct host_container, nvidia), .about = "it must be able to hand GPUs to containers" },
	{ "self_test", PARAM_STRING, offsetof(struct host_container, self_test), .about = "image in which a container looks for the GPUs, at apply" },
	{ 0 },
};

static const struct param params[] = {
	{ "gpus", PARAM_STRUCT, offsetof(struct host, gpus), .fields = gpu_params, .size = sizeof(struct host_gpus), .about = "what the GPUs must be" },
	{ "driver", PARAM_STRING, offsetof(struct host, driver), .about = "version of the NVIDIA driver, `>=575`" },
	{ "cuda", PARAM_STRING, offsetof(struct host, cuda), .about = "CUDA that the driver supports, `>=12.9`" },
	{ "disk", PARAM_LIST, offsetof(struct host, disk), .fields = disk_params, .size = sizeof(struct host_disk), .about = "free disk space" },
	{ "ports", PARAM_INTS, offsetof(struct host, ports), .about = "ports that nobody else may hold", .least = 1, .most = 65535 },
	{ "port_count", PARAM_INT, offsetof(struct host, port_count), .fallback = "1", .least = 1, .most = 256,
		.about = "so many from each of `ports` on: what the `replicas` of a service listen on" },
	{ "hubs", PARAM_STRINGS, offsetof(struct host, hubs), .about = "`modelscope`, `huggingface` or URLs that must answer" },
	{ "container", PARAM_STRUCT, offsetof(struct host, container), .fields = container_params, .size = sizeof(struct host_container),
		.about = "what the container engine must be" },
	{ "commands", PARAM_STRINGS, offsetof(struct host, commands), .about = "programs that must be installed" },
	{ 0 },
};

static const struct output outputs[] = {
	{ "gpus", "UUIDs of the GPUs that work, joined by commas", NULL },
	{ "driver", "version of the NVIDIA driver", NULL },
	{ "cuda", "CUDA that the driver supports", NULL },
	{ "engine", "container engine and its version", NULL },
	{ 0 },
};

static void
check_condition(struct task *task, const char *param, const char *condition, struct errors *errors)
{
	struct error err = { 0 };

	if (!condition || version_condition_valid(condition))
		return;
	fail_at(
		&err, task_place(task, param), FAULT_BAD_VALUE, "`%s`: `%s` is no condition on a version", param, condition);
	error_hint(&err, "write \">=12.9\", or several joined by commas");
	errors_add(errors, &err);
}

static void
host_validate(const void *spec, struct task *task, struct errors *errors)
{
	const struct host *host = spec;
	struct error err = { 0 };

	check_condition(task, "driver", host->driver, errors);
	check_condition(task, "cuda", host->cuda, errors);
	if (host->container)
		check_condition(task, "container", host->container->version, errors);
	if (host->container && host->container->self_test && !*host->container->self_test) {
		fail_at(&err, task_place(task, "container"), FAULT_BAD_VALUE, "`self_test` of `container` is empty");
		error_hint(&err, "name an image that the engine holds and that has a shell");
		errors_add(errors, &err);
	}
	for (size_t i = 0; i < host->hubs.count; i++) {
		if (host_hub_url(host->hubs.items[i], task_arena(task)))
			continue;
		fail_at(&err, task_place(task, "hubs"), FAULT_BAD_VALUE, "`hubs`: `%s` is no hub", host->hubs.items[i]);
		error_hint(&err, "write huggingface, modelscope or a URL");
		errors_add(errors, &err);
	}
}

static const char *
join(struct arena *arena, const char *text, const char *more)
{
	return *text ? arena_printf(arena, "%s, %s", text, more) : more;
}

static const char *
summary_of(const struct host_facts *facts, struct task *task)
{
	const struct findings *findings = task_findings(task);
	struct arena *arena = task_arena(task);
	const char *text = "";
	size_t failed = 0;

	for (size_t i = 0; i < findings->count; i++)
		if (!findings->items[i].advice && failed++ == 0)
			text = findings->items[i].text;
	if (failed)
		return failed == 1 ? text : arena_printf(arena, "%s, and %zu more", text, failed - 1);
	if (facts->gpus_known)
		text = host_gpus_text(facts, arena);
	if (facts->disk_known)
		text = join(arena, text, arena_printf(arena, "%s free", units_show_size(arena, facts->disk_free)));
	if (facts->engine)
		text = join(arena, text, facts->engine);
	if (facts->contained)
		text = join(arena, text, arena_printf(arena, "%zu seen from a container", facts->contained));
	return *text ? text : "as asked";
}

static void
put_outputs(const struct host_facts *facts, struct task *task)
{
	struct arena *arena = task_arena(task);
	const char *uuids = "";

	for (size_t i = 0; i < facts->gpus.count; i++)
		if (!facts->gpus.items[i].broken && *facts->gpus.items[i].uuid)
			uuids = arena_printf(arena, "%s%s%s", uuids, *uuids ? "," : "", facts->gpus.items[i].uuid);
	task_output(task, "gpus", uuids);
	task_output(task, "driver", facts->gpus_known ? facts->gpus.driver : "");
	task_output(task, "cuda", facts->gpus_known ? facts->gpus.cuda : "");
	task_output(task, "engine", facts->engine ? facts->engine : "");
}

static void
look_around(const struct host *host, bool settled, struct task *task, struct host_facts *facts)
{
	host_check_gpus(host, settled, task, facts);
	host_check_container(host, task, facts);
	host_check_commands(host, task);
	host_check_disk(host, settled, task, facts);
	if (!settled)
		host_check_ports(host, task);
	if (!settled && !task_offline(task))
		host_check_hubs(host, task);
}

static const char *
tell(const struct host_facts *facts, struct task *task)
{
	const char *summary = summary_of(facts, task);

	put_outputs(facts, task);
	task_summary(task, "%s", summary);
	return summary;
}

static bool
has_self_test(const struct host *host)
{
	return host->container && host->container->self_test;
}

static bool
host_ingredients(const void *spec, struct task *task, struct error *err)
{
	(void)err;
	host_self_test_facts(spec, task);
	return true;
}

static bool
host_inspect(const void *spec, struct task *task, struct look *look, struct error *err)
{
	struct host_facts facts = { 0 };

	(void)err;
	look_around(spec, task_record(task) != NULL, task, &facts);
	*look = (struct look){ .state = STATE_FRESH, .summary = tell(&facts, task) };
	/* A container has the last word, and is started by build. */
	look->judged = task_record(task) || !has_self_test(spec) || findings_refuse(task_findings(task));
	return true;
}

static bool
host_estimate(const void *spec, struct task *task, struct cost *cost, struct error *err)
{
	const struct host *host = spec;

	(void)err;
	if (has_self_test(host))
		cost->lines[0] = arena_printf(task_arena(task), "looks for the GPUs from a container of %s", host->container->self_test);
	return true;
}

static bool
host_build(const void *spec, struct task *task, struct error *err)
{
	struct host_facts facts = { 0 };

	look_around(spec, false, task, &facts);
	if (!host_self_test(spec, task, &facts, err))
		return false;
	tell(&facts, task);
	return true;
}

const struct rule host_rule = {
	.name = "host",
	.about = "verdict: GPUs, driver, container engine, disk and ports are as asked",
	.version = 1,
	.check = true,
	.params = params,
	.size = sizeof(struct host),
	.outputs = outputs,
	.validate = host_validate,
	.ingredients = host_ingredients,
	.inspect = host_inspect,
	.estimate = host_estimate,
	.build = host_build,
	.sweep = oneshot_sweep,
};
