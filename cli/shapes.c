/* shapes.c - `provision shapes`: which shapes of a model fit on which GPUs, and what each of them gives up. */
#include "shapes.h"

#include <string.h>

#include "commands.h"
#include "engine/base/cleanup.h"
#include "engine/base/units.h"
#include "report/table.h"
#include "report/words.h"
#include "rules/weights.h"
#include "session.h"

/* Who asks waits for the answer. */
#define TRIES 2

struct view {
	struct session *session;
	struct arena *arena;
	const struct shapes *shapes;
};

static bool
works(const struct fit *fit)
{
	return fit->verdict == FIT_OK || fit->verdict == FIT_TIGHT;
}

/* More replicas of it would still find GPUs. */
static bool
has_room(const struct view *view, const struct fit *fit)
{
	int64_t each = fit->shape.tensor_parallel * fit->shape.pipeline_parallel;
	int64_t limit = fit->gives_up ? view->shapes->site.machine : view->shapes->site.count;

	return fit->shape.replicas > 1 && fit->gpus_needed + each <= limit;
}

/* Refused for what refuses the same cut with fewer stages too. */
static bool
is_repeated(const struct view *view, const struct fit *fit)
{
	for (size_t i = 0; i < view->shapes->count; i++) {
		const struct fit *other = &view->shapes->fits[i];

		if (other->verdict == FIT_IMPOSSIBLE && other->shape.replicas == 1 &&
			other->shape.tensor_parallel == fit->shape.tensor_parallel &&
			other->shape.pipeline_parallel < fit->shape.pipeline_parallel &&
			strcmp(other->reasons[0].text, fit->reasons[0].text) == 0)
			return true;
	}
	return false;
}

static bool
is_shown(const struct view *view, const struct fit *fit)
{
	if (view->session->options.verbose)
		return true;
	if (fit->verdict == FIT_IMPOSSIBLE)
		return fit->shape.replicas == 1 && !is_repeated(view, fit);
	return !has_room(view, fit);
}

static void
note(const struct view *view, const char **text, const char *more)
{
	*text = **text ? arena_printf(view->arena, "%s; %s", *text, more) : more;
}

static const char *
count(const struct view *view, int64_t value)
{
	return value < 0 ? "?" : arena_printf(view->arena, "%lld", (long long)value);
}

/* What is to be had for the idle GPUs, the kept one, the slower way. */
static void
note_price(const struct view *view, const struct fit *fit, const char **text)
{
	const struct site *site = &view->shapes->site;

	if (fit->gives_up && fit->gpus_needed == site->machine)
		note(view, text, arena_printf(view->arena, "takes GPU %s, which is to be kept free", site->kept_free));
	else if (fit->gives_up)
		note(view, text, arena_printf(view->arena, "takes %s of those to be kept free (%s)",
			words_count(view->arena, (size_t)fit->gives_up, "GPU", "GPUs"), site->kept_free));
	else if (fit->gpus_needed < site->count)
		note(view, text, arena_printf(view->arena, "leaves %s idle",
			words_count(view->arena, (size_t)(site->count - fit->gpus_needed), "GPU", "GPUs")));
	if (fit->shape.pipeline_parallel > 1)
		note(view, text, arena_printf(view->arena, "each token passes %lld GPUs in turn",
			(long long)fit->shape.pipeline_parallel));
}

static void
note_settings(const struct view *view, const struct fit *fit, const char **text)
{
	int64_t longest = shapes_longest_without_video(view->shapes, fit, view->arena);

	if (fit->encoder_data && view->shapes->request.encoder_either)
		note(view, text, "needs mm_encoder_tp_mode: data");
	if (longest > fit->max_model_len)
		note(view, text, arena_printf(view->arena, "without video (limit_mm_per_prompt) up to %lld tokens", (long long)longest));
}

/* Memory in a few words: all numbers of it are in --json. */
static const char *
warning_text(const struct view *view, const struct fit_reason *warning)
{
	int64_t left = warning->value;

	if (warning->rule != FIT_MEMORY)
		return warning->text;
	return arena_printf(view->arena, left < 0 ? "%s too much by the estimate" : "%s to spare",
		units_show_memory(view->arena, (uint64_t)(left < 0 ? -left : left)));
}

static const char *
note_of(const struct view *view, const struct fit *fit)
{
	const char *text = "";

	for (size_t i = 0; fit->verdict == FIT_IMPOSSIBLE && i < fit->reason_count; i++)
		note(view, &text, fit->reasons[i].text);
	for (size_t i = 0; fit->verdict == FIT_UNKNOWN && i < fit->missing.count; i++)
		note(view, &text, arena_printf(view->arena, "%s%s", i ? "" : "not known: ", fit->missing.items[i]));
	if (works(fit))
		note_price(view, fit, &text);
	for (size_t i = 0; fit->verdict != FIT_IMPOSSIBLE && i < fit->warning_count; i++)
		note(view, &text, warning_text(view, &fit->warnings[i]));
	if (fit->verdict != FIT_UNKNOWN && shapes_is_measured(fit))
		note_settings(view, fit, &text);
	return *text ? text : "-";
}

static void
show_table(const struct view *view)
{
	static const char *const heads[] = { "SHAPE", "GPUS", "VERDICT", "WEIGHTS", "LONGEST", "REQUESTS", "GIVES UP, OR WHY NOT", NULL };
	struct table table;

	table_init(&table, heads, view->shapes->count, view->arena);
	for (size_t i = 0; i < view->shapes->count; i++) {
		const struct fit *fit = &view->shapes->fits[i];

		if (!is_shown(view, fit))
			continue;
		table_add(&table, (const char *const[]){
			fit_shape_name(&fit->shape, view->arena),
			count(view, fit->gpus_needed),
			fit_verdict_name(fit->verdict),
			fit->weights_per_gpu ? units_show_memory(view->arena, fit->weights_per_gpu) : "?",
			shapes_is_measured(fit) ? count(view, fit->max_model_len) : "-",
			shapes_is_measured(fit) ? count(view, fit->sequences) : "-",
			note_of(view, fit),
		});
	}
	table_print(&table, &view->session->out);
}

static void
show_model(const struct view *view)
{
	const struct model *model = &view->shapes->model;
	const struct architecture *arch = &model->architecture;
	struct out *out = &view->session->out;
	struct weights weights;

	weights_of(arch, &weights);
	out_safe(out, hub_source_name(&model->source, view->arena));
	if (*model->commit)
		out_printf(out, " at %.7s", model->commit);
	out_text(out, ": ");
	out_safe(out, *arch->class ? arch->class : *arch->model_type ? arch->model_type : "no architecture named");
	if (arch->layers.known)
		out_printf(out, ", %lld layers", (long long)arch->layers.value);
	if (*arch->quant_method) {
		out_text(out, ", quantised by ");
		out_safe(out, arch->quant_method);
	}
	if (weights.known)
		out_printf(out, ", %s%s of weights", weights.exact ? "" : "about ",
			units_show_memory(view->arena, (uint64_t)weights_whole(weights.total)));
	if (model->headers_problem) {
		out_text(out, weights.known ? " by config.json alone: " : "; weights not read: ");
		out_safe(out, model->headers_problem);
	}
	out_text(out, "\n");
}

static void
show_site(const struct view *view)
{
	const struct site *site = &view->shapes->site;
	const struct fit_request *request = &view->shapes->request;
	const struct known_number *most = &view->shapes->model.architecture.max_position;
	struct out *out = &view->session->out;
	int64_t context = request->max_model_len ? request->max_model_len : most->known ? most->value : 0;

	if (*site->kept_free)
		out_printf(out, "GPUs %s, keeping GPU %s free", site->indices, site->kept_free);
	else
		out_printf(out, "%s", words_count(view->arena, (size_t)site->count, "GPU", "GPUs"));
	if (site->memory)
		out_printf(out, ", %s usable on each, of which vLLM may take %.0f %%",
			units_show_memory(view->arena, site->memory), request->utilization * 100);
	else
		out_printf(out, ", memory unknown: %s", site->unknown ? site->unknown : "add --gpu-memory");
	if (context)
		out_printf(out, "; requests of up to %lld tokens%s", (long long)context,
			request->max_model_len ? "" : " (the model's own limit; --max-model-len sets another)");
	out_text(out, "\n\n");
}

static void
show_remarks(const struct view *view)
{
	const struct shapes *shapes = view->shapes;
	struct out *out = &view->session->out;

	if (shapes->request.gpu_memory && shapes->count && shapes->fits[0].activations)
		out_printf(out,
			"\nWEIGHTS are per GPU. LONGEST is the longest request that one may ask for, REQUESTS how many of full length the KV cache holds,\n"
			"beside activations that are an estimate (%s for %s): what leaves less than %.0f %% is tight.\n",
			units_show_memory(view->arena, shapes->fits[0].activations),
			fit_shape_name(&shapes->fits[0].shape, view->arena), fit_margin * 100);
	if (shapes->count && shapes->fits[0].activations_partial)
		out_text(out, "The encoder's part of them is not known for this class: leave room for it.\n");
	if (shapes->model.architecture.auto_map)
		out_text(out, "config.json has an `auto_map`: the repository asks for its own code to be run. Most models need none of it.\n");
}

static void
ask(const struct session *session, struct shapes_question *question)
{
	const struct options *options = &session->options;

	*question = (struct shapes_question){
		.model = { .source = options->operands.items[0], .base = session->found.cwd, .offline = options->offline, .tries = TRIES },
		.gpus = options->gpus,
		.gpu_memory = options->gpu_memory,
		.gpu_count = options->gpu_count,
		.max_model_len = options->max_model_len,
		.max_num_seqs = options->max_num_seqs,
		.utilization = options->gpu_memory_utilization,
		.dtype = options->dtype,
		.kv_cache_dtype = options->kv_cache_dtype,
		.encoder = options->mm_encoder_tp_mode,
		.limits = options->limit_mm_per_prompt,
	};
}

bool
shapes_is_measured(const struct fit *fit)
{
	for (size_t i = 0; i < fit->reason_count; i++)
		if (fit->reasons[i].rule != FIT_MEMORY)
			return false;
	return true;
}

int
command_shapes(struct session *session)
{
	struct shapes shapes finally(shapes_finish) = { 0 };
	struct view view = { .session = session, .arena = &session->arena, .shapes = &shapes };
	struct shapes_question question;
	struct error err = { 0 };

	session->documents = true;
	if (!project_cwd(&session->found, &session->options, &session->arena, &err))
		return (int)session_fail(session, &err, NULL);
	ask(session, &question);
	if (!shapes_find(&question, &session->arena, &shapes, &err))
		return (int)session_fail(session, &err, NULL);
	if (session->options.json) {
		session_document(session, shapes_json(&shapes, &session->arena));
	} else {
		show_model(&view);
		show_site(&view);
		show_table(&view);
		show_remarks(&view);
	}
	return shapes.count && shapes.fits[0].verdict == FIT_IMPOSSIBLE ? STATUS_INFEASIBLE : STATUS_OK;
}
