#include "rules/diagnose.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
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
		NULL, "lower --max-model-len to 14720,", NULL },
	{ "RuntimeError: CUDA out of memory occurred when warming up sampler with 256 dummy requests. Please try lowering `max_num_seqs`\n"
	  "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 148.00 MiB", "F10", FAULT_OUT_OF_MEMORY, "256 sequences", "--max-num-seqs (256) to 128", NULL },
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

	/* Every alternative of a row. */
	{ "RuntimeError: The input size 4 is not divisible by group_size = 128.", "F05", FAULT_INFEASIBLE, NULL, NULL, NULL },
	{ "ValueError: Weight output_partition_size = 3424 is not divisible by weight quantization block_n = 128.", "F05", FAULT_INFEASIBLE, NULL, NULL, NULL },
	{ "RuntimeError: CUDA error: out of memory", "F06", FAULT_OUT_OF_MEMORY, "weights do not fit", NULL, NULL },
	{ "(EngineCore_DP0 pid=12473) ERROR 11-05 12:19:32 [linear.py:210] Failed to create unquantized linear weights: CUDA out of memory. Tried to allocate "
	  "896.00 MiB. GPU 0 has a total capacity of 93.09 GiB of which 739.81 MiB is free.", "F06", FAULT_OUT_OF_MEMORY, "weights do not fit", "more GPUs", NULL },
	{ "The model's max seq len (32768) is larger than the maximum number of tokens that can be stored in KV cache (7344). Try increasing", "F09",
		FAULT_OUT_OF_MEMORY, NULL, "to 7344", NULL },
	{ "(EngineCore_DP0 pid=1094) ValueError: To serve at least one request with the models's max seq len (262144), (24.0 GiB KV cache is needed, which is larger "
	  "than the available KV cache memory (3.18 GiB). Based on the available memory, the estimated maximum model length is 34736. Try increasing", "F09",
		FAULT_OUT_OF_MEMORY, "262144 tokens needs 24.0 GiB, and 3.18 GiB", "lower --max-model-len to 34736,", NULL },
	{ "ValueError: To serve at least one request with the model's max seq len (1048576), 22.5 GiB KV cache is needed, which is larger than the available KV cache "
	  "memory (17.39 GiB). Based on the available memory, the estimated maximum model length is 810208.", "F09", FAULT_OUT_OF_MEMORY, "22.5 GiB", "to 810208", NULL },
	{ "Unexpected error from cudaGetDeviceCount(). Error 804: forward compatibility was attempted on non supported HW", "F13", FAULT_HOST_IN_LOG, NULL, NULL, NULL },
	{ "AttributeError: Qwen2Tokenizer has no attribute all_special_tokens_extended", "F17", FAULT_START, NULL, NULL, NULL },
	{ "SafetensorError: Error while deserializing header: header too large", "F18", FAULT_START, NULL, NULL, NULL },
	{ "SafetensorError: Error while deserializing header: InvalidHeaderDeserialization", "F18", FAULT_START, NULL, NULL, NULL },
	{ "SafetensorError: Error while deserializing header: MetadataIncompleteBuffer", "F18", FAULT_START, NULL, NULL, NULL },
	{ "SafetensorError: Error while deserializing header: incomplete metadata, file not fully covered", "F18", FAULT_START, NULL, NULL, NULL },
	{ "OSError: Cannot access gated repo for url https://hub.example/a/b", "F19", FAULT_NETWORK, NULL, "HF_TOKEN", NULL },
	{ "requests.exceptions.HTTPError: 401 Client Error: Unauthorized for url", "F19", FAULT_NETWORK, NULL, NULL, NULL },
	{ "Repository Not Found for url: https://hub.example/api/models/a/b", "F19", FAULT_NETWORK, NULL, NULL, NULL },
	{ "ValueError: Invalid repository ID or local directory specified: '/model'", "F20", FAULT_START, NULL, NULL, NULL },
	{ "torch.distributed.DistBackendError: ncclSystemError: System call failed", "F21", FAULT_START, NULL, NULL, NULL },
	{ "ncclUnhandledCudaError: Call to CUDA function failed.", "F21", FAULT_START, NULL, NULL, NULL },
	{ "Fatal Python error: Bus error", "F22", FAULT_START, NULL, NULL, NULL },
	{ "worker 3 ended by SIGBUS", "F22", FAULT_START, NULL, NULL, NULL },
	{ "failed to bind host port for 0.0.0.0:8000:172.17.0.2:8000/tcp", "F25", FAULT_HOST_IN_LOG, NULL, NULL, NULL },
	{ "RuntimeError: Engine core proc EngineCore_DP0 died unexpectedly, shutting down client.", "F29", FAULT_START, "EngineCore_DP0", NULL, NULL },
	{ "(Worker_TP1 pid=9) ERROR Exception: WorkerProc initialization failed due to an exception in a background process. See stack trace for root cause.", "F00",
		FAULT_START, NULL, NULL, NULL },
	{ "ERROR 05-07 02:14:18 [core.py:396] EngineCore failed to start.", "F00", FAULT_START, NULL, NULL, NULL },
	/* What Compose writes before each line. */
	{ "vllm-1  | (Worker_TP0 pid=9) ERROR 11-22 10:04:31 [x.py:1]     assert self.total_num_heads % tp_size == 0\n"
	  "vllm-1  | (Worker_TP0 pid=9) ERROR 11-22 10:04:31 [x.py:1] AssertionError\n", "F02", FAULT_INFEASIBLE, NULL, NULL, "AssertionError" },

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

/* No row of the reference is without a log that shows it. */
static void
test_every_row(void **state)
{
	(void)state;
	for (unsigned row = 0; row <= 35; row++) {
		char id[8];
		bool found = false;

		snprintf(id, sizeof id, "F%02u", row);
		for (size_t i = 0; i < sizeof cases / sizeof *cases && !found; i++)
			found = text_equal(cases[i].id, id);
		if (!found)
			fail_msg("no case is %s", id);
	}
}

#define ARGS(more) "(APIServer pid=1) INFO 12-13 23:33:02 [utils.py:253] non-default args: {'model': '/model'" more "}\n"
#define GLM "(APIServer pid=1) INFO 12-13 23:33:10 [model.py:631] Resolved architecture: Glm4vForConditionalGeneration\n"
#define LOADED "(EngineCore_DP0 pid=824) INFO 12-13 23:34:10 [gpu_model_runner.py:3549] Model loading took 19.1812 GiB memory and 61.168493 seconds\n"
#define VIDEO \
	"(EngineCore_DP0 pid=824) INFO 12-13 23:34:11 [gpu_model_runner.py:4306] Encoder cache will be initialized with a budget of 18605 tokens, and profiled with " \
	"1 video items of the maximum feature size.\n"
#define IMAGE \
	"(EngineCore_DP0 pid=824) INFO 12-13 23:34:11 [gpu_model_runner.py:4306] Encoder cache will be initialized with a budget of 3721 tokens, and profiled with " \
	"1 image items of the maximum feature size.\n"
#define AVAILABLE(gib) "(EngineCore_DP0 pid=824) INFO 12-13 23:34:21 [gpu_worker.py:359] Available KV cache memory: " gib " GiB\n"
#define NO_BLOCKS "(EngineCore_DP0 pid=824) ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the engine.\n"
#define TOO_LONG(tokens, need, have, fits) \
	"(EngineCore_DP0 pid=824) ValueError: To serve at least one request with the models's max seq len (" tokens "), (" need " GiB KV cache is needed, which is " \
	"larger than the available KV cache memory (" have " GiB). Based on the available memory, the estimated maximum model length is " fits ". Try\n"
#define OUT(asked, left) \
	"(EngineCore_DP0 pid=824) ERROR 12-13 23:34:20 [core.py:843] torch.OutOfMemoryError: CUDA out of memory. Tried to allocate " asked ". GPU 0 has a total " \
	"capacity of 23.56 GiB of which " left " is free. Including non-PyTorch memory, this process has 22.20 GiB memory in use.\n"
#define CAPTURING "Capturing CUDA graphs (mixed prefill-decode, PIECEWISE):  12%|#2        | 8/67 [00:00<00:05, 11.31it/s]\n"
#define CAPTURED "(EngineCore_DP0 pid=824) INFO 12-13 23:34:30 [gpu_model_runner.py:4466] Graph capturing finished in 5 secs, took 0.58 GiB\n"

/* Out of memory at start: vLLM's own numbers name the next setting that can work. */
static const struct {
	const char *log, *id;
	const char *hint;
} starts[] = {
	/* The length that vLLM names works, unless its dummy video would be too short then. */
	{ ARGS("") GLM LOADED IMAGE AVAILABLE("0.91") TOO_LONG("25480", "0.97", "0.91", "23824") WRAPPER, "F09",
		"lower --max-model-len to 23824, or raise --gpu-memory-utilization (0.9)" },
	{ ARGS("") GLM LOADED VIDEO AVAILABLE("0.30") TOO_LONG("25480", "0.97", "0.30", "7856") WRAPPER, "F09",
		"set \"video\": 0 in --limit-mm-per-prompt and lower --max-model-len to 7856: with video, less than 9553 tokens fail too, or raise "
		"--gpu-memory-utilization (0.9)" },
	{ ARGS(", 'gpu_memory_utilization': 0.95") LOADED TOO_LONG("25480", "0.97", "0.91", "23824"), "F09", "lower --max-model-len to 23824" },
	{ ARGS(", 'gpu_memory_utilization': 0.97") "max seq len (25480), (0.97 GiB KV cache is needed, which is larger than the available KV cache memory (0.0 GiB).",
		"F09", "no length fits: use more GPUs per instance" },
	/* Nothing left at all: first what the profile run need not have held. */
	{ ARGS("") GLM LOADED VIDEO AVAILABLE("-1.13") NO_BLOCKS WRAPPER, "F08",
		"set \"video\": 0 in --limit-mm-per-prompt: the profile run used a video (1.13 GiB are missing before any KV cache); else raise "
		"--gpu-memory-utilization (0.9)" },
	{ ARGS(", 'gpu_memory_utilization': 0.95") LOADED IMAGE AVAILABLE("-1.13") NO_BLOCKS WRAPPER, "F08",
		"lower --max-num-batched-tokens, or use more GPUs per instance (1.13 GiB are missing before any KV cache)" },
	/* Somebody else has the GPU: all that is left, or next to nothing. */
	{ "ValueError: Free memory on device (20.81/23.56 GiB) on startup is less than desired GPU memory utilization (0.9, 21.2 GiB). Decrease GPU memory", "F07",
		"free the GPU (`nvidia-smi` shows who uses it), or lower --gpu-memory-utilization (0.9) to 0.88, if the model fits that" },
	{ "ValueError: Free memory on device cuda:1 (3.1/23.56 GiB) on startup is less than desired GPU memory utilization (0.9, 21.2 GiB).", "F07",
		"free the GPU: `nvidia-smi` shows who uses it" },
	/* Before the weights are in, in the profile run, while capturing, and afterwards. */
	{ ARGS("") GLM OUT("108.00 MiB", "54.00 MiB") WRAPPER, "F06", "use more GPUs per instance, or a quantised model" },
	{ ARGS("") GLM LOADED VIDEO OUT("1.16 GiB", "900.00 MiB") WRAPPER, "F06",
		"set \"video\": 0 in --limit-mm-per-prompt: the profile run used a video; else lower --max-num-batched-tokens, or use more GPUs" },
	{ ARGS(", 'gpu_memory_utilization': 0.95") LOADED IMAGE AVAILABLE("1.2") CAPTURING OUT("300.00 MiB", "44.00 MiB") WRAPPER, "F06",
		"the CUDA graphs did not fit: add --enforce-eager, or lower --gpu-memory-utilization (0.95) to 0.92" },
	{ LOADED CAPTURING "(VllmWorker rank=3 pid=1090) ERROR 06-05 06:18:13 [multiproc_executor.py:470] RuntimeError: CUDA error: out of memory\n", "F06",
		"the CUDA graphs did not fit: add --enforce-eager, or lower --gpu-memory-utilization" },
	{ LOADED CAPTURING CAPTURED OUT("300.00 MiB", "44.00 MiB"), "F06",
		"lower --max-model-len or --max-num-seqs, use --enforce-eager, or lower --gpu-memory-utilization" },
	/* The sampler: as many sequences as the free memory would have done for. */
	{ OUT("592.00 MiB", "148.00 MiB") "RuntimeError: CUDA out of memory occurred when warming up sampler with 256 dummy requests. Please try", "F10",
		"lower --max-num-seqs (256) to 64, or --gpu-memory-utilization (0.9)" },
};

static void
test_next_setting(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
		struct arena arena = { 0 };
		struct diagnosis found;

		arena_init(&arena);
		diagnose(starts[i].log, strlen(starts[i].log), &arena, &found);
		if (!text_equal(found.id, starts[i].id) || !text_equal(found.hint, starts[i].hint))
			fail_msg("case %zu is %s: %s", i, found.id ? found.id : "unknown", found.hint ? found.hint : "no hint");
		/* Whatever numbers a log holds, an error has room for what is made of them. */
		assert_true(strlen(found.hint) < 300);
		arena_finish(&arena);
	}
}

/* What nobody knows is shown as it was said: the last lines that look like an error. */
static void
test_last_errors(void **state)
{
	static const char log[] = "boot\nERROR one\nERROR two\nfine\nERROR three\nERROR four\nERROR five\nmypackage.OddError: six\nbye\n";
	static const char *const wanted[] = { "ERROR two", "ERROR three", "ERROR four", "ERROR five", "mypackage.OddError: six" };
	struct arena arena = { 0 };
	struct diagnosis found;

	(void)state;
	arena_init(&arena);
	diagnose(log, sizeof log - 1, &arena, &found);
	assert_null(found.id);
	assert_int_equal(found.last_count, DIAGNOSIS_LINES);
	for (size_t i = 0; i < DIAGNOSIS_LINES; i++)
		assert_string_equal(found.last[i], wanted[i]);
	diagnose("one\ntwo\n", 8, &arena, &found);
	assert_int_equal(found.last_count, 1);
	assert_string_equal(found.last[0], "two");
	diagnose("", 0, &arena, &found);
	assert_int_equal(found.last_count, 0);
	arena_finish(&arena);
}

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
		cmocka_unit_test(test_every_row),
		cmocka_unit_test(test_next_setting),
		cmocka_unit_test(test_last_errors),
		cmocka_unit_test(test_classes),
		cmocka_unit_test(test_hostile_logs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
