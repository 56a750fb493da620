/* fit.h - heads, layers, memory -> the shapes that work. Arithmetic only (vllm.md sections 1 and 2); knows no host, no file, no network. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "architecture.h"

struct arena;

/* How many GPUs are used in which way. */
struct layout {
	int64_t tensor_parallel;
	int64_t pipeline_parallel;
	int64_t replicas;
};

struct fit_request {
	struct layout shape;
	int64_t gpu_count;            /* that may be used */
	int64_t machine;              /* fit_shapes: with those that are to be kept free; 0: none are */
	uint64_t gpu_memory;          /* bytes of the smallest; 0: unknown, then memory is not judged */
	uint64_t machine_memory;      /* fit_shapes: likewise of the whole machine; 0: the same */
	double utilization;           /* gpu_memory_utilization */
	int64_t max_model_len;        /* 0: the model's own */
	int64_t max_num_seqs;
	int64_t kv_dtype_bytes;       /* 0: as the weights */
	bool encoder_data_mode;       /* mm_encoder_tp_mode: data */
	bool encoder_either;          /* fit_shapes: data where the encoder cannot be cut */
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
	struct layout shape;
	enum fit_verdict verdict;
	struct fit_reason *reasons;   /* every failed condition, the one that vLLM raises first comes first */
	size_t reason_count;
	struct fit_reason *warnings;
	size_t warning_count;
	struct strings missing;       /* keys without which nothing can be said */
	int64_t gpus_needed;
	int64_t gives_up;             /* of them, GPUs that were to be kept free */
	bool encoder_data;            /* judged with mm_encoder_tp_mode: data */
	uint64_t weights_per_gpu;     /* bytes, of the fullest rank; 0: unknown */
	uint64_t kv_per_token;        /* bytes, of the fullest rank */
	bool weights_exact;           /* read from the tensors, not computed from config.json */
	uint64_t activations;         /* bytes, an estimate */
	bool activations_partial;     /* the encoder's part of it is not known */
	uint64_t budget;              /* bytes: memory x utilisation */
	int64_t max_tokens;           /* that the KV cache would hold; -1: unknown */
	int64_t max_model_len;        /* the longest request that one could ask for; 0: none, -1: unknown */
	int64_t sequences;            /* of the length asked for that the KV cache would hold; -1: unknown */
};

void fit_judge(const struct architecture *architecture, const struct fit_request *request, struct arena *arena, struct fit *fit);

/* Part of what vLLM may use below which a shape that leaves less is called tight. */
extern const double fit_margin;

/* Judge every shape (tensor x pipeline x replicas) that uses at most `request->machine` GPUs. Those that work come first, among them those that keep free what is to be kept
 * free, then fewest GPUs left idle first. */
void fit_shapes(const struct architecture *architecture, const struct fit_request *request, struct arena *arena, struct fit **fits, size_t *count);

/* "tp 4", "pp 3", "2 x tp 2". */
const char *fit_shape_name(const struct layout *shape, struct arena *arena);

/* "fits", "tight", "impossible", "unknown". */
const char *fit_verdict_name(enum fit_verdict verdict);

/* Layers of each pipeline stage (vLLM's get_pp_indices): the remainder goes to the stages before the last, from the end. */
void fit_stages(int64_t layers, int64_t stages, int64_t *counts);
