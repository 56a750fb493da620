#include "safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/json.h"

/* The library itself refuses longer ones. */
#define LONGEST_HEADER 100000000u

bool
safetensors_length(const unsigned char bytes[8], uint64_t *length, struct error *err)
{
	uint64_t value = 0;

	for (size_t i = 8; i-- > 0;)
		value = value << 8 | bytes[i];
	if (value < 2 || value > LONGEST_HEADER)
		return fail(err, FAULT_PROTOCOL, "not a safetensors file: its header would be %llu bytes long",
			(unsigned long long)value);
	*length = value;
	return true;
}

static bool
read_elements(const json_t *shape, struct tensor *tensor)
{
	const json_t *side;
	size_t i;

	if (!json_is_array(shape))
		return false;
	tensor->elements = 1;
	tensor->dimensions = json_array_size(shape);
	json_array_foreach (shape, i, side) {
		if (!json_is_integer(side) || json_integer_value(side) < 0 ||
			__builtin_mul_overflow(tensor->elements, (uint64_t)json_integer_value(side), &tensor->elements))
			return false;
	}
	return true;
}

/* Whether so many elements of a type that is known take so many bytes. */
static bool
fits_type(const struct tensor *tensor)
{
	static const struct {
		const char *name;
		uint64_t bits;
	} types[] = { { "F4", 4 }, { "BOOL", 8 }, { "U8", 8 }, { "I8", 8 }, { "F8_E4M3", 8 }, { "F8_E5M2", 8 }, { "F8_E8M0", 8 }, { "I16", 16 },
		{ "U16", 16 }, { "F16", 16 }, { "BF16", 16 }, { "I32", 32 }, { "U32", 32 }, { "F32", 32 }, { "I64", 64 }, { "U64", 64 }, { "F64", 64 },
		{ "C64", 64 } };
	uint64_t bits;

	for (size_t i = 0; i < sizeof types / sizeof *types; i++)
		if (strcmp(tensor->dtype, types[i].name) == 0)
			return !__builtin_mul_overflow(tensor->elements, types[i].bits, &bits) && bits % 8 == 0 &&
				bits / 8 == tensor->end - tensor->begin;
	return true;
}

static bool
read_tensor(const char *name, const json_t *value, struct arena *arena, struct tensor *tensor)
{
	const json_t *offsets = json_at(value, "data_offsets");
	const json_t *begin = json_array_get(offsets, 0), *end = json_array_get(offsets, 1);
	const char *dtype = json_string_at(value, "dtype");

	if (!dtype || json_array_size(offsets) != 2 || !json_is_integer(begin) || !json_is_integer(end) ||
		json_integer_value(begin) < 0 || json_integer_value(end) < json_integer_value(begin) ||
		!read_elements(json_at(value, "shape"), tensor))
		return false;
	tensor->name = arena_copy(arena, name);
	tensor->dtype = arena_copy(arena, dtype);
	tensor->begin = (uint64_t)json_integer_value(begin);
	tensor->end = (uint64_t)json_integer_value(end);
	return fits_type(tensor);
}

static int
compare_tensors(const void *left, const void *right)
{
	const struct tensor *a = left, *b = right;

	if (a->begin != b->begin)
		return a->begin < b->begin ? -1 : 1;
	return a->end < b->end ? -1 : a->end > b->end;
}

static bool
check_cover(const struct tensor *tensors, size_t count, uint64_t data_size, struct error *err)
{
	uint64_t at = 0;

	for (size_t i = 0; i < count; at = tensors[i++].end)
		if (tensors[i].begin != at)
			return fail(err, FAULT_PROTOCOL, "tensor `%s` begins at %llu, the one before it ends at %llu",
				tensors[i].name, (unsigned long long)tensors[i].begin, (unsigned long long)at);
	if (data_size != UINT64_MAX && at != data_size)
		return fail(err, FAULT_PROTOCOL, "tensors end at %llu, the data is %llu bytes long", (unsigned long long)at,
			(unsigned long long)data_size);
	return true;
}

bool
safetensors_read(const char *header, size_t size, uint64_t data_size, struct arena *arena, struct tensor **tensors,
	size_t *count, struct error *err)
{
	json_t *json finally(json_release) = NULL;
	struct tensor *items;
	size_t made = 0;
	const char *name;
	json_t *value;

	if (!json_parse(header, size, "safetensors header", &json, err))
		return false;
	if (!json_is_object(json))
		return fail(err, FAULT_PROTOCOL, "safetensors header: not a JSON object");
	items = arena_array(arena, json_object_size(json) + 1, sizeof *items);
	json_object_foreach (json, name, value) {
		if (strcmp(name, "__metadata__") == 0)
			continue;
		if (!read_tensor(name, value, arena, &items[made]))
			return fail(err, FAULT_PROTOCOL, "safetensors header: tensor `%s` is broken", name);
		made++;
	}
	if (made)
		qsort(items, made, sizeof *items, compare_tensors);
	if (!check_cover(items, made, data_size, err))
		return false;
	*tensors = items;
	*count = made;
	return true;
}
