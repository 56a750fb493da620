#include "params.h"

#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/suggest.h"
#include "params_read.h"

static const struct param *
find(const struct param *params, const char *name)
{
	for (; params && params->name; params++)
		if (params->name[0] == name[0] && strcmp(params->name, name) == 0)
			return params;
	return NULL;
}

/* The map among the parameters that has such a key, or NULL. */
static const struct param *
find_below(const struct param *params, const char *name)
{
	for (; params && params->name; params++)
		if ((params->type == PARAM_STRUCT || params->type == PARAM_LIST) && find(params->fields, name))
			return params;
	return NULL;
}

static const char *
nearest(const struct param *params, const char *name, const char *best)
{
	for (; params && params->name; params++)
		best = suggest_better(name, best, params->name);
	return best;
}

static void
unknown_key(const struct fill *fill, const struct entry *entry)
{
	const struct param *below = find_below(fill->params, entry->key);
	const char *near = nearest(fill->common, entry->key, nearest(fill->params, entry->key, NULL));
	struct error err;

	fail_at(&err, entry->at, FAULT_UNKNOWN_KEY, "unknown key `%s` in %s", entry->key, fill->owner);
	error_label(&err, "unknown key");
	if (below)
		error_hint(&err, "`%s` belongs into `%s`", entry->key, below->name);
	else if (fill->above && (find(fill->above->params, entry->key) || find(fill->above->common, entry->key)))
		error_hint(&err, "`%s` belongs one level up, into %s", entry->key, fill->above->owner);
	else if (near)
		error_hint(&err, "did you mean `%s`?", near);
	errors_add(fill->errors, &err);
}

static bool
missing_key(const struct fill *fill, const struct param *param, struct place at)
{
	struct error err;

	fail_at(&err, at, FAULT_MISSING_KEY, "%s lacks `%s`", fill->owner, param->name);
	error_label(&err, "`%s` is required", param->name);
	if (param->about)
		error_hint(&err, "`%s`: %s", param->name, param->about);
	errors_add(fill->errors, &err);
	return false;
}

static bool
is_absent(const struct node *map, const char *name)
{
	const struct node *value = node_get(map, name);

	return !value || value->kind == NODE_NULL;
}

/* Defaults of what is absent; missing keys. */
static bool
fill_absent(const struct fill *fill, const struct param *params, const struct node *map, struct place at, void *spec)
{
	bool ok = true;

	for (; params && params->name; params++) {
		if ((!params->required && !params->fallback) || !is_absent(map, params->name))
			continue;
		ok &= params->fallback ? params_read_default(fill, params, map, spec) : missing_key(fill, params, at);
	}
	return ok;
}

static bool
fill_map(struct fill *fill, const struct node *map, struct place at, void *spec, void *common_spec)
{
	bool ok = true;

	for (uint32_t i = 0; i < map->count; i++) {
		const struct entry *entry = &map->entries[i];
		const struct param *param = find(fill->params, entry->key);
		void *to = spec;

		if (!param) {
			param = find(fill->common, entry->key);
			to = common_spec;
		}
		if (!param) {
			unknown_key(fill, entry);
			ok = false;
		} else if (entry->value->kind != NODE_NULL) {
			ok &= params_read(fill, param, entry->value, to);
		}
	}
	ok &= fill_absent(fill, fill->params, map, at, spec);
	ok &= fill_absent(fill, fill->common, map, at, common_spec);
	return ok;
}

bool
params_fill_nested(const struct fill *above, const struct param *param, const struct node *map, void *spec)
{
	char owner[80];
	struct fill fill = *above;

	snprintf(owner, sizeof owner, "`%s`", param->name);
	fill.owner = owner;
	fill.above = above;
	fill.params = param->fields;
	fill.common = NULL;
	if (!fill.file && map->from)
		fill.file = map->at.file;
	return fill_map(&fill, map, node_origin(map), spec, NULL);
}

bool
params_fill(const struct param *params, const struct node *map, struct place at, const char *owner, const struct sources *sources,
	const struct param *common, void *common_spec, struct arena *arena, void *spec, struct errors *errors)
{
	struct fill fill = {
		.sources = sources, .arena = arena, .errors = errors, .owner = owner, .params = params, .common = common,
		.file = map->from ? map->at.file : NULL,
	};

	return fill_map(&fill, map, at, spec, common_spec);
}
