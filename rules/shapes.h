/* shapes.h - every shape of a model on some GPUs, judged: the question of `preflight` without a target, and without asking for one shape.
 *
 * Reads config.json and the headers or the index of the weights, never the weights. Changes nothing. */
#pragma once

#include "preflight.h"

enum shapes_encoder { SHAPES_ENCODER_AUTO, SHAPES_ENCODER_WEIGHTS, SHAPES_ENCODER_DATA };

struct shapes_question {
	struct model_question model;
	const char *gpus;          /* "0-2", "0,1", UUIDs: may be used, the others are to be kept free; NULL: all may */
	int64_t gpu_memory;        /* as in struct site_question */
	int64_t gpu_count;
	int64_t max_model_len;     /* 0: the model's own */
	int64_t max_num_seqs;      /* 0: vLLM's */
	double utilization;
	int dtype;                 /* index of preflight_dtypes */
	int kv_cache_dtype;        /* index of preflight_kv_dtypes */
	int encoder;               /* enum shapes_encoder; AUTO: data where the encoder cannot be cut */
	const char *limits;        /* limit_mm_per_prompt as JSON; NULL: none */
};

struct shapes {
	struct model model;
	struct site site;
	struct fit_request request;
	struct fit *fits;          /* best first */
	size_t count;
};

void shapes_finish(struct shapes *shapes);

/* E0001 if nothing says how many GPUs there are. */
bool shapes_find(const struct shapes_question *question, struct arena *arena, struct shapes *shapes, struct error *err);

/* The longest request without the dummy video of the profile run; 0: none, -1: unknown, or the model has no video. */
int64_t shapes_longest_without_video(const struct shapes *shapes, const struct fit *fit, struct arena *arena);
