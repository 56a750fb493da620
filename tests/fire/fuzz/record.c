/* Bytes that the cache gives back: a body that is accepted is packed to the same record again, and seals and trees keep within what they
 * name.
 *
 * Input: the body of a record, a seal, or a tree. */
#include "engine/record.h"

#include <string.h>

#include "engine/base/buf.h"
#include "engine/base/pack.h"
#include "engine/base/strings.h"
#include "engine/parsed.h"
#include "engine/seal.h"
#include "fuzz.h"

static bool
unpack(struct record *record, const void *body, size_t size, struct arena *arena)
{
	*record = (struct record){ .target = "t", .rule = "command" };
	return record_unpack(record, body, size, arena) && record_unpack_why(record, body, size, arena);
}

static void
check_texts(const struct record *record)
{
	for (size_t i = 0; i < record->outputs.count; i++)
		promise(record->outputs.items[i].key && strlen(record->outputs.items[i].key) < 16384);
	for (size_t i = 0; i < record->artifacts.count; i++)
		promise(record->artifacts.items[i].kind <= ARTIFACT_GPU && record->artifacts.items[i].name);
	for (size_t i = 0; i < record->ingredients.count; i++) {
		const struct ingredient *ingredient = &record->ingredients.items[i];

		promise(ingredient->kind <= INGREDIENT_FACT && ingredient->name && ingredient->value);
	}
	for (size_t i = 0; i < record->materials.count; i++)
		promise(record->materials.items[i].key && record->materials.items[i].value);
}

static void
check_body(const uint8_t *data, size_t size)
{
	struct arena arena finally(arena_finish) = { 0 };
	struct buf body finally(buf_finish) = { 0 };
	struct buf again finally(buf_finish) = { 0 };
	struct record record, same;

	if (!unpack(&record, data, size, &arena))
		return;
	check_texts(&record);
	buf_init(&body, 1 << 20);
	buf_init(&again, 1 << 20);
	record_pack(&record, &body);
	promise(unpack(&same, body.data, body.size, &arena));
	record_pack(&same, &again);
	promise(body.size == again.size && memcmp(body.data, again.data, body.size) == 0);
	record_output_digest(&record, false);
	record_output_digest(&same, false);
	promise(digest_equal(&record.output, &same.output));
}

/* Every field of any bytes lies within them. */
static void
check_fields(const uint8_t *data, size_t size)
{
	struct unpack fields;

	unpack_init(&fields, data, size);
	for (size_t i = 0; i <= size && !unpack_done(&fields) && !fields.bad; i++) {
		size_t length;
		const uint8_t *field = unpack_bytes(&fields, &length);

		promise(fields.bad || length == 0 || (field >= data && field + length <= data + size));
	}
}

/* The same bytes as something that vouches for itself: what is taken of it keeps the limits of a tree. */
static void
check_parsed(const uint8_t *data, size_t size)
{
	struct arena arena finally(arena_finish) = { 0 };
	struct sources sources = { .arena = &arena };
	struct buf bytes finally(buf_finish) = { 0 };
	const struct source *source = sources_add_text(&sources, "m.yaml", "a: 1\n", 5);
	const struct node *node;

	buf_init(&bytes, 1 << 20);
	buf_add(&bytes, data, size);
	pack_sum(&bytes);
	node = parsed_unpack(source, bytes.data, bytes.size, &arena);
	if (node)
		promise(node->height <= NODE_HEIGHT && node->weight <= NODE_WEIGHT && node_json(node, &arena));
}

/* Whatever a seal claims, looking at what it names stays within it; and it holds for no target that it does not have. */
static void
check_seal(const uint8_t *data, size_t size)
{
	struct arena arena finally(arena_finish) = { 0 };
	struct buf bytes finally(buf_finish) = { 0 };
	struct seal seal = { 0 };

	buf_init(&bytes, 1 << 20);
	buf_add(&bytes, data, size);
	pack_sum(&bytes);
	if (!seal_read(&seal, bytes.data, bytes.size, &arena))
		return;
	promise(seal.source_count > 0 && seal.source_count <= seal.file_count);
	for (uint32_t i = 0; i < seal.file_count; i++)
		promise(strlen(seal.paths[i]) < size);
	seal_look(&seal);
	promise(seal.changed_count <= seal.file_count);
	promise(!seal_has(&seal, seal.target_count));
	for (uint32_t i = 0; i < seal.target_count; i++)
		promise(!seal_holds(&seal) || !seal_has(&seal, i) || seal.counts[i] <= seal.trail_count);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size > 16384)
		return 0;
	check_body(data, size);
	check_fields(data, size);
	check_seal(data, size);
	check_parsed(data, size);
	return 0;
}
