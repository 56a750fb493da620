#include "inputs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "depfile.h"
#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/glob.h"
#include "engine/base/json.h"
#include "engine/task.h"
#include "tree.h"

#define DEPFILE_LIMIT (16u << 20)

static int
compare_texts(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void
sort_once(struct strings *paths)
{
	size_t kept = 0;

	if (paths->count < 2)
		return;
	qsort(paths->items, paths->count, sizeof *paths->items, compare_texts);
	for (size_t i = 0; i < paths->count; i++)
		if (kept == 0 || strcmp(paths->items[i], paths->items[kept - 1]) != 0)
			paths->items[kept++] = paths->items[i];
	paths->count = kept;
}

bool
inputs_within(const struct strings *paths, const char *path)
{
	for (size_t i = 0; i < paths->count; i++) {
		size_t length = strlen(paths->items[i]);

		if (strncmp(path, paths->items[i], length) == 0 && (path[length] == '\0' || path[length] == '/'))
			return true;
	}
	return false;
}

const char *
inputs_fixed_part(struct arena *arena, const char *pattern)
{
	size_t length = strcspn(pattern, "*?[");

	while (length > 1 && pattern[length] != '/')
		length--;
	return arena_copy_bytes(arena, pattern, length);
}

static bool
expand(struct task *task, const char *pattern, const struct strings *own, struct strings *paths, struct error *err)
{
	struct arena *arena = task_arena(task);
	struct strings found = { 0 };
	size_t before = paths->count;

	task_looked_elsewhere(task);
	if (!glob_expand(pattern, arena, &found, err))
		return false;
	for (size_t i = 0; i < found.count; i++)
		if (!inputs_within(own, found.items[i]))
			strings_add(paths, arena, found.items[i]);
	if (paths->count > before || task_is_made_later(task, inputs_fixed_part(arena, pattern)))
		return true;
	fail_at(err, task_place(task, "inputs"), FAULT_NO_MATCH, "no file matches `%s`", path_shown(arena, task_root(task), pattern));
	return error_hint(err, "if another target makes these files, name it in `needs`");
}

/* One path alone, the common case, costs nothing. */
static bool
list(struct task *task, const struct strings *given, const struct strings *own, struct strings *paths, struct error *err)
{
	if (given->count == 1 && !glob_is_pattern(given->items[0])) {
		*paths = *given;
		return true;
	}
	for (size_t i = 0; i < given->count; i++) {
		if (!glob_is_pattern(given->items[i]))
			strings_add(paths, task_arena(task), given->items[i]);
		else if (!expand(task, given->items[i], own, paths, err))
			return false;
	}
	sort_once(paths);
	return true;
}

static bool
is_directory(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static bool
read_input(struct task *task, const char *path, struct input *input, struct error *err)
{
	struct arena *arena = task_arena(task);
	const char *shown = path_shown(arena, task_root(task), path);

	*input = (struct input){ .path = path };
	if (task_digest(task, path, &input->digest, &input->key, err)) {
		input->name = arena_join(arena, "file:", shown);
		return true;
	}
	if (err->fault == FAULT_NOT_FOUND) {
		fail_at(err, task_place(task, "inputs"), FAULT_NOT_FOUND, "input `%s` does not exist, and no target makes it", shown);
		return error_hint(err, "if a target makes it, name that target in `needs`");
	}
	if (!is_directory(path))
		return false;
	input->tree = true;
	input->key = (struct stat_key){ 0 };
	input->name = arena_join(arena, "tree:", shown);
	return tree_digest(task, path, &input->digest, NULL, err);
}

/* What will be made anew is as it was, as far as a plan can tell: not it has changed, but what it is made from. False if it
 * was no input then. */
static bool
read_later(struct task *task, const char *path, const struct record **before, struct input *input)
{
	struct arena *arena = task_arena(task);
	const struct record *record = task_record(task);
	const struct ingredient *ingredient;
	struct record *whole;

	if (!record)
		return false;
	if (!*before) {
		whole = arena_alloc(arena, sizeof *whole);
		*whole = *record;
		if (!record_unpack_why(whole, record->body, record->body_size, arena))
			return false;
		*before = whole;
	}
	*input = (struct input){ .path = path };
	input->name = arena_join(arena, "file:", path_shown(arena, task_root(task), path));
	ingredient = ingredients_find(&(*before)->ingredients, input->name);
	if (!ingredient) {
		input->tree = true;
		input->name = arena_join(arena, "tree:", path_shown(arena, task_root(task), path));
		ingredient = ingredients_find(&(*before)->ingredients, input->name);
	}
	return ingredient && digest_parse(ingredient->value, &input->digest);
}

bool
inputs_read(struct task *task, const struct strings *given, const struct strings *own, struct inputs *inputs, struct error *err)
{
	struct inputs seen = { 0 };
	struct strings paths = { 0 };
	const struct record *before = NULL;

	if (!list(task, given, own, &paths, err))
		return false;
	seen.items = arena_array(task_arena(task), paths.count, sizeof *seen.items);
	for (size_t i = 0; i < paths.count; i++) {
		if (task_is_made_later(task, paths.items[i])) {
			seen.count += read_later(task, paths.items[i], &before, &seen.items[seen.count]);
			continue;
		}
		if (!read_input(task, paths.items[i], &seen.items[seen.count], err))
			return false;
		seen.count++;
	}
	*inputs = seen;
	return true;
}

static bool
fail_changed(const char *path, struct error *err)
{
	fail(err, FAULT_INPUT_CHANGED, "`%s` changed while it was being used", path);
	return error_hint(err, "nothing was recorded: apply again once it holds still");
}

bool
inputs_unchanged(const struct inputs *before, const struct inputs *after, struct error *err)
{
	size_t both = before->count < after->count ? before->count : after->count;

	for (size_t i = 0; i < both; i++) {
		const struct input *old = &before->items[i], *new = &after->items[i];
		int order = strcmp(old->path, new->path);

		/* The one that the other list lacks comes first. */
		if (order != 0)
			return fail_changed(order < 0 ? old->path : new->path, err);
		if (!digest_equal(&old->digest, &new->digest) || !stat_key_equal(&old->key, &new->key))
			return fail_changed(old->path, err);
	}
	return before->count == after->count || fail_changed((before->count > both ? before : after)->items[both].path, err);
}

static int
compare_name(const void *name, const void *ingredient)
{
	return strcmp(name, ((const struct ingredient *)ingredient)->name);
}

bool
inputs_as_fingerprinted(struct task *task, const struct inputs *inputs, struct error *err)
{
	const struct ingredients *known = task_ingredients(task);

	for (size_t i = 0; i < inputs->count; i++) {
		const struct ingredient *ingredient = known->count == 0
			? NULL
			: bsearch(inputs->items[i].name, known->items, known->count, sizeof *known->items, compare_name);
		struct digest digest;

		if (!ingredient || !digest_parse(ingredient->value, &digest) || !digest_equal(&digest, &inputs->items[i].digest))
			return fail_changed(inputs->items[i].path, err);
	}
	return true;
}

static bool
is_input(const struct inputs *inputs, const char *path)
{
	for (size_t i = 0; i < inputs->count; i++)
		if (strcmp(inputs->items[i].path, path) == 0)
			return true;
	return false;
}

/* A file that was written after the command began may have been read before that. */
static bool
read_discovered(struct task *task, const char *path, int64_t started_ns, json_t *files, struct error *err)
{
	struct digest digest;
	struct stat_key key;
	char hex[DIGEST_HEX];

	if (!task_digest(task, path, &digest, &key, err))
		return error_wrap(err, "a file that the depfile names");
	if (key.mtime_ns > started_ns || key.ctime_ns > started_ns) {
		fail_changed(path, err);
		return error_hint(err, "if the command makes it, name it in `outputs`; else apply again once it holds still");
	}
	digest_hex(&digest, hex);
	if (json_object_set_new(files, path, json_string(hex)) < 0)
		return fail(err, FAULT_PROTOCOL, "the depfile names `%s`, which is not UTF-8", path);
	return true;
}

bool
inputs_discover(struct task *task, const char *depfile, const struct inputs *inputs, const struct strings *own, const struct strings *visible,
	int64_t started_ns, const char **note, struct error *err)
{
	struct arena *arena = task_arena(task);
	json_t *files finally(json_release) = json_object();
	struct strings paths = { 0 };
	const char *text;
	size_t size;

	if (!file_load(depfile, DEPFILE_LIMIT, arena, &text, &size, err)) {
		if (err->fault != FAULT_NOT_FOUND)
			return error_wrap(err, "the depfile");
		return fail(err, FAULT_COMMAND, "the command did not write its depfile `%s`", path_shown(arena, task_root(task), depfile));
	}
	if (!depfile_parse(text, size, arena, &paths, err))
		return error_wrap(err, "the depfile `%s`", depfile);
	for (size_t i = 0; i < paths.count; i++)
		paths.items[i] = path_absolute(arena, task_workdir(task), paths.items[i]);
	sort_once(&paths);
	for (size_t i = 0; i < paths.count; i++)
		if (!is_input(inputs, paths.items[i]) && !inputs_within(own, paths.items[i]) &&
			(!visible || inputs_within(visible, paths.items[i])) && !read_discovered(task, paths.items[i], started_ns, files, err))
			return false;
	*note = json_object_size(files) > 0 ? json_text(arena, files, true) : NULL;
	return true;
}

bool
inputs_compare(struct task *task, const char *note, const char **what, struct error *err)
{
	json_t *files finally(json_release) = NULL;
	struct arena *arena = task_arena(task);
	const char *path;
	json_t *value;

	*what = NULL;
	if (!json_parse(note, strlen(note), "the record's list of files", &files, err))
		return false;
	json_object_foreach(files, path, value) {
		const char *hex = json_string_value(value);
		struct digest then, now;
		struct error failure;

		if (!task_digest(task, path, &now, NULL, &failure))
			*what = arena_printf(arena, "%s: cannot be read any more", path_shown(arena, task_root(task), path));
		else if (!hex || !digest_parse(hex, &then) || !digest_equal(&then, &now))
			*what = arena_printf(arena, "%s: changed", path_shown(arena, task_root(task), path));
		if (*what)
			return true;
	}
	return true;
}
