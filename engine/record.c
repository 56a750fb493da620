#include "record.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/pack.h"

#define BODY_FORMAT 1
#define LEAST_FIELD 4 /* bytes that even an empty field takes */

void
ingredients_init(struct ingredients *ingredients, struct arena *arena)
{
	*ingredients = (struct ingredients){ .arena = arena };
}

static struct ingredient *
next_ingredient(struct ingredients *list)
{
	if (list->count == list->capacity)
		list->items = arena_grow(list->arena, list->items, list->count, &list->capacity, sizeof *list->items);
	return &list->items[list->count++];
}

void
ingredients_add(struct ingredients *ingredients, enum ingredient_kind kind, const char *name, const char *value, const char *text)
{
	*next_ingredient(ingredients) = (struct ingredient){ .kind = kind, .name = name, .value = value, .text = text };
}

const struct ingredient *
ingredients_find(const struct ingredients *ingredients, const char *name)
{
	for (size_t i = 0; i < ingredients->count; i++)
		if (strcmp(ingredients->items[i].name, name) == 0)
			return &ingredients->items[i];
	return NULL;
}

void
artifacts_add(struct artifacts *artifacts, struct arena *arena, const struct artifact *artifact)
{
	if (artifacts->count == artifacts->capacity)
		artifacts->items = arena_grow(arena, artifacts->items, artifacts->count, &artifacts->capacity, sizeof *artifacts->items);
	artifacts->items[artifacts->count++] = *artifact;
}

static void
pack_pairs(struct buf *buf, const struct pairs *pairs)
{
	pack_int(buf, (int64_t)pairs->count);
	for (size_t i = 0; i < pairs->count; i++) {
		pack_text(buf, pairs->items[i].key);
		pack_text(buf, pairs->items[i].value);
	}
}

static void
pack_artifacts(struct buf *buf, const struct artifacts *artifacts)
{
	pack_int(buf, (int64_t)artifacts->count);
	for (size_t i = 0; i < artifacts->count; i++) {
		const struct artifact *artifact = &artifacts->items[i];
		bool has_digest = !digest_is_zero(&artifact->digest);

		pack_int(buf, artifact->kind);
		pack_text(buf, artifact->name);
		pack_bytes(buf, artifact->digest.bytes, has_digest ? sizeof artifact->digest.bytes : 0);
		pack_int(buf, (int64_t)artifact->size);
		pack_text(buf, artifact->note);
	}
}

static void
pack_ingredients(struct buf *buf, const struct ingredients *ingredients)
{
	pack_int(buf, (int64_t)ingredients->count);
	for (size_t i = 0; i < ingredients->count; i++) {
		const struct ingredient *ingredient = &ingredients->items[i];

		pack_int(buf, ingredient->kind);
		pack_text(buf, ingredient->name);
		pack_text(buf, ingredient->value);
		pack_text(buf, ingredient->text);
	}
}

/* Two fields, one in the other's wake: what every plan reads, and what only a stale target needs. */
void
record_pack(const struct record *record, struct buf *body)
{
	struct buf part finally(buf_finish) = { 0 };

	buf_init(&part, body->limit);
	pack_int(&part, BODY_FORMAT);
	pack_text(&part, record->summary);
	pack_text(&part, record->run);
	pack_int(&part, record->started_ns);
	pack_int(&part, record->ended_ns);
	pack_pairs(&part, &record->outputs);
	pack_artifacts(&part, &record->artifacts);
	if (record->mended_ns != 0)
		pack_int(&part, record->mended_ns);
	pack_bytes(body, part.data, part.size);
	body->truncated |= part.truncated;
	buf_clear(&part);
	pack_pairs(&part, &record->materials);
	pack_ingredients(&part, &record->ingredients);
	pack_bytes(body, part.data, part.size);
	body->truncated |= part.truncated;
}

/* How many items follow; 0 and a bad pack if that many cannot be there. */
static size_t
unpack_count(struct unpack *unpack, size_t fields)
{
	int64_t count = unpack_int(unpack);

	if (count < 0 || (uint64_t)count > (unpack->size - unpack->at) / (fields * LEAST_FIELD)) {
		unpack->bad = true;
		return 0;
	}
	return (size_t)count;
}

static void
unpack_pairs(struct unpack *unpack, struct arena *arena, struct pairs *pairs)
{
	size_t count = unpack_count(unpack, 2);

	*pairs = (struct pairs){ .items = count ? arena_array(arena, count, sizeof *pairs->items) : NULL, .count = count, .capacity = count };
	for (size_t i = 0; i < count; i++) {
		pairs->items[i].key = unpack_text(unpack);
		pairs->items[i].value = unpack_text(unpack);
		if (!pairs->items[i].key)
			unpack->bad = true;
	}
}

static void
unpack_digest(struct unpack *unpack, struct digest *digest)
{
	size_t size;
	const void *bytes = unpack_bytes(unpack, &size);

	if (size == sizeof digest->bytes)
		memcpy(digest->bytes, bytes, size);
	else if (size != 0)
		unpack->bad = true;
}

static void
unpack_artifacts(struct unpack *unpack, struct arena *arena, struct artifacts *artifacts)
{
	size_t count = unpack_count(unpack, 5);

	*artifacts = (struct artifacts){ .items = count ? arena_array(arena, count, sizeof *artifacts->items) : NULL, .count = count, .capacity = count };
	for (size_t i = 0; i < count; i++) {
		struct artifact *artifact = &artifacts->items[i];
		int64_t kind = unpack_int(unpack);

		if (kind < ARTIFACT_FILE || kind > ARTIFACT_GPU)
			unpack->bad = true;
		else
			artifact->kind = (enum artifact_kind)kind;
		artifact->name = unpack_text(unpack);
		unpack_digest(unpack, &artifact->digest);
		artifact->size = (uint64_t)unpack_int(unpack);
		artifact->note = unpack_text(unpack);
		if (!artifact->name)
			unpack->bad = true;
	}
}

static void
unpack_ingredients(struct unpack *unpack, struct arena *arena, struct ingredients *ingredients)
{
	size_t count = unpack_count(unpack, 4);

	ingredients_init(ingredients, arena);
	for (size_t i = 0; i < count && !unpack->bad; i++) {
		int64_t kind = unpack_int(unpack);
		struct ingredient ingredient = { .name = unpack_text(unpack) };

		ingredient.value = unpack_text(unpack);
		ingredient.text = unpack_text(unpack);
		if (kind < INGREDIENT_PARAM || kind > INGREDIENT_FACT || !ingredient.name || !ingredient.value)
			unpack->bad = true;
		else
			ingredient.kind = (enum ingredient_kind)kind;
		*next_ingredient(ingredients) = ingredient;
	}
}

/* The two parts of a body; false if it is torn. */
static bool
split(const void *body, size_t size, struct unpack *first, struct unpack *second)
{
	struct unpack whole;
	const void *bytes;
	size_t part;

	unpack_init(&whole, body, size);
	bytes = unpack_bytes(&whole, &part);
	unpack_init(first, bytes, part);
	bytes = unpack_bytes(&whole, &part);
	unpack_init(second, bytes, part);
	return unpack_done(&whole) && unpack_int(first) == BODY_FORMAT && !first->bad;
}

bool
record_unpack(struct record *record, const void *body, size_t size, struct arena *arena)
{
	struct unpack first, second;
	struct record read = *record;

	if (!split(body, size, &first, &second))
		return false;
	read.summary = unpack_text(&first);
	read.run = unpack_text(&first);
	read.started_ns = unpack_int(&first);
	read.ended_ns = unpack_int(&first);
	unpack_pairs(&first, arena, &read.outputs);
	unpack_artifacts(&first, arena, &read.artifacts);
	read.mended_ns = unpack_done(&first) ? 0 : unpack_int(&first);
	if (!unpack_done(&first))
		return false;
	*record = read;
	return true;
}

bool
record_unpack_why(struct record *record, const void *body, size_t size, struct arena *arena)
{
	struct unpack first, second;
	struct pairs materials;
	struct ingredients ingredients;

	if (!split(body, size, &first, &second))
		return false;
	unpack_pairs(&second, arena, &materials);
	unpack_ingredients(&second, arena, &ingredients);
	if (!unpack_done(&second))
		return false;
	record->materials = materials;
	record->ingredients = ingredients;
	return true;
}

static int
compare_pairs(const void *first, const void *second)
{
	const struct pair *a = *(const struct pair *const *)first;
	const struct pair *b = *(const struct pair *const *)second;

	return strcmp(a->key, b->key);
}

static int
compare_artifacts(const void *first, const void *second)
{
	const struct artifact *a = *(const struct artifact *const *)first;
	const struct artifact *b = *(const struct artifact *const *)second;
	int order = strcmp(a->name, b->name);

	if (order == 0)
		order = (a->kind > b->kind) - (a->kind < b->kind);
	return order ? order : memcmp(a->digest.bytes, b->digest.bytes, sizeof a->digest.bytes);
}

static void
add_text(struct hasher *hasher, const char *text)
{
	hasher_add_field(hasher, text ? text : "", text ? strlen(text) : 0);
}

/* A number before each group, so that an output cannot pass for an artifact. */
static void
add_count(struct hasher *hasher, size_t count)
{
	unsigned char bytes[8];

	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (unsigned char)((uint64_t)count >> (8 * i));
	hasher_add_field(hasher, bytes, sizeof bytes);
}

/* Sorted by way of pointers: the lists keep the order in which the rule gave them. */
static void
add_outputs(struct hasher *hasher, const struct pairs *outputs)
{
	const struct pair **sorted = xmalloc(outputs->count * sizeof *sorted);

	for (size_t i = 0; i < outputs->count; i++)
		sorted[i] = &outputs->items[i];
	qsort(sorted, outputs->count, sizeof *sorted, compare_pairs);
	add_count(hasher, outputs->count);
	for (size_t i = 0; i < outputs->count; i++) {
		add_text(hasher, sorted[i]->key);
		add_text(hasher, sorted[i]->value);
	}
	free(sorted);
}

static void
add_artifacts(struct hasher *hasher, const struct artifacts *artifacts)
{
	const struct artifact **sorted = xmalloc(artifacts->count * sizeof *sorted);
	size_t count = 0;

	for (size_t i = 0; i < artifacts->count; i++)
		if (!digest_is_zero(&artifacts->items[i].digest))
			sorted[count++] = &artifacts->items[i];
	qsort(sorted, count, sizeof *sorted, compare_artifacts);
	add_count(hasher, count);
	for (size_t i = 0; i < count; i++) {
		add_text(hasher, sorted[i]->name);
		hasher_add_field(hasher, sorted[i]->digest.bytes, sizeof sorted[i]->digest.bytes);
	}
	free(sorted);
}

void
record_output_digest(struct record *record, bool check)
{
	struct hasher hasher finally(hasher_finish) = { 0 };

	if (check) {
		digest_of("passed", strlen("passed"), &record->output);
		return;
	}
	hasher_init(&hasher);
	add_outputs(&hasher, &record->outputs);
	add_artifacts(&hasher, &record->artifacts);
	hasher_digest(&hasher, &record->output);
}

const struct artifact *
record_artifact(const struct record *record, enum artifact_kind kind, const char *name)
{
	for (size_t i = 0; i < record->artifacts.count; i++) {
		const struct artifact *artifact = &record->artifacts.items[i];

		if (artifact->kind == kind && strcmp(artifact->name, name) == 0)
			return artifact;
	}
	return NULL;
}
