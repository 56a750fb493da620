#include "families.h"

#include <string.h>

static const struct family families[] = {
	{ .type = "llama" },
	{ .type = "mistral" },
	{ .type = "mixtral" },
	{ .type = "qwen2", .qkv_bias = true },
	{ .type = "qwen2_moe", .qkv_bias = true },
	{ .type = "qwen2_vl", .qkv_bias = true },
	{ .type = "qwen2_vl_text", .qkv_bias = true },
	{ .type = "qwen2_5_vl", .qkv_bias = true },
	{ .type = "qwen2_5_vl_text", .qkv_bias = true },
	{ .type = "qwen3" },
	{ .type = "qwen3_moe" },
	{ .type = "phi3" },
	{ .type = "granite" },
	{ .type = "deepseek_v2" },
	{ .type = "deepseek_v3" },
	{ .type = "kimi_k2" },
	{ .type = "gemma", .tied = true },
	{ .type = "gemma2", .four_norms = true, .tied = true, .window_every = 2 },
	{ .type = "gemma3", .four_norms = true, .tied = true, .window_every = 6, .vocab = 262208 },
	{ .type = "gemma3_text", .four_norms = true, .tied = true, .window_every = 6, .vocab = 262208 },
	{ .type = "glm", .qkv_bias = true },
	{ .type = "glm4", .four_norms = true, .qkv_bias = true },
	{ .type = "glm4_moe" },
	{ .type = "glm4v", .four_norms = true, .qkv_bias = true, .glm_vision = true, .heads = 32, .kv_heads = 2, .layers = 40,
		.hidden = 4096, .intermediate = 13696, .vocab = 151552 },
	{ .type = "glm4v_text", .four_norms = true, .qkv_bias = true, .heads = 32, .kv_heads = 2, .layers = 40,
		.hidden = 4096, .intermediate = 13696, .vocab = 151552 },
	{ .type = "glm4v_moe", .glm_vision = true },
	{ .type = "glm4v_moe_text" },
	{ .type = "gpt_bigcode", .ungated = true, .qkv_bias = true, .inner_four_times = true, .tied = true },
};

static const struct model_class classes[] = {
	{ "Glm4vForConditionalGeneration", { true, 1 }, true, 14884, 5832, 3721, 8 },
	{ "Glm4vMoeForConditionalGeneration", { false, 0 }, true, 14884, 5832, 3721, 8 },
};

const struct family *
family_of(const char *type)
{
	for (size_t i = 0; i < sizeof families / sizeof *families; i++)
		if (strcmp(families[i].type, type) == 0)
			return &families[i];
	return NULL;
}

const struct model_class *
class_of(const char *name)
{
	for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
		if (strcmp(classes[i].name, name) == 0)
			return &classes[i];
	return NULL;
}
