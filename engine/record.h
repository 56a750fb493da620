/* record.h - what is known of a target that was built: what went in, what came out.
 *
 * Plain data. Packs to the bytes that the memory keeps and back; a torn body reads as no record. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/strings.h"

struct arena;
struct buf;

enum ingredient_kind {
	INGREDIENT_PARAM, /* a parameter's canonical text */
	INGREDIENT_FILE,  /* a file's digest; `text` holds small files, so that a plan can show the line that changed */
	INGREDIENT_TREE,  /* digest over many files */
	INGREDIENT_NEED,  /* output digest of a target that is needed */
	INGREDIENT_FACT,  /* anything else: a commit, a base image's digest, an engine's answer */
};

struct ingredient {
	enum ingredient_kind kind;
	const char *name;  /* unique within its target: "param:args", "file:docker/Dockerfile", "need:weights" */
	const char *value; /* what is fingerprinted */
	const char *text;  /* shown, never fingerprinted; or NULL */
	const char *path;  /* of a file: where it lies now, for messages; not kept in records; or NULL */
};

struct ingredients {
	struct arena *arena;
	struct ingredient *items;
	size_t count;
	size_t capacity;
};

enum artifact_kind {
	ARTIFACT_FILE,      /* name: absolute path */
	ARTIFACT_DIRECTORY, /* name: absolute path */
	ARTIFACT_IMAGE,     /* name: engine id */
	ARTIFACT_CONTAINER, /* name: engine id */
	ARTIFACT_PROCESS,   /* name: pid; note: JSON that identifies it */
	ARTIFACT_PORT,      /* name: ADDRESS:PORT */
	ARTIFACT_GPU,       /* name: UUID */
};

struct artifact {
	enum artifact_kind kind;
	const char *name;
	struct digest digest; /* zero where bytes have none */
	uint64_t size;
	const char *note;     /* JSON for the rule that made it, or NULL */
};

struct artifacts {
	struct artifact *items;
	size_t count;
	size_t capacity;
};

struct record {
	const char *target;
	const char *rule;
	uint32_t rule_version;
	struct digest fingerprint;
	struct digest output;         /* what dependents see */
	struct pairs outputs;
	struct artifacts artifacts;
	struct pairs materials;       /* uri -> digest or version: what was really used, without secrets */
	struct ingredients ingredients;
	const char *summary;          /* "18 files, 20.6 GB" */
	const char *run;
	int64_t started_ns;
	int64_t ended_ns;
	int64_t mended_ns;            /* when the same output was last made again because it was missing or wrong; 0: never */
	const void *body;             /* what it was unpacked from, for record_unpack_why; set by whoever unpacks */
	size_t body_size;
};

void ingredients_init(struct ingredients *ingredients, struct arena *arena);
void ingredients_add(struct ingredients *ingredients, enum ingredient_kind kind, const char *name, const char *value, const char *text);
const struct ingredient *ingredients_find(const struct ingredients *ingredients, const char *name);
void artifacts_add(struct artifacts *artifacts, struct arena *arena, const struct artifact *artifact);

/* All but target, rule, rule_version, fingerprint and output, which the memory keeps beside the body. */
void record_pack(const struct record *record, struct buf *body);

/* Fill the rest from a body that stays where it is: texts point into it. Ingredients and materials are read by record_unpack_why alone, since a fresh target
 * never needs them. False: torn. */
bool record_unpack(struct record *record, const void *body, size_t size, struct arena *arena);
bool record_unpack_why(struct record *record, const void *body, size_t size, struct arena *arena);

/* The digest that dependents see: outputs (sorted by name) and artifacts that have a digest. A check's is over "passed" alone. */
void record_output_digest(struct record *record, bool check);

const struct artifact *record_artifact(const struct record *record, enum artifact_kind kind, const char *name);
