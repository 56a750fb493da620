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

#define YES { true, 1 }
#define NO { true, 0 }
#define STAGES(class) { .name = class, .pipeline = YES }
#define ENCODER(class, mode) { .name = class, .pipeline = YES, .data_mode = mode }

/* Pipeline parallel as vLLM's list of supported models has it. */
static const struct model_class classes[] = {
	{ "Glm4vForConditionalGeneration", YES, YES, 14884, 5832, 3721, 8 },
	{ "Glm4vMoeForConditionalGeneration", YES, YES, 14884, 5832, 3721, 8 },
	ENCODER("Qwen2VLForConditionalGeneration", YES),
	ENCODER("Qwen2_5_VLForConditionalGeneration", YES),
	ENCODER("Qwen3VLForConditionalGeneration", YES),
	ENCODER("Qwen3VLMoeForConditionalGeneration", YES),
	ENCODER("Gemma3ForConditionalGeneration", NO),
	STAGES("BloomForCausalLM"),
	STAGES("ChatGLMModel"),
	STAGES("ChatGLMForConditionalGeneration"),
	STAGES("CohereForCausalLM"),
	STAGES("Cohere2ForCausalLM"),
	STAGES("DbrxForCausalLM"),
	STAGES("DeciLMForCausalLM"),
	STAGES("DeepseekForCausalLM"),
	STAGES("DeepseekV2ForCausalLM"),
	STAGES("DeepseekV3ForCausalLM"),
	STAGES("DeepseekV32ForCausalLM"),
	STAGES("Ernie4_5ForCausalLM"),
	STAGES("ExaoneForCausalLM"),
	STAGES("FalconForCausalLM"),
	STAGES("GemmaForCausalLM"),
	STAGES("Gemma2ForCausalLM"),
	STAGES("Gemma3ForCausalLM"),
	STAGES("GlmForCausalLM"),
	STAGES("Glm4ForCausalLM"),
	STAGES("Glm4MoeForCausalLM"),
	STAGES("GPT2LMHeadModel"),
	STAGES("GPTJForCausalLM"),
	STAGES("GPTNeoXForCausalLM"),
	STAGES("GptOssForCausalLM"),
	STAGES("GraniteForCausalLM"),
	STAGES("GraniteMoeForCausalLM"),
	STAGES("InternLM2ForCausalLM"),
	STAGES("InternLM3ForCausalLM"),
	STAGES("JambaForCausalLM"),
	STAGES("LlamaForCausalLM"),
	STAGES("MambaForCausalLM"),
	STAGES("Mamba2ForCausalLM"),
	STAGES("MiniCPMForCausalLM"),
	STAGES("MistralForCausalLM"),
	STAGES("MixtralForCausalLM"),
	STAGES("MPTForCausalLM"),
	STAGES("NemotronForCausalLM"),
	STAGES("NemotronHForCausalLM"),
	STAGES("OPTForCausalLM"),
	STAGES("PhiForCausalLM"),
	STAGES("Phi3ForCausalLM"),
	STAGES("PhiMoEForCausalLM"),
	STAGES("Qwen2ForCausalLM"),
	STAGES("Qwen2MoeForCausalLM"),
	STAGES("Qwen3ForCausalLM"),
	STAGES("Qwen3MoeForCausalLM"),
	STAGES("Qwen3NextForCausalLM"),
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
