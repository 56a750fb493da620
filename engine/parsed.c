#include "parsed.h"

#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/names.h"
#include "base/pack.h"

#define VERSION "2 " PROVISION_VERSION

/* What a node's first byte says beside its kind. */
#define QUOTED 4u
#define PENDING 8u
#define KIND 3u

struct packing {
	struct buf *bytes;
	struct names keys;
};

/* Seven bits a byte, the lowest first. */
static void
put(struct buf *bytes, uint32_t number)
{
	unsigned char text[5];
	size_t size = 0;

	for (; number >= 0x80; number >>= 7)
		text[size++] = (unsigned char)(number | 0x80);
	text[size++] = (unsigned char)number;
	buf_add(bytes, text, size);
}

static void
put_place(struct buf *bytes, const struct place *at)
{
	put(bytes, at->line);
	put(bytes, at->column);
	put(bytes, at->length);
}

static void
put_node(struct packing *packing, const struct node *node)
{
	struct buf *bytes = packing->bytes;

	if (bytes->truncated)
		return;
	put(bytes, (uint32_t)node->kind | (node->quoted ? QUOTED : 0) | (node->pending ? PENDING : 0));
	put_place(bytes, &node->at);
	put(bytes, node->height);
	put(bytes, node->weight);
	if (node->kind == NODE_NULL || node->kind == NODE_SCALAR) {
		size_t length = strlen(node->text);

		put(bytes, (uint32_t)length);
		buf_add(bytes, node->text, length + 1);
		return;
	}
	put(bytes, node->count);
	for (uint32_t i = 0; node->kind == NODE_LIST && i < node->count; i++)
		put_node(packing, node->items[i]);
	for (uint32_t i = 0; node->kind == NODE_MAP && i < node->count; i++) {
		put(bytes, names_add(&packing->keys, node->entries[i].key));
		put_place(bytes, &node->entries[i].at);
		put_node(packing, node->entries[i].value);
	}
}

void
parsed_pack(const struct source *source, const struct node *root, struct buf *bytes)
{
	struct arena arena finally(arena_finish) = { 0 };
	struct names keys finally(names_finish) = { 0 };
	struct buf nodes finally(buf_finish) = { 0 };
	struct packing packing = { .bytes = &nodes };

	buf_init(&nodes, bytes->limit);
	names_init(&packing.keys, &arena);
	put_node(&packing, root);
	keys = packing.keys;
	pack_text(bytes, VERSION);
	pack_bytes(bytes, source->digest.bytes, DIGEST_SIZE);
	pack_int(bytes, (int64_t)keys.count);
	for (uint32_t i = 0; i < keys.count; i++)
		pack_text(bytes, names_text(&keys, i));
	pack_bytes(bytes, nodes.data, nodes.size);
	bytes->truncated |= nodes.truncated;
	pack_sum(bytes);
}

struct unpacking {
	const unsigned char *at;
	const unsigned char *end;
	const char **keys;
	uint32_t key_count;
	const char *file;
	struct arena *arena;
	bool bad;
};

static uint32_t
get(struct unpacking *unpacking)
{
	uint32_t number = 0;

	for (unsigned shift = 0; shift < 32 && unpacking->at < unpacking->end; shift += 7) {
		unsigned char byte = *unpacking->at++;

		number |= (uint32_t)(byte & 0x7f) << shift;
		if (byte < 0x80)
			return number;
	}
	unpacking->bad = true;
	return 0;
}

static void
get_place(struct unpacking *unpacking, struct place *at)
{
	at->file = unpacking->file;
	at->line = get(unpacking);
	at->column = get(unpacking);
	at->length = get(unpacking);
}

static void
get_text(struct unpacking *unpacking, struct node *node)
{
	size_t length = get(unpacking);

	node->text = "";
	if (unpacking->bad || length >= (size_t)(unpacking->end - unpacking->at) || memchr(unpacking->at, '\0', length + 1) != unpacking->at + length) {
		unpacking->bad = true;
		return;
	}
	node->text = (const char *)unpacking->at;
	unpacking->at += length + 1;
}

/* A count that the bytes left could not hold is torn: it must not lead to an array of that size. */
static uint32_t
get_count(struct unpacking *unpacking)
{
	uint32_t count = get(unpacking);

	unpacking->bad |= count > (size_t)(unpacking->end - unpacking->at);
	return unpacking->bad ? 0 : count;
}

static void get_node(struct unpacking *unpacking, struct node *node, unsigned depth);

static void
get_items(struct unpacking *unpacking, struct node *node, unsigned depth)
{
	uint32_t count = get_count(unpacking);
	struct node *items = arena_array(unpacking->arena, count, sizeof *items);

	node->items = arena_array(unpacking->arena, count, sizeof(struct node *));
	for (; node->count < count && !unpacking->bad; node->count++) {
		node->items[node->count] = &items[node->count];
		get_node(unpacking, &items[node->count], depth);
	}
}

static void
get_entries(struct unpacking *unpacking, struct node *node, unsigned depth)
{
	uint32_t count = get_count(unpacking);
	struct node *values = arena_array(unpacking->arena, count, sizeof *values);

	node->entries = arena_array(unpacking->arena, count, sizeof *node->entries);
	for (; node->count < count && !unpacking->bad; node->count++) {
		struct entry *entry = &node->entries[node->count];
		uint32_t key = get(unpacking);

		unpacking->bad |= key >= unpacking->key_count;
		entry->key = unpacking->bad ? "" : unpacking->keys[key];
		entry->value = &values[node->count];
		get_place(unpacking, &entry->at);
		get_node(unpacking, entry->value, depth);
	}
}

static void
get_node(struct unpacking *unpacking, struct node *node, unsigned depth)
{
	uint32_t first = get(unpacking);

	node->kind = (enum node_kind)(first & KIND);
	node->quoted = first & QUOTED;
	node->pending = first & PENDING;
	get_place(unpacking, &node->at);
	node->height = (uint16_t)get(unpacking);
	node->weight = get(unpacking);
	unpacking->bad |= depth > NODE_HEIGHT || node->height > NODE_HEIGHT || node->weight > NODE_WEIGHT;
	if (node->kind == NODE_NULL || node->kind == NODE_SCALAR || unpacking->bad)
		get_text(unpacking, node);
	else if (node->kind == NODE_LIST)
		get_items(unpacking, node, depth + 1);
	else
		get_entries(unpacking, node, depth + 1);
}

static bool
get_keys(struct unpacking *unpacking, struct unpack *unpack)
{
	int64_t count = unpack_int(unpack);

	if (count < 0 || (uint64_t)count > unpack->size)
		return false;
	unpacking->key_count = (uint32_t)count;
	unpacking->keys = arena_array(unpacking->arena, (size_t)count, sizeof *unpacking->keys);
	for (uint32_t i = 0; i < unpacking->key_count; i++) {
		unpacking->keys[i] = unpack_text(unpack);
		if (!unpacking->keys[i])
			return false;
	}
	return true;
}

struct node *
parsed_unpack(const struct source *source, const void *bytes, size_t size, struct arena *arena)
{
	struct unpacking unpacking = { .file = source->file, .arena = arena };
	struct node *root = arena_alloc(arena, sizeof *root);
	struct unpack unpack;
	const char *version;
	const void *digest;
	size_t length;

	if (!unpack_sound(bytes, &size))
		return NULL;
	unpack_init(&unpack, bytes, size);
	version = unpack_text(&unpack);
	digest = unpack_bytes(&unpack, &length);
	if (!version || strcmp(version, VERSION) != 0 || length != DIGEST_SIZE || memcmp(digest, source->digest.bytes, DIGEST_SIZE) != 0)
		return NULL;
	if (!get_keys(&unpacking, &unpack))
		return NULL;
	unpacking.at = unpack_bytes(&unpack, &length);
	unpacking.end = unpacking.at + length;
	if (!unpacking.at || !unpack_done(&unpack))
		return NULL;
	get_node(&unpacking, root, 0);
	return unpacking.bad || unpacking.at != unpacking.end ? NULL : root;
}
