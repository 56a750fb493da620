#include "budget.h"

#include "engine/base/arena.h"
#include "weights.h"

#define GIB (1024.0 * 1024 * 1024)
#define BLOCK_TOKENS 16
/* CUDA context growth and communication buffers, seen at about 0.3 GiB. */
#define NON_TORCH (0.3 * GIB)
/* Activations of an encoder for each patch, in widths of its hidden size: 0.6 GiB for the largest image of GLM-4.1V, 3.0 GiB for its video of ten frames. */
#define ENCODER_WIDTHS 14

/* What vLLM's API server takes at once unless told otherwise: more on large cards. */
static const struct batch {
	double memory;    /* bytes of a GPU from which this holds */
	double tokens;
	double sequences;
} batches[] = { { 70 * GIB, 8192, 1024 }, { 0, 2048, 256 } };

/* What the KV cache of one rank costs. */
struct kv {
	double full;    /* bytes a token in layers that keep all */
	double window;  /* likewise in layers that keep the last `reach` tokens */
	double reach;
};

static struct batch
batch_of(const struct fit_request *request)
{
	size_t i = 0;
	struct batch batch;

	while ((double)request->gpu_memory < batches[i].memory)
		i++;
	batch = batches[i];
	if (request->max_num_seqs > 0)
		batch.sequences = (double)request->max_num_seqs;
	return batch;
}

static double
kv_bytes(const struct kv *kv, double tokens)
{
	return kv->full * tokens + kv->window * (tokens < kv->reach ? tokens : kv->reach);
}

static double
kv_tokens(const struct kv *kv, double bytes)
{
	double near = kv->full + kv->window;

	if (bytes <= 0 || near <= 0)
		return 0;
	if (kv->window <= 0 || bytes <= near * kv->reach)
		return bytes / near;
	return kv->full > 0 ? (bytes - kv->window * kv->reach) / kv->full : (double)INT32_MAX;
}

/* Bytes that one token takes in one layer of a rank; 0: cannot be told. */
static double
token_bytes(const struct architecture *arch, const struct fit_request *request)
{
	double bytes = (double)(request->kv_dtype_bytes ? request->kv_dtype_bytes : arch->dtype_bytes);

	if (arch->linear_layers || arch->mamba_heads.known || arch->mamba_intermediate.known || !arch->layers.known)
		return 0;
	if (arch->mla)
		return arch->kv_lora_rank.known && arch->qk_rope_head_dim.known ?
			(double)(arch->kv_lora_rank.value + arch->qk_rope_head_dim.value) * bytes : 0;
	if (!arch->kv_heads.known || !arch->head_dim.known)
		return 0;
	return 2.0 * (double)weights_kv_heads(arch->kv_heads.value, request->shape.tensor_parallel) *
		(double)arch->head_dim.value * bytes;
}

static void
kv_of_stage(const struct architecture *arch, double token, double batch, int64_t layers, struct kv *kv)
{
	double near = 0;

	if (token > 0 && arch->window_layers.known && arch->window.known)
		near = (double)arch->window_layers.value * (double)layers / (double)arch->layers.value;
	*kv = (struct kv){
		.full = token * ((double)layers - near),
		.window = token * near,
		.reach = near > 0 ? (double)arch->window.value + batch : 0,
	};
}

/* Tokens of one image come first; what is left of the context is filled with video, step by step. */
static double
video_patches(const struct architecture *arch, const struct fit_request *request, int64_t context)
{
	int64_t images = request->images == 0 ? 0 : arch->image_tokens.value, steps;

	if (!arch->video_tokens.known || !arch->video_steps.known || request->videos == 0)
		return 0;
	steps = (context - images) / arch->video_tokens.value;
	if (steps < 1)
		steps = 1;
	if (steps > arch->video_steps.value)
		steps = arch->video_steps.value;
	return (double)steps * (double)arch->image_patches.value;
}

/* Peak of the profile run: the larger of the encoder's worst item and one batch of text. */
static double
activations(const struct architecture *arch, const struct fit_request *request, int64_t context)
{
	double bytes = arch->dtype_bytes ? (double)arch->dtype_bytes : 2, tp = (double)request->shape.tensor_parallel;
	struct batch batch = batch_of(request);
	double width =
		(double)(arch->moe && arch->moe_intermediate.known ? arch->moe_intermediate.value : arch->intermediate.value);
	double text = batch.tokens * (4 * (double)arch->hidden.value + 2 * width / tp) * bytes +
		batch.sequences * (double)arch->vocab.value * 4;
	double patches = video_patches(arch, request, context), encoder;

	if (patches <= 0 && request->images != 0)
		patches = (double)(arch->image_patches.known ? arch->image_patches.value : arch->vision_positions.value);
	encoder = arch->vision ? patches * ENCODER_WIDTHS * (double)arch->vision_hidden.value * bytes : 0;
	return (encoder > text ? encoder : text) + NON_TORCH;
}

static void
add_stage(struct budget *budget, const struct kv *kv, double weights, double context)
{
	double need = kv_bytes(kv, context), left = budget->usable - weights - budget->activations;
	double tokens = kv_tokens(kv, left), sequences = left > 0 && need > 0 ? left / need : 0;

	if (weights > budget->weights)
		budget->weights = weights;
	if (kv->full + kv->window > budget->per_token)
		budget->per_token = kv->full + kv->window;
	if (weights + need > budget->held + budget->need) {
		budget->held = weights;
		budget->need = need;
	}
	if (budget->tokens < 0 || tokens < budget->tokens)
		budget->tokens = tokens;
	if (budget->sequences < 0 || sequences < budget->sequences)
		budget->sequences = sequences;
}

void
budget_make(
	const struct architecture *arch, const struct fit_request *request, struct arena *arena, struct budget *budget)
{
	int64_t stages = request->shape.pipeline_parallel, first = 0;
	int64_t *counts = arena_array(arena, (size_t)stages, sizeof *counts);
	int64_t blocks;
	double token = token_bytes(arch, request), context;
	struct weights weights;

	weights_of(arch, &weights);
	*budget = (struct budget){
		.weights_known = weights.known,
		.weights_exact = weights.exact,
		.kv_known = token > 0,
		.usable = (double)request->gpu_memory * request->utilization,
		.encoder_known = !arch->vision || arch->image_patches.known || arch->vision_positions.known,
		.tokens = -1,
		.sequences = -1,
		.context = request->max_model_len ? request->max_model_len : arch->max_position.value,
	};
	budget->activations = activations(arch, request, budget->context);
	blocks = (budget->context + BLOCK_TOKENS - 1) / BLOCK_TOKENS;
	context = (double)(blocks * BLOCK_TOKENS);
	fit_stages(arch->layers.known ? arch->layers.value : stages, stages, counts);
	for (int64_t i = 0; i < stages; first += counts[i++]) {
		struct rank rank = {
			.tensor_parallel = request->shape.tensor_parallel,
			.kv_heads = arch->kv_heads.value,
			.first_layer = first,
			.layer_count = counts[i],
			.first_stage = i == 0,
			.last_stage = i == stages - 1,
			.vision_whole = request->encoder_data_mode && !(arch->vision_data_mode.known && !arch->vision_data_mode.value),
		};
		struct kv kv;

		kv_of_stage(arch, token, batch_of(request).tokens, counts[i], &kv);
		add_stage(budget, &kv, weights.known ? weights_on_rank(arch, &weights, &rank) : 0, context);
	}
}

static bool
holds(const struct architecture *arch, struct fit_request *request, int64_t context, struct arena *arena)
{
	struct budget budget;

	request->max_model_len = context;
	budget_make(arch, request, arena, &budget);
	return budget.held + budget.need + budget.activations <= budget.usable;
}

/* What a longer request needs only grows, the dummy video with it, so halving finds the end. */
int64_t
budget_longest_context(const struct architecture *arch, const struct fit_request *request, struct arena *arena)
{
	struct fit_request asked = *request;
	int64_t least = budget_least_context(arch, request), good, bad;

	if (!arch->max_position.known || token_bytes(arch, request) <= 0 || !request->gpu_memory)
		return -1;
	if (holds(arch, &asked, arch->max_position.value, arena))
		return arch->max_position.value;
	good = least / BLOCK_TOKENS + 1;
	bad = arch->max_position.value / BLOCK_TOKENS + 1;
	if (good >= bad || !holds(arch, &asked, good * BLOCK_TOKENS, arena))
		return 0;
	while (bad - good > 1) {
		int64_t middle = good + (bad - good) / 2;

		*(holds(arch, &asked, middle * BLOCK_TOKENS, arena) ? &good : &bad) = middle;
	}
	return good * BLOCK_TOKENS;
}

int64_t
budget_least_context(const struct architecture *arch, const struct fit_request *request)
{
	if (!arch->video_tokens.known || request->videos == 0)
		return 0;
	return arch->video_tokens.value + (request->images == 0 ? 0 : arch->image_tokens.value);
}
