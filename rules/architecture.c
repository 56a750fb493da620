#include "architecture.h"

#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/json.h"
#include "weights.h"

/* Numbers beyond this are no model's: taken as missing, so that arithmetic stays far from its ends. */
#define LARGEST ((int64_t)1 << 31)

#define FIELD(name) offsetof(struct architecture, name)

/* Where a number stands in the text config, under all the names that Transformers maps; the first that is there counts. */
struct field {
	size_t offset;
	const char *names[6];
};

static const struct field text_fields[] = {
	{ FIELD(heads), { "num_attention_heads", "n_head", "n_heads" } },
	{ FIELD(hidden), { "hidden_size", "n_embd", "d_model" } },
	{ FIELD(layers), { "num_hidden_layers", "num_layers", "n_layer", "n_layers" } },
	{ FIELD(intermediate), { "intermediate_size", "ffn_hidden_size", "n_inner", "ffn_dim" } },
	{ FIELD(vocab), { "padded_vocab_size", "vocab_size" } },
	{ FIELD(head_dim), { "head_dim", "hidden_size_per_head" } },
	{ FIELD(kv_heads), { "n_head_kv", "num_kv_heads", "num_key_value_heads", "multi_query_group_num", "attn_config.kv_n_heads" } },
	{ FIELD(experts), { "n_routed_experts", "num_experts", "num_local_experts", "moe_num_experts" } },
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
};

/* How the layers of a family are built, and the defaults of its class where they are known for certain. */
struct family {
	const char *type;
	bool ungated;          /* MLP of two matrices */
	bool four_norms;
	bool qkv_bias;
	bool inner_four_times; /* intermediate_size is 4 x hidden if absent */
	bool tied;             /* unless the config says otherwise */
	bool glm_vision;
	int64_t window_every;  /* all layers but each n-th look back `sliding_window` alone; 0: all of them do */
	int64_t heads, kv_heads, layers, hidden, intermediate, vocab;
};

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

static const char *const mla_types[] = {
	"deepseek_v2", "deepseek_v3", "deepseek_v32", "deepseek_mtp", "kimi_k2", "kimi_linear", "longcat_flash", "pangu_ultra_moe", "pangu_ultra_moe_mtp",
};

/* What is known of vLLM's own classes; a class that is not here is unknown, not refused. */
static const struct {
	const char *class;
	struct known_number pipeline;
	bool data_mode;
	int64_t image_patches, image_tokens, video_tokens, video_steps;
} classes[] = {
	{ "Glm4vForConditionalGeneration", { true, 1 }, true, 14884, 5832, 3721, 8 },
	{ "Glm4vMoeForConditionalGeneration", { false, 0 }, true, 14884, 5832, 3721, 8 },
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

struct config {
	const json_t *top;
	const json_t *text;
	const json_t *vision;
	struct architecture *arch;
	struct arena *arena;
};

static struct known_number
number_at(const json_t *object, const char *path)
{
	int64_t value;

	if (!object || !json_int_at(object, path, &value) || value <= 0 || value > LARGEST)
		return (struct known_number){ 0 };
	return (struct known_number){ .known = true, .value = value };
}

static void
read_fields(const json_t *object, const struct field *fields, size_t count, struct architecture *arch)
{
	for (size_t i = 0; i < count; i++) {
		struct known_number *into = (struct known_number *)(void *)((char *)arch + fields[i].offset);

		for (size_t n = 0; n < sizeof fields[i].names / sizeof *fields[i].names && fields[i].names[n] && !into->known; n++)
			*into = number_at(object, fields[i].names[n]);
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

static bool
is_true(const json_t *object, const char *path)
{
	return json_is_true(json_at(object, path));
}

static const struct family *
family_of(const char *type)
{
	for (size_t i = 0; i < sizeof families / sizeof *families; i++)
		if (strcmp(families[i].type, type) == 0)
			return &families[i];
	return NULL;
}

static void
default_to(struct known_number *number, int64_t value)
{
	if (!number->known && value > 0)
		*number = (struct known_number){ .known = true, .value = value };
}

/* nemotron-nas: each block has its own number of heads in a group; vLLM takes the first that has attention. */
static void
read_kv_heads(const struct config *config)
{
	struct architecture *arch = config->arch;
	const json_t *blocks = json_at(config->text, "block_configs"), *block;
	bool new_falcon = is_true(config->text, "new_decoder_architecture");
	size_t i;

	if (is_true(config->text, "multi_query") && !new_falcon && (strcmp(arch->text_type, "falcon") == 0 || strcmp(arch->text_type, "gpt_bigcode") == 0))
		arch->kv_heads = (struct known_number){ .known = true, .value = 1 };
	json_array_foreach (blocks, i, block) {
		struct known_number group = number_at(block, "attention.n_heads_in_group");

		if (group.known && arch->heads.known) {
			arch->kv_heads = (struct known_number){ .known = arch->heads.value >= group.value, .value = arch->heads.value / group.value };
			break;
		}
	}
	if (arch->heads.known)
		default_to(&arch->kv_heads, arch->heads.value);
}

/* Layers with a plain MLP in a model of experts. */
static void
read_dense_layers(const struct config *config)
{
	struct architecture *arch = config->arch;
	const json_t *only = json_at(config->text, "mlp_only_layers");
	struct known_number step = number_at(config->text, "decoder_sparse_step");
	int64_t dense;

	if (json_int_at(config->text, "first_k_dense_replace", &dense)) {
		arch->dense_layers = (struct known_number){ .known = dense >= 0 && dense <= arch->layers.value, .value = dense };
	} else if (step.known && step.value > 1) {
		arch->dense_layers = (struct known_number){ .known = arch->layers.known, .value = arch->layers.value - arch->layers.value / step.value };
	} else if (json_is_array(only)) {
		dense = (int64_t)json_array_size(only);
		arch->dense_layers = (struct known_number){ .known = dense <= arch->layers.value, .value = dense };
	}
}

static void
read_experts(const struct config *config)
{
	struct architecture *arch = config->arch;
	struct known_number shared = number_at(config->text, "n_shared_experts");

	arch->moe = arch->experts.known && arch->experts.value > 1;
	if (!arch->moe)
		return;
	if (shared.known && arch->moe_intermediate.known && shared.value <= LARGEST / arch->moe_intermediate.value)
		default_to(&arch->shared_intermediate, shared.value * arch->moe_intermediate.value);
	read_dense_layers(config);
}

/* Which layers keep all tokens, which a window of them, and whether some keep no tokens at all. */
static void
read_layer_types(const struct config *config, const json_t *types)
{
	struct architecture *arch = config->arch;
	const json_t *type;
	int64_t near = 0;
	size_t i;

	json_array_foreach (types, i, type) {
		const char *name = json_string_value(type);

		if (!name || (strcmp(name, "full_attention") != 0 && strcmp(name, "attention") != 0 && strcmp(name, "sliding_attention") != 0 &&
			strcmp(name, "chunked_attention") != 0))
			arch->linear_layers = true;
		else if (strcmp(name, "sliding_attention") == 0 || strcmp(name, "chunked_attention") == 0)
			near++;
	}
	if (!arch->layers.known || near > arch->layers.value)
		return;
	arch->window_layers = (struct known_number){ .known = true, .value = near };
}

static void
read_window(const struct config *config, const struct family *family)
{
	static const char *const hybrid[] = { "hybrid_override_pattern", "layers_block_type", "attn_layer_indices", "full_attention_interval",
		"linear_attn_config", "attn_layer_period", "attn_type_list" };
	struct architecture *arch = config->arch;
	const json_t *types = json_at(config->text, "layer_types");
	struct known_number every = number_at(config->text, "sliding_window_pattern"), from = number_at(config->text, "max_window_layers");
	int64_t layers = arch->layers.value;

	for (size_t i = 0; i < sizeof hybrid / sizeof *hybrid; i++)
		if (json_at(config->text, hybrid[i]))
			arch->linear_layers = true;
	if (json_is_false(json_at(config->text, "use_sliding_window"))) {
		arch->window = (struct known_number){ 0 };
		return;
	}
	if (json_is_array(types)) {
		read_layer_types(config, types);
		return;
	}
	if (!arch->window.known || !arch->layers.known)
		return;
	if (!every.known && family && family->window_every)
		every = (struct known_number){ .known = true, .value = family->window_every };
	if (every.known)
		layers -= layers / every.value;
	else if (from.known && is_true(config->text, "use_sliding_window"))
		layers = from.value < layers ? layers - from.value : 0;
	arch->window_layers = (struct known_number){ .known = true, .value = layers };
}

/* The longest context that vLLM accepts: the smallest of the keys, stretched by rope scaling. */
static void
read_positions(const struct config *config)
{
	static const char *const keys[] = { "max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "model_max_length",
		"max_target_positions", "max_sequence_length", "max_seq_length", "seq_len" };
	struct known_number *most = &config->arch->max_position;
	const json_t *rope = json_at(config->text, "rope_scaling"), *factor;
	const char *type;
	struct known_number original;

	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
		struct known_number found = number_at(config->text, keys[i]);

		if (found.known && (!most->known || found.value < most->value))
			*most = found;
	}
	if (!json_is_object(rope))
		rope = json_at(config->text, "rope_parameters");
	factor = rope ? json_at(rope, "factor") : NULL;
	if (!most->known || !json_is_number(factor) || json_number_value(factor) <= 1 || strncmp(config->arch->text_type, "gemma3", 6) == 0)
		return;
	type = json_string_at(rope, "rope_type");
	if (!type)
		type = json_string_at(rope, "type");
	if (!type || strcmp(type, "su") == 0 || strcmp(type, "longrope") == 0 || strcmp(type, "llama3") == 0)
		return;
	original = number_at(rope, "original_max_position_embeddings");
	if (strcmp(type, "yarn") == 0 && original.known)
		*most = original;
	if (json_number_value(factor) < (double)LARGEST / (double)most->value)
		most->value = (int64_t)((double)most->value * json_number_value(factor));
}

static void
read_mamba(const struct config *config)
{
	struct architecture *arch = config->arch;
	struct known_number expand = number_at(config->text, "expand");

	if (strcmp(arch->text_type, "mamba2") == 0)
		arch->mamba_heads = number_at(config->text, "num_heads");
	if (arch->mamba_heads.known && !arch->mamba_groups.known)
		arch->mamba_groups = number_at(config->text, "n_groups");
	if (strcmp(arch->text_type, "mamba") == 0)
		arch->mamba_intermediate = arch->intermediate;
	if (strcmp(arch->text_type, "jamba") == 0)
		expand = number_at(config->text, "mamba_expand");
	if ((strcmp(arch->text_type, "mamba") == 0 || strcmp(arch->text_type, "jamba") == 0) && expand.known && arch->hidden.known &&
		expand.value <= LARGEST / arch->hidden.value)
		default_to(&arch->mamba_intermediate, expand.value * arch->hidden.value);
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
	if (!arch->vision_mlp.known && ratio.known && arch->vision_hidden.known && ratio.value <= LARGEST / arch->vision_hidden.value)
		default_to(&arch->vision_mlp, ratio.value * arch->vision_hidden.value);
	if (image.known && arch->vision_patch.known && image.value >= arch->vision_patch.value && image.value / arch->vision_patch.value < 46341)
		default_to(&arch->vision_positions, (image.value / arch->vision_patch.value) * (image.value / arch->vision_patch.value));
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

	arch->class = name ? arena_copy(config->arena, name) : "";
	for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
		if (strcmp(classes[i].class, arch->class) == 0) {
			arch->pipeline = classes[i].pipeline;
			arch->vision_data_mode = classes[i].data_mode;
			default_to(&arch->image_patches, classes[i].image_patches);
			default_to(&arch->image_tokens, classes[i].image_tokens);
			default_to(&arch->video_tokens, classes[i].video_tokens);
			default_to(&arch->video_steps, classes[i].video_steps);
		}
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
	default_to(&arch->heads, family->heads);
	default_to(&arch->kv_heads, family->kv_heads);
	default_to(&arch->layers, family->layers);
	default_to(&arch->hidden, family->hidden);
	default_to(&arch->intermediate, family->intermediate);
	default_to(&arch->vocab, family->vocab);
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
	static const char *const text_paths[] = { "text_config", "llm_config", "language_config", "thinker_config.text_config", NULL };
	static const char *const vision_paths[] = { "vision_config", "visual", "vit_config", "thinker_config.vision_config", NULL };
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
	read_experts(config);
	read_window(config, family);
	read_mamba(config);
	read_positions(config);
	read_dtype(config);
	read_quantisation(config);
	read_vision(config, outer ? outer : family);
	arch->tied_embeddings = tied(config, family);
	note_missing(arch, config->arena);
}

bool
architecture_read(const char *text, size_t size, struct arena *arena, struct architecture *architecture, struct error *err)
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
	return (uint64_t)weights.total;
}
