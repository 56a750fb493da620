#include "dockerfile.h"

#include <string.h>
#include <strings.h>

#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "engine/base/cleanup.h"
#include "engine/base/units.h"

#define LINE_LIMIT (64u << 10)

struct reader {
	struct arena *arena;
	const char *at;
	const char *end;
	char escape;                /* of line ends; a parser directive may choose the backtick */
	const struct pairs *args;   /* from outside */
	struct pairs known;         /* ARGs before the first FROM: the only ones that FROM may use */
	struct strings stages;      /* by number; "" without a name */
	struct dockerfile *file;
};

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static const char *
skip_blanks(const char *text)
{
	while (is_blank(*text))
		text++;
	return text;
}

/* The next line without its end; the reader moves behind it. False at the end. */
static bool
next_line(struct reader *reader, const char **line, size_t *size)
{
	const char *end;

	if (reader->at >= reader->end)
		return false;
	end = memchr(reader->at, '\n', (size_t)(reader->end - reader->at));
	*line = reader->at;
	*size = (size_t)((end ? end : reader->end) - reader->at);
	reader->at = end ? end + 1 : reader->end;
	if (*size > 0 && (*line)[*size - 1] == '\r')
		(*size)--;
	return true;
}

/* Comments and empty lines may stand within an instruction that goes on. */
static bool
is_nothing(const char *line, size_t size)
{
	while (size > 0 && is_blank(*line)) {
		line++;
		size--;
	}
	return size == 0 || *line == '#';
}

/* Whether the line goes on in the next one; then `size` is what stands before the escape. */
static bool
goes_on(const struct reader *reader, const char *line, size_t *size)
{
	size_t end = *size;

	while (end > 0 && is_blank(line[end - 1]))
		end--;
	if (end == 0 || line[end - 1] != reader->escape)
		return false;
	*size = end - 1;
	return true;
}

/* One instruction, its lines joined, NUL-terminated in `text`. False at the end of the file. */
static bool
next_instruction(struct reader *reader, struct buf *text)
{
	bool more = true;
	const char *line;
	size_t size;

	buf_clear(text);
	while (more && next_line(reader, &line, &size)) {
		if (is_nothing(line, size))
			continue;
		more = goes_on(reader, line, &size);
		buf_add(text, line, size);
	}
	return text->size > 0;
}

/* `# escape=` counts only before anything else than directives. */
static void
read_directives(struct reader *reader)
{
	const char *line;
	size_t size;

	for (;;) {
		const char *start = reader->at;
		const char *key, *equals;

		if (!next_line(reader, &line, &size))
			return;
		line = arena_copy_bytes(reader->arena, line, size);
		key = *line == '#' ? skip_blanks(line + 1) : NULL;
		equals = key ? strchr(key, '=') : NULL;
		if (!equals) {
			reader->at = start;
			return;
		}
		if (strncasecmp(key, "escape", 6) == 0 && *skip_blanks(equals + 1) == '`')
			reader->escape = '`';
	}
}

/* Value of a build argument; NULL if FROM cannot know it. */
static const char *
value_of(const struct reader *reader, const char *name)
{
	return pairs_get(&reader->known, name);
}

static size_t
name_length(const char *text)
{
	return strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_");
}

static const char *expand(const struct reader *reader, const char *text, size_t size, unsigned depth);

/* What stands within `${...}`; NULL if it is not settled. */
static const char *
expand_braced(const struct reader *reader, const char *text, size_t size, unsigned depth)
{
	size_t length = name_length(text);
	const char *value;

	if (length > size)
		length = size;
	value = value_of(reader, arena_copy_bytes(reader->arena, text, length));
	if (length == size)
		return value;
	if (size - length < 2 || text[length] != ':')
		return NULL;
	if (text[length + 1] == '-')
		return value && *value ? value : expand(reader, text + length + 2, size - length - 2, depth + 1);
	if (text[length + 1] == '+')
		return value && *value ? expand(reader, text + length + 2, size - length - 2, depth + 1) : "";
	return NULL;
}

/* Bytes up to the brace that closes one opened before `text`; `size` if there is none. */
static size_t
brace_length(const char *text, size_t size)
{
	size_t depth = 1;

	for (size_t i = 0; i < size; i++) {
		depth += text[i] == '{';
		depth -= text[i] == '}';
		if (depth == 0)
			return i;
	}
	return size;
}

/* Replace $NAME and ${NAME...}; quotes vanish. NULL if something in it is not known here. */
static const char *
expand(const struct reader *reader, const char *text, size_t size, unsigned depth)
{
	struct buf out finally(buf_finish) = { 0 };

	buf_init(&out, LINE_LIMIT);
	if (depth > 8)
		return NULL;
	for (size_t i = 0; i < size;) {
		const char *value;
		size_t length;

		if (text[i] == '"' || text[i] == '\'') {
			i++;
			continue;
		}
		if (text[i] != '$') {
			buf_char(&out, text[i++]);
			continue;
		}
		i++;
		if (i < size && text[i] == '{') {
			length = brace_length(text + i + 1, size - i - 1);
			value = expand_braced(reader, text + i + 1, length, depth);
			i += length + 2;
		} else {
			length = name_length(text + i);
			if (length > size - i)
				length = size - i;
			value = value_of(reader, arena_copy_bytes(reader->arena, text + i, length));
			i += length;
		}
		if (!value)
			return NULL;
		buf_text(&out, value);
	}
	return arena_copy(reader->arena, out.data);
}

/* The next word of an instruction; NULL at its end. */
static const char *
next_word(struct reader *reader, const char **text)
{
	const char *from = skip_blanks(*text);
	size_t length = strcspn(from, " \t");

	*text = from + length;
	return length > 0 ? arena_copy_bytes(reader->arena, from, length) : NULL;
}

static void
read_arg(struct reader *reader, const char *text)
{
	const char *word;

	if (reader->stages.count > 0)
		return;
	while ((word = next_word(reader, &text))) {
		const char *equals = strchr(word, '=');
		const char *name = equals ? arena_copy_bytes(reader->arena, word, (size_t)(equals - word)) : word;
		const char *value = pairs_get(reader->args, name);

		if (!value && equals)
			value = expand(reader, equals + 1, strlen(equals + 1), 0);
		if (value)
			pairs_set(&reader->known, reader->arena, name, value);
	}
}

static bool
is_stage(const struct reader *reader, const char *name)
{
	int64_t number;

	for (size_t i = 0; i < reader->stages.count; i++)
		if (strcasecmp(reader->stages.items[i], name) == 0)
			return true;
	return units_int(name, &number) && number >= 0 && (uint64_t)number < reader->stages.count;
}

static void
add_base(struct reader *reader, const char *name)
{
	if (name && *name && strcmp(name, "scratch") != 0 && !is_stage(reader, name) && !strings_has(&reader->file->bases, name))
		strings_add(&reader->file->bases, reader->arena, name);
}

static void
read_from(struct reader *reader, const char *text)
{
	const char *word = next_word(reader, &text);
	const char *as, *stage;

	while (word && strncmp(word, "--", 2) == 0)
		word = next_word(reader, &text);
	if (word)
		add_base(reader, expand(reader, word, strlen(word), 0));
	as = next_word(reader, &text);
	stage = as && strcasecmp(as, "AS") == 0 ? next_word(reader, &text) : NULL;
	strings_add(&reader->stages, reader->arena, stage ? stage : "");
}

/* Options in front: the images they name, and whether the classic builder knows them. */
static void
read_options(struct reader *reader, const char *text)
{
	const char *word;

	while ((word = next_word(reader, &text)) && strncmp(word, "--", 2) == 0) {
		if (strncmp(word, "--from=", 7) == 0)
			add_base(reader, strchr(word, '$') ? NULL : word + 7);
		if (strncmp(word, "--mount=", 8) == 0 || strncmp(word, "--network=", 10) == 0 || strncmp(word, "--security=", 11) == 0 ||
			strcmp(word, "--link") == 0 || strncmp(word, "--chmod=", 8) == 0)
			reader->file->wants_buildkit = true;
	}
}

/* The body of one heredoc; `word` ends it. */
static void
skip_heredoc(struct reader *reader, const char *word)
{
	size_t length = strlen(word);
	const char *line;
	size_t size;

	reader->file->wants_buildkit = true;
	while (next_line(reader, &line, &size)) {
		while (size > 0 && *line == '\t') {
			line++;
			size--;
		}
		if (size == length && memcmp(line, word, length) == 0)
			return;
	}
}

/* Pass over the bodies of heredocs: `RUN <<EOF`, `COPY <<-"A" <<B /to`. Only a word of its own begins one: `$((1<<3))` does not. */
static void
skip_heredocs(struct reader *reader, const char *text)
{
	const char *word;

	while ((word = next_word(reader, &text))) {
		size_t length;

		word += strspn(word, "0123456789");
		if (strncmp(word, "<<", 2) != 0)
			continue;
		word += 2;
		word += *word == '-';
		word += *word == '"' || *word == '\'';
		length = name_length(word);
		if (length > 0 && strspn(word + length, "\"'") == strlen(word + length))
			skip_heredoc(reader, arena_copy_bytes(reader->arena, word, length));
	}
}

static void
read_instruction(struct reader *reader, const char *text)
{
	const char *keyword = next_word(reader, &text);

	if (!keyword)
		return;
	reader->file->steps++;
	if (strcasecmp(keyword, "ARG") == 0) {
		read_arg(reader, text);
	} else if (strcasecmp(keyword, "FROM") == 0) {
		read_from(reader, text);
	} else if (strcasecmp(keyword, "COPY") == 0 || strcasecmp(keyword, "ADD") == 0 || strcasecmp(keyword, "RUN") == 0) {
		read_options(reader, text);
		skip_heredocs(reader, text);
	}
}

/* Whether the stage begun last is the wanted one. */
static bool
is_target(const struct reader *reader, const char *target)
{
	size_t count = reader->stages.count;
	int64_t number;

	if (count == 0)
		return false;
	return strcasecmp(reader->stages.items[count - 1], target) == 0 || (units_int(target, &number) && number == (int64_t)count - 1);
}

static bool
no_target(const struct reader *reader, const char *target, struct error *err)
{
	struct buf names finally(buf_finish) = { 0 };

	buf_init(&names, 256);
	for (size_t i = 0; i < reader->stages.count; i++)
		if (*reader->stages.items[i])
			buf_printf(&names, "%s`%s`", names.size ? ", " : "", reader->stages.items[i]);
	return fail(err, FAULT_BAD_VALUE, "the Dockerfile has no stage `%s`; its stages: %s", target, names.size ? names.data : "none has a name");
}

bool
dockerfile_read(const char *text, size_t size, const struct pairs *args, const char *target, struct arena *arena, struct dockerfile *file,
	struct error *err)
{
	struct dockerfile read = { 0 };
	struct reader reader = { .arena = arena, .at = text, .end = text + size, .escape = '\\', .args = args, .file = &read };
	struct buf instruction finally(buf_finish) = { 0 };
	bool reached = false;

	buf_init(&instruction, LINE_LIMIT);
	if (size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
		reader.at += 3;
	read_directives(&reader);
	while (next_instruction(&reader, &instruction)) {
		bool begins = strncasecmp(skip_blanks(instruction.data), "FROM", 4) == 0;

		if (target && begins && reached)
			break;
		read_instruction(&reader, instruction.data);
		if (target && begins)
			reached = is_target(&reader, target);
	}
	if (reader.stages.count == 0)
		return fail(err, FAULT_BAD_VALUE, "the Dockerfile has no FROM");
	if (target && !reached)
		return no_target(&reader, target, err);
	*file = read;
	return true;
}
