#include "project.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/file.h"
#include "engine/base/strings.h"
#include "engine/base/suggest.h"
#include "engine/manifest.h"

#define STATE_DIR ".provision"
#define CACHE_FILE "cache.db"

/* What cannot be looked at counts as there: whoever opens it is told why. But for directories that are closed to this user. */
static bool
exists(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 || (errno != ENOENT && errno != ENOTDIR && errno != EACCES);
}

bool
project_cwd(struct found *found, const struct options *options, struct arena *arena, struct error *err)
{
	char *here finally(free_text) = getcwd(NULL, 0);
	struct stat st;

	if (!here)
		return fail_errno(err, "find the working directory");
	found->cwd = arena_copy(arena, here);
	if (!options->chdir)
		return true;
	found->cwd = path_absolute(arena, here, options->chdir);
	if (stat(found->cwd, &st) != 0)
		return fail_errno(err, "`--chdir %s`", options->chdir);
	return S_ISDIR(st.st_mode) || fail(err, FAULT_NOT_FOUND, "`--chdir %s` is no directory", options->chdir);
}

bool
project_is_manifest(const char *operand)
{
	if (strcmp(operand, "-") == 0 || strchr(operand, '/') || text_ends(operand, ".yaml") || text_ends(operand, ".yml"))
		return true;
	return operand[strspn(operand, "abcdefghijklmnopqrstuvwxyz0123456789_-*?[]!^")] != '\0';
}

static const char *
similar_name(const char *path, struct arena *arena)
{
	DIR *listing = opendir(path_dir(arena, path));
	const char *near = NULL;

	for (struct dirent *entry; listing && (entry = readdir(listing));)
		if (text_ends(entry->d_name, ".yaml") || text_ends(entry->d_name, ".yml")) {
			const char *name = arena_copy(arena, entry->d_name);

			near = suggest_better(path_base(path), near, name);
		}
	if (listing)
		closedir(listing);
	return near;
}

bool
project_has(const char *path, const char *shown, struct arena *arena, struct error *err)
{
	struct stat st;
	const char *near;

	if (strcmp(path, "-") == 0 || stat(path, &st) == 0 || (errno != ENOENT && errno != ENOTDIR))
		return true;
	near = similar_name(path, arena);
	fail(err, FAULT_NOT_FOUND, "there is no manifest `%s`", shown);
	if (near)
		error_hint(err, "did you mean `%s`?", strchr(shown, '/') ? path_join(arena, path_dir(arena, shown), near) : near);
	return false;
}

/* The nearest directory from `path` upward that holds `name`; NULL if none does. */
static const char *
ancestor_with(struct arena *arena, const char *path, const char *name)
{
	for (;;) {
		if (exists(path_join(arena, path, name)))
			return path;
		/* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): "found there" is taken for a hint that the path may be NULL */
		if (strcmp(path, "/") == 0)
			return NULL;
		path = path_dir(arena, path);
	}
}

static void
find_manifest(struct found *found, const char *operand, struct arena *arena)
{
	const char *named = getenv("PROVISION_MANIFEST");
	const char *here = path_join(arena, found->cwd, "provision.yaml");

	if (operand) {
		found->manifest = strcmp(operand, "-") == 0 ? operand : path_absolute(arena, found->cwd, operand);
		found->manifest_origin = "argument";
	} else if (named && *named) {
		found->manifest = path_absolute(arena, found->cwd, named);
		found->manifest_origin = "PROVISION_MANIFEST";
	} else if (exists(here)) {
		found->manifest = here;
		found->manifest_origin = "provision.yaml";
	}
}

static bool
lies_in(const char *path, const char *directory)
{
	size_t length = strlen(directory);

	return strcmp(directory, "/") == 0 || (strncmp(path, directory, length) == 0 && (path[length] == '/' || !path[length]));
}

static void
find_root(struct found *found, struct arena *arena)
{
	const char *beside =
		found->manifest && strcmp(found->manifest, "-") != 0 ? path_dir(arena, found->manifest) : found->cwd;
	const char *by_manifest = ancestor_with(arena, beside, STATE_DIR "/" CACHE_FILE);

	found->root_origin = "cache";
	found->root = ancestor_with(arena, found->cwd, STATE_DIR "/" CACHE_FILE);
	found->is_elsewhere = found->root && !lies_in(beside, found->root);
	if (found->root && by_manifest && strcmp(by_manifest, found->root) != 0)
		found->other_root = by_manifest;
	if (!found->root)
		found->root = by_manifest;
	if (found->root)
		return;
	found->root_origin = "git";
	found->root = ancestor_with(arena, beside, ".git");
	if (found->root)
		return;
	found->root_origin = "manifest";
	found->root = beside;
}

bool
project_find(
	struct found *found, const struct options *options, const char *operand, struct arena *arena, struct error *err)
{
	struct stat st;

	find_manifest(found, operand, arena);
	find_root(found, arena);
	found->cache = options->cache ? path_absolute(arena, found->cwd, options->cache)
		: path_join(arena, found->root, STATE_DIR "/" CACHE_FILE);
	found->state_dir = path_dir(arena, found->cache);
	found->cache_exists = stat(found->cache, &st) == 0;
	if (!found->cache_exists && errno != ENOENT && errno != ENOTDIR)
		return fail_errno(err, "look for the cache `%s`", found->cache);
	if (found->cache_exists && S_ISDIR(st.st_mode))
		return fail(err, FAULT_USAGE, "the cache `%s` is a directory; `--cache` wants a file", found->cache);
	return true;
}

static bool
read_settings(struct options *options, const char *path, enum origin origin, struct sources *sources, struct errors *errors)
{
	struct error err = { 0 };
	struct node *map;

	if (!exists(path))
		return true;
	map = manifest_parse(sources, path, path, errors);
	if (!map)
		return false;
	if (options_settings(options, map, origin, sources->arena, &err))
		return true;
	errors_add(errors, &err);
	return false;
}

bool
project_settings(struct options *options, struct arena *arena, struct errors *errors, struct sources *sources)
{
	const char *named = getenv("PROVISION_CONFIG");
	const char *config = getenv("XDG_CONFIG_HOME");
	const char *home = getenv("HOME");

	sources->arena = arena;
	if (named && *named)
		return read_settings(options, named, ORIGIN_USER, sources, errors);
	/* Relative values of XDG variables are invalid and ignored. */
	if (!config || config[0] != '/')
		config = home && home[0] == '/' ? path_join(arena, home, ".config") : NULL;
	if (config && !read_settings(
			      options, path_join(arena, config, "provision/config.yaml"), ORIGIN_USER, sources, errors))
		return false;
	return read_settings(options, "/etc/provision/config.yaml", ORIGIN_SYSTEM, sources, errors);
}
