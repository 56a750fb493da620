#include "strings.h"

#include <string.h>

#include "arena.h"

void
strings_add(struct strings *strings, struct arena *arena, const char *text)
{
	if (strings->count == strings->capacity)
		strings->items =
			arena_grow(arena, strings->items, strings->count, &strings->capacity, sizeof *strings->items);
	strings->items[strings->count++] = text;
}

bool
strings_has(const struct strings *strings, const char *text)
{
	for (size_t i = 0; i < strings->count; i++)
		if (strcmp(strings->items[i], text) == 0)
			return true;
	return false;
}

void
pairs_set(struct pairs *pairs, struct arena *arena, const char *key, const char *value)
{
	for (size_t i = 0; i < pairs->count; i++)
		if (strcmp(pairs->items[i].key, key) == 0) {
			pairs->items[i].value = value;
			return;
		}
	if (pairs->count == pairs->capacity)
		pairs->items = arena_grow(arena, pairs->items, pairs->count, &pairs->capacity, sizeof *pairs->items);
	pairs->items[pairs->count++] = (struct pair){ .key = key, .value = value };
}

const char *
pairs_get(const struct pairs *pairs, const char *key)
{
	for (size_t i = 0; i < pairs->count; i++)
		if (strcmp(pairs->items[i].key, key) == 0)
			return pairs->items[i].value;
	return NULL;
}

const char *
text_last_line(struct arena *arena, const char *text, size_t size)
{
	size_t from;

	while (size > 0 && strchr("\r\n ", text[size - 1]))
		size--;
	for (from = size; from > 0 && text[from - 1] != '\n';)
		from--;
	return size > from ? arena_copy_bytes(arena, text + from, size - from) : NULL;
}

bool
text_equal(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

bool
text_starts(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

bool
text_ends(const char *text, const char *suffix)
{
	size_t length = strlen(text);
	size_t end = strlen(suffix);

	return end <= length && memcmp(text + length - end, suffix, end) == 0;
}

const char *
text_shell(struct arena *arena, const char *text)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_@%+=:,./-";
	size_t size = 0;
	char *quoted;

	if (*text) {
		while (text[size] && (strchr(plain, text[size]) || (unsigned char)text[size] >= 0x80))
			size++;
		if (!text[size])
			return text;
	}
	quoted = arena_alloc(arena, strlen(text) * 4 + 3);
	size = 0;
	quoted[size++] = '\'';
	for (; *text; text++) {
		if (*text == '\'') {
			memcpy(quoted + size, "'\\''", 4);
			size += 4;
		} else {
			quoted[size++] = *text;
		}
	}
	quoted[size++] = '\'';
	quoted[size] = '\0';
	return quoted;
}

size_t
text_utf8(const char *text, size_t size)
{
	/* Unicode 15, table 3-7: the first byte decides the length and the range of the second. */
	static const struct {
		unsigned char first, last, low, high;
		size_t length;
	} rows[] = {
		{ 0x00, 0x7f, 0x00, 0x00, 1 },
		{ 0xc2, 0xdf, 0x80, 0xbf, 2 },
		{ 0xe0, 0xe0, 0xa0, 0xbf, 3 },
		{ 0xe1, 0xec, 0x80, 0xbf, 3 },
		{ 0xed, 0xed, 0x80, 0x9f, 3 },
		{ 0xee, 0xef, 0x80, 0xbf, 3 },
		{ 0xf0, 0xf0, 0x90, 0xbf, 4 },
		{ 0xf1, 0xf3, 0x80, 0xbf, 4 },
		{ 0xf4, 0xf4, 0x80, 0x8f, 4 },
	};
	const unsigned char *bytes = (const unsigned char *)text;

	if (size == 0)
		return 0;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		size_t length = rows[i].length;

		if (bytes[0] < rows[i].first || bytes[0] > rows[i].last)
			continue;
		if (length > size || (length > 1 && (bytes[1] < rows[i].low || bytes[1] > rows[i].high)))
			return 0;
		for (size_t at = 2; at < length; at++)
			if ((bytes[at] & 0xc0) != 0x80)
				return 0;
		return length;
	}
	return 0;
}
