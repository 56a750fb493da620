#include "hub_protocol.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/file.h"
#include "engine/base/path.h"

#define LONGEST_LIST ((size_t)16 << 20)
#define LONGEST_LINE ((size_t)64 << 10)
#define HEX 64

struct list {
	struct arena *arena;
	struct hub_file *files;
	size_t count;
	size_t capacity;
};

/* `<64 hex><space><space or *><name>`; a name that sha256sum had to escape begins its line with a backslash and is
 * refused, since no safe name needs it. */
static bool
parse_line(const char *line, size_t size, struct list *list, const char **why)
{
	char hex[HEX + 1];
	struct hub_file file = { .size = UINT64_MAX };

	*why = "expected 64 hex digits, a space, a space or `*`, and a name";
	if (size < HEX + 3 || line[HEX] != ' ' || (line[HEX + 1] != ' ' && line[HEX + 1] != '*'))
		return false;
	memcpy(hex, line, HEX);
	hex[HEX] = '\0';
	if (!checksum_parse(CHECKSUM_SHA256, hex, &file.checksum))
		return false;
	if (memchr(line, '\0', size)) {
		*why = "its name holds a NUL";
		return false;
	}
	line += HEX + 2;
	size -= HEX + 2;
	if (size > 2 && line[0] == '.' && line[1] == '/') {
		line += 2;
		size -= 2;
	}
	file.path = arena_copy_bytes(list->arena, line, size);
	if (!path_is_safe(file.path, why))
		return false;
	if (list->count == list->capacity)
		list->files = arena_grow(list->arena, list->files, list->count, &list->capacity, sizeof *list->files);
	list->files[list->count++] = file;
	return true;
}

static int
by_path(const void *a, const void *b)
{
	const struct hub_file *left = a, *right = b;

	return strcmp(left->path, right->path);
}

static bool
check_twice(const struct list *list, const char *what, struct error *err)
{
	for (size_t i = 1; i < list->count; i++)
		if (strcmp(list->files[i - 1].path, list->files[i].path) == 0)
			return fail(err, FAULT_CHECKSUM_LIST, "`%s` names `%s` twice", what, list->files[i].path);
	return true;
}

bool
hub_parse_checksums(const char *text, size_t size, const char *what, struct arena *arena, struct hub_file **files,
	size_t *count, struct error *err)
{
	struct list list = { .arena = arena };
	const char *end = text + size, *why;

	for (unsigned line = 1; text < end; line++) {
		const char *newline = memchr(text, '\n', (size_t)(end - text));
		size_t length = (size_t)((newline ? newline : end) - text), used = length;

		while (used > 0 && (text[used - 1] == '\r' || text[used - 1] == ' '))
			used--;
		if (length > LONGEST_LINE)
			return fail(err, FAULT_CHECKSUM_LIST, "`%s`, line %u: longer than %zu bytes", what, line, LONGEST_LINE);
		if (list.count == HUB_MOST_FILES)
			return fail(err, FAULT_CHECKSUM_LIST, "`%s`: more than %d files", what, HUB_MOST_FILES);
		if (used > 0 && *text != '#' && !parse_line(text, used, &list, &why))
			return fail(err, FAULT_CHECKSUM_LIST, "`%s`, line %u: %s", what, line, why);
		text += length + 1;
	}
	if (list.count == 0)
		return fail(err, FAULT_CHECKSUM_LIST, "`%s` names no file", what);
	qsort(list.files, list.count, sizeof *list.files, by_path);
	if (!check_twice(&list, what, err))
		return false;
	*files = list.files;
	*count = list.count;
	return true;
}

bool
hub_load_checksums(const struct hub *hub, struct hub_file **files, size_t *count, struct error *err)
{
	const char *text;
	size_t size;

	if (!file_load(hub->checksums, LONGEST_LIST, hub->arena, &text, &size, err))
		return error_wrap(err, "checksums");
	return hub_parse_checksums(text, size, hub->checksums, hub->arena, files, count, err);
}
