#include "docker_call.h"

#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/json.h"
#include "engine/base/units.h"

#define OBJECT_LIMIT (1u << 20)
#define MOST_LAYERS 1024
#define SILENCE 20 /* stall spans: unpacking a large layer says nothing for minutes */

struct layer {
	const char *id;
	uint64_t done, total;
};

/* The engine's account of a pull: JSON objects one behind the other, cut anywhere. */
struct pull {
	struct arena *arena;
	struct buf object;  /* the one being read */
	size_t depth;
	bool quoted;
	bool escaped;
	struct layer layers[MOST_LAYERS];
	size_t layer_count;
	const char *failure; /* what the engine says went wrong */
	const char *broken;  /* what is wrong with the stream itself */
	int64_t patience;    /* ms without an object, whatever else comes */
	int64_t said_ms;     /* when the last one ended */
	void (*progress)(void *context, uint64_t done, uint64_t total);
	void *context;
};

static void
finish_object(struct pull *pull)
{
	buf_finish(&pull->object);
}

static struct layer *
find_layer(struct pull *pull, const char *id)
{
	for (size_t i = 0; i < pull->layer_count; i++)
		if (strcmp(pull->layers[i].id, id) == 0)
			return &pull->layers[i];
	if (pull->layer_count == MOST_LAYERS)
		return NULL;
	pull->layers[pull->layer_count] = (struct layer){ .id = arena_copy(pull->arena, id) };
	return &pull->layers[pull->layer_count++];
}

static void
count_layer(struct pull *pull, const json_t *object)
{
	const char *id = json_string_at(object, "id");
	const char *status = json_string_at(object, "status");
	struct layer *layer = id && status ? find_layer(pull, id) : NULL;
	int64_t number;

	if (!layer)
		return;
	if (strcmp(status, "Downloading") == 0) {
		if (json_int_at(object, "progressDetail.total", &number) && number > 0)
			layer->total = (uint64_t)number;
		if (json_int_at(object, "progressDetail.current", &number) && number > 0)
			layer->done = (uint64_t)number;
	} else if (strcmp(status, "Download complete") == 0 || strcmp(status, "Pull complete") == 0) {
		layer->done = layer->total;
	}
}

static void
tell(const struct pull *pull)
{
	uint64_t done = 0, total = 0;

	if (!pull->progress)
		return;
	for (size_t i = 0; i < pull->layer_count; i++) {
		done += pull->layers[i].done;
		total += pull->layers[i].total;
	}
	pull->progress(pull->context, done, total);
}

static void
end_object(struct pull *pull)
{
	json_t *object finally(json_release) = NULL;
	struct error err = { 0 };
	const char *failure;

	if (!json_parse(pull->object.data, pull->object.size, "pull", &object, &err)) {
		pull->broken = arena_copy(pull->arena, err.text);
		return;
	}
	failure = json_string_at(object, "errorDetail.message");
	if (!failure)
		failure = json_string_at(object, "error");
	if (failure)
		pull->failure = arena_copy(pull->arena, failure);
	count_layer(pull, object);
	tell(pull);
	pull->said_ms = clock_monotonic_ms();
	buf_clear(&pull->object);
}

/* Objects end where their braces do: line ends are only a habit. */
static void
take(struct pull *pull, char c)
{
	if (pull->depth == 0 && c != '{')
		return;
	buf_char(&pull->object, c);
	if (pull->quoted) {
		pull->quoted = pull->escaped || c != '"';
		pull->escaped = !pull->escaped && c == '\\';
		return;
	}
	pull->quoted = c == '"';
	pull->depth += c == '{';
	pull->depth -= c == '}';
	if (pull->depth == 0)
		end_object(pull);
}

static bool
read_pull(void *context, const char *bytes, size_t size)
{
	struct pull *pull = context;

	for (size_t i = 0; i < size && !pull->broken; i++)
		take(pull, bytes[i]);
	if (pull->object.truncated)
		pull->broken = "an object in the answer is larger than 1 MiB";
	else if (!pull->broken && clock_monotonic_ms() - pull->said_ms > pull->patience)
		pull->broken = arena_printf(pull->arena, "the answer told nothing for %s", units_show_duration(pull->arena, pull->patience));
	return !pull->broken;
}

static const char *
pull_path(struct arena *arena, const char *ref, const char *platform)
{
	const char *tag;
	const char *repo = docker_split_ref(arena, ref, &tag);
	const char *path = arena_printf(arena, "/images/create?fromImage=%s&tag=%s", http_escape(arena, repo, ""),
		http_escape(arena, tag ? tag : "latest", ""));

	return platform ? arena_printf(arena, "%s&platform=%s", path, http_escape(arena, platform, "")) : path;
}

bool
docker_pull(struct docker *docker, const char *ref, const char *platform,
	void (*progress)(void *context, uint64_t done, uint64_t total), void *context, struct error *err)
{
	struct arena arena finally(arena_finish) = { 0 };
	struct http_response response finally(http_response_finish) = { 0 };
	struct pull pull finally(finish_object) = { .arena = &arena, .progress = progress, .context = context };
	const char *what = arena_printf(&arena, "pull `%s`", ref);
	struct docker_call call = { .method = "POST", .path = pull_path(&arena, ref, platform), .silence = SILENCE, .on_body = read_pull, .context = &pull };
	bool answered;

	buf_init(&pull.object, OBJECT_LIMIT);
	pull.patience = SILENCE * http_stall_ms(&docker->http);
	pull.said_ms = clock_monotonic_ms();
	answered = docker_call(docker, &call, &arena, &response, err);
	if (pull.broken)
		return docker_said(docker, pull.broken, err, what);
	if (!answered)
		return false;
	if (response.status != 200)
		return docker_refused(docker, &response, err, "%s", what);
	if (pull.failure)
		return docker_said(docker, pull.failure, err, what);
	if (pull.depth > 0)
		return docker_said(docker, "the engine's answer broke off", err, what);
	return true;
}
