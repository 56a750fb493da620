#include "rules/diagnose.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "engine/base/strings.h"

#define WRAPPER "(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}\n"

static const struct {
	const char *log;
	const char *id;
	enum fault fault;
	const char *cause;    /* part of it; NULL: do not look */
	const char *hint;     /* likewise */
	const char *evidence; /* the whole */
} cases[] = {
	{ "(EngineCore_DP0 pid=212) ValueError: Total number of attention heads (32) must be divisible by tensor parallel size (3).\n" WRAPPER, "F01",
		FAULT_INFEASIBLE, "32 attention heads do not divide by tensor parallel size 3", "divides 32",
		"ValueError: Total number of attention heads (32) must be divisible by tensor parallel size (3)." },
	{ "(Worker_TP0 pid=9) ERROR 11-22 10:04:31 [multiproc_executor.py:597] AssertionError: 13696 is not divisible by 3\n" WRAPPER, "F02",
		FAULT_INFEASIBLE, "13696", NULL, "AssertionError: 13696 is not divisible by 3" },
	{ "(Worker_TP0 pid=9) ERROR 11-22 10:04:31 [x.py:1]     assert heads % tp_size == 0\n"
	  "(Worker_TP0 pid=9) ERROR 11-22 10:04:31 [x.py:1]            ^^^^^^^\n"
	  "(Worker_TP0 pid=9) ERROR 11-22 10:04:31 [x.py:1] AssertionError\n" WRAPPER, "F02", FAULT_INFEASIBLE, NULL, NULL, "AssertionError" },
	{ "ValueError: Tensor parallel size (3) cannot be larger than the number of available GPUs (2).", "F03", FAULT_INFEASIBLE, "needs 3 GPUs, but 2", "gpus", NULL },
	{ "NotImplementedError: Pipeline parallelism is not supported for this model. Supported models implement the `SupportsPP` interface.", "F04",
		FAULT_INFEASIBLE, NULL, NULL, NULL },
	{ "ValueError: The input size is not aligned with the quantized weight shape.", "F05", FAULT_INFEASIBLE, NULL, NULL, NULL },
	{ "ValueError: Weight input_size_per_partition = 4565 is not divisible by min_thread_k = 128.", "F05", FAULT_INFEASIBLE, NULL, NULL, NULL },
	{ "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 108.00 MiB. GPU 0 has a total capacity of 23.56 GiB", "F06", FAULT_OUT_OF_MEMORY,
		"weights do not fit", "more GPUs", NULL },
	{ "INFO 11-22 10:04:31 [gpu_model_runner.py:2] Model loading took 19.1 GiB memory and 61.2 seconds\n"
	  "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.16 GiB. GPU 0 has\n" WRAPPER, "F06", FAULT_OUT_OF_MEMORY, "(asked for 1.16 GiB)",
		"--max-model-len", "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.16 GiB. GPU 0 has" },
	{ "ValueError: Free memory on device (3.1/23.56 GiB) on startup is less than desired GPU memory utilization (0.9, 21.2 GiB).", "F07",
		FAULT_OUT_OF_MEMORY, "only 3.1 of 23.56 GiB", NULL, NULL },
	{ "ValueError: Free memory on device cuda:0 (3.1/23.56 GiB) on startup is less than desired GPU memory utilization", "F07", FAULT_OUT_OF_MEMORY,
		"only 3.1 of 23.56 GiB", NULL, NULL },
	{ "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`", "F08", FAULT_OUT_OF_MEMORY, NULL, NULL, NULL },
	{ "ValueError: To serve at least one request with the models's max seq len (25480), (1.56 GiB KV cache is needed, which is larger than the available KV "
	  "cache memory (0.91 GiB). Based on the available memory, the estimated maximum model length is 14912. Try increasing `gpu_memory_utilization`",
		"F09", FAULT_OUT_OF_MEMORY, "25480 tokens needs 1.56 GiB, and 0.91 GiB", "lower --max-model-len to 14912", NULL },
	{ "max seq len (25480), (1.56 GiB KV cache is needed, which is larger than the available KV cache memory (0.91 GiB).", "F09", FAULT_OUT_OF_MEMORY,
		NULL, "lower --max-model-len (25480)", NULL },
	{ "RuntimeError: CUDA out of memory occurred when warming up sampler with 256 dummy requests. Please try lowering `max_num_seqs`\n"
	  "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 148.00 MiB", "F10", FAULT_OUT_OF_MEMORY, "256 sequences", "--max-num-seqs (256)", NULL },
	{ "could not select device driver \"\" with capabilities: [[gpu]]", "F11", FAULT_HOST_IN_LOG, NULL, "nvidia-ctk", NULL },
	{ "nvidia-container-cli: requirement error: unsatisfied condition: cuda>=12.9, please update your driver", "F12", FAULT_HOST_IN_LOG, "CUDA 12.9", NULL, NULL },
	{ "RuntimeError: The NVIDIA driver on your system is too old (found version 11040).", "F13", FAULT_HOST_IN_LOG, "11040", NULL, NULL },
	{ "RuntimeError: Unexpected error from cudaGetDeviceCount(). Error 803: system has unsupported display driver / cuda driver combination", "F13",
		FAULT_HOST_IN_LOG, NULL, NULL, NULL },
	{ "Failed to initialize NVML: Driver/library version mismatch", "F13", FAULT_HOST_IN_LOG, NULL, "reboot", NULL },
	{ "ValueError: t:1 must be larger than temporal_factor:2", "F14", FAULT_START, NULL, "video", NULL },
	{ "ValueError: The checkpoint you are trying to load has model type `glm4v` but Transformers does not recognize this architecture.", "F15", FAULT_START,
		"glm4v", NULL, NULL },
	{ "ValueError: Model architectures ['Glm9Future'] are not supported for now. Supported architectures: dict_keys", "F16", FAULT_START, "['Glm9Future']", NULL, NULL },
	{ "AttributeError: 'Glm4vTextConfig' object has no attribute 'tie_word_embeddings'", "F17", FAULT_START, NULL, "5.0.0rc0", NULL },
	{ "ImportError: cannot import name 'ALLOWED_LAYER_TYPES' from 'transformers'", "F17", FAULT_START, NULL, NULL, NULL },
	{ "safetensors_rust.SafetensorError: Error while deserializing header: HeaderTooLarge", "F18", FAULT_START, NULL, "audit verify", NULL },
	{ "huggingface_hub.errors.GatedRepoError: 401 Client Error.", "F19", FAULT_NETWORK, NULL, NULL, NULL },
	{ "OSError: Can't load the configuration of '/model'.", "F20", FAULT_START, NULL, "mounts", NULL },
	{ "OSError: /model does not appear to have a file named config.json.", "F20", FAULT_START, NULL, NULL, NULL },
	{ "torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp, unhandled system error", "F21", FAULT_START, NULL, "NCCL_DEBUG", NULL },
	{ "RuntimeError: NCCL error: unhandled system error\nError while creating shared memory segment /dev/shm/nccl-x (size 9637888)", "F22", FAULT_START, NULL,
		"shm_size", "Error while creating shared memory segment /dev/shm/nccl-x (size 9637888)" },
	{ "posix_fallocate failed : No space left on device (28)", "F22", FAULT_START, NULL, NULL, NULL },
	{ "FileExistsError: [Errno 17] File exists: '/VLLM_OBJECT_STORAGE_SHM_BUFFER'", "F23", FAULT_START, NULL, "ipc", NULL },
	{ "INFO No available shared memory broadcast block found in 60 seconds.\nINFO No available shared memory broadcast block found in 60 seconds.", "F24",
		FAULT_START, NULL, "NCCL_P2P_DISABLE", NULL },
	{ "OSError: [Errno 98] Address already in use", "F25", FAULT_HOST_IN_LOG, NULL, NULL, NULL },
	{ "Bind for 127.0.0.1:8000 failed: port is already allocated", "F25", FAULT_HOST_IN_LOG, NULL, NULL, NULL },
	{ "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock", "F26", FAULT_HOST_IN_LOG, NULL, "group", NULL },
	{ "Cannot connect to the Docker daemon at unix:///var/run/docker.sock.", "F27", FAULT_HOST_IN_LOG, NULL, NULL, NULL },
	{ "OSError: [Errno 28] No space left on device", "F28", FAULT_HOST_IN_LOG, "disk", NULL, NULL },
	{ "RuntimeError: Worker proc VllmWorker-1 died unexpectedly, shutting down executor.\n" WRAPPER, "F29", FAULT_START, "VllmWorker-1", NULL, NULL },
	{ "Bus error (core dumped)\nRuntimeError: Engine core proc EngineCore_DP0 died unexpectedly", "F22", FAULT_START, NULL, NULL, NULL },
	{ "ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0.", "F30", FAULT_HOST_IN_LOG, NULL, "half", NULL },
	{ "RuntimeError: CUDA error: no kernel image is available for execution on the device", "F31", FAULT_HOST_IN_LOG, NULL, NULL, NULL },
	{ "invoking the NVIDIA Container Runtime Hook directly (e.g. specifying the docker --gpus flag) is not supported.", "F32", FAULT_HOST_IN_LOG, NULL, NULL, NULL },
	{ "User-specified max_model_len (200000) is greater than the derived max_model_len (max_position_embeddings=131072 or model_max_length=None", "F33",
		FAULT_START, "200000", "lower --max-model-len to 131072", NULL },
	{ "vllm: error: unrecognized arguments: --tensor-paralel-size 3", "F34", FAULT_START, "--tensor-paralel-size 3", NULL, NULL },
	{ "vllm: error: unrecognized arguments: scripts/check.py", "F35", FAULT_START, "scripts/check.py", NULL, NULL },
	{ "vllm: error: unrecognized arguments: python x.py DIR", "F35", FAULT_START, "`x.py`", NULL, NULL },

	/* The wrapper alone: what the traceback before it says is the evidence. */
	{ "Traceback (most recent call last):\n  File \"x.py\", line 1\nRuntimeError: the moon is in the way\n" WRAPPER "INFO shutting down\n", "F00", FAULT_START, NULL,
		NULL, "RuntimeError: the moon is in the way" },
	/* Colours, prefixes, carriage returns, no line end. */
	{ "\033[1;36m(EngineCore_DP0 pid=77)\033[0;0m \033[31mERROR 11-22 10:04:31 [core.py:600] ValueError: No available memory for the cache blocks.\033[0m  ", "F08",
		FAULT_OUT_OF_MEMORY, NULL, NULL, "ValueError: No available memory for the cache blocks." },
	{ "Loading: 25%\rLoading: 50%\rValueError: t:1 must be larger than temporal_factor:2\r", "F14", FAULT_START, NULL, NULL,
		"ValueError: t:1 must be larger than temporal_factor:2" },
	/* Cause before consequence, wherever they stand. */
	{ "RuntimeError: Worker proc VllmWorker-1 died unexpectedly\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1 GiB\nOSError: [Errno 98]", "F06",
		FAULT_OUT_OF_MEMORY, NULL, NULL, NULL },
	/* Nothing known. */
	{ "starting\nmypackage.errors.ConfigError: bad colour\nINFO bye\n", NULL, FAULT_START, NULL, NULL, "mypackage.errors.ConfigError: bad colour" },
	{ "starting\nsomething failed badly\nbye\n", NULL, FAULT_START, NULL, NULL, "something failed badly" },
	{ "starting\n  last words  \n\n", NULL, FAULT_START, NULL, NULL, "last words" },
	/* Once is only slow. */
	{ "No available shared memory broadcast block found in 60 seconds.", NULL, FAULT_START, NULL, NULL, "No available shared memory broadcast block found in 60 seconds." },
};

static void
check_part(size_t i, const char *what, const char *text, const char *part)
{
	if (part && (!text || !strstr(text, part)))
		fail_msg("case %zu: %s is `%s`, without `%s`", i, what, text ? text : "(none)", part);
}

static void
test_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct arena arena = { 0 };
		struct diagnosis found;
		arena_init(&arena);
		diagnose(cases[i].log, strlen(cases[i].log), &arena, &found);
		if (!text_equal(found.id, cases[i].id))
			fail_msg("case %zu is %s, not %s", i, found.id ? found.id : "unknown", cases[i].id ? cases[i].id : "unknown");
		assert_int_equal(found.fault, cases[i].fault);
		check_part(i, "cause", found.cause, cases[i].cause);
		check_part(i, "hint", found.hint, cases[i].hint);
		if (cases[i].evidence)
			assert_string_equal(found.evidence, cases[i].evidence);
		else
			assert_non_null(found.evidence);
		/* No group that was not filled in. */
		assert_true(!found.cause || !strstr(found.cause, "{"));
		assert_true(!found.hint || !strstr(found.hint, "{1}"));
		arena_finish(&arena);
	}
}

/* Each failure class of the table has the name that `fallback: on:` uses. */
static void
test_classes(void **state)
{
	static const struct {
		const char *log, *class;
	} classes[] = {
		{ "AssertionError: 65 is not divisible by 2", "infeasible" },
		{ "CUDA out of memory. Tried to allocate", "out_of_memory" },
		{ "unsatisfied condition: cuda>=12.9", "host" },
		{ "Repository Not Found for url", NULL },
		{ "t:1 must be larger than temporal_factor:2", "start_failed" },
		{ "never seen before", "start_failed" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
		struct arena arena = { 0 };
		struct diagnosis found;
		arena_init(&arena);
		diagnose(classes[i].log, strlen(classes[i].log), &arena, &found);
		const char *name = failure_class_name(fault_row(found.fault)->class);
		if (!text_equal(name, classes[i].class))
			fail_msg("`%s` is %s", classes[i].log, name ? name : "of no class");
		arena_finish(&arena);
	}
}

static void
test_hostile_logs(void **state)
{
	struct arena arena = { 0 };
	struct diagnosis found;
	struct buf log;

	(void)state;
	arena_init(&arena);
	diagnose("", 0, &arena, &found);
	assert_null(found.id);
	assert_null(found.evidence);
	diagnose("\n\r\n\033[", 5, &arena, &found);
	assert_null(found.evidence);
	/* NUL bytes, a very long line, and the message far behind its beginning. */
	buf_init(&log, 1 << 20);
	buf_add(&log, "a\0b\033", 4);
	for (int i = 0; i < 3000; i++)
		buf_text(&log, "0123456789");
	buf_text(&log, "\nCUDA out of memory");
	diagnose(log.data, log.size, &arena, &found);
	assert_string_equal(found.id, "F06");
	buf_clear(&log);
	buf_text(&log, "ValueError: ");
	for (int i = 0; i < 200; i++)
		buf_text(&log, "0123456789");
	diagnose(log.data, log.size, &arena, &found);
	assert_int_equal(strlen(found.evidence), 403);
	buf_finish(&log);
	arena_finish(&arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_classes),
		cmocka_unit_test(test_hostile_logs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
