#include "params_read.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/suggest.h"
#include "base/units.h"

typedef bool reader(const struct fill *fill, const struct param *param, const struct node *node, void *to);

static void *
field(void *spec, const struct param *param)
{
	return (char *)spec + param->offset;
}

/* Always false: `param` wants something else than `node`. */
static bool
bad_value(const struct fill *fill, const struct param *param, const struct node *node, const char *wants, const char *hint)
{
	struct error err;

	fail_at(&err, node_origin(node), FAULT_BAD_VALUE, "`%s` in %s must be %s, not %s%s%s", param->name, fill->owner, wants,
		node->kind == NODE_SCALAR ? "`" : "", node->kind == NODE_SCALAR ? node->text : node_describe(node), node->kind == NODE_SCALAR ? "`" : "");
	error_label(&err, "expected %s", wants);
	if (hint)
		error_hint(&err, "%s", hint);
	errors_add(fill->errors, &err);
	return false;
}

static bool
in_range(const struct fill *fill, const struct param *param, const struct node *node, int64_t value)
{
	char wants[80];

	if ((param->least == 0 && param->most == 0) || (value >= param->least && value <= param->most))
		return true;
	snprintf(wants, sizeof wants, "between %lld and %lld", (long long)param->least, (long long)param->most);
	return bad_value(fill, param, node, wants, NULL);
}

static bool
read_string(const struct fill *fill, const struct param *param, const struct node *node, void *to)
{
	if (node->kind != NODE_SCALAR)
		return bad_value(fill, param, node, "text", NULL);
	*(const char **)to = node->text;
	return true;
}

static bool
read_int(const struct fill *fill, const struct param *param, const struct node *node, void *to)
{
	int64_t value;

	/* Text that is put together from references counts by what it says. */
	if (!node_as_int(node, &value) && (node->kind != NODE_SCALAR || !units_int(node->text, &value)))
		return bad_value(fill, param, node, "an integer", NULL);
	if (!in_range(fill, param, node, value))
		return false;
	*(int64_t *)to = value;
	return true;
}

static bool
read_float(const struct fill *fill, const struct param *param, const struct node *node, void *to)
{
	char wants[80];
	double value;

	if (!node_as_float(node, &value) && (node->kind != NODE_SCALAR || !units_float(node->text, &value)))
		return bad_value(fill, param, node, "a number", NULL);
	if ((param->least != 0 || param->most != 0) && !(value >= (double)param->least && value <= (double)param->most)) {
		snprintf(wants, sizeof wants, "between %lld and %lld", (long long)param->least, (long long)param->most);
		return bad_value(fill, param, node, wants, NULL);
	}
	*(double *)to = value;
	return true;
}

static bool
read_bool(const struct fill *fill, const struct param *param, const struct node *node, void *to)
{
	bool value;

	if (!node_as_bool(node, &value))
		return bad_value(fill, param, node, "true or false", node->kind == NODE_SCALAR ? "write `true` or `false`: `yes`, `on` and quoted words are text" : NULL);
	*(bool *)to = value;
	return true;
}

static bool
read_size(const struct fill *fill, const struct param *param, const struct node *node, void *to)
{
	int64_t value;

	if (node->kind != NODE_SCALAR || !units_size(node->text, &value))
		return bad_value(fill, param, node, "a size", "such as `80GiB`, `20GB` or a number of bytes");
	if (!in_range(fill, param, node, value))
		return false;
	*(int64_t *)to = value;
	return true;
}

static bool
read_duration(const struct fill *fill, const struct param *param, const struct node *node, void *to)
{
	int64_t value;

	if (node->kind != NODE_SCALAR || !units_duration(node->text, &value))
		return bad_value(fill, param, node, "a duration", "such as `90s`, `15m` or `1h30m`");
	if (!in_range(fill, param, node, value))
		return false;
	*(int64_t *)to = value;
	return true;
}

/* The directory that relative paths start at: of the file that the parameter stands in, whatever its vars. */
static const char *
directory_of(const struct fill *fill, const struct node *node)
{
	const char *file = fill->file ? fill->file : node->at.file;
	const struct source *source = fill->sources && file ? sources_find(fill->sources, file) : NULL;

	return source ? source->directory : "/";
}

static const char *
absolute(const struct fill *fill, const char *directory, const char *text)
{
	const char *home;

	if (text[0] == '~' && (text[1] == '/' || !text[1])) {
		home = getenv("HOME");
		if (home && *home == '/')
			return path_absolute(fill->arena, home, text[1] ? text + 2 : "");
	}
	return path_absolute(fill->arena, directory, text);
}

static bool
read_path(const struct fill *fill, const struct param *param, const struct node *node, void *to)
{
	if (node->kind != NODE_SCALAR || !*node->text)
		return bad_value(fill, param, node, "a path", NULL);
	*(const char **)to = absolute(fill, directory_of(fill, node), node->text);
	return true;
}

static bool
read_enum(const struct fill *fill, const struct param *param, const struct node *node, void *to)
{
	char choices[200] = "";
	char hint[220];
	const char *near;
	int index = 0;

	while (node->kind == NODE_SCALAR && param->choices[index] && strcmp(param->choices[index], node->text) != 0)
		index++;
	if (node->kind == NODE_SCALAR && param->choices[index]) {
		*(int *)to = index;
		return true;
	}
	for (index = 0; param->choices[index]; index++) {
		size_t used = strlen(choices);

		snprintf(choices + used, sizeof choices - used, "%s%s", index ? ", " : "one of ", param->choices[index]);
	}
	near = node->kind == NODE_SCALAR ? suggest(node->text, param->choices) : NULL;
	if (near)
		snprintf(hint, sizeof hint, "did you mean `%s`?", near);
	return bad_value(fill, param, node, choices, near ? hint : NULL);
}

/* The items of a list; a single scalar is a list of one. NULL with an error added. */
static struct node *const *
items_of(const struct fill *fill, const struct param *param, const struct node *node, struct node **single, uint32_t *count, const char *wants)
{
	struct node *copy;

	if (node->kind == NODE_LIST) {
		*count = node->count;
		return node->items;
	}
	if (node->kind != NODE_SCALAR) {
		bad_value(fill, param, node, wants, NULL);
		return NULL;
	}
	copy = arena_alloc(fill->arena, sizeof *copy);
	*copy = *node;
	*single = copy;
	*count = 1;
	return single;
}

static bool
read_texts(const struct fill *fill, const struct param *param, const struct node *node, void *to)
{
	bool paths = param->type == PARAM_PATHS;
	const char *wants = paths ? "a list of paths" : "a list of texts";
	const char *directory = paths ? directory_of(fill, node) : NULL;
	struct node *single;
	uint32_t count;
	struct node *const *items = items_of(fill, param, node, &single, &count, wants);
	struct strings strings = { 0 };

	if (!items)
		return false;
	strings.items = arena_array(fill->arena, count, sizeof *strings.items);
	strings.capacity = count;
	for (uint32_t i = 0; i < count; i++) {
		if (items[i]->kind != NODE_SCALAR || (paths && !*items[i]->text))
			return bad_value(fill, param, items[i], wants, NULL);
		strings.items[strings.count++] = paths ? absolute(fill, directory, items[i]->text) : items[i]->text;
	}
	*(struct strings *)to = strings;
	return true;
}

static bool
read_ints(const struct fill *fill, const struct param *param, const struct node *node, void *to)
{
	struct node *single;
	uint32_t count;
	struct node *const *items = items_of(fill, param, node, &single, &count, "a list of integers");
	int64_t *values;

	if (!items)
		return false;
	values = arena_array(fill->arena, count, sizeof *values);
	for (uint32_t i = 0; i < count; i++)
		if (!read_int(fill, param, items[i], &values[i]))
			return false;
	*(struct ints *)to = (struct ints){ .items = values, .count = count };
	return true;
}

static bool
read_pairs(const struct fill *fill, const struct param *param, const struct node *node, void *to)
{
	struct pairs pairs = { 0 };

	if (node->kind != NODE_MAP)
		return bad_value(fill, param, node, "a map of texts", NULL);
	pairs.items = arena_array(fill->arena, node->count, sizeof *pairs.items);
	pairs.capacity = node->count;
	for (uint32_t i = 0; i < node->count; i++) {
		const struct node *value = node->entries[i].value;

		if (value->kind == NODE_NULL)
			continue;
		if (value->kind != NODE_SCALAR)
			return bad_value(fill, param, value, "a map of texts", NULL);
		pairs.items[pairs.count++] = (struct pair){ .key = node->entries[i].key, .value = value->text };
	}
	*(struct pairs *)to = pairs;
	return true;
}

static bool
read_secret(const struct fill *fill, const struct param *param, const struct node *node, void *to)
{
	static const char hint[] = "name where it is: `{env: NAME}` or `{file: PATH}`; the value itself never stands in a manifest";
	const struct node *value = node->kind == NODE_MAP && node->count == 1 ? node->entries[0].value : NULL;
	const char *key = value ? node->entries[0].key : "";
	struct secret_ref ref = { 0 };
	struct error err;

	if (node->kind == NODE_SCALAR) {
		fail_at(&err, node_origin(node), FAULT_SECRET_IN_TEXT, "`%s` in %s holds the secret itself", param->name, fill->owner);
		error_label(&err, "expected where the secret is");
		error_hint(&err, "%s", hint);
		errors_add(fill->errors, &err);
		return false;
	}
	if (!value || value->kind != NODE_SCALAR || !*value->text)
		return bad_value(fill, param, node, "a secret's name", hint);
	if (strcmp(key, "env") == 0)
		ref.env = value->text;
	else if (strcmp(key, "file") == 0)
		ref.file = absolute(fill, directory_of(fill, node), value->text);
	else
		return bad_value(fill, param, node, "a secret's name", hint);
	*(struct secret_ref *)to = ref;
	return true;
}

static bool
read_json(const struct fill *fill, const struct param *param, const struct node *node, void *to)
{
	(void)param;
	*(const char **)to = node_json(node, fill->arena);
	return true;
}

static bool
read_struct(const struct fill *fill, const struct param *param, const struct node *node, void *to)
{
	void *spec;

	if (node->kind != NODE_MAP)
		return bad_value(fill, param, node, "a map", NULL);
	spec = arena_alloc(fill->arena, param->size);
	*(const void **)to = spec;
	return params_fill_nested(fill, param, node, spec);
}

static bool
read_list(const struct fill *above, const struct param *param, const struct node *node, void *to)
{
	struct fill fill = *above;
	struct place *places;
	bool ok = true;
	char *specs;

	if (node->kind != NODE_LIST)
		return bad_value(above, param, node, "a list of maps", NULL);
	if (!fill.file && node->from)
		fill.file = node->at.file;
	specs = arena_array(fill.arena, node->count, param->size);
	places = arena_array(fill.arena, node->count, sizeof *places);
	for (uint32_t i = 0; i < node->count; i++) {
		const struct node *item = node->items[i];

		places[i] = node_origin(item);
		if (item->kind == NODE_SCALAR && item->pending)
			continue;
		if (item->kind == NODE_MAP)
			ok &= params_fill_nested(&fill, param, item, specs + i * param->size);
		else
			ok = bad_value(&fill, param, item, "a list of maps", NULL);
	}
	*(struct list *)to = (struct list){ .items = specs, .count = node->count, .at = places };
	return ok;
}

static const struct {
	reader *read;
	const char *name;
} types[] = {
	[PARAM_STRING] = { read_string, "string" },
	[PARAM_INT] = { read_int, "integer" },
	[PARAM_FLOAT] = { read_float, "number" },
	[PARAM_BOOL] = { read_bool, "boolean" },
	[PARAM_SIZE] = { read_size, "size" },
	[PARAM_DURATION] = { read_duration, "duration" },
	[PARAM_PATH] = { read_path, "path" },
	[PARAM_ENUM] = { read_enum, "one of" },
	[PARAM_STRINGS] = { read_texts, "list of strings" },
	[PARAM_PATHS] = { read_texts, "list of paths" },
	[PARAM_INTS] = { read_ints, "list of integers" },
	[PARAM_PAIRS] = { read_pairs, "map of strings" },
	[PARAM_STRUCT] = { read_struct, "map" },
	[PARAM_LIST] = { read_list, "list of maps" },
	[PARAM_SECRET] = { read_secret, "secret" },
	[PARAM_JSON] = { read_json, "any" },
};

bool
params_read(const struct fill *fill, const struct param *param, const struct node *node, void *spec)
{
	bool nested = param->type == PARAM_STRUCT || param->type == PARAM_LIST;

	/* What is known within a pending map is checked and filled in; any other pending value waits as a whole. */
	if (node->pending && (!nested || node->kind == NODE_SCALAR))
		return true;
	return types[param->type].read(fill, param, node, field(spec, param));
}

/* A default is parsed like a value; one that is a list is written as YAML. */
bool
params_read_default(const struct fill *fill, const struct param *param, const struct node *map, void *spec)
{
	struct node scalar = { .kind = NODE_SCALAR, .text = param->fallback, .at = map->at, .weight = 1 };
	struct sources sources = { .arena = fill->arena };
	const struct node *node = &scalar;

	if (*param->fallback == '[' || *param->fallback == '{') {
		node = manifest_parse_text(&sources, map->at.file ? map->at.file : "default", param->fallback, strlen(param->fallback), fill->errors);
		if (!node)
			return false;
	}
	return params_read(fill, param, node, spec);
}

const char *
params_type_name(const struct param *param)
{
	return types[param->type].name;
}
