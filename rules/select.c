#include "select.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/glob.h"
#include "engine/base/json.h"
#include "engine/base/names.h"
#include "engine/base/path.h"

#define MOST_BYTES ((uint64_t)2 << 40)

/* Unless asked for otherwise: what servers read besides weights, at the root of the repository. */
static const char *const companions[] = {
	"*.json", "tokenizer*", "*.model", "*.tiktoken", "*.txt", "*.jinja", "chat_template*", "LICENSE*", "NOTICE*", "README.md",
};

static const char *const pickles[] = { ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle" };

/* Other formats that a name beginning like a companion's may hide. */
static const char *const formats[] = { ".onnx", ".gguf", ".h5", ".msgpack", ".ot", ".tflite", ".safetensors", ".npy", ".npz" };

struct choice {
	const struct hub_listing *listing;
	const struct selection_rules *rules;
	struct arena *arena;
	bool *taken; /* by index of the listing */
};

static bool
has_ending(const char *path, const char *const *endings, size_t count)
{
	size_t size = strlen(path);

	for (size_t i = 0; i < count; i++) {
		size_t length = strlen(endings[i]);

		if (size > length && strcasecmp(path + size - length, endings[i]) == 0)
			return true;
	}
	return false;
}

static bool
is_pickle(const char *path)
{
	return has_ending(path, pickles, sizeof pickles / sizeof *pickles);
}

static bool
is_code(const char *path)
{
	static const char *const endings[] = { ".py", ".pyc", ".so" };

	return has_ending(path, endings, sizeof endings / sizeof *endings);
}

static bool
is_at_root(const char *path)
{
	return strchr(path, '/') == NULL;
}

/* ---- what a server needs ---- */

static bool
take_named(struct choice *choice, const char *name)
{
	const struct hub_listing *listing = choice->listing;

	for (size_t low = 0, high = listing->count; low < high;) {
		size_t middle = low + (high - low) / 2;
		int order = strcmp(listing->files[middle].path, name);

		if (order == 0)
			return choice->taken[middle] = true;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

/* Exactly the shards that an index names: a server loads no others, and fails without one of them. */
static bool
take_indexed(struct choice *choice, const char *text, size_t size, const char *what, struct error *err)
{
	json_t *index finally(json_release) = NULL;
	const json_t *map, *value;
	const char *name;

	if (!json_parse(text, size, what, &index, err))
		return false;
	map = json_object_get(index, "weight_map");
	if (!json_is_object(map) || json_object_size(map) == 0)
		return fail(err, FAULT_PROTOCOL, "`%s` has no `weight_map`", what);
	json_object_foreach((json_t *)(uintptr_t)map, name, value) {
		if (!json_is_string(value))
			return fail(err, FAULT_PROTOCOL, "`%s`: a weight is in no file", what);
		if (!take_named(choice, json_string_value(value)))
			return fail(err, FAULT_PROTOCOL, "`%s` names `%.200s`, which the listing does not have: it is incomplete", what,
				json_string_value(value));
	}
	return true;
}

static bool
take_root(struct choice *choice, bool (*fits)(const char *path))
{
	bool any = false;

	for (size_t i = 0; i < choice->listing->count; i++)
		if (is_at_root(choice->listing->files[i].path) && fits(choice->listing->files[i].path))
			any = choice->taken[i] = true;
	return any;
}

static bool
is_safetensors(const char *path)
{
	return text_ends(path, ".safetensors") && !text_starts(path, "consolidated");
}

static bool
is_torch(const char *path)
{
	return text_starts(path, "pytorch_model") && (text_ends(path, ".bin") || text_ends(path, ".bin.index.json"));
}

static bool
is_companion(const char *path)
{
	if (is_pickle(path) || is_code(path) || has_ending(path, formats, sizeof formats / sizeof *formats) ||
		text_ends(path, ".bin.index.json") || is_safetensors(path))
		return false;
	for (size_t i = 0; i < sizeof companions / sizeof *companions; i++)
		if (glob_match_name(companions[i], path))
			return true;
	return false;
}

static bool
take_weights(struct choice *choice, struct error *err)
{
	if (choice->rules->index)
		return take_indexed(choice, choice->rules->index, choice->rules->index_size, "model.safetensors.index.json", err);
	if (take_named(choice, "model.safetensors") || take_root(choice, is_safetensors))
		return true;
	for (size_t i = 0; i < choice->listing->count; i++)
		if (is_torch(choice->listing->files[i].path) && !choice->rules->allow_pickle) {
			fail(err, FAULT_CODE_REFUSED, "the repository has its weights as pickles alone (`%s`), and loading one runs code of its author",
				choice->listing->files[i].path);
			return error_hint(err, "choose a repository with safetensors, or say `allow_pickle: true` if you trust the author");
		}
	take_root(choice, is_torch);
	return true;
}

static bool
take_needed(struct choice *choice, struct error *err)
{
	if (!take_weights(choice, err))
		return false;
	take_root(choice, is_companion);
	for (size_t i = 0; i < choice->listing->count && choice->rules->allow_code; i++)
		if (text_ends(choice->listing->files[i].path, ".py"))
			choice->taken[i] = true;
	return true;
}

/* ---- patterns ---- */

static bool
apply_patterns(struct choice *choice, const struct strings *patterns, bool take, const char *word, struct error *err)
{
	for (size_t n = 0; n < patterns->count; n++) {
		bool any = false;

		for (size_t i = 0; i < choice->listing->count; i++)
			if (glob_match_hub(patterns->items[n], choice->listing->files[i].path)) {
				choice->taken[i] = take;
				any = true;
			}
		if (!any) {
			fail(err, FAULT_NO_MATCH, "`%s: %s` matches no file of the repository", word, patterns->items[n]);
			return error_hint(err, "`*` also matches `/`, case matters, and a trailing `/` means everything below");
		}
	}
	return true;
}

/* ---- what may not be taken ---- */

static bool
check_file(const struct selection_rules *rules, const struct hub_file *file, struct error *err)
{
	if (file->refusal)
		return fail(err, FAULT_PROTOCOL, "`%s` is %s, and only plain files are fetched; `exclude` it if it is not needed", file->path,
			file->refusal);
	if (is_pickle(file->path) && !rules->allow_pickle) {
		fail(err, FAULT_CODE_REFUSED, "`%s` is a pickle: loading it runs code of its author", file->path);
		return error_hint(err, "exclude it, or say `allow_pickle: true` if you trust the author");
	}
	if (is_code(file->path) && !rules->allow_code) {
		fail(err, FAULT_CODE_REFUSED, "`%s` is code of the repository's author", file->path);
		return error_hint(err, "exclude it, or say `allow_code: true` if you trust the author");
	}
	return true;
}

static bool
collect(const struct choice *choice, struct selection *selection, struct error *err)
{
	const struct hub_listing *listing = choice->listing;
	const char **names = arena_array(choice->arena, listing->count + 1, sizeof *names);
	struct selection made = { .files = arena_array(choice->arena, listing->count + 1, sizeof *made.files) };

	for (size_t i = 0; i < listing->count; i++) {
		const struct hub_file *file = &listing->files[i];

		if (!choice->taken[i]) {
			made.skipped++;
			made.skipped_bytes += file->size == UINT64_MAX ? 0 : file->size;
			continue;
		}
		if (!check_file(choice->rules, file, err))
			return false;
		names[made.count] = file->path;
		made.files[made.count++] = file;
		if (file->size == UINT64_MAX || made.bytes == UINT64_MAX)
			made.bytes = UINT64_MAX;
		else if ((made.bytes += file->size) > MOST_BYTES)
			return fail(err, FAULT_PROTOCOL, "the files have more than 2 TiB by the listing");
	}
	if (made.count == 0)
		return fail(err, FAULT_NO_MATCH, "no file is left to be fetched");
	if (!path_set_is_safe(names, made.count, err))
		return false;
	*selection = made;
	return true;
}

bool
select_files(const struct hub_listing *listing, const struct selection_rules *rules, struct arena *arena,
	struct selection *selection, struct error *err)
{
	struct choice choice = { .listing = listing, .rules = rules, .arena = arena };
	bool included = rules->include && rules->include->count > 0;

	choice.taken = arena_array(arena, listing->count + 1, sizeof *choice.taken);
	if (included ? !apply_patterns(&choice, rules->include, true, "include", err) : !take_needed(&choice, err))
		return false;
	if (rules->exclude && !apply_patterns(&choice, rules->exclude, false, "exclude", err))
		return false;
	return collect(&choice, selection, err);
}
