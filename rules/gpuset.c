#include "gpuset.h"

#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "engine/base/cleanup.h"
#include "engine/base/json.h"
#include "engine/base/strings.h"
#include "engine/base/units.h"

#define MOST_GPUS 1024

static bool
wrong(struct error *err, const char *what)
{
	fail(err, FAULT_BAD_VALUE, "`gpus`: %s", what);
	return error_hint(err, "write [0, 1], a list of UUIDs, {count: 2, free: true} or none");
}

/* An index, or a UUID as NVML writes it. Texts of digits are indices too, as quoting is easily done. */
static bool
add_name(const char *text, struct strings *names, struct arena *arena, struct error *err)
{
	bool uuid = text_starts(text, "GPU-") || text_starts(text, "MIG-");
	int64_t index = -1;

	if (!uuid && (*text < '0' || *text > '9' || !units_int(text, &index) || index >= MOST_GPUS))
		return wrong(err, arena_printf(arena, "`%s` is neither an index nor a UUID", text));
	text = uuid ? arena_copy(arena, text) : arena_printf(arena, "%lld", (long long)index);
	if (strings_has(names, text))
		return wrong(err, arena_printf(arena, "GPU %s is named twice", text));
	strings_add(names, arena, text);
	return true;
}

static bool
take_names(const struct strings *names, struct gpuset *set, struct error *err)
{
	if (!names->count)
		return wrong(err, "the list is empty");
	set->names = names->items;
	set->name_count = names->count;
	return true;
}

static bool
parse_list(const json_t *list, struct arena *arena, struct gpuset *set, struct error *err)
{
	struct strings names = { 0 };
	const json_t *item;
	size_t i;

	json_array_foreach (list, i, item) {
		const char *text = json_is_string(item) ? json_string_value(item) : json_text(arena, item, false);

		if (!add_name(text, &names, arena, err))
			return false;
	}
	return take_names(&names, set, err);
}

/* "GPU-...,GPU-...": an output of another target. */
static bool
parse_text(const char *text, struct arena *arena, struct gpuset *set, struct error *err)
{
	struct strings names = { 0 };

	for (;;) {
		size_t length = strcspn(text, ",");

		if (!add_name(arena_copy_bytes(arena, text, length), &names, arena, err))
			return false;
		if (!text[length])
			return take_names(&names, set, err);
		text += length + 1;
	}
}

static bool
parse_count(json_t *map, struct gpuset *set, struct error *err)
{
	const char *key;
	json_t *value;

	json_object_foreach (map, key, value) {
		if (strcmp(key, "count") == 0 && json_is_integer(value) && json_integer_value(value) > 0 &&
			json_integer_value(value) <= MOST_GPUS)
			set->count = json_integer_value(value);
		else if (strcmp(key, "free") == 0 && json_is_boolean(value))
			set->want_free = json_is_true(value);
		else if (strcmp(key, "count") == 0)
			return wrong(err, "`count` is no number of GPUs");
		else if (strcmp(key, "free") == 0)
			return wrong(err, "`free` is true or false");
		else
			return wrong(err, "a map of GPUs has `count` and `free`");
	}
	return set->count > 0 || wrong(err, "`count` is missing");
}

bool
gpuset_parse(const char *json, struct arena *arena, struct gpuset *set, struct error *err)
{
	json_t *value finally(json_release) = NULL;
	/* A bare scalar is wrapped: what is parsed is then always a document. */
	const char *document = json ? arena_printf(arena, "[%s]", json) : "[null]";
	struct gpuset made = { 0 };
	json_t *gpus;
	bool good = true;

	if (!json_parse(document, strlen(document), "gpus", &value, err))
		return wrong(err, "not readable");
	gpus = json_array_get(value, 0);
	if (!gpus || json_is_null(gpus) || (json_is_string(gpus) && strcmp(json_string_value(gpus), "none") == 0))
		made.none = true;
	else if (json_is_array(gpus))
		good = parse_list(gpus, arena, &made, err);
	else if (json_is_string(gpus))
		good = parse_text(json_string_value(gpus), arena, &made, err);
	else if (json_is_object(gpus))
		good = parse_count(gpus, &made, err);
	else
		good = wrong(err, arena_printf(arena, "`%s` is not understood", json));
	if (good)
		*set = made;
	return good;
}

int64_t
gpuset_size(const struct gpuset *set)
{
	return set->count ? set->count : (int64_t)set->name_count;
}

static bool
is_reserved(int64_t index, const int64_t *reserved, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (reserved[i] == index)
			return true;
	return false;
}

static bool
refuse_reserved(int64_t index, const char *purpose, struct error *err)
{
	bool named = purpose && *purpose;

	fail(err, FAULT_RESERVED_GPU, "GPU %lld is reserved%s%s", (long long)index, named ? " for " : "",
		named ? purpose : "");
	return error_hint(err, "choose other GPUs, or take %lld out of the manifest's `reserve`", (long long)index);
}

bool
gpuset_check_reserved(
	const struct gpuset *set, const int64_t *reserved, size_t count, const char *purpose, struct error *err)
{
	int64_t index;

	for (size_t i = 0; i < set->name_count; i++)
		if (units_int(set->names[i], &index) && is_reserved(index, reserved, count))
			return refuse_reserved(index, purpose, err);
	return true;
}

/* One request for devices on one machine. */
struct choice {
	const struct gpus *gpus;
	const int64_t *reserved;
	size_t reserved_count;
	const char *purpose;
	struct arena *arena;
	const struct gpu **chosen;
	size_t count;
};

static bool
no_such_gpu(const struct choice *choice, const char *name, struct error *err)
{
	size_t count = choice->gpus->count;

	fail(err, FAULT_GPU_COUNT, "no GPU `%s` on this machine", name);
	if (!count)
		return error_hint(err, "the driver sees no GPU at all");
	return count == 1 ? error_hint(err, "there is GPU 0 alone") : error_hint(err, "there are GPUs 0-%zu", count - 1);
}

static bool
choose_named(const struct gpuset *set, struct choice *choice, struct error *err)
{
	for (size_t i = 0; i < set->name_count; i++) {
		const struct gpu *gpu = gpus_find(choice->gpus, set->names[i]);

		if (!gpu)
			return no_such_gpu(choice, set->names[i], err);
		if (is_reserved((int64_t)gpu->index, choice->reserved, choice->reserved_count))
			return refuse_reserved((int64_t)gpu->index, choice->purpose, err);
		if (gpu->broken)
			return fail(err, FAULT_GPU_COUNT, "GPU %u cannot be used: %s", gpu->index, gpu->broken);
		for (size_t other = 0; other < choice->count; other++)
			if (choice->chosen[other] == gpu)
				return wrong(
					err, arena_printf(choice->arena, "GPU %u is named twice, by index and by UUID", gpu->index));
		choice->chosen[choice->count++] = gpu;
	}
	return true;
}

static void
take(struct choice *choice, size_t most, bool free)
{
	for (size_t i = 0; i < choice->gpus->count && choice->count < most; i++) {
		const struct gpu *gpu = &choice->gpus->items[i];

		if (!gpu->broken && gpu_is_free(gpu) == free &&
			!is_reserved((int64_t)gpu->index, choice->reserved, choice->reserved_count))
			choice->chosen[choice->count++] = gpu;
	}
}

/* Who keeps the others from being free: what the user wants to know next. */
static const char *
holders(const struct choice *choice)
{
	struct buf text finally(buf_finish) = { 0 };

	buf_init(&text, 200);
	for (size_t i = 0; i < choice->gpus->count; i++) {
		const struct gpu *gpu = &choice->gpus->items[i];
		const struct gpu_process *first = gpu->process_count ? &gpu->processes[0] : NULL;

		if (gpu->broken || gpu_is_free(gpu))
			continue;
		buf_printf(
			&text, "%sGPU %u: %s", text.size ? ", " : "", gpu->index, units_show_memory(choice->arena, gpu->used));
		if (first && *first->name)
			buf_printf(&text, " by %s%s%s", first->name, *first->user ? " of " : "", first->user);
	}
	return arena_copy(choice->arena, text.data);
}

static bool
choose_by_count(const struct gpuset *set, struct choice *choice, struct error *err)
{
	const char *held;

	take(choice, (size_t)set->count, true);
	if (!set->want_free)
		take(choice, (size_t)set->count, false);
	if (choice->count == (size_t)set->count)
		return true;
	if (!set->want_free) {
		fail(err, FAULT_GPU_COUNT, "%lld GPUs are asked for, %zu may be used", (long long)set->count, choice->count);
		return choice->reserved_count ?
			error_hint(err, "%zu of %zu are reserved", choice->reserved_count, choice->gpus->count) :
			false;
	}
	fail(err, FAULT_GPU_BUSY, "%lld free GPUs are asked for, %zu of %zu are free", (long long)set->count, choice->count,
		choice->gpus->count);
	held = holders(choice);
	return *held ? error_hint(err, "in use: %s", held) : false;
}

bool
gpuset_choose(const struct gpuset *set, const struct gpus *gpus, const int64_t *reserved, size_t reserved_count,
	const char *purpose, struct arena *arena, const struct gpu ***chosen, size_t *count, struct error *err)
{
	size_t room = (size_t)gpuset_size(set) + 1;
	struct choice choice = {
		.gpus = gpus,
		.reserved = reserved,
		.reserved_count = reserved_count,
		.purpose = purpose,
		.arena = arena,
		.chosen = arena_array(arena, room, sizeof *choice.chosen),
	};

	if (!set->none && !(set->count ? choose_by_count(set, &choice, err) : choose_named(set, &choice, err)))
		return false;
	*chosen = choice.chosen;
	*count = choice.count;
	return true;
}
