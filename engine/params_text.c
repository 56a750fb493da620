#include "params.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "record.h"

#define TEXT_SIZE ((size_t)1 << 30)

static const void *
field(const void *spec, const struct param *param)
{
	return (const char *)spec + param->offset;
}

/* The shortest decimal that reads back as the same number, with a point in every locale. */
static void
add_float(struct buf *out, double value)
{
	char text[64];
	int digits = 15;

	do
		snprintf(text, sizeof text, "%.*g", digits, value);
	while (strtod(text, NULL) != value && ++digits <= 17);
	for (const char *at = text; *at; at++) {
		bool plain = strchr("0123456789+-einfa", *at);

		if (plain)
			buf_char(out, *at);
		else if (at == text || strchr("0123456789", at[-1]))
			buf_char(out, '.');
	}
}

static void
add_texts(struct buf *out, const struct strings *strings)
{
	buf_char(out, '[');
	for (size_t i = 0; i < strings->count; i++) {
		if (i > 0)
			buf_char(out, ',');
		json_quote(out, strings->items[i]);
	}
	buf_char(out, ']');
}

static void
add_ints(struct buf *out, const struct ints *ints)
{
	buf_char(out, '[');
	for (size_t i = 0; i < ints->count; i++)
		buf_printf(out, "%s%lld", i ? "," : "", (long long)ints->items[i]);
	buf_char(out, ']');
}

static int
compare_keys(const void *first, const void *second)
{
	const struct pair *const *a = first;
	const struct pair *const *b = second;

	return strcmp((*a)->key, (*b)->key);
}

/* Sorted: their order is no part of what they say. */
static void
add_pairs(struct buf *out, const struct pairs *pairs)
{
	const struct pair **sorted = xmalloc(pairs->count * sizeof *sorted);

	for (size_t i = 0; i < pairs->count; i++)
		sorted[i] = &pairs->items[i];
	qsort(sorted, pairs->count, sizeof *sorted, compare_keys);
	buf_char(out, '{');
	for (size_t i = 0; i < pairs->count; i++) {
		if (i > 0)
			buf_char(out, ',');
		json_quote(out, sorted[i]->key);
		buf_char(out, ':');
		json_quote(out, sorted[i]->value);
	}
	buf_char(out, '}');
	free(sorted);
}

static bool add_value(struct buf *out, const struct param *param, const void *spec);

/* A nested map: its fields' texts by name, in the order of the table. As deep as tables are nested. */
static void
add_fields(struct buf *out, const struct param *fields, const void *spec)
{
	struct buf text finally(buf_finish) = { 0 };
	bool first = true;

	buf_init(&text, TEXT_SIZE);
	buf_char(out, '{');
	for (; fields->name; fields++) {
		buf_clear(&text);
		if (fields->unhashed || !add_value(&text, fields, spec))
			continue;
		if (!first)
			buf_char(out, ',');
		first = false;
		json_quote(out, fields->name);
		buf_char(out, ':');
		json_quote(out, text.data);
	}
	buf_char(out, '}');
}

static void
add_list(struct buf *out, const struct param *param, const struct list *list)
{
	buf_char(out, '[');
	for (size_t i = 0; i < list->count; i++) {
		if (i > 0)
			buf_char(out, ',');
		add_fields(out, param->fields, (const char *)list->items + i * param->size);
	}
	buf_char(out, ']');
}

static bool
add_text(struct buf *out, const char *text)
{
	if (text)
		buf_text(out, text);
	return text;
}

static bool
add_number(struct buf *out, int64_t number)
{
	if (number != 0)
		buf_printf(out, "%lld", (long long)number);
	return number != 0;
}

static bool
add_secret(struct buf *out, const struct secret_ref *ref)
{
	if (ref->env)
		buf_printf(out, "env:%s", ref->env);
	else if (ref->file)
		buf_printf(out, "file:%s", ref->file);
	return ref->env || ref->file;
}

static bool
add_value(struct buf *out, const struct param *param, const void *spec)
{
	const void *at = field(spec, param);

	switch (param->type) {
	case PARAM_STRING:
	case PARAM_PATH:
	case PARAM_JSON:
		return add_text(out, *(const char *const *)at);
	case PARAM_INT:
	case PARAM_SIZE:
	case PARAM_DURATION:
		return add_number(out, *(const int64_t *)at);
	case PARAM_FLOAT:
		if (*(const double *)at != 0)
			add_float(out, *(const double *)at);
		break;
	case PARAM_BOOL:
		return add_text(out, *(const bool *)at ? "true" : NULL);
	case PARAM_ENUM:
		return add_text(out, *(const int *)at ? param->choices[*(const int *)at] : NULL);
	case PARAM_STRINGS:
	case PARAM_PATHS:
		if (((const struct strings *)at)->count > 0)
			add_texts(out, at);
		break;
	case PARAM_INTS:
		if (((const struct ints *)at)->count > 0)
			add_ints(out, at);
		break;
	case PARAM_PAIRS:
		if (((const struct pairs *)at)->count > 0)
			add_pairs(out, at);
		break;
	case PARAM_STRUCT:
		if (*(const void *const *)at)
			add_fields(out, param->fields, *(const void *const *)at);
		break;
	case PARAM_LIST:
		if (((const struct list *)at)->count > 0)
			add_list(out, param, at);
		break;
	case PARAM_SECRET:
		return add_secret(out, at);
	}
	return out->size > 0;
}

const char *
params_text(const struct param *param, const void *spec, struct arena *arena)
{
	struct buf out finally(buf_finish) = { 0 };

	/* The common case has no need of a buffer. */
	if (param->type == PARAM_STRING || param->type == PARAM_PATH || param->type == PARAM_JSON)
		return *(const char *const *)field(spec, param);
	buf_init(&out, TEXT_SIZE);
	return add_value(&out, param, spec) ? arena_copy_bytes(arena, out.data, out.size) : NULL;
}

void
params_ingredients(const struct param *params, const void *spec, struct ingredients *into)
{
	static const char prefix[] = "param:";

	for (; params->name; params++) {
		const char *text = params->unhashed ? NULL : params_text(params, spec, into->arena);
		size_t length = strlen(params->name);
		char *name;

		if (!text)
			continue;
		name = arena_alloc(into->arena, sizeof prefix + length);
		memcpy(name, prefix, sizeof prefix - 1);
		memcpy(name + sizeof prefix - 1, params->name, length + 1);
		ingredients_add(into, INGREDIENT_PARAM, name, text, NULL);
	}
}
