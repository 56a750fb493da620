/* budget.h - what one GPU has to hold under a shape, against what vLLM may use of it (vllm.md 2.1-2.4). Pure. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "architecture.h"
#include "fit.h"

struct arena;

/* In bytes. Where stages differ, of the rank where it is worst. */
struct budget {
	bool weights_known;
	bool weights_exact;  /* read from the repository, not computed from config.json */
	bool kv_known;
	bool encoder_known;  /* how large the profile run's worst item is */
	double usable;       /* memory x utilisation; 0: memory unknown */
	double weights;      /* of the fullest rank */
	double per_token;    /* KV cache */
	double activations;  /* peak of the profile run; an estimate */
	double held;         /* weights of the rank where least is left */
	double need;         /* there: KV cache of one request of full length, below which vLLM does not start */
	double tokens;       /* that every rank can keep beside weights and activations */
	double sequences;    /* requests of that length that every rank can keep */
	int64_t context;     /* tokens of that request; 0: unknown */
};

/* `layers`, if known, must not be less than the pipeline stages. */
void budget_make(const struct architecture *architecture, const struct fit_request *request, struct arena *arena, struct budget *budget);

/* Tokens of the longest request that leaves room for itself; 0: none does, -1: unknown. Above what the model bears none is. */
int64_t budget_longest_context(const struct architecture *architecture, const struct fit_request *request, struct arena *arena);

/* Tokens below which the profile run of a model with video fails at start-up (vllm.md F14); 0: none. */
int64_t budget_least_context(const struct architecture *architecture, const struct fit_request *request);
