#include "preflight.h"

#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/units.h"
#include "engine/task.h"

/* A driver keeps some memory for itself: a card of 24576 MiB gives programs 23.69 GiB. Used where the driver does not say how much. */
#define USABLE_PART 0.987

struct selection {
	const struct gpus *gpus;
	const int64_t *reserved;
	size_t reserved_count;
	bool *taken;
};

static bool
is_reserved(const struct selection *selection, unsigned index)
{
	for (size_t i = 0; i < selection->reserved_count; i++)
		if (selection->reserved[i] == (int64_t)index)
			return true;
	return false;
}

static uint64_t
usable(const struct gpu *gpu)
{
	return gpu->reserved ? gpu->total - gpu->reserved : (uint64_t)((double)gpu->total * USABLE_PART);
}

/* "0-2", "0, 2": the GPUs that are (or are not) taken. */
static const char *
indices(const struct selection *selection, bool taken, struct arena *arena)
{
	const char *text = "";
	size_t count = selection->gpus->count;

	for (size_t i = 0; i < count; i++) {
		size_t last = i;

		if (selection->taken[i] != taken)
			continue;
		while (last + 1 < count && selection->taken[last + 1] == taken)
			last++;
		text = arena_printf(arena, "%s%s%zu", text, *text ? ", " : "", i);
		if (last > i)
			text = arena_printf(arena, "%s-%zu", text, last);
		i = last;
	}
	return text;
}

/* What is busy now does not matter here: the question is asked of the machine, not of the moment. */
static bool
take_named(const struct gpuset *set, struct selection *selection, struct error *err)
{
	for (size_t i = 0; i < set->name_count; i++) {
		const struct gpu *gpu = gpus_find(selection->gpus, set->names[i]);

		if (!gpu)
			return fail(err, FAULT_TOO_FEW_GPUS, "no GPU `%s` among the %zu of this machine", set->names[i],
				selection->gpus->count);
		if (is_reserved(selection, gpu->index))
			return fail(err, FAULT_RESERVED_GPU, "GPU %u is reserved", gpu->index);
		if (gpu->broken)
			return fail(err, FAULT_TOO_FEW_GPUS, "GPU %u cannot be used: %s", gpu->index, gpu->broken);
		selection->taken[gpu - selection->gpus->items] = true;
	}
	return true;
}

static void
take_others(const struct gpuset *set, struct selection *selection)
{
	int64_t left = set->count ? set->count : INT64_MAX;

	for (size_t i = 0; i < selection->gpus->count && left > 0; i++) {
		const struct gpu *gpu = &selection->gpus->items[i];

		if (gpu->broken || is_reserved(selection, gpu->index))
			continue;
		selection->taken[i] = true;
		left--;
	}
}

/* Every GPU of a shape is used alike, so the smallest decides. */
static void
measure(const struct selection *selection, struct site *site)
{
	for (size_t i = 0; i < selection->gpus->count; i++) {
		if (!selection->taken[i])
			continue;
		site->count++;
		if (!site->memory || usable(&selection->gpus->items[i]) < site->memory)
			site->memory = usable(&selection->gpus->items[i]);
	}
	site->machine = (int64_t)selection->gpus->count;
	if (site->count && !site->memory)
		site->unknown = "the driver does not say how much memory the GPUs have";
}

static void
look_at_machine(const struct gpuset *set, struct task *task, struct site *site)
{
	struct arena *arena = task_arena(task);
	struct gpus gpus = { 0 };
	struct selection selection = { .gpus = &gpus };
	struct error err = { 0 };
	const char *purpose = NULL;

	selection.reserved = task_reserved_gpus(task, &selection.reserved_count, &purpose);
	if (!gpus_read(&gpus, arena, &err)) {
		site->count = gpuset_size(set);
		site->unknown = arena_copy(arena, err.text);
		if (!gpuset_check_reserved(set, selection.reserved, selection.reserved_count, purpose, &err))
			site->refusal = err;
		return;
	}
	selection.taken = arena_array(arena, gpus.count + 1, sizeof *selection.taken);
	if (!set->name_count)
		take_others(set, &selection);
	else if (!gpuset_check_reserved(set, selection.reserved, selection.reserved_count, purpose, &err) ||
		!take_named(set, &selection, &err))
		site->refusal = err;
	measure(&selection, site);
	if (!site->count && !site->refusal.fault)
		fail(&site->refusal, FAULT_TOO_FEW_GPUS,
			gpus.count ? "every GPU of this machine is reserved or broken" : "the driver sees no GPU");
	site->indices = indices(&selection, true, arena);
	site->kept_free = selection.reserved_count ? indices(&selection, false, arena) : "";
}

bool
site_read(const struct preflight *spec, struct task *task, struct site *site, struct error *err)
{
	struct arena *arena = task_arena(task);
	struct site made = { .indices = "", .kept_free = "" };
	struct gpuset set;

	if (!gpuset_parse(spec->gpus, arena, &set, err))
		return false;
	if (spec->gpu_count && spec->gpu_memory) {
		made.count = made.machine = spec->gpu_count;
	} else {
		look_at_machine(&set, task, &made);
		if (spec->gpu_count)
			made.count = made.machine = spec->gpu_count;
	}
	if (spec->gpu_memory) {
		made.memory = (uint64_t)((double)spec->gpu_memory * USABLE_PART);
		made.unknown = NULL;
	}
	if (set.count > made.count && !made.refusal.fault && !made.unknown)
		fail(&made.refusal, FAULT_TOO_FEW_GPUS, "%lld GPUs are asked for, %lld may be used", (long long)set.count,
			(long long)made.count);
	made.fact = arena_printf(arena, "%lld of %lld x %s", (long long)made.count, (long long)made.machine,
		made.memory ? units_show_memory(arena, made.memory) : "unknown");
	*site = made;
	return true;
}
