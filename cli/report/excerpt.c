#include "excerpt.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "engine/base/buf.h"
#include "engine/base/cleanup.h"
#include "engine/base/secret.h"
#include "engine/manifest.h"
#include "width.h"

#define TAB 4
#define LONGEST 200 /* code points of a line that is shown whole */
#define BEFORE 60   /* code points kept before the caret of a longer one */
#define MASK "********"
#define MASKS_MOST 8

struct mask {
	size_t from, to; /* bytes of the line */
};

struct masks {
	struct mask items[MASKS_MOST];
	size_t count;
};

bool
excerpt_find(struct excerpt *excerpt, const struct source *source, uint32_t line)
{
	const char *at = source->text;
	const char *end = source->text + source->size;
	const char *stop;

	if (line == 0)
		return false;
	for (; line > 1; line--) {
		at = memchr(at, '\n', (size_t)(end - at));
		if (!at)
			return false;
		at++;
	}
	stop = memchr(at, '\n', (size_t)(end - at));
	*excerpt = (struct excerpt){
		.line = at, .size = (size_t)((stop ? stop : end) - at), .offset = (size_t)(at - source->text)
	};
	if (excerpt->size > 0 && excerpt->line[excerpt->size - 1] == '\r')
		excerpt->size--;
	return true;
}

static void
add_mask(struct masks *masks, size_t from, size_t to)
{
	if (masks->count < MASKS_MOST && to > from)
		masks->items[masks->count++] = (struct mask){ from, to };
}

static bool
is_word_end(char c)
{
	return isspace((unsigned char)c) || strchr("\"'`,;=<>[]{}()", c) != NULL;
}

/* Whether a word, followed by a colon or an equals sign, names something that is kept to oneself. */
static bool
names_a_secret(const char *word, size_t size)
{
	static const char *const endings[] = { "password", "passwd", "secret", "token", "api_key", "api-key", "apikey",
		"access_key" };

	for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
		size_t length = strlen(endings[i]);

		if (size >= length && strncasecmp(word + size - length, endings[i], length) == 0)
			return true;
	}
	return false;
}

/* The value behind such a name, unless it is a reference or the name of the place where the value is kept. */
static size_t
mask_value(struct masks *masks, const char *line, size_t size, size_t at)
{
	size_t to;

	if (at >= size || (line[at] != ':' && line[at] != '='))
		return at;
	at++;
	while (at < size && (line[at] == ' ' || line[at] == '"' || line[at] == '\''))
		at++;
	if (at < size && (line[at] == '{' || line[at] == '$' || line[at] == '#' || line[at] == '['))
		return at;
	for (to = at; to < size && !is_word_end(line[to]);)
		to++;
	add_mask(masks, at, to);
	return to;
}

static bool
word_is_secret(const char *word, size_t size)
{
	struct buf text finally(buf_finish) = { 0 };

	buf_init(&text, size);
	buf_add(&text, word, size);
	return secret_looks_like_one(text.data);
}

static void
find_masks(struct masks *masks, const char *line, size_t size)
{
	size_t at = 0;

	while (at < size) {
		size_t from = at;
		size_t name;

		while (at < size && !is_word_end(line[at]))
			at++;
		for (name = from; name < at && line[name] != ':';)
			name++;
		if (names_a_secret(line + from, name - from)) {
			at = mask_value(masks, line, size, name);
		} else if (at > from && word_is_secret(line + from, at - from)) {
			add_mask(masks, from, at);
		}
		if (at == from)
			at++;
	}
}

static const struct mask *
mask_at(const struct masks *masks, size_t byte)
{
	for (size_t i = 0; i < masks->count; i++)
		if (byte >= masks->items[i].from && byte < masks->items[i].to)
			return &masks->items[i];
	return NULL;
}

static size_t
count_points(const char *line, size_t size)
{
	size_t count = 0;
	uint32_t point;

	for (size_t at = 0; at < size; count++)
		at += width_point(line + at, size - at, &point);
	return count;
}

/* Append what stands at byte `at`; the columns that it takes when `column` are taken already. */
static size_t
show_point(const struct masks *masks, const char *line, size_t at, size_t length, uint32_t point, size_t column,
	struct buf *text)
{
	const struct mask *mask = mask_at(masks, at);

	if (mask && at > mask->from)
		return 0;
	if (mask) {
		buf_text(text, MASK);
		return sizeof MASK - 1;
	}
	if (point == '\t') {
		size_t width = TAB - column % TAB;

		buf_add(text, "    ", width);
		return width;
	}
	return width_safe(text, line + at, length, point);
}

void
excerpt_show(struct excerpt *excerpt, uint32_t column, uint32_t length, struct buf *text)
{
	size_t points = count_points(excerpt->line, excerpt->size);
	size_t first = points > LONGEST && column > BEFORE ? column - BEFORE : 1;
	size_t last = points > LONGEST ? first + LONGEST : points;
	size_t stop = (size_t)column + (length > 0 ? length : 1);
	struct masks masks = { .count = 0 };
	size_t columns = 0, end = 0, at = 0;
	uint32_t point;

	find_masks(&masks, excerpt->line, excerpt->size);
	excerpt->from = SIZE_MAX;
	if (first > 1) {
		buf_text(text, "...");
		columns = 3;
	}
	for (size_t i = 1; i <= points; i++) {
		size_t size = width_point(excerpt->line + at, excerpt->size - at, &point);

		if (i == column) {
			excerpt->from = columns;
			excerpt->byte = excerpt->offset + at;
		}
		if (i >= first && i <= last)
			columns += show_point(&masks, excerpt->line, at, size, point, columns, text);
		at += size;
		if (i >= column && i < stop) {
			end = columns;
			excerpt->byte_end = excerpt->offset + at;
		}
	}
	if (last < points)
		buf_text(text, "...");
	/* A place behind the end of its line. */
	if (excerpt->from == SIZE_MAX) {
		excerpt->from = columns;
		excerpt->byte = excerpt->byte_end = excerpt->offset + at;
	}
	excerpt->columns = end > excerpt->from ? end - excerpt->from : 1;
}
