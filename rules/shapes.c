#include "shapes.h"

#include <string.h>

#include "budget.h"
#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/json.h"
#include "engine/base/units.h"

#define MOST_NAMED 1024

void
shapes_finish(struct shapes *shapes)
{
	model_close(&shapes->model);
}

/* "0-2" to "0,1,2"; a UUID stays as it is. */
static bool
expand(const char *word, struct arena *arena, const char **text, struct error *err)
{
	const char *dash = *word >= '0' && *word <= '9' ? strchr(word, '-') : NULL;
	int64_t first, last;

	if (dash && (!units_int(arena_copy_bytes(arena, word, (size_t)(dash - word)), &first) || !units_int(dash + 1, &last) ||
			    last < first || last >= MOST_NAMED)) {
		fail(err, FAULT_USAGE, "`--gpus`: `%s` is no range of GPUs", word);
		return error_hint(err, "write 0-2, or 0,1,2");
	}
	if (!dash) {
		*text = arena_printf(arena, "%s%s%s", *text, **text ? "," : "", word);
		return true;
	}
	for (; first <= last; first++)
		*text = arena_printf(arena, "%s%s%lld", *text, **text ? "," : "", (long long)first);
	return true;
}

/* As the parameter `gpus` is written. */
static bool
read_gpus(const char *list, struct arena *arena, const char **json, struct error *err)
{
	const bool asked = list != NULL;
	const char *text = "";
	json_t *value finally(json_release) = NULL;

	*json = NULL;
	while (list) {
		size_t length = strcspn(list, ",");

		if (!expand(arena_copy_bytes(arena, list, length), arena, &text, err))
			return false;
		list = list[length] ? list + length + 1 : NULL;
	}
	value = *text ? json_string(text) : NULL;
	if (asked && !value)
		return fail(err, FAULT_USAGE, "`--gpus` names no GPU");
	if (value)
		*json = json_text(arena, value, false);
	return true;
}

static bool
look_at_gpus(const struct shapes_question *question, struct arena *arena, struct site *site, struct error *err)
{
	struct site_question asked = {
		.gpu_memory = question->gpu_memory,
		.gpu_count = question->gpu_count,
		.keep_others = true,
	};

	if (!read_gpus(question->gpus, arena, &asked.gpus, err) || !site_read(&asked, arena, site, err))
		return false;
	if (site->refusal.fault) {
		*err = site->refusal;
		return false;
	}
	if (site->count)
		return true;
	fail(err, FAULT_USAGE, "how many GPUs? %s", site->unknown ? site->unknown : "the driver sees none");
	return error_hint(err, "describe them: --gpu-count 4 --gpu-memory 24GiB");
}

/* Without their memory nothing can be said for certain that is not refuted already. */
static void
forget_verdicts(struct shapes *shapes, struct arena *arena)
{
	for (size_t i = 0; !shapes->request.gpu_memory && i < shapes->count; i++) {
		if (shapes->fits[i].verdict == FIT_IMPOSSIBLE)
			continue;
		shapes->fits[i].verdict = FIT_UNKNOWN;
		strings_add(&shapes->fits[i].missing, arena, "the memory of the GPUs");
	}
}

bool
shapes_find(const struct shapes_question *question, struct arena *arena, struct shapes *shapes, struct error *err)
{
	struct fit_request *request = &shapes->request;
	struct site *site = &shapes->site;

	*shapes = (struct shapes){ 0 };
	if (!look_at_gpus(question, arena, site, err) || !preflight_limits(question->limits, request, err) ||
		!model_open(&shapes->model, &question->model, arena, err))
		return false;
	preflight_load_as(question->dtype, &shapes->model.architecture);
	model_measure(&shapes->model, arena);
	request->shape = (struct layout){ 1, 1, 1 };
	request->gpu_count = site->count;
	request->machine = *site->kept_free ? site->machine : 0;
	request->gpu_memory = site->memory;
	request->machine_memory = site->machine_memory;
	request->utilization = question->utilization;
	request->max_model_len = question->max_model_len;
	request->max_num_seqs = question->max_num_seqs;
	request->kv_dtype_bytes = preflight_kv_bytes(question->kv_cache_dtype);
	request->encoder_data_mode = question->encoder == SHAPES_ENCODER_DATA;
	request->encoder_either = question->encoder == SHAPES_ENCODER_AUTO;
	fit_shapes(&shapes->model.architecture, request, arena, &shapes->fits, &shapes->count);
	forget_verdicts(shapes, arena);
	return true;
}

int64_t
shapes_longest_without_video(const struct shapes *shapes, const struct fit *fit, struct arena *arena)
{
	const struct architecture *architecture = &shapes->model.architecture;
	struct fit_request request = shapes->request;

	if (!architecture->video_tokens.known || request.videos == 0 || fit->max_model_len < 0)
		return -1;
	request.shape = fit->shape;
	request.encoder_data_mode = fit->encoder_data;
	request.videos = 0;
	return budget_longest_context(architecture, &request, arena);
}
