#include "manifest.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "base/names.h"
#include "base/secret.h"
#include "parsed.h"

#define SHORTEST_SECRET 16 /* nothing shorter looks like one: most scalars are not even asked */
#define NODE_BLOCK 64

/* A key and its value, or an item, of a list or map that is still open. */
struct slot {
	struct entry entry;
	uint32_t key_id;
	bool is_merge;
};

struct frame {
	struct node *node;
	size_t first;    /* its slots begin here */
	uint32_t weight;
	uint16_t height; /* of its highest child */
	bool pending;
	bool has_key;    /* a map: the key was read, the value comes */
};

struct parser {
	yaml_parser_t yaml;
	struct arena *arena;
	const struct source *source;
	size_t skipped;           /* bytes of a byte order mark */
	struct errors *errors;
	struct names keys;
	struct names anchors;
	struct node **anchored;   /* by id in `anchors` */
	size_t anchored_capacity;
	struct slot *slots;       /* of all open frames, innermost last */
	size_t slot_count;
	size_t slot_capacity;
	uint64_t *seen;           /* by id in `keys`: number of the map that holds it, and its slot */
	size_t seen_capacity;
	uint32_t map_number;
	uint32_t merged;          /* entries looked at for merge keys */
	struct node *spare;       /* nodes are taken from the arena many at a time */
	size_t spare_count;
	struct frame frames[NODE_HEIGHT];
	size_t depth;
	struct node *root;
};

static void
parser_finish(struct parser *parser)
{
	yaml_parser_delete(&parser->yaml);
	names_finish(&parser->keys);
	names_finish(&parser->anchors);
	free(parser->anchored);
	free(parser->slots);
	free(parser->seen);
}

static void
finish_event(yaml_event_t *event)
{
	yaml_event_delete(event);
}

static struct place
place_of(const struct parser *parser, const yaml_mark_t *start, const yaml_mark_t *end)
{
	return (struct place){
		.file = parser->source->file,
		.line = (uint32_t)start->line + 1,
		.column = (uint32_t)start->column + 1,
		.length = end->line == start->line && end->column > start->column ? (uint32_t)(end->column - start->column) : 1,
	};
}

static bool refuse(struct parser *parser, struct place at, enum fault fault, const char *hint, const char *format, ...)
	__attribute__((format(printf, 5, 6), noinline, cold));

/* Add an error; always false. The only function here with a `struct error`: that much stack would be cleared for every event. */
static bool
refuse(struct parser *parser, struct place at, enum fault fault, const char *hint, const char *format, ...)
{
	struct error err = { 0 };
	va_list args;

	va_start(args, format);
	fail_at(&err, at, fault, "%s", arena_vprintf(parser->arena, format, args));
	va_end(args);
	if (hint)
		error_hint(&err, "%s", hint);
	errors_add(parser->errors, &err);
	return false;
}

static bool
too_large(struct parser *parser, struct place at)
{
	return refuse(parser, at, FAULT_TOO_LARGE, NULL, "the manifest has more than %u nodes when aliases and merge keys are followed", NODE_WEIGHT);
}

static struct node *
new_node(struct parser *parser)
{
	if (parser->spare_count == 0) {
		parser->spare = arena_array(parser->arena, NODE_BLOCK, sizeof *parser->spare);
		parser->spare_count = NODE_BLOCK;
	}
	return &parser->spare[--parser->spare_count];
}

static struct slot *
push_slot(struct parser *parser)
{
	if (parser->slot_count == parser->slot_capacity) {
		parser->slot_capacity = parser->slot_capacity ? parser->slot_capacity * 2 : 256;
		parser->slots = xrealloc(parser->slots, parser->slot_capacity * sizeof *parser->slots);
	}
	parser->slots[parser->slot_count] = (struct slot){ 0 };
	return &parser->slots[parser->slot_count++];
}

static bool
weigh(struct parser *parser, struct frame *frame, const struct node *node, struct place at)
{
	if (node->weight > NODE_WEIGHT - frame->weight)
		return too_large(parser, at);
	frame->weight += node->weight;
	frame->pending |= node->pending;
	if (node->height > frame->height)
		frame->height = node->height;
	return true;
}

/* A node that is whole takes its place in what is open around it. */
static bool
attach(struct parser *parser, struct node *node, struct place at)
{
	struct frame *frame;

	if (parser->depth == 0) {
		parser->root = node;
		return true;
	}
	frame = &parser->frames[parser->depth - 1];
	if (frame->node->kind == NODE_MAP) {
		parser->slots[parser->slot_count - 1].entry.value = node;
		frame->has_key = false;
	} else {
		push_slot(parser)->entry.value = node;
	}
	return weigh(parser, frame, node, at);
}

static void
set_anchor(struct parser *parser, const yaml_char_t *name, struct node *node)
{
	uint32_t id;

	if (!name)
		return;
	id = names_add(&parser->anchors, (const char *)name);
	if (id >= parser->anchored_capacity) {
		parser->anchored_capacity = parser->anchors.capacity;
		parser->anchored = xrealloc(parser->anchored, parser->anchored_capacity * sizeof *parser->anchored);
	}
	parser->anchored[id] = node;
}

static bool
expects_key(const struct parser *parser)
{
	const struct frame *frame = parser->depth ? &parser->frames[parser->depth - 1] : NULL;

	return frame && frame->node->kind == NODE_MAP && !frame->has_key;
}

static bool
refuse_key(struct parser *parser, struct place at, const char *what)
{
	return refuse(parser, at, FAULT_BAD_VALUE, "keys are text; put a value that begins with `{` or `[` in quotes", "%s cannot be a key", what);
}

static bool
add_key(struct parser *parser, const char *text, size_t length, bool plain, struct place at)
{
	struct frame *frame = &parser->frames[parser->depth - 1];
	struct slot *slot;

	if (length == 0)
		return refuse_key(parser, at, "empty text");
	slot = push_slot(parser);
	slot->key_id = names_add_n(&parser->keys, text, length);
	slot->entry.key = names_text(&parser->keys, slot->key_id);
	slot->entry.at = at;
	slot->is_merge = plain && strcmp(slot->entry.key, "<<") == 0;
	frame->has_key = true;
	return true;
}

static bool
is_null_word(const char *text)
{
	return !*text || strcmp(text, "~") == 0 || strcmp(text, "null") == 0 || strcmp(text, "Null") == 0 || strcmp(text, "NULL") == 0;
}

/* The core schema's tags for scalars. */
static bool
apply_tag(struct node *node, const char *tag)
{
	static const char prefix[] = "tag:yaml.org,2002:";
	bool truth;
	int64_t whole;
	double number;

	if (strcmp(tag, "!") == 0) {
		node->quoted = true;
		return true;
	}
	if (strncmp(tag, prefix, sizeof prefix - 1) != 0)
		return false;
	tag += sizeof prefix - 1;
	node->quoted = strcmp(tag, "str") == 0;
	if (node->quoted)
		return true;
	if (strcmp(tag, "null") == 0)
		return is_null_word(node->text);
	if (strcmp(tag, "bool") == 0)
		return node_as_bool(node, &truth);
	if (strcmp(tag, "int") == 0)
		return node_as_int(node, &whole);
	return strcmp(tag, "float") == 0 && node_as_float(node, &number);
}

static void
check_text(struct parser *parser, const char *text, size_t length, struct place at)
{
	if (memchr(text, '\0', length)) {
		refuse(parser, at, FAULT_BAD_VALUE, NULL, "text with a NUL character in it");
	} else if (length >= SHORTEST_SECRET && secret_looks_like_one(text)) {
		refuse(parser, at, FAULT_SECRET_IN_TEXT, "name it instead: `{env: NAME}` or `{file: PATH}`; and revoke this one if others could read the file",
			"this looks like a secret, and a manifest is no place for one");
		error_label(&parser->errors->items[parser->errors->count - 1], "looks like a token, password or key");
	}
}

static bool
on_scalar(struct parser *parser, const yaml_event_t *event)
{
	const char *text = (const char *)event->data.scalar.value;
	size_t length = event->data.scalar.length;
	bool plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	struct place at = place_of(parser, &event->start_mark, &event->end_mark);
	bool is_key = expects_key(parser);
	struct node *node;

	check_text(parser, text, length, at);
	if (is_key && !event->data.scalar.anchor)
		return add_key(parser, text, length, plain && !event->data.scalar.tag, at);
	node = new_node(parser);
	*node = (struct node){ .kind = NODE_SCALAR, .quoted = !plain, .at = at, .weight = 1 + (uint32_t)(length / NODE_TEXT) };
	node->text = arena_copy_bytes(parser->arena, text, length);
	node->pending = memchr(text, '$', length) && strstr(node->text, "${");
	if (event->data.scalar.tag && !apply_tag(node, (const char *)event->data.scalar.tag))
		refuse(parser, at, FAULT_BAD_VALUE, NULL, "tag `%s` does not fit `%s`, or is not one of YAML's core schema", event->data.scalar.tag, node->text);
	if (!node->quoted && is_null_word(node->text))
		node->kind = NODE_NULL;
	set_anchor(parser, event->data.scalar.anchor, node);
	return is_key ? add_key(parser, text, length, plain, at) : attach(parser, node, at);
}

static bool
on_alias(struct parser *parser, const yaml_event_t *event)
{
	const char *name = (const char *)event->data.alias.anchor;
	struct place at = place_of(parser, &event->start_mark, &event->end_mark);
	uint32_t id = names_find(&parser->anchors, name);
	struct node *node;

	if (id == NO_NAME)
		return refuse(parser, at, FAULT_SYNTAX, NULL, "no anchor `&%s` before this alias", name);
	node = parser->anchored[id];
	for (size_t i = 0; i < parser->depth; i++)
		if (parser->frames[i].node == node)
			return refuse(parser, at, FAULT_SYNTAX, NULL, "alias `*%s` within its own anchor", name);
	if (!expects_key(parser))
		return attach(parser, node, at);
	if (node->kind != NODE_SCALAR)
		return refuse_key(parser, at, node_describe(node));
	return add_key(parser, node->text, strlen(node->text), false, at);
}

static bool
open_node(struct parser *parser, enum node_kind kind, const yaml_event_t *event, const yaml_char_t *anchor, const yaml_char_t *tag, const char *core_tag)
{
	struct place at = place_of(parser, &event->start_mark, &event->end_mark);
	struct node *node;

	if (expects_key(parser))
		return refuse_key(parser, at, kind == NODE_MAP ? "a map" : "a list");
	if (parser->depth == NODE_HEIGHT)
		return refuse(parser, at, FAULT_TOO_LARGE, NULL, "more than %d levels of lists and maps", NODE_HEIGHT);
	if (tag && strcmp((const char *)tag, core_tag) != 0 && strcmp((const char *)tag, "!") != 0)
		refuse(parser, at, FAULT_BAD_VALUE, NULL, "tag `%s` does not fit here, or is not one of YAML's core schema", tag);
	node = new_node(parser);
	*node = (struct node){ .kind = kind, .at = at };
	set_anchor(parser, anchor, node);
	parser->frames[parser->depth++] = (struct frame){ .node = node, .first = parser->slot_count, .weight = 1 };
	return true;
}

/* The slot of this map that has the key already, or NULL; from now on `slot` has it. */
static const struct slot *
slot_before(struct parser *parser, size_t slot)
{
	uint32_t id = parser->slots[slot].key_id;
	uint64_t was;

	if (id >= parser->seen_capacity) {
		size_t capacity = parser->keys.capacity;

		parser->seen = xrealloc(parser->seen, capacity * sizeof *parser->seen);
		memset(parser->seen + parser->seen_capacity, 0, (capacity - parser->seen_capacity) * sizeof *parser->seen);
		parser->seen_capacity = capacity;
	}
	was = parser->seen[id];
	if (was >> 32 == parser->map_number)
		return &parser->slots[(uint32_t)was];
	parser->seen[id] = (uint64_t)parser->map_number << 32 | (uint32_t)slot;
	return NULL;
}

static void
duplicate_key(struct parser *parser, const struct slot *slot, const struct slot *first)
{
	refuse(parser, slot->entry.at, FAULT_DUPLICATE_KEY, "remove one of them, or rename it", "key `%s` stands here twice; first in line %u, column %u",
		slot->entry.key, first->entry.at.line, first->entry.at.column);
	error_label(&parser->errors->items[parser->errors->count - 1], "again");
}

/* Entries of a merged map that are not there yet; what came first wins. */
static bool
merge_map(struct parser *parser, struct frame *frame, const struct node *map, struct place at)
{
	if (map->count > NODE_WEIGHT - parser->merged)
		return too_large(parser, at);
	parser->merged += map->count;
	for (uint32_t i = 0; i < map->count; i++) {
		struct slot *slot = push_slot(parser);

		slot->entry = map->entries[i];
		slot->key_id = names_add(&parser->keys, slot->entry.key);
		if (slot_before(parser, parser->slot_count - 1))
			parser->slot_count--;
		else if (!weigh(parser, frame, slot->entry.value, at))
			return false;
	}
	return true;
}

static bool
merge_value(struct parser *parser, struct frame *frame, const struct node *value, struct place at)
{
	bool is_list = value->kind == NODE_LIST;

	for (uint32_t i = 0; is_list && i < value->count; i++)
		is_list = value->items[i]->kind == NODE_MAP;
	if (!is_list && value->kind != NODE_MAP) {
		refuse(parser, at, FAULT_BAD_VALUE, "an alias to a map: `<<: *name`", "a merge key takes a map or a list of maps, not %s", node_describe(value));
		return true;
	}
	if (value->kind == NODE_MAP)
		return merge_map(parser, frame, value, at);
	for (uint32_t i = 0; i < value->count; i++)
		if (!merge_map(parser, frame, value->items[i], at))
			return false;
	return true;
}

/* Refuse keys that stand twice, and apply merge keys: their entries join the frame's slots. */
static bool
settle_keys(struct parser *parser, struct frame *frame)
{
	size_t end = parser->slot_count;
	bool merges = false;

	parser->map_number++;
	for (size_t i = frame->first; i < end; i++) {
		const struct slot *first = slot_before(parser, i);

		if (first)
			duplicate_key(parser, &parser->slots[i], first);
		merges |= parser->slots[i].is_merge;
	}
	for (size_t i = frame->first; merges && i < end; i++)
		if (parser->slots[i].is_merge && !merge_value(parser, frame, parser->slots[i].entry.value, parser->slots[i].entry.at))
			return false;
	return true;
}

static void
take_items(struct parser *parser, const struct frame *frame)
{
	struct node *node = frame->node;
	size_t count = parser->slot_count - frame->first;

	node->count = (uint32_t)count;
	node->items = arena_array(parser->arena, count, sizeof *node->items);
	for (size_t i = 0; i < count; i++)
		node->items[i] = parser->slots[frame->first + i].entry.value;
}

static void
take_entries(struct parser *parser, const struct frame *frame)
{
	struct node *node = frame->node;
	size_t count = parser->slot_count - frame->first;

	node->entries = arena_array(parser->arena, count, sizeof *node->entries);
	for (size_t i = frame->first; i < parser->slot_count; i++)
		if (!parser->slots[i].is_merge)
			node->entries[node->count++] = parser->slots[i].entry;
}

static bool
close_node(struct parser *parser)
{
	struct frame *frame = &parser->frames[parser->depth - 1];
	struct node *node = frame->node;

	if (node->kind == NODE_MAP) {
		if (!settle_keys(parser, frame))
			return false;
		take_entries(parser, frame);
	} else {
		take_items(parser, frame);
	}
	if (frame->height >= NODE_HEIGHT)
		return refuse(parser, node->at, FAULT_TOO_LARGE, NULL, "more than %d levels of lists and maps when aliases are followed", NODE_HEIGHT);
	node->weight = frame->weight;
	node->height = (uint16_t)(frame->height + 1);
	node->pending = frame->pending;
	parser->slot_count = frame->first;
	parser->depth--;
	return attach(parser, node, node->at);
}

static bool
syntax_error(struct parser *parser)
{
	const yaml_parser_t *yaml = &parser->yaml;
	const char *problem = yaml->problem ? yaml->problem : "it cannot be read";
	struct place at = place_of(parser, &yaml->problem_mark, &yaml->problem_mark);
	const char *hint = yaml->error == YAML_READER_ERROR ? NULL : source_syntax_hint(parser->source, yaml->problem_mark.line);

	if (yaml->error == YAML_MEMORY_ERROR)
		out_of_memory();
	if (yaml->error == YAML_READER_ERROR)
		return refuse(parser, source_place(parser->source, yaml->problem_offset + parser->skipped), FAULT_ENCODING,
			"save the file as UTF-8, without control characters", "not UTF-8 text: %s", problem);
	if (yaml->context)
		return refuse(parser, at, FAULT_SYNTAX, hint, "not valid YAML: %s, %s (from line %zu)", problem, yaml->context, yaml->context_mark.line + 1);
	return refuse(parser, at, FAULT_SYNTAX, hint, "not valid YAML: %s", problem);
}

static bool
on_event(struct parser *parser, const yaml_event_t *event, size_t *documents)
{
	switch (event->type) {
	case YAML_DOCUMENT_START_EVENT:
		if (++*documents < 2)
			return true;
		return refuse(parser, place_of(parser, &event->start_mark, &event->end_mark), FAULT_SYNTAX,
			"a manifest is one document: remove this `---`, or use a file of its own and `extends`", "a second document begins here");
	case YAML_SCALAR_EVENT:
		return on_scalar(parser, event);
	case YAML_ALIAS_EVENT:
		return on_alias(parser, event);
	case YAML_SEQUENCE_START_EVENT:
		return open_node(parser, NODE_LIST, event, event->data.sequence_start.anchor, event->data.sequence_start.tag, YAML_SEQ_TAG);
	case YAML_MAPPING_START_EVENT:
		return open_node(parser, NODE_MAP, event, event->data.mapping_start.anchor, event->data.mapping_start.tag, YAML_MAP_TAG);
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		return close_node(parser);
	default:
		return true;
	}
}

/* NULL with errors added; a text without a document is a null node. */
static struct node *
parse(struct sources *sources, const struct source *source, struct errors *errors)
{
	struct parser parser finally(parser_finish) = { .arena = sources->arena, .source = source, .errors = errors };
	size_t before = errors->count;
	size_t documents = 0;
	yaml_event_type_t type;
	struct error err;

	parser.skipped = source->size >= 3 && memcmp(source->text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
	names_init(&parser.keys, sources->arena);
	names_init(&parser.anchors, sources->arena);
	if (!yaml_parser_initialize(&parser.yaml))
		out_of_memory();
	if (!source_check(source, &err)) {
		errors_add(errors, &err);
		return NULL;
	}
	yaml_parser_set_encoding(&parser.yaml, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&parser.yaml, (const unsigned char *)source->text + parser.skipped, source->size - parser.skipped);
	do {
		yaml_event_t event finally(finish_event) = { 0 };

		if (!yaml_parser_parse(&parser.yaml, &event)) {
			syntax_error(&parser);
			return NULL;
		}
		type = event.type;
		if (!on_event(&parser, &event, &documents))
			return NULL;
	} while (type != YAML_STREAM_END_EVENT);
	if (errors->count > before)
		return NULL;
	if (!parser.root) {
		parser.root = arena_alloc(sources->arena, sizeof *parser.root);
		*parser.root = (struct node){ .kind = NODE_NULL, .text = "", .weight = 1, .at = { .file = source->file, .line = 1, .column = 1 } };
	}
	return parser.root;
}

/* What an earlier run parsed this very text to. */
static struct node *
recall(const struct sources *sources, const struct source *source)
{
	const void *bytes = NULL;
	size_t size;

	if (sources->recall && source->size >= PARSED_WORTH)
		bytes = sources->recall->parsed(sources->recall->self, source, sources->arena, &size);
	return bytes ? parsed_unpack(source, bytes, size, sources->arena) : NULL;
}

struct node *
manifest_parse(struct sources *sources, const char *file, const char *path, struct errors *errors)
{
	struct error err;
	const struct source *source = sources_read(sources, file, path, &err);
	struct node *root;

	if (!source) {
		errors_add(errors, &err);
		return NULL;
	}
	root = recall(sources, source);
	sources->items[sources->count - 1].recalled = root != NULL;
	if (!root)
		root = parse(sources, source, errors);
	sources->items[sources->count - 1].tree = root;
	if (!root || root->kind == NODE_MAP)
		return root;
	if (root->kind == NODE_NULL)
		fail_at(&err, root->at, FAULT_SYNTAX, "the manifest is empty");
	else
		fail_at(&err, root->at, FAULT_BAD_VALUE, "a manifest is a map, and this is %s", node_describe(root));
	error_hint(&err, "it begins with `provision: 1`, `name: NAME` and `targets:`");
	errors_add(errors, &err);
	return NULL;
}

struct node *
manifest_parse_text(struct sources *sources, const char *file, const char *text, size_t size, struct errors *errors)
{
	return parse(sources, sources_add_text(sources, file, text, size), errors);
}
