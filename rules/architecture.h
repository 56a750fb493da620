/* architecture.h - config.json and safetensors headers to the numbers that fit.c works on (vllm.md 1.3, model-hubs.md section 9). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"
#include "engine/base/strings.h"

struct arena;

/* A number that config.json may lack: then nothing may be concluded from it. */
struct known_number {
	bool known;
	int64_t value;
};

enum quantisation { QUANT_NONE, QUANT_AWQ, QUANT_GPTQ, QUANT_FP8_BLOCK, QUANT_OTHER };

struct architecture {
	const char *class;         /* architectures[0], "" if absent */
	const char *model_type;    /* of the outermost config */
	const char *text_type;     /* of the text config */
	struct known_number heads, kv_heads, head_dim, layers, hidden, intermediate, vocab, max_position;
	struct known_number window_layers, window; /* layers that keep the last `window` tokens alone; unknown: all layers keep all */
	bool linear_layers;        /* some layers keep a state instead of tokens: the KV cache cannot be told from here */
	struct known_number moe_intermediate, shared_intermediate, experts;
	struct known_number dense_layers; /* of a MoE model: layers with a plain MLP; 0: intermediate_size is not used */
	struct known_number kv_lora_rank, qk_rope_head_dim, qk_nope_head_dim, q_lora_rank, v_head_dim; /* MLA */
	struct known_number mamba_heads, mamba_groups, mamba_intermediate;
	bool mla;
	bool moe;
	bool tied_embeddings;
	bool vision;               /* has an encoder */
	bool audio;                /* has one for sound, whose weights nobody here counts */
	struct known_number vision_heads, vision_hidden, vision_mlp, vision_out, vision_depth;
	struct known_number vision_patch, vision_positions; /* side of a patch, pixels; position embeddings */
	bool glm_vision;           /* the tower of GLM-4.1V: gated MLP, downsampling, gated merger */
	bool vision_merges, vision_gated; /* Qwen's tower, and whether its MLP is gated */
	int64_t vision_mergers;    /* of it */
	struct known_number vision_data_mode; /* 1: the class supports mm-encoder-tp-mode data, 0: it does not; unknown otherwise */
	struct known_number image_patches, image_tokens; /* of the largest dummy image of the profile run */
	struct known_number video_tokens, video_steps; /* of one temporal step of the dummy video; most steps. Unknown: no video */
	bool known_type;           /* a family whose layers are laid out as the rules assume */
	bool gated, four_norms, qkv_bias; /* how the text layers of the family are built */
	bool attention_free;       /* has no heads, and no MLP beside its state-space layers */
	bool whole_vocabulary;     /* embeddings and output head are on every pipeline stage */
	struct known_number pipeline; /* 1: the class supports pipeline parallel, 0: it does not; unknown otherwise */
	int64_t dtype_bytes;       /* of the weights: 2 for bfloat16; 0: unknown */
	const char *dtype;
	enum quantisation quantisation;
	const char *quant_method;
	struct known_number quant_bits, quant_group, quant_block_n, quant_block_k;
	bool auto_map;             /* asks for the repository's own code */
	struct strings missing;    /* keys that a rule needs and that are not there */

	/* From safetensors headers; 0: not read. */
	uint64_t weight_bytes;     /* all tensors */
	uint64_t vision_bytes;     /* tensors of the encoder */
	uint64_t embedding_bytes;  /* embeddings and output head */
	uint64_t replicated_bytes; /* norms, biases of them and the like: on every rank */
	uint64_t kv_bytes;         /* k and v projections */
	uint64_t *layer_bytes;     /* by text layer, or NULL */
};

/* Read config.json. Aliases and both generations of spelling are understood; what is missing is left unknown. E0605 if it is no JSON object. */
bool architecture_read(const char *config, size_t size, struct arena *arena, struct architecture *architecture, struct error *err);

/* Add one safetensors header (the JSON behind the length): E0605 if it is broken or its offsets do not fit `data_size` bytes (UINT64_MAX: not known). */
bool architecture_add_header(struct architecture *architecture, const char *header, size_t size, uint64_t data_size, struct arena *arena, struct error *err);

/* Parameters by the arithmetic of the config alone, when no header was read; 0 if it cannot be said. */
uint64_t architecture_estimate_bytes(const struct architecture *architecture);
