#include "preflight.h"

#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/digest.h"
#include "engine/base/file.h"
#include "engine/base/json.h"
#include "engine/task.h"
#include "oneshot.h"
#include "rules.h"

#define LARGEST_COUNT 1024
#define LONGEST_CONTEXT 1000000000

const char *const preflight_dtypes[] = { "auto", "bfloat16", "float16", "half", "float32", "float", NULL };
static const int64_t dtype_bytes[] = { 0, 2, 2, 2, 4, 4 };

const char *const preflight_kv_dtypes[] = { "auto", "bfloat16", "fp8", "fp8_e4m3", "fp8_e5m2", "fp8_inc", NULL };
static const int64_t kv_dtype_bytes[] = { 0, 2, 1, 1, 1, 1 };

static const char *const encoder_modes[] = { "weights", "data", NULL };
enum { ENCODER_DATA = 1 };

static const char *const tight_words[] = { "warn", "fail", NULL };

#define AT(field) offsetof(struct preflight, field)

static const struct param params[] = {
	{ "model", PARAM_STRING, AT(model), .required = true, .about = "a model source or a directory; only config.json and headers are read" },
	{ "gpus", PARAM_JSON, AT(gpus), .about = "as in `service`; all that are not reserved if absent" },
	{ "gpu_memory", PARAM_SIZE, AT(gpu_memory), .about = "of each GPU, for a machine that is not this one", .least = 1, .most = INT64_MAX },
	{ "gpu_count", PARAM_INT, AT(gpu_count), .about = "for a machine that is not this one", .least = 1, .most = LARGEST_COUNT },
	{ "tensor_parallel", PARAM_INT, AT(shape.tensor_parallel), .fallback = "1", .about = "GPUs that each layer is cut over", .least = 1,
		.most = LARGEST_COUNT },
	{ "pipeline_parallel", PARAM_INT, AT(shape.pipeline_parallel), .fallback = "1", .about = "stages that the layers are dealt to", .least = 1,
		.most = LARGEST_COUNT },
	{ "replicas", PARAM_INT, AT(shape.replicas), .fallback = "1", .about = "instances side by side", .least = 1, .most = LARGEST_COUNT },
	{ "max_model_len", PARAM_INT, AT(max_model_len), .about = "tokens of the longest request; the model's own if absent", .least = 1,
		.most = LONGEST_CONTEXT },
	{ "max_num_seqs", PARAM_INT, AT(max_num_seqs), .about = "requests at once; vLLM's 256 if absent", .least = 1, .most = LONGEST_CONTEXT },
	{ "gpu_memory_utilization", PARAM_FLOAT, AT(utilization), .fallback = "0.9", .about = "part of each GPU that vLLM may take" },
	{ "dtype", PARAM_ENUM, AT(dtype), .fallback = "auto", .choices = preflight_dtypes, .about = "type that the weights are loaded in" },
	{ "kv_cache_dtype", PARAM_ENUM, AT(kv_cache_dtype), .fallback = "auto", .choices = preflight_kv_dtypes, .about = "type of the KV cache" },
	{ "mm_encoder_tp_mode", PARAM_ENUM, AT(encoder_mode), .fallback = "weights", .choices = encoder_modes,
		.about = "`data`: the vision encoder whole on each GPU, where the model's class can" },
	{ "limit_mm_per_prompt", PARAM_JSON, AT(limits), .about = "{image: 10, video: 0}" },
	{ "tight", PARAM_ENUM, AT(tight), .fallback = "warn", .choices = tight_words, .about = "memory that fits with less than 10 % to spare: `warn` or `fail`" },
	{ "in_image", PARAM_STRING, AT(in_image), .about = "image whose own transformers is asked too, at apply; use the name of a tag, or `${image.ref}`" },
	{ "endpoint", PARAM_STRING, AT(endpoint), .unhashed = true, .about = "base URL of the hub" },
	{ "token", PARAM_SECRET, AT(token), .unhashed = true, .about = "for a model that is not public" },
	{ 0 },
};

static const struct output outputs[] = {
	{ "shape", "\"tp 4\", \"pp 3\", \"2 x tp 2\"", NULL },
	{ "gpus_needed", "tensor parallel x pipeline parallel x replicas", NULL },
	{ "weights_per_gpu", "bytes, on the fullest GPU", NULL },
	{ "kv_per_token", "bytes of KV cache per token, on the fullest GPU", NULL },
	{ "max_tokens", "tokens that the KV cache would hold", NULL },
	{ "verdict", "feasible, tight, unknown, or unasked if the hub could not be reached", NULL },
	{ 0 },
};

void
preflight_load_as(int dtype, struct architecture *architecture)
{
	if (dtype_bytes[dtype])
		architecture->dtype_bytes = dtype_bytes[dtype];
}

int64_t
preflight_kv_bytes(int kv_cache_dtype)
{
	return kv_dtype_bytes[kv_cache_dtype];
}

/* A number, or {count: N}. */
static bool
read_limit(const json_t *limits, const char *modality, int64_t *limit)
{
	const json_t *value = json_object_get(limits, modality);

	if (json_is_object(value))
		value = json_object_get(value, "count");
	if (!value)
		return true;
	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return false;
	*limit = json_integer_value(value);
	return true;
}

bool
preflight_limits(const char *json, struct fit_request *request, struct error *err)
{
	json_t *limits finally(json_release) = NULL;

	request->images = request->videos = -1;
	if (!json)
		return true;
	if (!json_parse(json, strlen(json), "limit_mm_per_prompt", &limits, err))
		return false;
	if (json_is_object(limits) && read_limit(limits, "image", &request->images) &&
		read_limit(limits, "video", &request->videos))
		return true;
	fail(err, FAULT_BAD_VALUE, "`limit_mm_per_prompt`: not a map of counts");
	return error_hint(err, "write {image: 10, video: 0}");
}

bool
preflight_request(const struct preflight *spec, const struct site *site, struct fit_request *request, struct error *err)
{
	int64_t needed = spec->shape.tensor_parallel * spec->shape.pipeline_parallel * spec->shape.replicas;

	*request = (struct fit_request){
		.shape = spec->shape,
		.gpu_count = site->count ? site->count : needed,
		.gpu_memory = site->memory,
		.utilization = spec->utilization,
		.max_model_len = spec->max_model_len,
		.max_num_seqs = spec->max_num_seqs,
		.kv_dtype_bytes = preflight_kv_bytes(spec->kv_cache_dtype),
		.encoder_data_mode = spec->encoder_mode == ENCODER_DATA,
	};
	return preflight_limits(spec->limits, request, err);
}

static void
complain(struct task *task, const char *param, struct error *err, struct errors *errors)
{
	err->at = task_place(task, param);
	errors_add(errors, err);
}

static void
preflight_validate(const void *spec, struct task *task, struct errors *errors)
{
	const struct preflight *preflight = spec;
	struct hub_source source;
	struct gpuset set;
	struct fit_request request;
	struct error err = { 0 };

	if (!task_is_pending(task, "gpus") && !gpuset_parse(preflight->gpus, task_arena(task), &set, &err))
		complain(task, "gpus", &err, errors);
	if (!task_is_pending(task, "limit_mm_per_prompt") && !preflight_limits(preflight->limits, &request, &err))
		complain(task, "limit_mm_per_prompt", &err, errors);
	if (!task_is_pending(task, "model") && preflight->model &&
		!hub_parse(preflight->model, preflight->endpoint, task_workdir(task), task_arena(task), &source, &err))
		complain(task, "model", &err, errors);
	if (!task_is_pending(task, "gpu_memory_utilization") &&
		!(preflight->utilization > 0 && preflight->utilization <= 1)) {
		fail(
			&err, FAULT_BAD_VALUE, "`gpu_memory_utilization`: %g is not above 0 and at most 1", preflight->utilization);
		complain(task, "gpu_memory_utilization", &err, errors);
	}
	if (preflight->in_image && !*preflight->in_image) {
		fail(&err, FAULT_BAD_VALUE, "`in_image` is empty");
		complain(task, "in_image", &err, errors);
	}
	if (preflight->gpu_count && preflight->gpus) {
		fail(&err, FAULT_CONFLICT, "`gpu_count` and `gpus` exclude each other");
		complain(task, "gpu_count", &err, errors);
	}
}

static bool
look_at_site(const struct preflight *spec, struct task *task, struct site *site, struct error *err)
{
	struct site_question question = { .gpus = spec->gpus, .gpu_memory = spec->gpu_memory, .gpu_count = spec->gpu_count };

	question.reserved = task_reserved_gpus(task, &question.reserved_count, &question.purpose);
	return site_read(&question, task_arena(task), site, err);
}

static bool
open_model(const struct preflight *spec, struct task *task, struct model *model, struct error *err)
{
	struct arena *arena = task_arena(task);
	struct digest digest;
	/* A plan that cannot ask says so at once; a run has patience. */
	struct model_question question = {
		.source = spec->model,
		.endpoint = spec->endpoint,
		.token = spec->token,
		.base = task_workdir(task),
		.offline = task_offline(task),
		.tries = task_planning(task) ? 1 : 0,
		.cancel = task_cancel(task),
	};

	if (!model_open(model, &question, arena, err))
		return false;
	digest_of(model->config, strlen(model->config), &digest);
	task_material(task, arena_printf(arena, "%s/config.json", hub_source_name(&model->source, arena)),
		digest_text(arena, &digest));
	return true;
}

/* config.json of a directory on this machine: its bytes are an ingredient, if they are there yet. */
static const char *
local_config(const struct preflight *spec, struct task *task)
{
	struct hub_source source;
	struct error ignored = { 0 };

	if (!hub_parse(spec->model, spec->endpoint, task_workdir(task), task_arena(task), &source, &ignored) ||
		(source.kind != HUB_LOCAL && source.kind != HUB_FILE))
		return NULL;
	return path_join(task_arena(task), source.base, "config.json");
}

static bool
preflight_ingredients(const void *spec, struct task *task, struct error *err)
{
	const struct preflight *preflight = spec;
	const char *config = local_config(spec, task);
	struct error ignored = { 0 };
	struct digest digest;
	struct site site;

	if (!look_at_site(spec, task, &site, err))
		return false;
	task_ingredient(task, INGREDIENT_FACT, "fact:gpus", site.fact, NULL, NULL);
	/* A file that is missing is inspect's to complain about, or another target's to make. */
	if (config && !task_is_made_later(task, config) && task_digest(task, config, &digest, NULL, &ignored))
		task_ingredient(
			task, INGREDIENT_FILE, "file:config.json", digest_text(task_arena(task), &digest), NULL, config);
	return !preflight->in_image || oneshot_ingredient(task, "auto", preflight->in_image, err);
}

/* Causes that say nothing of the model or the shape: the run goes on without a verdict. */
static bool
is_unreachable(enum fault fault)
{
	static const enum fault faults[] = { FAULT_NETWORK, FAULT_RATE_LIMIT, FAULT_OFFLINE, FAULT_HUB_DENIED,
		FAULT_HUB_UNREACHABLE };

	for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
		if (faults[i] == fault)
			return true;
	return false;
}

static bool
is_refuted_without_memory(const struct fit *fit)
{
	for (size_t i = 0; i < fit->reason_count; i++)
		if (fit->reasons[i].rule != FIT_MEMORY)
			return true;
	return false;
}

/* config.json first; tensors only where it does not settle the matter. */
static bool
answer(const struct preflight *spec, const struct site *site, struct model *model, struct task *task,
	const char **summary, struct error *err)
{
	struct fit_request request;
	struct fit fit;

	if (!preflight_request(spec, site, &request, err))
		return false;
	preflight_load_as(spec->dtype, &model->architecture);
	fit_judge(&model->architecture, &request, task_arena(task), &fit);
	if (!is_refuted_without_memory(&fit)) {
		model_measure(model, task_arena(task));
		fit_judge(&model->architecture, &request, task_arena(task), &fit);
	}
	*summary = report_answer(&(struct answer){ .spec = spec, .site = site, .model = model, .request = &request, .fit = &fit }, task);
	return true;
}

static bool
judge(const struct preflight *spec, bool with_image, struct task *task, bool *read, const char **summary, struct error *err)
{
	struct model model finally(model_close) = { 0 };
	struct site site;

	if (!look_at_site(spec, task, &site, err))
		return false;
	if (site.refusal.fault) {
		site.refusal.at = task_place(task, "gpus");
		findings_add_error(task_findings(task), &site.refusal);
	}
	*read = open_model(spec, task, &model, err);
	if (*read) {
		if (!answer(spec, &site, &model, task, summary, err))
			return false;
		return !with_image || findings_refuse(task_findings(task)) || preflight_ask_image(spec, &model, task, err);
	}
	if (err->fault == FAULT_INTERRUPTED)
		return false;
	err->at = task_place(task, "model");
	if (is_unreachable(err->fault)) {
		*summary = report_unasked(spec, task, err);
	} else {
		findings_add_error(task_findings(task), err);
		*summary = "config.json cannot be read";
	}
	*err = (struct error){ 0 };
	return true;
}

/* A verdict that was recorded for the same question stands, without network; one that could not be asked for is asked for again. */
static bool
stands(const struct task *task)
{
	const struct record *record = task_record(task);
	const char *verdict = record ? pairs_get(&record->outputs, "verdict") : NULL;

	return verdict && !task_refresh(task) && (strcmp(verdict, "unasked") != 0 || task_offline(task));
}

static bool
preflight_inspect(const void *spec, struct task *task, struct look *look, struct error *err)
{
	const struct preflight *preflight = spec;
	const char *config = local_config(spec, task), *summary;
	bool read;

	if (stands(task)) {
		*look = (struct look){ .state = STATE_FRESH, .summary = task_record(task)->summary };
		return true;
	}
	if (config && task_is_made_later(task, config)) {
		*look = (struct look){ .state = STATE_ABSENT, .reason = REASON_OUTPUT_MISSING, .what = "config.json is not there yet" };
		return true;
	}
	if (!judge(spec, false, task, &read, &summary, err))
		return false;
	*look = (struct look){ .state = STATE_FRESH, .judged = true, .summary = summary };
	if (preflight->in_image && read && !findings_refuse(task_findings(task))) {
		/* The image has the last word, and is asked by build. */
		look->judged = false;
		look->state = STATE_DRIFTED;
		look->what = arena_printf(task_arena(task), "image `%s` is to be asked", preflight->in_image);
	}
	return true;
}

static bool
preflight_estimate(const void *spec, struct task *task, struct cost *cost, struct error *err)
{
	const struct preflight *preflight = spec;

	(void)err;
	if (preflight->in_image)
		cost->lines[0] = arena_printf(task_arena(task), "asks the transformers of image %s", preflight->in_image);
	return true;
}

static bool
preflight_build(const void *spec, struct task *task, struct error *err)
{
	const struct preflight *preflight = spec;
	const char *summary;
	bool read;

	if (!judge(preflight, preflight->in_image != NULL, task, &read, &summary, err))
		return false;
	task_summary(task, "%s", summary);
	return true;
}

const struct rule preflight_rule = {
	.name = "preflight",
	.about = "verdict: can this model run in this shape on these GPUs",
	.version = 1,
	.check = true,
	.params = params,
	.size = sizeof(struct preflight),
	.outputs = outputs,
	.validate = preflight_validate,
	.ingredients = preflight_ingredients,
	.inspect = preflight_inspect,
	.estimate = preflight_estimate,
	.build = preflight_build,
	.sweep = oneshot_sweep,
};
