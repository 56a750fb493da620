/* The shortcut holds while everything is as it was, and no longer. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/file.h"
#include "engine/base/pack.h"
#include "engine/inspect.h"
#include "engine/seal.h"
#include "tests/fake/memory.h"

#include <cmocka.h> /* last: its macro `fail` hides our function */

static const char text[] = "provision: 1\nname: demo\ntargets: {}\n";

static void
save(const char *path, const char *bytes)
{
	struct error err = { 0 };

	assert_true(file_save(path, bytes, strlen(bytes), 0600, &err));
}

/* The seal of a manifest without targets, which is all that is looked at. `meanwhile`: what becomes of it after it was read, or NULL. False: it cannot be
 * sealed. */
static bool
seal_after(const char *root, const char *path, const char *meanwhile, struct buf *bytes)
{
	static const struct rule *const no_rules[] = { NULL };
	struct arena arena finally(arena_finish) = { 0 };
	const struct project project = { .root = root, .state_dir = root, .id = "" };
	const struct pairs no_sets = { 0 };
	const struct wishes wishes = { 0 };
	struct inspection inspection;
	struct fake_memory memory;
	struct manifest manifest = { 0 };
	struct errors errors;
	struct error err = { 0 };
	struct known known;
	struct graph graph;
	bool made;

	fake_memory_init(&memory);
	errors_init(&errors, &arena);
	if (!manifest_load(&manifest, path, root, &no_sets, &arena, &errors) || !graph_link(&graph, &manifest, no_rules, &errors))
		fail_msg("%s", errors.items[0].text);
	if (meanwhile) {
		save(path, meanwhile);
		clock_sleep_ms(2100, NULL);
	}
	known_init(&known, &memory.socket, &arena);
	assert_true(inspect(&inspection, &manifest, &graph, &memory.socket, &project, &wishes, &known, &arena, &err));
	buf_init(bytes, 1 << 16);
	made = seal_make(&inspection, bytes);
	known_finish(&known);
	graph_finish(&graph);
	fake_memory_finish(&memory);
	return made;
}

static bool
seal(const char *root, const char *path, struct buf *bytes)
{
	return seal_after(root, path, NULL, bytes);
}

/* Whether everything is as the seal says. */
static bool
holds(const struct buf *bytes, size_t size, const char *manifest, const char *root, uint32_t *files)
{
	struct arena arena finally(arena_finish) = { 0 };
	struct seal found = { 0 };

	if (!seal_read(&found, bytes->data, size, &arena) || !seal_is_of(&found, manifest, root))
		return false;
	seal_look(&found);
	*files = found.file_count;
	return seal_holds(&found);
}

static void
test_seal(void **state)
{
	char root[] = "/tmp/provision-seal-XXXXXX", path[64], other[64];
	struct buf bytes finally(buf_finish) = { 0 };
	struct buf refused finally(buf_finish) = { 0 };
	uint32_t files = 0;

	(void)state;
	assert_non_null(mkdtemp(root));
	snprintf(path, sizeof path, "%s/m.yaml", root);
	snprintf(other, sizeof other, "%s/other.yaml", root);
	setenv("HOME", "/one", 1);
	save(path, text);
	/* As old as it takes not to be racily clean. */
	clock_sleep_ms(2100, NULL);
	assert_true(seal(root, path, &bytes));
	assert_true(holds(&bytes, bytes.size, path, root, &files));
	assert_int_equal(files, 1);

	assert_false(holds(&bytes, bytes.size, other, root, &files));
	/* Inputs would have other names. */
	assert_false(holds(&bytes, bytes.size, path, "/", &files));
	/* Paths with `~` would lead elsewhere. */
	setenv("HOME", "/two", 1);
	assert_false(holds(&bytes, bytes.size, path, root, &files));
	setenv("HOME", "/one", 1);
	/* Torn at any byte, it is none. */
	for (size_t size = 0; size < bytes.size; size++)
		assert_false(holds(&bytes, size, path, root, &files));
	assert_true(holds(&bytes, bytes.size, path, root, &files));

	/* The same bytes at another place, by a link. */
	assert_int_equal(rename(path, other), 0);
	assert_false(holds(&bytes, bytes.size, path, root, &files));
	save(path, text);
	assert_false(holds(&bytes, bytes.size, path, root, &files));
	unlink(path);
	assert_int_equal(symlink(other, path), 0);
	assert_false(holds(&bytes, bytes.size, path, root, &files));
	unlink(path);

	save(path, "provision: 1\nname: demo\nvars: {a: '${env.HOME}'}\ntargets: {}\n");
	assert_false(seal(root, path, &refused));
	buf_finish(&refused);
	/* What was read is not what lies there. */
	save(path, text);
	assert_false(seal_after(root, path, "provision: 1\nname: other\ntargets: {}\n", &refused));
	unlink(path);
	unlink(other);
	rmdir(root);
}

/* A target is as it was only if each of its files is. */
static void
test_each_file_counts(void **state)
{
	uint32_t counts[] = { 3, 0 }, firsts[] = { 0, 3 }, trail[] = { 2, 0, 1 };
	unsigned char changed[] = { 0, 0, 0 };
	struct seal one = { .target_count = 2, .counts = counts, .firsts = firsts, .trail = trail, .changed = changed };

	(void)state;
	assert_true(seal_has(&one, 0));
	for (size_t i = 0; i < 3; i++) {
		changed[i] = 1;
		assert_false(seal_has(&one, 0));
		assert_true(seal_has(&one, 1));
		changed[i] = 0;
	}
	assert_false(seal_has(&one, 2));
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

/* What was flipped may read as another seal, but never beyond its bytes. */
static void
test_flipped_bytes(void **state)
{
	char root[] = "/tmp/provision-seal-XXXXXX", path[64];
	struct buf bytes finally(buf_finish) = { 0 };

	(void)state;
	assert_non_null(mkdtemp(root));
	snprintf(path, sizeof path, "%s/m.yaml", root);
	save(path, text);
	clock_sleep_ms(2100, NULL);
	assert_true(seal(root, path, &bytes));
	for (size_t i = 0; i < 8 * bytes.size; i++) {
		struct arena arena finally(arena_finish) = { 0 };
		struct seal found = { 0 };
		char *copy = arena_copy_bytes(&arena, bytes.data, bytes.size);

		copy[i / 8] = (char)(copy[i / 8] ^ 1 << i % 8);
		assert_false(seal_read(&found, copy, bytes.size, &arena));
		/* The reader behind the sum, too, stays within its bytes. */
		forge(copy, bytes.size);
		if (!seal_read(&found, copy, bytes.size, &arena))
			continue;
		for (uint32_t target = 0; target < found.target_count + 2; target++)
			seal_has(&found, target);
	}
	unlink(path);
	rmdir(root);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_seal), cmocka_unit_test(test_each_file_counts), cmocka_unit_test(test_flipped_bytes) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
