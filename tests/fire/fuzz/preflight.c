/* config.json and headers, to the shapes that work.
 *
 * Input: nine bytes that say what is asked for, `config.json`, and headers, separated by 0x1e. */
#include <math.h>
#include <string.h>

#include "fuzz.h"
#include "rules/architecture.h"
#include "rules/fit.h"
#include "rules/weights.h"

#define MOST_HEADERS 3

static void
check_fit(const struct architecture *arch, const struct fit_request *request, const struct fit *fit)
{
	const struct layout *shape = &fit->shape;

	promise(fit->verdict != FIT_IMPOSSIBLE || fit->reason_count > 0);
	promise(fit->verdict != FIT_OK || fit->reason_count == 0);
	promise(fit->verdict != FIT_UNKNOWN || fit->missing.count > 0 || fit->warning_count > 0 || fit->reason_count == 0);
	promise(fit->gpus_needed == shape->tensor_parallel * shape->pipeline_parallel * shape->replicas);
	promise(fit->verdict != FIT_OK || fit->gpus_needed <= request->gpu_count);
	promise(fit->verdict != FIT_OK || !arch->heads.known || arch->heads.value % shape->tensor_parallel == 0);
	promise(fit->max_tokens >= -1);
	for (size_t i = 0; i < fit->reason_count; i++)
		promise(fit->reasons[i].text && *fit->reasons[i].text);
}

static void
check_shapes(const struct architecture *arch, struct fit_request *request, struct arena *arena)
{
	struct fit *fits, again;
	size_t count;
	bool working = true;

	fit_shapes(arch, request, arena, &fits, &count);
	for (size_t i = 0; i < count && i < 64; i++) {
		request->shape = fits[i].shape;
		promise(fits[i].gpus_needed <= request->gpu_count);
		fit_judge(arch, request, arena, &again);
		promise(again.verdict == fits[i].verdict && again.weights_per_gpu == fits[i].weights_per_gpu && again.max_tokens == fits[i].max_tokens);
		/* Those that work come first. */
		promise(working || (fits[i].verdict != FIT_OK && fits[i].verdict != FIT_TIGHT));
		working = working && (fits[i].verdict == FIT_OK || fits[i].verdict == FIT_TIGHT);
	}
}

static void
check_stages(const struct architecture *arch, int64_t stages)
{
	int64_t counts[256], sum = 0;

	if (!arch->layers.known || stages < 1 || stages > 256 || arch->layers.value < stages)
		return;
	fit_stages(arch->layers.value, stages, counts);
	for (int64_t i = 0; i < stages; i++) {
		promise(counts[i] >= arch->layers.value / stages && counts[i] <= arch->layers.value / stages + 1);
		sum += counts[i];
	}
	promise(sum == arch->layers.value);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena arena finally(arena_finish) = { 0 };
	struct feed feed = { data, size };
	struct architecture arch = { 0 };
	struct fit_request request = { 0 };
	struct error err = { 0 };
	struct fit fit = { 0 };
	const char *text;
	size_t length;

	if (size > 16384)
		return 0;
	request.shape.tensor_parallel = 1 + (int64_t)feed_below(&feed, 40);
	request.shape.pipeline_parallel = 1 + (int64_t)feed_below(&feed, 20);
	request.shape.replicas = 1 + (int64_t)feed_below(&feed, 5);
	request.gpu_count = (int64_t)feed_below(&feed, 17);
	request.gpu_memory = (uint64_t)feed_byte(&feed) << 30;
	request.utilization = (double)(1 + feed_below(&feed, 100)) / 100;
	request.max_model_len = (int64_t)feed_byte(&feed) << 12;
	request.max_num_seqs = 1 + feed_byte(&feed);
	request.images = request.videos = (int64_t)feed_below(&feed, 4) - 1;
	text = feed_text(&feed, &arena, &length);
	if (!architecture_read(text, length, &arena, &arch, &err)) {
		promise(err.fault == FAULT_PROTOCOL);
		return 0;
	}
	for (size_t i = 0; feed.left > 0 && i < MOST_HEADERS; i++) {
		text = feed_text(&feed, &arena, &length);
		architecture_add_header(&arch, text, length, UINT64_MAX, &arena, &err);
	}
	architecture_estimate_bytes(&arch);
	fit_judge(&arch, &request, &arena, &fit);
	check_fit(&arch, &request, &fit);
	check_stages(&arch, request.shape.pipeline_parallel);
	check_shapes(&arch, &request, &arena);
	return 0;
}
