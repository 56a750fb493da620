#include "resolve.h"

#include <string.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/suggest.h"
#include "extend.h"
#include "toplevel.h"

#define FORMAT_VERSION 1
#define SET_DEEP 16 /* parts of the name in `--set a.b.c=VALUE` */

enum shape { SHAPE_ANY, SHAPE_SCALAR, SHAPE_MAP };

static const struct {
	const char *name;
	enum shape shape;
} top_keys[] = {
	{ "provision", SHAPE_SCALAR }, { "name", SHAPE_SCALAR }, { "extends", SHAPE_SCALAR }, { "vars", SHAPE_MAP }, { "fallback", SHAPE_ANY },
	{ "reserve", SHAPE_MAP }, { "limits", SHAPE_MAP }, { "targets", SHAPE_MAP },
};

static bool
fits(enum shape shape, const struct node *value)
{
	return shape == SHAPE_ANY || value->kind == NODE_NULL || (value->kind == NODE_SCALAR && (shape == SHAPE_SCALAR || value->pending))
		|| (shape == SHAPE_MAP && value->kind == NODE_MAP);
}

static void
unknown_key(struct loading *loading, const struct entry *entry)
{
	const char *near = NULL;
	struct error err;

	for (size_t i = 0; i < sizeof top_keys / sizeof *top_keys; i++)
		near = suggest_better(entry->key, near, top_keys[i].name);
	fail_at(&err, entry->at, FAULT_UNKNOWN_KEY, "unknown key `%s` at the top of the manifest", entry->key);
	error_label(&err, "unknown key");
	if (near)
		error_hint(&err, "did you mean `%s`?", near);
	else
		error_hint(&err, "notes of your own go under keys that begin with `x-`");
	errors_add(loading->errors, &err);
}

static void
check_top_key(struct loading *loading, const struct entry *entry)
{
	static const char *const wants[] = { [SHAPE_ANY] = "anything", [SHAPE_SCALAR] = "text", [SHAPE_MAP] = "a map" };
	struct error err;

	if (strncmp(entry->key, "x-", 2) == 0)
		return;
	for (size_t i = 0; i < sizeof top_keys / sizeof *top_keys; i++) {
		if (strcmp(entry->key, top_keys[i].name) != 0)
			continue;
		if (fits(top_keys[i].shape, entry->value))
			return;
		fail_at(&err, entry->value->at, FAULT_BAD_VALUE, "`%s` must be %s, not %s", entry->key, wants[top_keys[i].shape],
			node_describe(entry->value));
		errors_add(loading->errors, &err);
		return;
	}
	unknown_key(loading, entry);
}

static void
check_version(struct loading *loading, const struct node *version)
{
	struct error err;
	int64_t number;

	if (!version || version->kind == NODE_NULL || (node_as_int(version, &number) && number == FORMAT_VERSION))
		return;
	fail_at(&err, version->at, FAULT_FORMAT_VERSION, "format version %s is not known to this program",
		version->kind == NODE_SCALAR ? version->text : "of that kind");
	error_label(&err, "expected %d", FORMAT_VERSION);
	error_hint(&err, "write `provision: %d`, or use a newer program", FORMAT_VERSION);
	errors_add(loading->errors, &err);
}

/* Every file by itself, so that what another file overrides is checked too. */
static void
check_layers(struct loading *loading, const struct layers *layers)
{
	for (size_t i = 0; i < layers->count; i++) {
		const struct node *root = layers->roots[i];

		for (uint32_t k = 0; k < root->count; k++)
			check_top_key(loading, &root->entries[k]);
		check_version(loading, node_get(root, "provision"));
	}
}

static bool
is_var_name(const char *name)
{
	static const char later[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789-";

	/* The digits and the dash are the last eleven. */
	return *name && strchr(later, *name) && strchr(later, *name) < later + sizeof later - 12 && !name[strspn(name, later)];
}

static bool
is_var_path(const char *path)
{
	char part[128];

	for (unsigned depth = 0; depth < SET_DEEP; depth++) {
		size_t size = strcspn(path, ".");

		if (size >= sizeof part)
			return false;
		memcpy(part, path, size);
		part[size] = '\0';
		if (!is_var_name(part))
			return false;
		if (!path[size])
			return true;
		path += size + 1;
	}
	return false;
}

static void
check_vars(struct loading *loading, const struct node *vars)
{
	struct error err;

	if (vars && vars->kind == NODE_SCALAR)
		toplevel_not_a_map(loading, "vars", vars);
	for (uint32_t i = 0; vars && vars->kind == NODE_MAP && i < vars->count; i++)
		if (!is_var_name(vars->entries[i].key)) {
			fail_at(&err, vars->entries[i].at, FAULT_BAD_NAME, "`%s` cannot be the name of a var", vars->entries[i].key);
			error_hint(&err, "letters, digits, `_` and `-`, a letter or `_` first");
			errors_add(loading->errors, &err);
		}
}

/* `--set` values, laid over the vars. */
static struct node *
apply_sets(struct loading *loading, struct node *vars, const struct pairs *sets)
{
	struct error err;

	for (size_t i = 0; sets && i < sets->count; i++) {
		const struct pair *set = &sets->items[i];
		const char *file = arena_printf(loading->arena, "--set %s", set->key);
		struct node *value = manifest_parse_text(&loading->manifest->sources, file, set->value, strlen(set->value), loading->errors);

		if (!is_var_path(set->key)) {
			fail_at(&err, (struct place){ .file = file, .line = 1, .column = 1 }, FAULT_BAD_NAME, "`%s` cannot be the name of a var", set->key);
			error_hint(&err, "--set NAME=VALUE, or --set NAME.KEY=VALUE for a var that is a map");
			errors_add(loading->errors, &err);
		} else if (value) {
			const char *name = arena_copy_bytes(loading->arena, set->key, strcspn(set->key, "."));

			if (!node_get(vars, name))
				strings_add(&loading->manifest->set_only, loading->arena, name);
			vars = extend_set(vars, set->key, value, loading->arena);
		}
	}
	return vars;
}

static struct node *
fold(struct loading *loading, const struct layers *layers)
{
	struct node *root = layers->roots[layers->count - 1];

	for (size_t i = layers->count - 1; root && i > 0; i--)
		root = extend_merge(root, layers->roots[i - 1], loading->arena, loading->errors);
	return root;
}

static void
read_targets(struct loading *loading, const struct node *root)
{
	struct node *targets = node_get(root, "targets");
	struct error err;

	if (!targets || targets->kind == NODE_NULL) {
		toplevel_missing(loading, root, "targets", "what is to be brought about: `targets:` and a map of names");
		return;
	}
	targets = scope_resolve(&loading->scope, targets);
	loading->manifest->targets = targets;
	for (uint32_t i = 0; targets->kind == NODE_MAP && i < targets->count; i++) {
		const struct entry *entry = &targets->entries[i];

		if (entry->value->kind == NODE_MAP)
			continue;
		fail_at(&err, entry->at, FAULT_BAD_VALUE, "target `%s` must be a map, not %s", entry->key, node_describe(entry->value));
		error_hint(&err, "a target has at least a `rule`");
		errors_add(loading->errors, &err);
	}
	if (targets->kind != NODE_MAP)
		toplevel_not_a_map(loading, "targets", targets);
}

static void
digest_sources(struct manifest *manifest, const struct pairs *sets)
{
	struct hasher hasher finally(hasher_finish) = { 0 };

	hasher_init(&hasher);
	for (size_t i = 0; i < manifest->sources.count; i++)
		if (strcmp(manifest->sources.items[i].file, "-") == 0 || !text_starts(manifest->sources.items[i].file, "--set "))
			hasher_add_field(&hasher, manifest->sources.items[i].digest.bytes, sizeof manifest->sources.items[i].digest.bytes);
	for (size_t i = 0; sets && i < sets->count; i++) {
		hasher_add_field(&hasher, sets->items[i].key, strlen(sets->items[i].key));
		hasher_add_field(&hasher, sets->items[i].value, strlen(sets->items[i].value));
	}
	hasher_digest(&hasher, &manifest->digest);
}

static void
read_all(struct loading *loading, struct node *root, const struct pairs *sets)
{
	struct node *vars = node_get(root, "vars");
	size_t before = loading->errors->count;

	check_vars(loading, vars);
	vars = apply_sets(loading, vars, sets);
	/* A var that cannot be read would make errors of all that use it. */
	if (loading->errors->count > before)
		return;
	scope_init(&loading->scope, vars && vars->kind == NODE_MAP ? vars : NULL, node_get(root, "targets"), loading->errors, loading->arena);
	loading->manifest->vars = scope_vars(&loading->scope);
	if (!node_get(root, "provision") || node_is_null(node_get(root, "provision")))
		toplevel_missing(loading, root, "provision", "the version of the format: `provision: 1`");
	toplevel_read(loading, root);
	read_targets(loading, root);
	loading->manifest->environment = loading->scope.environment;
	scope_finish(&loading->scope);
}

bool
manifest_load(struct manifest *manifest, const char *path, const char *cwd, const struct pairs *sets, struct arena *arena, struct errors *errors)
{
	return manifest_recall(manifest, path, cwd, sets, NULL, arena, errors);
}

bool
manifest_recall(struct manifest *manifest, const char *path, const char *cwd, const struct pairs *sets, const struct recall *recall,
	struct arena *arena, struct errors *errors)
{
	struct loading loading = { .manifest = manifest, .arena = arena, .errors = errors, .cwd = cwd };
	bool is_stdin = strcmp(path, "-") == 0;
	size_t before = errors->count;
	struct layers layers;
	struct node *root;

	*manifest = (struct manifest){ .arena = arena, .sources = { .arena = arena, .cwd = cwd, .recall = recall }, .limits = { -1, -1, -1, -1 } };
	manifest->file = arena_copy(arena, is_stdin ? "standard input" : path);
	manifest->path = is_stdin ? "-" : path_absolute(arena, cwd, path);
	manifest->directory = is_stdin ? cwd : path_dir(arena, manifest->path);
	if (!extend_read(&layers, &manifest->sources, manifest->file, manifest->path, errors))
		return false;
	check_layers(&loading, &layers);
	root = fold(&loading, &layers);
	if (root)
		read_all(&loading, root, sets);
	digest_sources(manifest, sets);
	return errors->count == before;
}
