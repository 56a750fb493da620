#include "fit.h"

#include <stdlib.h>

#include "engine/base/arena.h"

/* Shapes are tried up to this many GPUs: more than one machine has. */
#define MOST_GPUS 32

static int
order_of(int64_t a, int64_t b)
{
	return a < b ? -1 : a > b;
}

static int
compare_fits(const void *left, const void *right)
{
	const struct fit *a = left, *b = right;
	int order = order_of((int64_t)a->verdict, (int64_t)b->verdict);

	/* Unknown is better than impossible. */
	if (a->verdict != b->verdict && a->verdict >= FIT_IMPOSSIBLE && b->verdict >= FIT_IMPOSSIBLE)
		return -order;
	if (a->verdict < FIT_IMPOSSIBLE && b->verdict < FIT_IMPOSSIBLE && !a->gives_up != !b->gives_up)
		return a->gives_up ? 1 : -1;
	if (!order)
		order = order_of(b->gpus_needed, a->gpus_needed);
	if (!order)
		order = order_of(a->shape.replicas, b->shape.replicas);
	if (!order)
		order = order_of(a->shape.pipeline_parallel, b->shape.pipeline_parallel);
	return order;
}

static bool
fails_by_encoder(const struct fit *fit)
{
	for (size_t i = 0; i < fit->reason_count; i++)
		if (fit->reasons[i].rule != FIT_VISION)
			return false;
	return fit->reason_count > 0;
}

static void
judge_either(const struct architecture *architecture, struct fit_request *request, struct arena *arena, struct fit *fit)
{
	fit_judge(architecture, request, arena, fit);
	if (!request->encoder_either || request->encoder_data_mode || !fails_by_encoder(fit))
		return;
	request->encoder_data_mode = true;
	fit_judge(architecture, request, arena, fit);
	request->encoder_data_mode = false;
}

void
fit_shapes(const struct architecture *architecture, const struct fit_request *request, struct arena *arena,
	struct fit **fits, size_t *count)
{
	int64_t most = request->machine > request->gpu_count ? request->machine : request->gpu_count;
	struct fit_request each = *request;
	struct fit *items = NULL;
	size_t capacity = 0, made = 0;

	if (most > MOST_GPUS)
		most = MOST_GPUS;
	for (int64_t tp = 1; tp <= most; tp++)
		for (int64_t pp = 1; tp * pp <= most; pp++)
			for (int64_t replicas = 1; tp * pp * replicas <= most; replicas++) {
				each.shape = (struct layout){ tp, pp, replicas };
				each.gpu_memory = tp * pp * replicas > request->gpu_count && request->machine_memory ?
					request->machine_memory : request->gpu_memory;
				if (made == capacity)
					items = arena_grow(arena, items, made, &capacity, sizeof *items);
				judge_either(architecture, &each, arena, &items[made++]);
			}
	if (made)
		qsort(items, made, sizeof *items, compare_fits);
	*fits = items;
	*count = made;
}

const char *
fit_shape_name(const struct layout *shape, struct arena *arena)
{
	const char *one;

	if (shape->pipeline_parallel == 1)
		one = arena_printf(arena, "tp %lld", (long long)shape->tensor_parallel);
	else if (shape->tensor_parallel == 1)
		one = arena_printf(arena, "pp %lld", (long long)shape->pipeline_parallel);
	else
		one = arena_printf(
			arena, "tp %lld, pp %lld", (long long)shape->tensor_parallel, (long long)shape->pipeline_parallel);
	if (shape->replicas == 1)
		return one;
	return arena_printf(arena, "%lld x %s", (long long)shape->replicas, one);
}

const char *
fit_verdict_name(enum fit_verdict verdict)
{
	static const char *const names[] = { "fits", "tight", "impossible", "unknown" };

	return names[verdict];
}

void
fit_stages(int64_t layers, int64_t stages, int64_t *counts)
{
	for (int64_t i = 0; i < stages; i++)
		counts[i] = layers / stages;
	for (int64_t i = 0; i < layers % stages; i++)
		counts[stages - 2 - i]++;
}
