#include "rules/client/gpu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/arena.h"
#include "tests/fake/gpus.h"

#define MIB ((uint64_t)1 << 20)
#define FOUR "{}, {}, {}, {}"

struct world {
	struct scratch *scratch;
	struct arena arena;
	struct gpus gpus;
	struct error err;
};

static int
setup(void **state)
{
	struct world *world = calloc(1, sizeof *world);
	void *scratch;

	if (!world || scratch_setup(&scratch) != 0)
		return -1;
	world->scratch = scratch;
	arena_init(&world->arena);
	*state = world;
	return 0;
}

static int
teardown(void **state)
{
	struct world *world = *state;
	void *scratch = world->scratch;

	arena_finish(&world->arena);
	free(world);
	return scratch_teardown(&scratch);
}

static bool
read_with(struct world *world, const char *library, const char *json)
{
	fake_gpus(world->scratch, library, json);
	world->err = (struct error){ 0 };
	return gpus_read(&world->gpus, &world->arena, &world->err);
}

static void
must_read(struct world *world, const char *json)
{
	if (!read_with(world, FAKE_NVML, json))
		fail_msg("%s", world->err.text);
}

static void
reads_a_machine(void **state)
{
	struct world *world = *state;
	const struct gpu *gpu;

	must_read(world,
		"{\"gpus\": [{\"used_mib\": 100}, {\"uuid\": \"GPU-abc\", \"name\": \"NVIDIA A100\", \"total_mib\": 81920, "
		"\"capability\": [8, 0]}]}");
	assert_string_equal(world->gpus.driver, "575.57.08");
	assert_string_equal(world->gpus.cuda, "12.9");
	assert_int_equal(world->gpus.count, 2);
	gpu = &world->gpus.items[0];
	assert_string_equal(gpu->name, "NVIDIA GeForce RTX 3090");
	assert_string_equal(gpu->pci, "00000000:01:00.0");
	assert_true(
		gpu->total == 24576 * MIB && gpu->reserved == 318 * MIB && gpu->used == 418 * MIB && gpu->free == 24158 * MIB);
	assert_true(gpu->major == 8 && gpu->minor == 6 && !gpu->broken);
	assert_ptr_equal(gpus_find(&world->gpus, "GPU-abc"), &world->gpus.items[1]);
	assert_ptr_equal(gpus_find(&world->gpus, "1"), &world->gpus.items[1]);
	assert_null(gpus_find(&world->gpus, "2"));
	assert_null(gpus_find(&world->gpus, "GPU-ab"));
	assert_null(gpus_find(&world->gpus, ""));
}

static void
says_why_there_is_no_driver(void **state)
{
	static const struct {
		const char *json, *text, *hint;
	} cases[] = {
		{ NULL, "no NVIDIA driver", "administrator" },
		{ "{\"init\": 9}", "not loaded", "modprobe" },
		{ "{\"init\": 18}", "different versions", "reboot" },
		{ "{\"init\": 4}", "no permission", "readable" },
		{ "{\"init\": 999}", "Unknown Error", "nvidia-smi" },
	};
	struct world *world = *state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		assert_false(read_with(world, FAKE_NVML, cases[i].json));
		assert_int_equal(world->err.fault, FAULT_NO_DRIVER);
		if (!strstr(world->err.text, cases[i].text) || !strstr(world->err.hint, cases[i].hint))
			fail_msg("case %zu: %s (%s)", i, world->err.text, world->err.hint);
	}
}

/* What an old driver does not say is unknown, and no failure. */
static void
bears_old_drivers(void **state)
{
	struct world *world = *state;
	const struct gpu *gpu = NULL;

	assert_true(read_with(world, FAKE_NVML_OLD, "{\"gpus\": [{\"used_mib\": 1000}, {}]}"));
	gpu = &world->gpus.items[0];
	assert_true(gpu->total == 24576 * MIB && gpu->reserved == 0 && gpu->used == 1318 * MIB);
	assert_int_equal(gpu->major, 0);
	assert_int_equal(gpu->process_count, 0);
	assert_int_equal(world->gpus.p2p[1], -1);
	must_read(world,
		"{\"missing\": [\"nvmlDeviceGetMemoryInfo_v2\", \"nvmlDeviceGetMemoryInfo\"], \"cuda_code\": 12, \"gpus\": "
		"[{}]}");
	assert_null(world->gpus.items[0].broken);
	assert_true(world->gpus.items[0].total == 0);
	assert_string_equal(world->gpus.cuda, "12.9");
	must_read(world, "{\"cuda_code\": 999}");
	assert_string_equal(world->gpus.cuda, "");
	assert_int_equal(world->gpus.count, 0);
}

/* One card that is lost leaves the others as they are. */
static void
names_broken_gpus(void **state)
{
	struct world *world = *state;

	must_read(world, "{\"gpus\": [{}, {\"code\": 15}, {\"code\": 4}, {\"code\": 77}]}");
	assert_int_equal(world->gpus.count, 4);
	assert_null(world->gpus.items[0].broken);
	assert_string_equal(world->gpus.items[1].broken, "fell off the bus");
	assert_string_equal(world->gpus.items[2].broken, "no permission to use it");
	assert_string_equal(world->gpus.items[3].broken, "some error (NVML code 77)");
	assert_false(gpu_is_free(&world->gpus.items[1]));
	assert_int_equal(world->gpus.p2p[1], -1);
}

/* Records of either length, any number of them, beyond the first buffer too. */
static void
reads_processes_of_either_stride(void **state)
{
	static const unsigned strides[] = { 24, 32 }, counts[] = { 0, 1, 2, 3, 63, 64, 65, 300 };
	struct world *world = *state;

	for (size_t s = 0; s < 2; s++)
		for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
			const char *list = "";
			const struct gpu *gpu;

			for (unsigned i = 0; i < counts[c]; i++)
				list = arena_printf(
					&world->arena, "%s%s{\"pid\": %u, \"mib\": %u}", list, i ? ", " : "", 4000000 + i, i + 1);
			must_read(world,
				arena_printf(&world->arena, "{\"stride\": %u, \"gpus\": [{\"processes\": [%s]}]}", strides[s], list));
			gpu = &world->gpus.items[0];
			assert_int_equal(gpu->process_count, counts[c]);
			for (unsigned i = 0; i < counts[c]; i++) {
				assert_int_equal(gpu->processes[i].pid, 4000000 + i);
				assert_true(gpu->processes[i].memory == (i + 1) * MIB);
			}
		}
	/* Neither length: nothing is believed. */
	must_read(world, "{\"stride\": 40, \"gpus\": [{\"processes\": [{\"pid\": 1}, {\"pid\": 2}, {\"pid\": 3}]}]}");
	assert_int_equal(world->gpus.items[0].process_count, 0);
}

static void
names_processes(void **state)
{
	struct world *world = *state;
	const struct gpu *gpu;

	must_read(world, arena_printf(&world->arena,
		"{\"gpus\": [{\"processes\": [{\"pid\": %d}, {\"pid\": 0}], \"graphics\": [{\"pid\": %d, \"mib\": 5}, {\"pid\": 4000001, \"mib\": 7}]}]}",
		(int)getpid(), (int)getpid()));
	gpu = &world->gpus.items[0];
	/* A process that computes and draws is one. */
	assert_int_equal(gpu->process_count, 3);
	assert_true(gpu->processes[0].memory == UINT64_MAX);
	assert_non_null(strstr("rules_client_gpu_test", gpu->processes[0].name));
	assert_true(*gpu->processes[0].name && *gpu->processes[0].user);
	assert_string_equal(gpu->processes[1].name, "");
	assert_string_equal(gpu->processes[2].user, "");
}

static void
tells_free_from_used(void **state)
{
	static const struct {
		const char *gpu;
		bool free;
	} cases[] = {
		{ "{}", true },
		{ "{\"used_mib\": 299, \"reserved_mib\": 600}", true },
		{ "{\"used_mib\": 300}", false },
		{ "{\"used_mib\": 20000}", false },
		{ "{\"processes\": [{\"pid\": 1, \"mib\": 10}]}", false },
		{ "{\"graphics\": [{\"pid\": 1}]}", false },
	};
	struct world *world = *state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		must_read(world, arena_printf(&world->arena, "{\"gpus\": [%s]}", cases[i].gpu));
		assert_int_equal(gpu_is_free(&world->gpus.items[0]), cases[i].free);
	}
}

static void
reads_links(void **state)
{
	struct world *world = *state;

	must_read(world,
		"{\"gpus\": [" FOUR
		"], \"p2p\": [[0, 0, 4, 4], [0, 0, 4, 4], [4, 4, 0, 0], [4, 4, 0, 0]], \"nvlink\": [[0, 0], [0, 0]]}");
	assert_int_equal(world->gpus.p2p[0 * 4 + 1], 1);
	assert_int_equal(world->gpus.p2p[1 * 4 + 2], 0);
	assert_int_equal(world->gpus.nvlink[0 * 4 + 1], 1);
	assert_int_equal(world->gpus.nvlink[2 * 4 + 3], 0);
	must_read(world, "{\"gpus\": [" FOUR "], \"missing\": [\"nvmlDeviceGetP2PStatus\"]}");
	assert_int_equal(world->gpus.p2p[0 * 4 + 1], -1);
	assert_int_equal(world->gpus.nvlink[0 * 4 + 1], -1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(reads_a_machine, setup, teardown),
		cmocka_unit_test_setup_teardown(says_why_there_is_no_driver, setup, teardown),
		cmocka_unit_test_setup_teardown(bears_old_drivers, setup, teardown),
		cmocka_unit_test_setup_teardown(names_broken_gpus, setup, teardown),
		cmocka_unit_test_setup_teardown(reads_processes_of_either_stride, setup, teardown),
		cmocka_unit_test_setup_teardown(names_processes, setup, teardown),
		cmocka_unit_test_setup_teardown(tells_free_from_used, setup, teardown),
		cmocka_unit_test_setup_teardown(reads_links, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
