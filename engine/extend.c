#include "extend.h"

#include <string.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/names.h"
#include "manifest.h"
#include "reference.h"

#define SMALL_MAP 16 /* keys that are found faster by looking at all of them */

/* Errors of a file that could not be read get the place that names it. */
static void
place_errors(struct errors *errors, size_t from, const struct node *extends)
{
	for (size_t i = from; extends && i < errors->count; i++) {
		struct error *err = &errors->items[i];

		if (err->at.file)
			continue;
		err->at = extends->at;
		if (err->fault == FAULT_NOT_FOUND) {
			error_label(err, "not found");
			error_hint(err, "paths are relative to the manifest that they are written in");
		}
	}
}

static bool
already_read(const struct sources *sources, const char *path, struct place at, struct errors *errors)
{
	struct error err;

	for (size_t i = 0; i < sources->count; i++)
		if (strcmp(sources->items[i].path, path) == 0) {
			fail_at(&err, at, FAULT_EXTENDS, "`%s` is extended in a circle", sources->items[i].file);
			error_label(&err, "read already");
			errors_add(errors, &err);
			return true;
		}
	return false;
}

/* The path that `extends` names, or NULL with an error added. */
static const char *
base_path(const struct sources *sources, const struct node *extends, struct errors *errors)
{
	const struct source *source = sources_find(sources, extends->at.file);
	struct error err;

	if (extends->kind == NODE_SCALAR && *extends->text && !extends->pending)
		return path_absolute(sources->arena, source->directory, extends->text);
	if (extends->pending)
		fail_at(&err, extends->at, FAULT_EXTENDS, "`extends` cannot hold references: it is read before any var is");
	else
		fail_at(&err, extends->at, FAULT_BAD_VALUE, "`extends` must be the path of a manifest, not %s", node_describe(extends));
	errors_add(errors, &err);
	return NULL;
}

bool
extend_read(struct layers *layers, struct sources *sources, const char *file, const char *path, struct errors *errors)
{
	const struct node *extends = NULL;
	size_t before = errors->count;
	struct error err;

	layers->count = 0;
	for (;;) {
		struct node *root = manifest_parse(sources, file, path, errors);

		place_errors(errors, before, extends);
		if (!root)
			return false;
		layers->roots[layers->count++] = root;
		extends = node_get(root, "extends");
		if (!extends || extends->kind == NODE_NULL)
			return errors->count == before;
		path = base_path(sources, extends, errors);
		if (!path || already_read(sources, path, extends->at, errors))
			return false;
		if (layers->count == EXTENDS_DEEP) {
			fail_at(&err, extends->at, FAULT_EXTENDS, "more than %d manifests extend each other", EXTENDS_DEEP);
			errors_add(errors, &err);
			return false;
		}
		file = path_shown(sources->arena, sources->cwd ? sources->cwd : "/", path);
	}
}

/* Where `key` stands in a map: by a table of names that is made once for a large map. */
static uint32_t
find_key(const struct node *map, const struct names *names, const char *key)
{
	if (names->arena)
		return names_find(names, key);
	for (uint32_t i = 0; i < map->count; i++)
		if (strcmp(map->entries[i].key, key) == 0)
			return i;
	return NO_NAME;
}

static void
index_keys(const struct node *map, struct names *names, struct arena *arena)
{
	if (map->count <= SMALL_MAP)
		return;
	names_init(names, arena);
	for (uint32_t i = 0; i < map->count; i++)
		names_add(names, map->entries[i].key);
}

static void
put(struct node *map, struct entry entry)
{
	map->entries[map->count++] = entry;
	map->pending |= entry.value->pending;
	if (entry.value->height >= map->height)
		map->height = (uint16_t)(entry.value->height + 1);
	if (__builtin_add_overflow(map->weight, entry.value->weight, &map->weight))
		map->weight = UINT32_MAX;
}

/* As deep as the lower of two trees; `over` is never higher than NODE_HEIGHT. */
static struct node *
merge(const struct node *base, struct node *over, struct arena *arena)
{
	struct names names finally(names_finish) = { 0 };
	struct node *map;
	bool *replaced;

	if (base->kind != NODE_MAP || over->kind != NODE_MAP)
		return over;
	map = arena_alloc(arena, sizeof *map);
	*map = (struct node){ .kind = NODE_MAP, .at = over->at, .weight = 1, .height = 1 };
	map->entries = arena_array(arena, (size_t)base->count + over->count, sizeof *map->entries);
	replaced = arena_array(arena, over->count, sizeof *replaced);
	index_keys(over, &names, arena);
	for (uint32_t i = 0; i < base->count; i++) {
		struct entry entry = base->entries[i];
		uint32_t other = find_key(over, &names, entry.key);

		if (other != NO_NAME) {
			replaced[other] = true;
			entry = over->entries[other];
			if (entry.value->kind == NODE_NULL)
				continue;
			entry.value = merge(base->entries[i].value, entry.value, arena);
		}
		put(map, entry);
	}
	for (uint32_t i = 0; i < over->count; i++)
		if (!replaced[i])
			put(map, over->entries[i]);
	return map;
}

struct node *
extend_merge(const struct node *base, struct node *over, struct arena *arena, struct errors *errors)
{
	struct node *map = merge(base, over, arena);
	struct error err;

	if (map->weight <= NODE_WEIGHT)
		return map;
	fail_at(&err, over->at, FAULT_TOO_LARGE, "the manifests together have more than %u nodes", NODE_WEIGHT);
	errors_add(errors, &err);
	return NULL;
}

struct node *
extend_set(const struct node *map, const char *path, struct node *value, struct arena *arena)
{
	size_t size = strcspn(path, ".");
	struct entry entry = { .key = arena_copy_bytes(arena, path, size), .at = value->at, .value = value };
	uint32_t count = map && map->kind == NODE_MAP ? map->count : 0;
	struct node *copy = arena_alloc(arena, sizeof *copy);
	bool there = false;

	*copy = (struct node){ .kind = NODE_MAP, .at = count ? map->at : value->at, .weight = 1, .height = 1 };
	copy->entries = arena_array(arena, (size_t)count + 1, sizeof *copy->entries);
	if (path[size])
		entry.value = extend_set(node_get(map, entry.key), path + size + 1, value, arena);
	for (uint32_t i = 0; i < count; i++) {
		bool same = strcmp(map->entries[i].key, entry.key) == 0;

		put(copy, same ? entry : map->entries[i]);
		there |= same;
	}
	if (!there)
		put(copy, entry);
	return copy;
}
