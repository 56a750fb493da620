/* preflight.h - can this model run in this shape on these GPUs: the parts that the rule `preflight` is made of.
 *
 * site: the GPUs at hand. model: the numbers of a repository, read from a few kilobytes. report: the answer as findings. image: the same
 * question to the transformers of a container image. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "architecture.h"
#include "client/hub.h"
#include "fit.h"
#include "gpuset.h"

struct task;

struct preflight {
	const char *model;
	const char *endpoint;
	struct secret_ref token;
	const char *gpus;         /* JSON, as in `service`; or NULL */
	int64_t gpu_memory;
	int64_t gpu_count;
	struct layout shape;
	int64_t max_model_len;
	int64_t max_num_seqs;
	double utilization;
	int dtype;
	int kv_cache_dtype;
	int encoder_mode;
	const char *limits;       /* JSON */
	int tight;
	const char *in_image;     /* whose transformers is asked too; or NULL */
};

enum { TIGHT_WARN, TIGHT_FAIL };

/* The GPUs that the question is about. */
struct site {
	int64_t count;            /* that may be used; 0: unknown */
	int64_t machine;          /* in the machine, reserved ones too; 0: unknown */
	uint64_t memory;          /* what a program can get of the smallest, bytes; 0: unknown */
	uint64_t machine_memory;  /* likewise with those that may not be used */
	const char *fact;         /* both, for the fingerprint */
	const char *indices;      /* "0-2"; "" where the machine is not this one */
	const char *kept_free;    /* "3": reserved, or "" */
	const char *unknown;      /* why memory is unknown, or NULL */
	struct error refusal;     /* GPUs that are not there or reserved; FAULT_NONE: none */
};

/* Which of them. */
struct site_question {
	const char *gpus;         /* JSON, as in `service`; NULL: all */
	int64_t gpu_memory;       /* of each GPU of a machine that is not this one; 0: this one's */
	int64_t gpu_count;        /* likewise */
	const int64_t *reserved;  /* indices that may not be used */
	size_t reserved_count;
	const char *purpose;      /* of that; or NULL */
	bool keep_others;         /* those that `gpus` does not name are to be kept free */
};

bool site_read(const struct site_question *question, struct arena *arena, struct site *site, struct error *err);

/* A repository as far as it was read. */
struct model {
	struct hub hub;
	struct hub_source source;
	const char *name;         /* "zai-org/AutoGLM-Phone-9B" */
	const char *commit;       /* or "" */
	const char *config;       /* text of config.json */
	struct architecture architecture;
	uint64_t bytes;           /* read so far */
	bool headers;             /* safetensors headers were read: the weights are exact */
	const char *headers_problem; /* why not, or NULL */
};

/* Where it is, and how to ask for it. */
struct model_question {
	const char *source;
	const char *endpoint;     /* or NULL */
	struct secret_ref token;
	const char *base;         /* directory that a relative path starts at */
	bool offline;
	unsigned tries;           /* 0: as many as a download deserves */
	const atomic_bool *cancel; /* or NULL */
};

void model_close(struct model *model);

/* config.json alone. */
bool model_open(struct model *model, const struct model_question *question, struct arena *arena, struct error *err);

/* Sizes of the tensors. Never fails: what cannot be read stays an estimate, and `headers_problem` says why. */
void model_measure(struct model *model, struct arena *arena);

/* Types that weights and KV cache may be asked for in, and their bytes; the first, `auto`, leaves it to the model. End with NULL. */
extern const char *const preflight_dtypes[], *const preflight_kv_dtypes[];

/* Weights that are loaded as `dtype`, an index of preflight_dtypes; before they are measured. */
void preflight_load_as(int dtype, struct architecture *architecture);

/* Bytes of one value of the KV cache, by an index of preflight_kv_dtypes; 0: as the weights. */
int64_t preflight_kv_bytes(int kv_cache_dtype);

/* The counts of `limit_mm_per_prompt`, a JSON text or NULL. */
bool preflight_limits(const char *json, struct fit_request *request, struct error *err);

/* The question as fit.h asks it. False: `limit_mm_per_prompt` is not understood. */
bool preflight_request(const struct preflight *spec, const struct site *site, struct fit_request *request, struct error *err);

/* The answer. */
struct answer {
	const struct preflight *spec;
	const struct site *site;
	const struct model *model;
	const struct fit_request *request;
	const struct fit *fit;
};

/* Adds findings and outputs; returns the summary. */
const char *report_answer(const struct answer *answer, struct task *task);

/* Put the question to the image's own transformers: in a container without network that sees config.json alone. Adds a finding if it reads other numbers (E0409) or cannot be
 * asked (W0410). Not while planning. */
bool preflight_ask_image(const struct preflight *spec, const struct model *model, struct task *task, struct error *err);

/* The question could not be put to the hub: a warning and the verdict `unasked`. Returns the summary. */
const char *report_unasked(const struct preflight *spec, struct task *task, const struct error *cause);
