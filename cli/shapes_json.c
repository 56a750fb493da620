#include "shapes.h"

#include "engine/base/arena.h"
#include "rules/preflight_report.h"
#include "rules/weights.h"

static json_t *
reasons_json(const struct fit_reason *reasons, size_t count)
{
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++)
		json_array_append_new(list,
			json_pack("{s:s, s:s, s:I, s:I}", "rule", report_kind(reasons[i].rule)->word, "text", reasons[i].text, "value",
				(json_int_t)reasons[i].value, "divisor", (json_int_t)reasons[i].divisor));
	return list;
}

/* What is not known is null. */
static json_t *
known(bool is, int64_t value)
{
	return is ? json_integer(value) : json_null();
}

static json_t *
fit_json(const struct fit *fit, struct arena *arena)
{
	json_t *missing = json_array();
	bool measured = shapes_is_measured(fit);

	for (size_t i = 0; i < fit->missing.count; i++)
		json_array_append_new(missing, json_string(fit->missing.items[i]));
	return json_pack("{s:s, s:I, s:I, s:I, s:I, s:s, s:o, s:o, s:o, s:I, s:s, s:o, s:b, s:o, s:o, s:o, s:o, s:o, s:o}",
		"shape", fit_shape_name(&fit->shape, arena), "tensor_parallel", (json_int_t)fit->shape.tensor_parallel,
		"pipeline_parallel", (json_int_t)fit->shape.pipeline_parallel, "replicas", (json_int_t)fit->shape.replicas, "gpus",
		(json_int_t)fit->gpus_needed, "verdict", fit_verdict_name(fit->verdict),
		"reasons", reasons_json(fit->reasons, fit->reason_count), "warnings", reasons_json(fit->warnings, fit->warning_count),
		"missing", missing, "gives_up", (json_int_t)fit->gives_up, "mm_encoder_tp_mode", fit->encoder_data ? "data" : "weights",
		"weights_per_gpu", known(fit->weights_per_gpu > 0, (int64_t)fit->weights_per_gpu), "weights_exact", (int)fit->weights_exact,
		"kv_per_token", known(fit->kv_per_token > 0, (int64_t)fit->kv_per_token),
		"activations_estimate", known(fit->activations > 0, (int64_t)fit->activations),
		"budget", known(fit->budget > 0, (int64_t)fit->budget), "max_tokens", known(measured && fit->max_tokens >= 0, fit->max_tokens),
		"max_model_len", known(measured && fit->max_model_len >= 0, fit->max_model_len),
		"full_length_requests", known(measured && fit->sequences >= 0, fit->sequences));
}

static json_t *
model_json(const struct model *model, struct arena *arena)
{
	const struct architecture *arch = &model->architecture;
	struct weights weights;

	weights_of(arch, &weights);
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:o, s:b, s:s?, s:I}", "source", hub_source_name(&model->source, arena),
		"commit", model->commit, "architecture", arch->class, "model_type", arch->model_type, "dtype", arch->dtype,
		"quantisation", arch->quant_method, "auto_map", (int)arch->auto_map,
		"weights", known(weights.known, weights_whole(weights.total)), "weights_exact", (int)weights.exact,
		"weights_problem", model->headers_problem, "bytes_read", (json_int_t)model->bytes);
}

json_t *
shapes_json(const struct shapes *shapes, struct arena *arena)
{
	const struct site *site = &shapes->site;
	const struct fit_request *request = &shapes->request;
	json_t *list = json_array();

	for (size_t i = 0; i < shapes->count; i++)
		json_array_append_new(list, fit_json(&shapes->fits[i], arena));
	return json_pack("{s:o, s:{s:I, s:I, s:o, s:s, s:s}, s:{s:f, s:o, s:f}, s:o}", "model", model_json(&shapes->model, arena), "gpus",
		"count", (json_int_t)site->count, "machine", (json_int_t)site->machine, "memory", known(site->memory > 0, (int64_t)site->memory),
		"use", site->indices, "kept_free", site->kept_free, "settings", "gpu_memory_utilization", request->utilization,
		"max_model_len", known(request->max_model_len > 0, request->max_model_len), "margin", fit_margin, "shapes", list);
}
