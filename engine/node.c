#include "node.h"

#include <math.h>
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "base/units.h"

#define JSON_SIZE ((size_t)NODE_WEIGHT * NODE_TEXT * 8) /* more than any tree can need: a byte becomes six at most */

struct node *
node_get(const struct node *map, const char *key)
{
	if (!map || map->kind != NODE_MAP)
		return NULL;
	for (uint32_t i = 0; i < map->count; i++) {
		const char *name = map->entries[i].key;

		if (name[0] == key[0] && strcmp(name, key) == 0)
			return map->entries[i].value;
	}
	return NULL;
}

struct place
node_place(const struct node *map, const char *key)
{
	const struct node *value = node_get(map, key);

	if (value)
		return node_origin(value);
	return map ? node_origin(map) : (struct place){ 0 };
}

struct place
node_origin(const struct node *node)
{
	while (node->from)
		node = node->from;
	return node->at;
}

static bool
is_plain(const struct node *node)
{
	return node->kind == NODE_SCALAR && !node->quoted;
}

static bool
is_one_of(const char *text, const char *const *words)
{
	for (; *words; words++)
		if (strcmp(text, *words) == 0)
			return true;
	return false;
}

static size_t
span_digits(const char *text)
{
	return strspn(text, "0123456789");
}

static bool
looks_like_int(const char *text)
{
	size_t digits;

	if (text[0] == '0' && text[1] == 'o')
		return text[2] && text[2 + strspn(text + 2, "01234567")] == '\0';
	if (text[0] == '0' && text[1] == 'x')
		return text[2] && text[2 + strspn(text + 2, "0123456789abcdefABCDEF")] == '\0';
	if (*text == '-' || *text == '+')
		text++;
	digits = span_digits(text);
	return digits > 0 && text[digits] == '\0';
}

static bool
looks_like_number(const char *text)
{
	size_t whole, part = 0;

	if (*text == '-' || *text == '+')
		text++;
	whole = span_digits(text);
	text += whole;
	if (*text == '.') {
		text++;
		part = span_digits(text);
		text += part;
	}
	if (whole + part == 0)
		return false;
	if (*text == 'e' || *text == 'E') {
		text++;
		if (*text == '-' || *text == '+')
			text++;
		if (span_digits(text) == 0)
			return false;
		text += span_digits(text);
	}
	return *text == '\0';
}

bool
node_is_null(const struct node *node)
{
	return node->kind == NODE_NULL;
}

bool
node_as_bool(const struct node *node, bool *value)
{
	static const char *const yes[] = { "true", "True", "TRUE", NULL };
	static const char *const no[] = { "false", "False", "FALSE", NULL };
	bool is_true;

	if (!is_plain(node))
		return false;
	is_true = is_one_of(node->text, yes);
	if (!is_true && !is_one_of(node->text, no))
		return false;
	*value = is_true;
	return true;
}

static bool
based_int(const char *digits, unsigned base, int64_t *value)
{
	int64_t sum = 0;

	for (; *digits; digits++) {
		int digit = *digits <= '9' ? *digits - '0' : (*digits | 0x20) - 'a' + 10;

		if (__builtin_mul_overflow(sum, base, &sum) || __builtin_add_overflow(sum, digit, &sum))
			return false;
	}
	*value = sum;
	return true;
}

bool
node_as_int(const struct node *node, int64_t *value)
{
	const char *text = node->text;

	if (!is_plain(node) || !looks_like_int(text))
		return false;
	if (text[0] == '0' && text[1] == 'o')
		return based_int(text + 2, 8, value);
	if (text[0] == '0' && text[1] == 'x')
		return based_int(text + 2, 16, value);
	return units_int(text, value);
}

bool
node_as_float(const struct node *node, double *value)
{
	static const char *const plus[] = { ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF", NULL };
	static const char *const minus[] = { "-.inf", "-.Inf", "-.INF", NULL };
	static const char *const nan[] = { ".nan", ".NaN", ".NAN", NULL };
	double special;
	int64_t whole;

	if (!is_plain(node))
		return false;
	special = is_one_of(node->text, plus) ? (double)INFINITY : is_one_of(node->text, minus) ? -(double)INFINITY : 0.0;
	if (is_one_of(node->text, nan))
		special = (double)NAN;
	if (special != 0.0) {
		*value = special;
		return true;
	}
	if (node_as_int(node, &whole)) {
		*value = (double)whole;
		return true;
	}
	return looks_like_number(node->text) && units_float(node->text, value);
}

const char *
node_describe(const struct node *node)
{
	static const char *const kinds[] = {
		[NODE_NULL] = "null", [NODE_SCALAR] = "text", [NODE_LIST] = "a list", [NODE_MAP] = "a map",
	};
	bool truth;

	if (!is_plain(node))
		return kinds[node->kind];
	if (node_as_bool(node, &truth))
		return "a boolean";
	if (looks_like_int(node->text))
		return "an integer";
	return looks_like_number(node->text) ? "a number" : "text";
}

/* A number of the core schema as JSON writes it: `+.5` is 0.5, `007` is 7, `1.` is 1. Digits are kept, so that no precision is lost. */
static void
json_number(struct buf *out, const char *text)
{
	size_t digits;

	if (*text == '-')
		buf_char(out, '-');
	text += *text == '-' || *text == '+';
	while (text[0] == '0' && text[1] >= '0' && text[1] <= '9')
		text++;
	digits = span_digits(text);
	if (digits > 0)
		buf_add(out, text, digits);
	else
		buf_char(out, '0');
	text += digits;
	if (*text == '.') {
		text++;
		digits = span_digits(text);
		if (digits > 0) {
			buf_char(out, '.');
			buf_add(out, text, digits);
		}
		text += digits;
	}
	buf_text(out, text);
}

static void
json_scalar(struct buf *out, const struct node *node)
{
	bool truth;
	int64_t whole;

	if (node_as_bool(node, &truth))
		buf_text(out, truth ? "true" : "false");
	else if (node_as_int(node, &whole))
		buf_printf(out, "%lld", (long long)whole);
	else if (!node->quoted && looks_like_number(node->text))
		json_number(out, node->text);
	else
		json_quote(out, node->text);
}

/* As deep as NODE_HEIGHT allows. */
static void
json_node(struct buf *out, const struct node *node)
{
	switch (node->kind) {
	case NODE_NULL:
		buf_text(out, "null");
		break;
	case NODE_SCALAR:
		json_scalar(out, node);
		break;
	case NODE_LIST:
		buf_char(out, '[');
		for (uint32_t i = 0; i < node->count; i++) {
			if (i > 0)
				buf_char(out, ',');
			json_node(out, node->items[i]);
		}
		buf_char(out, ']');
		break;
	case NODE_MAP:
		buf_char(out, '{');
		for (uint32_t i = 0; i < node->count; i++) {
			if (i > 0)
				buf_char(out, ',');
			json_quote(out, node->entries[i].key);
			buf_char(out, ':');
			json_node(out, node->entries[i].value);
		}
		buf_char(out, '}');
		break;
	}
}

const char *
node_json(const struct node *node, struct arena *arena)
{
	struct buf out finally(buf_finish) = { 0 };

	buf_init(&out, JSON_SIZE);
	json_node(&out, node);
	return arena_copy_bytes(arena, out.data, out.size);
}
