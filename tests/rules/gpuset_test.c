#include "rules/gpuset.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/arena.h"

#define GIB ((uint64_t)1 << 30)

static int
setup(void **state)
{
	struct arena *arena = calloc(1, sizeof *arena);

	if (!arena)
		return -1;
	arena_init(arena);
	*state = arena;
	return 0;
}

static int
teardown(void **state)
{
	arena_finish(*state);
	free(*state);
	return 0;
}

static void
parses(void **state)
{
	static const struct {
		const char *json;
		bool good, none, want_free;
		int64_t size;
		const char *names; /* joined by blanks */
	} cases[] = {
		{ NULL, true, true, false, 0, "" },
		{ "null", true, true, false, 0, "" },
		{ "\"none\"", true, true, false, 0, "" },
		{ "[0,1,2]", true, false, false, 3, "0 1 2" },
		{ "[2]", true, false, false, 1, "2" },
		{ "[\"1\",\"GPU-abc\",\"MIG-x\"]", true, false, false, 3, "1 GPU-abc MIG-x" },
		{ "\"GPU-a,GPU-b\"", true, false, false, 2, "GPU-a GPU-b" },
		{ "\"3\"", true, false, false, 1, "3" },
		{ "{\"count\":3}", true, false, false, 3, "" },
		{ "{\"count\":3,\"free\":true}", true, false, true, 3, "" },
		{ "{\"free\":false,\"count\":1}", true, false, false, 1, "" },
		{ "[]", false, false, false, 0, NULL },
		{ "[0,0]", false, false, false, 0, NULL },
		{ "[0,\"00\"]", false, false, false, 0, NULL },
		{ "[-1]", false, false, false, 0, NULL },
		{ "[1.5]", false, false, false, 0, NULL },
		{ "[4096]", false, false, false, 0, NULL },
		{ "[[0]]", false, false, false, 0, NULL },
		{ "[\"abc\"]", false, false, false, 0, NULL },
		{ "[\"\"]", false, false, false, 0, NULL },
		{ "\"GPU-a,\"", false, false, false, 0, NULL },
		{ "\"all\"", false, false, false, 0, NULL },
		{ "4", false, false, false, 0, NULL },
		{ "true", false, false, false, 0, NULL },
		{ "{}", false, false, false, 0, NULL },
		{ "{\"free\":true}", false, false, false, 0, NULL },
		{ "{\"count\":0}", false, false, false, 0, NULL },
		{ "{\"count\":\"2\"}", false, false, false, 0, NULL },
		{ "{\"count\":2,\"free\":1}", false, false, false, 0, NULL },
		{ "{\"count\":2,\"kind\":1}", false, false, false, 0, NULL },
		{ "[0", false, false, false, 0, NULL },
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct gpuset set = { .count = -7 };
		struct error err = { 0 };
		const char *names = "";

		if (gpuset_parse(cases[i].json, *state, &set, &err) != cases[i].good)
			fail_msg("%s: %s", cases[i].json, err.text);
		if (!cases[i].good) {
			assert_int_equal(err.fault, FAULT_BAD_VALUE);
			assert_true(*err.hint);
			assert_int_equal(set.count, -7);
			continue;
		}
		assert_int_equal(set.none, cases[i].none);
		assert_int_equal(set.want_free, cases[i].want_free);
		assert_int_equal(gpuset_size(&set), cases[i].size);
		for (size_t n = 0; n < set.name_count; n++)
			names = arena_printf(*state, "%s%s%s", names, n ? " " : "", set.names[n]);
		assert_string_equal(names, cases[i].names);
	}
}

/* Five GPUs: 1 is in use, 2 is lost. */
static void
machine(struct gpus *gpus, struct gpu *items, struct gpu_process *process)
{
	static const char *const uuids[] = { "GPU-a", "GPU-b", "GPU-c", "GPU-d", "GPU-e" };

	*process = (struct gpu_process){ .pid = 4711, .memory = 20 * GIB, .name = "python3", .user = "wang" };
	for (unsigned i = 0; i < 5; i++)
		items[i] = (struct gpu){ .index = i,
			.uuid = uuids[i],
			.name = "NVIDIA GeForce RTX 3090",
			.pci = "",
			.total = 24 * GIB,
			.free = 24 * GIB };
	items[1].used = 20 * GIB;
	items[1].processes = process;
	items[1].process_count = 1;
	items[2].broken = "fell off the bus";
	*gpus = (struct gpus){ .driver = "", .cuda = "", .items = items, .count = 5 };
}

static void
chooses(void **state)
{
	static const struct {
		const char *json;
		int64_t reserved;   /* -1: none */
		const char *chosen; /* or NULL */
		enum fault fault;
		const char *says;
	} cases[] = {
		{ "\"none\"", -1, "", FAULT_NONE, "" },
		{ "[4,0]", -1, "4 0", FAULT_NONE, "" },
		{ "[\"GPU-d\",0]", -1, "3 0", FAULT_NONE, "" },
		/* By name a busy GPU is taken: whether it is free is asked when it is used. */
		{ "[1]", -1, "1", FAULT_NONE, "" },
		{ "{\"count\":3}", -1, "0 3 4", FAULT_NONE, "" },
		{ "{\"count\":4}", -1, "0 3 4 1", FAULT_NONE, "" },
		{ "{\"count\":3,\"free\":true}", -1, "0 3 4", FAULT_NONE, "" },
		{ "{\"count\":2,\"free\":true}", 3, "0 4", FAULT_NONE, "" },
		{ "{\"count\":4,\"free\":true}", -1, NULL, FAULT_GPU_BUSY, "python3 of wang" },
		{ "{\"count\":3,\"free\":true}", 3, NULL, FAULT_GPU_BUSY, "2 of 5" },
		{ "{\"count\":5}", -1, NULL, FAULT_GPU_COUNT, "5 GPUs are asked for, 4" },
		{ "{\"count\":4}", 3, NULL, FAULT_GPU_COUNT, "reserved" },
		{ "[5]", -1, NULL, FAULT_GPU_COUNT, "no GPU `5`" },
		{ "[\"GPU-x\"]", -1, NULL, FAULT_GPU_COUNT, "0-4" },
		{ "[2]", -1, NULL, FAULT_GPU_COUNT, "fell off the bus" },
		{ "[0,3]", 3, NULL, FAULT_RESERVED_GPU, "GPU 3 is reserved for training" },
		{ "[\"GPU-d\"]", 3, NULL, FAULT_RESERVED_GPU, "GPU 3" },
		{ "[3,\"GPU-d\"]", -1, NULL, FAULT_BAD_VALUE, "twice" },
	};
	struct gpu items[5];
	struct gpu_process process;
	struct gpus gpus;

	machine(&gpus, items, &process);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const struct gpu **chosen = NULL;
		size_t count = 77;
		struct gpuset set;
		struct error err = { 0 };
		const char *text = "";

		assert_true(gpuset_parse(cases[i].json, *state, &set, &err));
		if (gpuset_choose(
				&set, &gpus, &cases[i].reserved, cases[i].reserved >= 0, "training", *state, &chosen, &count, &err)) {
			for (size_t n = 0; n < count; n++)
				text = arena_printf(*state, "%s%s%u", text, n ? " " : "", chosen[n]->index);
			if (!cases[i].chosen || strcmp(text, cases[i].chosen) != 0)
				fail_msg("%s: `%s`", cases[i].json, text);
			continue;
		}
		assert_null(cases[i].chosen);
		assert_int_equal(err.fault, cases[i].fault);
		text = arena_printf(*state, "%s; %s", err.text, err.hint);
		if (!strstr(text, cases[i].says))
			fail_msg("%s: %s", cases[i].json, text);
		assert_int_equal(count, 77);
	}
}

static void
refuses_reserved_without_a_machine(void **state)
{
	static const int64_t reserved[] = { 3, 5 };
	struct gpuset set;
	struct error err = { 0 };

	assert_true(gpuset_parse("[0,1]", *state, &set, &err));
	assert_true(gpuset_check_reserved(&set, reserved, 2, "training", &err));
	assert_true(gpuset_parse("{\"count\":3}", *state, &set, &err));
	assert_true(gpuset_check_reserved(&set, reserved, 2, "training", &err));
	assert_true(gpuset_parse("[0,5]", *state, &set, &err));
	assert_false(gpuset_check_reserved(&set, reserved, 2, NULL, &err));
	assert_int_equal(err.fault, FAULT_RESERVED_GPU);
	assert_string_equal(err.text, "GPU 5 is reserved");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(parses, setup, teardown),
		cmocka_unit_test_setup_teardown(chooses, setup, teardown),
		cmocka_unit_test_setup_teardown(refuses_reserved_without_a_machine, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
