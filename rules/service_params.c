#include "service_internal.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/secret.h"
#include "engine/task.h"
#include "gpuset.h"

static const char *const runtime_names[] = { "docker", "process", NULL };

static const struct param mount_params[] = {
	{ "source", PARAM_PATH, offsetof(struct mount, source), .required = true, .about = "what is seen inside; it must exist" },
	{ "target", PARAM_STRING, offsetof(struct mount, target), .required = true, .about = "where, an absolute path inside" },
	{ "readonly", PARAM_BOOL, offsetof(struct mount, readonly), .about = "whether it may not be written to" },
	{ 0 },
};

static const struct param ready_params[] = {
	{ "path", PARAM_STRING, offsetof(struct ready, path), .fallback = "/health", .about = "answers 200 when the service is ready" },
	{ "timeout", PARAM_DURATION, offsetof(struct ready, timeout), .fallback = "15m", .least = 1, .most = INT64_MAX, .about = "how long it may take" },
	{ "interval", PARAM_DURATION, offsetof(struct ready, interval), .fallback = "2s", .least = 10, .most = 600000, .about = "between two questions" },
	{ 0 },
};

const struct param service_params[] = {
	{ "runtime", PARAM_ENUM, offsetof(struct service, runtime), .fallback = "docker", .choices = runtime_names, .about = "containers (Docker or Podman), or plain processes" },
	{ "image", PARAM_STRING, offsetof(struct service, image), .about = "image to run, by id or tag (docker)" },
	{ "command", PARAM_STRINGS, offsetof(struct service, command), .about = "program and first arguments (process)" },
	{ "args", PARAM_JSON, offsetof(struct service, args), .about = "arguments: a list, or a map that becomes `--key value`" },
	{ "env", PARAM_PAIRS, offsetof(struct service, env), .about = "environment" },
	{ "env_from", PARAM_STRINGS, offsetof(struct service, env_from), .about = "variables passed through from here; their values are secrets" },
	{ "gpus", PARAM_JSON, offsetof(struct service, gpus), .about = "indices, UUIDs, `{count, free}` or `none`; dealt to the replicas in order" },
	{ "replicas", PARAM_INT, offsetof(struct service, replicas), .fallback = "1", .least = 1, .most = 256, .about = "instances side by side" },
	{ "host", PARAM_STRING, offsetof(struct service, host), .fallback = "127.0.0.1", .about = "address to listen on" },
	{ "port", PARAM_INT, offsetof(struct service, port), .required = true, .least = 1, .most = 65535, .about = "of the first replica; replica i listens on port + i" },
	{ "container_port", PARAM_INT, offsetof(struct service, container_port), .least = 0, .most = 65535, .about = "port inside, `port` if absent" },
	{ "mounts", PARAM_LIST, offsetof(struct service, mounts), .fields = mount_params, .size = sizeof(struct mount), .about = "files and directories seen inside" },
	{ "ipc", PARAM_ENUM, offsetof(struct service, ipc), .fallback = "private", .choices = service_ipc_modes, .about = "shared memory: the container's own, or the host's" },
	{ "shm_size", PARAM_SIZE, offsetof(struct service, shm_size), .about = "size of /dev/shm; the engine's default if absent" },
	{ "ulimits", PARAM_PAIRS, offsetof(struct service, ulimits), .about = "limits: NAME: VALUE or SOFT:HARD, -1 for none" },
	{ "user", PARAM_STRING, offsetof(struct service, user), .about = "user inside, the image's if absent" },
	{ "restart", PARAM_ENUM, offsetof(struct service, restart), .fallback = "no", .choices = service_restart_policies, .about = "what the engine does when a ready instance ends" },
	{ "ready", PARAM_STRUCT, offsetof(struct service, ready), .fields = ready_params, .size = sizeof(struct ready), .unhashed = true, .about = "when an instance counts as ready" },
	{ "stop_timeout", PARAM_DURATION, offsetof(struct service, stop_timeout), .fallback = "30s", .least = 0, .most = 3600000, .unhashed = true, .about = "between SIGTERM and SIGKILL" },
	{ "labels", PARAM_PAIRS, offsetof(struct service, labels), .about = "labels of the container" },
	{ 0 },
};

const struct output service_outputs[] = {
	{ "url", "of the first replica, with /v1; on loopback where `host` is every address", NULL },
	{ "urls", "of all replicas, with commas between", NULL },
	{ "ids", "container ids or pids, with commas between", NULL },
	{ "gpus", "UUIDs of the GPUs in use, with commas between", NULL },
	{ 0 },
};

static void
refuse(struct errors *errors, struct task *task, const char *param, enum fault fault, const char *text)
{
	struct error err = { 0 };

	fail_at(&err, task_place(task, param), fault, "%s", text);
	errors_add(errors, &err);
}

static void
check_runtime(const struct service *spec, struct task *task, struct errors *errors)
{
	bool docker = spec->runtime == RUNTIME_DOCKER;

	if (docker && !spec->image && !task_is_pending(task, "image"))
		refuse(errors, task, "runtime", FAULT_MISSING_KEY, "a service with `runtime: docker` needs `image`");
	if (docker && spec->command.count)
		refuse(errors, task, "command", FAULT_CONFLICT, "`command` is for `runtime: process`; a container runs its image's, with `args`");
	if (!docker && !spec->command.count && !task_is_pending(task, "command"))
		refuse(errors, task, "runtime", FAULT_MISSING_KEY, "a service with `runtime: process` needs `command`");
	static const char *const docker_only[] = { "image", "container_port", "mounts", "shm_size", "ulimits", "user", "labels" };
	const bool given[] = { spec->image, spec->container_port, spec->mounts.count, spec->shm_size, spec->ulimits.count, spec->user, spec->labels.count };
	for (size_t i = 0; !docker && i < sizeof given / sizeof *given; i++)
		if (given[i])
			refuse(errors, task, docker_only[i], FAULT_CONFLICT, "this is for `runtime: docker`");
	if (!docker && spec->restart)
		refuse(errors, task, "restart", FAULT_CONFLICT, "nobody watches a plain process: `restart` is for `runtime: docker`");
}

static void
check_secrets(const struct service *spec, struct task *task, struct errors *errors)
{
	struct strings argv = { 0 };
	struct error err = { 0 };

	for (size_t i = 0; i < spec->env.count; i++)
		if (secret_looks_like_one(spec->env.items[i].value))
			refuse(errors, task, "env", FAULT_SECRET_IN_TEXT, "a value of `env` looks like a secret: name its variable in `env_from` instead");
	if (!service_args(spec->args, task_arena(task), &argv, &err)) {
		err.at = task_place(task, "args");
		errors_add(errors, &err);
	}
	for (size_t i = 0; i < argv.count; i++)
		if (secret_looks_like_one(argv.items[i]))
			refuse(errors, task, "args", FAULT_SECRET_IN_TEXT, "an argument looks like a secret, which everybody on the host could read: use `env_from`");
}

static bool
is_passed(const struct service *spec, const char *name)
{
	return pairs_get(&spec->env, name) || strings_has(&spec->env_from, name);
}

/* Which GPUs are seen is `gpus`' to say: a variable beside it could take what is reserved, or hide what was handed out. Inside a container they are numbered from 0. */
static void
check_visible(const struct service *spec, bool has_gpus, struct task *task, struct errors *errors)
{
	static const char cuda[] = "CUDA_VISIBLE_DEVICES", runtime[] = "NVIDIA_VISIBLE_DEVICES";
	bool docker = spec->runtime == RUNTIME_DOCKER;
	const char *wish = pairs_get(&spec->env, runtime);
	bool none = wish && (!*wish || strcmp(wish, "void") == 0 || strcmp(wish, "none") == 0);
	const char *passed = pairs_get(&spec->env, cuda) || pairs_get(&spec->env, runtime) ? "env" : "env_from";

	if (!docker && is_passed(spec, cuda))
		refuse(errors, task, passed, FAULT_CONFLICT, "CUDA_VISIBLE_DEVICES is set from `gpus`");
	if (docker && has_gpus && is_passed(spec, cuda))
		refuse(errors, task, passed, FAULT_CONFLICT, "CUDA_VISIBLE_DEVICES would hide GPUs: inside they are numbered from 0, and `gpus` says which they are");
	if (docker && is_passed(spec, runtime) && (has_gpus || !none))
		refuse(errors, task, passed, FAULT_CONFLICT, "NVIDIA_VISIBLE_DEVICES asks for GPUs past `gpus`, which says which they are");
}

static void
check_gpus(const struct service *spec, struct task *task, struct errors *errors)
{
	struct gpuset set;
	struct error err = { 0 };

	if (!gpuset_parse(spec->gpus, task_arena(task), &set, &err)) {
		if (!err.at.file)
			err.at = task_place(task, "gpus");
		errors_add(errors, &err);
		return;
	}
	check_visible(spec, !set.none, task, errors);
	if (set.none)
		return;
	if (spec->replicas > 0 && gpuset_size(&set) % spec->replicas != 0)
		refuse(errors, task, "gpus", FAULT_CONFLICT, "the GPUs cannot be dealt equally to the replicas");
}

static bool
is_address(const char *text)
{
	struct in6_addr ignored;

	return strcmp(text, "localhost") == 0 || inet_pton(AF_INET, text, &ignored) == 1 || inet_pton(AF_INET6, text, &ignored) == 1;
}

static void
check_values(const struct service *spec, struct task *task, struct errors *errors)
{
	const struct mount *mounts = spec->mounts.items;
	int64_t soft, hard;

	if (spec->host && !is_address(spec->host))
		refuse(errors, task, "host", FAULT_BAD_VALUE, "`host` is an address, such as 127.0.0.1 or 0.0.0.0");
	if (spec->port && spec->port + spec->replicas - 1 > 65535)
		refuse(errors, task, "port", FAULT_BAD_VALUE, "the last replica's port would be above 65535");
	if (spec->ready && spec->ready->path && *spec->ready->path != '/')
		refuse(errors, task, "ready", FAULT_BAD_VALUE, "`ready: {path}` begins with `/`");
	for (size_t i = 0; i < spec->ulimits.count; i++)
		if (!service_ulimit(spec->ulimits.items[i].value, &soft, &hard))
			refuse(errors, task, "ulimits", FAULT_BAD_VALUE, "a limit is a number, SOFT:HARD, or -1 for none");
	for (size_t i = 0; i < spec->mounts.count; i++)
		if (mounts[i].target && *mounts[i].target != '/')
			refuse(errors, task, "mounts", FAULT_BAD_VALUE, "`target` of a mount is an absolute path");
	for (size_t i = 0; i < spec->labels.count; i++)
		if (text_starts(spec->labels.items[i].key, "provision."))
			refuse(errors, task, "labels", FAULT_CONFLICT, "labels that begin with `provision.` are set by provision itself");
	for (size_t i = 0; i < spec->env_from.count; i++)
		if (!*spec->env_from.items[i] || strchr(spec->env_from.items[i], '='))
			refuse(errors, task, "env_from", FAULT_BAD_VALUE, "`env_from` holds names of variables, no values");
}

void
service_validate(const void *filled, struct task *task, struct errors *errors)
{
	const struct service *spec = filled;

	check_runtime(spec, task, errors);
	check_secrets(spec, task, errors);
	check_gpus(spec, task, errors);
	check_values(spec, task, errors);
}

/* The one address that a claim holds at; NULL: every address of the host. */
static const char *
claimed_address(const char *host)
{
	if (strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0)
		return NULL;
	return strcmp(host, "localhost") == 0 ? "127.0.0.1" : host;
}

void
service_claims(const void *filled, struct arena *arena, struct claims *claims)
{
	const struct service *spec = filled;

	for (int64_t i = 0; spec->host && spec->port && i < spec->replicas; i++) {
		int64_t port = spec->port + i;

		claims_add(claims, arena, &(struct claim){ .kind = "port", .name = arena_printf(arena, "%lld", (long long)port),
			.where = claimed_address(spec->host), .param = "port" });
	}
}
