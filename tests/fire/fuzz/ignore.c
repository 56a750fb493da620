/* .dockerignore against a slow matcher that follows moby's words one by one.
 *
 * Input: the ignore file, and a path, separated by 0x1e. */
#include "rules/ignore.h"

#include <string.h>

#include "engine/base/strings.h"
#include "fuzz.h"

#define LONGEST 200

/* One pattern against one path, by trying everything; what was tried before is remembered. */
struct trial {
	const char *pattern, *path;
	bool first_stars; /* `**name`: a test of the ending */
	signed char seen[LONGEST + 1][LONGEST + 1]; /* 0: not tried, 1: matches, -1: does not */
};

static size_t
step_of(const char *text)
{
	size_t step = text_utf8(text, strnlen(text, 4));

	return step ? step : 1;
}

static int
order(const char *a, const char *b)
{
	size_t a_size = step_of(a), b_size = step_of(b);

	if (a_size != b_size)
		return a_size < b_size ? -1 : 1;
	return memcmp(a, b, a_size);
}

/* From behind `[`; where the class ends, or NULL if it does not. `text` NULL: only find the end. */
static const char *
in_class(const char *at, const char *text, bool *in)
{
	bool negated = *at == '^', first = true;

	*in = false;
	at += negated;
	for (; first || *at != ']'; first = false) {
		const char *low, *high;

		if (*at == '-' || *at == ']')
			return NULL;
		at += *at == '\\';
		if (!*at)
			return NULL;
		low = high = at;
		at += step_of(at);
		if (*at == '-') {
			at++;
			if (*at == '-' || *at == ']')
				return NULL;
			at += *at == '\\';
			if (!*at)
				return NULL;
			high = at;
			at += step_of(at);
		}
		*in |= text && order(low, text) <= 0 && order(text, high) <= 0;
	}
	*in ^= negated;
	return at + 1;
}

static bool try(struct trial *trial, const char *pattern, const char *path);

static bool
try_stars(struct trial *trial, const char *pattern, const char *path)
{
	bool leading = pattern == trial->pattern && trial->first_stars;
	const char *behind = pattern + 2 + (pattern[2] == '/' && !leading);

	if (try(trial, behind, path))
		return true;
	for (; *path; path += step_of(path))
		if ((leading || !*behind || *path == '/') && try(trial, behind, path + step_of(path)))
			return true;
	return false;
}

static bool
try_anew(struct trial *trial, const char *pattern, const char *path)
{
	const char *end;
	bool in;

	if (!*pattern)
		return !*path;
	if (pattern[0] == '*' && pattern[1] == '*')
		return try_stars(trial, pattern, path);
	if (*pattern == '*')
		return try(trial, pattern + 1, path) || (*path && *path != '/' && try(trial, pattern, path + step_of(path)));
	if (!*path)
		return false;
	if (*pattern == '?')
		return *path != '/' && try(trial, pattern + 1, path + step_of(path));
	if (*pattern == '[') {
		end = in_class(pattern + 1, path, &in);
		return end && in && try(trial, end, path + step_of(path));
	}
	pattern += *pattern == '\\';
	return order(pattern, path) == 0 && try(trial, pattern + step_of(pattern), path + step_of(path));
}

static bool
try(struct trial *trial, const char *pattern, const char *path)
{
	signed char *seen = &trial->seen[pattern - trial->pattern][path - trial->path];

	if (!*seen)
		*seen = try_anew(trial, pattern, path) ? 1 : -1;
	return *seen > 0;
}

static bool
is_valid(const char *pattern)
{
	bool in;

	while (*pattern) {
		if (*pattern == '[') {
			pattern = in_class(pattern + 1, NULL, &in);
			if (!pattern)
				return false;
			continue;
		}
		if (*pattern == '\\' && !*++pattern)
			return false;
		pattern += step_of(pattern);
	}
	return true;
}

/* Go's filepath.Clean by components, without the slash in front. */
static const char *
clean(struct arena *arena, const char *text)
{
	struct strings parts = { 0 };
	const char *out = "";
	bool rooted = *text == '/';

	while (*text) {
		size_t length = strcspn(text, "/");
		const char *part = arena_copy_bytes(arena, text, length);

		text += length + (text[length] == '/');
		if (!*part || strcmp(part, ".") == 0)
			continue;
		if (strcmp(part, "..") != 0)
			strings_add(&parts, arena, part);
		else if (parts.count && strcmp(parts.items[parts.count - 1], "..") != 0)
			parts.count--;
		else if (!rooted)
			strings_add(&parts, arena, part);
	}
	for (size_t i = 0; i < parts.count; i++)
		out = arena_printf(arena, "%s%s%s", out, i ? "/" : "", parts.items[i]);
	return out;
}

static const char *
trim(struct arena *arena, const char *text)
{
	static const char spaces[] = " \t\n\v\f\r";
	size_t length;

	text += strspn(text, spaces);
	for (length = strlen(text); length && strchr(spaces, text[length - 1]);)
		length--;
	return arena_copy_bytes(arena, text, length);
}

struct line {
	const char *pattern;
	bool brings_back;
};

/* False: the file is refused. */
static bool
read_lines(const char *text, struct arena *arena, struct line *lines, size_t *count)
{
	*count = 0;
	if (strncmp(text, "\xef\xbb\xbf", 3) == 0)
		text += 3;
	while (*text) {
		size_t length = strcspn(text, "\n");
		const char *line = arena_copy_bytes(arena, text, length);
		bool brings_back;

		text += length + (text[length] == '\n');
		if (*line == '#' || !*(line = trim(arena, line)))
			continue;
		brings_back = *line == '!';
		if (brings_back && !*(line = trim(arena, line + 1)))
			return false;
		line = clean(arena, line);
		if (!*line)
			continue;
		if (!is_valid(line))
			return false;
		lines[(*count)++] = (struct line){ line, brings_back };
	}
	return true;
}

static bool
matches(const char *pattern, const char *path, struct arena *arena)
{
	struct trial *trial = arena_alloc(arena, sizeof *trial);
	const char *behind = pattern + 2;

	trial->pattern = pattern;
	trial->path = path;
	trial->first_stars = strncmp(pattern, "**", 2) == 0 && *behind && *behind != '/' && !strpbrk(behind, "*?[]\\");
	return try(trial, pattern, path);
}

/* A pattern holds for a path when it matches the path or a directory above it; the last one that holds decides. */
static bool
is_ignored(const struct line *lines, size_t count, const char *path, struct arena *arena)
{
	bool ignored = false;

	for (size_t i = 0; i < count; i++) {
		bool holds = false;

		for (const char *end = path; *end && !holds; end += *end == '/') {
			end += strcspn(end, "/");
			holds = matches(lines[i].pattern, arena_copy_bytes(arena, path, (size_t)(end - path)), arena);
		}
		if (holds)
			ignored = !lines[i].brings_back;
	}
	return ignored;
}

static bool
is_plain_path(const char *path)
{
	if (!*path || *path == '/')
		return false;
	for (const char *at = path; *at; at++)
		if (*at == '/' && (at[1] == '/' || !at[1]))
			return false;
	return true;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena arena finally(arena_finish) = { 0 };
	struct line lines[LONGEST];
	struct ignore ignore = { 0 };
	struct feed feed = { data, size };
	struct error err = { 0 };
	const char *text, *path;
	size_t length, count;
	bool valid;

	if (size > LONGEST)
		return 0;
	text = feed_text(&feed, &arena, &length);
	path = feed_text(&feed, &arena, NULL);
	if (!ignore_parse(text, length, &arena, &ignore, &err) && strlen(text) < length)
		return 0;
	if (strlen(text) < length || !is_plain_path(path))
		return 0;
	valid = read_lines(text, &arena, lines, &count);
	promise(valid == (err.fault == FAULT_NONE));
	if (!valid)
		return 0;
	promise(ignore_matches(&ignore, path) == is_ignored(lines, count, path, &arena));
	/* What is brought back can be reached. */
	for (const char *end = strchr(path, '/'); end && !ignore_matches(&ignore, path); end = strchr(end + 1, '/')) {
		const char *directory = arena_copy_bytes(&arena, path, (size_t)(end - path));

		promise(!ignore_matches(&ignore, directory) || ignore_enters(&ignore, directory));
	}
	return 0;
}
