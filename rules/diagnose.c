#include "diagnose.h"

#include <ctype.h>
#include <regex.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "engine/base/cleanup.h"

#define LINE_LIMIT 16384
#define EVIDENCE_LIMIT 400
#define GROUPS 4
#define CONTEXT_LINES 16

/* `{1}` in cause and hint is a group of `pattern`; in `also_hint` of `also`. */
struct row {
	const char *id;
	const char *pattern;   /* POSIX extended, on one line without colours and prefix */
	enum fault fault;
	const char *cause;
	const char *hint;
	const char *also;      /* a second pattern on the same line; if it matches, `also_hint` takes the hint's place */
	const char *also_hint;
	const char *after;     /* only if this text stood in an earlier line */
	const char *near;      /* only if this text stands within the few lines before */
	unsigned times;        /* only if it matches this often; 0: once */
};

/* In order of rank: the first row that matches anywhere in the log is the answer. Causes come before what they cause; what wraps any failure comes last. */
static const struct row rows[] = {
	{ .id = "F01", .fault = FAULT_INFEASIBLE,
		.pattern = "Total number of attention heads \\(([0-9]+)\\) must be divisible by tensor parallel size \\(([0-9]+)\\)",
		.cause = "{1} attention heads do not divide by tensor parallel size {2}",
		.hint = "choose a tensor parallel size that divides {1}, or use pipeline parallelism" },
	{ .id = "F02", .fault = FAULT_INFEASIBLE, .pattern = "AssertionError: ([0-9]+) is not divisible by ([0-9]+)",
		.cause = "a dimension of the model, {1}, does not divide by tensor parallel size {2}",
		.hint = "choose a tensor parallel size that divides {1}" },
	{ .id = "F02", .fault = FAULT_INFEASIBLE, .pattern = "^AssertionError$", .near = "tp_size",
		.cause = "a dimension of the model does not divide by the tensor parallel size",
		.hint = "choose a smaller tensor parallel size" },
	{ .id = "F04", .fault = FAULT_INFEASIBLE, .pattern = "Pipeline parallelism is not supported for this model",
		.cause = "this model cannot be split into pipeline stages", .hint = "use tensor parallelism instead" },
	{ .id = "F05", .fault = FAULT_INFEASIBLE, .pattern =
			"not aligned with the quantized weight shape|is not divisible by (min_thread| min_thread|group_size|weight quantization block)",
		.cause = "the quantised weights cannot be split over so many GPUs", .hint = "choose a smaller tensor parallel size" },
	{ .id = "F13", .fault = FAULT_HOST_IN_LOG, .pattern = "The NVIDIA driver on your system is too old \\(found version ([0-9]+)\\)",
		.cause = "the NVIDIA driver is too old for this image (it offers CUDA {1})", .hint = "install a newer driver, or use an older image" },
	{ .id = "F13", .fault = FAULT_HOST_IN_LOG, .pattern = "Driver/library version mismatch",
		.cause = "the NVIDIA kernel module is older than the driver's libraries", .hint = "reboot, or reload the NVIDIA kernel module" },
	{ .id = "F13", .fault = FAULT_HOST_IN_LOG, .pattern = "Error 80[34]: |forward compatibility was attempted on non supported HW",
		.cause = "driver and CUDA libraries do not fit each other", .hint = "install a newer driver, or reboot if it was upgraded" },
	{ .id = "F12", .fault = FAULT_HOST_IN_LOG, .pattern = "unsatisfied condition: cuda>=([0-9.]+)",
		.cause = "the image needs a driver for CUDA {1} or later", .hint =
			"install a newer driver, or use an older image; NVIDIA_DISABLE_REQUIRE=1 in `env` skips the check at your own risk" },
	{ .id = "F11", .fault = FAULT_HOST_IN_LOG, .pattern = "could not select device driver \"[^\"]*\" with capabilities: \\[\\[gpu\\]\\]",
		.cause = "the container engine has no NVIDIA runtime", .hint =
			"install nvidia-container-toolkit, run `nvidia-ctk runtime configure --runtime=docker`, restart the engine; Docker from snap cannot see it" },
	{ .id = "F32", .fault = FAULT_HOST_IN_LOG, .pattern = "invoking the NVIDIA Container Runtime Hook directly .* is not supported",
		.cause = "the NVIDIA container toolkit is not in legacy mode", .hint = "use CDI, or set the toolkit's mode to `legacy`" },
	{ .id = "F11", .fault = FAULT_HOST_IN_LOG, .pattern = "CDI device injection failed: unresolvable CDI devices ?(.*)",
		.cause = "the container engine knows no such GPU: {1}", .hint = "run `nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml` after each change of the driver" },
	{ .id = "F03", .fault = FAULT_INFEASIBLE,
		.pattern = "Tensor parallel size \\(([0-9]+)\\) cannot be larger than the number of available GPUs \\(([0-9]+)\\)",
		.cause = "the shape needs {1} GPUs, but {2} can be seen inside", .hint = "check `gpus`, and that CUDA_VISIBLE_DEVICES is not set in `env`" },
	{ .id = "F10", .fault = FAULT_OUT_OF_MEMORY, .pattern = "CUDA out of memory occurred when warming up sampler with ([0-9]+) dummy requests",
		.cause = "no GPU memory left to sample {1} sequences at once", .hint = "lower --max-num-seqs ({1}), or --gpu-memory-utilization" },
	{ .id = "F07", .fault = FAULT_OUT_OF_MEMORY,
		.pattern = "Free memory on device [^(]*\\(([0-9.]+)/([0-9.]+) GiB\\) on startup is less than desired GPU memory utilization",
		.cause = "only {1} of {2} GiB were free on a GPU: another process uses it",
		.hint = "free the GPU (`nvidia-smi` shows who uses it), or lower --gpu-memory-utilization" },
	{ .id = "F09", .fault = FAULT_OUT_OF_MEMORY, .pattern = "max seq len \\(([0-9]+)\\), \\(([0-9.]+) GiB KV cache is needed, which is larger than the "
			"available KV cache memory \\(([0-9.]+) GiB\\)",
		.cause = "the KV cache of one request of {1} tokens needs {2} GiB, and {3} GiB are left",
		.hint = "lower --max-model-len ({1}), or raise --gpu-memory-utilization",
		.also = "estimated maximum model length is ([0-9]+)", .also_hint = "lower --max-model-len to {1}, or raise --gpu-memory-utilization" },
	{ .id = "F09", .fault = FAULT_OUT_OF_MEMORY, .pattern = "is larger than the maximum number of tokens that can be stored in KV cache",
		.cause = "the KV cache cannot hold one request of the maximum length", .hint = "lower --max-model-len, or raise --gpu-memory-utilization",
		.also = "stored in KV cache \\(([0-9]+)\\)", .also_hint = "lower --max-model-len to {1}, or raise --gpu-memory-utilization" },
	{ .id = "F08", .fault = FAULT_OUT_OF_MEMORY, .pattern = "No available memory for the cache blocks",
		.cause = "weights and activations leave no GPU memory for the KV cache",
		.hint = "raise --gpu-memory-utilization, disable video (--limit-mm-per-prompt), or use more GPUs" },
	{ .id = "F06", .fault = FAULT_OUT_OF_MEMORY, .pattern = "OutOfMemoryError: CUDA out of memory\\. Tried to allocate( [0-9.]+ [KMG]iB)?",
		.after = "Model loading took",
		.cause = "the weights fit, but activations or CUDA graphs do not (asked for{1})",
		.hint = "lower --max-model-len or --max-num-seqs, use --enforce-eager, or lower --gpu-memory-utilization" },
	{ .id = "F06", .fault = FAULT_OUT_OF_MEMORY, .pattern = "CUDA out of memory",
		.cause = "the weights do not fit the GPUs' memory", .hint = "use more GPUs per instance, or a quantised model" },
	{ .id = "F14", .fault = FAULT_START, .pattern = "t:1 must be larger than temporal_factor:2",
		.cause = "the maximum length is too short for the model's dummy video",
		.hint = "disable video (\"video\": 0 in --limit-mm-per-prompt), or raise --max-model-len to 9553 or more" },
	{ .id = "F33", .fault = FAULT_START, .pattern = "User-specified max_model_len \\(([0-9]+)\\) is greater than the derived max_model_len",
		.cause = "--max-model-len {1} is more than the model supports", .hint = "lower --max-model-len ({1})",
		.also = "derived max_model_len \\([a-z_]+=([0-9]+)", .also_hint = "lower --max-model-len to {1}" },
	{ .id = "F17", .fault = FAULT_START, .pattern =
			"has no attribute 'tie_word_embeddings'|cannot import name 'ALLOWED_LAYER_TYPES'|has no attribute '?all_special_tokens_extended",
		.cause = "the image's transformers is too new for its vLLM", .hint = "pin transformers in the image, `transformers==5.0.0rc0` for vLLM 0.12" },
	{ .id = "F15", .fault = FAULT_START, .pattern = "model type .([A-Za-z0-9_]+). but Transformers does not recognize this architecture",
		.cause = "the image's transformers is too old for models of type {1}", .hint = "use an image with a newer transformers" },
	{ .id = "F16", .fault = FAULT_START, .pattern = "Model architectures (\\[.*\\]) are not supported for now",
		.cause = "this vLLM does not support {1}", .hint = "use an image with a newer vLLM" },
	{ .id = "F18", .fault = FAULT_START, .pattern =
			"Error while deserializing header: ?(HeaderTooLarge|header too large|InvalidHeader|MetadataIncompleteBuffer|incomplete metadata)",
		.cause = "a weight file is damaged, cut off or a git-lfs pointer", .hint = "compare the weights with their digests: provision audit verify --deep" },
	{ .id = "F19", .fault = FAULT_NETWORK, .pattern = "GatedRepoError|Cannot access gated repo|401 Client Error|Repository Not Found for url",
		.cause = "the hub refused the model: a token or licence is missing, or the name is wrong",
		.hint = "serve the directory of a `model` target, or pass HF_TOKEN by `env_from`" },
	{ .id = "F20", .fault = FAULT_START, .pattern =
			"Can't load the configuration of|does not appear to have a file named config\\.json|Invalid repository ID or local directory",
		.cause = "there is no model where the server looks for it", .hint = "check `mounts` and the model's path in `args`" },
	{ .id = "F23", .fault = FAULT_START, .pattern = "FileExistsError: .*VLLM_OBJECT_STORAGE_SHM_BUFFER",
		.cause = "the shared-memory cache of another or an earlier instance is in the way",
		.hint = "use `ipc: private`, or a VLLM_OBJECT_STORAGE_SHM_BUFFER_NAME of its own in `env`" },
	{ .id = "F22", .fault = FAULT_START, .pattern =
			"Error while creating shared memory segment|posix_fallocate failed ?: No space left on device|Bus error|SIGBUS",
		.cause = "shared memory (/dev/shm) is too small", .hint = "raise `shm_size` to 8GiB or more" },
	{ .id = "F28", .fault = FAULT_HOST_IN_LOG, .pattern = "[Nn]o space left on device",
		.cause = "a disk is full", .hint = "free space where the container engine and the model's directory lie" },
	{ .id = "F25", .fault = FAULT_HOST_IN_LOG,
		.pattern = "[Aa]ddress already in use|\\[Errno 98\\]|port is already allocated|failed to bind host port",
		.cause = "the port is taken", .hint = "choose another `port`, or stop who holds it" },
	{ .id = "F26", .fault = FAULT_HOST_IN_LOG, .pattern = "permission denied while trying to connect to the Docker daemon socket",
		.cause = "this user may not use the Docker socket", .hint =
			"ask the administrator to add you to the group `docker` (which equals root), or use rootless Docker or Podman" },
	{ .id = "F27", .fault = FAULT_HOST_IN_LOG, .pattern = "Cannot connect to the Docker daemon at",
		.cause = "the Docker daemon does not answer", .hint = "start it, and check DOCKER_HOST and the Docker context" },
	{ .id = "F30", .fault = FAULT_HOST_IN_LOG, .pattern = "Bfloat16 is only supported on GPUs with compute capability of at least 8\\.0",
		.cause = "this GPU is too old for bfloat16", .hint = "add `dtype: half` to `args`" },
	{ .id = "F31", .fault = FAULT_HOST_IN_LOG, .pattern = "CUDA error: no kernel image is available",
		.cause = "the image was not built for this kind of GPU", .hint = "use an image that supports the GPU's compute capability" },
	{ .id = "F35", .fault = FAULT_START, .pattern = "unrecognized arguments: (.* )?([^ ]+\\.py)",
		.cause = "the image runs `vllm serve` already: `{2}` was taken for one of its arguments", .hint = "give only the server's arguments in `args`" },
	{ .id = "F34", .fault = FAULT_START, .pattern = "unrecognized arguments: (.*)",
		.cause = "this server does not know the arguments {1}", .hint = "correct `args`, or use an image that knows them" },
	{ .id = "F21", .fault = FAULT_START, .pattern = "NCCL error|ncclSystemError|ncclUnhandledCudaError|unhandled system error",
		.cause = "the GPUs could not talk to each other (NCCL)", .hint =
			"set NCCL_DEBUG=INFO in `env` to see why; a small `shm_size` and missing P2P are the usual causes (NCCL_P2P_DISABLE=1)" },
	{ .id = "F29", .fault = FAULT_START, .pattern = "(Worker|Engine core) proc ([^ ]+) died unexpectedly",
		.cause = "{1} process {2} was killed", .hint = "look into `dmesg` for the OOM killer (host memory), and raise `shm_size`" },
	{ .id = "F24", .fault = FAULT_START, .pattern = "No available shared memory broadcast block found in [0-9]+ seconds", .times = 2,
		.cause = "a worker hangs", .hint = "set NCCL_P2P_DISABLE=1 in `env` if the GPUs have no working P2P" },
	{ .id = "F00", .fault = FAULT_START, .pattern = "Engine core initialization failed\\. See root cause above|WorkerProc initialization failed due to an "
			"exception in a background process|EngineCore failed to start",
		.cause = "the engine could not be initialised", .hint = NULL },
};

#define ROWS (sizeof rows / sizeof *rows)
#define GENERIC (ROWS - 1)

/* Lines that say what happened when no row knows them, best first. */
static const char *const error_patterns[] = {
	"^([A-Za-z_][A-Za-z0-9_]*\\.)*[A-Z][A-Za-z0-9_]*(Error|Exception|Exit|Interrupt)(:|$)",
	"[Ee]rror|ERROR|FATAL|[Ff]atal|panic|CRITICAL|Killed|Segmentation fault|[Ee]xception|not found|[Ff]ailed",
	"[^ ]",
};

#define ERRORS (sizeof error_patterns / sizeof *error_patterns)

/* One reading of one log. */
struct reading {
	struct arena *arena;
	regex_t rows[ROWS];
	regex_t errors[ERRORS];
	bool compiled;
	bool after[ROWS];        /* the row's `after` was seen */
	unsigned seen[ROWS];
	char last[ERRORS][EVIDENCE_LIMIT + 4];
	char recent[CONTEXT_LINES][160];
	size_t lines;
	size_t best;             /* row; ROWS: none yet */
	struct diagnosis found;
};

static void
reading_finish(struct reading *reading)
{
	for (size_t i = 0; reading->compiled && i < ROWS; i++)
		regfree(&reading->rows[i]);
	for (size_t i = 0; reading->compiled && i < ERRORS; i++)
		regfree(&reading->errors[i]);
}

/* The patterns are our own and correct, so that only memory can be missing. */
static void
reading_init(struct reading *reading, struct arena *arena)
{
	int bad = 0;

	*reading = (struct reading){ .arena = arena, .best = ROWS };
	for (size_t i = 0; i < ROWS; i++)
		bad |= regcomp(&reading->rows[i], rows[i].pattern, REG_EXTENDED);
	for (size_t i = 0; i < ERRORS; i++)
		bad |= regcomp(&reading->errors[i], error_patterns[i], REG_EXTENDED | REG_NOSUB);
	if (bad)
		out_of_memory();
	reading->compiled = true;
}

/* `template` with its groups filled in. */
static const char *
fill(struct arena *arena, const char *template, const char *line, const regmatch_t *groups)
{
	struct buf text finally(buf_finish) = { 0 };

	if (!template)
		return NULL;
	buf_init(&text, 1024);
	for (const char *at = template; *at; at++) {
		if (*at != '{' || at[1] < '1' || at[1] >= '0' + GROUPS || at[2] != '}') {
			buf_char(&text, *at);
			continue;
		}
		const regmatch_t *group = &groups[at[1] - '0'];
		if (group->rm_so >= 0)
			buf_add(&text, line + group->rm_so, (size_t)(group->rm_eo - group->rm_so));
		at += 2;
	}
	return arena_copy(arena, text.data);
}

static void
shorten(char text[EVIDENCE_LIMIT + 4], const char *line)
{
	snprintf(text, EVIDENCE_LIMIT + 4, "%.*s%s", EVIDENCE_LIMIT, line, strlen(line) > EVIDENCE_LIMIT ? "..." : "");
}

static bool
is_near(const struct reading *reading, const char *text)
{
	for (size_t i = 0; i < CONTEXT_LINES; i++)
		if (strstr(reading->recent[i], text))
			return true;
	return false;
}

static void
take_row(struct reading *reading, size_t which, const char *line, const regmatch_t *groups)
{
	const struct row *row = &rows[which];
	regmatch_t also_groups[GROUPS];
	regex_t also;
	char evidence[EVIDENCE_LIMIT + 4];
	const char *hint = fill(reading->arena, row->hint, line, groups);

	if (row->also && regcomp(&also, row->also, REG_EXTENDED) == 0) {
		if (regexec(&also, line, GROUPS, also_groups, 0) == 0)
			hint = fill(reading->arena, row->also_hint, line, also_groups);
		regfree(&also);
	}
	shorten(evidence, line);
	reading->best = which;
	reading->found = (struct diagnosis){ row->id, fill(reading->arena, row->cause, line, groups), hint,
		arena_copy(reading->arena, evidence), row->fault };
}

static void
read_line(struct reading *reading, const char *line)
{
	regmatch_t groups[GROUPS];

	for (size_t i = 0; i < reading->best; i++) {
		const struct row *row = &rows[i];
		if (row->after && !reading->after[i]) {
			reading->after[i] = strstr(line, row->after) != NULL;
			continue;
		}
		if (regexec(&reading->rows[i], line, GROUPS, groups, 0) != 0 || (row->near && !is_near(reading, row->near)))
			continue;
		if (++reading->seen[i] >= row->times)
			take_row(reading, i, line, groups);
	}
	for (size_t i = 0; i < ERRORS; i++) {
		if (regexec(&reading->errors[i], line, 0, NULL, 0) != 0)
			continue;
		/* The wrapper's own line tells nothing that a traceback before it does not tell better. */
		if (i + 1 == ERRORS || regexec(&reading->rows[GENERIC], line, 0, NULL, 0) != 0)
			shorten(reading->last[i], line);
		break;
	}
	char *recent = reading->recent[reading->lines++ % CONTEXT_LINES];
	memccpy(recent, line, '\0', sizeof *reading->recent - 1);
}

/* Behind an escape sequence that begins at `at`. */
static const char *
skip_escape(const char *at, const char *end)
{
	at++;
	if (at < end && *at == '[') {
		at++;
		while (at < end && (unsigned char)*at >= 0x20 && (unsigned char)*at < 0x40)
			at++;
	}
	return at < end ? at + 1 : end;
}

/* Behind `(Worker_TP0 pid=123) ` and `ERROR 11-22 10:04:31 [core.py:600] `, as often as they stand there. */
static const char *
skip_prefix(const char *line)
{
	static const char *const levels[] = { "DEBUG ", "INFO ", "WARNING ", "ERROR ", "CRITICAL " };

	for (const char *before = NULL; before != line;) {
		before = line;
		const char *close = *line == '(' ? strstr(line, ") ") : NULL;
		const char *pid = *line == '(' ? strstr(line, " pid=") : NULL;
		if (pid && close && pid < close)
			line = close + 2;
		for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
			size_t length = strlen(levels[i]);
			const char *bracket = strncmp(line, levels[i], length) == 0 && isdigit((unsigned char)line[length]) ? strstr(line, "] ") : NULL;
			if (bracket)
				line = bracket + 2;
		}
		line += strspn(line, " ");
	}
	return line;
}

/* Without escape sequences, control characters, and spaces at its end. */
static void
clean(struct buf *text, const char *line, const char *end)
{
	size_t spaces = 0;

	buf_clear(text);
	while (line < end) {
		if (*line == '\033') {
			line = skip_escape(line, end);
		} else if ((unsigned char)*line++ <= ' ') {
			spaces++;
		} else {
			for (; spaces; spaces--)
				buf_char(text, ' ');
			buf_char(text, line[-1]);
		}
	}
}

void
diagnose(const char *log, size_t size, struct arena *arena, struct diagnosis *diagnosis)
{
	struct reading *reading = arena_alloc(arena, sizeof *reading);
	struct buf line finally(buf_finish) = { 0 };
	const char *end = log + size;

	reading_init(reading, arena);
	buf_init(&line, LINE_LIMIT);
	for (const char *at = log; at < end;) {
		const char *stop = at;
		while (stop < end && *stop != '\n' && *stop != '\r')
			stop++;
		clean(&line, at, stop);
		if (line.size)
			read_line(reading, skip_prefix(line.data));
		at = stop + 1;
	}
	*diagnosis = reading->best < ROWS ? reading->found : (struct diagnosis){ .fault = FAULT_START };
	for (size_t i = 0; reading->best >= GENERIC && i < ERRORS; i++) {
		/* Of a wrapper the traceback's own line is better evidence; the last line of all is not. */
		if (*reading->last[i] && (reading->best == ROWS || i == 0)) {
			diagnosis->evidence = reading->last[i];
			break;
		}
	}
	reading_finish(reading);
}
