/* weights.h - where the bytes of a model are, and how many of them one rank holds (vllm.md 2.3).
 *
 * Sums of safetensors headers where they were read, else the arithmetic of config.json, scaled to the total where that alone is known. Pure. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "architecture.h"

/* Bytes as real numbers: exact up to 2^53, and nothing can overflow. */
struct weights {
	bool known;
	bool exact;        /* the total was read, not computed from config.json */
	double total;
	double vision;     /* the encoder with its merger */
	double embedding;  /* embeddings and output head */
	double layers;     /* all text layers */
	double kv;         /* of them: k and v projections */
	double replicated; /* of them: what every rank holds whole */
	double other;      /* final norm and the like: on the last stage, whole */
	const uint64_t *layer; /* by text layer, or NULL: all alike */
};

/* One rank of one pipeline stage. */
struct rank {
	int64_t tensor_parallel;
	int64_t kv_heads;    /* of the model; 0: has none to split */
	int64_t first_layer;
	int64_t layer_count;
	bool first_stage;
	bool last_stage;
	bool vision_whole;   /* the encoder is on every rank */
};

void weights_of(const struct architecture *architecture, struct weights *weights);

/* By config.json alone, whatever headers said. */
void weights_of_config(const struct architecture *architecture, struct weights *weights);

double weights_on_rank(const struct architecture *architecture, const struct weights *weights, const struct rank *rank);

/* KV heads that one rank holds: a head is copied rather than cut. */
int64_t weights_kv_heads(int64_t kv_heads, int64_t tensor_parallel);

/* As a whole number; what a broken config makes of it beyond 2^62 is cut off there. */
int64_t weights_whole(double bytes);
