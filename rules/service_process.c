#include "service_internal.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/procfs.h"
#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/file.h"
#include "engine/task.h"

#define MOST_TAGGED 512

static const char *
join_uuids(const struct strings *gpus, struct arena *arena)
{
	const char *text = "";

	for (size_t i = 0; i < gpus->count; i++)
		text = arena_printf(arena, "%s%s%s", text, i ? "," : "", gpus->items[i]);
	return text;
}

static bool
process_prepare(struct site *site, const struct service *spec, struct instance *instance, struct error *err)
{
	struct strings args = { 0 };

	if (!service_args(spec->args, site->arena, &args, err) || !service_place_log(site, instance, err))
		return false;
	for (size_t i = 0; i < spec->command.count; i++)
		strings_add(&instance->argv, site->arena, service_fill(spec->command.items[i], instance, site->arena));
	for (size_t i = 0; i < args.count; i++)
		strings_add(&instance->argv, site->arena, service_fill(args.items[i], instance, site->arena));
	/* Who asked for no GPU sees none: one that is reserved stays unused. */
	pairs_set(&instance->env, site->arena, "CUDA_VISIBLE_DEVICES", join_uuids(&instance->gpus, site->arena));
	for (size_t i = 0; i < spec->env.count; i++)
		pairs_set(&instance->env, site->arena, spec->env.items[i].key, spec->env.items[i].value);
	instance->workdir = task_workdir(site->task);
	return true;
}

static bool
launch(struct site *site, struct instance *instance, struct error *err)
{
	const char **argv = arena_array(site->arena, instance->argv.count + 1, sizeof *argv);
	struct pairs env = { 0 };

	/* With each start a new one: whoever was killed has left the old one behind. */
	if (instance->gpus.count)
		pairs_set(&env, site->arena, SERVICE_SHM_VARIABLE, service_shm_name(instance, site->arena));
	for (size_t i = 0; i < instance->env.count; i++)
		pairs_set(&env, site->arena, instance->env.items[i].key, instance->env.items[i].value);
	if (!service_secrets(&instance->env_from, site->arena, &env, err))
		return false;
	memcpy(argv, instance->argv.items, instance->argv.count * sizeof *argv);
	const struct process_spec spec = { .argv = argv, .env = process_environment(&env, site->arena), .workdir = instance->workdir };
	if (!process_start(&spec, instance->log, instance->tag, site->arena, &instance->process, err))
		return false;
	instance->id = arena_printf(site->arena, "%d", (int)instance->process.pid);
	return true;
}

static bool
process_start_instance(struct site *site, const struct service *spec, struct instance *instance, struct error *err)
{
	(void)spec; /* what counts of it is in the instance, so that a resumed one starts in the same way */
	return launch(site, instance, err);
}

/* A script or wrapper may replace itself by another program (exec): the same process, another executable. */
static void
follow_exec(struct process_id *id)
{
	struct process_id now;

	if (process_identify(id->pid, &now) && now.start == id->start && strcmp(now.boot, id->boot) == 0 && now.exe_inode)
		*id = now;
}

static bool
process_look(struct site *site, struct instance *instance, struct instance_state *state, struct error *err)
{
	(void)site;
	(void)err;
	*state = (struct instance_state){ .exit_code = -1 };
	follow_exec(&instance->process);
	state->running = process_is_alive(&instance->process);
	if (!state->running)
		state->known = process_reap(&instance->process, &state->exit_code, &state->signal);
	return true;
}

static bool
process_read_log(struct site *site, struct instance *instance, void (*output)(void *context, bool is_stderr, const char *bytes, size_t size),
	void *context, struct error *err)
{
	int fd finally(close_fd) = open(instance->log, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	char bytes[16384];
	size_t got;

	(void)site;
	if (fd < 0)
		return fail_errno(err, "log `%s`", instance->log);
	do {
		if (!file_pread_all(fd, bytes, sizeof bytes, instance->log_taken, &got, err))
			return error_wrap(err, "log `%s`", instance->log);
		if (got)
			output(context, false, bytes, got);
		instance->log_taken += got;
	} while (got == sizeof bytes);
	return true;
}

/* An answer on its port is its own only if it listens there. */
static bool
process_became_ready(struct site *site, struct instance *instance, struct error *err)
{
	follow_exec(&instance->process);
	const char *holder = process_port_stranger(instance_address(instance), (int)instance->port, &instance->process, instance->tag, site->arena);
	if (!holder)
		return true;
	fail_at(err, task_place(site->task, "port"), FAULT_PORT_HELD, "port %lld on %s is held by %s, not by the service that was started", (long long)instance->port,
		instance->host, holder);
	error_label(err, "held by %s", holder);
	return error_hint(err, "choose another `port`, or stop who holds it; a service must listen on {host} and {port}");
}

/* Sessions of processes that carry the tag: its leader, or, where that has ended, whoever outlived it. Children may have made sessions of their own. */
static bool
stop_tagged(struct site *site, const char *tag, const struct instances *keep, int64_t grace, struct error *err)
{
	struct process_id *found = arena_array(site->arena, MOST_TAGGED, sizeof *found);
	size_t count = process_find_tagged(tag, found, MOST_TAGGED);

	for (size_t i = 0; i < count; i++) {
		struct process_id leader = found[i];
		struct procfs_stat stat;
		bool kept = false;

		for (size_t k = 0; k < keep->count && !kept; k++)
			kept = keep->items[k].runtime == &process_runtime && procfs_has_variable(found[i].pid, PROCESS_TAG, keep->items[k].tag);
		if (kept || !process_is_alive(&found[i]) || !procfs_stat(found[i].pid, &stat))
			continue;
		if (stat.session != found[i].pid && !(procfs_has_variable(stat.session, PROCESS_TAG, tag) && process_identify(stat.session, &leader))) {
			/* Without its leader a session is not ours as a whole: a start time that never was makes the mark of each member decide. */
			leader.pid = stat.session;
			leader.start = 0;
		}
		task_log(site->task, "stopping process %d", (int)leader.pid);
		if (!process_stop(&leader, tag, grace, err))
			return false;
	}
	return true;
}

static bool
process_halt(struct site *site, struct instance *instance, struct error *err)
{
	static const struct instances nothing = { 0 };

	follow_exec(&instance->process);
	return process_stop(&instance->process, instance->tag, instance->stop_timeout, err) &&
		stop_tagged(site, instance->tag, &nothing, instance->stop_timeout, err);
}

static bool
process_remove(struct site *site, struct instance *instance, struct error *err)
{
	return process_halt(site, instance, err) && service_remove_log(instance->log, site->arena, err);
}

/* The tag of a process is in its environment for good, so the new one gets a new tag, and an intent of its own. */
static bool
process_resume(struct site *site, struct instance *instance, struct error *err)
{
	struct stat log;

	instance->intent = task_new_id(site->task, site->arena);
	instance->tag = arena_printf(site->arena, "%s%s/%lld/%s", service_tag_prefix(site->task, site->arena), instance->run,
		(long long)instance->replica, instance->intent);
	/* It goes on with the same log: what the first start said is not the reason of what happens now. */
	instance->log_taken = stat(instance->log, &log) == 0 ? (size_t)log.st_size : 0;
	if (!task_intent(site->task, instance->intent, process_runtime.words, instance->tag, err) || !launch(site, instance, err))
		return false;
	task_intent_done(site->task, instance->intent);
	return true;
}

static bool
process_sweep(struct site *site, const struct instances *keep, struct error *err)
{
	const char *prefix = service_tag_prefix(site->task, site->arena);

	return !*prefix || (stop_tagged(site, prefix, keep, task_grace(site->task), err) && service_prune_logs(site, keep, err));
}

static bool
process_inspect(struct site *site, const struct service *spec, struct instance *instance, struct look *look, struct error *err)
{
	(void)spec;
	(void)err;
	follow_exec(&instance->process);
	if (!process_is_alive(&instance->process)) {
		look->state = STATE_ABSENT;
		look->reason = REASON_CONTAINER_GONE;
		look->what = arena_printf(site->arena, "process %d has ended", (int)instance->process.pid);
	} else if (!service_is_listening(instance->host, instance->port)) {
		look->state = STATE_DRIFTED;
		look->reason = REASON_CONTAINER_GONE;
		look->what = arena_printf(site->arena, "process %d does not listen on port %lld", (int)instance->process.pid, (long long)instance->port);
	}
	return true;
}

const struct runtime process_runtime = {
	.name = "process",
	.artifact = ARTIFACT_PROCESS,
	.words = "process",
	.prepare = process_prepare,
	.start = process_start_instance,
	.look = process_look,
	.inspect = process_inspect,
	.read_log = process_read_log,
	.became_ready = process_became_ready,
	.halt = process_halt,
	.resume = process_resume,
	.remove = process_remove,
	.sweep = process_sweep,
};
