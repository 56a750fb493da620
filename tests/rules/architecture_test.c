#include "rules/architecture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/arena.h"
#include "engine/base/file.h"
#include "rules/safetensors.h"
#include "rules/weights.h"

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

/* -1: unknown. */
static int64_t
number(struct known_number number)
{
	return number.known ? number.value : -1;
}

/* Spellings of all ages; one line each: what is read, and what it must come to. */
static void
reads_all_spellings(void **state)
{
	static const struct {
		const char *config;
		int64_t heads, kv, hidden, layers, inter, vocab, head_dim, positions;
	} cases[] = {
		{ "{\"model_type\":\"llama\",\"num_attention_heads\":32,\"num_key_value_heads\":8,\"hidden_size\":4096,\"num_hidden_layers\":32,"
		"\"intermediate_size\":14336,\"vocab_size\":128256,\"max_position_embeddings\":8192}",
			32, 8, 4096, 32, 14336, 128256, 128, 8192 },
		/* No KV heads named: as many as heads. */
		{ "{\"model_type\":\"llama\",\"num_attention_heads\":32,\"hidden_size\":4096}", 32, 32, 4096, -1, -1, -1, 128, -1 },
		{ "{\"model_type\":\"gpt_bigcode\",\"n_head\":48,\"n_embd\":6144,\"n_layer\":40,\"n_inner\":null,\"multi_query\":true,\"n_positions\":8192}",
			48, 1, 6144, 40, 24576, -1, 128, 8192 },
		{ "{\"model_type\":\"falcon\",\"num_attention_heads\":71,\"hidden_size\":4544,\"multi_query\":true}", 71, 1, 4544, -1, 18176, -1, 64, -1 },
		{ "{\"model_type\":\"falcon\",\"num_attention_heads\":128,\"num_kv_heads\":8,\"hidden_size\":8192,\"multi_query\":true,"
		"\"new_decoder_architecture\":true}",
			128, 8, 8192, -1, 32768, -1, 64, -1 },
		{ "{\"model_type\":\"chatglm\",\"num_attention_heads\":32,\"multi_query_attention\":true,\"multi_query_group_num\":2,\"num_layers\":40,"
		"\"hidden_size\":4096,\"ffn_hidden_size\":13696,\"padded_vocab_size\":151552,\"vocab_size\":150000,\"seq_length\":131072}",
			32, 2, 4096, 40, 13696, 151552, 128, 131072 },
		{ "{\"model_type\":\"mpt\",\"n_heads\":32,\"d_model\":4096,\"n_layers\":32,\"attn_config\":{\"kv_n_heads\":4},\"max_seq_len\":2048}",
			32, 4, 4096, 32, 16384, -1, 128, 2048 },
		/* Bloom's oldest spelling, and DBRX, whose experts stand apart. */
		{ "{\"model_type\":\"bloom\",\"n_embed\":1024,\"n_layer\":24,\"num_attention_heads\":16,\"seq_length\":2048}", 16, 16, 1024, 24, 4096, -1, 64, 2048 },
		{ "{\"model_type\":\"dbrx\",\"n_heads\":48,\"d_model\":6144,\"attn_config\":{\"kv_n_heads\":8},\"ffn_config\":{\"ffn_hidden_size\":10752,"
		"\"moe_num_experts\":16},\"max_seq_len\":32768}",
			48, 8, 6144, -1, 10752, -1, 128, 32768 },
		/* Gemma's heads are wider than hidden / heads, and its files do not say so; Gemma 3's leave out more. */
		{ "{\"model_type\":\"gemma\",\"num_attention_heads\":16,\"hidden_size\":3072}", 16, 16, 3072, -1, -1, -1, 256, -1 },
		{ "{\"model_type\":\"gemma3\",\"text_config\":{\"model_type\":\"gemma3_text\",\"hidden_size\":3840,\"num_attention_heads\":16,"
		"\"num_key_value_heads\":8}}",
			16, 8, 3840, -1, -1, 262208, 256, 131072 },
		{ "{\"model_type\":\"gemma3\",\"text_config\":{\"model_type\":\"gemma3_text\",\"hidden_size\":2560}}", 8, 4, 2560, -1, -1, 262208, 256, 131072 },
		{ "{\"model_type\":\"nemotron-nas\",\"num_attention_heads\":64,\"hidden_size\":8192,\"block_configs\":[{\"attention\":{\"no_op\":true,"
		"\"n_heads_in_group\":null}},{\"attention\":{\"n_heads_in_group\":8}}]}",
			64, 8, 8192, -1, -1, -1, 128, -1 },
		/* The text config under its other names. */
		{ "{\"model_type\":\"x\",\"llm_config\":{\"model_type\":\"qwen2\",\"num_attention_heads\":28,\"num_key_value_heads\":4,\"hidden_size\":3584}}",
			28, 4, 3584, -1, -1, -1, 128, -1 },
		{ "{\"model_type\":\"x\",\"thinker_config\":{\"text_config\":{\"num_attention_heads\":28,\"head_dim\":64}}}", 28, 28, -1, -1, -1, -1, 64, -1 },
		{ "{\"model_type\":\"x\",\"language_config\":{\"model_type\":\"llama\",\"num_attention_heads\":32,\"hidden_size\":4096,\"n_layer\":7}}",
			32, 32, 4096, 7, -1, -1, 128, -1 },
		{ "{\"model_type\":\"persimmon\",\"num_attention_heads\":64,\"hidden_size\":4096,\"hidden_size_per_head\":96}", 64, 64, 4096, -1, -1, -1, 96, -1 },
		/* GLM-4.1V without a text config, and with the class's defaults for what is absent. */
		{ "{\"model_type\":\"glm4v\",\"max_position_embeddings\":65536,\"num_attention_heads\":32,\"vision_config\":{\"num_heads\":12}}",
			32, 2, 4096, 40, 13696, 151552, 128, 65536 },
		/* Numbers that are none. */
		{ "{\"model_type\":\"llama\",\"num_attention_heads\":0,\"hidden_size\":-1,\"vocab_size\":\"many\",\"num_hidden_layers\":1e3,"
		"\"intermediate_size\":9223372036854775807}",
			-1, -1, -1, -1, -1, -1, -1, -1 },
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct architecture a;
		struct error err = { 0 };

		assert_true(architecture_read(cases[i].config, strlen(cases[i].config), *state, &a, &err));
		if (number(a.heads) != cases[i].heads || number(a.kv_heads) != cases[i].kv ||
			number(a.hidden) != cases[i].hidden || number(a.layers) != cases[i].layers ||
			number(a.intermediate) != cases[i].inter || number(a.vocab) != cases[i].vocab ||
			number(a.head_dim) != cases[i].head_dim || number(a.max_position) != cases[i].positions)
			fail_msg("case %zu: %lld %lld %lld %lld %lld %lld %lld %lld", i, (long long)number(a.heads),
				(long long)number(a.kv_heads), (long long)number(a.hidden), (long long)number(a.layers),
				(long long)number(a.intermediate), (long long)number(a.vocab), (long long)number(a.head_dim),
				(long long)number(a.max_position));
	}
}

static void
refuses_what_is_no_config(void **state)
{
	static const char *const cases[] = { "", "[]", "null", "{", "<!DOCTYPE html>",
		"version https://git-lfs.github.com/spec/v1\n", "{\"a\":1,\"a\":2}" };

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct architecture a = { .class = "untouched" };
		struct error err = { 0 };

		assert_false(architecture_read(cases[i], strlen(cases[i]), *state, &a, &err));
		assert_int_equal(err.fault, FAULT_PROTOCOL);
		assert_string_equal(a.class, "untouched");
	}
}

/* Parts of the wrong type, at every key that is looked at: never a crash, always unknown. */
static void
bears_wrong_types(void **state)
{
	static const char *const values[] = { "null", "true", "\"x\"", "[]", "[1]", "{}", "{\"a\":{}}", "1.5", "-3" };
	static const char *const keys[] = { "text_config", "vision_config", "architectures", "model_type",
		"quantization_config", "rope_scaling", "rope_parameters", "layer_types", "block_configs", "attn_config",
		"mlp_only_layers", "torch_dtype", "sliding_window", "thinker_config", "first_k_dense_replace" };

	for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
		for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
			const char *text = arena_printf(*state, "{\"%s\": %s, \"num_experts\": 8}", keys[k], values[v]);
			struct architecture a;
			struct error err = { 0 };

			assert_true(architecture_read(text, strlen(text), *state, &a, &err));
			assert_false(a.heads.known);
			assert_int_equal(architecture_estimate_bytes(&a), 0);
		}
}

static void
reads_the_models_kinds(void **state)
{
	struct architecture a;
	struct error err = { 0 };
	const char *text;

	load(*state, "autoglm-phone-9b", &a);
	assert_string_equal(a.class, "Glm4vForConditionalGeneration");
	assert_string_equal(a.model_type, "glm4v");
	assert_string_equal(a.text_type, "glm4v_text");
	assert_string_equal(a.dtype, "bfloat16");
	assert_int_equal(a.dtype_bytes, 2);
	assert_true(a.vision && number(a.vision_data_mode) == 1 && a.pipeline.known && a.pipeline.value == 1 && a.known_type);
	assert_int_equal(a.vision_mlp.value, 4096);
	assert_int_equal(a.vision_out.value, 13696);
	assert_int_equal(a.missing.count, 0);

	load(*state, "deepseek-v3", &a);
	assert_true(a.mla && a.moe);
	assert_int_equal(a.head_dim.value, 576);
	assert_int_equal(a.dense_layers.value, 3);
	assert_int_equal(a.shared_intermediate.value, 2048);

	load(*state, "qwen3-30b-a3b", &a);
	assert_true(a.moe && a.dense_layers.known && a.dense_layers.value == 0);
	load(*state, "llama-3-8b", &a);
	assert_int_equal(number(a.pipeline), 1);
	text = "{\"architectures\":[\"BrandNewForCausalLM\"],\"model_type\":\"llama\",\"dtype\":\"bfloat16\"}";
	assert_true(architecture_read(text, strlen(text), *state, &a, &err));
	assert_false(a.pipeline.known || a.vision_data_mode.known);
	assert_string_equal(a.dtype, "bfloat16");
	/* The spelling of Transformers 5, in the text config of a model that sees. */
	text = "{\"model_type\":\"glm4v\",\"text_config\":{\"model_type\":\"glm4v_text\",\"dtype\":\"float16\","
		"\"rope_parameters\":{\"rope_type\":\"default\"},\"max_position_embeddings\":65536}}";
	assert_true(architecture_read(text, strlen(text), *state, &a, &err));
	assert_string_equal(a.dtype, "float16");
	assert_int_equal(a.dtype_bytes, 2);
	assert_int_equal(number(a.max_position), 65536);

	text = "{\"model_type\":\"mamba2\",\"num_heads\":64,\"n_groups\":8,\"hidden_size\":4096}";
	assert_true(architecture_read(text, strlen(text), *state, &a, &err));
	text =
		"{\"model_type\":\"nemotron_h\",\"mamba_num_heads\":128,\"n_groups\":8,\"hybrid_override_pattern\":\"M-M*\"}";
	assert_true(architecture_read(text, strlen(text), *state, &a, &err));
	assert_int_equal(a.mamba_heads.value, 128);
	assert_int_equal(a.mamba_groups.value, 8);
	assert_true(a.linear_layers);
	text = "{\"model_type\":\"llama\",\"auto_map\":{\"AutoModel\":\"x.Y\"},\"torch_dtype\":\"float32\",\"quantization_"
		"config\":{\"quant_method\":\"fp8\","
		"\"weight_block_size\":[128,64]}}";
	assert_true(architecture_read(text, strlen(text), *state, &a, &err));
	assert_true(a.auto_map);
	assert_int_equal(a.quantisation, QUANT_FP8_BLOCK);
	assert_int_equal(a.quant_block_n.value, 128);
	assert_int_equal(a.quant_block_k.value, 64);
	text =
		"{\"model_type\":\"qwen2\",\"quantization_config\":{\"quant_method\":\"awq\",\"bits\":4,\"group_size\":128}}";
	assert_true(architecture_read(text, strlen(text), *state, &a, &err));
	assert_int_equal(a.quantisation, QUANT_AWQ);
	assert_int_equal(a.quant_group.value, 128);
}

static void
stretches_positions(void **state)
{
	static const struct {
		const char *rope;
		int64_t positions;
	} cases[] = {
		{ "\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":4.0}", 131072 },
		{ "\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":2}", 65536 },
		{ "\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8.0}", 32768 },
		{ "\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4.0,\"original_max_position_embeddings\":8192}", 32768 },
		{ "\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":10000}", 32768 },
		{ "\"rope_parameters\":{\"rope_type\":\"linear\",\"factor\":2.0}", 65536 },
		{ "\"rope_scaling\":null", 32768 },
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const char *text =
			arena_printf(*state, "{\"model_type\":\"llama\",\"max_position_embeddings\":32768,%s}", cases[i].rope);
		struct architecture a;
		struct error err = { 0 };

		assert_true(architecture_read(text, strlen(text), *state, &a, &err));
		assert_int_equal(a.max_position.value, cases[i].positions);
	}
}

/* Sizes that are published, and the one that was computed by hand. */
static void
counts_parameters(void **state)
{
	static const struct {
		const char *model;
		double least, most; /* 10^9 parameters */
	} cases[] = {
		{ "autoglm-phone-9b", 10.292777472, 10.292777472 },
		{ "llama-3-8b", 8.03, 8.04 },
		{ "llama-3-70b", 70.5, 70.6 },
		{ "llama-3.2-3b", 3.21, 3.22 },
		{ "qwen2.5-7b", 7.61, 7.62 },
		{ "qwen2.5-0.5b", 0.493, 0.495 },
		{ "qwen3-8b", 8.18, 8.20 },
		{ "qwen3-30b-a3b", 30.5, 30.6 },
		{ "mixtral-8x7b", 46.6, 46.8 },
		{ "deepseek-v3", 670, 672 },
		{ "gemma-2-9b", 9.23, 9.25 },
		{ "gemma-3-27b", 27.0, 27.6 },
		{ "starcoder-15b", 15.4, 15.6 },
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct architecture a;
		double billions;

		load(*state, cases[i].model, &a);
		billions = (double)architecture_estimate_bytes(&a) / 2 / 1e9;
		if (billions < cases[i].least || billions > cases[i].most)
			fail_msg("%s: %.9f", cases[i].model, billions);
	}
}

#define HEADER \
	"{\"__metadata__\":{\"format\":\"pt\"}," \
	"\"model.embed_tokens.weight\":{\"dtype\":\"BF16\",\"shape\":[64,8],\"data_offsets\":[0,1024]}," \
	"\"model.layers.0.self_attn.q_proj.weight\":{\"dtype\":\"BF16\",\"shape\":[8,8],\"data_offsets\":[1024,1152]}," \
	"\"model.layers.0.self_attn.k_proj.weight\":{\"dtype\":\"BF16\",\"shape\":[4,8],\"data_offsets\":[1152,1216]}," \
	"\"model.layers.1.self_attn.v_proj.weight\":{\"dtype\":\"F32\",\"shape\":[4,8],\"data_offsets\":[1216,1344]}," \
	"\"model.layers.1.input_layernorm.weight\":{\"dtype\":\"BF16\",\"shape\":[8],\"data_offsets\":[1344,1360]}," \
	"\"model.layers.2.mtp.weight\":{\"dtype\":\"BF16\",\"shape\":[8],\"data_offsets\":[1360,1376]}," \
	"\"model.visual.blocks.0.mlp.weight\":{\"dtype\":\"BF16\",\"shape\":[16],\"data_offsets\":[1376,1408]}," \
	"\"model.norm.weight\":{\"dtype\":\"BF16\",\"shape\":[8],\"data_offsets\":[1408,1424]}}"

static void
adds_headers(void **state)
{
	static const char config[] =
		"{\"model_type\":\"llama\",\"torch_dtype\":\"bfloat16\",\"num_attention_heads\":2,\"num_key_value_heads\":1,"
		"\"num_hidden_layers\":2,\"hidden_size\":8,\"tie_word_embeddings\":true}";
	static const char head[] = "{\"lm_head.weight\":{\"dtype\":\"BF16\",\"shape\":[64,8],\"data_offsets\":[0,1024]}}";
	struct architecture a;
	struct weights weights;
	struct error err = { 0 };

	assert_true(architecture_read(config, sizeof config - 1, *state, &a, &err));
	assert_true(architecture_add_header(&a, HEADER, sizeof HEADER - 1, 1424, *state, &err));
	/* float32 is loaded in half precision, and the layer behind the last one not at all. */
	assert_int_equal(a.weight_bytes, 1424 - 64 - 16);
	assert_int_equal(a.embedding_bytes, 1024);
	assert_int_equal(a.vision_bytes, 32);
	assert_int_equal(a.kv_bytes, 128);
	assert_int_equal(a.replicated_bytes, 16);
	assert_int_equal(a.layer_bytes[0], 192);
	assert_int_equal(a.layer_bytes[1], 80);
	assert_true(a.tied_embeddings);
	assert_true(architecture_add_header(&a, head, sizeof head - 1, 1024, *state, &err));
	assert_false(a.tied_embeddings);
	weights_of(&a, &weights);
	assert_true(weights.exact);
	assert_int_equal((int)weights.other, 16);
	assert_int_equal((int)weights.total, 1344 + 1024);
}

static void
refuses_broken_headers(void **state)
{
	static const char *const cases[] = {
		"",
		"[]",
		"{\"a\":1}",
		"{\"a\":{\"dtype\":\"BF16\",\"shape\":[2]}}",
		"{\"a\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[0]}}",
		"{\"a\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[4,0]}}",
		"{\"a\":{\"dtype\":\"BF16\",\"shape\":[-2],\"data_offsets\":[0,4]}}",
		"{\"a\":{\"dtype\":\"BF16\",\"shape\":[4294967296,4294967296,16],\"data_offsets\":[0,4]}}",
		"{\"a\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[4,8]}}",
		"{\"a\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[2,6]}}",
		"{\"a\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[6,10]}}",
		"{\"a\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[0,4]}}",
		"{\"a\":{\"dtype\":\"BF16\",\"shape\":[4611686018427387904],\"data_offsets\":[0,10]}}",
		"{\"a\":{\"dtype\":\"F32\",\"shape\":[5],\"data_offsets\":[0,10]}}",
		"{\"a\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,10]}}",
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct architecture a = { 0 };
		struct error err = { 0 };

		assert_false(architecture_add_header(&a, cases[i], strlen(cases[i]), 10, *state, &err));
		assert_int_equal(err.fault, FAULT_PROTOCOL);
		assert_int_equal(a.weight_bytes, 0);
	}
}

static void
reads_lengths(void **state)
{
	static const struct {
		unsigned char bytes[9];
		bool good;
		uint64_t length;
	} cases[] = {
		{ { 8, 1 }, true, 264 },
		{ { 0 }, false, 0 },
		{ "version ", false, 0 },
		{ "<!DOCTYP", false, 0 },
		{ { 0, 0xE1, 0xF5, 0x05 }, true, 100000000 },
		{ { 1, 0xE1, 0xF5, 0x05 }, false, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct error err = { 0 };
		uint64_t length = 0;

		assert_int_equal(safetensors_length(cases[i].bytes, &length, &err), cases[i].good);
		assert_int_equal(length, cases[i].length);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(reads_all_spellings, setup, teardown),
		cmocka_unit_test_setup_teardown(refuses_what_is_no_config, setup, teardown),
		cmocka_unit_test_setup_teardown(bears_wrong_types, setup, teardown),
		cmocka_unit_test_setup_teardown(reads_the_models_kinds, setup, teardown),
		cmocka_unit_test_setup_teardown(stretches_positions, setup, teardown),
		cmocka_unit_test_setup_teardown(counts_parameters, setup, teardown),
		cmocka_unit_test_setup_teardown(adds_headers, setup, teardown),
		cmocka_unit_test_setup_teardown(refuses_broken_headers, setup, teardown),
		cmocka_unit_test(reads_lengths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
