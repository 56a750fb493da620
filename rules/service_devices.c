#include "service_internal.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/procfs.h"
#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/units.h"
#include "engine/task.h"
#include "gpuset.h"

#define LOOK_MS 100
#define RELEASE_MS 10000
#define CONNECT_MS 200

/* What our own instance takes will be there for its successor, if it is the one that takes it. Whatever else is on such a GPU is found when the old one has gone. */
static void
leave_out(struct site *site, struct gpus *gpus, const struct instances *old)
{
	for (size_t i = 0; i < old->count; i++) {
		struct instance instance = old->items[i];
		struct instance_state state;
		struct error ignored;

		if (!instance.runtime->look(site, &instance, &state, &ignored) || !state.running)
			continue;
		for (size_t g = 0; g < gpus->count; g++)
			if (strings_has(&instance.gpus, gpus->items[g].uuid)) {
				gpus->items[g].used = gpus->items[g].reserved;
				gpus->items[g].process_count = 0;
			}
	}
}

bool
service_choose_gpus(const struct service *spec, struct site *site, const struct instances *old, struct instances *instances, struct error *err)
{
	struct gpuset set;
	struct gpus gpus;
	const struct gpu **chosen;
	const char *purpose = NULL;
	size_t reserved_count, count;
	const int64_t *reserved = task_reserved_gpus(site->task, &reserved_count, &purpose);

	if (!gpuset_parse(spec->gpus, site->arena, &set, err))
		return false;
	if (set.none)
		return true;
	if (!gpus_read(&gpus, site->arena, err))
		return false;
	leave_out(site, &gpus, old);
	if (!gpuset_choose(&set, &gpus, reserved, reserved_count, purpose, site->arena, &chosen, &count, err))
		return false;
	if (count == 0 || count % instances->count != 0)
		return fail_at(err, task_place(site->task, "gpus"), FAULT_TOO_FEW_GPUS, "%zu GPUs cannot be dealt equally to %zu replicas", count,
			instances->count);
	for (size_t i = 0; i < count; i++)
		strings_add(&instances->items[i / (count / instances->count)].gpus, site->arena, arena_copy(site->arena, chosen[i]->uuid));
	return true;
}

static bool
cancelled(const struct site *site)
{
	return site->cancel && *site->cancel;
}

static bool
is_port_of(const struct instances *old, int64_t port)
{
	for (size_t i = 0; i < old->count; i++)
		if (old->items[i].port == port)
			return true;
	return false;
}

static bool
is_gpu_of(const struct instances *old, const char *uuid)
{
	for (size_t i = 0; i < old->count; i++)
		if (strings_has(&old->items[i].gpus, uuid))
			return true;
	return false;
}

/* The container, where it is one: the process that listens for it is the engine's, and says nothing. */
static const char *
holder_of(struct site *site, const struct instance *instance)
{
	const char *container = instance->runtime == &docker_runtime ? docker_port_holder(&site->docker, instance->host, instance->port) : NULL;

	return container ? container : process_port_holder(instance->host, (int)instance->port, site->arena);
}

bool
service_check_ports(struct site *site, const struct instances *instances, const struct instances *old, int64_t patience_ms, struct error *err)
{
	int64_t deadline = clock_monotonic_ms() + patience_ms;

	for (size_t i = 0; i < instances->count; i++) {
		const struct instance *instance = &instances->items[i];
		const char *holder;
		if (is_port_of(old, instance->port))
			continue;
		while ((holder = holder_of(site, instance)) && clock_monotonic_ms() < deadline && !cancelled(site))
			clock_sleep_ms(LOOK_MS, site->cancel);
		if (!holder)
			continue;
		fail_at(err, task_place(site->task, "port"), FAULT_PORT_HELD, "port %lld on %s is held by %s", (long long)instance->port,
			instance->host, holder);
		error_label(err, "held by %s", holder);
		return error_hint(err, "choose another `port`, or stop who holds it");
	}
	return true;
}

/* Who uses it and how much, for people. */
static const char *
users_of(const struct gpu *gpu, struct arena *arena)
{
	const char *memory = units_show_memory(arena, gpu->used - (gpu->reserved < gpu->used ? gpu->reserved : gpu->used));
	const struct gpu_process *first = gpu->process_count ? &gpu->processes[0] : NULL;

	if (!first)
		return arena_printf(arena, "%s in use, by a process that cannot be seen from here", memory);
	const char *more = gpu->process_count > 1 ? arena_printf(arena, " and %zu more", gpu->process_count - 1) : "";
	return arena_printf(arena, "%s in use, by %s (pid %u%s%s)%s", memory, *first->name ? first->name : "a process", first->pid,
		*first->user ? ", user " : "", first->user, more);
}

static const struct gpu *
first_busy(const struct gpus *gpus, const struct instances *instances, const struct instances *old)
{
	for (size_t i = 0; i < instances->count; i++)
		for (size_t g = 0; g < instances->items[i].gpus.count; g++) {
			const struct gpu *gpu = gpus_find(gpus, instances->items[i].gpus.items[g]);
			if (gpu && !gpu_is_free(gpu) && !is_gpu_of(old, gpu->uuid))
				return gpu;
		}
	return NULL;
}

static bool
want_gpus(const struct instances *instances)
{
	for (size_t i = 0; i < instances->count; i++)
		if (instances->items[i].gpus.count)
			return true;
	return false;
}

bool
service_check_gpus(struct site *site, const struct instances *instances, const struct instances *old, int64_t patience_ms, struct error *err)
{
	int64_t deadline = clock_monotonic_ms() + patience_ms;
	const struct gpu *busy;
	struct gpus gpus;

	if (!want_gpus(instances))
		return true;
	for (;;) {
		if (!gpus_read(&gpus, site->arena, err))
			return false;
		busy = first_busy(&gpus, instances, old);
		if (!busy)
			return true;
		if (clock_monotonic_ms() >= deadline || cancelled(site))
			break;
		clock_sleep_ms(LOOK_MS * 5, site->cancel);
	}
	fail_at(err, task_place(site->task, "gpus"), FAULT_GPU_HELD, "GPU %u is not free: %s", busy->index, users_of(busy, site->arena));
	return error_hint(err, "wait for it or stop it if it is yours, or choose other `gpus`");
}

/* Whether a process belongs to the container or carries the tag of the process: the kernel's words, not ours. */
static bool
is_of_instance(unsigned pid, const struct instance *instance)
{
	char path[64], line[4096];
	bool found = false;

	if (instance->runtime == &process_runtime)
		return process_is_alive(&instance->process) && (pid_t)pid == instance->process.pid;
	snprintf(path, sizeof path, "/proc/%u/cgroup", pid);
	FILE *file = fopen(path, "re");
	while (file && !found && fgets(line, sizeof line, file))
		found = strstr(line, instance->id) != NULL;
	if (file)
		fclose(file);
	return found;
}

static const struct gpu_process *
find_ours(const struct gpus *gpus, const struct instances *instances)
{
	for (size_t i = 0; i < instances->count; i++)
		for (size_t g = 0; g < instances->items[i].gpus.count; g++) {
			const struct gpu *gpu = gpus_find(gpus, instances->items[i].gpus.items[g]);
			for (size_t p = 0; gpu && p < gpu->process_count; p++)
				if (is_of_instance(gpu->processes[p].pid, &instances->items[i]))
					return &gpu->processes[p];
		}
	return NULL;
}

/* A driver shows a process until it has its memory back, which can be after its end. Asked of the kernel, which tells of other users' processes too that they live. */
static bool
has_ended(unsigned pid)
{
	struct procfs_stat stat;

	return pid && ((kill((pid_t)pid, 0) != 0 && errno == ESRCH) || (procfs_stat((pid_t)pid, &stat) && stat.state == 'Z'));
}

/* Memory that nobody holds who lives. */
static bool
is_coming_back(const struct gpu *gpu)
{
	bool ended = gpu->process_count == 0;

	for (size_t i = 0; i < gpu->process_count && !ended; i++)
		ended = has_ended(gpu->processes[i].pid);
	return ended && !gpu_is_free(gpu);
}

static bool
is_any_coming_back(const struct gpus *gpus, const struct instances *instances)
{
	for (size_t i = 0; i < instances->count; i++)
		for (size_t g = 0; g < instances->items[i].gpus.count; g++) {
			const struct gpu *gpu = gpus_find(gpus, instances->items[i].gpus.items[g]);
			if (gpu && is_coming_back(gpu))
				return true;
		}
	return false;
}

static bool
is_anything_listening(const struct instances *instances, struct arena *arena)
{
	for (size_t i = 0; i < instances->count; i++)
		if (process_port_holder(instances->items[i].host, (int)instances->items[i].port, arena))
			return true;
	return false;
}

/* Whether a GPU is still to be waited for: one of our processes holds it, or memory is coming back. */
static bool
are_gpus_held(const struct instances *instances, struct arena *arena, struct gpu_process *ours)
{
	const struct gpu_process *found;
	struct error no_driver;
	struct gpus gpus;

	*ours = (struct gpu_process){ 0 };
	if (!want_gpus(instances) || !gpus_read(&gpus, arena, &no_driver))
		return false;
	found = find_ours(&gpus, instances);
	if (found)
		*ours = *found;
	return found || is_any_coming_back(&gpus, instances);
}

bool
service_wait_released(struct site *site, const struct instances *instances, struct error *err)
{
	int64_t deadline = clock_monotonic_ms() + RELEASE_MS;
	struct gpu_process ours;

	while (are_gpus_held(instances, site->arena, &ours) || is_anything_listening(instances, site->arena)) {
		if (clock_monotonic_ms() >= deadline)
			break;
		clock_sleep_ms(LOOK_MS, NULL);
	}
	/* A port or memory that somebody else has by now is not ours to wait for. */
	if (!ours.pid)
		return true;
	fail(err, FAULT_NOT_STOPPED, "%s (pid %u) still holds GPU memory after it was stopped", ours.name && *ours.name ? ours.name : "a process",
		ours.pid);
	return error_hint(err, "a process that hangs in a driver call ends only when the call does; see `dmesg`");
}

/* Until the handshake is over, which on the machine itself takes no time worth naming. */
static bool
try_connect(const struct addrinfo *to)
{
	int fd finally(close_fd) = socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), code = 0;
	struct pollfd watched = { .fd = fd, .events = POLLOUT };
	socklen_t size = sizeof code;

	if (fd < 0)
		return false;
	if (connect(fd, to->ai_addr, to->ai_addrlen) == 0)
		return true;
	if (errno != EINPROGRESS)
		return false;
	/* No answer at all is a full backlog: somebody listens. */
	return poll(&watched, 1, CONNECT_MS) == 0 || (getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &size) == 0 && code == 0);
}

bool
service_is_listening(const char *host, int64_t port)
{
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM }, *found = NULL;
	char service[16];

	if (strcmp(host, "0.0.0.0") == 0 || strcmp(host, "localhost") == 0)
		host = "127.0.0.1";
	snprintf(service, sizeof service, "%d", (int)port);
	if (getaddrinfo(strcmp(host, "::") == 0 ? "::1" : host, service, &hints, &found) != 0)
		return false;
	bool listening = try_connect(found);
	freeaddrinfo(found);
	return listening;
}
