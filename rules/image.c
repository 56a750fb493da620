#include "image.h"

#include <string.h>
#include <sys/stat.h>

#include "context.h"
#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/file.h"
#include "engine/base/finding.h"
#include "engine/base/units.h"
#include "engine/rule.h"
#include "engine/task.h"
#include "image_check.h"
#include "rules.h"

#define DOCKERFILE_LIMIT (1u << 20)
#define SHOWN_LIMIT (64u << 10) /* of a Dockerfile whose text is kept for the plan */
#define NAMED_FILES 200         /* contexts up to this size name the file that changed */

static const char *const pull_words[] = { "missing", "always", "never", NULL };

static const struct param secret_params[] = {
	{ "id", PARAM_STRING, offsetof(struct image_secret, id), .required = true, .about = "name in `RUN --mount=type=secret,id=`" },
	{ "env", PARAM_STRING, offsetof(struct image_secret, env), .about = "environment variable that holds it" },
	{ "file", PARAM_PATH, offsetof(struct image_secret, file), .about = "file that holds it" },
	{ 0 },
};

static const struct param image_params[] = {
	{ "tag", PARAM_STRING, offsetof(struct image, tag), .required = true, .about = "name of the image" },
	{ "context", PARAM_PATH, offsetof(struct image, context), .unhashed = true, .about = "directory to build from" },
	{ "dockerfile", PARAM_PATH, offsetof(struct image, dockerfile), .unhashed = true, .about = "`Dockerfile` in the context if absent" },
	{ "args", PARAM_PAIRS, offsetof(struct image, args), .about = "build arguments; no secrets, they stay visible in the image" },
	{ "target", PARAM_STRING, offsetof(struct image, target), .about = "stage to build; the last one if absent" },
	{ "secrets", PARAM_LIST, offsetof(struct image, secrets), .unhashed = true, .fields = secret_params, .size = sizeof(struct image_secret),
		.about = "secrets for `RUN --mount=type=secret`; they want BuildKit" },
	{ "from", PARAM_STRING, offsetof(struct image, from), .about = "image to pull instead of building, by tag or digest" },
	{ "platform", PARAM_STRING, offsetof(struct image, platform), .about = "`linux/amd64` and the like; the engine's own if absent" },
	{ "pull", PARAM_ENUM, offsetof(struct image, pull), .unhashed = true, .fallback = "missing", .choices = pull_words,
		.about = "when to ask the registry while building" },
	{ "record", PARAM_JSON, offsetof(struct image, record), .about = "list of commands run in the finished image; their output is kept" },
	{ 0 },
};

static const struct output image_outputs[] = {
	{ "id", "the engine's id of the image", NULL },
	{ "ref", "its tag", "tag" },
	{ "record", "output of the commands of `record`", NULL },
	{ 0 },
};

const char *
image_dockerfile(const struct image *image, struct arena *arena)
{
	return image->dockerfile ? image->dockerfile : path_join(arena, image->context, "Dockerfile");
}

/* A path as a reader of the plan would write it: below the manifest's directory, else below the project's. */
static const char *
shown(struct task *task, const char *path)
{
	const char *text = path_shown(task_arena(task), task_workdir(task), path);

	return *text == '/' ? path_shown(task_arena(task), task_root(task), path) : text;
}

bool
image_read(const struct image *image, struct task *task, struct dockerfile *file, const char **text, size_t *size, struct error *err)
{
	const char *path;

	*file = (struct dockerfile){ 0 };
	*text = NULL;
	if (image->from) {
		strings_add(&file->bases, task_arena(task), image->from);
		return true;
	}
	path = image_dockerfile(image, task_arena(task));
	if (!context_load(path, DOCKERFILE_LIMIT, task_arena(task), text, size, err)) {
		err->at = task_place(task, image->dockerfile ? "dockerfile" : "context");
		return error_wrap(err, "no Dockerfile to build from");
	}
	if (dockerfile_read(*text, *size, &image->args, image->target, task_arena(task), file, err))
		return true;
	err->at = task_place(task, image->target ? "target" : image->dockerfile ? "dockerfile" : "context");
	return error_wrap(err, "`%s`", shown(task, path));
}

const json_t *
image_note(const struct record *record, json_t **owner)
{
	struct error ignored = { 0 };

	*owner = NULL;
	for (size_t i = 0; record && i < record->artifacts.count; i++) {
		const struct artifact *artifact = &record->artifacts.items[i];

		if (artifact->kind == ARTIFACT_IMAGE && artifact->note &&
			json_parse(artifact->note, strlen(artifact->note), "note", owner, &ignored))
			return *owner;
	}
	return NULL;
}

bool
image_pins(const struct image *image, struct task *task, const struct dockerfile *file, struct pairs *pins, struct error *err)
{
	struct docker docker finally(docker_finish) = { 0 };
	json_t *owner finally(json_release) = NULL;
	const json_t *note = image_note(task_record(task), &owner);
	bool ask = note && task_refresh(task) && !task_offline(task) && image->pull != PULL_NEVER;

	for (size_t i = 0; note && i < file->bases.count; i++) {
		const char *ref = file->bases.items[i];
		const char *used = json_string_value(json_object_get(json_object_get(note, "bases"), ref));
		const char *pin = json_string_value(json_object_get(json_object_get(note, "pins"), ref));
		const char *now;

		if (strchr(ref, '@'))
			continue;
		if (ask) {
			if (!docker.socket && !docker_init(&docker, "auto", task_cancel(task), task_arena(task), err))
				return false;
			if (!docker_registry_digest(&docker, ref, &now, err))
				return error_hint(err, "write `NAME@sha256:...`, or leave out --refresh, if the registry cannot be asked");
			/* What was used is what is there: nothing moved, whatever it was called in the fingerprint. */
			pin = text_equal(now, used) ? pin : now;
		}
		if (pin)
			pairs_set(pins, task_arena(task), ref, arena_copy(task_arena(task), pin));
	}
	return true;
}

static void
add_dockerfile(const struct image *image, struct task *task, const char *text, size_t size)
{
	const char *path = image_dockerfile(image, task_arena(task));
	struct digest digest;

	digest_of(text, size, &digest);
	task_ingredient(task, INGREDIENT_FILE, arena_printf(task_arena(task), "file:%s", shown(task, path)), digest_text(task_arena(task), &digest),
		size <= SHOWN_LIMIT && !memchr(text, '\0', size) ? text : NULL, path);
}

static bool
add_context(const struct image *image, struct task *task, struct error *err)
{
	struct arena *arena = task_arena(task);
	const char *dockerfile = image_dockerfile(image, arena);
	const char *name = shown(task, image->context);
	struct context_file *files;
	struct digest digest;
	size_t count;

	if (!context_read(task, image->context, dockerfile, &files, &count, &digest, err)) {
		if (err->at.line == 0)
			err->at = task_place(task, "context");
		return false;
	}
	task_ingredient(task, INGREDIENT_TREE, arena_printf(arena, "tree:%s", name), digest_text(arena, &digest), NULL, image->context);
	for (size_t i = 0; count <= NAMED_FILES && i < count; i++) {
		const char *path = path_join(arena, image->context, files[i].path);

		if (!S_ISDIR(files[i].mode) && strcmp(path, dockerfile) != 0)
			task_ingredient(task, INGREDIENT_FILE, arena_printf(arena, "file:%s", shown(task, path)), digest_text(arena, &files[i].digest), NULL, path);
	}
	return true;
}

/* Which secrets there are belongs to the product, what they hold and where they lie does not. */
static void
add_secret_ids(const struct image *image, struct task *task)
{
	const struct image_secret *secrets = image->secrets.items;
	struct buf ids finally(buf_finish) = { 0 };

	buf_init(&ids, 4096);
	for (size_t i = 0; i < image->secrets.count; i++)
		buf_printf(&ids, "%s%s", i ? "," : "", secrets[i].id);
	if (ids.size)
		task_ingredient(task, INGREDIENT_PARAM, "param:secrets", ids.data, NULL, NULL);
}

/* Whether the bytes to build from are not there yet, because a target before this one makes them. */
static bool
comes_later(const struct image *image, struct task *task)
{
	if (image->from)
		return false;
	return !image->context || task_is_made_later(task, image->context) || task_is_made_later(task, image_dockerfile(image, task_arena(task)));
}

static bool
image_ingredients(const void *spec, struct task *task, struct error *err)
{
	const struct image *image = spec;
	struct pairs pins = { 0 };
	struct dockerfile file;
	const char *text;
	size_t size;

	add_secret_ids(image, task);
	if (comes_later(image, task))
		return true;
	if (!image_read(image, task, &file, &text, &size, err) || !image_pins(image, task, &file, &pins, err))
		return false;
	for (size_t i = 0; i < pins.count; i++)
		task_ingredient(task, INGREDIENT_FACT, arena_printf(task_arena(task), "upstream:%s", pins.items[i].key), pins.items[i].value, NULL, NULL);
	if (image->from)
		return true;
	add_dockerfile(image, task, text, size);
	return add_context(image, task, err);
}

static void
image_paths(const void *spec, struct arena *arena, struct paths *paths)
{
	const struct image *image = spec;
	const struct image_secret *secrets = image->secrets.items;

	if (image->context)
		strings_add(&paths->reads, arena, image->context);
	if (image->dockerfile)
		strings_add(&paths->reads, arena, image->dockerfile);
	for (size_t i = 0; i < image->secrets.count; i++)
		if (secrets[i].file)
			strings_add(&paths->reads, arena, secrets[i].file);
}

static void
differs(struct look *look, enum state state, enum reason reason, const char *what)
{
	look->state = state;
	look->reason = reason;
	look->what = what;
}

static bool
image_inspect(const void *spec, struct task *task, struct look *look, struct error *err)
{
	struct arena *arena = task_arena(task);
	const struct record *record = task_record(task);
	const char *id = record ? pairs_get(&record->outputs, "id") : NULL;
	const char *tag = record ? pairs_get(&record->outputs, "ref") : NULL;
	struct docker docker finally(docker_finish) = { 0 };
	json_t *tagged finally(json_release) = NULL;
	json_t *image finally(json_release) = NULL;
	bool no_tag, no_image;

	(void)spec;
	if (!id || !tag) {
		differs(look, STATE_ABSENT, REASON_OUTPUT_MISSING, "the record names no image");
		return true;
	}
	if (!docker_init(&docker, "auto", task_cancel(task), arena, err) || !docker_image(&docker, tag, &tagged, &no_tag, err))
		return false;
	look->state = STATE_FRESH;
	if (!no_tag && text_equal(json_string_at(tagged, "Id"), id))
		return true;
	if (!docker_image(&docker, id, &image, &no_image, err))
		return false;
	if (!no_tag)
		differs(look, STATE_DRIFTED, REASON_OUTPUT_DIFFERS, arena_printf(arena, "tag `%s` points to another image", tag));
	else if (no_image)
		differs(look, STATE_ABSENT, REASON_OUTPUT_MISSING, "image deleted");
	else
		differs(look, STATE_DRIFTED, REASON_OUTPUT_MISSING, arena_printf(arena, "tag `%s` was removed", tag));
	return true;
}

/* What inspect asks, which is all that can differ: an id is the digest of its image. */
static bool
image_check_record(struct task *task, bool deep, struct error *err)
{
	struct look look = { 0 };

	(void)deep;
	if (!image_inspect(NULL, task, &look, err))
		return false;
	if (look.state != STATE_FRESH)
		findings_add(task_findings(task), FAULT_MISMATCH, (struct place){ 0 }, "%s", look.what);
	return true;
}

/* How many of the bases the engine holds already, and the first that it does not. */
static bool
count_present(struct docker *docker, const struct dockerfile *file, size_t *present, const char **missing, struct error *err)
{
	*present = 0;
	*missing = NULL;
	for (size_t i = 0; i < file->bases.count; i++) {
		json_t *base finally(json_release) = NULL;
		bool gone;

		if (!docker_image(docker, file->bases.items[i], &base, &gone, err))
			return false;
		*present += !gone;
		if (gone && !*missing)
			*missing = file->bases.items[i];
	}
	return true;
}

static bool
image_estimate(const void *spec, struct task *task, struct cost *cost, struct error *err)
{
	const struct image *image = spec;
	struct arena *arena = task_arena(task);
	struct docker docker finally(docker_finish) = { 0 };
	struct error ignored = { 0 };
	struct dockerfile file;
	const char *text, *missing = NULL;
	size_t size, present;
	bool known;

	*cost = (struct cost){ .download = -1, .keep = -1, .duration = -1 };
	if (comes_later(image, task))
		return true;
	if (!image_read(image, task, &file, &text, &size, err))
		return false;
	/* A plan is worth having without the engine; what is wrong with it is said by the build, and by the target `host`. */
	known = docker_init(&docker, "auto", task_cancel(task), arena, &ignored) && count_present(&docker, &file, &present, &missing, &ignored);
	if (image->from && known && !missing && image->pull != PULL_ALWAYS) {
		cost->download = cost->keep = 0;
		cost->lines[0] = arena_printf(arena, "`%s` is in the engine already", image->from);
	} else if (image->from) {
		cost->lines[0] = arena_printf(arena, "pull %s", image->from);
	} else if (missing) {
		cost->lines[0] = arena_printf(arena, "pull %s, build %zu step%s", missing, file.steps, file.steps == 1 ? "" : "s");
	} else {
		cost->lines[0] = arena_printf(arena, "build %zu step%s", file.steps, file.steps == 1 ? "" : "s");
	}
	return true;
}

/* Remove one name of the image, if it still is a name of it. */
static bool
remove_name(struct docker *docker, const char *name, const char *id, struct error *err)
{
	json_t *image finally(json_release) = NULL;
	bool missing;

	if (!name)
		return true;
	if (!docker_image(docker, name, &image, &missing, err))
		return false;
	if (missing || !text_equal(json_string_at(image, "Id"), id))
		return true;
	return docker_image_remove(docker, name, &missing, err);
}

static bool
image_destroy(struct task *task, struct error *err)
{
	const struct record *record = task_record(task);
	struct docker docker finally(docker_finish) = { 0 };
	json_t *owner finally(json_release) = NULL;
	json_t *left finally(json_release) = NULL;
	const json_t *note = image_note(record, &owner);
	const char *id = record ? pairs_get(&record->outputs, "id") : NULL;
	bool missing;

	if (!docker_init(&docker, "auto", task_cancel(task), task_arena(task), err))
		return false;
	if (!image_remove_files(task, err) || !image_remove_containers(&docker, task, err))
		return false;
	if (!id)
		return true;
	if (!remove_name(&docker, pairs_get(&record->outputs, "ref"), id, err))
		return false;
	if (json_is_true(json_object_get(note, "pulled")) && !remove_name(&docker, json_string_at(note, "from"), id, err))
		return false;
	/* Names that others gave it keep it. */
	if (!docker_image(&docker, id, &left, &missing, err))
		return false;
	if (missing || json_array_size(json_object_get(left, "RepoTags")) > 0)
		return true;
	return docker_image_remove(&docker, id, &missing, err);
}

/* Two targets of one definition build one image. */
static void
image_claims(const void *spec, struct arena *arena, struct claims *claims)
{
	const struct image *image = spec;
	const char *name = image->tag ? strrchr(image->tag, '/') : NULL;
	const char *tagged = image->tag ? strchr(name ? name : image->tag, ':') : NULL;

	if (image->tag)
		claims_add(claims, arena, &(struct claim){ .kind = "tag", .name = arena_printf(arena, "%s%s", image->tag, tagged ? "" : ":latest"),
			.param = "tag", .shared = true });
}

const struct rule image_rule = {
	.name = "image",
	.about = "a container image, built from a Dockerfile or pulled",
	.version = 1,
	.keeps_time = true,
	.precious = true,
	.params = image_params,
	.size = sizeof(struct image),
	.outputs = image_outputs,
	.validate = image_validate,
	.paths = image_paths,
	.claims = image_claims,
	.ingredients = image_ingredients,
	.inspect = image_inspect,
	.estimate = image_estimate,
	.build = image_build,
	.destroy = image_destroy,
	.verify = image_check_record,
};
