/* image.h - the parts of the rule `image`, for its own files alone: what is asked for, what was made, and what a record keeps of it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "client/docker.h"
#include "dockerfile.h"
#include "engine/base/json.h"
#include "engine/params.h"

struct record;
struct task;

enum pull_policy { PULL_MISSING, PULL_ALWAYS, PULL_NEVER };

/* One of `secrets`: handed to BuildKit, never an argument. */
struct image_secret {
	const char *id;
	const char *env;
	const char *file;
};

/* Parameters. */
struct image {
	const char *context;
	const char *dockerfile;
	struct pairs args;
	const char *target;
	struct list secrets;
	const char *from;
	const char *tag;
	const char *platform;
	int pull;
	const char *record; /* JSON: list of argv */
};

/* What a build gives. */
struct product {
	const char *id;
	struct pairs bases;        /* reference as written -> digest that was used */
	bool pulled;               /* `from` was not there before */
};

/* Absolute path of the Dockerfile. */
const char *image_dockerfile(const struct image *image, struct arena *arena);

/* Read it for its bases; those of a pulled image are `from` itself. */
bool image_read(const struct image *image, struct task *task, struct dockerfile *file, const char **text, size_t *size, struct error *err);

/* The note that a record's image carries: {"tag", "from", "pulled", "bases": {}, "pins": {}}; NULL without a record. */
const json_t *image_note(const struct record *record, json_t **owner);

/* References whose digest has become an ingredient, because a refresh found them moved: reference -> digest. */
bool image_pins(const struct image *image, struct task *task, const struct dockerfile *file, struct pairs *pins, struct error *err);

/* Digest behind a reference of an image that the engine holds; NULL if it came from no registry. */
const char *image_repo_digest(const json_t *inspected, const char *ref, struct arena *arena);

/* `docker.io/library/x:latest` for `x`: to compare references. */
const char *image_full_name(struct arena *arena, const char *ref);

/* Pull by the command line if there are credentials for the registry, else through the engine. */
bool image_pull(struct docker *docker, struct task *task, const char *ref, const char *platform, struct error *err);

/* Run the build; `id` is what the engine calls the result. Digests of bases that the builder tells go to `bases`. */
bool image_run_build(const struct image *image, struct docker *docker, struct task *task, const struct dockerfile *file, const char **id,
	struct pairs *bases, struct error *err);

/* Run the commands of `record` in the image: all their output, and materials of what it lists. NULL if none are asked for. */
bool image_run_records(const struct image *image, struct docker *docker, struct task *task, const char *id, const char **text, struct error *err);

/* Remove what builds that were killed left behind: their private files, secrets among them, and their containers. */
bool image_remove_files(struct task *task, struct error *err);
bool image_remove_containers(struct docker *docker, struct task *task, struct error *err);

/* The verb `build` of the rule. */
bool image_build(const void *spec, struct task *task, struct error *err);

/* "sha256:6d1e...c04f". */
const char *image_short_id(struct arena *arena, const char *id);
