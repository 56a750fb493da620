/* A tree that went through bytes is the tree that was parsed; what is torn or of another text is none. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>

#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "engine/base/cleanup.h"
#include "engine/base/pack.h"
#include "engine/manifest.h"
#include "engine/parsed.h"

#include <cmocka.h> /* last: its macro `fail` hides our function */

static const char text[] =
	"provision: 1\n"
	"name: 'demo'\n"
	"x-base: &base {rule: command, inputs: [a, \"b c\", ~]}\n"
	"targets:\n"
	"  one:\n"
	"    <<: *base\n"
	"    command: [cp, '${var}', *base]\n"
	"    none: null\n"
	"    empty: {}\n"
	"    list: []\n"
	"    text: |\n"
	"      \u4f60 line\n"
	"      line\n";

static void
assert_same_place(const struct place *a, const struct place *b)
{
	assert_ptr_equal(a->file, b->file);
	assert_int_equal(a->line, b->line);
	assert_int_equal(a->column, b->column);
	assert_int_equal(a->length, b->length);
}

static void
assert_same(const struct node *a, const struct node *b)
{
	assert_int_equal(a->kind, b->kind);
	assert_int_equal(a->quoted, b->quoted);
	assert_int_equal(a->pending, b->pending);
	assert_int_equal(a->height, b->height);
	assert_int_equal(a->weight, b->weight);
	assert_null(b->from);
	assert_same_place(&a->at, &b->at);
	if (a->kind == NODE_NULL || a->kind == NODE_SCALAR) {
		assert_string_equal(a->text, b->text);
		return;
	}
	assert_int_equal(a->count, b->count);
	for (uint32_t i = 0; i < a->count; i++) {
		if (a->kind == NODE_LIST) {
			assert_same(a->items[i], b->items[i]);
			continue;
		}
		assert_string_equal(a->entries[i].key, b->entries[i].key);
		assert_same_place(&a->entries[i].at, &b->entries[i].at);
		assert_same(a->entries[i].value, b->entries[i].value);
	}
}

struct world {
	struct arena arena;
	struct sources sources;
	const struct node *root;
	struct buf bytes;
};

static void
pack(struct world *world, size_t limit)
{
	struct errors errors;

	errors_init(&errors, &world->arena);
	world->sources = (struct sources){ .arena = &world->arena };
	world->root = manifest_parse_text(&world->sources, "m.yaml", text, strlen(text), &errors);
	assert_non_null(world->root);
	buf_init(&world->bytes, limit);
	parsed_pack(&world->sources.items[0], world->root, &world->bytes);
}

static void
world_finish(struct world *world)
{
	buf_finish(&world->bytes);
	arena_finish(&world->arena);
}

static void
test_there_and_back(void **state)
{
	struct world world finally(world_finish) = { 0 };
	const struct node *back;

	(void)state;
	pack(&world, 1 << 20);
	assert_false(world.bytes.truncated);
	back = parsed_unpack(&world.sources.items[0], world.bytes.data, world.bytes.size, &world.arena);
	assert_non_null(back);
	assert_same(world.root, back);
}

static void
test_another_text(void **state)
{
	struct world world finally(world_finish) = { 0 };
	struct source other;

	(void)state;
	pack(&world, 1 << 20);
	other = world.sources.items[0];
	other.digest.bytes[31] ^= 1;
	assert_null(parsed_unpack(&other, world.bytes.data, world.bytes.size, &world.arena));
}

/* Give altered bytes a sum that is right. */
static void
forge(char *bytes, size_t size)
{
	struct buf whole finally(buf_finish) = { 0 };

	buf_init(&whole, size);
	buf_add(&whole, bytes, size - 4 - PACK_SUM);
	pack_sum(&whole);
	memcpy(bytes, whole.data, size);
}

static void
test_torn_or_flipped(void **state)
{
	struct world world finally(world_finish) = { 0 };

	(void)state;
	pack(&world, 1 << 20);
	for (size_t size = 0; size < world.bytes.size; size++)
		assert_null(parsed_unpack(&world.sources.items[0], world.bytes.data, size, &world.arena));
	for (size_t i = 0; i < 8 * world.bytes.size; i++) {
		struct arena arena finally(arena_finish) = { 0 };
		char *copy = arena_copy_bytes(&arena, world.bytes.data, world.bytes.size);

		copy[i / 8] = (char)(copy[i / 8] ^ 1 << i % 8);
		assert_null(parsed_unpack(&world.sources.items[0], copy, world.bytes.size, &arena));
		/* The reader behind the sum, too, stays within its bytes. */
		forge(copy, world.bytes.size);
		parsed_unpack(&world.sources.items[0], copy, world.bytes.size, &arena);
	}
}

static void
test_limit(void **state)
{
	struct world world finally(world_finish) = { 0 };

	(void)state;
	pack(&world, 100);
	assert_true(world.bytes.truncated);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_there_and_back),
		cmocka_unit_test(test_another_text),
		cmocka_unit_test(test_torn_or_flipped),
		cmocka_unit_test(test_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
