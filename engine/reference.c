#include "reference.h"

#include <string.h>

#include "base/arena.h"
#include "base/strings.h"

#define MOST_ERRORS 1000 /* in one run: more help nobody */

static size_t
span_name(const char *text)
{
	static const char first[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_";

	return strspn(text, first) ? strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789-") : 0;
}

static void
read_reference(const char *text, size_t offset, struct piece *piece)
{
	const char *at = text + offset + 2;
	const char *end = strchr(at, '}');

	*piece = (struct piece){ .kind = PIECE_BAD, .start = text + offset, .offset = offset, .size = strlen(text + offset) };
	if (!end) {
		piece->problem = "`${` without a `}`";
		return;
	}
	piece->size = (size_t)(end + 1 - piece->start);
	piece->problem = "a reference is `${var}`, `${env.NAME}` or `${target.output}`";
	piece->name = at;
	piece->name_size = span_name(at);
	at += piece->name_size;
	if (piece->name_size > 0 && at == end) {
		piece->kind = PIECE_VAR;
		return;
	}
	if (piece->name_size == 0 || *at != '.')
		return;
	at++;
	piece->output = at;
	piece->output_size = span_name(at);
	if (piece->output_size == 0 || at + piece->output_size != end)
		return;
	piece->kind = PIECE_OUTPUT;
	if (piece->name_size == 3 && memcmp(piece->name, "env", 3) == 0) {
		piece->kind = PIECE_ENV;
		piece->name = piece->output;
		piece->name_size = piece->output_size;
	}
}

bool
reference_next(const char *text, size_t *offset, struct piece *piece)
{
	const char *start = text + *offset;
	const char *dollar;

	if (!*start)
		return false;
	if (strncmp(start, "$${", 3) == 0) {
		*piece = (struct piece){ .kind = PIECE_TEXT, .start = start + 1, .size = 2, .offset = *offset };
		*offset += 3;
		return true;
	}
	if (strncmp(start, "${", 2) == 0) {
		read_reference(text, *offset, piece);
		*offset += piece->size;
		return true;
	}
	dollar = start;
	while ((dollar = strchr(dollar, '$')) && strncmp(dollar, "$${", 3) != 0 && strncmp(dollar, "${", 2) != 0)
		dollar++;
	*piece = (struct piece){ .kind = PIECE_TEXT, .start = start, .offset = *offset, .size = dollar ? (size_t)(dollar - start) : strlen(start) };
	*offset += piece->size;
	return true;
}

bool
reference_is_whole(const char *text, struct piece *piece)
{
	size_t offset = 0;

	return reference_next(text, &offset, piece) && piece->kind != PIECE_TEXT && !text[offset];
}

static uint32_t
count_characters(const char *text, size_t size)
{
	uint32_t count = 0;

	for (size_t at = 0; at < size; count++) {
		size_t step = text_utf8(text + at, size - at);

		at += step ? step : 1;
	}
	return count;
}

struct place
reference_place(const struct node *node, const struct piece *piece)
{
	const struct node *written = node;
	struct place at;
	uint32_t length, quote;

	while (written->from)
		written = written->from;
	at = written->at;
	if (written->kind != NODE_SCALAR || strcmp(written->text, node->text) != 0)
		return at;
	length = count_characters(node->text, strlen(node->text));
	quote = at.length == length + 2 ? 1 : 0;
	if (at.length != length + 2 * quote)
		return at;
	at.column += quote + count_characters(node->text, piece->offset);
	at.length = count_characters(node->text + piece->offset, piece->kind == PIECE_TEXT ? 1 : piece->size);
	return at;
}

void
reference_error(struct errors *errors, const struct error *err)
{
	if (errors->count >= MOST_ERRORS)
		return;
	for (size_t i = 0; i < errors->count; i++) {
		const struct error *other = &errors->items[i];

		if (other->fault == err->fault && other->at.file == err->at.file && other->at.line == err->at.line && other->at.column == err->at.column
			&& strcmp(other->text, err->text) == 0)
			return;
	}
	errors_add(errors, err);
}

static uint32_t
text_weight(size_t size)
{
	return 1 + (uint32_t)(size / NODE_TEXT);
}

struct node *
reference_text_node(struct arena *arena, const struct node *like, const char *text, size_t size)
{
	struct node *node = arena_alloc(arena, sizeof *node);

	*node = *like;
	node->text = arena_copy_bytes(arena, text, size);
	node->weight = text_weight(size);
	return node;
}

static bool
ends_with_dollar(const struct buf *buf)
{
	return buf->size > 0 && buf->data[buf->size - 1] == '$';
}

/* A literal run in text that stays pending must not be taken for a reference later, nor may it become one with a `$` before it. */
static void
add_escaped(struct buf *out, const struct buf *run)
{
	if (run->data[0] == '{' && ends_with_dollar(out))
		buf_char(out, '$');
	for (size_t i = 0; i < run->size; i++) {
		if (run->data[i] == '$' && run->data[i + 1] == '{')
			buf_char(out, '$');
		buf_char(out, run->data[i]);
	}
}

void
assembly_finish(struct assembly *assembly)
{
	buf_finish(&assembly->run);
	buf_finish(&assembly->out);
}

void
assembly_init(struct assembly *assembly, size_t limit)
{
	*assembly = (struct assembly){ 0 };
	buf_init(&assembly->run, limit);
	buf_init(&assembly->out, limit);
}

void
assembly_add_pending(struct assembly *assembly, const char *text, size_t size)
{
	add_escaped(&assembly->out, &assembly->run);
	buf_clear(&assembly->run);
	if (size > 0 && *text == '{' && ends_with_dollar(&assembly->out))
		buf_char(&assembly->out, '$');
	if (size > 1 && text[0] == '$' && text[1] == '{' && ends_with_dollar(&assembly->out))
		assembly->ambiguous = true;
	buf_add(&assembly->out, text, size);
	assembly->pending = true;
}

struct node *
assembly_node(struct assembly *assembly, const struct node *like, struct arena *arena)
{
	struct node *node;

	if (assembly->pending)
		add_escaped(&assembly->out, &assembly->run);
	node = assembly->pending ? reference_text_node(arena, like, assembly->out.data, assembly->out.size)
		: reference_text_node(arena, like, assembly->run.data, assembly->run.size);
	node->kind = NODE_SCALAR;
	node->quoted = true;
	node->pending = assembly->pending;
	return node;
}

struct node *
reference_empty_copy(struct arena *arena, const struct node *node)
{
	struct node *copy = arena_alloc(arena, sizeof *copy);

	*copy = *node;
	copy->pending = false;
	copy->weight = 1;
	copy->height = 1;
	if (node->kind == NODE_LIST)
		copy->items = arena_array(arena, node->count, sizeof *copy->items);
	else
		copy->entries = arena_array(arena, node->count, sizeof *copy->entries);
	return copy;
}

struct node *
reference_child(const struct node *node, uint32_t index)
{
	return node->kind == NODE_LIST ? node->items[index] : node->entries[index].value;
}

bool
reference_put(struct node *copy, const struct node *node, uint32_t index, struct node *child)
{
	if (node->kind == NODE_LIST) {
		copy->items[index] = child;
	} else {
		copy->entries[index] = node->entries[index];
		copy->entries[index].value = child;
	}
	copy->pending |= child->pending;
	if (child->height >= copy->height)
		copy->height = (uint16_t)(child->height + 1);
	return !__builtin_add_overflow(copy->weight, child->weight, &copy->weight) && copy->weight <= NODE_WEIGHT && copy->height <= NODE_HEIGHT;
}
