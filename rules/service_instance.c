#include "service_internal.h"

#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/json.h"
#include "engine/task.h"

static json_t *
json_of_strings(const struct strings *strings)
{
	json_t *list = json_array();

	for (size_t i = 0; i < strings->count; i++)
		json_array_append_new(list, json_string(strings->items[i]));
	return list;
}

static void
strings_of_json(const json_t *list, struct arena *arena, struct strings *strings)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *text = json_string_value(json_array_get(list, i));
		if (text)
			strings_add(strings, arena, arena_copy(arena, text));
	}
}

/* Pairs are a list of two each: a map would not keep equal names apart. */
static json_t *
json_of_pairs(const struct pairs *pairs)
{
	json_t *list = json_array();

	for (size_t i = 0; i < pairs->count; i++)
		json_array_append_new(list, json_pack("[s,s]", pairs->items[i].key, pairs->items[i].value));
	return list;
}

static void
pairs_of_json(const json_t *list, struct arena *arena, struct pairs *pairs)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *pair = json_array_get(list, i);
		const char *key = json_string_value(json_array_get(pair, 0)), *value = json_string_value(json_array_get(pair, 1));
		if (key && value)
			pairs_set(pairs, arena, arena_copy(arena, key), arena_copy(arena, value));
	}
}

const char *
instance_note(const struct instance *instance, struct arena *arena)
{
	json_t *note finally(json_release) = json_pack("{s:s,s:s,s:I,s:s,s:I,s:o,s:I,s:s,s:I,s:I,s:I,s:o}", "tag", instance->tag, "run", instance->run,
		"replica", (json_int_t)instance->replica, "host", instance->host, "port", (json_int_t)instance->port, "gpus",
		json_of_strings(&instance->gpus), "stop_timeout", (json_int_t)instance->stop_timeout, "ready_path", instance->ready.path,
		"ready_timeout", (json_int_t)instance->ready.timeout, "ready_interval", (json_int_t)instance->ready.interval, "ready_ms",
		(json_int_t)instance->ready_ms, "env_from", json_of_strings(&instance->env_from));

	if (!note)
		out_of_memory();
	if (instance->runtime == &docker_runtime) {
		json_object_set_new(note, "name", json_string(instance->name));
		json_object_set_new(note, "image", json_string(instance->image));
		json_object_set_new(note, "key", json_string(instance->key));
		json_object_set_new(note, "restart", json_string(instance->restart));
	} else {
		json_object_set_new(note, "process", json_string(process_id_text(&instance->process, arena)));
		json_object_set_new(note, "argv", json_of_strings(&instance->argv));
		json_object_set_new(note, "env", json_of_pairs(&instance->env));
		json_object_set_new(note, "workdir", json_string(instance->workdir));
		json_object_set_new(note, "log", json_string(instance->log));
	}
	return json_text(arena, note, false);
}

static const char *
text_at(const json_t *note, const char *key, struct arena *arena)
{
	const char *text = json_string_at(note, key);

	return text ? arena_copy(arena, text) : NULL;
}

static bool
parse_container(const json_t *note, struct arena *arena, struct instance *instance)
{
	instance->name = text_at(note, "name", arena);
	instance->image = text_at(note, "image", arena);
	instance->key = text_at(note, "key", arena);
	instance->restart = text_at(note, "restart", arena);
	return instance->name && instance->image && instance->key && instance->restart;
}

static bool
parse_process(const json_t *note, struct arena *arena, struct instance *instance)
{
	const char *process = json_string_at(note, "process");

	strings_of_json(json_at(note, "argv"), arena, &instance->argv);
	pairs_of_json(json_at(note, "env"), arena, &instance->env);
	instance->workdir = text_at(note, "workdir", arena);
	instance->log = text_at(note, "log", arena);
	return process && process_id_parse(process, &instance->process) && instance->argv.count && instance->workdir && instance->log;
}

bool
instance_parse(const struct artifact *artifact, struct arena *arena, struct instance *instance, struct error *err)
{
	struct instance parsed = { .runtime = artifact->kind == ARTIFACT_CONTAINER ? &docker_runtime : &process_runtime, .id = artifact->name };
	json_t *note finally(json_release) = NULL;
	const char *text = artifact->note ? artifact->note : "";

	if (!json_parse(text, strlen(text), "the note of a recorded instance", &note, err))
		return false;
	parsed.tag = text_at(note, "tag", arena);
	parsed.run = text_at(note, "run", arena);
	parsed.host = text_at(note, "host", arena);
	parsed.ready.path = text_at(note, "ready_path", arena);
	strings_of_json(json_at(note, "gpus"), arena, &parsed.gpus);
	strings_of_json(json_at(note, "env_from"), arena, &parsed.env_from);
	if (!json_int_at(note, "replica", &parsed.replica) || !json_int_at(note, "port", &parsed.port) ||
		!json_int_at(note, "stop_timeout", &parsed.stop_timeout) || !json_int_at(note, "ready_timeout", &parsed.ready.timeout) ||
		!json_int_at(note, "ready_interval", &parsed.ready.interval) || !json_int_at(note, "ready_ms", &parsed.ready_ms) || !parsed.tag ||
		!parsed.run || !parsed.host || !parsed.ready.path ||
		!(artifact->kind == ARTIFACT_CONTAINER ? parse_container : parse_process)(note, arena, &parsed))
		return fail(err, FAULT_DATABASE, "the record of instance %s is incomplete", artifact->name);
	*instance = parsed;
	return true;
}

bool
service_instances(const struct record *record, struct arena *arena, struct instances *instances, struct error *err)
{
	size_t most = record ? record->artifacts.count : 0;
	struct instances found = { .items = arena_array(arena, most + 1, sizeof *found.items) };

	for (size_t i = 0; i < most; i++) {
		const struct artifact *artifact = &record->artifacts.items[i];
		if (artifact->kind != ARTIFACT_CONTAINER && artifact->kind != ARTIFACT_PROCESS)
			continue;
		if (!instance_parse(artifact, arena, &found.items[found.count], err))
			return false;
		found.count++;
	}
	*instances = found;
	return true;
}

static const char *
join(const struct strings *strings, struct arena *arena)
{
	struct buf text finally(buf_finish) = { 0 };

	buf_init(&text, 64u << 10);
	for (size_t i = 0; i < strings->count; i++)
		buf_printf(&text, "%s%s", i ? "," : "", strings->items[i]);
	return arena_copy(arena, text.data);
}

void
service_report(struct task *task, const struct instances *instances)
{
	struct arena *arena = task_arena(task);
	struct strings urls = { 0 }, ids = { 0 }, gpus = { 0 };

	for (size_t i = 0; i < instances->count; i++) {
		const struct instance *instance = &instances->items[i];
		const struct artifact artifact = { .kind = instance->runtime->artifact, .name = instance->id, .note = instance_note(instance, arena) };
		const struct artifact port = { .kind = ARTIFACT_PORT, .name = arena_printf(arena, "%s:%lld", instance->host, (long long)instance->port) };
		task_artifact(task, &artifact);
		task_artifact(task, &port);
		for (size_t g = 0; g < instance->gpus.count; g++) {
			const struct artifact gpu = { .kind = ARTIFACT_GPU, .name = instance->gpus.items[g] };
			task_artifact(task, &gpu);
			strings_add(&gpus, arena, instance->gpus.items[g]);
		}
		strings_add(&urls, arena, instance_url(instance, "/v1", arena));
		strings_add(&ids, arena, instance->id);
	}
	task_output(task, "url", instance_url(&instances->items[0], "/v1", arena));
	task_output(task, "urls", join(&urls, arena));
	task_output(task, "ids", join(&ids, arena));
	task_output(task, "gpus", join(&gpus, arena));
}

const char *
instance_address(const struct instance *instance)
{
	if (strcmp(instance->host, "0.0.0.0") == 0 || strcmp(instance->host, "localhost") == 0)
		return "127.0.0.1";
	return strcmp(instance->host, "::") == 0 ? "::1" : instance->host;
}

const char *
instance_url(const struct instance *instance, const char *path, struct arena *arena)
{
	const char *host = instance_address(instance);

	return arena_printf(arena, strchr(host, ':') ? "http://[%s]:%lld%s" : "http://%s:%lld%s", host, (long long)instance->port, path);
}

bool
instances_collide(const struct instance *a, const struct instance *b)
{
	/* One port on two addresses of one host would work at times, but never for certain. */
	if (a->port == b->port)
		return true;
	for (size_t i = 0; i < a->gpus.count; i++)
		if (strings_has(&b->gpus, a->gpus.items[i]))
			return true;
	return false;
}

const char *
service_shm_name(const struct instance *instance, struct arena *arena)
{
	return arena_printf(arena, "provision-%s", instance->intent);
}
