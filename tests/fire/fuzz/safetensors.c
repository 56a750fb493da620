/* The header of a safetensors file: what is accepted covers the file, and adds up.
 *
 * Input: two bytes for how much data there is, a text that is `config.json`, 0x1e, and the header. */
#include "rules/safetensors.h"

#include <string.h>

#include "engine/base/json.h"
#include "fuzz.h"
#include "rules/architecture.h"

/* Of types whose size is known, in bits. */
static uint64_t
bits_of(const char *dtype)
{
	static const struct {
		const char *name;
		uint64_t bits;
	} types[] = { { "BOOL", 8 }, { "U8", 8 }, { "I8", 8 }, { "I16", 16 }, { "U16", 16 }, { "F16", 16 }, { "BF16", 16 }, { "I32", 32 }, { "U32", 32 },
		{ "F32", 32 }, { "F64", 64 }, { "I64", 64 }, { "U64", 64 }, { "F8_E4M3", 8 }, { "F8_E5M2", 8 } };

	for (size_t i = 0; i < sizeof types / sizeof *types; i++)
		if (strcmp(types[i].name, dtype) == 0)
			return types[i].bits;
	return 0;
}

static void
check_tensors(const struct tensor *tensors, size_t count, uint64_t data_size)
{
	uint64_t at = 0;

	for (size_t i = 0; i < count; i++) {
		const struct tensor *tensor = &tensors[i];
		uint64_t bits = bits_of(tensor->dtype);

		promise(tensor->name && tensor->begin == at && tensor->end >= at);
		promise(!bits || tensor->elements <= UINT64_MAX / bits);
		promise(!bits || tensor->elements * bits == (tensor->end - tensor->begin) * 8);
		at = tensor->end;
	}
	promise(data_size == UINT64_MAX || at == data_size);
}

/* What is loaded is at most four times as large as what is stored: one byte became a float. */
static void
check_sums(const struct architecture *arch, uint64_t stored)
{
	uint64_t layers = 0;

	promise(arch->weight_bytes <= 8 * stored);
	promise(arch->vision_bytes <= arch->weight_bytes && arch->embedding_bytes <= arch->weight_bytes);
	promise(arch->kv_bytes <= arch->weight_bytes && arch->replicated_bytes <= arch->weight_bytes);
	for (int64_t i = 0; arch->layer_bytes && i < arch->layers.value; i++)
		layers += arch->layer_bytes[i];
	promise(layers + arch->vision_bytes + arch->embedding_bytes <= arch->weight_bytes);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena arena finally(arena_finish) = { 0 };
	struct feed feed = { data, size };
	struct architecture arch = { 0 };
	struct error err = { 0 };
	struct tensor *tensors;
	uint64_t data_size, stored, length;
	const char *config, *header;
	size_t config_size, header_size, count;

	if (size > 16384)
		return 0;
	if (size >= 8 && safetensors_length(data, &length, &err))
		promise(length >= 2 && length <= 100000000);
	data_size = feed_byte(&feed);
	data_size = data_size << 8 | feed_byte(&feed);
	if (data_size == 0xffff)
		data_size = UINT64_MAX;
	config = feed_text(&feed, &arena, &config_size);
	header = feed_text(&feed, &arena, &header_size);
	if (!safetensors_read(header, header_size, data_size, &arena, &tensors, &count, &err)) {
		promise(err.fault == FAULT_PROTOCOL);
		return 0;
	}
	check_tensors(tensors, count, data_size);
	if (!architecture_read(config, config_size, &arena, &arch, &err))
		return 0;
	stored = count ? tensors[count - 1].end : 0;
	promise(architecture_add_header(&arch, header, header_size, data_size, &arena, &err));
	if (stored < UINT64_MAX / 8)
		check_sums(&arch, stored);
	return 0;
}
