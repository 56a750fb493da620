#include "config.h"

#include <string.h>

/* Layers with a plain MLP in a model of experts. */
static void
read_dense_layers(const struct config *config)
{
	struct architecture *arch = config->arch;
	const json_t *only = json_at(config->text, "mlp_only_layers");
	struct known_number step = number_at(config->text, "decoder_sparse_step");
	int64_t dense;

	if (json_int_at(config->text, "first_k_dense_replace", &dense)) {
		arch->dense_layers =
			(struct known_number){ .known = dense >= 0 && dense <= arch->layers.value, .value = dense };
	} else if (step.known && step.value > 1) {
		arch->dense_layers = (struct known_number){ .known = arch->layers.known,
			.value = arch->layers.value - arch->layers.value / step.value };
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

		if (!name ||
			(strcmp(name, "full_attention") != 0 && strcmp(name, "attention") != 0 &&
				strcmp(name, "sliding_attention") != 0 && strcmp(name, "chunked_attention") != 0))
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
	static const char *const hybrid[] = { "hybrid_override_pattern", "layers_block_type", "attn_layer_indices",
		"full_attention_interval", "linear_attn_config", "attn_layer_period", "attn_type_list" };
	struct architecture *arch = config->arch;
	const json_t *types = json_at(config->text, "layer_types");
	struct known_number every = number_at(config->text, "sliding_window_pattern");
	struct known_number from = number_at(config->text, "max_window_layers");
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
read_positions(const struct config *config, const struct family *family)
{
	static const char *const keys[] = { "max_position_embeddings", "n_positions", "max_seq_len", "seq_length",
		"model_max_length", "max_target_positions", "max_sequence_length", "max_seq_length", "seq_len" };
	struct known_number *most = &config->arch->max_position;
	const json_t *rope = json_at(config->text, "rope_scaling"), *factor;
	const char *type;
	struct known_number original;

	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
		struct known_number found = number_at(config->text, keys[i]);

		if (found.known && (!most->known || found.value < most->value))
			*most = found;
	}
	if (family)
		default_to(most, family->positions);
	if (!json_is_object(rope))
		rope = json_at(config->text, "rope_parameters");
	factor = rope ? json_at(rope, "factor") : NULL;
	if (!most->known || !json_is_number(factor) || json_number_value(factor) <= 1 ||
		strncmp(config->arch->text_type, "gemma3", 6) == 0)
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
	if ((strcmp(arch->text_type, "mamba") == 0 || strcmp(arch->text_type, "jamba") == 0) && expand.known &&
		arch->hidden.known && expand.value <= LARGEST / arch->hidden.value)
		default_to(&arch->mamba_intermediate, expand.value * arch->hidden.value);
}

void
config_read_layers(const struct config *config, const struct family *family)
{
	read_experts(config);
	read_window(config, family);
	read_mamba(config);
	read_positions(config, family);
}
