#include "architecture.h"

#include <string.h>

#include "config.h"
#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "weights.h"

#define FIELD(name) offsetof(struct architecture, name)

/* Where a number stands in the text config, under all the names that Transformers maps; the first that is there counts. */
struct field {
	size_t offset;
	const char *names[7]; /* ends with NULL */
};

static const struct field text_fields[] = {
	{ FIELD(heads), { "num_attention_heads", "n_head", "n_heads" } },
	{ FIELD(hidden), { "hidden_size", "n_embd", "d_model", "n_embed" } },
	{ FIELD(layers), { "num_hidden_layers", "num_layers", "n_layer", "n_layers" } },
	{ FIELD(intermediate), { "intermediate_size", "ffn_hidden_size", "n_inner", "ffn_dim", "ffn_config.ffn_hidden_size" } },
	{ FIELD(vocab), { "padded_vocab_size", "vocab_size" } },
	{ FIELD(head_dim), { "head_dim", "hidden_size_per_head" } },
	{ FIELD(kv_heads), { "n_head_kv", "num_kv_heads", "num_key_value_heads", "multi_query_group_num", "attn_config.kv_n_heads" } },
	{ FIELD(experts), { "n_routed_experts", "num_experts", "num_local_experts", "moe_num_experts", "ffn_config.moe_num_experts" } },
	{ FIELD(moe_intermediate), { "moe_intermediate_size" } },
	{ FIELD(shared_intermediate), { "shared_expert_intermediate_size" } },
	{ FIELD(kv_lora_rank), { "kv_lora_rank" } },
	{ FIELD(q_lora_rank), { "q_lora_rank" } },
	{ FIELD(qk_rope_head_dim), { "qk_rope_head_dim" } },
	{ FIELD(qk_nope_head_dim), { "qk_nope_head_dim" } },
	{ FIELD(v_head_dim), { "v_head_dim" } },
	{ FIELD(window), { "sliding_window" } },
	{ FIELD(mamba_heads),
		{ "mamba_n_heads", "mamba_num_heads", "n_mamba_heads", "linear_num_value_heads", "linear_attn_config.num_heads" } },
	{ FIELD(mamba_groups), { "mamba_n_groups", "mamba_ngroups" } },
};

static const struct field vision_fields[] = {
	{ FIELD(vision_heads), { "num_heads", "num_attention_heads" } },
	{ FIELD(vision_hidden), { "embed_dim", "hidden_size", "width" } },
	{ FIELD(vision_mlp), { "intermediate_size", "mlp_dim" } },
	{ FIELD(vision_depth), { "depth", "num_hidden_layers", "layers" } },
	{ FIELD(vision_patch), { "patch_size" } },
	{ FIELD(vision_positions), { "num_position_embeddings" } },
};

static const char *const mla_types[] = {
	"deepseek_v2", "deepseek_v3", "deepseek_v32", "deepseek_mtp", "kimi_k2", "kimi_linear", "longcat_flash", "pangu_ultra_moe", "pangu_ultra_moe_mtp",
};

/* Bytes of a weight as vLLM loads it: float32 checkpoints are loaded in half precision unless `dtype` says otherwise. */
static const struct {
	const char *name;
	int64_t bytes;
} dtypes[] = { { "bfloat16", 2 }, { "float16", 2 }, { "half", 2 }, { "float32", 2 }, { "float", 2 } };

static const struct {
	const char *method;
	enum quantisation quantisation;
} quantisations[] = { { "awq", QUANT_AWQ }, { "gptq", QUANT_GPTQ } };

static void
read_fields(const json_t *object, const struct field *fields, size_t count, struct architecture *arch)
{
	for (size_t i = 0; i < count; i++) {
		struct known_number *into = (struct known_number *)(void *)((char *)arch + fields[i].offset);

		for (const char *const *name = fields[i].names; *name && !into->known; name++)
			*into = number_at(object, *name);
	}
}

static const json_t *
first_object(const json_t *object, const char *const *paths)
{
	for (; *paths; paths++) {
		const json_t *found = json_at(object, *paths);

		if (json_is_object(found) && json_object_size(found) > 0)
			return found;
	}
	return NULL;
}

static const char *
text_at(const struct config *config, const json_t *object, const char *path)
{
	const char *text = object ? json_string_at(object, path) : NULL;

	return text ? arena_copy(config->arena, text) : "";
}

/* nemotron-nas: each block has its own number of heads in a group; vLLM takes the first that has attention. */
static void
read_kv_heads(const struct config *config)
{
	struct architecture *arch = config->arch;
	const json_t *blocks = json_at(config->text, "block_configs"), *block;
	bool new_falcon = is_true(config->text, "new_decoder_architecture");
	size_t i;

	if (is_true(config->text, "multi_query") && !new_falcon &&
		(strcmp(arch->text_type, "falcon") == 0 || strcmp(arch->text_type, "gpt_bigcode") == 0))
		arch->kv_heads = (struct known_number){ .known = true, .value = 1 };
	json_array_foreach (blocks, i, block) {
		struct known_number group = number_at(block, "attention.n_heads_in_group");

		if (group.known && arch->heads.known) {
			arch->kv_heads = (struct known_number){ .known = arch->heads.value >= group.value,
				.value = arch->heads.value / group.value };
			break;
		}
	}
	if (arch->heads.known)
		default_to(&arch->kv_heads, arch->heads.value);
}

static void
read_dtype(const struct config *config)
{
	static const char *const keys[] = { "dtype", "torch_dtype" };
	const json_t *places[] = { config->top, config->text };
	struct architecture *arch = config->arch;

	arch->dtype = "";
	for (size_t i = 0; i < 4 && !*arch->dtype; i++)
		arch->dtype = text_at(config, places[i / 2], keys[i % 2]);
	if (strncmp(arch->dtype, "torch.", 6) == 0)
		arch->dtype += 6;
	for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
		if (strcmp(arch->dtype, dtypes[i].name) == 0)
			arch->dtype_bytes = dtypes[i].bytes;
}

static void
read_quantisation(const struct config *config)
{
	struct architecture *arch = config->arch;
	const json_t *quant = json_at(config->top, "quantization_config"), *block;

	arch->quant_method = "";
	if (!json_is_object(quant))
		quant = json_at(config->text, "quantization_config");
	if (!json_is_object(quant))
		return;
	arch->quant_method = text_at(config, quant, "quant_method");
	arch->quantisation = QUANT_OTHER;
	for (size_t i = 0; i < sizeof quantisations / sizeof *quantisations; i++)
		if (strcmp(arch->quant_method, quantisations[i].method) == 0)
			arch->quantisation = quantisations[i].quantisation;
	arch->quant_bits = number_at(quant, json_at(quant, "bits") ? "bits" : "w_bit");
	arch->quant_group = number_at(quant, json_at(quant, "group_size") ? "group_size" : "q_group_size");
	block = json_at(quant, "weight_block_size");
	if (json_array_size(block) != 2)
		return;
	arch->quant_block_n = (struct known_number){ true, json_integer_value(json_array_get(block, 0)) };
	arch->quant_block_k = (struct known_number){ true, json_integer_value(json_array_get(block, 1)) };
	arch->quantisation = QUANT_FP8_BLOCK;
}

static void
read_vision(const struct config *config, const struct family *outer)
{
	struct architecture *arch = config->arch;
	struct known_number image = number_at(config->vision, "image_size"), ratio = number_at(config->vision, "mlp_ratio");

	if (!config->vision)
		return;
	arch->vision = true;
	read_fields(config->vision, vision_fields, sizeof vision_fields / sizeof *vision_fields, arch);
	if (!arch->vision_mlp.known && ratio.known && arch->vision_hidden.known &&
		ratio.value <= LARGEST / arch->vision_hidden.value)
		default_to(&arch->vision_mlp, ratio.value * arch->vision_hidden.value);
	if (image.known && arch->vision_patch.known && image.value >= arch->vision_patch.value &&
		image.value / arch->vision_patch.value < 46341)
		default_to(&arch->vision_positions,
			(image.value / arch->vision_patch.value) * (image.value / arch->vision_patch.value));
	arch->vision_merges = outer && outer->vision_merges;
	arch->vision_gated = outer && outer->vision_gated;
	arch->vision_mergers = 1 + (int64_t)json_array_size(json_at(config->vision, "deepstack_visual_indexes"));
	arch->glm_vision = outer && outer->glm_vision;
	if (arch->glm_vision) {
		/* Here intermediate_size is the merger's width, and the blocks are as wide as what they give out. */
		arch->vision_out = arch->vision_mlp;
		arch->vision_mlp = number_at(config->vision, "out_hidden_size");
	}
}

static void
read_class(const struct config *config)
{
	struct architecture *arch = config->arch;
	const json_t *names = json_at(config->top, "architectures");
	const char *name = json_string_value(json_array_get(names, 0));
	const struct model_class *class;

	arch->class = name ? arena_copy(config->arena, name) : "";
	class = class_of(arch->class);
	if (!class)
		return;
	arch->pipeline = class->pipeline;
	arch->vision_data_mode = class->data_mode;
	default_to(&arch->image_patches, class->image_patches);
	default_to(&arch->image_tokens, class->image_tokens);
	default_to(&arch->video_tokens, class->video_tokens);
	default_to(&arch->video_steps, class->video_steps);
}

static void
apply_family(struct architecture *arch, const struct family *family)
{
	if (!family)
		return;
	arch->known_type = true;
	arch->gated = !family->ungated;
	arch->four_norms = family->four_norms;
	arch->qkv_bias = arch->qkv_bias || family->qkv_bias;
	arch->attention_free = family->attention_free;
	arch->whole_vocabulary = family->whole_vocabulary;
	default_to(&arch->heads, family->heads);
	default_to(&arch->kv_heads, family->kv_heads);
	default_to(&arch->layers, family->layers);
	default_to(&arch->hidden, family->hidden);
	default_to(&arch->intermediate, family->intermediate);
	default_to(&arch->vocab, family->vocab);
	default_to(&arch->head_dim, family->head_dim);
	if (family->inner_four_times && arch->hidden.known && arch->hidden.value <= LARGEST / 4)
		default_to(&arch->intermediate, 4 * arch->hidden.value);
}

static bool
is_mla(const struct architecture *arch)
{
	for (size_t i = 0; i < sizeof mla_types / sizeof *mla_types; i++)
		if (arch->kv_lora_rank.known && strcmp(mla_types[i], arch->text_type) == 0)
			return true;
	return false;
}

static void
note_missing(struct architecture *arch, struct arena *arena)
{
	const struct {
		const struct known_number *number;
		const char *key;
	} wanted[] = {
		{ &arch->heads, "num_attention_heads" },
		{ &arch->layers, "num_hidden_layers" },
		{ &arch->hidden, "hidden_size" },
		{ arch->moe && arch->moe_intermediate.known ? &arch->moe_intermediate : &arch->intermediate, "intermediate_size" },
		{ &arch->vocab, "vocab_size" },
	};

	for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
		if (!wanted[i].number->known)
			strings_add(&arch->missing, arena, wanted[i].key);
}

static bool
tied(const struct config *config, const struct family *family)
{
	const json_t *said = json_at(config->text, "tie_word_embeddings");

	if (!json_is_boolean(said))
		said = json_at(config->top, "tie_word_embeddings");
	return json_is_boolean(said) ? json_is_true(said) : family && family->tied;
}

static void
read_config(struct config *config)
{
	static const char *const text_paths[] = { "text_config", "llm_config", "language_config",
		"thinker_config.text_config", NULL };
	static const char *const vision_paths[] = { "vision_config", "visual", "vit_config", "thinker_config.vision_config",
		NULL };
	struct architecture *arch = config->arch;
	const struct family *family, *outer;

	config->text = first_object(config->top, text_paths);
	config->vision = first_object(config->top, vision_paths);
	if (!config->text)
		config->text = config->top;
	arch->model_type = text_at(config, config->top, "model_type");
	arch->text_type = text_at(config, config->text, "model_type");
	if (!*arch->text_type)
		arch->text_type = arch->model_type;
	outer = family_of(arch->model_type);
	family = family_of(arch->text_type);
	arch->auto_map = json_at(config->top, "auto_map") != NULL;
	read_class(config);
	read_fields(config->text, text_fields, sizeof text_fields / sizeof *text_fields, arch);
	arch->qkv_bias = is_true(config->text, "attention_bias");
	apply_family(arch, family);
	arch->mla = is_mla(arch);
	read_kv_heads(config);
	if (arch->heads.known && arch->hidden.known && !arch->mla)
		default_to(&arch->head_dim, arch->hidden.value / arch->heads.value);
	if (arch->mla && arch->qk_rope_head_dim.known)
		arch->head_dim = (struct known_number){ true, arch->kv_lora_rank.value + arch->qk_rope_head_dim.value };
	config_read_layers(config, family);
	read_dtype(config);
	read_quantisation(config);
	read_vision(config, outer ? outer : family);
	arch->audio = json_at(config->top, "audio_config") || json_at(config->top, "thinker_config.audio_config");
	arch->tied_embeddings = tied(config, family);
	note_missing(arch, config->arena);
}

bool
architecture_read(
	const char *text, size_t size, struct arena *arena, struct architecture *architecture, struct error *err)
{
	json_t *json finally(json_release) = NULL;
	struct architecture arch = { 0 };
	struct config config = { .arch = &arch, .arena = arena };

	if (!json_parse(text, size, "config.json", &json, err))
		return false;
	if (!json_is_object(json))
		return fail(err, FAULT_PROTOCOL, "config.json: not a JSON object");
	config.top = json;
	read_config(&config);
	*architecture = arch;
	return true;
}

uint64_t
architecture_estimate_bytes(const struct architecture *architecture)
{
	struct weights weights;

	weights_of_config(architecture, &weights);
	return (uint64_t)weights_whole(weights.total);
}
