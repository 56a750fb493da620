#include <stdio.h>
#include <string.h>

#include "client/docker.h"
#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/units.h"
#include "engine/task.h"
#include "image.h"

const char *
image_short_id(struct arena *arena, const char *id)
{
	const char *hex = strchr(id, ':') ? strchr(id, ':') + 1 : id;
	size_t length = strlen(hex);

	if (length < 12)
		return arena_copy(arena, id);
	return arena_printf(arena, "%.*s%.4s...%s", (int)(hex - id), id, hex, hex + length - 4);
}

const char *
image_full_name(struct arena *arena, const char *ref)
{
	const char *slash = strchr(ref, '/');
	size_t first = slash ? (size_t)(slash - ref) : 0;
	bool host = slash && (memchr(ref, '.', first) || memchr(ref, ':', first) || strncmp(ref, "localhost/", 10) == 0);
	const char *last = strrchr(ref, '/');
	const char *tag = strpbrk(last ? last : ref, ":@") ? "" : ":latest";

	return arena_printf(arena, "%s%s%s", host ? "" : slash ? "docker.io/" : "docker.io/library/", ref, tag);
}

/* Repository of a reference, in full: no tag, no digest. */
static const char *
repository(struct arena *arena, const char *ref)
{
	const char *full = image_full_name(arena, ref);
	const char *slash = strrchr(full, '/');

	return arena_copy_bytes(arena, full, (size_t)(slash - full) + strcspn(slash, ":@"));
}

const char *
image_repo_digest(const json_t *inspected, const char *ref, struct arena *arena)
{
	const json_t *digests = json_object_get(inspected, "RepoDigests");
	const char *wanted = repository(arena, ref);

	for (size_t i = 0; i < json_array_size(digests); i++) {
		const char *entry = json_string_value(json_array_get(digests, i));
		const char *at = entry ? strchr(entry, '@') : NULL;

		if (at && strcmp(repository(arena, entry), wanted) == 0)
			return arena_copy(arena, at + 1);
	}
	return NULL;
}

static const char *
platform_of(const json_t *inspected, struct arena *arena)
{
	const char *os = json_string_at(inspected, "Os");
	const char *machine = json_string_at(inspected, "Architecture");
	const char *variant = json_string_at(inspected, "Variant");

	return arena_printf(arena, "%s/%s%s%s", os ? os : "linux", machine ? machine : "", variant && *variant ? "/" : "", variant ? variant : "");
}

/* `linux/arm64` also stands for its variants. */
static bool
platform_fits(const char *wanted, const char *have)
{
	size_t length = wanted ? strlen(wanted) : 0;

	return !wanted || (strncmp(wanted, have, length) == 0 && (have[length] == '\0' || have[length] == '/'));
}

/* The reference to pull: what an earlier build pinned, unless a refresh was asked for and found the tag moved. */
static const char *
pinned(const struct image *image, struct task *task, const struct pairs *pins)
{
	struct arena *arena = task_arena(task);
	json_t *owner finally(json_release) = NULL;
	const json_t *note = image_note(task_record(task), &owner);
	const char *used = json_string_value(json_object_get(json_object_get(note, "bases"), image->from));
	const char *pin = pairs_get(pins, image->from);
	const char *digest = pin && task_refresh(task) ? pin : used;
	const char *slash, *name;

	if (!digest || strchr(image->from, '@') || image->pull == PULL_ALWAYS)
		return image->from;
	slash = strrchr(image->from, '/');
	name = slash ? slash : image->from;
	return arena_printf(arena, "%.*s@%s", (int)((size_t)(name - image->from) + strcspn(name, ":")), image->from, digest);
}

static bool
may_pull(const struct image *image, struct task *task, const char *ref, struct error *err)
{
	if (task_offline(task))
		return fail(err, FAULT_OFFLINE, "`%s` is not in the engine, and --offline forbids to pull it", ref);
	if (image->pull == PULL_NEVER)
		return fail(err, FAULT_NO_IMAGE, "`%s` is not in the engine, and `pull: never` forbids to pull it", ref);
	return true;
}

/* Look an image up; an image of another platform than wanted counts as missing. */
static bool
look_up(struct docker *docker, const char *ref, const char *platform, struct arena *arena, json_t **found, bool *missing, struct error *err)
{
	if (!docker_image(docker, ref, found, missing, err))
		return false;
	if (!*missing && !platform_fits(platform, platform_of(*found, arena)))
		*missing = true;
	return true;
}

static bool
make_pulled(const struct image *image, struct docker *docker, struct task *task, const struct pairs *pins, struct product *product, struct error *err)
{
	struct arena *arena = task_arena(task);
	const char *ref = pinned(image, task, pins);
	json_t *before finally(json_release) = NULL;
	json_t *after finally(json_release) = NULL;
	bool missing;

	if (!look_up(docker, ref, image->platform, arena, &before, &missing, err))
		return false;
	if (missing && !may_pull(image, task, ref, err))
		return false;
	product->pulled = missing;
	if ((missing || (image->pull == PULL_ALWAYS && !task_offline(task))) && !image_pull(docker, task, ref, image->platform, err))
		return false;
	if (!look_up(docker, ref, image->platform, arena, &after, &missing, err))
		return false;
	if (missing)
		return fail(err, FAULT_NO_IMAGE, "`%s` was pulled, but the engine does not hold it for %s", ref, image->platform ? image->platform : "this machine");
	product->id = arena_copy(arena, json_string_at(after, "Id"));
	if (image_repo_digest(after, ref, arena))
		pairs_set(&product->bases, arena, image->from, image_repo_digest(after, ref, arena));
	return docker_image_tag(docker, product->id, image->tag, err);
}

/* Builders pull bases on their own; where that must not be, the bases have to be there before. */
static bool
bases_present(const struct image *image, struct docker *docker, struct task *task, const struct dockerfile *file, struct error *err)
{
	if (image->pull != PULL_NEVER && !task_offline(task))
		return true;
	for (size_t i = 0; i < file->bases.count; i++) {
		json_t *base finally(json_release) = NULL;
		bool missing;

		if (!docker_image(docker, file->bases.items[i], &base, &missing, err))
			return false;
		if (missing && !may_pull(image, task, file->bases.items[i], err))
			return error_wrap(err, "base image");
	}
	return true;
}

/* Digests of the bases that the builder did not tell, as far as the engine knows them. */
static bool
add_bases(struct docker *docker, struct task *task, const struct dockerfile *file, struct product *product, struct error *err)
{
	struct arena *arena = task_arena(task);

	for (size_t i = 0; i < file->bases.count; i++) {
		const char *ref = file->bases.items[i];
		const char *at = strchr(ref, '@');
		json_t *base finally(json_release) = NULL;
		const char *digest;
		bool missing;

		if (pairs_get(&product->bases, ref))
			continue;
		if (!docker_image(docker, ref, &base, &missing, err))
			return false;
		digest = at ? at + 1 : missing ? NULL : image_repo_digest(base, ref, arena);
		/* A base that was built on this machine has no digest in any registry; its id says as much. */
		if (!digest && !missing)
			digest = json_string_at(base, "Id");
		if (digest)
			pairs_set(&product->bases, arena, ref, arena_copy(arena, digest));
	}
	return true;
}

/* The tag must be what was just built: another build of the same name may have come between. */
static bool
check_tag(struct docker *docker, const char *tag, const char *id, struct arena *arena, struct product *product, struct error *err)
{
	json_t *tagged finally(json_release) = NULL;
	json_t *built finally(json_release) = NULL;
	bool no_tag, no_image;

	if (!docker_image(docker, tag, &tagged, &no_tag, err) || !docker_image(docker, id, &built, &no_image, err))
		return false;
	if (no_image)
		return fail(err, FAULT_NO_IMAGE, "the builder says that it made %s, but the engine does not hold it", id);
	/* The builder may name an image by another of its ids (manifest or config): the engine's own word counts. */
	if (no_tag || !text_equal(json_string_at(tagged, "Id"), json_string_at(built, "Id")))
		return fail(err, FAULT_ENGINE, "built %s, but the tag `%s` %s: somebody else used the name meanwhile", id, tag,
			no_tag ? "is gone" : "points to another image");
	product->id = arena_copy(arena, json_string_at(built, "Id"));
	return true;
}

static bool
make_built(const struct image *image, struct docker *docker, struct task *task, const struct dockerfile *file, struct product *product,
	struct error *err)
{
	const char *id;

	return bases_present(image, docker, task, file, err) && image_run_build(image, docker, task, file, &id, &product->bases, err) &&
		check_tag(docker, image->tag, id, task_arena(task), product, err) && add_bases(docker, task, file, product, err);
}

static json_t *
pairs_json(const struct pairs *pairs)
{
	json_t *object = json_object();

	for (size_t i = 0; i < pairs->count; i++)
		json_object_set_new(object, pairs->items[i].key, json_string(pairs->items[i].value));
	return object;
}

static const char *
note_text(const struct image *image, const struct product *product, const struct pairs *pins, struct arena *arena)
{
	json_t *note finally(json_release) = json_object();

	json_object_set_new(note, "tag", json_string(image->tag));
	if (image->from)
		json_object_set_new(note, "from", json_string(image->from));
	json_object_set_new(note, "pulled", json_boolean(product->pulled));
	json_object_set_new(note, "bases", pairs_json(&product->bases));
	json_object_set_new(note, "pins", pairs_json(pins));
	return json_text(arena, note, true);
}

/* Package URL of a base: `pkg:docker/vllm/vllm-openai@v0.12.0?platform=linux%2Famd64`. */
static const char *
base_uri(const char *ref, const char *platform, struct arena *arena)
{
	const char *full = image_full_name(arena, ref);
	const char *slash = strchr(full, '/');
	const char *host = arena_copy_bytes(arena, full, (size_t)(slash - full));
	const char *name = text_starts(slash, "/library/") ? slash + 9 : slash + 1;
	size_t length = strcspn(name, ":@");
	const char *tag = name[length] == ':' ? arena_copy_bytes(arena, name + length + 1, strcspn(name + length + 1, "@")) : "";
	const char *uri = arena_printf(arena, "pkg:docker/%.*s%s%s?platform=%s", (int)length, name, *tag ? "@" : "", tag, http_escape(arena, platform, ""));

	return strcmp(host, "docker.io") == 0 ? uri : arena_printf(arena, "%s&repository_url=%s", uri, http_escape(arena, host, ""));
}

static bool
report(const struct image *image, struct docker *docker, struct task *task, const struct pairs *pins, struct product *product, struct error *err)
{
	struct arena *arena = task_arena(task);
	json_t *made finally(json_release) = NULL;
	struct artifact artifact = { .kind = ARTIFACT_IMAGE, .name = product->id, .note = note_text(image, product, pins, arena) };
	int64_t size;
	bool missing;

	if (!docker_image(docker, product->id, &made, &missing, err))
		return false;
	if (missing)
		return fail(err, FAULT_NO_IMAGE, "%s vanished from the engine", product->id);
	if (text_starts(product->id, "sha256:"))
		digest_parse(product->id + 7, &artifact.digest);
	if (json_int_at(made, "Size", &size) && size > 0)
		artifact.size = (uint64_t)size;
	task_artifact(task, &artifact);
	task_output(task, "id", product->id);
	task_output(task, "ref", image->tag);
	for (size_t i = 0; i < product->bases.count; i++)
		task_material(task, base_uri(product->bases.items[i].key, platform_of(made, arena), arena), product->bases.items[i].value);
	task_material(task, docker->podman ? "engine:podman" : "engine:docker", docker->version);
	task_summary(task, "%s", image_short_id(arena, product->id));
	return true;
}

static bool
make(const struct image *image, struct docker *docker, struct task *task, struct error *err)
{
	struct pairs pins = { 0 };
	struct product product = { 0 };
	struct dockerfile file;
	const char *text, *records;
	size_t size;

	if (!image_read(image, task, &file, &text, &size, err) || !image_pins(image, task, &file, &pins, err))
		return false;
	if (!image_remove_files(task, err) || !image_remove_containers(docker, task, err))
		return false;
	if (image->from ? !make_pulled(image, docker, task, &pins, &product, err) : !make_built(image, docker, task, &file, &product, err))
		return false;
	if (!image_run_records(image, docker, task, product.id, &records, err) || !report(image, docker, task, &pins, &product, err))
		return false;
	if (records)
		task_output(task, "record", records);
	return true;
}

bool
image_build(const void *spec, struct task *task, struct error *err)
{
	const struct image *image = spec;
	struct docker docker finally(docker_finish) = { 0 };

	if (!docker_init(&docker, "auto", task_cancel(task), task_arena(task), err))
		return false;
	return make(image, &docker, task, err) || error_wrap(err, "image `%s`", image->tag);
}
