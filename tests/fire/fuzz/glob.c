/* Patterns against names by trying everything, and against a small tree by looking at all of it.
 *
 * Input: a pattern and a text, separated by 0x1e. */
#include "engine/base/glob.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"

#define LONGEST 80

static size_t
step_of(const char *text)
{
	size_t step = text_utf8(text, strnlen(text, 4));

	return step ? step : 1;
}

/* By bytes: UTF-8 keeps the order of code points. */
static int
order(const char *a, const char *b)
{
	size_t a_size = step_of(a), b_size = step_of(b), shorter = a_size < b_size ? a_size : b_size;
	int first = memcmp(a, b, shorter);

	return first ? first : (a_size > b_size) - (a_size < b_size);
}

/* From behind `[` to behind its `]`, or NULL if there is none. */
static const char *
in_set(const char *at, const char *text, bool *in)
{
	bool negated = *at == '!', first = true;

	*in = false;
	for (at += negated; *at && (first || *at != ']'); first = false) {
		const char *low = at, *high = at;

		at += step_of(at);
		if (at[0] == '-' && at[1] && at[1] != ']') {
			high = at + 1;
			at = high + step_of(high);
		}
		*in |= order(low, text) <= 0 && order(text, high) <= 0;
	}
	*in ^= negated;
	return *at ? at + 1 : NULL;
}

struct trial {
	const char *pattern, *text;
	signed char seen[LONGEST + 2][LONGEST + 1]; /* 0: not tried, 1: matches, -1: does not */
};

static bool try(struct trial *trial, const char *pattern, const char *text);

static bool
try_anew(struct trial *trial, const char *pattern, const char *text)
{
	const char *end = NULL;
	bool in;

	if (!*pattern)
		return !*text;
	if (*pattern == '*')
		return try(trial, pattern + 1, text) || (*text && try(trial, pattern, text + step_of(text)));
	if (!*text)
		return false;
	if (*pattern == '?')
		return try(trial, pattern + 1, text + step_of(text));
	if (*pattern == '[')
		end = in_set(pattern + 1, text, &in);
	if (end)
		return in && try(trial, end, text + step_of(text));
	return strncmp(pattern, text, step_of(text)) == 0 && try(trial, pattern + step_of(text), text + step_of(text));
}

static bool
try(struct trial *trial, const char *pattern, const char *text)
{
	signed char *seen = &trial->seen[pattern - trial->pattern][text - trial->text];

	if (!*seen)
		*seen = try_anew(trial, pattern, text) ? 1 : -1;
	return *seen > 0;
}

static bool
matches(const char *pattern, const char *text)
{
	struct trial trial = { .pattern = pattern, .text = text };

	return try(&trial, pattern, text);
}

/* The tree: a trailing slash makes a directory, `->` a symlink. */
static const char *const tree[] = { "a/", "a/b/", "a/b/c.txt", "a/b/d", "a/.hidden", "a/.dark/", "a/.dark/x", "ab", "b/", "b/a/", "b/a/b", "[x]", "a-b", "link->a",
	"b/dangling->nowhere", "z\xc3\xa4", "." };

static void
make_tree(struct arena *arena)
{
	struct stat st;

	if (fstatat(scratch_fd(), "a", &st, 0) == 0)
		return;
	for (size_t i = 0; i + 1 < sizeof tree / sizeof *tree; i++) {
		const char *arrow = strstr(tree[i], "->");

		if (arrow)
			promise(symlinkat(arrow + 2, scratch_fd(), arena_copy_bytes(arena, tree[i], (size_t)(arrow - tree[i]))) == 0);
		else if (text_ends(tree[i], "/"))
			promise(mkdirat(scratch_fd(), tree[i], 0700) == 0);
		else
			scratch_write(tree[i], "", 0);
	}
}

/* Whether a path (its components from `path` on) is what the pattern's components mean. */
static bool
path_fits(const struct strings *parts, size_t part, const struct strings *path, size_t at)
{
	const char *pattern = part < parts->count ? parts->items[part] : NULL;
	const char *name = at < path->count ? path->items[at] : NULL;

	if (!pattern)
		return !name;
	if (strcmp(pattern, "**") == 0) {
		if (part + 1 < parts->count && path_fits(parts, part + 1, path, at))
			return true;
		if (name && part + 1 == parts->count && at + 1 == path->count)
			return *name != '.';
		return name && *name != '.' && at + 1 < path->count && path_fits(parts, part, path, at + 1);
	}
	if (!name)
		return false;
	if (!glob_is_pattern(pattern))
		return strcmp(pattern, name) == 0 && path_fits(parts, part + 1, path, at + 1);
	return (*name != '.' || *pattern == '.') && matches(pattern, name) && path_fits(parts, part + 1, path, at + 1);
}

static void
split(const char *text, struct arena *arena, struct strings *parts)
{
	for (text += strspn(text, "/"); *text; text += strspn(text, "/")) {
		size_t length = strcspn(text, "/");

		strings_add(parts, arena, arena_copy_bytes(arena, text, length));
		text += length;
	}
}

/* Without links on the way, which are another question: they are entered by a name, and not by `**`. */
static void
check_tree(const char *pattern, struct arena *arena)
{
	struct strings found = { 0 }, parts = { 0 };
	const char *whole = arena_printf(arena, "%s/%s", scratch_path(), pattern);
	bool directories = text_ends(pattern, "/");
	struct error err = { 0 };

	split(pattern, arena, &parts);
	if (strings_has(&parts, ".") || strings_has(&parts, "..") || parts.count == 0 || !glob_is_pattern(pattern))
		return;
	promise(glob_expand(whole, arena, &found, &err));
	for (size_t i = 0; i + 1 < found.count; i++)
		promise(strcmp(found.items[i], found.items[i + 1]) < 0);
	for (size_t i = 0; i + 1 < sizeof tree / sizeof *tree; i++) {
		bool is_directory = text_ends(tree[i], "/"), is_link = strstr(tree[i], "->") != NULL;
		const char *name = arena_copy_bytes(arena, tree[i], is_link ? strcspn(tree[i], "-") : strlen(tree[i]) - is_directory);
		bool ends_deep = strcmp(parts.items[parts.count - 1], "**") == 0;
		struct strings path = { 0 };

		if (is_link)
			continue;
		split(name, arena, &path);
		promise(strings_has(&found, arena_printf(arena, "%s/%s", scratch_path(), name)) ==
			(path_fits(&parts, 0, &path, 0) && (directories || ends_deep ? is_directory == directories : true)));
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena arena finally(arena_finish) = { 0 };
	struct feed feed = { data, size };
	const char *pattern, *text;

	if (size > LONGEST || (size && memchr(data, '\0', size)))
		return 0;
	pattern = feed_text(&feed, &arena, NULL);
	text = feed_text(&feed, &arena, NULL);
	promise(glob_match_name(pattern, text) == matches(pattern, text));
	promise(glob_match_hub(pattern, text) == matches(text_ends(pattern, "/") ? arena_join(&arena, pattern, "*") : pattern, text));
	make_tree(&arena);
	check_tree(pattern, &arena);
	return 0;
}
