#include "service_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/json.h"
#include "engine/base/secret.h"
#include "engine/base/units.h"

/* A value as one element of argv: text as it is, all else as JSON. Fifteen digits, so that 0.92 stays 0.92. */
static const char *
element(const json_t *value, struct arena *arena)
{
	if (json_is_string(value))
		return json_string_value(value);
	char *text finally(free_text) = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
	if (!text)
		out_of_memory();
	return arena_copy(arena, text);
}

static void
add_option(const char *key, json_t *value, struct arena *arena, struct strings *argv)
{
	size_t i;
	json_t *item;

	if (json_is_false(value) || json_is_null(value))
		return;
	strings_add(argv, arena, *key == '-' ? key : arena_printf(arena, "--%s", key));
	if (json_is_array(value)) {
		json_array_foreach(value, i, item)
			strings_add(argv, arena, element(item, arena));
	} else if (!json_is_true(value)) {
		strings_add(argv, arena, element(value, arena));
	}
}

bool
service_args(const char *json, struct arena *arena, struct strings *argv, struct error *err)
{
	json_t *args finally(json_release) = NULL;
	const char *key;
	json_t *value;
	size_t i;

	if (!json)
		return true;
	if (!json_parse(json, strlen(json), "args", &args, err))
		return false;
	if (!json_is_object(args) && !json_is_array(args))
		return fail(err, FAULT_BAD_VALUE, "`args` is a list, or a map that becomes `--key value`");
	/* Texts of `args` end with it. */
	json_array_foreach(args, i, value)
		strings_add(argv, arena, arena_copy(arena, element(value, arena)));
	json_object_foreach(args, key, value)
		add_option(key, value, arena, argv);
	for (i = 0; json_is_object(args) && i < argv->count; i++)
		argv->items[i] = arena_copy(arena, argv->items[i]);
	return true;
}

const char *
service_fill(const char *text, const struct instance *instance, struct arena *arena)
{
	const struct pair values[] = {
		{ "{host}", instance->host },
		{ "{port}", arena_printf(arena, "%lld", (long long)instance->port) },
		{ "{replica}", arena_printf(arena, "%lld", (long long)instance->replica) },
	};
	struct buf filled finally(buf_finish) = { 0 };

	buf_init(&filled, strlen(text) * 8 + 64);
	while (*text) {
		size_t i = 0;
		while (i < 3 && !text_starts(text, values[i].key))
			i++;
		if (i == 3) {
			buf_char(&filled, *text++);
			continue;
		}
		buf_text(&filled, values[i].value);
		text += strlen(values[i].key);
	}
	return arena_copy(arena, filled.data);
}

bool
service_secrets(const struct strings *names, struct arena *arena, struct pairs *env, struct error *err)
{
	for (size_t i = 0; i < names->count; i++) {
		const struct secret_ref ref = { .env = names->items[i] };
		struct secret secret finally(secret_finish) = { 0 };
		/* Loaded as a secret so that every log leaves it out; the value itself is passed as it stands. */
		if (!secret_load(&ref, false, &secret, err))
			return error_wrap(err, "`env_from`");
		pairs_set(env, arena, names->items[i], getenv(names->items[i]));
	}
	return true;
}

bool
service_has_api_key(const struct service *spec, struct arena *arena)
{
	struct strings argv = { 0 };
	struct error ignored;

	for (size_t i = 0; i < spec->env_from.count; i++)
		if (strstr(spec->env_from.items[i], "API_KEY"))
			return true;
	for (size_t i = 0; i < spec->env.count; i++)
		if (strstr(spec->env.items[i].key, "API_KEY"))
			return true;
	if (!service_args(spec->args, arena, &argv, &ignored))
		return false;
	for (size_t i = 0; i < spec->command.count; i++)
		strings_add(&argv, arena, spec->command.items[i]);
	for (size_t i = 0; i < argv.count; i++)
		if (text_starts(argv.items[i], "--api-key") || text_starts(argv.items[i], "--api_key"))
			return true;
	return false;
}

bool
service_ulimit(const char *text, int64_t *soft, int64_t *hard)
{
	const char *colon = strchr(text, ':');
	char first[32];

	if (!colon)
		return units_int(text, soft) && *soft >= -1 && (*hard = *soft, true);
	if ((size_t)(colon - text) >= sizeof first)
		return false;
	memcpy(first, text, (size_t)(colon - text));
	first[colon - text] = '\0';
	return units_int(first, soft) && units_int(colon + 1, hard) && *soft >= -1 && *hard >= -1 && (*hard == -1 || (*soft != -1 && *soft <= *hard));
}
