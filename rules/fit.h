/* fit.h - heads, layers, memory -> the shapes that work. Arithmetic only (vllm.md sections 1 and 2); knows no host, no file, no network. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "architecture.h"

struct arena;

struct shape {
	int64_t tensor_parallel;
	int64_t pipeline_parallel;
	int64_t replicas;
};

struct fit_request {
	struct shape shape;
	int64_t gpu_count;            /* that may be used */
	uint64_t gpu_memory;          /* bytes of the smallest; 0: unknown, then memory is not judged */
	double utilization;           /* gpu_memory_utilization */
	int64_t max_model_len;        /* 0: the model's own */
	int64_t max_num_seqs;
	int64_t kv_dtype_bytes;       /* 0: as the weights */
	bool encoder_data_mode;       /* mm_encoder_tp_mode: data */
	int64_t images, videos;       /* limit_mm_per_prompt; -1: not limited */
};

enum fit_verdict { FIT_OK, FIT_TIGHT, FIT_IMPOSSIBLE, FIT_UNKNOWN };

enum fit_rule { /* R0-R10 of vllm.md 1.2, and memory */
	FIT_GPUS, FIT_HEADS, FIT_KV_HEADS, FIT_INTERMEDIATE, FIT_MOE, FIT_VOCAB, FIT_VISION, FIT_MAMBA, FIT_PIPELINE, FIT_MEMORY, FIT_CONTEXT,
	FIT_QUANTISED /* a warning */
};

struct fit_reason {
	enum fit_rule rule;
	const char *text;             /* "32 attention heads do not divide by 3" */
	int64_t value, divisor;
};

struct fit {
	struct shape shape;
	enum fit_verdict verdict;
	struct fit_reason *reasons;   /* every failed condition, the one that vLLM raises first comes first */
	size_t reason_count;
	struct fit_reason *warnings;
	size_t warning_count;
	struct strings missing;       /* keys without which nothing can be said */
	int64_t gpus_needed;
	uint64_t weights_per_gpu;     /* bytes, of the fullest rank; 0: unknown */
	uint64_t kv_per_token;        /* bytes, of the fullest rank */
	uint64_t activations;         /* bytes, an estimate */
	uint64_t budget;              /* bytes: memory x utilisation */
	int64_t max_tokens;           /* that the KV cache would hold; -1: unknown */
};

void fit_judge(const struct architecture *architecture, const struct fit_request *request, struct arena *arena, struct fit *fit);

/* Judge every shape that uses at most `request->gpu_count` GPUs (tensor x pipeline x replicas, powers and small numbers), those that work first: fewest GPUs left idle first. */
void fit_shapes(const struct architecture *architecture, const struct fit_request *request, struct arena *arena, struct fit **fits, size_t *count);

/* "tp 4", "pp 3", "2 x tp 2". */
const char *fit_shape_name(const struct shape *shape, struct arena *arena);

/* Layers of each pipeline stage (vLLM's get_pp_indices): the remainder goes to the stages before the last, from the end. */
void fit_stages(int64_t layers, int64_t stages, int64_t *counts);
