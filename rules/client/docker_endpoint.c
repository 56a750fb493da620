#include "docker_endpoint.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "docker.h"
#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/digest.h"
#include "engine/base/file.h"
#include "engine/base/json.h"

#define CONFIG_LIMIT (1u << 20)
#define MOST_ENDPOINTS 8

struct endpoints {
	struct arena *arena;
	struct docker_endpoint items[MOST_ENDPOINTS];
	size_t count;
};

/* A variable that is set to nothing counts as unset, as for the command line. */
static const char *
setting(const char *name)
{
	const char *value = getenv(name);

	return value && *value ? value : NULL;
}

static void
add(struct endpoints *endpoints, const char *socket, const char *origin)
{
	endpoints->items[endpoints->count++] = (struct docker_endpoint){
		.socket = arena_copy(endpoints->arena, socket),
		.origin = arena_copy(endpoints->arena, origin),
	};
}

static bool
add_host(struct endpoints *endpoints, const char *host, const char *origin, struct error *err)
{
	if (strncmp(host, "unix:///", 8) == 0) {
		add(endpoints, host + 7, origin);
		return true;
	}
	fail(err, FAULT_NO_ENGINE, "%s is `%s`: only unix sockets are supported", origin, host);
	return error_hint(err, "run provision on the engine's own machine, with `unix:///PATH` there");
}

/* Directory of config.json; NULL if there is no home. */
static const char *
config_directory(struct arena *arena)
{
	const char *directory = setting("DOCKER_CONFIG");
	const char *home = setting("HOME");

	if (directory)
		return directory;
	return home ? path_join(arena, home, ".docker") : NULL;
}

/* NULL if there is no such file. */
static bool
load_config(struct arena *arena, json_t **config, struct error *err)
{
	const char *directory = config_directory(arena);
	const char *path = directory ? path_join(arena, directory, "config.json") : NULL;
	struct stat st;

	*config = NULL;
	if (!path || (stat(path, &st) != 0 && (errno == ENOENT || errno == ENOTDIR)))
		return true;
	return json_parse_file(path, CONFIG_LIMIT, config, err);
}

static bool
add_context(struct endpoints *endpoints, const char *name, const char *origin, struct error *err)
{
	const char *directory = config_directory(endpoints->arena);
	const char *label = arena_printf(endpoints->arena, "context `%s` of %s", name, origin);
	json_t *meta finally(json_release) = NULL;
	struct digest id;
	const char *path;
	const json_t *host;

	if (!directory)
		return fail(err, FAULT_NO_ENGINE, "%s: neither DOCKER_CONFIG nor HOME says where contexts are kept", label);
	digest_of(name, strlen(name), &id);
	path = arena_printf(endpoints->arena, "%s/contexts/meta/%s/meta.json", directory, digest_text(endpoints->arena, &id));
	if (!json_parse_file(path, CONFIG_LIMIT, &meta, err)) {
		error_wrap(err, "%s", label);
		err->fault = FAULT_NO_ENGINE;
		return error_hint(err, "`docker context ls` lists the contexts that there are");
	}
	host = json_object_get(json_object_get(json_object_get(meta, "Endpoints"), "docker"), "Host");
	if (!json_is_string(host))
		return fail(err, FAULT_NO_ENGINE, "%s: `%s` names no endpoint", label, path);
	return add_host(endpoints, json_string_value(host), label, err);
}

static bool
is_default(const char *context)
{
	return !context || !*context || strcmp(context, "default") == 0;
}

/* What the user chose for the docker command line, if anything. */
static bool
add_chosen(struct endpoints *endpoints, struct error *err)
{
	const char *host = setting("DOCKER_HOST");
	const char *context = setting("DOCKER_CONTEXT");
	json_t *config finally(json_release) = NULL;

	if (host)
		return add_host(endpoints, host, "DOCKER_HOST", err);
	if (context)
		return is_default(context) || add_context(endpoints, context, "DOCKER_CONTEXT", err);
	if (!load_config(endpoints->arena, &config, err)) {
		err->fault = FAULT_NO_ENGINE;
		return error_wrap(err, "docker's configuration");
	}
	context = json_string_value(json_object_get(config, "currentContext"));
	return is_default(context) || add_context(endpoints, context, "config.json", err);
}

static const char *
runtime_directory(struct arena *arena)
{
	const char *directory = setting("XDG_RUNTIME_DIR");

	return directory ? directory : arena_printf(arena, "/run/user/%u", (unsigned)getuid());
}

static void
add_docker_sockets(struct endpoints *endpoints)
{
	add(endpoints, "/var/run/docker.sock", "the default");
	add(endpoints, path_join(endpoints->arena, runtime_directory(endpoints->arena), "docker.sock"), "the user's own engine");
}

static void
add_podman_sockets(struct endpoints *endpoints)
{
	add(endpoints, path_join(endpoints->arena, runtime_directory(endpoints->arena), "podman/podman.sock"), "the user's own Podman");
	add(endpoints, "/run/podman/podman.sock", "Podman's default");
}

bool
docker_endpoints(const char *engine, struct arena *arena, struct docker_endpoint **endpoints, size_t *count, struct error *err)
{
	bool podman = strcmp(engine, "podman") == 0;
	const char *container_host = setting("CONTAINER_HOST");
	struct endpoints found = { .arena = arena };

	if (podman && container_host && !add_host(&found, container_host, "CONTAINER_HOST", err))
		return false;
	if (found.count == 0 && (!podman || setting("DOCKER_HOST")) && !add_chosen(&found, err))
		return false;
	if (found.count == 0 && !podman)
		add_docker_sockets(&found);
	/* A choice for the docker command line stands alone; only its defaults may be passed over. */
	if (found.count == 0 || (found.count > 1 && strcmp(engine, "auto") == 0))
		add_podman_sockets(&found);
	*endpoints = arena_array(arena, MOST_ENDPOINTS, sizeof **endpoints);
	memcpy(*endpoints, found.items, found.count * sizeof *found.items);
	*count = found.count;
	return true;
}

/* Registry of an image's name, as config.json calls it. */
static const char *
registry_of(const char *ref, struct arena *arena)
{
	const char *slash = strchr(ref, '/');
	const char *host = slash ? arena_copy_bytes(arena, ref, (size_t)(slash - ref)) : "";

	return strpbrk(host, ".:") || strcmp(host, "localhost") == 0 ? host : "docker.io";
}

/* "https://index.docker.io/v1/" and "ghcr.io" alike: the host alone, Docker Hub's three names as one. */
static const char *
registry_host(const char *key, struct arena *arena)
{
	static const char *const hub[] = { "index.docker.io", "registry-1.docker.io" };
	const char *scheme = strstr(key, "://");
	const char *host = scheme ? scheme + 3 : key;

	host = arena_copy_bytes(arena, host, strcspn(host, "/"));
	for (size_t i = 0; i < sizeof hub / sizeof *hub; i++)
		if (strcmp(host, hub[i]) == 0)
			return "docker.io";
	return host;
}

static bool
has_registry(json_t *map, const char *registry, struct arena *arena)
{
	const char *key;
	json_t *value;

	json_object_foreach(map, key, value)
		if (strcmp(registry_host(key, arena), registry_host(registry, arena)) == 0)
			return true;
	return false;
}

bool
docker_has_login(const char *ref, struct arena *arena)
{
	const char *registry = registry_of(ref, arena);
	json_t *config finally(json_release) = NULL;
	struct error ignored = { 0 };

	/* An unreadable file holds no login that anyone could use; the command line will say so if it matters. */
	if (!load_config(arena, &config, &ignored) || !config)
		return false;
	return json_is_string(json_object_get(config, "credsStore")) || has_registry(json_object_get(config, "credHelpers"), registry, arena) ||
		has_registry(json_object_get(config, "auths"), registry, arena);
}
