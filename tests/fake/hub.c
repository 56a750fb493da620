#include "hub.h"

#include <ftw.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/file.h"
#include "engine/base/json.h"
#include "rules/client/http.h"

#define START_MS 30000

extern char **environ;

static void
give_up(const char *what, const char *why)
{
	fprintf(stderr, "test hub: %s: %s\n", what, why);
	abort();
}

static json_t *
wait_until_ready(struct fake_hub *hub, const char *ready)
{
	int64_t until = clock_monotonic_ms() + START_MS;
	struct error err = { 0 };
	json_t *urls = NULL;

	while (!json_parse_file(ready, 4096, &urls, &err)) {
		if (waitpid(hub->pid, NULL, WNOHANG) == hub->pid)
			give_up("it ended at once", err.text);
		if (clock_monotonic_ms() > until)
			give_up("it does not start", err.text);
		usleep(10000);
	}
	return urls;
}

void
fake_hub_start(struct fake_hub *hub, const char *const *options)
{
	const char *argv[32] = { "python3", HUB_PROGRAM };
	size_t count = 2;
	char *copies[32] = { 0 };
	const char *ready;
	json_t *urls = NULL;

	*hub = (struct fake_hub){ .directory = "/tmp/hub-XXXXXX" };
	arena_init(&hub->arena);
	if (!mkdtemp(hub->directory))
		give_up("mkdtemp", hub->directory);
	snprintf(hub->root, sizeof hub->root, "%s/root", hub->directory);
	mkdir(hub->root, 0755);
	ready = arena_printf(&hub->arena, "%s/ready", hub->directory);
	argv[count++] = hub->root;
	argv[count++] = "--ready";
	argv[count++] = ready;
	while (options && *options && count < 31)
		argv[count++] = *options++;
	for (size_t i = 0; i < count; i++)
		copies[i] = arena_copy(&hub->arena, argv[i]);
	if (posix_spawnp(&hub->pid, "python3", NULL, NULL, copies, environ) != 0)
		give_up("spawn", "python3");
	urls = wait_until_ready(hub, ready);
	snprintf(hub->url, sizeof hub->url, "%s", json_string_value(json_object_get(urls, "hub")));
	snprintf(hub->cdn, sizeof hub->cdn, "%s", json_string_value(json_object_get(urls, "cdn")));
	json_decref(urls);
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st, (void)type, (void)at;
	return remove(path);
}

void
fake_hub_stop(struct fake_hub *hub)
{
	kill(hub->pid, SIGTERM);
	waitpid(hub->pid, NULL, 0);
	nftw(hub->directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	arena_finish(&hub->arena);
}

const char *
fake_hub_write(struct fake_hub *hub, const char *path, const void *bytes, size_t size)
{
	const char *whole = path_join(&hub->arena, hub->root, path);
	struct error err = { 0 };

	if (!file_make_dirs(path_dir(&hub->arena, whole), 0755, &err) || !file_save(whole, bytes, size, 0644, &err))
		give_up(whole, err.text);
	return whole;
}

static void
fill(char *bytes, size_t size, unsigned seed)
{
	uint64_t state = seed + 1;

	for (size_t i = 0; i < size; i++) {
		state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		bytes[i] = (char)(state >> 56);
	}
}

const char *
fake_hub_fill(struct fake_hub *hub, const char *path, size_t size, unsigned seed)
{
	char *bytes = xmalloc(size + 1);
	const char *whole;

	fill(bytes, size, seed);
	whole = fake_hub_write(hub, path, bytes, size);
	free(bytes);
	return whole;
}

const char *
fake_hub_tensors(struct fake_hub *hub, const char *path, size_t size, unsigned seed)
{
	char *bytes = xmalloc(size + 512);
	uint64_t length;
	const char *whole;

	length = (uint64_t)snprintf(bytes + 8, 500, "{\"w\":{\"dtype\":\"U8\",\"shape\":[%zu],\"data_offsets\":[0,%zu]}}", size, size);
	for (size_t i = 0; i < 8; i++)
		bytes[i] = (char)(length >> (8 * i));
	fill(bytes + 8 + length, size, seed);
	whole = fake_hub_write(hub, path, bytes, size + 8 + length);
	free(bytes);
	return whole;
}

static json_t *
call(struct fake_hub *hub, const char *path, const char *body)
{
	struct http http = { 0 };
	struct http_response response;
	struct error err = { 0 };
	json_t *answer = NULL;
	struct http_request request = {
		.url = arena_printf(&hub->arena, "%s%s", hub->url, path),
		.method = body ? "POST" : "GET",
		.body = body,
		.body_size = body ? strlen(body) : 0,
	};

	if (!http_init(&http, NULL, &err) || !http_do(&http, &request, &hub->arena, &response, &err) || response.status != 200 ||
		!json_parse(response.body.data, response.body.size, path, &answer, &err))
		give_up(path, err.text);
	http_response_finish(&response);
	http_finish(&http);
	return answer;
}

void
fake_hub_fault(struct fake_hub *hub, const char *json)
{
	json_decref(call(hub, "/__fault", json));
}

void
fake_hub_reset(struct fake_hub *hub)
{
	json_decref(call(hub, "/__reset", "{}"));
}

static int64_t
number_in(struct fake_hub *hub, const char *member, const char *key)
{
	json_t *stats = call(hub, "/__stats", NULL);
	const json_t *value = json_object_get(stats, member);
	int64_t number = json_integer_value(key ? json_object_get(value, key) : value);

	json_decref(stats);
	return number;
}

int64_t
fake_hub_requests(struct fake_hub *hub, const char *path)
{
	return number_in(hub, "requests", path);
}

int64_t
fake_hub_bytes(struct fake_hub *hub)
{
	return number_in(hub, "total", NULL);
}

int64_t
fake_hub_authorized(struct fake_hub *hub)
{
	return number_in(hub, "authorized", NULL);
}

size_t
fake_hub_leaks(struct fake_hub *hub)
{
	json_t *stats = call(hub, "/__stats", NULL);
	size_t count = json_array_size(json_object_get(stats, "leaks"));

	json_decref(stats);
	return count;
}
