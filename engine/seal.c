#include "seal.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/pack.h"
#include "base/strings.h"
#include "inspect.h"

#define VERSION "4 " PROVISION_VERSION
#define MANY_FILES 2000 /* from here on a second thread pays for itself */

static const char *
home(void)
{
	const char *value = getenv("HOME");

	return value ? value : "";
}

/* An array of numbers as one field. */
static uint32_t *
read_numbers(struct unpack *unpack, struct arena *arena, uint32_t *count)
{
	size_t size;
	const void *bytes = unpack_bytes(unpack, &size);
	uint32_t *numbers = arena_array(arena, size / sizeof *numbers + 1, sizeof *numbers);

	unpack->bad |= size % sizeof *numbers != 0 || size / sizeof *numbers >= SEAL_NONE;
	if (size > 0 && !unpack->bad)
		memcpy(numbers, bytes, size);
	*count = unpack->bad ? 0 : (uint32_t)(size / sizeof *numbers);
	return numbers;
}

static bool
read_files(struct seal *seal, struct unpack *unpack, struct arena *arena)
{
	size_t size, text_size;
	const void *keys = unpack_bytes(unpack, &size);
	const char *text = unpack_bytes(unpack, &text_size);
	struct stat_key *copy;
	const char *end;

	if (unpack->bad || size % sizeof *copy != 0 || size / sizeof *copy >= SEAL_NONE)
		return false;
	seal->file_count = (uint32_t)(size / sizeof *copy);
	copy = arena_array(arena, seal->file_count + 1, sizeof *copy);
	if (size > 0)
		memcpy(copy, keys, size);
	seal->keys = copy;
	seal->paths = arena_array(arena, seal->file_count + 1, sizeof *seal->paths);
	seal->changed = arena_alloc(arena, seal->file_count + 1);
	end = text + text_size;
	for (uint32_t i = 0; i < seal->file_count; i++) {
		const char *nul = memchr(text, '\0', (size_t)(end - text));

		if (!nul)
			return false;
		seal->paths[i] = text;
		text = nul + 1;
	}
	return text == end;
}

static bool
read_targets(struct seal *seal, struct unpack *unpack, struct arena *arena)
{
	uint32_t at = 0;

	seal->counts = read_numbers(unpack, arena, &seal->target_count);
	seal->trail = read_numbers(unpack, arena, &seal->trail_count);
	seal->firsts = arena_array(arena, seal->target_count + 1, sizeof *seal->firsts);
	for (uint32_t i = 0; i < seal->target_count; i++) {
		seal->firsts[i] = at;
		if (seal->counts[i] == SEAL_NONE)
			continue;
		if (seal->counts[i] > seal->trail_count - at)
			return false;
		at += seal->counts[i];
	}
	for (uint32_t i = 0; i < seal->trail_count; i++)
		if (seal->trail[i] >= seal->file_count)
			return false;
	return at == seal->trail_count;
}

bool
seal_read(struct seal *seal, const void *bytes, size_t size, struct arena *arena)
{
	struct seal found = { 0 };
	struct unpack unpack;
	const char *version;
	size_t sources_size;

	if (!unpack_sound(bytes, &size))
		return false;
	unpack_init(&unpack, bytes, size);
	version = unpack_text(&unpack);
	if (!version || strcmp(version, VERSION) != 0)
		return false;
	found.manifest = unpack_text(&unpack);
	found.root = unpack_text(&unpack);
	found.home = unpack_text(&unpack);
	found.complete = unpack_int(&unpack) != 0;
	found.wanted = (uint32_t)unpack_int(&unpack);
	found.sources = unpack_bytes(&unpack, &sources_size);
	found.source_count = (uint32_t)(sources_size / DIGEST_SIZE);
	if (!found.manifest || !found.root || !found.home || sources_size % DIGEST_SIZE != 0)
		return false;
	if (!read_files(&found, &unpack, arena) || !read_targets(&found, &unpack, arena) || !unpack_done(&unpack))
		return false;
	if (found.source_count == 0 || found.source_count > found.file_count)
		return false;
	*seal = found;
	return true;
}

bool
seal_is_of(const struct seal *seal, const char *manifest, const char *root)
{
	return seal->manifest && strcmp(seal->manifest, manifest) == 0 && strcmp(seal->root, root) == 0 && strcmp(seal->home, home()) == 0;
}

/* Part of the files, for one thread. */
struct share {
	struct seal *seal;
	int root;
	uint32_t first;
	uint32_t step;
	uint32_t changed;
};

static void *
look_at_share(void *argument)
{
	struct share *share = argument;
	struct seal *seal = share->seal;

	for (uint32_t i = share->first; i < seal->file_count; i += share->step) {
		struct stat_key now;
		struct stat st;

		if (fstatat(share->root, seal->paths[i], &st, 0) == 0) {
			now = stat_key_of(&st);
			if (stat_key_equal(&now, &seal->keys[i]))
				continue;
		}
		seal->changed[i] = 1;
		share->changed++;
	}
	return NULL;
}

void
seal_look(struct seal *seal)
{
	int root finally(close_fd) = open(seal->root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct share shares[2] = {
		{ .seal = seal, .root = root, .first = 0, .step = 2 },
		{ .seal = seal, .root = root, .first = 1, .step = 2 },
	};
	pthread_t helper;

	if (seal->file_count < MANY_FILES || pthread_create(&helper, NULL, look_at_share, &shares[1]) != 0) {
		shares[0].step = 1;
		look_at_share(&shares[0]);
	} else {
		look_at_share(&shares[0]);
		pthread_join(helper, NULL);
	}
	seal->changed_count = shares[0].changed + shares[1].changed;
}

bool
seal_holds(const struct seal *seal)
{
	return seal->complete && seal->changed_count == 0;
}

bool
seal_fits(const struct seal *seal, const struct manifest *manifest, const struct graph *graph)
{
	if (!seal->manifest || strcmp(seal->manifest, manifest->path) != 0 || seal->target_count != graph->count)
		return false;
	if (seal->source_count != manifest->sources.count)
		return false;
	for (uint32_t i = 0; i < seal->source_count; i++)
		if (memcmp(seal->sources + (size_t)i * DIGEST_SIZE, manifest->sources.items[i].digest.bytes, DIGEST_SIZE) != 0)
			return false;
	return true;
}

bool
seal_has(const struct seal *seal, uint32_t target)
{
	if (target >= seal->target_count || seal->counts[target] == SEAL_NONE)
		return false;
	for (uint32_t i = 0; i < seal->counts[target]; i++)
		if (seal->changed[seal->trail[seal->firsts[target] + i]])
			return false;
	return true;
}

void
seal_narrow(struct seal *seal, const struct inspection *inspection)
{
	for (uint32_t i = 0; i < seal->target_count && i < inspection->graph->count; i++)
		if (!inspection->seen[i].sealed)
			seal->counts[i] = SEAL_NONE;
}

/* A seal in the making. A file stands in it once for each table that it comes from. */
struct making {
	const struct inspection *inspection;
	const struct seal *before;   /* NULL: none */
	size_t root_size;
	struct buf keys;
	struct buf texts;
	struct buf counts;
	struct buf trail;
	uint32_t files;
	uint32_t *from_sights;       /* index of a sight -> index of a file, plus 1 */
	uint32_t *from_before;
	struct arena arena;
};

static void
making_finish(struct making *making)
{
	buf_finish(&making->keys);
	buf_finish(&making->texts);
	buf_finish(&making->counts);
	buf_finish(&making->trail);
	arena_finish(&making->arena);
}

static void
making_init(struct making *making, const struct inspection *inspection, size_t limit)
{
	size_t sights = inspection->known->sights.count + inspection->manifest->sources.count;

	making->inspection = inspection;
	making->before = inspection->wishes->seal;
	making->root_size = strlen(inspection->project->root);
	buf_init(&making->keys, limit);
	buf_init(&making->texts, limit);
	buf_init(&making->counts, limit);
	buf_init(&making->trail, limit);
	making->from_sights = arena_array(&making->arena, sights + 1, sizeof *making->from_sights);
	making->from_before = arena_array(&making->arena, making->before ? making->before->file_count + 1 : 1, sizeof *making->from_before);
}

static void
add_number(struct buf *numbers, uint32_t number)
{
	buf_add(numbers, &number, sizeof number);
}

static uint32_t
add_file(struct making *making, const char *path, const struct stat_key *key)
{
	const char *root = making->inspection->project->root;

	if (strncmp(path, root, making->root_size) == 0 && path[making->root_size] == '/' && path[making->root_size + 1] != '/')
		path += making->root_size + 1;
	buf_add(&making->texts, path, strlen(path) + 1);
	buf_add(&making->keys, key, sizeof *key);
	return making->files++;
}

static uint32_t
file_before(struct making *making, uint32_t file)
{
	uint32_t *at = &making->from_before[file];

	if (!*at)
		*at = add_file(making, making->before->paths[file], &making->before->keys[file]) + 1;
	return *at - 1;
}

static uint32_t
file_of_sight(struct making *making, uint32_t sight)
{
	const struct sight *seen = &making->inspection->known->sights.items[sight];
	uint32_t *at = &making->from_sights[sight];

	if (!*at)
		*at = add_file(making, seen->path, &seen->key) + 1;
	return *at - 1;
}

/* The bytes that were parsed must be those that lie there. */
static bool
add_source(struct making *making, uint32_t number)
{
	const struct source *source = &making->inspection->manifest->sources.items[number];
	struct known *known = making->inspection->known;
	struct digest digest;
	struct error ignored;
	struct stat_key key;

	if (making->before && !making->before->changed[number]) {
		file_before(making, number);
		return true;
	}
	if (!known_load(known, &ignored) || !known_digest(known, source->path, false, NULL, &digest, &key, &ignored))
		return false;
	if (!digest_equal(&digest, &source->digest) || !known_has(known, &key, &digest))
		return false;
	add_file(making, source->path, &key);
	return true;
}

static bool
can_be_sealed(const struct inspection *inspection, uint32_t id)
{
	const struct seen *seen = &inspection->seen[id];
	struct known *known = inspection->known;

	if (!seen->wanted || seen->reason != REASON_NONE || seen->refused || seen->elsewhere || !inspection->graph->targets[id].rule->files_alone)
		return false;
	/* Nor may a file be racily clean. */
	for (uint32_t i = 0; i < seen->sight_count; i++) {
		const struct sight *sight = &known->sights.items[known->trail[seen->sights + i]];

		if (!known_has(known, &sight->key, &sight->digest))
			return false;
	}
	return true;
}

static bool
add_target(struct making *making, uint32_t id)
{
	const struct inspection *inspection = making->inspection;
	const struct seen *seen = &inspection->seen[id];
	const struct seal *before = making->before;

	if (seen->sealed) {
		add_number(&making->counts, before->counts[id]);
		for (uint32_t i = 0; i < before->counts[id]; i++)
			add_number(&making->trail, file_before(making, before->trail[before->firsts[id] + i]));
		return true;
	}
	if (!can_be_sealed(inspection, id)) {
		add_number(&making->counts, SEAL_NONE);
		return false;
	}
	add_number(&making->counts, seen->sight_count);
	for (uint32_t i = 0; i < seen->sight_count; i++)
		add_number(&making->trail, file_of_sight(making, inspection->known->trail[seen->sights + i]));
	return true;
}

static bool
is_self_contained(const struct manifest *manifest)
{
	for (size_t i = 0; i < manifest->sources.count; i++)
		if (manifest->sources.items[i].path[0] != '/')
			return false; /* standard input, or the value of an option */
	return !manifest->environment;
}

static bool
is_plain(const struct inspection *inspection)
{
	const struct wishes *wishes = inspection->wishes;

	if (wishes->targets.count || wishes->excludes.count || wishes->replaces.count || wishes->refresh || wishes->deep)
		return false;
	return !inspection->kept_count && !inspection->intent_count && !inspection->gone_count && inspection->known->still;
}

static void
pack_header(const struct inspection *inspection, bool complete, uint32_t wanted, struct buf *bytes)
{
	const struct manifest *manifest = inspection->manifest;
	struct buf digests finally(buf_finish) = { 0 };

	pack_text(bytes, VERSION);
	pack_text(bytes, manifest->path);
	/* Inputs are named as seen from the root, whichever way that was found. */
	pack_text(bytes, inspection->project->root);
	pack_text(bytes, home());
	pack_int(bytes, complete);
	pack_int(bytes, wanted);
	buf_init(&digests, bytes->limit);
	for (size_t i = 0; i < manifest->sources.count; i++)
		buf_add(&digests, manifest->sources.items[i].digest.bytes, DIGEST_SIZE);
	pack_bytes(bytes, digests.data, digests.size);
}

bool
seal_make(const struct inspection *inspection, struct buf *bytes)
{
	struct making making finally(making_finish) = { 0 };
	uint32_t sealed = 0, wanted = 0;

	if (!is_plain(inspection) || !is_self_contained(inspection->manifest))
		return false;
	making_init(&making, inspection, bytes->limit);
	for (uint32_t i = 0; i < inspection->manifest->sources.count; i++)
		if (!add_source(&making, i))
			return false;
	for (uint32_t i = 0; i < inspection->graph->count; i++) {
		wanted += inspection->seen[i].wanted;
		sealed += add_target(&making, i);
	}
	if (sealed < wanted && sealed < SEAL_WORTH)
		return false;
	pack_header(inspection, sealed == wanted, wanted, bytes);
	pack_bytes(bytes, making.keys.data, making.keys.size);
	pack_bytes(bytes, making.texts.data, making.texts.size);
	pack_bytes(bytes, making.counts.data, making.counts.size);
	pack_bytes(bytes, making.trail.data, making.trail.size);
	pack_sum(bytes);
	return !bytes->truncated && !making.keys.truncated && !making.texts.truncated && !making.trail.truncated && !making.counts.truncated;
}
