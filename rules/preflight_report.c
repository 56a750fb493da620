#include "preflight.h"

#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/json.h"
#include "engine/base/units.h"
#include "engine/task.h"

/* Sizes are offered up to this, where the number of GPUs is not known. */
#define SIZES_OFFERED 8
#define SHAPES_SHOWN 8

struct report {
	const struct answer *answer;
	const struct fit *fit;
	struct task *task;
	struct arena *arena;
	struct findings *findings;
	struct fit *sizes;        /* tensor parallel 1.. alone, on all GPUs of the machine */
	size_t size_count;
	struct fit *shapes;       /* all on the GPUs that may be used, best first */
	size_t shape_count;
};

/* What a failed condition is called among others, and which parameter it belongs to. */
static const struct {
	enum fit_rule rule;
	enum fault fault;
	const char *word;         /* for machines */
	const char *noun;         /* "neither do %s%lld%s" */
	const char *behind;
	const char *param;
} kinds[] = {
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

static size_t
kind_of(enum fit_rule rule)
{
	size_t i = 0;

	while (i + 1 < sizeof kinds / sizeof *kinds && kinds[i].rule != rule)
		i++;
	return i;
}

static bool
works(const struct fit *fit)
{
	return fit->verdict == FIT_OK || fit->verdict == FIT_TIGHT;
}

static void
try_others(struct report *report)
{
	const struct answer *answer = report->answer;
	struct fit_request request = *answer->request;
	int64_t most = answer->site->machine ? answer->site->machine : SIZES_OFFERED;

	fit_shapes(&answer->model->architecture, &request, report->arena, &report->shapes, &report->shape_count);
	request.gpu_count = most;
	report->sizes = arena_array(report->arena, (size_t)most, sizeof *report->sizes);
	report->size_count = (size_t)most;
	for (int64_t i = 0; i < most; i++) {
		request.shape = (struct shape){ i + 1, 1, 1 };
		fit_judge(&answer->model->architecture, &request, report->arena, &report->sizes[i]);
	}
}

static const char *
sizes_text(const struct report *report)
{
	const char *text = "";

	for (size_t i = 0; i < report->size_count; i++)
		if (works(&report->sizes[i]))
			text = arena_printf(report->arena, "%s%s%zu%s", text, *text ? ", " : "", i + 1, report->sizes[i].verdict == FIT_TIGHT ? " (tight)" : "");
	return text;
}

static const char *
shapes_text(const struct report *report)
{
	const char *text = "";
	size_t shown = 0;

	for (size_t i = 0; i < report->shape_count && shown < SHAPES_SHOWN; i++) {
		const struct fit *fit = &report->shapes[i];

		if (!works(fit))
			continue;
		text = arena_printf(report->arena, "%s%s%s%s", text, shown ? "; " : "", fit_shape_name(&fit->shape, report->arena),
			fit->verdict == FIT_TIGHT ? " (tight)" : "");
		shown++;
	}
	return text;
}

/* All GPUs that may be used as one instance by stages, where cutting layers alone does not do. */
static const struct fit *
by_stages(const struct report *report)
{
	for (size_t i = 0; i < report->shape_count; i++) {
		const struct fit *fit = &report->shapes[i];

		if (works(fit) && fit->shape.replicas == 1 && fit->shape.pipeline_parallel > 1 && fit->gpus_needed == report->answer->site->count)
			return fit;
	}
	return NULL;
}

static json_t *
shape_json(const struct fit *fit)
{
	return json_pack("{s:I, s:I, s:I, s:b}", "tp", (json_int_t)fit->shape.tensor_parallel, "pp", (json_int_t)fit->shape.pipeline_parallel, "replicas",
		(json_int_t)fit->shape.replicas, "tight", fit->verdict == FIT_TIGHT);
}

static const char *
data_of(const struct report *report)
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
		json_array_append_new(failed, json_pack("{s:s, s:I, s:I, s:s}", "rule", kinds[kind_of(reason->rule)].word, "value",
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

/* "neither do 2 KV heads, intermediate_size 13696 and vocabulary 151552" */
static void
note_others(const struct report *report, struct finding *finding, size_t first)
{
	const struct fit *fit = report->fit;
	const char *text = "", *last = NULL;

	for (size_t i = first + 1; i < fit->reason_count; i++) {
		size_t kind = kind_of(fit->reasons[i].rule);

		if (strcmp(kinds[kind].param, "tensor_parallel") != 0 || kinds[kind].fault != FAULT_INFEASIBLE)
			continue;
		if (last)
			text = arena_printf(report->arena, "%s%s%s", text, *text ? ", " : "", last);
		last = arena_printf(report->arena, "%s%lld%s", kinds[kind].noun, (long long)fit->reasons[i].value, kinds[kind].behind);
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
		finding_note(report->findings, finding, "read from config.json and the safetensors headers of %s%s", model->name, commit);
	else
		finding_note(report->findings, finding, "read from config.json of %s%s; nothing else was downloaded", model->name, commit);
	if (model->headers_problem)
		finding_note(report->findings, finding, "weights are an estimate: %s", model->headers_problem);
	if (report->answer->site->unknown)
		finding_note(report->findings, finding, "memory was not judged: %s", report->answer->site->unknown);
}

static void
help_sizes(const struct report *report, struct finding *finding)
{
	const struct site *site = report->answer->site;
	const struct fit *stages = by_stages(report);
	const char *sizes = sizes_text(report), *cut = "";

	if (!*sizes)
		finding_help(report->findings, finding, "no tensor parallel size works for this model%s", site->machine ? " on this machine" : "");
	else if (site->machine && site->memory)
		finding_help(report->findings, finding, "sizes that divide this model and fit %lld GPUs: %s", (long long)site->machine, sizes);
	else
		finding_help(report->findings, finding, "sizes that divide this model: %s", sizes);
	if (!stages)
		return;
	if (stages->shape.tensor_parallel > 1)
		cut = arena_printf(report->arena, "tensor_parallel: %lld, ", (long long)stages->shape.tensor_parallel);
	if (*site->kept_free && *site->indices)
		finding_help(report->findings, finding, "to keep GPU %s free and use GPUs %s: %spipeline_parallel: %lld", site->kept_free, site->indices, cut,
			(long long)stages->shape.pipeline_parallel);
	else
		finding_help(report->findings, finding, "to use all %lld GPUs by stages: %spipeline_parallel: %lld", (long long)site->count, cut,
			(long long)stages->shape.pipeline_parallel);
}

static void
help_shapes(const struct report *report, struct finding *finding)
{
	const char *shapes = shapes_text(report);

	if (*shapes)
		finding_help(report->findings, finding, "shapes that work on %lld GPUs: %s", (long long)report->answer->request->gpu_count, shapes);
	else
		finding_help(report->findings, finding, "no shape of this model works on %lld GPUs", (long long)report->answer->request->gpu_count);
}

/* One finding for all dimensions that one parameter cannot cut. */
static void
refuse_shape(const struct report *report, size_t first)
{
	const struct fit_reason *reason = &report->fit->reasons[first];
	size_t kind = kind_of(reason->rule);
	const char *param = kinds[kind].param;
	bool tensor = strcmp(param, "tensor_parallel") == 0, stages = reason->rule == FIT_PIPELINE;
	struct finding *finding;

	if (tensor || stages) {
		finding = findings_add(report->findings, FAULT_INFEASIBLE, task_place(report->task, param), "%s parallel size %lld cannot run this model",
			tensor ? "tensor" : "pipeline", (long long)(tensor ? report->fit->shape.tensor_parallel : report->fit->shape.pipeline_parallel));
		finding_label(report->findings, finding, "%s", reason->text);
	} else {
		finding = findings_add(report->findings, FAULT_INFEASIBLE, task_place(report->task, param), "%s", reason->text);
	}
	if (tensor)
		note_others(report, finding, first);
	note_source(report, finding);
	if (reason->rule == FIT_CONTEXT)
		finding_help(report->findings, finding, "at most %lld, or VLLM_ALLOW_LONG_MAX_MODEL_LEN=1 if the model is known to bear more", (long long)reason->divisor);
	else
		help_sizes(report, finding);
	finding->data = data_of(report);
}

static void
refuse_count(const struct report *report, const struct fit_reason *reason)
{
	const char *name = fit_shape_name(&report->fit->shape, report->arena);
	struct finding *finding = findings_add(report->findings, FAULT_TOO_FEW_GPUS, task_place(report->task, "tensor_parallel"),
		"%s needs %lld GPUs, %lld may be used", name, (long long)reason->divisor, (long long)reason->value);

	if (*report->answer->site->kept_free)
		finding_note(report->findings, finding, "GPU %s is left out: reserved, or not named in `gpus`", report->answer->site->kept_free);
	help_shapes(report, finding);
	finding->data = data_of(report);
}

/* The longest request that would fit, where the KV cache is what does not. */
static void
help_memory(const struct report *report, struct finding *finding)
{
	const struct fit_request *request = report->answer->request;

	if (report->fit->max_tokens > 0)
		finding_help(report->findings, finding, "max_model_len: %lld fits", (long long)report->fit->max_tokens);
	if (report->answer->model->architecture.video_tokens.known && request->videos != 0)
		finding_help(report->findings, finding, "limit_mm_per_prompt: {video: 0} spares the profile run's dummy video");
	if (request->utilization < 0.95)
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
		units_show_memory(report->arena, report->answer->request->gpu_memory), report->answer->request->utilization * 100);
	note_source(report, finding);
	help_memory(report, finding);
	finding->data = data_of(report);
}

/* Each failure once: those of one parameter stand together under the first of them. */
static void
refuse(const struct report *report)
{
	const struct fit *fit = report->fit;
	bool cut = false;

	for (size_t i = 0; i < fit->reason_count; i++) {
		size_t kind = kind_of(fit->reasons[i].rule);
		bool tensor = kinds[kind].fault == FAULT_INFEASIBLE && strcmp(kinds[kind].param, "tensor_parallel") == 0;

		if (fit->reasons[i].rule == FIT_GPUS)
			refuse_count(report, &fit->reasons[i]);
		else if (fit->reasons[i].rule == FIT_MEMORY)
			refuse_memory(report, &fit->reasons[i]);
		else if (!tensor || !cut)
			refuse_shape(report, i);
		cut = cut || tensor;
	}
}

static void
warn_tight(const struct report *report)
{
	const struct fit *fit = report->fit;
	bool refuses = report->answer->spec->tight == TIGHT_FAIL;
	struct finding *finding = findings_add(report->findings, refuses ? FAULT_MEMORY : FAULT_TIGHT, task_place(report->task, "tensor_parallel"),
		"%s fits with little to spare%s", fit_shape_name(&fit->shape, report->arena), refuses ? ", and `tight: fail` refuses that" : "");

	finding->advice = !refuses;
	for (size_t i = 0; i < fit->warning_count; i++)
		if (fit->warnings[i].rule != FIT_QUANTISED)
			finding_note(report->findings, finding, "%s", fit->warnings[i].text);
	finding_note(report->findings, finding, "activations are an estimate; weights and KV cache are not%s",
		report->answer->model->headers ? "" : ", but for weights computed from config.json");
	help_memory(report, finding);
	finding->data = data_of(report);
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
		return arena_printf(report->arena, "%s on %lld GPU%s: %s", name, (long long)fit->gpus_needed, fit->gpus_needed == 1 ? "" : "s", verdict);
	if (fit->reasons[0].rule == FIT_HEADS)
		return arena_printf(report->arena, "infeasible: %lld attention heads, %lld GPUs", (long long)fit->reasons[0].value,
			(long long)fit->reasons[0].divisor);
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
		try_others(&report);
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
	struct finding *finding = findings_add(findings, FAULT_MODEL_UNKNOWN, task_place(task, "model"), "whether %s works is unknown: config.json was not read", name);

	finding->advice = true;
	finding_note(findings, finding, "%s: %s", fault_row(cause->fault)->code, cause->text);
	if (*cause->hint)
		finding_help(findings, finding, "%s", cause->hint);
	finding_help(findings, finding, "the run goes on; vLLM has the last word when the service starts");
	task_output(task, "shape", name);
	task_output(task, "gpus_needed",
		arena_printf(task_arena(task), "%lld", (long long)(spec->shape.tensor_parallel * spec->shape.pipeline_parallel * spec->shape.replicas)));
	task_output(task, "verdict", "unasked");
	return arena_printf(task_arena(task), "%s: unknown, config.json was not read", name);
}
