#include "engine/record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/arena.h"
#include "engine/base/buf.h"

static void
example(struct record *record, struct arena *arena)
{
	struct artifact file = { .kind = ARTIFACT_FILE, .name = "/data/a", .size = 5, .digest = { { 1, 2, 3 } } };
	struct artifact port = { .kind = ARTIFACT_PORT, .name = "127.0.0.1:8000", .note = "{}" };

	*record = (struct record){ .target = "t", .rule = "r", .summary = "18 files", .run = "ABCDEFGH", .started_ns = -5, .ended_ns = INT64_MAX };
	pairs_set(&record->outputs, arena, "url", "http://x");
	pairs_set(&record->outputs, arena, "empty", "");
	pairs_set(&record->materials, arena, "pkg:x", "1.0");
	artifacts_add(&record->artifacts, arena, &file);
	artifacts_add(&record->artifacts, arena, &port);
	ingredients_init(&record->ingredients, arena);
	ingredients_add(&record->ingredients, INGREDIENT_FILE, "file:a", "sha", "line 1\nline 2\n");
	ingredients_add(&record->ingredients, INGREDIENT_PARAM, "param:p", "", NULL);
}

static void
test_round_trip(void **state)
{
	struct arena arena = { 0 };
	struct record record, back = { .target = "t", .rule = "r" };
	struct buf body = { 0 };

	(void)state;
	arena_init(&arena);
	buf_init(&body, 1 << 20);
	example(&record, &arena);
	record_pack(&record, &body);
	assert_true(record_unpack(&back, body.data, body.size, &arena));
	assert_string_equal(back.summary, "18 files");
	assert_string_equal(back.run, "ABCDEFGH");
	assert_int_equal(back.started_ns, -5);
	assert_int_equal(back.ended_ns, INT64_MAX);
	assert_int_equal(back.outputs.count, 2);
	assert_string_equal(pairs_get(&back.outputs, "url"), "http://x");
	assert_string_equal(pairs_get(&back.outputs, "empty"), "");
	assert_int_equal(back.artifacts.count, 2);
	assert_memory_equal(&back.artifacts.items[0].digest, &record.artifacts.items[0].digest, sizeof(struct digest));
	assert_null(back.artifacts.items[0].note);
	assert_string_equal(record_artifact(&back, ARTIFACT_PORT, "127.0.0.1:8000")->note, "{}");
	assert_null(record_artifact(&back, ARTIFACT_GPU, "127.0.0.1:8000"));
	assert_int_equal(back.ingredients.count, 0);
	/* Texts point into the body. */
	assert_true(back.run > body.data && back.run < body.data + body.size);
	assert_true(record_unpack_why(&back, body.data, body.size, &arena));
	assert_int_equal(back.ingredients.count, 2);
	assert_string_equal(ingredients_find(&back.ingredients, "file:a")->text, "line 1\nline 2\n");
	assert_null(ingredients_find(&back.ingredients, "param:p")->text);
	assert_string_equal(ingredients_find(&back.ingredients, "param:p")->value, "");
	assert_string_equal(pairs_get(&back.materials, "pkg:x"), "1.0");
	buf_finish(&body);
	arena_finish(&arena);
}

/* Cut at any byte, nothing is read and nothing is written. Changed at any byte, at least nothing outside is touched (the sanitizers see to that). */
static void
test_torn(void **state)
{
	struct arena arena = { 0 };
	struct record record;
	struct buf body = { 0 };

	(void)state;
	arena_init(&arena);
	buf_init(&body, 1 << 20);
	example(&record, &arena);
	record_pack(&record, &body);
	for (size_t size = 0; size < body.size; size++) {
		struct record back = { .summary = "as it was" };
		char *copy = arena_copy_bytes(&arena, body.data, size);

		assert_false(record_unpack(&back, copy, size, &arena));
		assert_false(record_unpack_why(&back, copy, size, &arena));
		assert_string_equal(back.summary, "as it was");
	}
	for (size_t at = 0; at < body.size; at++)
		for (unsigned bit = 0; bit < 8; bit++) {
			struct record back = { 0 };
			char *copy = arena_copy_bytes(&arena, body.data, body.size);

			copy[at] = (char)(copy[at] ^ (1 << bit));
			record_unpack(&back, copy, body.size, &arena);
			record_unpack_why(&back, copy, body.size, &arena);
		}
	buf_finish(&body);
	arena_finish(&arena);
}

static void
test_output_digest(void **state)
{
	struct arena arena = { 0 };
	struct record a, b;

	(void)state;
	arena_init(&arena);
	example(&a, &arena);
	example(&b, &arena);
	record_output_digest(&a, false);
	/* The order in which a rule gives its outputs and artifacts says nothing, nor does an artifact without digest. */
	b.outputs = (struct pairs){ 0 };
	pairs_set(&b.outputs, &arena, "empty", "");
	pairs_set(&b.outputs, &arena, "url", "http://x");
	b.artifacts.items[1].name = "127.0.0.1:9000";
	b.run = "OTHER";
	record_output_digest(&b, false);
	assert_true(digest_equal(&a.output, &b.output));
	assert_string_equal(b.outputs.items[0].key, "empty");
	b.artifacts.items[0].digest.bytes[31] = 1;
	record_output_digest(&b, false);
	assert_false(digest_equal(&a.output, &b.output));
	example(&b, &arena);
	pairs_set(&b.outputs, &arena, "url", "http://y");
	record_output_digest(&b, false);
	assert_false(digest_equal(&a.output, &b.output));
	/* Whatever a check found, it passed. */
	record_output_digest(&a, true);
	record_output_digest(&b, true);
	assert_true(digest_equal(&a.output, &b.output));
	arena_finish(&arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_round_trip), cmocka_unit_test(test_torn), cmocka_unit_test(test_output_digest) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
