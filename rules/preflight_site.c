#include "preflight.h"

#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/units.h"

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
		if (selection->gpus->items[i].broken)
			continue;
		if (!site->machine_memory || usable(&selection->gpus->items[i]) < site->machine_memory)
			site->machine_memory = usable(&selection->gpus->items[i]);
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

/* The GPUs that are not used, where somebody wants them free. */
static const char *
kept_free(const struct site_question *question, const struct gpuset *set, const struct selection *selection, struct arena *arena)
{
	bool any = question->reserved_count > 0 || (question->keep_others && set->name_count > 0);

	return any ? indices(selection, false, arena) : "";
}

static void
look_at_machine(const struct site_question *question, const struct gpuset *set, struct arena *arena, struct site *site)
{
	struct gpus gpus = { 0 };
	struct selection selection = { .gpus = &gpus, .reserved = question->reserved, .reserved_count = question->reserved_count };
	const char *purpose = question->purpose;
	struct error err = { 0 };

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
	site->kept_free = kept_free(question, set, &selection, arena);
}

/* A machine that is somewhere else: what is named of it are indices. */
static void
describe_machine(const struct site_question *question, const struct gpuset *set, struct arena *arena, struct site *site)
{
	struct gpus gpus = { .count = (size_t)question->gpu_count };
	struct selection selection = { .gpus = &gpus, .taken = arena_array(arena, gpus.count, sizeof *selection.taken) };
	int64_t index;

	site->count = site->machine = question->gpu_count;
	if (!set->name_count)
		return;
	site->count = (int64_t)set->name_count;
	for (size_t i = 0; i < set->name_count; i++) {
		if (!units_int(set->names[i], &index) || index < 0 || index >= question->gpu_count) {
			fail(&site->refusal, FAULT_TOO_FEW_GPUS, "no GPU `%s` among %lld", set->names[i], (long long)question->gpu_count);
			return;
		}
		selection.taken[index] = true;
	}
	site->indices = indices(&selection, true, arena);
	site->kept_free = kept_free(question, set, &selection, arena);
}

bool
site_read(const struct site_question *question, struct arena *arena, struct site *site, struct error *err)
{
	struct site made = { .indices = "", .kept_free = "" };
	struct gpuset set;

	if (!gpuset_parse(question->gpus, arena, &set, err))
		return false;
	if (question->gpu_count && question->gpu_memory) {
		describe_machine(question, &set, arena, &made);
	} else {
		look_at_machine(question, &set, arena, &made);
		if (question->gpu_count)
			describe_machine(question, &set, arena, &made);
	}
	if (question->gpu_memory) {
		made.memory = made.machine_memory = (uint64_t)((double)question->gpu_memory * USABLE_PART);
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
