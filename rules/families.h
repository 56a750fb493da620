/* families.h - tables of what is known of model families and of vLLM's classes: the place to teach it another one. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "architecture.h"

/* How the layers of a family are built, and the defaults of its class where they are known for certain. */
struct family {
	const char *type;
	bool ungated;          /* MLP of two matrices */
	bool four_norms;
	bool qkv_bias;
	bool inner_four_times; /* intermediate_size is 4 x hidden if absent */
	bool tied;             /* unless the config says otherwise */
	bool glm_vision;
	bool vision_merges;    /* Qwen's tower: four patches become one token, by two layers, once more for each deep layer that is tapped */
	bool vision_gated;     /* MLP of three matrices in the tower's blocks */
	bool attention_free;   /* state-space layers and nothing else */
	bool whole_vocabulary; /* vLLM's class makes embeddings and output head on every pipeline stage, not at the ends alone */
	int64_t window_every;  /* all layers but each n-th look back `sliding_window` alone; 0: all of them do */
	int64_t heads, kv_heads, layers, hidden, intermediate, vocab, head_dim, positions;
};

/* What is known of vLLM's own class for a model. */
struct model_class {
	const char *name;
	struct known_number pipeline, data_mode; /* 1: supports it, 0: does not */
	int64_t image_patches, image_tokens, video_tokens, video_steps;
};

/* By model_type; NULL: unknown. */
const struct family *family_of(const char *type);

/* By architectures[0]; NULL: unknown, which is no refusal. */
const struct model_class *class_of(const char *name);
