#include "glob.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "arena.h"
#include "cleanup.h"

/* Deeper than this only a loop of mounts goes. */
#define DEEPEST 64

/* Bytes of the character at `text`; one that is no UTF-8 stands for itself. */
static size_t
character(const char *text)
{
	size_t length = text_utf8(text, strnlen(text, 4));

	return length ? length : 1;
}

/* UTF-8 keeps the order of code points, so that bytes can be compared. */
static int
compare(const char *a, size_t a_length, const char *b, size_t b_length)
{
	size_t shorter = a_length < b_length ? a_length : b_length;
	int order = memcmp(a, b, shorter);

	return order ? order : (a_length > b_length) - (a_length < b_length);
}

/* The character at `text` against the set at `pattern`. The end of the set, or NULL if it is never closed: then it is an ordinary `[`. */
static const char *
match_set(const char *pattern, const char *text, bool *found)
{
	bool negated = pattern[1] == '!';
	const char *at = pattern + (negated ? 2 : 1);
	const char *first = at;
	size_t length = character(text);
	bool inside = false;

	while (*at && (*at != ']' || at == first)) {
		const char *low = at;
		const char *high = at;

		at += character(at);
		if (*at == '-' && at[1] && at[1] != ']') {
			high = at + 1;
			at = high + character(high);
		}
		inside = inside || (compare(text, length, low, character(low)) >= 0 &&
					   compare(text, length, high, character(high)) <= 0);
	}
	*found = inside != negated;
	return *at ? at + 1 : NULL;
}

/* One character of the text against a pattern that does not begin with `*`; where the pattern goes on, or NULL. */
static const char *
match_one(const char *pattern, const char *text)
{
	const char *end;
	bool found;

	if (*pattern == '?')
		return pattern + 1;
	if (*pattern == '[') {
		end = match_set(pattern, text, &found);
		if (end)
			return found ? end : NULL;
	}
	return strncmp(pattern, text, character(text)) == 0 ? pattern + character(text) : NULL;
}

/* Here `*` matches all characters. Only the last `*` is ever tried again: the time is at most the product of the lengths. */
static bool
match(const char *pattern, const char *text)
{
	const char *star = NULL;
	const char *retry = NULL;

	while (*text) {
		const char *next;

		if (*pattern == '*') {
			star = ++pattern;
			retry = text;
			continue;
		}
		next = match_one(pattern, text);
		if (next) {
			pattern = next;
			text += character(text);
		} else if (star) {
			retry += character(retry);
			pattern = star;
			text = retry;
		} else {
			return false;
		}
	}
	return pattern[strspn(pattern, "*")] == '\0';
}

bool
glob_match_hub(const char *pattern, const char *path)
{
	struct arena arena finally(arena_finish) = { 0 };

	if (text_ends(pattern, "/"))
		pattern = arena_printf(&arena, "%s*", pattern);
	return match(pattern, path);
}

bool
glob_match_name(const char *pattern, const char *name)
{
	return match(pattern, name);
}

bool
glob_is_pattern(const char *text)
{
	return strpbrk(text, "*?[") != NULL;
}

/* What one expansion carries down into the directories. */
struct search {
	struct arena *arena;
	struct strings *paths;
	struct strings parts; /* the components of the pattern */
	bool directories;     /* the pattern ended with a slash */
};

static bool search_from(struct search *search, const char *directory, size_t part, unsigned depth, struct error *err);

static const char *
below(struct arena *arena, const char *directory, const char *name)
{
	size_t length = strlen(directory);

	return arena_printf(arena, "%s%s%s", directory, length == 0 || directory[length - 1] == '/' ? "" : "/", name);
}

static bool
is_directory(const char *path, bool follow)
{
	struct stat st;

	return fstatat(AT_FDCWD, path, &st, follow ? 0 : AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

/* All of the directory at once, so that no descriptor stays open on the way down. What is not there, or no directory, holds nothing. */
static bool
list(struct arena *arena, const char *directory, struct strings *names, struct error *err)
{
	DIR *dir finally(close_dir) = opendir(*directory ? directory : ".");
	const struct dirent *entry;

	if (!dir && (errno == ENOENT || errno == ENOTDIR))
		return true;
	if (!dir)
		return fail_errno(err, "open the directory `%s`", *directory ? directory : ".");
	while (errno = 0, (entry = readdir(dir)) != NULL)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			strings_add(names, arena, arena_copy(arena, entry->d_name));
	if (errno)
		return fail_errno(err, "read the directory `%s`", *directory ? directory : ".");
	return true;
}

/* `path` fits the pattern up to and with the component before `part`. */
static bool
go_on(struct search *search, const char *path, size_t part, unsigned depth, struct error *err)
{
	struct stat st;

	if (part < search->parts.count)
		return search_from(search, path, part, depth, err);
	if (search->directories ? is_directory(path, true) : fstatat(AT_FDCWD, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
		strings_add(search->paths, search->arena, path);
	return true;
}

/* `**`: nothing, or any number of directories. At the end of the pattern: every file below. */
static bool
search_all(struct search *search, const char *directory, size_t part, unsigned depth, struct error *err)
{
	bool last = part + 1 == search->parts.count;
	struct strings names = { 0 };

	if (depth > DEEPEST)
		return fail(err, FAULT_TOO_LARGE, "`%s` lies deeper than %d directories", directory, DEEPEST);
	if (!last && !search_from(search, directory, part + 1, depth, err))
		return false;
	if (!list(search->arena, directory, &names, err))
		return false;
	for (size_t i = 0; i < names.count; i++) {
		const char *path = below(search->arena, directory, names.items[i]);
		bool enter = is_directory(path, false);

		if (names.items[i][0] == '.')
			continue;
		if (last && enter == search->directories)
			strings_add(search->paths, search->arena, path);
		if (enter && !search_all(search, path, part, depth + 1, err))
			return false;
	}
	return true;
}

static bool
search_from(struct search *search, const char *directory, size_t part, unsigned depth, struct error *err)
{
	const char *pattern = search->parts.items[part];
	struct strings names = { 0 };

	if (strcmp(pattern, "**") == 0)
		return search_all(search, directory, part, depth, err);
	if (!glob_is_pattern(pattern))
		return go_on(search, below(search->arena, directory, pattern), part + 1, depth, err);
	if (!list(search->arena, directory, &names, err))
		return false;
	for (size_t i = 0; i < names.count; i++) {
		const char *name = names.items[i];

		if ((*name != '.' || *pattern == '.') && match(pattern, name) &&
			!go_on(search, below(search->arena, directory, name), part + 1, depth, err))
			return false;
	}
	return true;
}

static int
compare_texts(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Several `**` can lead to one path by several ways. */
static void
sort_new(struct strings *paths, size_t from)
{
	size_t kept = from;

	if (paths->count > from)
		qsort(paths->items + from, paths->count - from, sizeof *paths->items, compare_texts);
	for (size_t i = from; i < paths->count; i++)
		if (i == from || strcmp(paths->items[i], paths->items[kept - 1]) != 0)
			paths->items[kept++] = paths->items[i];
	paths->count = kept;
}

bool
glob_expand(const char *pattern, struct arena *arena, struct strings *paths, struct error *err)
{
	struct search search = { .arena = arena, .paths = paths, .directories = text_ends(pattern, "/") };
	size_t before = paths->count;

	if (!glob_is_pattern(pattern)) {
		strings_add(paths, arena, arena_copy(arena, pattern));
		return true;
	}
	for (const char *at = pattern + strspn(pattern, "/"); *at; at += strspn(at, "/")) {
		size_t length = strcspn(at, "/");
		const char *part = arena_copy_bytes(arena, at, length);

		/* `**` twice in a row says no more than once. */
		if (search.parts.count == 0 || strcmp(part, "**") != 0 ||
			strcmp(search.parts.items[search.parts.count - 1], "**") != 0)
			strings_add(&search.parts, arena, part);
		at += length;
	}
	if (!search_from(&search, *pattern == '/' ? "/" : "", 0, 0, err)) {
		paths->count = before;
		return false;
	}
	sort_new(paths, before);
	return true;
}
