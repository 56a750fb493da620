/* JSON from outside, its look-ups, and text on its way into JSON.
 *
 * Input: a path for the look-ups and the JSON, separated by 0x1e. */
#include "engine/base/json.h"

#include <string.h>

#include "engine/base/buf.h"
#include "engine/base/strings.h"
#include "fuzz.h"

#define DEEPEST 64

static size_t
depth_of(const json_t *value)
{
	size_t deepest = 0, i;
	const char *key;
	json_t *child;

	if (!json_is_array(value) && !json_is_object(value))
		return 0;
	json_array_foreach ((json_t *)(uintptr_t)value, i, child)
		deepest = depth_of(child) > deepest ? depth_of(child) : deepest;
	json_object_foreach ((json_t *)(uintptr_t)value, key, child)
		deepest = depth_of(child) > deepest ? depth_of(child) : deepest;
	return deepest + 1;
}

/* Key by key; what has no such key has no such value. */
static const json_t *
walk(const json_t *value, const char *path, struct arena *arena)
{
	while (value && *path) {
		size_t length = strcspn(path, ".");
		const char *key = arena_copy_bytes(arena, path, length);

		value = length < 256 && json_is_object(value) ? json_object_get(value, key) : NULL;
		path += length + (path[length] == '.');
	}
	return value;
}

static void
check_value(json_t *value, const char *path, struct arena *arena)
{
	json_t *again finally(json_release) = NULL;
	const char *text = json_text(arena, value, false);
	struct error err = { 0 };
	int64_t number;

	promise(json_at(value, path) == walk(value, path, arena));
	promise(json_int_at(value, path, &number) == json_is_integer(walk(value, path, arena)));
	promise(!json_string_at(value, path) || json_is_string(walk(value, path, arena)));
	promise(json_parse(text, strlen(text), "again", &again, &err));
	promise(json_equal(again, value));
	promise(strcmp(json_text(arena, again, true), json_text(arena, value, true)) == 0);
}

/* Any text becomes a JSON string; text in UTF-8 comes back as it was. */
static void
check_quote(const char *text)
{
	json_t *value finally(json_release) = NULL;
	struct buf quoted finally(buf_finish) = { 0 };
	struct error err = { 0 };
	bool is_utf8 = true;

	buf_init(&quoted, 1 << 20);
	json_quote(&quoted, text);
	promise(json_parse(quoted.data, quoted.size, "quoted", &value, &err));
	for (const char *at = text; *at && is_utf8; at += text_utf8(at, strlen(at)))
		is_utf8 = text_utf8(at, strlen(at)) > 0;
	promise(json_is_string(value));
	promise((strcmp(json_string_value(value), text) == 0) == is_utf8);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena arena finally(arena_finish) = { 0 };
	json_t *value finally(json_release) = NULL;
	struct feed feed = { data, size };
	struct error err = { 0 };
	const char *path, *text;
	size_t length;
	bool parsed;

	if (size > 16384)
		return 0;
	path = feed_text(&feed, &arena, NULL);
	text = feed_text(&feed, &arena, &length);
	parsed = json_parse(text, length, "fuzz", &value, &err);
	promise(parsed == (value != NULL) && (parsed || err.fault == FAULT_PROTOCOL));
	promise(!parsed || json_depth_ok(text, length, DEEPEST));
	promise(!parsed || depth_of(value) <= DEEPEST);
	if (parsed)
		check_value(value, path, &arena);
	check_quote(path);
	return 0;
}
