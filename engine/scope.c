#include "scope.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "base/secret.h"
#include "base/strings.h"
#include "base/suggest.h"
#include "reference.h"

struct var {
	enum { VAR_NEW, VAR_BUSY, VAR_DONE } state;
	struct node *value;  /* NULL: there was an error */
};

static void
bad_piece(struct errors *errors, const struct node *node, const struct piece *piece)
{
	struct error err;

	fail_at(&err, reference_place(node, piece), FAULT_REFERENCE, "%s", piece->problem);
	error_label(&err, "cannot be read");
	error_hint(&err, "for a literal `${` write `$${`");
	reference_error(errors, &err);
}

static bool
ends_with_word(const char *part, size_t size, const char *word)
{
	size_t length = strlen(word);

	return size >= length && strncasecmp(part + size - length, word, length) == 0;
}

/* Judged word by word: TOKENIZERS_PARALLELISM is no secret. */
static bool
names_a_secret(const char *name)
{
	static const char *const endings[] = { "TOKEN", "TOKENS", "KEY", "KEYS", "SECRET", "SECRETS" };

	while (*name) {
		size_t size = strcspn(name, "_-");

		for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
			if (ends_with_word(name, size, endings[i]))
				return true;
		if (size >= 5 && strncasecmp(name, "PASSW", 5) == 0)
			return true;
		name += size + (name[size] != '\0');
	}
	return false;
}

static const char *
suggest_env(struct arena *arena, const char *name)
{
	const char *best = NULL;

	for (char **entry = environ; entry && *entry; entry++)
		best = suggest_better(name, best, arena_copy_bytes(arena, *entry, strcspn(*entry, "=")));
	return best;
}

static bool
is_utf8(const char *text)
{
	size_t size = strlen(text);

	for (size_t at = 0; at < size;) {
		size_t step = text_utf8(text + at, size - at);

		if (step == 0)
			return false;
		at += step;
	}
	return true;
}

/* The value of an environment variable, or NULL with an error added. */
static const char *
env_value(struct scope *scope, const struct node *node, const struct piece *piece)
{
	const char *name = arena_copy_bytes(scope->arena, piece->name, piece->name_size);
	struct place at = reference_place(node, piece);
	const char *value = getenv(name);
	const char *near;
	struct error err;

	scope->environment = true;
	if (names_a_secret(name) || (value && secret_looks_like_one(value))) {
		fail_at(&err, at, FAULT_SECRET_IN_TEXT, "`${env.%s}` would put a secret into the manifest's text", name);
		error_hint(&err, "name it where a secret is wanted: `token: {env: %s}`, or `env_from: [%s]` for a service", name, name);
	} else if (!value) {
		fail_at(&err, at, FAULT_UNDEFINED, "environment variable `%s` is not set", name);
		error_label(&err, "not set");
		near = suggest_env(scope->arena, name);
		if (near)
			error_hint(&err, "did you mean `${env.%s}`?", near);
	} else if (!is_utf8(value)) {
		fail_at(&err, at, FAULT_ENCODING, "the value of environment variable `%s` is not UTF-8", name);
	} else {
		return value;
	}
	reference_error(scope->errors, &err);
	return NULL;
}

void
scope_init(struct scope *scope, const struct node *vars, const struct node *targets, struct errors *errors, struct arena *arena)
{
	*scope = (struct scope){ .arena = arena, .errors = errors, .vars = vars, .targets = targets };
	names_init(&scope->names, arena);
	if (!vars)
		return;
	scope->values = arena_array(arena, vars->count, sizeof *scope->values);
	for (uint32_t i = 0; i < vars->count; i++)
		names_add(&scope->names, vars->entries[i].key);
}

void
scope_finish(struct scope *scope)
{
	names_finish(&scope->names);
}

static void
undefined_var(struct scope *scope, const struct node *node, const struct piece *piece, const char *name)
{
	const char *near = NULL;
	struct error err;

	fail_at(&err, reference_place(node, piece), FAULT_UNDEFINED, "nothing defines `${%s}`", name);
	error_label(&err, "not defined");
	if (node_get(scope->targets, name)) {
		error_hint(&err, "`%s` is a target: `${%s.OUTPUT}` is one of its outputs", name, name);
	} else {
		for (uint32_t i = 0; scope->vars && i < scope->vars->count; i++)
			near = suggest_better(name, near, scope->vars->entries[i].key);
		if (near)
			error_hint(&err, "did you mean `${%s}`?", near);
		else
			error_hint(&err, "define it under `vars:`, or with --set %s=VALUE", name);
	}
	reference_error(scope->errors, &err);
}

static void
circle(struct scope *scope, const struct node *node, const struct piece *piece, uint32_t id)
{
	struct buf chain finally(buf_finish) = { 0 };
	struct error err;
	size_t first = 0;

	buf_init(&chain, 300);
	while (scope->chain[first] != id)
		first++;
	for (size_t i = first; i < scope->depth; i++)
		buf_printf(&chain, "%s -> ", names_text(&scope->names, scope->chain[i]));
	buf_text(&chain, names_text(&scope->names, id));
	fail_at(&err, reference_place(node, piece), FAULT_REFERENCE, "vars refer to each other in a circle: %s", chain.data);
	error_label(&err, "closes the circle");
	reference_error(scope->errors, &err);
}

/* The value of a var, or NULL when there is an error, here or where the var is written. */
static struct node *
var_value(struct scope *scope, const struct node *node, const struct piece *piece)
{
	const char *name = arena_copy_bytes(scope->arena, piece->name, piece->name_size);
	uint32_t id = names_find(&scope->names, name);
	size_t errors = scope->errors->count;
	struct var *var;
	struct error err;

	if (id == NO_NAME) {
		undefined_var(scope, node, piece, name);
		return NULL;
	}
	var = &scope->values[id];
	if (var->state == VAR_DONE)
		return var->value;
	if (var->state == VAR_BUSY) {
		circle(scope, node, piece, id);
		return NULL;
	}
	if (scope->depth == VARS_DEEP) {
		fail_at(&err, reference_place(node, piece), FAULT_TOO_LARGE, "more than %d vars refer to each other in a row", VARS_DEEP);
		reference_error(scope->errors, &err);
		return NULL;
	}
	var->state = VAR_BUSY;
	scope->chain[scope->depth++] = id;
	var->value = scope_resolve(scope, scope->vars->entries[id].value);
	scope->depth--;
	var->state = VAR_DONE;
	if (scope->errors->count > errors)
		var->value = NULL;
	return var->value;
}

static void
too_large(struct scope *scope, const struct node *node)
{
	struct error err;

	fail_at(&err, node_origin(node), FAULT_TOO_LARGE, "too large when its references are replaced: more than %u nodes, %d levels or %zu MiB of text",
		NODE_WEIGHT, NODE_HEIGHT, REFERENCE_TEXT >> 20);
	reference_error(scope->errors, &err);
}

static bool
add_var(struct scope *scope, struct assembly *assembly, const struct node *node, const struct piece *piece)
{
	const struct node *value = var_value(scope, node, piece);
	struct error err;

	if (!value)
		return false;
	if (value->kind != NODE_SCALAR) {
		fail_at(&err, reference_place(node, piece), FAULT_REFERENCE, "`%.*s` is %s and cannot stand within a larger text", (int)piece->size, piece->start,
			node_describe(value));
		error_hint(&err, "a list or map can only be the whole value");
		reference_error(scope->errors, &err);
		return false;
	}
	if (value->pending)
		assembly_add_pending(assembly, value->text, strlen(value->text));
	else
		buf_text(&assembly->run, value->text);
	return true;
}

/* `${var.x}`: there is no looking into vars. */
static bool
check_output(struct scope *scope, const struct node *node, const struct piece *piece)
{
	const char *name = arena_copy_bytes(scope->arena, piece->name, piece->name_size);
	struct error err;

	if (names_find(&scope->names, name) == NO_NAME || node_get(scope->targets, name))
		return true;
	fail_at(&err, reference_place(node, piece), FAULT_REFERENCE, "`%.*s`: `%s` is a var, and only whole vars can be referred to", (int)piece->size,
		piece->start, name);
	error_hint(&err, "give the part that is needed a var of its own");
	reference_error(scope->errors, &err);
	return false;
}

static bool
add_piece(struct scope *scope, struct assembly *assembly, const struct node *node, const struct piece *piece)
{
	const char *value;

	switch (piece->kind) {
	case PIECE_TEXT:
		buf_add(&assembly->run, piece->start, piece->size);
		return true;
	case PIECE_VAR:
		return add_var(scope, assembly, node, piece);
	case PIECE_ENV:
		value = env_value(scope, node, piece);
		if (value)
			buf_text(&assembly->run, value);
		return value;
	case PIECE_OUTPUT:
		if (!check_output(scope, node, piece))
			return false;
		assembly_add_pending(assembly, piece->start, piece->size);
		return true;
	case PIECE_BAD:
		bad_piece(scope->errors, node, piece);
		break;
	}
	return false;
}

/* Text with references in it. All of them are looked at, so that all errors are found. */
static struct node *
resolve_text(struct scope *scope, struct node *node)
{
	struct assembly assembly finally(assembly_finish) = { 0 };
	struct piece piece = { 0 };
	struct node *made;
	struct error err;
	bool ok = true;
	size_t offset = 0;

	assembly_init(&assembly, REFERENCE_TEXT - scope->produced);
	while (reference_next(node->text, &offset, &piece))
		ok &= add_piece(scope, &assembly, node, &piece);
	if (!ok)
		return node;
	if (assembly.ambiguous) {
		fail_at(&err, node_origin(node), FAULT_REFERENCE, "a `$` directly before a reference to an output");
		error_hint(&err, "put another character between them");
		reference_error(scope->errors, &err);
		return node;
	}
	made = assembly_node(&assembly, node, scope->arena);
	scope->produced += assembly.run.size + assembly.out.size;
	if (assembly.run.truncated || assembly.out.truncated)
		too_large(scope, node);
	return made;
}

/* One reference and nothing else: it takes the referent's type. */
static struct node *
resolve_whole(struct scope *scope, struct node *node, const struct piece *piece)
{
	const struct node *value;
	struct node *copy;
	const char *text;

	if (piece->kind == PIECE_OUTPUT) {
		check_output(scope, node, piece);
		return node;
	}
	if (piece->kind == PIECE_ENV) {
		text = env_value(scope, node, piece);
		if (!text)
			return node;
		copy = reference_text_node(scope->arena, node, text, strlen(text));
		copy->pending = false;
		copy->quoted = !*text;
		return copy;
	}
	value = var_value(scope, node, piece);
	if (!value)
		return node;
	copy = arena_alloc(scope->arena, sizeof *copy);
	*copy = *value;
	copy->at = node->at;
	copy->from = value;
	return copy;
}

static struct node *
resolve_inside(struct scope *scope, struct node *node)
{
	struct node *copy = reference_empty_copy(scope->arena, node);

	for (uint32_t i = 0; i < node->count; i++)
		if (!reference_put(copy, node, i, scope_resolve(scope, reference_child(node, i)))) {
			too_large(scope, node);
			return node;
		}
	return copy;
}

struct node *
scope_resolve(struct scope *scope, struct node *node)
{
	struct piece piece;

	if (!node->pending)
		return node;
	if (node->kind == NODE_LIST || node->kind == NODE_MAP)
		return resolve_inside(scope, node);
	if (reference_is_whole(node->text, &piece) && piece.kind != PIECE_BAD)
		return resolve_whole(scope, node, &piece);
	return resolve_text(scope, node);
}

const struct node *
scope_vars(struct scope *scope)
{
	struct node *copy;

	if (!scope->vars)
		return NULL;
	copy = reference_empty_copy(scope->arena, scope->vars);
	for (uint32_t i = 0; i < scope->vars->count; i++) {
		const struct entry *entry = &scope->vars->entries[i];
		struct piece piece = { .kind = PIECE_VAR, .name = entry->key, .name_size = strlen(entry->key) };
		struct node *value = var_value(scope, entry->value, &piece);

		if (!reference_put(copy, scope->vars, i, value ? value : entry->value)) {
			too_large(scope, scope->vars);
			return NULL;
		}
	}
	return copy;
}
