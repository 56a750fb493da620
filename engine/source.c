#include "source.h"

#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/strings.h"

#define SOURCE_SIZE ((size_t)64 << 20)
#define MOST_DIRECTIVES 16

static const struct source *
add(struct sources *sources, struct source source)
{
	struct arena *arena = sources->arena;

	if (sources->count == sources->capacity)
		sources->items = arena_grow(arena, sources->items, sources->count, &sources->capacity, sizeof *sources->items);
	source.file = arena_copy(arena, source.file);
	source.path = arena_copy(arena, source.path);
	source.directory = strcmp(source.path, "-") == 0 ? (sources->cwd ? sources->cwd : "/") : path_dir(arena, source.path);
	digest_of(source.text, source.size, &source.digest);
	sources->items[sources->count] = source;
	return &sources->items[sources->count++];
}

static bool
read_stdin(struct arena *arena, const char **text, size_t *size, struct error *err)
{
	size_t capacity = 0;
	size_t total = 0;
	size_t got;
	char *bytes = NULL;

	do {
		bytes = arena_grow(arena, bytes, total, &capacity, 1);
		if (!file_read_all(STDIN_FILENO, bytes + total, capacity - total - 1, &got, err))
			return error_wrap(err, "standard input");
		total += got;
		if (total > SOURCE_SIZE)
			return fail(err, FAULT_TOO_LARGE, "standard input has more than %zu bytes", SOURCE_SIZE);
	} while (total == capacity - 1);
	*text = bytes;
	*size = total;
	return true;
}

const struct source *
sources_read(struct sources *sources, const char *file, const char *path, struct error *err)
{
	struct source source = { .file = file, .path = path };
	bool ok = strcmp(path, "-") == 0 ? read_stdin(sources->arena, &source.text, &source.size, err)
		: file_load(path, SOURCE_SIZE, sources->arena, &source.text, &source.size, err);

	return ok ? add(sources, source) : NULL;
}

const struct source *
sources_add_text(struct sources *sources, const char *file, const char *text, size_t size)
{
	return add(sources, (struct source){
		.file = file, .path = "-", .text = arena_copy_bytes(sources->arena, text, size), .size = size,
	});
}

const struct source *
sources_find(const struct sources *sources, const char *file)
{
	for (size_t i = 0; i < sources->count; i++)
		if (sources->items[i].file == file)
			return &sources->items[i];
	for (size_t i = 0; file && i < sources->count; i++)
		if (strcmp(sources->items[i].file, file) == 0)
			return &sources->items[i];
	return NULL;
}

struct place
source_place(const struct source *source, size_t offset)
{
	struct place place = { .file = source->file, .line = 1, .column = 1 };
	const char *at = source->text;
	const char *end = source->text + (offset < source->size ? offset : source->size);
	const char *newline;

	while ((newline = memchr(at, '\n', (size_t)(end - at)))) {
		place.line++;
		at = newline + 1;
	}
	while (at < end) {
		size_t step = text_utf8(at, (size_t)(end - at));

		at += step ? step : 1;
		place.column++;
	}
	return place;
}

static bool
foreign_line_end(const struct source *source, size_t offset, const char *name, struct error *err)
{
	fail_at(err, source_place(source, offset), FAULT_ENCODING, "%s in the text: YAML takes it for the end of a line, editors do not", name);
	return error_hint(err, "remove it, or write it as an escape in double quotes");
}

/* NEL, LS, PS and a lone CR end lines for libyaml (YAML 1.1): line numbers would be wrong behind them. */
static bool
check_line_ends(const struct source *source, struct error *err)
{
	const char *end = source->text + source->size;
	const char *at;

	for (at = source->text; (at = memchr(at, '\r', (size_t)(end - at))); at++)
		if (at + 1 < end && at[1] != '\n')
			return foreign_line_end(source, (size_t)(at - source->text), "a carriage return", err);
	for (at = source->text; (at = memchr(at, 0xe2, (size_t)(end - at))); at++)
		if (end - at >= 3 && (memcmp(at, "\xe2\x80\xa8", 3) == 0 || memcmp(at, "\xe2\x80\xa9", 3) == 0))
			return foreign_line_end(source, (size_t)(at - source->text), "a Unicode line separator", err);
	for (at = source->text; (at = memchr(at, 0xc2, (size_t)(end - at))); at++)
		if (end - at >= 2 && memcmp(at, "\xc2\x85", 2) == 0)
			return foreign_line_end(source, (size_t)(at - source->text), "a next-line character (U+0085)", err);
	return true;
}

bool
source_check(const struct source *source, struct error *err)
{
	const char *end = source->text + source->size;
	const char *line = source->text;
	size_t directives = 0;

	/* libyaml compares each %TAG with all before it. */
	while (line < end) {
		const char *newline;

		if (*line == '%' && ++directives > MOST_DIRECTIVES)
			return fail_at(err, source_place(source, (size_t)(line - source->text)), FAULT_TOO_LARGE, "more than %d YAML directives",
				MOST_DIRECTIVES);
		newline = memchr(line, '\n', (size_t)(end - line));
		line = newline ? newline + 1 : end;
	}
	return check_line_ends(source, err);
}

const char *
source_syntax_hint(const struct source *source, size_t lines)
{
	const char *end = source->text + source->size;
	const char *line = source->text;
	const char *newline;
	size_t length, indent;

	for (; lines > 0 && line; lines--) {
		line = memchr(line, '\n', (size_t)(end - line));
		line = line ? line + 1 : NULL;
	}
	if (!line)
		return "a bracket or quote that was opened is not closed";
	newline = memchr(line, '\n', (size_t)(end - line));
	length = (size_t)((newline ? newline : end) - line);
	indent = 0;
	while (indent < length && (line[indent] == ' ' || line[indent] == '\t'))
		indent++;
	if (memchr(line, '\t', indent))
		return "YAML is indented with spaces; a tab is not allowed there";
	if (memmem(line, length, "${", 2) && (memchr(line, '{', indent + 1) || memmem(line, length, ": {", 3) || memchr(line, '[', length)))
		return "between { } or [ ], text that holds `${...}` stands in quotes";
	if (memmem(line, length, ": >", 3) || memmem(line, length, ": |", 3))
		return "text that begins with `>` or `|` stands in quotes: \">=12.9\"";
	if (memmem(line, length, ": @", 3) || memmem(line, length, ": `", 3) || memmem(line, length, ": %", 3) || memmem(line, length, ": *", 3))
		return "text that begins with a sign of YAML's own stands in quotes";
	if (memmem(line, length, ": ", 2))
		return "check the indentation of this line and of the one before; text that holds `: ` stands in quotes";
	return "check the indentation of this line and of the one before";
}
