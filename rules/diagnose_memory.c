#include "diagnose_memory.h"

#include <ctype.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/arena.h"

#define BLOCK_TOKENS 16
#define DEFAULT_UTILIZATION 0.9
/* Above this a GPU has nothing left for CUDA graphs and the driver. */
#define MOST_UTILIZATION 0.95
/* Below this no model of interest starts: the GPU must be freed. */
#define LEAST_UTILIZATION 0.3
/* vLLM prints two decimals. */
#define ROUNDING 0.005
/* Of GLM-4.1V: one image and one step of video. */
#define GLM_LEAST_CONTEXT 9553
/* What CUDA graphs take beside what was asked for when they ran out. */
#define GRAPH_ROOM 0.25

/* The number behind a piece of a line. */
struct place_of_number {
	const char *before;
	size_t offset;
	bool memory;  /* "900.00 MiB", "1.16 GiB"; else plain */
	bool first;   /* what is said first holds */
};

#define AT(field) offsetof(struct log_numbers, field)

static const struct place_of_number reals[] = {
	{ "'gpu_memory_utilization': ", AT(utilization), false, false },
	{ "gpu_memory_utilization=", AT(utilization), false, false },
	{ "is less than desired GPU memory utilization (", AT(utilization), false, false },
	{ "has a total capacity of ", AT(capacity), true, true },
	{ "Tried to allocate ", AT(asked), true, true },
	{ " of which ", AT(left), true, true },
	{ "Available KV cache memory: ", AT(available), true, false },
	{ "than the available KV cache memory (", AT(available), true, false },
};

static const struct place_of_number integers[] = {
	{ "max seq len (", AT(context), false, false },
	{ "estimated maximum model length is ", AT(estimate), false, false },
	{ "warming up sampler with ", AT(sequences), false, false },
};

static const struct {
	const char *text;
	size_t offset;
} facts[] = {
	{ "Model loading took", AT(loaded) },
	{ "Capturing CUDA graph", AT(capturing) },
	{ "Graph capturing finished", AT(captured) },
	{ "vailable KV cache memory", AT(available_told) },
	{ "video items of the maximum feature size", AT(video) },
	{ "Resolved architecture: Glm4v", AT(glm_video) },
};

static const struct {
	const char *unit;
	double gib;
} units[] = { { " GiB", 1 }, { " MiB", 1.0 / 1024 }, { " KiB", 1.0 / 1024 / 1024 }, { " bytes", 1.0 / 1024 / 1024 / 1024 } };

static bool
read_real(const char *text, bool memory, double *value)
{
	char *end;
	double number = strtod(text, &end);

	if (end == text || !isfinite(number))
		return false;
	for (size_t i = 0; memory && i < sizeof units / sizeof *units; i++)
		if (strncmp(end, units[i].unit, strlen(units[i].unit)) == 0) {
			*value = number * units[i].gib;
			return true;
		}
	if (!memory)
		*value = number;
	return !memory;
}

/* "(4.26 GiB KV cache is needed": the number before. */
static void
read_needed(struct log_numbers *numbers, const char *line)
{
	const char *end = strstr(line, " GiB KV cache is needed"), *begin = end;

	while (begin && begin > line && (isdigit((unsigned char)begin[-1]) || begin[-1] == '.'))
		begin--;
	if (begin && begin < end)
		read_real(begin, false, &numbers->needed);
}

/* "Free memory on device cuda:0 (3.1/23.56 GiB) on startup" */
static void
read_start(struct log_numbers *numbers, const char *line)
{
	const char *at = strstr(line, "Free memory on device"), *slash;
	double free_then, total;

	at = at ? strchr(at, '(') : NULL;
	slash = at ? strchr(at, '/') : NULL;
	if (!slash || !read_real(at + 1, false, &free_then) || !read_real(slash + 1, true, &total))
		return;
	numbers->at_start = free_then;
	numbers->capacity = total;
}

void
numbers_read(struct log_numbers *numbers, const char *line)
{
	char *base = (char *)numbers;

	for (size_t i = 0; i < sizeof facts / sizeof *facts; i++)
		if (strstr(line, facts[i].text))
			*(bool *)(void *)(base + facts[i].offset) = true;
	for (size_t i = 0; i < sizeof reals / sizeof *reals; i++) {
		const char *at = strstr(line, reals[i].before);
		double *into = (double *)(void *)(base + reals[i].offset), value;

		if (at && !(reals[i].first && *into > 0) && read_real(at + strlen(reals[i].before), reals[i].memory, &value))
			*into = value;
	}
	for (size_t i = 0; i < sizeof integers / sizeof *integers; i++) {
		const char *at = strstr(line, integers[i].before);
		double value;

		if (at && read_real(at + strlen(integers[i].before), false, &value) && value >= 0 && value < 1e12)
			*(int64_t *)(void *)(base + integers[i].offset) = (int64_t)value;
	}
	read_needed(numbers, line);
	read_start(numbers, line);
}

static double
utilization_of(const struct log_numbers *numbers)
{
	return numbers->utilization > 0 && numbers->utilization <= 1 ? numbers->utilization : DEFAULT_UTILIZATION;
}

/* "raise --gpu-memory-utilization (0.9) to 0.93" with `more` GiB; without a number where the log does not give the GPU's size. */
static const char *
raise_utilization(const struct log_numbers *numbers, double more, struct arena *arena)
{
	double now = utilization_of(numbers), wanted;

	if (now >= MOST_UTILIZATION)
		return NULL;
	if (numbers->capacity <= 0)
		return arena_printf(arena, "raise --gpu-memory-utilization (%g)", now);
	wanted = ceil((now + more / numbers->capacity) * 100) / 100;
	return wanted <= MOST_UTILIZATION ? arena_printf(arena, "raise --gpu-memory-utilization (%g) to %.2f", now, wanted) : NULL;
}

/* Blocks that fit at the rate at which the request that was refused would take memory. */
static int64_t
longest(const struct log_numbers *numbers)
{
	double tokens;

	if (numbers->estimate > 0)
		return numbers->estimate;
	if (numbers->needed <= 0 || numbers->available <= ROUNDING)
		return 0;
	tokens = (double)numbers->context * (numbers->available - ROUNDING) / (numbers->needed + ROUNDING);
	return (int64_t)(tokens / BLOCK_TOKENS) * BLOCK_TOKENS;
}

static const char *
advise_context(const struct log_numbers *numbers, struct arena *arena)
{
	int64_t fits = longest(numbers);
	const char *raise = raise_utilization(numbers, numbers->needed - numbers->available, arena);
	const char *other = raise ? arena_printf(arena, ", or %s", raise) : "";

	if (numbers->needed <= 0)
		return NULL;
	if (fits < BLOCK_TOKENS)
		return arena_printf(arena, "no length fits: use more GPUs per instance%s", other);
	/* The dummy video of a shorter one has a frame too few, and without it there is more room. */
	if ((numbers->glm_video || numbers->video) && fits < GLM_LEAST_CONTEXT)
		return arena_printf(arena,
			"set \"video\": 0 in --limit-mm-per-prompt and lower --max-model-len to %lld: with video, less than %d tokens fail too%s",
			(long long)fits, GLM_LEAST_CONTEXT, other);
	return arena_printf(arena, "lower --max-model-len to %lld%s", (long long)fits, other);
}

static const char *
advise_blocks(const struct log_numbers *numbers, struct arena *arena)
{
	double missing = numbers->available_told && numbers->available < 0 ? -numbers->available : 0;
	const char *raise = raise_utilization(numbers, missing + 0.5, arena);
	const char *shortage = missing > 0 ? arena_printf(arena, " (%.2f GiB are missing before any KV cache)", missing) : "";

	if (numbers->video)
		return arena_printf(arena, "set \"video\": 0 in --limit-mm-per-prompt: the profile run used a video%s%s%s%s", shortage,
			raise ? "; else " : "", raise ? raise : "", raise ? "" : "; else use more GPUs");
	return arena_printf(arena, "%s%slower --max-num-batched-tokens, or use more GPUs per instance%s", raise ? raise : "",
		raise ? ", " : "", shortage);
}

static const char *
advise_start(const struct log_numbers *numbers, struct arena *arena)
{
	double part = numbers->capacity > 0 ? floor(numbers->at_start / numbers->capacity * 100) / 100 : 0;

	if (part < LEAST_UTILIZATION)
		return "free the GPU: `nvidia-smi` shows who uses it";
	return arena_printf(arena,
		"free the GPU (`nvidia-smi` shows who uses it), or lower --gpu-memory-utilization (%g) to %.2f, if the model fits that",
		utilization_of(numbers), part);
}

/* Graphs are captured outside the budget: what they lack must be left to them. */
static const char *
advise_graphs(const struct log_numbers *numbers, struct arena *arena)
{
	double now = utilization_of(numbers), lower = 0;

	if (numbers->capacity > 0)
		lower = floor((now - (numbers->asked - numbers->left + GRAPH_ROOM) / numbers->capacity) * 100) / 100;
	if (lower < LEAST_UTILIZATION)
		return "the CUDA graphs did not fit: add --enforce-eager, or lower --gpu-memory-utilization";
	return arena_printf(arena, "the CUDA graphs did not fit: add --enforce-eager, or lower --gpu-memory-utilization (%g) to %.2f", now,
		lower);
}

static const char *
advise_memory(const struct log_numbers *numbers, struct arena *arena)
{
	if (!numbers->loaded)
		return NULL;
	if (numbers->capturing && !numbers->captured)
		return advise_graphs(numbers, arena);
	if (numbers->video)
		return "set \"video\": 0 in --limit-mm-per-prompt: the profile run used a video; else lower --max-num-batched-tokens, or use more GPUs";
	return NULL;
}

/* Half of them, or as many as the free memory would have done for. */
static const char *
advise_sampler(const struct log_numbers *numbers, struct arena *arena)
{
	int64_t now = numbers->sequences, fewer = now / 2;

	if (now < 2)
		return NULL;
	if (numbers->asked > 0 && numbers->left > 0 && (int64_t)((double)now * numbers->left / numbers->asked) < fewer)
		fewer = (int64_t)((double)now * numbers->left / numbers->asked);
	if (fewer < 1)
		fewer = 1;
	return arena_printf(arena, "lower --max-num-seqs (%lld) to %lld, or --gpu-memory-utilization (%g)", (long long)now, (long long)fewer,
		utilization_of(numbers));
}

const char *
numbers_advice(const struct log_numbers *numbers, const char *id, struct arena *arena)
{
	static const struct {
		const char *id;
		const char *(*advise)(const struct log_numbers *numbers, struct arena *arena);
	} rows[] = { { "F06", advise_memory }, { "F07", advise_start }, { "F08", advise_blocks }, { "F09", advise_context }, { "F10", advise_sampler } };

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		if (strcmp(rows[i].id, id) == 0)
			return rows[i].advise(numbers, arena);
	return NULL;
}
