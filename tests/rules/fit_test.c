#include "rules/fit.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/arena.h"
#include "engine/base/file.h"
#include "rules/budget.h"
#include "rules/weights.h"

#define GIB (1024.0 * 1024 * 1024)
/* What a 3090 of 24576 MiB gives to programs. */
#define USABLE ((uint64_t)(23.69 * GIB))

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
load(struct arena *arena, const char *model, struct architecture *architecture)
{
	struct error err = { 0 };
	const char *text;
	size_t size;

	assert_true(file_load(arena_printf(arena, "%s/%s/config.json", MODELS, model), 1 << 20, arena, &text, &size, &err));
	assert_true(architecture_read(text, size, arena, architecture, &err));
}

/* Names of the rules that fail, in order, each once. */
static const char *
failures(const struct fit *fit, struct arena *arena)
{
	static const char *const names[] = { "gpus", "heads", "kv", "inter", "moe", "vocab", "vision", "mamba", "pipeline",
		"memory", "context" };
	const char *text = "", *last = "";

	for (size_t i = 0; i < fit->reason_count; i++) {
		const char *name = names[fit->reasons[i].rule];

		if (strcmp(name, last) != 0)
			text = arena_printf(arena, "%s%s%s", text, *text ? "," : "", name);
		last = name;
	}
	return text;
}

static struct fit_request
request_of(int64_t tp, int64_t pp, int64_t replicas)
{
	return (struct fit_request){
		.shape = { tp, pp, replicas },
		.gpu_count = tp * pp * replicas,
		.utilization = 0.9,
		.encoder_data_mode = true,
		.images = -1,
		.videos = -1,
	};
}

/* The table of vllm.md 1.5: what fails at tensor parallel 1, 2, 3, 4, 6, 8; "NO": something. */
static const struct {
	const char *model;
	const char *fails[6];
} rows[] = {
	{ "autoglm-phone-9b", { "", "", "heads,kv,inter,vocab", "", "heads,inter,vocab", "" } },
	{ "llama-3-8b", { "", "", "heads,kv,inter", "", "heads,kv,inter", "" } },
	{ "llama-3-70b", { "", "", "heads,kv,inter", "", "heads,kv,inter", "" } },
	{ "llama-3.2-3b", { "", "", "kv,inter", "", "kv,inter", "" } },
	{ "qwen2.5-7b", { "", "", "heads,kv,inter", "", "heads,kv,inter", "heads" } },
	{ "qwen2.5-0.5b", { "", "", "heads,kv,inter,vocab", "heads", "heads,inter,vocab", "heads" } },
	{ "qwen2-1.5b", { "", "", "kv,inter,vocab", "", "inter,vocab", "heads" } },
	{ "qwen3-8b", { "", "", "heads,kv,vocab", "", "heads,kv,vocab", "" } },
	{ "qwen3-32b", { "", "", "NO", "", "NO", "" } },
	{ "qwen3-30b-a3b", { "", "", "heads,kv,vocab", "", "heads,kv,vocab", "" } },
	{ "mixtral-8x7b", { "", "", "heads,kv,inter,vocab", "", "NO", "" } },
	{ "deepseek-v3", { "", "", "heads,moe,vocab", "", "NO", "" } },
	{ "gemma-2-9b", { "", "", "heads,kv,inter,vocab", "", "heads,kv,inter,vocab", "" } },
	/* Its tower cannot be replicated: 16 heads and a width of 4304 are cut too. */
	{ "gemma-3-27b", { "", "", "heads,kv,vocab,vision", "", "heads,kv,vocab,vision", "" } },
	{ "glm-4.5v", { "", "", "kv,moe,vocab", "", "kv,moe,vocab", "" } },
	{ "starcoder-15b", { "", "", "", "", "", "" } },
};

static void
divides_as_the_table_says(void **state)
{
	static const int64_t sizes[] = { 1, 2, 3, 4, 6, 8 };

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct architecture architecture;

		load(*state, rows[i].model, &architecture);
		for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
			const char *want = rows[i].fails[s], *got;
			struct fit_request request = request_of(sizes[s], 1, 1);
			struct fit fit;

			fit_judge(&architecture, &request, *state, &fit);
			got = failures(&fit, *state);
			if (strcmp(want, "NO") == 0 ? !*got : strcmp(want, got) != 0)
				fail_msg("%s at %lld: `%s`, not `%s`", rows[i].model, (long long)sizes[s], got, want);
			assert_int_equal(fit.verdict, *got ? FIT_IMPOSSIBLE : FIT_OK);
		}
	}
}

static void
says_each_failure(void **state)
{
	static const char *const texts[] = {
		"32 attention heads do not divide by 3",
		"2 KV heads and 3 ranks: neither divides the other",
		"intermediate_size 13696 does not divide by 3",
		"vocabulary 151552 does not divide by 3",
		"MLP width 4096 of the vision encoder does not divide by 3",
		"merger width 13696 of the vision encoder does not divide by 3",
	};
	struct fit_request request = request_of(3, 1, 1);
	struct architecture architecture;
	struct fit fit;

	request.encoder_data_mode = false;
	load(*state, "autoglm-phone-9b", &architecture);
	fit_judge(&architecture, &request, *state, &fit);
	assert_int_equal(fit.reason_count, sizeof texts / sizeof *texts);
	for (size_t i = 0; i < fit.reason_count; i++)
		assert_string_equal(fit.reasons[i].text, texts[i]);
	assert_int_equal(fit.reasons[0].value, 32);
	assert_int_equal(fit.reasons[0].divisor, 3);
}

static void
judges_other_rules(void **state)
{
	struct architecture glm, other;
	struct fit_request request;
	struct fit fit;

	load(*state, "autoglm-phone-9b", &glm);
	load(*state, "llama-3-8b", &other);
	other.pipeline = (struct known_number){ 0 };

	/* 12 heads of the encoder are cut unless it is replicated. */
	request = request_of(8, 1, 1);
	request.encoder_data_mode = false;
	fit_judge(&glm, &request, *state, &fit);
	assert_string_equal(failures(&fit, *state), "vision");

	request = request_of(2, 2, 2);
	request.gpu_count = 7;
	fit_judge(&glm, &request, *state, &fit);
	assert_string_equal(failures(&fit, *state), "gpus");
	assert_int_equal(fit.gpus_needed, 8);

	request = request_of(1, 1, 1);
	request.max_model_len = 65537;
	fit_judge(&glm, &request, *state, &fit);
	assert_string_equal(failures(&fit, *state), "context");

	request = request_of(1, 41, 1);
	fit_judge(&glm, &request, *state, &fit);
	assert_string_equal(failures(&fit, *state), "pipeline");

	/* Nothing is said of other classes' stages, so nothing is concluded. */
	request = request_of(1, 2, 1);
	fit_judge(&other, &request, *state, &fit);
	assert_int_equal(fit.verdict, FIT_UNKNOWN);
	assert_int_equal(fit.missing.count, 1);

	/* Below 9553 tokens the dummy video has one frame too few. */
	request = request_of(2, 1, 1);
	request.max_model_len = 9000;
	fit_judge(&glm, &request, *state, &fit);
	assert_int_equal(fit.verdict, FIT_TIGHT);
	assert_int_equal(fit.warnings[0].rule, FIT_CONTEXT);
	request.videos = 0;
	fit_judge(&glm, &request, *state, &fit);
	assert_int_equal(fit.verdict, FIT_OK);
}

static void
judge_text(struct arena *arena, const char *config, int64_t tp, struct fit *fit)
{
	struct fit_request request = request_of(tp, 1, 1);
	struct architecture architecture;
	struct error err = { 0 };

	assert_true(architecture_read(config, strlen(config), arena, &architecture, &err));
	fit_judge(&architecture, &request, arena, fit);
}

#define LLAMA(vocab, more) \
	"{\"model_type\":\"llama\",\"architectures\":[\"LlamaForCausalLM\"],\"num_attention_heads\":12,\"num_key_value_heads\":12," \
	"\"hidden_size\":768,\"num_hidden_layers\":12,\"intermediate_size\":3072,\"vocab_size\":" vocab more "}"
#define STATES(more) \
	"{\"model_type\":\"nemotron_h\",\"mamba_num_heads\":128,\"hybrid_override_pattern\":\"M-M*\",\"num_attention_heads\":96," \
	"\"num_key_value_heads\":8,\"hidden_size\":4096,\"num_hidden_layers\":4,\"intermediate_size\":12288,\"vocab_size\":131072" more "}"
#define EXPERTS(shared, more) \
	"{\"model_type\":\"qwen2_moe\",\"num_attention_heads\":16,\"num_key_value_heads\":16,\"hidden_size\":2048,\"num_hidden_layers\":24," \
	"\"intermediate_size\":5634,\"moe_intermediate_size\":1408,\"shared_expert_intermediate_size\":" shared ",\"num_experts\":60," \
	"\"vocab_size\":151936" more "}"
#define SEES(class) \
	"{\"model_type\":\"qwen2_5_vl\",\"architectures\":[\"" class "\"],\"num_attention_heads\":16,\"num_key_value_heads\":2,\"hidden_size\":2048," \
	"\"num_hidden_layers\":36,\"intermediate_size\":11008,\"vocab_size\":151936," \
	"\"vision_config\":{\"depth\":32,\"hidden_size\":1280,\"num_heads\":16,\"intermediate_size\":3420,\"patch_size\":14}}"

/* What a config of few lines comes to: rules R6, R7 and R9 at their edges. */
static void
judges_edges(void **state)
{
	static const struct {
		const char *config;
		int64_t tp;
		enum fit_verdict verdict;
		const char *fails;
		const char *missing; /* one of the keys; "": none is */
	} cases[] = {
		/* The vocabulary is rounded up to 64, not to 64 x tp. */
		{ LLAMA("32001", ""), 3, FIT_OK, "", "" },
		{ LLAMA("32065", ""), 3, FIT_IMPOSSIBLE, "vocab", "" },
		{ LLAMA("32065", ""), 4, FIT_OK, "", "" },
		/* Experts are cut by their own width, and so is what is beside them; their number need not divide. Dense layers count where there are some. */
		{ EXPERTS("5632", ",\"mlp_only_layers\":[]"), 8, FIT_OK, "", "" },
		{ EXPERTS("5636", ",\"mlp_only_layers\":[]"), 8, FIT_IMPOSSIBLE, "moe", "" },
		{ EXPERTS("5632", ",\"mlp_only_layers\":[0]"), 8, FIT_IMPOSSIBLE, "inter", "" },
		{ EXPERTS("5632", ""), 8, FIT_IMPOSSIBLE, "inter", "" },
		/* Groups divide, or there is one of them and nothing is quantised. */
		{ STATES(",\"n_groups\":8"), 8, FIT_UNKNOWN, "", "how a `nemotron_h` is built" },
		{ STATES(",\"n_groups\":8"), 16, FIT_IMPOSSIBLE, "mamba", "" },
		{ STATES(",\"n_groups\":1"), 16, FIT_UNKNOWN, "", "how a `nemotron_h` is built" },
		{ STATES(",\"n_groups\":1,\"quantization_config\":{\"quant_method\":\"fp8\"}"), 4, FIT_IMPOSSIBLE, "mamba", "" },
		{ STATES(",\"n_groups\":1,\"quantization_config\":{\"quant_method\":\"fp8\"}"), 1, FIT_UNKNOWN, "", "how a `nemotron_h` is built" },
		{ STATES(",\"n_groups\":8"), 3, FIT_IMPOSSIBLE, "kv,vocab,mamba", "" },
		{ "{\"model_type\":\"mamba\",\"hidden_size\":768,\"expand\":2,\"num_hidden_layers\":24,\"vocab_size\":50280}", 7, FIT_IMPOSSIBLE, "vocab,mamba", "" },
		/* It has no heads and no MLP to cut, so nothing of them is missing. */
		{ "{\"model_type\":\"mamba\",\"hidden_size\":768,\"expand\":2,\"num_hidden_layers\":24,\"vocab_size\":50280}", 8, FIT_OK, "", "" },
		{ "{\"model_type\":\"mamba2\",\"hidden_size\":4096,\"num_heads\":128,\"n_groups\":8,\"num_hidden_layers\":64,\"vocab_size\":32768}", 8, FIT_OK, "", "" },
		/* 3420 does not divide by 8: this class need not cut its encoder, that one is not known. */
		{ SEES("Qwen2_5_VLForConditionalGeneration"), 8, FIT_OK, "", "" },
		{ SEES("BrandNewForConditionalGeneration"), 8, FIT_UNKNOWN, "",
			"whether BrandNewForConditionalGeneration supports mm_encoder_tp_mode: data" },
		{ SEES("BrandNewForConditionalGeneration"), 4, FIT_OK, "", "" },
		{ SEES("Gemma3ForConditionalGeneration"), 8, FIT_IMPOSSIBLE, "vision", "" },
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct fit fit;

		judge_text(*state, cases[i].config, cases[i].tp, &fit);
		if (fit.verdict != cases[i].verdict || strcmp(failures(&fit, *state), cases[i].fails) != 0)
			fail_msg("case %zu: %s `%s`", i, fit_verdict_name(fit.verdict), failures(&fit, *state));
		if (*cases[i].missing && !strings_has(&fit.missing, cases[i].missing))
			fail_msg("case %zu: `%s` is not missed", i, cases[i].missing);
	}
}

/* R10, as vLLM 0.12's own classes have it, not as its page of supported models does. */
static void
knows_which_classes_have_stages(void **state)
{
	static const struct {
		const char *type, *class;
		enum fit_verdict verdict;
	} cases[] = {
		{ "llama", "LlamaForCausalLM", FIT_OK },
		{ "mamba2", "Mamba2ForCausalLM", FIT_IMPOSSIBLE },
		{ "mamba", "MambaForCausalLM", FIT_OK },
		{ "llama", "Gemma3nForCausalLM", FIT_IMPOSSIBLE },
		{ "llama", "BrandNewForCausalLM", FIT_UNKNOWN },
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const char *config = arena_printf(*state,
			"{\"model_type\":\"%s\",\"architectures\":[\"%s\"],\"num_attention_heads\":32,\"hidden_size\":4096,\"num_hidden_layers\":32,"
			"\"intermediate_size\":11008,\"vocab_size\":32000}", cases[i].type, cases[i].class);
		struct fit_request request = request_of(1, 2, 1);
		struct architecture architecture;
		struct error err = { 0 };
		struct fit fit;

		assert_true(architecture_read(config, strlen(config), *state, &architecture, &err));
		fit_judge(&architecture, &request, *state, &fit);
		if (fit.verdict != cases[i].verdict)
			fail_msg("%s: %s", cases[i].class, fit_verdict_name(fit.verdict));
	}
}

/* R2: a latent cache has no heads to divide, of the types that vLLM knows for it. */
static void
needs_no_kv_heads_for_mla(void **state)
{
	static const char *const types[] = { "deepseek_v2", "deepseek_v3", "deepseek_v32", "deepseek_mtp", "kimi_k2", "kimi_linear", "longcat_flash",
		"pangu_ultra_moe", "pangu_ultra_moe_mtp", "llama" };

	for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
		const char *config = arena_printf(*state,
			"{\"model_type\":\"%s\",\"num_attention_heads\":96,\"num_key_value_heads\":2,\"kv_lora_rank\":512,\"qk_rope_head_dim\":64,"
			"\"hidden_size\":6144,\"num_hidden_layers\":4,\"intermediate_size\":6144,\"vocab_size\":64}", types[i]);
		struct fit fit;

		judge_text(*state, config, 3, &fit);
		if (strcmp(failures(&fit, *state), strcmp(types[i], "llama") == 0 ? "kv,vocab" : "vocab") != 0)
			fail_msg("%s: %s", types[i], failures(&fit, *state));
	}
}

static void
warns_of_quantisation(void **state)
{
	static const struct {
		int64_t group, tp;
		size_t warnings; /* with those of Marlin's own blocks */
	} cases[] = {
		/* 13696 / 1 divides by 128; 6848 and 3424 do not, but 6848 does by 64 and 3424 by 32. */
		{ 128, 1, 0 },
		{ 128, 2, 2 },
		{ 64, 2, 1 },
		{ 64, 4, 3 },
		{ 32, 4, 2 },
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct fit_request request = request_of(cases[i].tp, 1, 1);
		struct architecture architecture;
		struct fit fit;

		load(*state, "autoglm-phone-9b", &architecture);
		architecture.quantisation = QUANT_AWQ;
		architecture.quant_method = "awq";
		architecture.quant_bits = (struct known_number){ true, 4 };
		architecture.quant_group = (struct known_number){ true, cases[i].group };
		fit_judge(&architecture, &request, *state, &fit);
		if (fit.warning_count != cases[i].warnings)
			fail_msg("group %lld, tp %lld: %zu warnings", (long long)cases[i].group, (long long)cases[i].tp,
				fit.warning_count);
		assert_int_equal(fit.verdict, FIT_OK);
	}
}

/* Stage D for each method: what one rank holds against the method's own blocks. */
static void
warns_by_method(void **state)
{
	static const struct {
		const char *quant;
		int64_t tp;
		size_t warnings;
	} cases[] = {
		{ "{\"quant_method\":\"fp8\",\"weight_block_size\":[128,128]}", 4, 0 },
		{ "{\"quant_method\":\"fp8\",\"weight_block_size\":[128,128]}", 12, 0 },
		{ "{\"quant_method\":\"fp8\",\"weight_block_size\":[512,512]}", 4, 2 },
		{ "{\"quant_method\":\"fp8\",\"weight_block_size\":[128,512]}", 4, 1 },
		/* Channel-wise: no group to keep whole. */
		{ "{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":-1}", 4, 0 },
		{ "{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":512}", 4, 1 },
		{ "{\"quant_method\":\"awq\",\"w_bit\":4,\"q_group_size\":512}", 4, 1 },
		/* Nothing is known of other methods' blocks. */
		{ "{\"quant_method\":\"bitsandbytes\"}", 4, 0 },
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const char *config = arena_printf(*state, LLAMA("32000", ",\"quantization_config\":%s"), cases[i].quant);
		struct fit fit;

		judge_text(*state, config, cases[i].tp, &fit);
		if (fit.warning_count != cases[i].warnings || fit.verdict == FIT_TIGHT)
			fail_msg("case %zu: %zu warnings, %s", i, fit.warning_count, fit_verdict_name(fit.verdict));
	}
}

static bool
near(double value, double wanted, double within)
{
	return fabs(value - wanted) <= within;
}

/* The numbers of vllm.md 2.3. */
static void
budgets_as_the_table_says(void **state)
{
	static const struct {
		int64_t tp, pp;
		double weights, need, left90, left95; /* GiB */
		double per_token;
	} cases[] = {
		{ 1, 1, 19.17, 0.972, 2.15, 3.33, 40960 },
		{ 2, 1, 10.42, 0.486, 10.90, 12.09, 20480 },
		{ 4, 1, 6.08, 0.486, 15.24, 16.43, 20480 },
		{ 1, 3, 7.76, 0.316, 13.6, 14.7, 14336 },
	};
	struct architecture architecture;

	load(*state, "autoglm-phone-9b", &architecture);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct fit_request request = request_of(cases[i].tp, cases[i].pp, 1);
		struct budget budget, wide;

		request.gpu_memory = USABLE;
		request.max_model_len = 25480;
		budget_make(&architecture, &request, *state, &budget);
		request.utilization = 0.95;
		budget_make(&architecture, &request, *state, &wide);
		assert_true(near(budget.weights / GIB, cases[i].weights, 0.006));
		assert_true(near(budget.need / GIB, cases[i].need, 0.002));
		assert_true(near((budget.usable - budget.weights) / GIB, cases[i].left90, 0.06));
		assert_true(near((wide.usable - wide.weights) / GIB, cases[i].left95, 0.06));
		assert_true(near(budget.per_token, cases[i].per_token, 0.5));
	}
}

/* Bytes of parameters and of one token on the fullest rank, counted in the layers that vLLM 0.12 builds (tests/vllm/agree). */
static void
foretells_what_vllm_builds(void **state)
{
	static const struct {
		const char *config;
		int64_t tp, pp;
		double weights, per_token;
	} cases[] = {
		/* The stages between have the vocabulary too; heads are 256 wide. */
		{ "{\"model_type\":\"gemma\",\"dtype\":\"bfloat16\",\"hidden_size\":2048,\"num_hidden_layers\":18,\"num_attention_heads\":8,\"num_key_value_heads\":1,"
		"\"intermediate_size\":16384,\"vocab_size\":256000}",
			1, 4, 2149625856, 5120 },
		{ "{\"model_type\":\"mixtral\",\"dtype\":\"bfloat16\",\"hidden_size\":4096,\"num_hidden_layers\":32,\"num_attention_heads\":32,\"num_key_value_heads\":8,"
		"\"intermediate_size\":14336,\"num_local_experts\":8,\"vocab_size\":32000}",
			1, 4, 23744618496, 32768 },
		{ "{\"model_type\":\"starcoder2\",\"dtype\":\"bfloat16\",\"hidden_size\":3072,\"num_hidden_layers\":30,\"num_attention_heads\":24,"
		"\"num_key_value_heads\":2,\"intermediate_size\":12288,\"vocab_size\":49152}",
			2, 1, 3030930432, 15360 },
		/* A tower with gated blocks and a merger, whole on each of eight ranks. */
		{ "{\"model_type\":\"qwen2_5_vl\",\"architectures\":[\"Qwen2_5_VLForConditionalGeneration\"],\"dtype\":\"bfloat16\",\"hidden_size\":2048,"
		"\"num_hidden_layers\":36,\"num_attention_heads\":16,\"num_key_value_heads\":2,\"intermediate_size\":11008,\"vocab_size\":151936,"
		"\"tie_word_embeddings\":true,\"vision_config\":{\"depth\":32,\"hidden_size\":1280,\"num_heads\":16,\"intermediate_size\":3420,\"patch_size\":14}}",
			8, 1, 2137440256, 18432 },
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct fit_request request = request_of(cases[i].tp, cases[i].pp, 1);
		struct architecture architecture;
		struct error err = { 0 };
		struct budget budget;

		assert_true(architecture_read(cases[i].config, strlen(cases[i].config), *state, &architecture, &err));
		budget_make(&architecture, &request, *state, &budget);
		if (!near(budget.weights / cases[i].weights, 1, 0.005) || !near(budget.per_token, cases[i].per_token, 0.5))
			fail_msg("case %zu: %.0f bytes, %.0f a token", i, budget.weights, budget.per_token);
	}
}

/* A forecast that leaves an encoder out would be too small by up to a third: none is given. */
static void
foretells_nothing_of_sound(void **state)
{
	static const char *const configs[] = { LLAMA("32000", ",\"dtype\":\"bfloat16\""),
		LLAMA("32000", ",\"dtype\":\"bfloat16\",\"audio_config\":{\"d_model\":1280}") };

	for (size_t i = 0; i < 2; i++) {
		struct architecture architecture;
		struct error err = { 0 };

		assert_true(architecture_read(configs[i], strlen(configs[i]), *state, &architecture, &err));
		assert_int_equal(architecture_estimate_bytes(&architecture) > 0, i == 0);
	}
}

static void
deals_layers_to_stages(void **state)
{
	static const struct {
		int64_t layers, stages, counts[5];
	} cases[] = {
		{ 40, 1, { 40 } },
		{ 40, 2, { 20, 20 } },
		{ 40, 3, { 13, 14, 13 } },
		{ 40, 4, { 10, 10, 10, 10 } },
		{ 43, 4, { 11, 11, 11, 10 } },
		{ 41, 3, { 14, 14, 13 } },
	};
	static const double weights[] = { 7.76, 6.98, 7.76 };
	struct architecture architecture;
	struct weights parts;
	int64_t first = 0;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		int64_t counts[5] = { 0 };

		fit_stages(cases[i].layers, cases[i].stages, counts);
		assert_memory_equal(counts, cases[i].counts, sizeof counts);
	}
	load(*state, "autoglm-phone-9b", &architecture);
	weights_of(&architecture, &parts);
	for (int64_t i = 0; i < 3; first += cases[2].counts[i++]) {
		struct rank rank = { 1, 2, first, cases[2].counts[i], i == 0, i == 2, true };

		assert_true(near(weights_on_rank(&architecture, &parts, &rank) / GIB, weights[i], 0.006));
	}
}

static void
estimates_the_profile_run(void **state)
{
	struct fit_request request = request_of(1, 1, 1);
	struct architecture architecture;
	struct budget video, image;

	load(*state, "autoglm-phone-9b", &architecture);
	request.max_model_len = 25480;
	budget_make(&architecture, &request, *state, &video);
	request.videos = 0;
	budget_make(&architecture, &request, *state, &image);
	/* With 0.3 GiB of everything else. */
	assert_true(video.activations / GIB > 2.8 && video.activations / GIB < 3.8);
	assert_true(image.activations / GIB > 0.8 && image.activations / GIB < 1.0);
}

static void
judges_memory(void **state)
{
	static const struct {
		int64_t tp, context;
		double utilization;
		int64_t videos;
		enum fit_verdict verdict;
		int64_t least, most; /* tokens */
	} cases[] = {
		/* The recipe for one card: about 60k tokens. */
		{ 1, 25480, 0.95, 0, FIT_TIGHT, 55000, 70000 },
		/* The stock command: weights and cache fit, the dummy video does not. */
		{ 1, 25480, 0.9, -1, FIT_TIGHT, 0, 0 },
		/* The model's own 65536 tokens need 2.5 GiB, 2.15 are left. */
		{ 1, 0, 0.9, 0, FIT_IMPOSSIBLE, 30000, 40000 },
		{ 2, 25480, 0.9, -1, FIT_OK, 350000, 450000 },
		{ 4, 25480, 0.9, -1, FIT_OK, 600000, 700000 },
		{ 1, 25480, 0.75, 0, FIT_IMPOSSIBLE, 0, 0 },
	};
	struct architecture architecture;

	load(*state, "autoglm-phone-9b", &architecture);
	/* As if headers had been read: the total is exact then. */
	architecture.weight_bytes = architecture_estimate_bytes(&architecture);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct fit_request request = request_of(cases[i].tp, 1, 1);
		struct fit fit;

		request.gpu_memory = USABLE;
		request.max_model_len = cases[i].context;
		request.utilization = cases[i].utilization;
		request.videos = cases[i].videos;
		fit_judge(&architecture, &request, *state, &fit);
		if (fit.verdict != cases[i].verdict || fit.max_tokens < cases[i].least || fit.max_tokens > cases[i].most)
			fail_msg("case %zu: verdict %d, %lld tokens", i, (int)fit.verdict, (long long)fit.max_tokens);
		if (fit.verdict == FIT_IMPOSSIBLE)
			assert_string_equal(failures(&fit, *state), "memory");
	}
}

/* The longest request and the number of full ones: what the log of vLLM would say, and never a length at which the dummy video is too short. */
static void
finds_the_longest_request(void **state)
{
	static const struct {
		int64_t tp, pp, context;
		double utilization;
		int64_t videos;
		int64_t least, most;            /* longest */
		int64_t sequences;
	} cases[] = {
		/* The recipe for one card: two full requests. */
		{ 1, 1, 25480, 0.95, 0, 55000, 65536, 2 },
		/* With video the profile run grows with the context, and below 9553 tokens it fails. */
		{ 1, 1, 25480, 0.9, -1, 15000, 20000, 0 },
		{ 1, 1, 25480, 0.86, -1, 0, 0, 0 },
		{ 1, 1, 25480, 0.86, 0, 1000, 9552, 0 },
		{ 2, 1, 25480, 0.9, -1, 65536, 65536, 15 },
		{ 1, 3, 25480, 0.9, -1, 65536, 65536, 32 },
	};
	struct architecture architecture;

	load(*state, "autoglm-phone-9b", &architecture);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct fit_request request = request_of(cases[i].tp, cases[i].pp, 1);
		struct budget budget;
		struct fit fit;

		request.gpu_memory = USABLE;
		request.max_model_len = cases[i].context;
		request.utilization = cases[i].utilization;
		request.videos = cases[i].videos;
		fit_judge(&architecture, &request, *state, &fit);
		if (fit.max_model_len < cases[i].least || fit.max_model_len > cases[i].most || fit.sequences != cases[i].sequences)
			fail_msg("case %zu: %lld tokens, %lld requests", i, (long long)fit.max_model_len, (long long)fit.sequences);
		if (fit.max_model_len <= 0 || fit.max_model_len == 65536)
			continue;
		/* It fits, and one block more does not. */
		request.max_model_len = fit.max_model_len;
		budget_make(&architecture, &request, *state, &budget);
		assert_true(budget.held + budget.need + budget.activations <= budget.usable);
		request.max_model_len += 16;
		budget_make(&architecture, &request, *state, &budget);
		assert_true(budget.held + budget.need + budget.activations > budget.usable);
	}
}

/* On large cards vLLM takes larger batches, and windows of attention keep a batch more. */
static void
knows_large_cards(void **state)
{
	struct fit_request request = request_of(1, 1, 1);
	struct architecture architecture;
	struct budget small, large;

	load(*state, "llama-3-8b", &architecture);
	request.gpu_memory = (uint64_t)(60 * GIB);
	budget_make(&architecture, &request, *state, &small);
	request.gpu_memory = (uint64_t)(79 * GIB);
	budget_make(&architecture, &request, *state, &large);
	assert_true(large.activations > small.activations + 0.5 * GIB);
	request.max_num_seqs = 256;
	budget_make(&architecture, &request, *state, &small);
	assert_true(near(large.activations - small.activations, 768.0 * 128256 * 4, 1));
}

/* An estimate that is a little over refuses nothing. */
static void
refuses_no_estimate(void **state)
{
	struct fit_request request = request_of(1, 1, 1);
	struct architecture architecture;
	struct fit fit;

	load(*state, "autoglm-phone-9b", &architecture);
	request.gpu_memory = (uint64_t)(21.5 * GIB);
	request.max_model_len = 25480;
	fit_judge(&architecture, &request, *state, &fit);
	assert_int_equal(fit.verdict, FIT_TIGHT);
	architecture.weight_bytes = architecture_estimate_bytes(&architecture);
	fit_judge(&architecture, &request, *state, &fit);
	assert_int_equal(fit.verdict, FIT_IMPOSSIBLE);
}

/* Layers with a sliding window keep the window alone, so a long context costs less than all layers times all tokens. */
static void
counts_windows(void **state)
{
	struct fit_request request = request_of(1, 1, 1);
	struct architecture architecture;
	struct budget budget;
	double token = 2.0 * 16 * 128 * 2, full = 10, window = 52;

	load(*state, "gemma-3-27b", &architecture);
	assert_int_equal(architecture.window_layers.value, 52);
	request.max_model_len = 131072;
	budget_make(&architecture, &request, *state, &budget);
	assert_true(near(budget.need, token * (full * 131072 + window * (1024 + 2048)), 1));
	assert_true(near(budget.per_token, token * 62, 1));
}

static void
lists_shapes(void **state)
{
	struct fit_request request = request_of(1, 1, 1);
	struct architecture architecture;
	const char *text = "";
	struct fit *fits;
	size_t count;

	load(*state, "autoglm-phone-9b", &architecture);
	request.gpu_count = 4;
	request.gpu_memory = USABLE;
	request.max_model_len = 25480;
	fit_shapes(&architecture, &request, *state, &fits, &count);
	for (size_t i = 0; i < count; i++) {
		if (fits[i].verdict == FIT_IMPOSSIBLE)
			break;
		text = arena_printf(*state, "%s%s%s%s", text, i ? "; " : "", fit_shape_name(&fits[i].shape, *state),
			fits[i].verdict == FIT_TIGHT ? "*" : "");
	}
	/* Those without a margin come behind; among the others, those that leave no GPU idle come first. */
	assert_string_equal(
		text, "tp 4; tp 2, pp 2; pp 4; 2 x tp 2; 2 x pp 2; pp 3; tp 2; pp 2; 4 x tp 1*; 3 x tp 1*; 2 x tp 1*; tp 1*");
}

/* GPU 3 is to be kept free: what does so leads, what does not says how many it takes. */
static void
keeps_gpus_free(void **state)
{
	struct fit_request request = request_of(1, 1, 1);
	struct architecture architecture;
	const char *text = "";
	struct fit *fits;
	size_t count;

	load(*state, "autoglm-phone-9b", &architecture);
	request.gpu_count = 3;
	request.machine = 4;
	request.gpu_memory = USABLE;
	request.max_model_len = 25480;
	fit_shapes(&architecture, &request, *state, &fits, &count);
	for (size_t i = 0; i < count && fits[i].verdict != FIT_IMPOSSIBLE; i++)
		text = arena_printf(*state, "%s%s%s%s%.*s", text, i ? "; " : "", fit_shape_name(&fits[i].shape, *state),
			fits[i].verdict == FIT_TIGHT ? "*" : "", (int)fits[i].gives_up, "!");
	assert_string_equal(text,
		"pp 3; tp 2; pp 2; 3 x tp 1*; 2 x tp 1*; tp 1*; tp 4!; tp 2, pp 2!; pp 4!; 2 x tp 2!; 2 x pp 2!; 4 x tp 1*!");
}

/* 12 heads of the encoder do not divide by 8, and need not if it is whole on each GPU. */
static void
tries_both_encoder_modes(void **state)
{
	struct fit_request request = request_of(1, 1, 1);
	struct architecture architecture;
	struct fit *fits;
	size_t count;

	load(*state, "autoglm-phone-9b", &architecture);
	request.gpu_count = 8;
	request.encoder_data_mode = false;
	fit_shapes(&architecture, &request, *state, &fits, &count);
	for (size_t i = 0; i < count; i++)
		if (fits[i].shape.tensor_parallel == 8)
			assert_int_equal(fits[i].verdict, FIT_IMPOSSIBLE);
	request.encoder_either = true;
	fit_shapes(&architecture, &request, *state, &fits, &count);
	assert_int_equal(fits[0].shape.tensor_parallel, 8);
	assert_int_equal(fits[0].verdict, FIT_OK);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(fits[i].encoder_data, fits[i].shape.tensor_parallel == 8);
}

static void
bears_any_numbers(void **state)
{
	struct architecture architecture = {
		.class = "", .model_type = "", .text_type = "", .dtype = "", .quant_method = ""
	};
	struct fit_request request = request_of(1024, 1024, 1024);
	struct fit fit;

	request.gpu_memory = UINT64_MAX;
	request.max_model_len = 1000000000;
	fit_judge(&architecture, &request, *state, &fit);
	assert_int_equal(fit.verdict, FIT_UNKNOWN);
	assert_true(strings_has(&fit.missing, "num_attention_heads"));
	/* What is absent divides by nothing: vLLM takes it for 0, which is no proof. */
	request = request_of(1, 1, 1);
	fit_judge(&architecture, &request, *state, &fit);
	assert_int_equal(fit.verdict, FIT_UNKNOWN);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(divides_as_the_table_says, setup, teardown),
		cmocka_unit_test_setup_teardown(says_each_failure, setup, teardown),
		cmocka_unit_test_setup_teardown(judges_other_rules, setup, teardown),
		cmocka_unit_test_setup_teardown(knows_which_classes_have_stages, setup, teardown),
		cmocka_unit_test_setup_teardown(warns_of_quantisation, setup, teardown),
		cmocka_unit_test_setup_teardown(budgets_as_the_table_says, setup, teardown),
		cmocka_unit_test_setup_teardown(foretells_what_vllm_builds, setup, teardown),
		cmocka_unit_test_setup_teardown(foretells_nothing_of_sound, setup, teardown),
		cmocka_unit_test_setup_teardown(deals_layers_to_stages, setup, teardown),
		cmocka_unit_test_setup_teardown(estimates_the_profile_run, setup, teardown),
		cmocka_unit_test_setup_teardown(judges_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(refuses_no_estimate, setup, teardown),
		cmocka_unit_test_setup_teardown(counts_windows, setup, teardown),
		cmocka_unit_test_setup_teardown(lists_shapes, setup, teardown),
		cmocka_unit_test_setup_teardown(judges_edges, setup, teardown),
		cmocka_unit_test_setup_teardown(needs_no_kv_heads_for_mla, setup, teardown),
		cmocka_unit_test_setup_teardown(warns_by_method, setup, teardown),
		cmocka_unit_test_setup_teardown(finds_the_longest_request, setup, teardown),
		cmocka_unit_test_setup_teardown(knows_large_cards, setup, teardown),
		cmocka_unit_test_setup_teardown(keeps_gpus_free, setup, teardown),
		cmocka_unit_test_setup_teardown(tries_both_encoder_modes, setup, teardown),
		cmocka_unit_test_setup_teardown(bears_any_numbers, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
