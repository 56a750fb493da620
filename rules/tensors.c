#include "architecture.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/arena.h"
#include "safetensors.h"

/* What a tensor is, told from a piece of its name. */
enum part { PART_LAYER, PART_VISION, PART_EMBEDDING, PART_KV, PART_FUSED, PART_WHOLE };

static const struct {
	const char *piece;
	enum part part;
} pieces[] = {
	{ "visual.", PART_VISION },
	{ "vision", PART_VISION },
	{ "multi_modal_projector.", PART_VISION },
	{ "mm_projector.", PART_VISION },
	{ "embed_tokens.", PART_EMBEDDING },
	{ "lm_head.", PART_EMBEDDING },
	{ "wte.", PART_EMBEDDING },
	{ "word_embeddings.", PART_EMBEDDING },
	{ "tok_embeddings.", PART_EMBEDDING },
	{ "embed_in.", PART_EMBEDDING },
	{ "embed_out.", PART_EMBEDDING },
	{ "output_layer.", PART_EMBEDDING },
	{ "kv_a_proj", PART_WHOLE },
	{ "q_a_proj", PART_WHOLE },
	{ "norm", PART_WHOLE },
	{ "ln_", PART_WHOLE },
	{ ".gate.", PART_WHOLE },
	{ ".k_proj.", PART_KV },
	{ ".v_proj.", PART_KV },
	{ ".qkv_proj.", PART_FUSED },
	{ ".query_key_value.", PART_FUSED },
	{ ".c_attn.", PART_FUSED },
	{ ".Wqkv.", PART_FUSED },
};

static enum part
part_of(const char *name)
{
	for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++)
		if (strstr(name, pieces[i].piece))
			return pieces[i].part;
	return PART_LAYER;
}

/* The text layer that a tensor belongs to; -1: none. */
static int64_t
layer_of(const char *name)
{
	static const char *const before[] = { "layers.", "h.", "blocks.", "layer." };

	for (size_t i = 0; i < sizeof before / sizeof *before; i++) {
		const char *at = name;

		while ((at = strstr(at, before[i]))) {
			const char *digits = at + strlen(before[i]);
			size_t length = strspn(digits, "0123456789");

			if ((at == name || at[-1] == '.') && length > 0 && length < 6 && digits[length] == '.')
				return strtol(digits, NULL, 10);
			at = digits;
		}
	}
	return -1;
}

/* Bytes on the GPU: plain floats are loaded in the type that the model runs in, whatever the file has. */
static uint64_t
loaded_bytes(const struct architecture *arch, const struct tensor *tensor)
{
	static const char *const plain[] = { "F16", "BF16", "F32", "F64" };

	for (size_t i = 0; arch->quantisation == QUANT_NONE && arch->dtype_bytes && i < sizeof plain / sizeof *plain; i++)
		if (strcmp(tensor->dtype, plain[i]) == 0 && tensor->elements <= UINT64_MAX / (uint64_t)arch->dtype_bytes)
			return tensor->elements * (uint64_t)arch->dtype_bytes;
	return tensor->end - tensor->begin;
}

static void
add_layer_tensor(struct architecture *arch, int64_t layer, enum part part, uint64_t bytes)
{
	uint64_t heads = (uint64_t)arch->heads.value, kv = (uint64_t)arch->kv_heads.value;

	arch->layer_bytes[layer] += bytes;
	if (part == PART_WHOLE)
		arch->replicated_bytes += bytes;
	else if (part == PART_KV && !arch->mla)
		arch->kv_bytes += bytes;
	else if (part == PART_FUSED && heads > 0)
		arch->kv_bytes += (uint64_t)((double)bytes * (double)(2 * kv) / (double)(heads + 2 * kv));
}

static void
add_tensor(struct architecture *arch, const struct tensor *tensor)
{
	enum part part = part_of(tensor->name);
	uint64_t bytes = loaded_bytes(arch, tensor);
	int64_t layer = part == PART_VISION ? -1 : layer_of(tensor->name);

	/* Layers behind the last one predict further tokens; they are not loaded. */
	if (layer >= 0 && arch->layers.known && layer >= arch->layers.value)
		return;
	arch->weight_bytes += bytes;
	if (part == PART_VISION)
		arch->vision_bytes += bytes;
	else if (part == PART_EMBEDDING)
		arch->embedding_bytes += bytes;
	else if (layer >= 0 && arch->layer_bytes)
		add_layer_tensor(arch, layer, part, bytes);
	if (strstr(tensor->name, "lm_head."))
		arch->tied_embeddings = false;
}

bool
architecture_add_header(struct architecture *arch, const char *header, size_t size, uint64_t data_size,
	struct arena *arena, struct error *err)
{
	struct tensor *tensors;
	size_t count;

	if (!safetensors_read(header, size, data_size, arena, &tensors, &count, err))
		return false;
	if (!arch->layer_bytes && arch->layers.known && arch->layers.value < 100000)
		arch->layer_bytes = arena_array(arena, (size_t)arch->layers.value, sizeof *arch->layer_bytes);
	for (size_t i = 0; i < count && !arch->dtype_bytes; i++)
		if (strcmp(tensors[i].dtype, "BF16") == 0 || strcmp(tensors[i].dtype, "F16") == 0 ||
			strcmp(tensors[i].dtype, "F32") == 0)
			arch->dtype_bytes = 2;
	for (size_t i = 0; i < count; i++)
		add_tensor(arch, &tensors[i]);
	return true;
}
