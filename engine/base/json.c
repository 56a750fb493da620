#include "json.h"

#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "buf.h"
#include "cleanup.h"
#include "file.h"
#include "strings.h"

#define DEPTH 64

/* jansson allocates by malloc; without memory there is no text to blame. */
static void
check_memory(const void *memory)
{
	if (!memory)
		out_of_memory();
}

bool
json_depth_ok(const char *text, size_t size, size_t depth)
{
	size_t open = 0;
	bool quoted = false;

	for (size_t i = 0; i < size; i++) {
		char c = text[i];

		if (quoted) {
			if (c == '\\')
				i++;
			else if (c == '"')
				quoted = false;
		} else if (c == '"') {
			quoted = true;
		} else if (c == '[' || c == '{') {
			if (++open > depth)
				return false;
		} else if ((c == ']' || c == '}') && open > 0) {
			open--;
		}
	}
	return true;
}

bool
json_parse(const char *text, size_t size, const char *what, json_t **value, struct error *err)
{
	json_error_t error;
	json_t *parsed;

	if (size > JSON_LIMIT)
		return fail(
			err, FAULT_PROTOCOL, "%s: JSON of %zu bytes is over the limit of %u", what, size, JSON_LIMIT);
	if (!json_depth_ok(text, size, DEPTH))
		return fail(err, FAULT_PROTOCOL, "%s: JSON is nested deeper than %d", what, DEPTH);
	parsed = json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
	/* Where jansson has no memory to begin with, it says nothing at all. */
	if (!parsed && (json_error_code(&error) == json_error_out_of_memory || !*error.text))
		out_of_memory();
	if (!parsed)
		return fail(err, FAULT_PROTOCOL, "%s: not valid JSON, line %d, column %d: %s", what, error.line,
			error.column, error.text);
	*value = parsed;
	return true;
}

bool
json_parse_file(const char *path, size_t limit, json_t **value, struct error *err)
{
	struct arena arena finally(arena_finish) = { 0 };
	const char *text;
	size_t size;

	return file_load(path, limit, &arena, &text, &size, err) && json_parse(text, size, path, value, err);
}

void
json_release(json_t **value)
{
	json_decref(*value);
	*value = NULL;
}

const json_t *
json_at(const json_t *value, const char *path)
{
	while (value && *path) {
		char key[256];
		size_t length = strcspn(path, ".");

		if (length >= sizeof key)
			return NULL;
		memcpy(key, path, length);
		key[length] = '\0';
		value = json_object_get(value, key);
		path += length;
		if (*path == '.')
			path++;
	}
	return value;
}

const char *
json_string_at(const json_t *value, const char *path)
{
	return json_string_value(json_at(value, path));
}

bool
json_int_at(const json_t *value, const char *path, int64_t *number)
{
	const json_t *found = json_at(value, path);

	if (!json_is_integer(found))
		return false;
	*number = json_integer_value(found);
	return true;
}

const char *
json_text(struct arena *arena, const json_t *value, bool sorted)
{
	char *text finally(free_text) =
		json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | (sorted ? (size_t)JSON_SORT_KEYS : 0));

	check_memory(text);
	return arena_copy(arena, text);
}

/* ASCII that stands in a JSON string as it is: most text is nothing else. */
static size_t
plain_run(const char *text, size_t size)
{
	size_t length = 0;

	while (length < size && text[length] >= 0x20 && text[length] < 0x7f && text[length] != '"' && text[length] != '\\')
		length++;
	return length;
}

void
json_quote(struct buf *buf, const char *text)
{
	static const char escapes[] = "\"\"\\\\\bb\ff\nn\rr\tt";
	size_t size = strlen(text);

	buf_char(buf, '"');
	while (size > 0) {
		size_t step = plain_run(text, size);
		const char *escape = NULL;

		if (step > 0) {
			buf_add(buf, text, step);
			text += step;
			size -= step;
			continue;
		}
		step = text_utf8(text, size);
		for (size_t i = 0; i + 1 < sizeof escapes; i += 2)
			if (*text == escapes[i])
				escape = &escapes[i + 1];
		if (escape)
			buf_printf(buf, "\\%c", *escape);
		else if (step == 0)
			buf_text(buf, "\xef\xbf\xbd");
		else if ((unsigned char)*text < 0x20 || *text == 0x7f)
			buf_printf(buf, "\\u%04x", (unsigned)*text);
		else
			buf_add(buf, text, step);
		step = step ? step : 1;
		text += step;
		size -= step;
	}
	buf_char(buf, '"');
}

void
json_put(json_t *object, const char *key, json_t *value)
{
	if (!value || json_object_set_new(object, key, value) != 0)
		out_of_memory();
}

void
json_push(json_t *list, json_t *value)
{
	if (!value || json_array_append_new(list, value) != 0)
		out_of_memory();
}
