#include "resolve.h"

#include <string.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/suggest.h"
#include "extend.h"
#include "params.h"
#include "reference.h"
#include "scope.h"

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

struct reserve_spec {
	struct ints gpus;
	const char *purpose;
};

static const struct param reserve_params[] = {
	{ "gpus", PARAM_INTS, offsetof(struct reserve_spec, gpus), .required = true, .least = 0, .most = 1023, .about = "indices of GPUs that no target may use" },
	{ "for", PARAM_STRING, offsetof(struct reserve_spec, purpose), .about = "what they are kept for" },
	{ 0 },
};

static const struct param limit_params[] = {
	{ "download", PARAM_SIZE, offsetof(struct limits, download), .about = "bytes fetched without asking" },
	{ "disk", PARAM_SIZE, offsetof(struct limits, disk), .about = "bytes kept without asking" },
	{ "time", PARAM_DURATION, offsetof(struct limits, time), .about = "time taken without asking" },
	{ "downtime", PARAM_DURATION, offsetof(struct limits, downtime), .about = "time that something live may be down without asking" },
	{ 0 },
};

struct fallback_spec {
	const char *manifest;
	struct strings on;
};

static const struct param fallback_params[] = {
	{ "manifest", PARAM_PATH, offsetof(struct fallback_spec, manifest), .required = true, .about = "what to try next" },
	{ "on", PARAM_STRINGS, offsetof(struct fallback_spec, on), .fallback = "infeasible", .about = "classes of failure that may trigger it" },
	{ 0 },
};

/* One manifest while it is being put together. */
struct loading {
	struct manifest *manifest;
	struct arena *arena;
	struct errors *errors;
	struct scope scope;
	const char *cwd;
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
not_a_map(struct loading *loading, const char *key, const struct node *node)
{
	struct error err;

	fail_at(&err, node->at, FAULT_BAD_VALUE, "`%s` must be a map, not %s", key, node_describe(node));
	reference_error(loading->errors, &err);
}

static void
check_vars(struct loading *loading, const struct node *vars)
{
	struct error err;

	if (vars && vars->kind == NODE_SCALAR)
		not_a_map(loading, "vars", vars);
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
refuse_output(void *context, const char *target, const char *output, struct place at)
{
	struct errors *errors = context;
	struct error err;

	fail_at(&err, at, FAULT_REFERENCE, "`${%s.%s}`: outputs of targets can be used in targets alone", target, output);
	reference_error(errors, &err);
}

/* The resolved value of a top-level key; NULL if it is absent, null, or has errors. */
static struct node *
top_value(struct loading *loading, const struct node *root, const char *key)
{
	struct node *node = node_get(root, key);
	size_t before = loading->errors->count;

	if (!node || node->kind == NODE_NULL)
		return NULL;
	node = scope_resolve(&loading->scope, node);
	if (node->pending)
		resolve_references(node, refuse_output, loading->errors, loading->arena);
	return loading->errors->count == before && node->kind != NODE_NULL ? node : NULL;
}

/* The same for what must be a map. */
static struct node *
top_map(struct loading *loading, const struct node *root, const char *key)
{
	struct node *node = top_value(loading, root, key);

	if (!node || node->kind == NODE_MAP)
		return node;
	not_a_map(loading, key, node);
	return NULL;
}

static void
missing(struct loading *loading, const struct node *root, const char *key, const char *hint)
{
	struct place at = { .file = root->at.file, .line = 1, .column = 1 };
	struct error err;

	fail_at(&err, at, FAULT_MISSING_KEY, "the manifest lacks `%s`", key);
	error_hint(&err, "%s", hint);
	errors_add(loading->errors, &err);
}

static bool
is_deployment_name(const char *name)
{
	static const char later[] = "abcdefghijklmnopqrstuvwxyz0123456789._-";
	size_t length = strlen(name);

	return length > 0 && length <= 63 && name[0] != '.' && name[0] != '_' && name[0] != '-' && strspn(name, later) == length;
}

static void
read_name(struct loading *loading, const struct node *root)
{
	const struct node *node = top_value(loading, root, "name");
	struct error err;

	if (!node) {
		if (!node_get(root, "name") || node_is_null(node_get(root, "name")))
			missing(loading, root, "name", "the name of the deployment: `name: my-service`");
		return;
	}
	loading->manifest->name_at = node_origin(node);
	loading->manifest->name = "";
	if (node->kind == NODE_SCALAR && is_deployment_name(node->text)) {
		loading->manifest->name = node->text;
		return;
	}
	fail_at(&err, node_origin(node), FAULT_BAD_NAME, "%s%s%s cannot be the name of a deployment", node->kind == NODE_SCALAR ? "`" : "",
		node->kind == NODE_SCALAR ? node->text : node_describe(node), node->kind == NODE_SCALAR ? "`" : "");
	error_hint(&err, "up to 63 of a-z, 0-9, `.`, `_`, `-`, a letter or digit first");
	errors_add(loading->errors, &err);
}

static void
read_reserve(struct loading *loading, const struct node *root)
{
	const struct node *node = top_map(loading, root, "reserve");
	struct reserve_spec spec = { 0 };

	if (!node || !params_fill(reserve_params, node, node->at, "`reserve`", &loading->manifest->sources, NULL, NULL, loading->arena, &spec, loading->errors))
		return;
	loading->manifest->reserve = (struct reserve){
		.gpus = spec.gpus.items, .count = spec.gpus.count, .purpose = spec.purpose, .at = node_place(node, "gpus"),
	};
}

static void
read_limits(struct loading *loading, const struct node *root)
{
	const struct node *node = top_map(loading, root, "limits");
	struct limits *limits = &loading->manifest->limits;

	*limits = (struct limits){ -1, -1, -1, -1 };
	if (node)
		params_fill(limit_params, node, node->at, "`limits`", &loading->manifest->sources, NULL, NULL, loading->arena, limits, loading->errors);
}

static void
unknown_class(struct loading *loading, const struct node *node, const char *word)
{
	const char *near = NULL;
	struct error err;

	fail_at(&err, node_place(node, "on"), FAULT_BAD_VALUE, "`on`: no class of failure is called `%s`", word);
	for (int class = CLASS_INFEASIBLE; class <= CLASS_NOT_ACCEPTED; class++)
		near = suggest_better(word, near, failure_class_name((enum failure_class)class));
	if (near)
		error_hint(&err, "did you mean `%s`?", near);
	else
		error_hint(&err, "infeasible, host, out_of_memory, start_failed or not_accepted");
	errors_add(loading->errors, &err);
}

static unsigned
read_classes(struct loading *loading, const struct node *node, const struct strings *words)
{
	unsigned classes = 0;

	for (size_t i = 0; i < words->count; i++) {
		int class = CLASS_INFEASIBLE;

		while (class <= CLASS_NOT_ACCEPTED && strcmp(failure_class_name((enum failure_class)class), words->items[i]) != 0)
			class++;
		if (class <= CLASS_NOT_ACCEPTED)
			classes |= 1u << class;
		else
			unknown_class(loading, node, words->items[i]);
	}
	return classes;
}

/* A path alone, or a map of `manifest` and `on`. */
static void
add_fallback(struct loading *loading, const struct node *node, struct manifest *manifest)
{
	struct fallback_spec spec = { 0 };
	struct fallback_entry *entry = &manifest->fallbacks[manifest->fallback_count];
	struct entry path = { .key = "manifest", .at = node->at };
	struct node copy = *node;
	struct node map = { .kind = NODE_MAP, .at = node->at, .count = 1, .entries = &path };
	struct error err;

	path.value = &copy;
	if (node->kind == NODE_LIST) {
		fail_at(&err, node->at, FAULT_FALLBACK, "a fallback is a path, or a map of `manifest` and `on`, not a list");
		errors_add(loading->errors, &err);
		return;
	}
	if (!params_fill(fallback_params, node->kind == NODE_MAP ? node : &map, node->at, "`fallback`", &manifest->sources, NULL, NULL, loading->arena, &spec,
		loading->errors))
		return;
	entry->manifest = spec.manifest;
	entry->shown = path_shown(loading->arena, loading->cwd, spec.manifest);
	entry->at = node->kind == NODE_MAP ? node_place(node, "manifest") : node_origin(node);
	entry->classes = read_classes(loading, node, &spec.on);
	manifest->fallback_count++;
}

static void
read_fallbacks(struct loading *loading, const struct node *root)
{
	const struct node *node = top_value(loading, root, "fallback");
	struct manifest *manifest = loading->manifest;

	if (!node)
		return;
	if (node->kind != NODE_LIST) {
		manifest->fallbacks = arena_array(loading->arena, 1, sizeof *manifest->fallbacks);
		add_fallback(loading, node, manifest);
		return;
	}
	manifest->fallbacks = arena_array(loading->arena, node->count, sizeof *manifest->fallbacks);
	for (uint32_t i = 0; i < node->count; i++)
		add_fallback(loading, node->items[i], manifest);
}

static void
read_targets(struct loading *loading, const struct node *root)
{
	struct node *targets = node_get(root, "targets");
	struct error err;

	if (!targets || targets->kind == NODE_NULL) {
		missing(loading, root, "targets", "what is to be brought about: `targets:` and a map of names");
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
		not_a_map(loading, "targets", targets);
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
		missing(loading, root, "provision", "the version of the format: `provision: 1`");
	read_name(loading, root);
	read_reserve(loading, root);
	read_limits(loading, root);
	read_fallbacks(loading, root);
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
