#include "fit.h"

#include "budget.h"
#include "engine/base/arena.h"
#include "engine/base/units.h"
#include "weights.h"

/* Graphs and other processes live on what is left. */
const double fit_margin = 0.10;

/* Without headers the weights are an estimate; only what is over by more than this is refused. */
#define ESTIMATE_SLACK 1.10
#define VOCABULARY_PADDING 64
#define MARLIN_COLUMNS 64
#define MARLIN_ROWS 128

struct reasons {
	struct fit_reason *items;
	size_t count;
	size_t capacity;
};

struct judge {
	const struct architecture *arch;
	const struct fit_request *request;
	struct arena *arena;
	struct fit *fit;
	struct reasons failures;
	struct reasons warnings;
	int64_t tp;
	int64_t pp;
};

static void
add(struct judge *judge, struct reasons *reasons, enum fit_rule rule, int64_t value, int64_t divisor, const char *text)
{
	if (reasons->count == reasons->capacity)
		reasons->items =
			arena_grow(judge->arena, reasons->items, reasons->count, &reasons->capacity, sizeof *reasons->items);
	reasons->items[reasons->count++] =
		(struct fit_reason){ .rule = rule, .text = text, .value = value, .divisor = divisor };
}

static void
refuse(struct judge *judge, enum fit_rule rule, int64_t value, int64_t divisor, const char *text)
{
	add(judge, &judge->failures, rule, value, divisor, text);
}

static void
miss(struct judge *judge, const char *key)
{
	if (!strings_has(&judge->fit->missing, key))
		strings_add(&judge->fit->missing, judge->arena, key);
}

/* A width that tensor parallel cuts; said as BEFORE number AFTER. What divides by one needs not be known. */
static void
divides(struct judge *judge, enum fit_rule rule, struct known_number number, const char *before, const char *after,
	const char *key)
{
	if (judge->tp == 1)
		return;
	if (!number.known)
		miss(judge, key);
	else if (number.value % judge->tp != 0)
		refuse(judge, rule, number.value, judge->tp,
			arena_printf(
				judge->arena, "%s%lld%s by %lld", before, (long long)number.value, after, (long long)judge->tp));
}

static void
judge_context(struct judge *judge)
{
	const struct known_number *most = &judge->arch->max_position;
	int64_t asked = judge->request->max_model_len;

	if (most->known && asked > most->value)
		refuse(judge, FIT_CONTEXT, asked, most->value,
			arena_printf(judge->arena, "max_model_len %lld is more than the %lld positions of the model",
				(long long)asked, (long long)most->value));
}

static void
judge_pipeline(struct judge *judge)
{
	const struct architecture *arch = judge->arch;

	if (judge->pp == 1)
		return;
	if (arch->pipeline.known && !arch->pipeline.value)
		refuse(judge, FIT_PIPELINE, judge->pp, 1,
			arena_printf(judge->arena, "%s does not support pipeline parallel", arch->class));
	else if (!arch->pipeline.known)
		miss(judge,
			arena_printf(
				judge->arena, "whether %s supports pipeline parallel", *arch->class ? arch->class : "the model"));
	if (!arch->layers.known)
		miss(judge, "num_hidden_layers");
	else if (judge->pp > arch->layers.value)
		refuse(judge, FIT_PIPELINE, arch->layers.value, judge->pp,
			arena_printf(judge->arena, "%lld layers cannot be cut into %lld stages", (long long)arch->layers.value,
				(long long)judge->pp));
}

static void
judge_count(struct judge *judge)
{
	int64_t have = judge->request->gpu_count, needed = judge->fit->gpus_needed;

	if (needed > have && needed <= judge->request->machine)
		judge->fit->gives_up = needed - have;
	else if (needed > have)
		refuse(judge, FIT_GPUS, have, needed,
			arena_printf(
				judge->arena, "the shape needs %lld GPUs, %lld may be used", (long long)needed, (long long)have));
}

static void
judge_kv_heads(struct judge *judge)
{
	const struct known_number *kv = &judge->arch->kv_heads;

	if (judge->tp == 1 || judge->arch->mla || judge->arch->attention_free)
		return;
	if (!kv->known)
		miss(judge, "num_key_value_heads");
	else if (judge->tp % kv->value != 0 && kv->value % judge->tp != 0)
		refuse(judge, FIT_KV_HEADS, kv->value, judge->tp,
			arena_printf(judge->arena, "%lld KV heads and %lld ranks: neither divides the other", (long long)kv->value,
				(long long)judge->tp));
}

static void
judge_mlp(struct judge *judge)
{
	const struct architecture *arch = judge->arch;
	bool dense =
		!arch->moe || !arch->moe_intermediate.known || !arch->dense_layers.known || arch->dense_layers.value > 0;

	if (dense && !arch->attention_free)
		divides(
			judge, FIT_INTERMEDIATE, arch->intermediate, "intermediate_size ", " does not divide", "intermediate_size");
	if (arch->moe && arch->moe_intermediate.known)
		divides(judge, FIT_MOE, arch->moe_intermediate, "moe_intermediate_size ", " does not divide",
			"moe_intermediate_size");
	if (arch->moe && arch->shared_intermediate.known)
		divides(judge, FIT_MOE, arch->shared_intermediate, "the shared expert's width ", " does not divide", "");
}

static void
judge_vocabulary(struct judge *judge)
{
	struct known_number padded = judge->arch->vocab;

	if (padded.known)
		padded.value = (padded.value + VOCABULARY_PADDING - 1) / VOCABULARY_PADDING * VOCABULARY_PADDING;
	divides(judge, FIT_VOCAB, padded, "vocabulary ", " does not divide", "vocab_size");
}

static void
cut_vision(struct judge *judge)
{
	const struct architecture *arch = judge->arch;

	divides(judge, FIT_VISION, arch->vision_heads, "", " heads of the vision encoder do not divide",
		"vision_config.num_heads");
	divides(judge, FIT_VISION, arch->vision_mlp, "MLP width ", " of the vision encoder does not divide",
		"vision_config.intermediate_size");
	if (arch->vision_out.known)
		divides(judge, FIT_VISION, arch->vision_out, "merger width ", " of the vision encoder does not divide", "");
}

/* An encoder that is on every rank need not divide; a class that cannot do that cuts it whatever was asked. */
static void
judge_vision(struct judge *judge)
{
	const struct architecture *arch = judge->arch;
	bool whole = judge->request->encoder_data_mode;
	size_t failures = judge->failures.count;

	if (!arch->vision || (whole && arch->vision_data_mode.known && arch->vision_data_mode.value))
		return;
	cut_vision(judge);
	if (!whole || arch->vision_data_mode.known || judge->failures.count == failures)
		return;
	judge->failures.count = failures;
	miss(judge,
		arena_printf(judge->arena, "whether %s supports mm_encoder_tp_mode: data",
			*arch->class ? arch->class : "the model"));
}

static void
judge_mamba(struct judge *judge)
{
	const struct architecture *arch = judge->arch;

	if (judge->tp == 1)
		return;
	if (arch->mamba_heads.known)
		divides(judge, FIT_MAMBA, arch->mamba_heads, "", " state-space or linear attention heads do not divide", "");
	if (arch->mamba_intermediate.known)
		divides(judge, FIT_MAMBA, arch->mamba_intermediate, "Mamba width ", " does not divide", "");
	if (arch->mamba_groups.known && arch->mamba_groups.value != 1)
		divides(judge, FIT_MAMBA, arch->mamba_groups, "", " Mamba groups do not divide", "");
	else if (arch->mamba_groups.known && arch->quantisation != QUANT_NONE)
		refuse(judge, FIT_MAMBA, 1, judge->tp, "a quantised Mamba model with one group cannot be cut");
}

static void
quantised(struct judge *judge, const char *what, int64_t width, int64_t multiple, const char *method)
{
	if (multiple > 0 && width % multiple != 0)
		add(judge, &judge->warnings, FIT_QUANTISED, width, multiple,
			arena_printf(judge->arena, "%s: %lld %s per rank, no multiple of %lld", method, (long long)width, what,
				(long long)multiple));
}

/* Kernels differ in what they take, so these are warnings. Whole widths that do not divide are refused by the rules above. */
static void
judge_quantisation(struct judge *judge)
{
	const struct architecture *arch = judge->arch;
	const struct known_number width =
		arch->moe && arch->moe_intermediate.known ? arch->moe_intermediate : arch->intermediate;
	int64_t rank;

	if (arch->quantisation == QUANT_NONE || arch->quantisation == QUANT_OTHER || !width.known ||
		width.value % judge->tp != 0)
		return;
	rank = width.value / judge->tp;
	if (arch->quantisation == QUANT_FP8_BLOCK) {
		quantised(judge, "inputs", rank, arch->quant_block_k.value, "block-wise FP8");
		quantised(judge, "outputs", rank, arch->quant_block_n.value, "block-wise FP8");
		return;
	}
	quantised(
		judge, "inputs", rank, arch->quant_group.value, arena_printf(judge->arena, "%s groups", arch->quant_method));
	if (arch->quant_bits.known && arch->quant_bits.value > 0)
		quantised(judge, "outputs", rank, 32 / arch->quant_bits.value, arch->quant_method);
	quantised(judge, "inputs", rank, MARLIN_ROWS, "Marlin kernels");
	quantised(judge, "outputs", rank, MARLIN_COLUMNS, "Marlin kernels");
}

static const char *
memory(struct judge *judge, double bytes)
{
	return units_show_memory(judge->arena, bytes > 0 ? (uint64_t)weights_whole(bytes) : 0);
}

static void
refuse_memory(struct judge *judge, const struct budget *budget)
{
	double left = budget->usable - budget->held;

	if (left <= 0)
		refuse(judge, FIT_MEMORY, weights_whole(budget->held), weights_whole(budget->usable),
			arena_printf(judge->arena, "weights of %s per GPU do not fit the %s that vLLM may use",
				memory(judge, budget->held), memory(judge, budget->usable)));
	else
		refuse(judge, FIT_MEMORY, weights_whole(budget->need), weights_whole(left),
			arena_printf(judge->arena, "the KV cache for %lld tokens needs %s per GPU; weights of %s leave %s of %s",
				(long long)budget->context, memory(judge, budget->need), memory(judge, budget->held),
				memory(judge, left), memory(judge, budget->usable)));
}

static void
warn_memory(struct judge *judge, const struct budget *budget, double left)
{
	add(judge, &judge->warnings, FIT_MEMORY, weights_whole(left), weights_whole(budget->usable),
		arena_printf(judge->arena,
			"weights %s, KV cache %s and about %s of activations %s %s%s the %s that vLLM may use",
			memory(judge, budget->held), memory(judge, budget->need), memory(judge, budget->activations),
			left < 0 ? "are" : "leave", memory(judge, left < 0 ? -left : left), left < 0 ? " more than" : " of",
			memory(judge, budget->usable)));
}

/* Weights and KV cache are arithmetic and may refuse; activations are an estimate and only warn. */
static void
judge_memory(struct judge *judge)
{
	const struct architecture *arch = judge->arch;
	struct fit *fit = judge->fit;
	struct budget budget;
	double left;

	if (judge->pp > 1 && (!arch->layers.known || judge->pp > arch->layers.value))
		return;
	budget_make(arch, judge->request, judge->arena, &budget);
	fit->budget = (uint64_t)weights_whole(budget.usable);
	fit->activations = (uint64_t)weights_whole(budget.activations);
	fit->weights_per_gpu = (uint64_t)weights_whole(budget.weights);
	fit->kv_per_token = (uint64_t)weights_whole(budget.per_token);
	fit->weights_exact = budget.weights_exact;
	fit->activations_partial = !budget.encoder_known;
	if (!judge->request->gpu_memory)
		return;
	if (!budget.weights_known) {
		miss(judge, "the size of the weights");
		return;
	}
	if (budget.kv_known && !budget.context)
		miss(judge, "max_position_embeddings");
	if (budget.kv_known) {
		fit->max_tokens = weights_whole(budget.tokens);
		fit->max_model_len = budget_longest_context(arch, judge->request, judge->arena);
		fit->sequences = budget.context ? weights_whole(budget.sequences) : -1;
	}
	left = budget.usable - budget.held - budget.need - budget.activations;
	if (budget.held + budget.need > budget.usable * (budget.weights_exact ? 1 : ESTIMATE_SLACK))
		refuse_memory(judge, &budget);
	else if (left < budget.usable * fit_margin)
		warn_memory(judge, &budget, left);
}

static void
judge_video(struct judge *judge)
{
	int64_t asked = judge->request->max_model_len, least = budget_least_context(judge->arch, judge->request);

	if (asked && asked < least)
		add(judge, &judge->warnings, FIT_CONTEXT, asked, least,
			arena_printf(judge->arena,
				"max_model_len %lld is below the %lld tokens of one image and one step of video: the profile run fails",
				(long long)asked, (long long)least));
}

static enum fit_verdict
verdict(const struct judge *judge)
{
	if (judge->failures.count)
		return FIT_IMPOSSIBLE;
	if (judge->fit->missing.count)
		return FIT_UNKNOWN;
	for (size_t i = 0; i < judge->warnings.count; i++)
		if (judge->warnings.items[i].rule != FIT_QUANTISED)
			return FIT_TIGHT;
	return FIT_OK;
}

void
fit_judge(
	const struct architecture *architecture, const struct fit_request *request, struct arena *arena, struct fit *fit)
{
	const struct layout *shape = &request->shape;
	struct judge judge = {
		.arch = architecture,
		.request = request,
		.arena = arena,
		.fit = fit,
		.tp = shape->tensor_parallel,
		.pp = shape->pipeline_parallel,
	};

	*fit = (struct fit){
		.shape = *shape,
		.gpus_needed = shape->tensor_parallel * shape->pipeline_parallel * shape->replicas,
		.encoder_data = request->encoder_data_mode,
		.max_tokens = -1,
		.max_model_len = -1,
		.sequences = -1,
	};
	if (!architecture->known_type)
		miss(&judge,
			*architecture->model_type ? arena_printf(arena, "how a `%s` is built", architecture->model_type) :
										"model_type");
	/* In the order in which vLLM raises them. */
	judge_context(&judge);
	if (!architecture->attention_free)
		divides(&judge, FIT_HEADS, architecture->heads, "", " attention heads do not divide", "num_attention_heads");
	judge_pipeline(&judge);
	judge_count(&judge);
	judge_kv_heads(&judge);
	judge_mlp(&judge);
	judge_vocabulary(&judge);
	judge_vision(&judge);
	judge_mamba(&judge);
	judge_quantisation(&judge);
	judge_memory(&judge);
	judge_video(&judge);
	fit->verdict = verdict(&judge);
	fit->reasons = judge.failures.items;
	fit->reason_count = judge.failures.count;
	fit->warnings = judge.warnings.items;
	fit->warning_count = judge.warnings.count;
}
