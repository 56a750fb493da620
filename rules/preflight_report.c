#include "preflight_report.h"

#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/units.h"
#include "engine/task.h"

/* "neither do 2 KV heads, intermediate_size 13696 and vocabulary 151552" */
static void
note_others(const struct report *report, struct finding *finding, size_t first)
{
	const struct fit *fit = report->fit;
	const char *text = "", *last = NULL;

	for (size_t i = first + 1; i < fit->reason_count; i++) {
		const struct report_kind *kind = report_kind(fit->reasons[i].rule);

		if (strcmp(kind->param, "tensor_parallel") != 0 || kind->fault != FAULT_INFEASIBLE)
			continue;
		if (last)
			text = arena_printf(report->arena, "%s%s%s", text, *text ? ", " : "", last);
		last = arena_printf(report->arena, "%s%lld%s", kind->noun, (long long)fit->reasons[i].value, kind->behind);
	}
	if (last)
		finding_note(report->findings, finding, "neither do %s%s%s", text, *text ? " and " : "", last);
}

static void
note_source(const struct report *report, struct finding *finding)
{
	const struct model *model = report->answer->model;
	const char *commit = model->commit && *model->commit ? arena_printf(report->arena, " at %.7s", model->commit) : "";

	if (model->headers)
		finding_note(report->findings, finding, "read from config.json and the safetensors headers of %s%s",
			model->name, commit);
	else
		finding_note(report->findings, finding, "read from config.json of %s%s; nothing else was downloaded",
			model->name, commit);
	if (model->headers_problem)
		finding_note(report->findings, finding, "weights are an estimate: %s", model->headers_problem);
	if (report->answer->site->unknown)
		finding_note(report->findings, finding, "memory was not judged: %s", report->answer->site->unknown);
}

static void
help_sizes(const struct report *report, struct finding *finding)
{
	const struct site *site = report->answer->site;
	const struct fit *stages = report_by_stages(report);
	const char *sizes = report_sizes_text(report), *cut = "";

	if (!*sizes)
		finding_help(report->findings, finding, "no tensor parallel size works for this model%s",
			site->machine ? " on this machine" : "");
	else if (site->machine && site->memory)
		finding_help(report->findings, finding, "sizes that divide this model and fit %lld GPUs: %s",
			(long long)site->machine, sizes);
	else
		finding_help(report->findings, finding, "sizes that divide this model: %s", sizes);
	if (!stages)
		return;
	if (stages->shape.tensor_parallel > 1)
		cut = arena_printf(report->arena, "tensor_parallel: %lld, ", (long long)stages->shape.tensor_parallel);
	if (*site->kept_free && *site->indices)
		finding_help(report->findings, finding, "to keep GPU %s free and use GPUs %s: %spipeline_parallel: %lld",
			site->kept_free, site->indices, cut, (long long)stages->shape.pipeline_parallel);
	else
		finding_help(report->findings, finding, "to use all %lld GPUs by stages: %spipeline_parallel: %lld",
			(long long)site->count, cut, (long long)stages->shape.pipeline_parallel);
}

static void
help_shapes(const struct report *report, struct finding *finding)
{
	const char *shapes = report_shapes_text(report);

	if (*shapes)
		finding_help(report->findings, finding, "shapes that work on %lld GPUs: %s",
			(long long)report->answer->request->gpu_count, shapes);
	else
		finding_help(report->findings, finding, "no shape of this model works on %lld GPUs",
			(long long)report->answer->request->gpu_count);
}

/* One finding for all dimensions that one parameter cannot cut. */
static void
refuse_shape(const struct report *report, size_t first)
{
	const struct fit_reason *reason = &report->fit->reasons[first];
	const struct report_kind *kind = report_kind(reason->rule);
	const char *param = kind->param;
	bool tensor = strcmp(param, "tensor_parallel") == 0, stages = reason->rule == FIT_PIPELINE;
	struct finding *finding;

	if (tensor || stages) {
		finding = findings_add(report->findings, FAULT_INFEASIBLE, task_place(report->task, param),
			"%s parallel size %lld cannot run this model", tensor ? "tensor" : "pipeline",
			(long long)(tensor ? report->fit->shape.tensor_parallel : report->fit->shape.pipeline_parallel));
		finding_label(report->findings, finding, "%s", reason->text);
	} else {
		finding = findings_add(report->findings, FAULT_INFEASIBLE, task_place(report->task, param), "%s", reason->text);
	}
	if (tensor)
		note_others(report, finding, first);
	note_source(report, finding);
	if (reason->rule == FIT_CONTEXT)
		finding_help(report->findings, finding,
			"at most %lld, or VLLM_ALLOW_LONG_MAX_MODEL_LEN=1 if the model is known to bear more",
			(long long)reason->divisor);
	else
		help_sizes(report, finding);
	finding->data = report_data_of(report);
}

static void
refuse_count(const struct report *report, const struct fit_reason *reason)
{
	const char *name = fit_shape_name(&report->fit->shape, report->arena);
	struct finding *finding =
		findings_add(report->findings, FAULT_TOO_FEW_GPUS, task_place(report->task, "tensor_parallel"),
			"%s needs %lld GPUs, %lld may be used", name, (long long)reason->divisor, (long long)reason->value);

	if (*report->answer->site->kept_free)
		finding_note(report->findings, finding, "GPU %s is left out: reserved, or not named in `gpus`",
			report->answer->site->kept_free);
	help_shapes(report, finding);
	finding->data = report_data_of(report);
}

static bool
fits_with(const struct report *report, double utilization)
{
	struct fit_request request = *report->answer->request;
	struct fit fit;

	request.utilization = utilization;
	fit_judge(&report->answer->model->architecture, &request, report->arena, &fit);
	for (size_t i = 0; i < fit.reason_count; i++)
		if (fit.reasons[i].rule == FIT_MEMORY)
			return false;
	return true;
}

/* The longest request that would fit: with video never one at which the profile run fails. */
static void
help_context(const struct report *report, struct finding *finding)
{
	int64_t longest = report->fit->max_model_len, asked = report->answer->request->max_model_len;

	if (!asked)
		asked = report->answer->model->architecture.max_position.value;
	if (longest > 0 && longest < asked)
		finding_help(report->findings, finding, "max_model_len: %lld fits", (long long)longest);
}

static void
help_memory(const struct report *report, struct finding *finding)
{
	const struct fit_request *request = report->answer->request;

	if (report->answer->model->architecture.video_tokens.known && request->videos != 0)
		finding_help(report->findings, finding, "limit_mm_per_prompt: {video: 0} spares the profile run's dummy video");
	help_context(report, finding);
	if (request->utilization < 0.95 && fits_with(report, 0.95))
		finding_help(report->findings, finding, "gpu_memory_utilization: 0.95, if nothing else runs on these GPUs");
	help_shapes(report, finding);
}

static void
refuse_memory(const struct report *report, const struct fit_reason *reason)
{
	const struct fit *fit = report->fit;
	struct finding *finding = findings_add(report->findings, FAULT_MEMORY, task_place(report->task, "tensor_parallel"),
		"the model does not fit as %s", fit_shape_name(&fit->shape, report->arena));

	finding_label(report->findings, finding, "%s", reason->text);
	finding_note(report->findings, finding, "GPUs of %s usable, of which vLLM may take %.0f %%",
		units_show_memory(report->arena, report->answer->request->gpu_memory),
		report->answer->request->utilization * 100);
	note_source(report, finding);
	help_memory(report, finding);
	finding->data = report_data_of(report);
}

/* Each failure once: those of one parameter stand together under the first of them. */
static void
refuse(const struct report *report)
{
	const struct fit *fit = report->fit;
	bool cut = false;

	for (size_t i = 0; i < fit->reason_count; i++) {
		const struct report_kind *kind = report_kind(fit->reasons[i].rule);
		bool tensor = kind->fault == FAULT_INFEASIBLE && strcmp(kind->param, "tensor_parallel") == 0;

		if (fit->reasons[i].rule == FIT_GPUS)
			refuse_count(report, &fit->reasons[i]);
		else if (fit->reasons[i].rule == FIT_MEMORY)
			refuse_memory(report, &fit->reasons[i]);
		else if (!tensor || !cut)
			refuse_shape(report, i);
		cut = cut || tensor;
	}
}

/* Whether what can be computed fits, and only the estimate of activations does not. */
static bool
is_over_by_estimate(const struct fit *fit)
{
	for (size_t i = 0; i < fit->warning_count; i++)
		if (fit->warnings[i].rule == FIT_MEMORY && fit->warnings[i].value < 0)
			return true;
	return false;
}

static void
warn_tight(const struct report *report)
{
	const struct fit *fit = report->fit;
	bool refuses = report->answer->spec->tight == TIGHT_FAIL;
	const char *how = is_over_by_estimate(fit) ? "may run out of memory when it starts" : "fits with little to spare";
	struct finding *finding = findings_add(report->findings, refuses ? FAULT_MEMORY : FAULT_TIGHT,
		task_place(report->task, "tensor_parallel"), "%s %s%s", fit_shape_name(&fit->shape, report->arena), how,
		refuses ? ", and `tight: fail` refuses that" : "");

	finding->advice = !refuses;
	for (size_t i = 0; i < fit->warning_count; i++)
		if (fit->warnings[i].rule != FIT_QUANTISED)
			finding_note(report->findings, finding, "%s", fit->warnings[i].text);
	finding_note(report->findings, finding, "activations are an estimate; weights and KV cache are not%s",
		report->answer->model->headers ? "" : ", but for weights computed from config.json");
	help_memory(report, finding);
	finding->data = report_data_of(report);
}

static void
warn_quantised(const struct report *report)
{
	const struct fit *fit = report->fit;
	struct finding *finding = NULL;

	for (size_t i = 0; i < fit->warning_count; i++) {
		if (fit->warnings[i].rule != FIT_QUANTISED)
			continue;
		if (!finding)
			finding = findings_add(report->findings, FAULT_QUANTISED, task_place(report->task, "tensor_parallel"),
				"the checkpoint's quantisation (%s) may refuse %s", report->answer->model->architecture.quant_method,
				fit_shape_name(&fit->shape, report->arena));
		finding->advice = true;
		finding_note(report->findings, finding, "%s", fit->warnings[i].text);
	}
}

static void
warn_unknown(const struct report *report)
{
	const struct strings *missing = &report->fit->missing;
	struct finding *finding = findings_add(report->findings, FAULT_MODEL_UNKNOWN, task_place(report->task, "model"),
		"config.json does not say whether %s works", fit_shape_name(&report->fit->shape, report->arena));
	const char *text = "";

	finding->advice = true;
	for (size_t i = 0; i < missing->count; i++)
		text = arena_printf(report->arena, "%s%s%s", text, i ? "; " : "", missing->items[i]);
	finding_note(report->findings, finding, "unknown: %s", text);
	note_source(report, finding);
	finding_help(report->findings, finding, "the run goes on; vLLM has the last word when the service starts");
}

static void
warn_code(const struct report *report)
{
	struct finding *finding = findings_add(report->findings, FAULT_MODEL_CODE, task_place(report->task, "model"),
		"%s asks for its own code to be run", report->answer->model->name);

	finding->advice = true;
	finding_note(report->findings, finding, "config.json has an `auto_map`");
	finding_help(report->findings, finding, "leave `trust_remote_code` off: most models need none of it");
}

static void
put(const struct report *report, const char *name, uint64_t value)
{
	task_output(report->task, name, arena_printf(report->arena, "%llu", (unsigned long long)value));
}

static const char *
summarise(const struct report *report)
{
	static const char *const verdicts[] = { "feasible", "tight", "infeasible", "unknown" };
	const struct fit *fit = report->fit;
	const char *name = fit_shape_name(&fit->shape, report->arena), *verdict = verdicts[fit->verdict];

	task_output(report->task, "shape", name);
	put(report, "gpus_needed", (uint64_t)fit->gpus_needed);
	if (fit->weights_per_gpu)
		put(report, "weights_per_gpu", fit->weights_per_gpu);
	if (fit->kv_per_token)
		put(report, "kv_per_token", fit->kv_per_token);
	if (fit->max_tokens >= 0)
		put(report, "max_tokens", (uint64_t)fit->max_tokens);
	task_output(report->task, "verdict", verdict);
	if (fit->verdict != FIT_IMPOSSIBLE)
		return arena_printf(report->arena, "%s on %lld GPU%s: %s", name, (long long)fit->gpus_needed,
			fit->gpus_needed == 1 ? "" : "s", verdict);
	if (fit->reasons[0].rule == FIT_HEADS)
		return arena_printf(report->arena, "infeasible: %lld attention heads, %lld GPUs",
			(long long)fit->reasons[0].value, (long long)fit->reasons[0].divisor);
	return arena_printf(report->arena, "infeasible: %s", fit->reasons[0].text);
}

const char *
report_answer(const struct answer *answer, struct task *task)
{
	struct report report = {
		.answer = answer,
		.fit = answer->fit,
		.task = task,
		.arena = task_arena(task),
		.findings = task_findings(task),
	};

	if (answer->fit->verdict == FIT_IMPOSSIBLE || answer->fit->verdict == FIT_TIGHT)
		report_try_others(&report);
	if (answer->fit->verdict == FIT_IMPOSSIBLE)
		refuse(&report);
	else if (answer->fit->verdict == FIT_TIGHT)
		warn_tight(&report);
	else if (answer->fit->verdict == FIT_UNKNOWN)
		warn_unknown(&report);
	if (answer->fit->verdict != FIT_IMPOSSIBLE)
		warn_quantised(&report);
	if (answer->model->architecture.auto_map)
		warn_code(&report);
	return summarise(&report);
}

const char *
report_unasked(const struct preflight *spec, struct task *task, const struct error *cause)
{
	struct findings *findings = task_findings(task);
	const char *name = fit_shape_name(&spec->shape, task_arena(task));
	int64_t gpus = spec->shape.tensor_parallel * spec->shape.pipeline_parallel * spec->shape.replicas;
	struct finding *finding = findings_add(findings, FAULT_MODEL_UNKNOWN, task_place(task, "model"),
		"whether %s works is unknown: config.json was not read", name);

	finding->advice = true;
	finding_note(findings, finding, "%s: %s", fault_row(cause->fault)->code, cause->text);
	if (*cause->hint)
		finding_help(findings, finding, "%s", cause->hint);
	finding_help(findings, finding, "the run goes on; vLLM has the last word when the service starts");
	task_output(task, "shape", name);
	task_output(task, "gpus_needed", arena_printf(task_arena(task), "%lld", (long long)gpus));
	task_output(task, "verdict", "unasked");
	return arena_printf(task_arena(task), "%s: unknown, config.json was not read", name);
}
