#include "preflight.h"

#include <stdio.h>
#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/json.h"
#include "engine/base/path.h"
#include "safetensors.h"

#define CONFIG_LIMIT ((size_t)1 << 20)
#define INDEX_LIMIT ((size_t)32 << 20)
#define HEADER_LIMIT ((size_t)32 << 20)
/* Of a file whose header's length cannot be guessed from the index. */
#define FIRST_READ 32768u
#define LEAST_READ 512u
#define ENTRY_SIZE 96u /* of a tensor in a header, besides its name */
/* Beyond this many shards the total of the index must do. */
#define MOST_SHARDS 16

#define INDEX "model.safetensors.index.json"
#define SINGLE "model.safetensors"

/* Of all files together, where nothing is known of their headers: what is longer takes a second request. */
#define FIRST_READS 65536u

/* The files that hold the tensors, and about how long their headers are. */
struct shards {
	struct strings names;
	uint64_t headers[MOST_SHARDS + 1];
	uint64_t total;       /* bytes of all tensors, if they are too many to be read one by one */
	bool too_many;
};

void
model_close(struct model *model)
{
	hub_close(&model->hub);
}

static struct hub_file
unlisted(const char *path)
{
	return (struct hub_file){ .path = path, .size = UINT64_MAX };
}

static bool
is_remote(const struct hub_source *source)
{
	return source->kind != HUB_LOCAL && source->kind != HUB_FILE;
}

static bool
read_config(struct model *model, struct arena *arena, struct error *err)
{
	struct buf text finally(buf_finish) = { 0 };
	struct hub_file file = unlisted("config.json");

	buf_init(&text, CONFIG_LIMIT);
	if (!hub_read(&model->hub, model->commit, &file, 0, 0, &text, NULL, err))
		return false;
	if (text.truncated)
		return fail(err, FAULT_PROTOCOL, "config.json is larger than %zu bytes", CONFIG_LIMIT);
	model->bytes += text.size;
	if (!architecture_read(text.data, text.size, arena, &model->architecture, err))
		return false;
	model->config = arena_copy(arena, text.data);
	return true;
}

bool
model_open(struct model *model, const struct model_question *question, struct arena *arena, struct error *err)
{
	struct hub_source source;

	if (!hub_parse(question->source, question->endpoint, question->base, arena, &source, err))
		return false;
	model->source = source;
	model->name = source.repo ? source.repo : source.text;
	if (question->offline && is_remote(&source))
		return fail(err, FAULT_OFFLINE, "`%s` was not asked: offline", hub_source_name(&source, arena));
	if (!hub_open(&model->hub, &source, &question->token, false, NULL, question->cancel, arena, err))
		return false;
	model->hub.tries = question->tries;
	return hub_resolve(&model->hub, &model->commit, err) && read_config(model, arena, err);
}

/* The header of one file: its length, and in most cases with the same request its text. */
static bool
read_header(struct model *model, const char *path, uint64_t guess, struct arena *arena, struct error *err)
{
	struct buf bytes finally(buf_finish) = { 0 }, rest finally(buf_finish) = { 0 };
	struct hub_file file = unlisted(path);
	unsigned char first[8];
	uint64_t length;

	buf_init(&bytes, HEADER_LIMIT);
	buf_init(&rest, HEADER_LIMIT);
	if (!hub_read(&model->hub, model->commit, &file, 0, guess, &bytes, NULL, err))
		return false;
	model->bytes += bytes.size;
	if (bytes.size < sizeof first)
		return fail(err, FAULT_PROTOCOL, "`%s` is too short for a safetensors file", path);
	memcpy(first, bytes.data, sizeof first);
	if (!safetensors_length(first, &length, err))
		return error_wrap(err, "`%s`", path);
	if (length > HEADER_LIMIT - sizeof first)
		return fail(err, FAULT_PROTOCOL, "`%s` has a header of %llu bytes", path, (unsigned long long)length);
	if (bytes.size < sizeof first + length) {
		if (bytes.size < guess)
			return fail(err, FAULT_PROTOCOL, "`%s` ends within its header", path);
		if (!hub_read(
				&model->hub, model->commit, &file, bytes.size, sizeof first + length - bytes.size, &rest, NULL, err))
			return false;
		model->bytes += rest.size;
		buf_add(&bytes, rest.data, rest.size);
	}
	if (bytes.size < sizeof first + length)
		return fail(err, FAULT_PROTOCOL, "`%s` ends within its header", path);
	if (!architecture_add_header(
			&model->architecture, bytes.data + sizeof first, (size_t)length, UINT64_MAX, arena, err))
		return error_wrap(err, "`%s`", path);
	return true;
}

static void
add_entry(struct shards *shards, const char *shard, size_t tensor, struct arena *arena)
{
	size_t i = 0;

	while (i < shards->names.count && strcmp(shards->names.items[i], shard) != 0)
		i++;
	if (i > MOST_SHARDS)
		return;
	if (i == shards->names.count) {
		strings_add(&shards->names, arena, arena_copy(arena, shard));
		shards->headers[i] = LEAST_READ;
	}
	shards->headers[i] += tensor + ENTRY_SIZE;
}

static bool
shards_of(const json_t *index, struct shards *shards, struct arena *arena, struct error *err)
{
	const json_t *map = json_at(index, "weight_map"), *shard;
	const char *tensor, *why;
	void *at;

	for (at = json_object_iter((json_t *)(uintptr_t)map); at;
		at = json_object_iter_next((json_t *)(uintptr_t)map, at)) {
		tensor = json_object_iter_key(at);
		shard = json_object_iter_value(at);
		if (!json_is_string(shard) || !path_is_safe(json_string_value(shard), &why))
			return fail(err, FAULT_PROTOCOL, "%s: no file name for `%s`", INDEX, tensor);
		add_entry(shards, json_string_value(shard), strlen(tensor), arena);
	}
	return shards->names.count > 0 || fail(err, FAULT_PROTOCOL, "%s: no weight_map", INDEX);
}

/* "model-00001-of-00004.safetensors": which of how many. */
static bool
is_shard(const char *name, unsigned *number, unsigned *count)
{
	int end = 0;

	return sscanf(name, "model-%5u-of-%5u.safetensors%n", number, count, &end) == 2 && end > 0 && !name[end] && *number > 0 &&
		*number <= *count;
}

/* A hub's list of files is shorter than an index, and names the same ones; false: it does not, and the index must tell. */
static bool
list_shards(struct model *model, struct arena *arena, struct shards *shards)
{
	struct hub_listing listing;
	struct error ignored = { 0 };
	unsigned number, count, all = 0, found = 0;

	if ((model->source.kind != HUB_HUGGINGFACE && model->source.kind != HUB_MODELSCOPE) ||
		!hub_list(&model->hub, model->commit, &listing, &ignored))
		return false;
	for (size_t i = 0; i < listing.count; i++) {
		if (!is_shard(listing.files[i].path, &number, &count))
			continue;
		if ((all && count != all) || listing.files[i].size == UINT64_MAX)
			return false;
		all = count;
		found++;
		shards->total += listing.files[i].size;
		if (found <= MOST_SHARDS)
			strings_add(&shards->names, arena, listing.files[i].path);
	}
	shards->too_many = all > MOST_SHARDS;
	for (size_t i = 0; i < shards->names.count; i++)
		shards->headers[i] = FIRST_READS / all > LEAST_READ ? FIRST_READS / all : LEAST_READ;
	return all > 0 && found == all;
}

/* `*missing`: the weights are in one file, or not in safetensors at all. */
static bool
read_index(struct model *model, struct arena *arena, struct shards *shards, bool *missing, struct error *err)
{
	struct buf text finally(buf_finish) = { 0 };
	json_t *index finally(json_release) = NULL;
	struct hub_file file = unlisted(INDEX);
	int64_t total;

	buf_init(&text, INDEX_LIMIT);
	if (!hub_read(&model->hub, model->commit, &file, 0, 0, &text, missing, err))
		return false;
	if (*missing)
		return true;
	model->bytes += text.size;
	if (!json_parse(text.data, text.size, INDEX, &index, err) || !shards_of(index, shards, arena, err))
		return false;
	shards->total = json_int_at(index, "metadata.total_size", &total) && total > 0 ? (uint64_t)total : 0;
	shards->too_many = shards->names.count > MOST_SHARDS;
	return true;
}

static bool
measure(struct model *model, struct arena *arena, struct error *err)
{
	struct shards shards = { 0 };
	bool missing = false;

	if (!list_shards(model, arena, &shards)) {
		shards = (struct shards){ 0 };
		if (!read_index(model, arena, &shards, &missing, err))
			return false;
	}
	if (missing) {
		strings_add(&shards.names, arena, SINGLE);
		shards.headers[0] = FIRST_READ;
	}
	if (shards.too_many) {
		if (!shards.total)
			return fail(err, FAULT_PROTOCOL, "%s: more than %d files and no total_size", INDEX, MOST_SHARDS);
		model->architecture.weight_bytes = shards.total;
		return true;
	}
	for (size_t i = 0; i < shards.names.count; i++)
		if (!read_header(model, shards.names.items[i], shards.headers[i], arena, err))
			return false;
	return true;
}

void
model_measure(struct model *model, struct arena *arena)
{
	const struct architecture before = model->architecture;
	struct error err = { 0 };

	model->headers = measure(model, arena, &err);
	if (model->headers)
		return;
	/* Half a sum would be worse than none. */
	model->architecture = before;
	model->headers_problem = arena_copy(arena, err.text);
}
