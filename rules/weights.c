#include "weights.h"

static double
number(struct known_number n)
{
	return n.known ? (double)n.value : 0;
}

/* Parameters of one layer's attention; `*kv` and `*whole` get what is copied to ranks in part and as a whole. */
static double
attention(const struct architecture *a, double *kv, double *whole)
{
	double hidden = number(a->hidden), heads = number(a->heads), dim = number(a->head_dim);
	double bias = a->qkv_bias ? 1 : 0;

	if (!a->mla) {
		*kv = 2 * number(a->kv_heads) * dim * (hidden + bias);
		*whole = 0;
		return heads * dim * (hidden + bias) + *kv + heads * dim * hidden;
	}
	double lora = number(a->kv_lora_rank), rope = number(a->qk_rope_head_dim), nope = number(a->qk_nope_head_dim);
	double q_lora = number(a->q_lora_rank), query = heads * (nope + rope);

	/* The projections down to the latent space are not cut; those up from it are, by heads. */
	*kv = 0;
	*whole = hidden * (lora + rope) + (q_lora > 0 ? hidden * q_lora + q_lora : 0) + lora;
	return *whole + (q_lora > 0 ? q_lora : hidden) * query + lora * heads * (nope + number(a->v_head_dim)) +
		heads * number(a->v_head_dim) * hidden;
}

static double
mlp(const struct architecture *a, double width)
{
	return (a->gated ? 3 : 2) * number(a->hidden) * width;
}

static double
feed_forward(const struct architecture *a, double *whole)
{
	double layers = number(a->layers), dense = a->dense_layers.known ? number(a->dense_layers) : 0;
	double width = a->moe_intermediate.known ? number(a->moe_intermediate) : number(a->intermediate);
	double router = number(a->hidden) * number(a->experts);

	if (!a->moe)
		return layers * mlp(a, number(a->intermediate));
	*whole += (layers - dense) * router;
	return dense * mlp(a, number(a->intermediate)) +
		(layers - dense) * (number(a->experts) * mlp(a, width) + mlp(a, number(a->shared_intermediate)) + router);
}

/* The tower of GLM-4.1V is counted to the last parameter, Qwen's but for biases; others as a plain transformer with a projection. */
static double
vision(const struct architecture *a)
{
	double width = number(a->vision_hidden), inner = number(a->vision_mlp), depth = number(a->vision_depth);
	double text = number(a->hidden), patch = number(a->vision_patch);
	double pixels = 3 * patch * patch * width, positions = number(a->vision_positions) * width;
	double block = 4 * width * width + (a->glm_vision || a->vision_gated ? 3 : 2) * width * inner + 2 * width;
	double merged = 4 * width;

	if (!a->vision)
		return 0;
	if (a->vision_merges)
		return depth * block + 2 * pixels + positions + (double)a->vision_mergers * (merged * merged + merged * text);
	if (!a->glm_vision)
		return depth * block + pixels + positions + width * text;
	double embedding = 2 * pixels + width + positions + 2 * width;
	double merger = 4 * width * text + text + text * text + 2 * text + 3 * text * number(a->vision_out);

	return depth * block + embedding + merger;
}

static bool
can_be_counted(const struct architecture *a)
{
	bool mlp_known =
		a->moe ? a->experts.known && (a->moe_intermediate.known || a->intermediate.known) : a->intermediate.known;
	bool attention_known = !a->mla ||
		(a->kv_lora_rank.known && a->qk_rope_head_dim.known && a->qk_nope_head_dim.known && a->v_head_dim.known);
	bool vision_known = !a->vision || (a->vision_hidden.known && a->vision_mlp.known && a->vision_depth.known);
	bool plain =
		!a->linear_layers && !a->mamba_heads.known && !a->mamba_intermediate.known && a->quantisation == QUANT_NONE;

	return a->known_type && !a->audio && plain && mlp_known && attention_known && vision_known && a->dtype_bytes > 0 &&
		a->heads.known && a->kv_heads.known && a->head_dim.known && a->layers.known && a->hidden.known &&
		a->vocab.known;
}

void
weights_of_config(const struct architecture *a, struct weights *weights)
{
	double kv, whole, heads, layers = number(a->layers), bytes = (double)a->dtype_bytes;
	double norms = (a->four_norms ? 4 : 2) * number(a->hidden);

	*weights = (struct weights){ .known = can_be_counted(a) };
	if (!weights->known)
		return;
	heads = attention(a, &kv, &whole);
	whole = layers * (whole + norms);
	weights->layers = (layers * (heads + norms) + feed_forward(a, &whole)) * bytes;
	weights->kv = layers * kv * bytes;
	weights->replicated = whole * bytes;
	weights->vision = vision(a) * bytes;
	weights->embedding = (a->tied_embeddings ? 1 : 2) * number(a->vocab) * number(a->hidden) * bytes;
	weights->other = number(a->hidden) * bytes;
	weights->total = weights->layers + weights->vision + weights->embedding + weights->other;
}

/* The total is known, the parts are in the proportions of the config; without those it is all taken as cut evenly. */
static void
scale(struct weights *weights, double total)
{
	double factor = weights->known ? total / weights->total : 0;

	if (!weights->known)
		weights->layers = total;
	else
		weights->layers *= factor;
	weights->kv *= factor;
	weights->replicated *= factor;
	weights->vision *= factor;
	weights->embedding *= factor;
	weights->other *= factor;
	weights->total = total;
	weights->known = weights->exact = true;
}

void
weights_of(const struct architecture *a, struct weights *weights)
{
	double inside = 0;

	for (int64_t i = 0; a->layer_bytes && i < a->layers.value; i++)
		inside += (double)a->layer_bytes[i];
	/* Tensors under names of their own: only their sum can be used. */
	if (inside <= 0) {
		weights_of_config(a, weights);
		if (a->weight_bytes)
			scale(weights, (double)a->weight_bytes);
		return;
	}
	*weights = (struct weights){
		.known = true,
		.exact = true,
		.total = (double)a->weight_bytes,
		.vision = (double)a->vision_bytes,
		.embedding = (double)a->embedding_bytes,
		.layers = inside,
		.kv = (double)a->kv_bytes,
		.replicated = (double)a->replicated_bytes,
		.layer = a->layer_bytes,
	};
	weights->other = weights->total - weights->vision - weights->embedding - inside;
}

int64_t
weights_kv_heads(int64_t kv_heads, int64_t tensor_parallel)
{
	return kv_heads / tensor_parallel > 1 ? kv_heads / tensor_parallel : 1;
}

double
weights_on_rank(const struct architecture *a, const struct weights *weights, const struct rank *rank)
{
	double tp = (double)rank->tensor_parallel, inside = 0, bytes;
	double share = a->layers.known ? (double)rank->layer_count / (double)a->layers.value : 1;
	double kv = weights->kv * share, whole = weights->replicated * share;
	double kv_part = rank->kv_heads > 0 ?
		(double)weights_kv_heads(rank->kv_heads, rank->tensor_parallel) / (double)rank->kv_heads :
		1 / tp;

	for (int64_t i = 0; weights->layer && i < rank->layer_count; i++)
		inside += (double)weights->layer[rank->first_layer + i];
	if (!weights->layer)
		inside = weights->layers * share;
	bytes = (inside - kv - whole) / tp + kv * kv_part + whole;
	bytes += rank->vision_whole ? weights->vision : weights->vision / tp;
	/* One stage holds both ends of the model; tied embeddings are needed at each end. */
	if (a->whole_vocabulary || (rank->first_stage && rank->last_stage))
		bytes += weights->embedding / tp;
	else if (rank->first_stage || rank->last_stage)
		bytes += (a->tied_embeddings ? 1 : 0.5) * weights->embedding / tp;
	if (rank->last_stage)
		bytes += weights->other;
	return bytes;
}

int64_t
weights_whole(double bytes)
{
	const double most = (double)((int64_t)1 << 62);

	return (int64_t)(bytes > most ? most : bytes < -most ? -most : bytes);
}
