#include "rules.h"

#include <stdatomic.h>
#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/units.h"
#include "engine/task.h"
#include "gpuset.h"
#include "service_internal.h"

#define AFTER_STOP_MS 10000
#define AFTER_SWEEP_MS 2000

static const struct runtime *const runtimes[RUNTIME_COUNT] = { &docker_runtime, &process_runtime };
static const struct ready default_ready = { "/health", 15 * 60 * 1000, 2000 };

/* ------------------------------------------------------------------ looking */

/* No ingredients but the parameters. This is where a plan first knows what the manifest reserves, so it is refused here, before anything is fetched. */
static bool
service_ingredients(const void *filled, struct task *task, struct error *err)
{
	const struct service *spec = filled;
	struct gpuset set;
	const char *purpose = NULL;
	size_t count;
	const int64_t *reserved = task_reserved_gpus(task, &count, &purpose);

	if (gpuset_parse(spec->gpus, task_arena(task), &set, err) && (set.none || gpuset_check_reserved(&set, reserved, count, purpose, err)))
		return true;
	err->at = task_place(task, "gpus");
	return false;
}

static bool
service_inspect(const void *filled, struct task *task, struct look *look, struct error *err)
{
	struct site site finally(site_finish) = { 0 };
	struct instances recorded;

	site_init(&site, task, task_cancel(task));
	if (!service_instances(task_record(task), site.arena, &recorded, err))
		return false;
	look->state = STATE_FRESH;
	for (size_t i = 0; i < recorded.count && look->state == STATE_FRESH; i++) {
		struct instance *instance = &recorded.items[i];
		if (!instance->runtime->inspect(&site, filled, instance, look, err))
			return false;
		if (look->state != STATE_FRESH && recorded.count > 1)
			look->what = arena_printf(site.arena, "replica %lld: %s", (long long)instance->replica, look->what);
	}
	if (recorded.count == 0) {
		look->state = STATE_ABSENT;
		look->reason = REASON_CONTAINER_GONE;
		look->what = "no instance is recorded";
	}
	return true;
}

/* Every instance, not only the first that differs. */
static bool
service_verify(struct task *task, bool deep, struct error *err)
{
	struct site site finally(site_finish) = { 0 };
	struct instances recorded;

	(void)deep;
	site_init(&site, task, task_cancel(task));
	if (!service_instances(task_record(task), site.arena, &recorded, err))
		return false;
	for (size_t i = 0; i < recorded.count; i++) {
		struct instance *instance = &recorded.items[i];
		struct look look = { .state = STATE_FRESH };

		if (!instance->runtime->inspect(&site, NULL, instance, &look, err))
			return false;
		if (look.state != STATE_FRESH)
			findings_add(task_findings(task), FAULT_MISMATCH, (struct place){ 0 }, "%s %.12s of run %s: %s", instance->runtime->words,
				instance->id, instance->run, look.what);
	}
	return true;
}

static bool
is_loopback(const char *host)
{
	return strcmp(host, "localhost") == 0 || text_starts(host, "127.") || strcmp(host, "::1") == 0;
}

static void
advise(const struct service *spec, struct task *task)
{
	struct findings *findings = task_findings(task);
	struct finding *finding;

	if (spec->host && !is_loopback(spec->host) && !service_has_api_key(spec, task_arena(task))) {
		finding = findings_add(findings, FAULT_OPEN_PORT, task_place(task, "host"), "port %lld will be open to others without an API key",
			(long long)spec->port);
		finding->advice = true;
		finding_label(findings, finding, "every machine that reaches this host can use the service");
		finding_help(findings, finding, "pass a key: `env_from: [VLLM_API_KEY]`; or listen on 127.0.0.1 and use an SSH tunnel");
	}
	if (spec->runtime == RUNTIME_DOCKER && spec->env_from.count) {
		finding = findings_add(findings, FAULT_SECRET_VISIBLE, task_place(task, "env_from"),
			"the values of `env_from` are visible to whoever can inspect the container");
		finding->advice = true;
	}
}

static void
add_line(struct cost *cost, const char *line)
{
	for (size_t i = 0; i < sizeof cost->lines / sizeof *cost->lines; i++)
		if (!cost->lines[i]) {
			cost->lines[i] = line;
			return;
		}
}

static void
estimate_mounts(const struct service *spec, struct arena *arena, struct cost *cost)
{
	const struct mount *mounts = spec->mounts.items;

	for (size_t i = 0; i < spec->mounts.count; i++)
		if (mounts[i].source && (strcmp(mounts[i].source, "/") == 0 || text_ends(mounts[i].source, "docker.sock") || text_ends(mounts[i].source, "podman.sock")))
			add_line(cost, arena_printf(arena, "root: the container sees `%s`, which makes it root on this host", mounts[i].source));
	if (spec->user && (strcmp(spec->user, "root") == 0 || text_starts(spec->user, "0")) && spec->ipc == 1)
		add_line(cost, "root: the container runs as root and shares the host's memory segments");
}

static bool
service_estimate(const void *filled, struct task *task, struct cost *cost, struct error *err)
{
	const struct service *spec = filled;
	struct site site finally(site_finish) = { 0 };
	struct instances recorded;
	struct instance_state state;
	struct error unreachable;

	site_init(&site, task, task_cancel(task));
	advise(spec, task);
	estimate_mounts(spec, site.arena, cost);
	cost->keep = 0;
	cost->download = 0;
	if (!service_instances(task_record(task), site.arena, &recorded, err))
		return false;
	for (size_t i = 0; i < recorded.count; i++) {
		struct instance *old = &recorded.items[i];
		/* An engine that does not answer leaves the worse case: it may be running. */
		if (old->runtime->look(&site, old, &state, &unreachable) && !state.running)
			continue;
		if (!cost->stops)
			add_line(cost, arena_printf(site.arena, "stops the instance of run %s, kept until the new one is accepted", old->run));
		cost->stops = true;
		cost->duration = old->ready_ms ? old->ready_ms : -1;
		cost->downtime = cost->duration;
	}
	return true;
}

/* ------------------------------------------------------------------ starting */

static void
plan_instances(const struct service *spec, struct site *site, struct instances *instances)
{
	struct task *task = site->task;
	struct ready ready = spec->ready ? *spec->ready : default_ready;

	if (task_timeout(task) > 0 && task_timeout(task) < ready.timeout)
		ready.timeout = task_timeout(task);
	instances->count = (size_t)spec->replicas;
	instances->items = arena_array(site->arena, instances->count, sizeof *instances->items);
	for (size_t i = 0; i < instances->count; i++) {
		const char *id = task_new_id(task, site->arena);
		instances->items[i] = (struct instance){
			.runtime = runtimes[spec->runtime],
			.intent = id,
			.run = task_run(task),
			.tag = arena_printf(site->arena, "%s%s/%zu/%s", service_tag_prefix(task, site->arena), task_run(task), i, id),
			.replica = (int64_t)i,
			.host = spec->host,
			.port = spec->port + (int64_t)i,
			.stop_timeout = spec->stop_timeout,
			.ready = ready,
			.env_from = spec->env_from,
		};
	}
}

/* Stop what needs the same port or GPU. It can be started again: nothing of it is removed before the new one is accepted. */
static bool
make_way(struct site *site, const struct instances *old, const struct instances *fresh, bool *stopped, struct error *err)
{
	struct instances gone = { .items = arena_array(site->arena, old->count + 1, sizeof *gone.items) };

	for (size_t i = 0; i < old->count; i++) {
		struct instance *instance = &old->items[i];
		bool collides = false;
		for (size_t k = 0; k < fresh->count && !collides; k++)
			collides = instances_collide(instance, &fresh->items[k]);
		if (!collides)
			continue;
		task_progress(site->task, arena_printf(site->arena, "stopping the instance of run %s (kept, not removed)", instance->run), 0, 0, NULL);
		task_log(site->task, "stopping %s %.12s of run %s", instance->runtime->words, instance->id, instance->run);
		if (!instance->runtime->halt(site, instance, err))
			return error_wrap(err, "stop the instance of run %s", instance->run);
		gone.items[gone.count++] = *instance;
	}
	*stopped = gone.count > 0;
	return gone.count == 0 || service_wait_released(site, &gone, err);
}

static bool
start_all(struct site *site, const struct service *spec, struct instances *fresh, struct error *err)
{
	for (size_t i = 0; i < fresh->count; i++) {
		struct instance *instance = &fresh->items[i];
		if (site->cancel && *site->cancel)
			return fail(err, FAULT_INTERRUPTED, "interrupted while the service was starting");
		task_progress(site->task, "starting", i, fresh->count, "replicas");
		if (!task_intent(site->task, instance->intent, instance->runtime->words, instance->tag, err) ||
			!instance->runtime->start(site, spec, instance, err))
			return false;
		task_log(site->task, "started %s %.12s on %s:%lld", instance->runtime->words, instance->id, instance->host, (long long)instance->port);
	}
	return true;
}

static bool
start(struct site *site, const struct service *spec, const struct instances *old, struct instances *fresh, struct error *err)
{
	static const struct instances nothing = { 0 };
	struct pairs secrets = { 0 };
	bool stopped = false;
	int64_t patience;

	/* All that can be known to fail is asked before the old instance is touched. */
	plan_instances(spec, site, fresh);
	if (!service_secrets(&spec->env_from, site->arena, &secrets, err) || !service_choose_gpus(spec, site, old, fresh, err))
		return false;
	for (size_t i = 0; i < fresh->count; i++)
		if (!fresh->items[i].runtime->prepare(site, spec, &fresh->items[i], err))
			return false;
	if (!service_sweep(site, old, err) || !service_check_ports(site, fresh, old, AFTER_SWEEP_MS, err) ||
		!service_check_gpus(site, fresh, old, AFTER_SWEEP_MS, err) || !make_way(site, old, fresh, &stopped, err))
		return false;
	patience = stopped ? AFTER_STOP_MS : 0;
	if (!service_check_ports(site, fresh, &nothing, patience, err) || !service_check_gpus(site, fresh, &nothing, patience, err))
		return false;
	return start_all(site, spec, fresh, err) && service_wait_ready(site, fresh, err);
}

/* What a failed start made goes, whatever ended it; the old instances are put back by revert. What is known to have been started needs no cache for that. */
static void
clear_away(struct task *task, const struct instances *old, struct instances *fresh)
{
	struct site site finally(site_finish) = { 0 };
	struct error err = { 0 };

	site_init(&site, task, NULL);
	for (size_t i = 0; i < fresh->count; i++) {
		struct instance *instance = &fresh->items[i];

		if (instance->id && !instance->runtime->remove(&site, instance, &err))
			task_log(task, "could not remove %s %.12s: %s", instance->runtime->words, instance->id, err.text);
	}
	if (!service_sweep(&site, old, &err))
		task_log(task, "could not remove what was started: %s", err.text);
}

static bool
service_build(const void *filled, struct task *task, struct error *err)
{
	const struct service *spec = filled;
	struct site site finally(site_finish) = { 0 };
	struct instances old, fresh;

	site_init(&site, task, task_cancel(task));
	if (!service_instances(task_record(task), site.arena, &old, err))
		return false;
	if (!start(&site, spec, &old, &fresh, err)) {
		clear_away(task, &old, &fresh);
		return false;
	}
	for (size_t i = 0; i < fresh.count; i++) {
		task_intent_done(task, fresh.items[i].intent);
		if (fresh.items[i].image)
			task_material(task, arena_printf(site.arena, "image:%s", spec->image), fresh.items[i].image);
	}
	service_report(task, &fresh);
	task_summary(task, fresh.count > 1 ? "%zu instances from %s, ready in %s" : "%zu instance at %s, ready in %s", fresh.count,
		instance_url(&fresh.items[0], "/v1", site.arena), units_show_duration(site.arena, fresh.items[fresh.count - 1].ready_ms));
	return true;
}

/* ------------------------------------------------------------------ keeping, putting back, removing */

static bool
service_settle(struct task *task, struct error *err)
{
	struct site site finally(site_finish) = { 0 };
	struct instances recorded;

	site_init(&site, task, NULL);
	return service_instances(task_record(task), site.arena, &recorded, err) && service_sweep(&site, &recorded, err);
}

/* Start again what does not run; `resumed` gets those, and what they were meanwhile is updated in place. */
static bool
resume_all(struct site *site, const struct instances *recorded, struct instances *resumed, struct error *err)
{
	struct instance_state state;

	for (size_t i = 0; i < recorded->count; i++) {
		struct instance *instance = &recorded->items[i];
		if (!instance->runtime->look(site, instance, &state, err))
			return false;
		/* A run that was killed between two steps of stopping it has left it without its restart policy. */
		if (state.running && (!instance->ready_ms || instance->runtime->became_ready(site, instance, err)))
			continue;
		if (state.running)
			return error_wrap(err, "the instance of run %s", instance->run);
		task_progress(site->task, arena_printf(site->arena, "putting the instance of run %s back", instance->run), 0, 0, NULL);
		task_log(site->task, "starting %s %.12s of run %s again", instance->runtime->words, instance->id, instance->run);
		if (!instance->runtime->resume(site, instance, err))
			return error_wrap(err, "put the instance of run %s back", instance->run);
		resumed->items[resumed->count++] = *instance;
	}
	return true;
}

/* Asked before anything is touched: without what was put aside, the new one is all there is. */
static bool
find_lost(struct site *site, const struct instances *recorded, bool *lost, struct error *err)
{
	struct instance_state state;

	for (size_t i = 0; i < recorded->count; i++) {
		struct instance *instance = &recorded->items[i];
		if (!instance->runtime->look(site, instance, &state, err))
			return false;
		if (!state.gone)
			continue;
		task_lost(site->task, "%s %.12s of run %s was removed: there is nothing to put back", instance->runtime->words, instance->id, instance->run);
		*lost = true;
		break;
	}
	return true;
}

static bool
service_revert(struct task *task, struct error *err)
{
	struct site site finally(site_finish) = { 0 };
	struct instances recorded, resumed = { 0 };
	const atomic_bool *cancel = task_cancel(task);
	bool lost = false;

	site_init(&site, task, NULL);
	if (!service_instances(task_record(task), site.arena, &recorded, err) || !find_lost(&site, &recorded, &lost, err))
		return false;
	if (lost)
		return true;
	if (!service_sweep(&site, &recorded, err))
		return false;
	resumed.items = arena_array(site.arena, recorded.count + 1, sizeof *resumed.items);
	if (!resume_all(&site, &recorded, &resumed, err))
		return false;
	/* An interrupted run does not wait for minutes: the old instance is on its way, and the next inspection tells whether it arrived. */
	site.cancel = cancel;
	if (resumed.count && !(cancel && *cancel) && !service_wait_ready(&site, &resumed, err) && !(cancel && *cancel))
		return error_wrap(err, "the old instance was started again");
	/* It was ready once: nobody waits for that now, so that its restart policy is given back at once. */
	for (size_t i = 0; cancel && *cancel && i < resumed.count; i++)
		if (!resumed.items[i].runtime->became_ready(&site, &resumed.items[i], err))
			return error_wrap(err, "the old instance was started again");
	for (size_t i = 0, k = 0; i < recorded.count && k < resumed.count; i++)
		if (recorded.items[i].replica == resumed.items[k].replica)
			recorded.items[i] = resumed.items[k++];
	if (recorded.count)
		service_report(task, &recorded);
	return true;
}

static bool
service_destroy(struct task *task, struct error *err)
{
	static const struct instances nothing = { 0 };
	struct site site finally(site_finish) = { 0 };
	struct instances recorded;

	site_init(&site, task, NULL);
	if (!service_instances(task_record(task), site.arena, &recorded, err))
		return false;
	for (size_t i = 0; i < recorded.count; i++) {
		struct instance *instance = &recorded.items[i];
		task_progress(task, "stopping", i, recorded.count, "instances");
		if (!instance->runtime->remove(&site, instance, err))
			return error_wrap(err, "remove %s %.12s", instance->runtime->words, instance->id);
	}
	return service_sweep(&site, &nothing, err) && service_wait_released(&site, &recorded, err);
}

const struct rule service_rule = {
	.name = "service",
	.about = "running instances of a server, replaced only by what is ready and accepted",
	.version = 1,
	.keeps_time = true,
	.params = service_params,
	.size = sizeof(struct service),
	.outputs = service_outputs,
	.validate = service_validate,
	.claims = service_claims,
	.ingredients = service_ingredients,
	.inspect = service_inspect,
	.estimate = service_estimate,
	.build = service_build,
	.settle = service_settle,
	.revert = service_revert,
	.destroy = service_destroy,
	.verify = service_verify,
};
