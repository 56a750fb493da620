#include "preflight_report.h"

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/json.h"

static const struct report_kind kinds[] = {
	{ FIT_CONTEXT, FAULT_INFEASIBLE, "context", "max_model_len ", "", "max_model_len" },
	{ FIT_HEADS, FAULT_INFEASIBLE, "heads", "", " attention heads", "tensor_parallel" },
	{ FIT_PIPELINE, FAULT_INFEASIBLE, "pipeline", "", " layers", "pipeline_parallel" },
	{ FIT_GPUS, FAULT_TOO_FEW_GPUS, "gpus", "", " GPUs", "gpus" },
	{ FIT_KV_HEADS, FAULT_INFEASIBLE, "kv_heads", "", " KV heads", "tensor_parallel" },
	{ FIT_INTERMEDIATE, FAULT_INFEASIBLE, "intermediate_size", "intermediate_size ", "", "tensor_parallel" },
	{ FIT_MOE, FAULT_INFEASIBLE, "moe_intermediate_size", "moe_intermediate_size ", "", "tensor_parallel" },
	{ FIT_VOCAB, FAULT_INFEASIBLE, "vocabulary", "vocabulary ", "", "tensor_parallel" },
	{ FIT_VISION, FAULT_INFEASIBLE, "vision", "the vision encoder's ", "", "tensor_parallel" },
	{ FIT_MAMBA, FAULT_INFEASIBLE, "mamba", "the state-space layers' ", "", "tensor_parallel" },
	{ FIT_MEMORY, FAULT_MEMORY, "memory", "", "", "tensor_parallel" },
	{ FIT_QUANTISED, FAULT_QUANTISED, "quantisation", "", "", "tensor_parallel" },
};

const struct report_kind *
report_kind(enum fit_rule rule)
{
	size_t i = 0;

	while (i + 1 < sizeof kinds / sizeof *kinds && kinds[i].rule != rule)
		i++;
	return &kinds[i];
}

static bool
works(const struct fit *fit)
{
	return fit->verdict == FIT_OK || fit->verdict == FIT_TIGHT;
}

void
report_try_others(struct report *report)
{
	const struct answer *answer = report->answer;
	struct fit_request request = *answer->request;
	int64_t most = answer->site->machine ? answer->site->machine : SIZES_OFFERED;

	fit_shapes(&answer->model->architecture, &request, report->arena, &report->shapes, &report->shape_count);
	request.gpu_count = most;
	report->sizes = arena_array(report->arena, (size_t)most, sizeof *report->sizes);
	report->size_count = (size_t)most;
	for (int64_t i = 0; i < most; i++) {
		request.shape = (struct layout){ i + 1, 1, 1 };
		fit_judge(&answer->model->architecture, &request, report->arena, &report->sizes[i]);
	}
}

const char *
report_sizes_text(const struct report *report)
{
	const char *text = "";

	for (size_t i = 0; i < report->size_count; i++)
		if (works(&report->sizes[i]))
			text = arena_printf(report->arena, "%s%s%zu%s", text, *text ? ", " : "", i + 1,
				report->sizes[i].verdict == FIT_TIGHT ? " (tight)" : "");
	return text;
}

const char *
report_shapes_text(const struct report *report)
{
	const char *text = "";
	size_t shown = 0;

	for (size_t i = 0; i < report->shape_count && shown < SHAPES_SHOWN; i++) {
		const struct fit *fit = &report->shapes[i];

		if (!works(fit))
			continue;
		text = arena_printf(report->arena, "%s%s%s%s", text, shown ? "; " : "",
			fit_shape_name(&fit->shape, report->arena), fit->verdict == FIT_TIGHT ? " (tight)" : "");
		shown++;
	}
	return text;
}

/* All GPUs that may be used as one instance by stages, where cutting layers alone does not do. */
const struct fit *
report_by_stages(const struct report *report)
{
	for (size_t i = 0; i < report->shape_count; i++) {
		const struct fit *fit = &report->shapes[i];

		if (works(fit) && fit->shape.replicas == 1 && fit->shape.pipeline_parallel > 1 &&
			fit->gpus_needed == report->answer->site->count)
			return fit;
	}
	return NULL;
}

static json_t *
shape_json(const struct fit *fit)
{
	return json_pack("{s:I, s:I, s:I, s:b}", "tp", (json_int_t)fit->shape.tensor_parallel, "pp",
		(json_int_t)fit->shape.pipeline_parallel, "replicas", (json_int_t)fit->shape.replicas, "tight",
		fit->verdict == FIT_TIGHT);
}

const char *
report_data_of(const struct report *report)
{
	json_t *data finally(json_release) = json_object();
	json_t *failed = json_array(), *sizes = json_array(), *shapes = json_array();
	const struct fit *fit = report->fit;

	json_object_set_new(data, "tp", json_integer(fit->shape.tensor_parallel));
	json_object_set_new(data, "pp", json_integer(fit->shape.pipeline_parallel));
	json_object_set_new(data, "replicas", json_integer(fit->shape.replicas));
	for (size_t i = 0; i < fit->reason_count; i++) {
		const struct fit_reason *reason = &fit->reasons[i];

		if (reason->rule == FIT_HEADS)
			json_object_set_new(data, "heads", json_integer(reason->value));
		json_array_append_new(failed,
			json_pack("{s:s, s:I, s:I, s:s}", "rule", report_kind(reason->rule)->word, "value",
				(json_int_t)reason->value, "divisor", (json_int_t)reason->divisor, "text", reason->text));
	}
	for (size_t i = 0; i < report->size_count; i++)
		if (works(&report->sizes[i]))
			json_array_append_new(sizes, json_integer((json_int_t)i + 1));
	for (size_t i = 0; i < report->shape_count; i++)
		if (works(&report->shapes[i]))
			json_array_append_new(shapes, shape_json(&report->shapes[i]));
	json_object_set_new(data, "failed", failed);
	json_object_set_new(data, "sizes", sizes);
	json_object_set_new(data, "shapes", shapes);
	return json_text(report->arena, data, false);
}
