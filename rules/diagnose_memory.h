/* diagnose_memory.h - what vLLM itself says of memory in its log, read back, and the next setting that can work (vllm.md 2.6, 4). Pure. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct arena;

/* GiB where nothing else is said; 0: the log does not tell. */
struct log_numbers {
	double utilization;
	double capacity;       /* of the GPU that ran out */
	double left;           /* free on it then */
	double asked;          /* what was asked for then */
	double at_start;       /* free when vLLM began */
	double needed;         /* KV cache of one request */
	double available;      /* for the KV cache; may be negative */
	int64_t context;       /* tokens of that request */
	int64_t estimate;      /* the longest that vLLM says would fit */
	int64_t sequences;     /* of the sampler's warm-up */
	bool available_told;
	bool loaded;           /* the weights are */
	bool capturing;        /* CUDA graphs, outside the budget */
	bool captured;
	bool video;            /* the profile run used one */
	bool glm_video;        /* a class whose dummy video must have two frames (F14) */
};

void numbers_read(struct log_numbers *numbers, const char *line);

/* A better hint than the table's for the failure `id`, or NULL. */
const char *numbers_advice(const struct log_numbers *numbers, const char *id, struct arena *arena);
