#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/arena.h"

static void
memory_is_zeroed_aligned_and_apart(void **state)
{
	static const size_t sizes[] = { 1, 3, 16, 17, 100, 4000, 8192, 9000, 100000, 3000000, 5, 0, 2 };
	struct arena arena;
	unsigned char *blocks[13 * 40];
	size_t count = 0;

	(void)state;
	arena_init(&arena);
	for (size_t round = 0; round < 40; round++)
		for (size_t i = 0; i < 13; i++) {
			unsigned char *block = arena_alloc(&arena, sizes[i]);

			assert_int_equal((uintptr_t)block % _Alignof(max_align_t), 0);
			for (size_t at = 0; at < sizes[i]; at++)
				if (block[at])
					fail_msg("byte %zu of %zu is not zero", at, sizes[i]);
			memset(block, (int)(count % 251 + 1), sizes[i]);
			blocks[count++] = block;
			/* Text of odd lengths between them must not spoil the alignment. */
			arena_copy(&arena, "odd");
		}
	for (size_t k = 0; k < count; k++)
		for (size_t at = 0; at < sizes[k % 13]; at++)
			if (blocks[k][at] != (unsigned char)(k % 251 + 1))
				fail_msg("block %zu was overwritten at %zu", k, at);
	assert_true(arena_size(&arena) > 40u * 3000000u);
	arena_finish(&arena);
	assert_int_equal(arena_size(&arena), 0);
	arena_finish(&arena);
}

static void
a_large_block_does_not_waste_the_newest_chunk(void **state)
{
	struct arena arena;
	char *before, *behind;

	(void)state;
	arena_init(&arena);
	before = arena_alloc(&arena, 16);
	arena_alloc(&arena, 1 << 20);
	behind = arena_alloc(&arena, 16);
	assert_ptr_equal(behind, before + 16);
	arena_finish(&arena);
}

static void
small_blocks_cost_few_chunks(void **state)
{
	struct arena arena;

	(void)state;
	arena_init(&arena);
	for (int i = 0; i < 100000; i++)
		arena_copy(&arena, "a name of twenty-odd");
	/* 2.1 MB of text; doubling chunks may hold twice that. */
	assert_in_range(arena_size(&arena), 2100000, 4200000);
	arena_finish(&arena);
}

static void
arrays_grow_and_keep_their_items(void **state)
{
	struct arena arena;
	size_t capacity = 0;
	uint32_t *items = NULL;

	(void)state;
	arena_init(&arena);
	for (uint32_t i = 0; i < 10000; i++) {
		if (i == capacity) {
			const uint32_t *old = items;

			items = arena_grow(&arena, items, i, &capacity, sizeof *items);
			assert_true(capacity > i);
			assert_ptr_not_equal(old, items);
			for (size_t k = i; k < capacity; k++)
				assert_int_equal(items[k], 0);
		}
		items[i] = i * 7;
	}
	for (uint32_t i = 0; i < 10000; i++)
		assert_int_equal(items[i], i * 7);
	arena_finish(&arena);
}

static void
text_is_copied_and_formatted(void **state)
{
	struct arena arena;
	char large[1000];
	const char *text;

	(void)state;
	arena_init(&arena);
	assert_string_equal(arena_copy(&arena, ""), "");
	assert_string_equal(arena_copy(&arena, "text"), "text");
	assert_memory_equal(arena_copy_bytes(&arena, "a\0b", 3), "a\0b", 4);
	assert_string_equal(arena_copy_bytes(&arena, NULL, 0), "");
	assert_string_equal(arena_printf(&arena, "%s-%d", "x", 42), "x-42");
	assert_string_equal(arena_join(&arena, "ab", "c"), "abc");
	assert_string_equal(arena_join(&arena, "", "c"), "c");
	assert_string_equal(arena_join(&arena, "ab", ""), "ab");
	/* Both sides of the length that fits the first attempt. */
	for (size_t length = 250; length < 262; length++) {
		memset(large, 'x', length);
		large[length] = '\0';
		text = arena_printf(&arena, "%s", large);
		assert_string_equal(text, large);
	}
	arena_finish(&arena);
}

static void
rewinding_gives_everything_behind_the_mark_back(void **state)
{
	/* Small ones, a chunk of its own, and so much that new chunks are needed; the mark in an empty arena and in a used one. */
	static const size_t amounts[] = { 0, 1, 16, 5000, 100000, 3000000 };

	(void)state;
	for (size_t before = 0; before < 6; before++)
		for (size_t i = 0; i < 6; i++) {
			struct arena arena = { 0 };
			struct arena_mark mark;
			unsigned char *kept = NULL;
			size_t held;

			if (before > 0) {
				kept = arena_alloc(&arena, amounts[before]);
				memset(kept, 'k', amounts[before]);
				arena_copy(&arena, "odd");
			}
			mark = arena_mark(&arena);
			held = arena_size(&arena);
			for (int round = 0; round < 3; round++) {
				for (int k = 0; k < 50; k++) {
					unsigned char *block = arena_alloc(&arena, amounts[i]);

					for (size_t at = 0; at < amounts[i]; at++)
						if (block[at])
							fail_msg("%zu, %zu: byte %zu was not zeroed", before, i, at);
					memset(block, 'x', amounts[i]);
					memset(arena_alloc(&arena, 24), 'y', 24);
				}
				arena_rewind(&arena, mark);
				assert_int_equal(arena_size(&arena), held);
				for (size_t at = 0; kept && at < amounts[before]; at++)
					if (kept[at] != 'k')
						fail_msg("%zu, %zu: what was kept changed at %zu", before, i, at);
			}
			arena_rewind(&arena, mark);
			arena_finish(&arena);
		}
}

/* The status with which `run` ends a child of ours; what it says goes to `said`. */
static int
status_of(void (*run)(void), char *said, size_t size)
{
	int pipes[2];
	int status = 0;
	ssize_t got;
	pid_t pid;

	assert_int_equal(pipe(pipes), 0);
	pid = fork();
	if (pid == 0) {
		dup2(pipes[1], STDERR_FILENO);
		run();
		_exit(0);
	}
	close(pipes[1]);
	got = read(pipes[0], said, size - 1);
	said[got > 0 ? got : 0] = '\0';
	close(pipes[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void
overflow_in_array(void)
{
	struct arena arena = { 0 };

	arena_array(&arena, SIZE_MAX / 2, 3);
}

static void
overflow_in_chunk(void)
{
	struct arena arena = { 0 };

	arena_alloc(&arena, SIZE_MAX - 8);
}

static void
overflow_in_growth(void)
{
	struct arena arena = { 0 };
	size_t capacity = SIZE_MAX / 2 + 1;

	arena_grow(&arena, NULL, 0, &capacity, 1);
}

static void
overflow_in_copy(void)
{
	struct arena arena = { 0 };

	arena_copy_bytes(&arena, "", SIZE_MAX);
}

static void
no_memory_ends_the_program_with_70(void **state)
{
	static void (*const runs[])(void) = { overflow_in_array, overflow_in_chunk, overflow_in_growth, overflow_in_copy };
	char said[200];

	(void)state;
	for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
		assert_int_equal(status_of(runs[i], said, sizeof said), 70);
		assert_string_equal(said, "provision: out of memory\n");
	}
}

static void
x_functions_allocate(void **state)
{
	char *text = xstrdup("text");
	char *grown;

	(void)state;
	assert_string_equal(text, "text");
	grown = xrealloc(text, 1000);
	assert_string_equal(grown, "text");
	free(grown);
	free(xmalloc(0));
	free(xrealloc(NULL, 0));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_is_zeroed_aligned_and_apart),
		cmocka_unit_test(a_large_block_does_not_waste_the_newest_chunk),
		cmocka_unit_test(small_blocks_cost_few_chunks),
		cmocka_unit_test(arrays_grow_and_keep_their_items),
		cmocka_unit_test(text_is_copied_and_formatted),
		cmocka_unit_test(rewinding_gives_everything_behind_the_mark_back),
		cmocka_unit_test(no_memory_ends_the_program_with_70),
		cmocka_unit_test(x_functions_allocate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
