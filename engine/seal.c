#include "seal.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/pack.h"

#define VERSION "2 " PROVISION_VERSION
#define MANY_FILES 2000 /* from here on a second thread pays for itself */

/* Text that makes a manifest depend on the environment, however it is put together. */
#define ENVIRONMENT "env."

/* `~` stands for it in paths, and in what a path is put together from. */
static const char *
home(void)
{
	const char *value = getenv("HOME");

	return value ? value : "";
}

static bool
is_self_contained(const struct manifest *manifest)
{
	for (size_t i = 0; i < manifest->sources.count; i++) {
		const struct source *source = &manifest->sources.items[i];

		if (source->path[0] != '/')
			return false; /* standard input, or the value of an option */
		if (memmem(source->text, source->size, ENVIRONMENT, strlen(ENVIRONMENT)))
			return false;
	}
	return true;
}

static bool
looks_at_files_alone(const struct inspection *inspection)
{
	const struct wishes *wishes = inspection->wishes;

	if (wishes->targets.count || wishes->excludes.count || wishes->replaces.count || wishes->refresh || wishes->deep)
		return false;
	if (inspection->kept_count || inspection->intent_count || inspection->gone_count || inspection->known->elsewhere)
		return false;
	for (uint32_t i = 0; i < inspection->graph->count; i++)
		if (inspection->seen[i].wanted && (inspection->seen[i].reason != REASON_NONE || !inspection->graph->targets[i].rule->files_alone))
			return false;
	return true;
}

static void
add_file(struct buf *bytes, const char *path, const struct stat_key *key)
{
	pack_text(bytes, path);
	pack_bytes(bytes, key, sizeof *key);
}

/* The bytes that were parsed must be those that lie there. This look is one of the sights from here on. */
static bool
is_as_parsed(const struct inspection *inspection, const struct source *source)
{
	struct digest digest;
	struct error ignored;

	return known_digest(inspection->known, source->path, false, NULL, &digest, NULL, &ignored) && digest_equal(&digest, &source->digest);
}

bool
seal_make(const struct inspection *inspection, struct buf *bytes)
{
	const struct manifest *manifest = inspection->manifest;
	uint32_t targets = 0;

	if (!inspection->known->still || !is_self_contained(manifest) || !looks_at_files_alone(inspection))
		return false;
	for (uint32_t i = 0; i < inspection->graph->count; i++)
		targets += inspection->seen[i].wanted;
	pack_text(bytes, VERSION);
	pack_text(bytes, manifest->path);
	/* Inputs are named as seen from the root, whichever way that was found. */
	pack_text(bytes, inspection->project->root);
	pack_text(bytes, home());
	pack_int(bytes, targets);
	for (size_t i = 0; i < manifest->sources.count; i++)
		if (!is_as_parsed(inspection, &manifest->sources.items[i]))
			return false;
	for (size_t i = 0; i < inspection->known->sights.count; i++) {
		const struct sight *sight = &inspection->known->sights.items[i];

		/* Nor may it be racily clean. */
		if (!known_has(inspection->known, &sight->key, &sight->digest))
			return false;
		add_file(bytes, sight->path, &sight->key);
	}
	return !bytes->truncated;
}

/* Part of the files, for one thread: every `step`th from `first` on. */
struct share {
	const char *const *paths;
	const struct stat_key *const *keys;
	size_t count;
	size_t first;
	size_t step;
	const atomic_bool *broken; /* another share has found a difference */
	bool holds;
};

static void *
check_share(void *argument)
{
	struct share *share = argument;

	share->holds = true;
	for (size_t i = share->first; i < share->count && share->holds && !*share->broken; i += share->step) {
		struct stat_key now;
		struct stat st;

		share->holds = stat(share->paths[i], &st) == 0;
		if (!share->holds)
			break;
		now = stat_key_of(&st);
		share->holds = memcmp(&now, share->keys[i], sizeof now) == 0;
	}
	return NULL;
}

static bool
check_files(const char *const *paths, const struct stat_key *const *keys, size_t count)
{
	atomic_bool broken = false;
	struct share shares[2] = {
		{ .paths = paths, .keys = keys, .count = count, .first = 0, .step = 2, .broken = &broken },
		{ .paths = paths, .keys = keys, .count = count, .first = 1, .step = 2, .broken = &broken },
	};
	pthread_t helper;

	if (count < MANY_FILES || pthread_create(&helper, NULL, check_share, &shares[1]) != 0) {
		shares[0].step = 1;
		check_share(&shares[0]);
		return shares[0].holds;
	}
	check_share(&shares[0]);
	broken = !shares[0].holds;
	pthread_join(helper, NULL);
	return shares[0].holds && shares[1].holds;
}

static bool
next_is(struct unpack *unpack, const char *wanted)
{
	const char *text = unpack_text(unpack);

	return text && strcmp(text, wanted) == 0;
}

bool
seal_holds(const void *bytes, size_t size, const char *manifest, const char *root, struct seal *seal)
{
	struct arena arena finally(arena_finish) = { 0 };
	struct unpack unpack;
	const char **paths;
	const struct stat_key **keys;
	size_t count = 0, length;

	unpack_init(&unpack, bytes, size);
	if (!next_is(&unpack, VERSION) || !next_is(&unpack, manifest) || !next_is(&unpack, root) || !next_is(&unpack, home()))
		return false;
	seal->targets = (uint32_t)unpack_int(&unpack);
	paths = arena_array(&arena, size / sizeof(struct stat_key) + 1, sizeof *paths);
	keys = arena_array(&arena, size / sizeof(struct stat_key) + 1, sizeof *keys);
	while (!unpack_done(&unpack) && !unpack.bad) {
		paths[count] = unpack_text(&unpack);
		keys[count] = unpack_bytes(&unpack, &length);
		if (!paths[count] || length != sizeof(struct stat_key))
			return false;
		count++;
	}
	seal->files = (uint32_t)count;
	return !unpack.bad && count > 0 && check_files(paths, keys, count);
}
