#include "path.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "arena.h"
#include "cleanup.h"
#include "strings.h"

#define LONGEST_NAME	  1024
#define LONGEST_COMPONENT 255
#define DEEPEST		  32
#define MOST_NAMES	  100000

/* Ours, git's and the hubs' own: nothing from outside may lie there. */
static const char *const reserved[] = { ".git", ".cache", ".provision", "._____temp", ".msc", ".mdl", ".mv" };

/* One character; `why` is left at NULL if it may stand in a name. */
static size_t
check_character(const char *at, size_t left, const char **why)
{
	size_t step = text_utf8(at, left);

	if (step == 0)
		*why = "not valid UTF-8";
	else if ((unsigned char)*at < 0x20 || *at == 0x7f ||
		 (step == 2 && at[0] == '\xc2' && (unsigned char)at[1] < 0xa0))
		*why = "control character";
	else if (*at == '\\')
		*why = "backslash";
	return step;
}

static const char *
check_component(const char *at, size_t length, bool first)
{
	if (length == 0)
		return "empty component";
	if (length > LONGEST_COMPONENT)
		return "component longer than 255 bytes";
	if ((length == 1 && at[0] == '.') || (length == 2 && at[0] == '.' && at[1] == '.'))
		return "component `.` or `..`";
	/* A hook in a `.git` would be run by whoever uses git there, at any depth. */
	for (size_t i = 0; i < (first ? sizeof reserved / sizeof *reserved : 1); i++)
		if (strlen(reserved[i]) == length && strncasecmp(at, reserved[i], length) == 0)
			return "name reserved for tools";
	return NULL;
}

static const char *
check_name(const char *name)
{
	size_t length = strlen(name);
	size_t depth = 0;
	const char *why = NULL;

	if (length == 0)
		return "empty";
	if (length > LONGEST_NAME)
		return "longer than 1024 bytes";
	if (*name == '/')
		return "absolute";
	if (*name == '~')
		return "begins with `~`";
	if (name[1] == ':')
		return "begins with a drive letter";
	for (size_t at = 0; at < length && !why;)
		at += check_character(name + at, length - at, &why);
	for (const char *at = name; !why; at++) {
		size_t size = strcspn(at, "/");

		why = check_component(at, size, depth == 0);
		if (!why && ++depth > DEEPEST)
			why = "deeper than 32 directories";
		at += size;
		if (!*at)
			break;
	}
	return why;
}

bool
path_is_safe(const char *name, const char **why)
{
	const char *reason = check_name(name);

	if (reason)
		*why = reason;
	return !reason;
}

/* Case folded, `/` before everything else: then a file stands right before what lies in a directory of its name. */
static int
fold(char c)
{
	if (c == '/')
		return 1;
	return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : (unsigned char)c;
}

static int
compare_folded(const void *first, const void *second)
{
	const char *a = *(const char *const *)first;
	const char *b = *(const char *const *)second;

	while (*a && fold(*a) == fold(*b)) {
		a++;
		b++;
	}
	return fold(*a) - fold(*b);
}

static bool
check_neighbours(const char *a, const char *b, struct error *err)
{
	size_t length = strlen(a);

	if (strcmp(a, b) == 0)
		return fail(err, FAULT_HOSTILE_NAME, "`%s` is listed twice", a);
	if (strncasecmp(a, b, length) != 0 || (b[length] && b[length] != '/'))
		return true;
	if (b[length])
		return fail(err, FAULT_HOSTILE_NAME, "`%s` is a file, and the directory of `%s`", a, b);
	return fail(err, FAULT_HOSTILE_NAME, "`%s` and `%s` differ only in case", a, b);
}

static void
free_names(const char ***names)
{
	free(*names);
}

bool
path_set_is_safe(const char *const *names, size_t count, struct error *err)
{
	const char **sorted finally(free_names) = NULL;
	const char *why;

	if (count > MOST_NAMES)
		return fail(err, FAULT_PROTOCOL, "%zu files are listed, more than %d", count, MOST_NAMES);
	for (size_t i = 0; i < count; i++)
		if (!path_is_safe(names[i], &why))
			return fail(err, FAULT_HOSTILE_NAME, "the name `%s` is refused: %s", names[i], why);
	if (count < 2)
		return true;
	sorted = xmalloc(count * sizeof *sorted);
	memcpy(sorted, names, count * sizeof *sorted);
	qsort(sorted, count, sizeof *sorted, compare_folded);
	for (size_t i = 1; i < count; i++)
		if (!check_neighbours(sorted[i - 1], sorted[i], err))
			return false;
	return true;
}
