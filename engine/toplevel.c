#include "toplevel.h"

#include <string.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/suggest.h"
#include "params.h"
#include "reference.h"

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

void
toplevel_not_a_map(struct loading *loading, const char *key, const struct node *node)
{
	struct error err;

	fail_at(&err, node->at, FAULT_BAD_VALUE, "`%s` must be a map, not %s", key, node_describe(node));
	reference_error(loading->errors, &err);
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
	toplevel_not_a_map(loading, key, node);
	return NULL;
}

void
toplevel_missing(struct loading *loading, const struct node *root, const char *key, const char *hint)
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
			toplevel_missing(loading, root, "name", "the name of the deployment: `name: my-service`");
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

void
toplevel_read(struct loading *loading, const struct node *root)
{
	read_name(loading, root);
	read_reserve(loading, root);
	read_limits(loading, root);
	read_fallbacks(loading, root);
}
