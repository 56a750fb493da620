/* A manifest, what it extends, and a `--set`: all the way from bytes to the graph.
 *
 * Input: the manifest, the text of `base.yaml`, the value of `--set value=...`, separated by 0x1e. */
#include "engine/manifest.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/buf.h"
#include "engine/graph.h"
#include "engine/parsed.h"
#include "fuzz.h"
#include "rules/rules.h"

#define LARGEST 16384
#define WALKED 100000 /* nodes: a walk over more would take its time */

/* What a walk costs, counted by walking. A merge key is weighed beside the entries that it brought. */
static uint64_t
walk(const struct node *node, unsigned depth)
{
	uint64_t sum = 1;

	promise(depth <= NODE_HEIGHT);
	if (node->kind == NODE_SCALAR || node->kind == NODE_NULL)
		return 1 + strlen(node->text) / NODE_TEXT;
	for (uint32_t i = 0; i < node->count; i++)
		sum += walk(node->kind == NODE_LIST ? node->items[i] : node->entries[i].value, depth + 1);
	return sum;
}

/* The first error is always about something that is written somewhere. */
static void
check_errors(const struct errors *errors, const struct sources *sources)
{
	for (size_t i = 0; i < errors->count; i++) {
		const struct error *err = &errors->items[i];

		promise(err->fault != FAULT_NONE && *err->text);
		promise(err->at.file && sources_find(sources, err->at.file));
		promise(err->at.line >= 1 && err->at.column >= 1);
		promise(err->at.line <= 1 + LARGEST);
	}
}

/* JSON that libyaml takes for YAML: it refuses some characters, and keys of over 1,024. */
static bool
is_readable(const char *json)
{
	size_t run = 0;

	for (; *json; json++) {
		unsigned char c = (unsigned char)*json;

		if (c == 0xc2 || c == 0xe2 || c == 0xef || c == 0xf0 || c == 0xf4)
			return false;
		run = c == '"' ? 0 : run + 1;
		if (run > 500)
			return false;
	}
	return true;
}

/* A tree that was kept as bytes is the same tree; nothing of torn bytes is taken. */
static void
keep(const struct source *source, const struct node *node, struct arena *arena)
{
	struct buf bytes finally(buf_finish) = { 0 };
	const struct node *same;

	buf_init(&bytes, (size_t)1 << 22);
	parsed_pack(source, node, &bytes);
	if (bytes.truncated)
		return;
	same = parsed_unpack(source, bytes.data, bytes.size, arena);
	promise(same && same->weight == node->weight && same->height == node->height && same->pending == node->pending);
	promise(strcmp(node_json(same, arena), node_json(node, arena)) == 0);
	bytes.data[bytes.size / 2] ^= 1;
	promise(!parsed_unpack(source, bytes.data, bytes.size, arena));
	promise(!parsed_unpack(source, bytes.data, bytes.size / 2, arena));
}

/* A tree, and what is read of it when it was written as JSON, are the same. */
static void
parse_alone(const char *text, size_t size)
{
	struct arena arena finally(arena_finish) = { 0 };
	struct sources sources = { .arena = &arena, .cwd = "/" };
	struct errors errors, again;
	const struct node *node, *same;
	const char *json;

	errors_init(&errors, &arena);
	node = manifest_parse_text(&sources, "m.yaml", text, size, &errors);
	promise((node != NULL) == (errors.count == 0));
	check_errors(&errors, &sources);
	if (!node || node->weight > WALKED)
		return;
	promise(walk(node, 0) <= node->weight);
	keep(&sources.items[0], node, &arena);
	json = node_json(node, &arena);
	if (!is_readable(json))
		return;
	errors_init(&again, &arena);
	same = manifest_parse_text(&sources, "again.yaml", json, strlen(json), &again);
	promise(same);
	promise(strcmp(node_json(same, &arena), json) == 0);
}

static void
check_graph(const struct graph *graph, struct arena *arena)
{
	bool *done = arena_array(arena, graph->count + 1, sizeof *done);

	for (uint32_t i = 0; i < graph->count; i++) {
		const struct target *target = &graph->targets[graph->order[i]];
		struct ingredients ingredients;

		promise(!done[target->id]);
		for (uint32_t j = 0; j < target->need_count; j++)
			promise(done[graph->needs[target->needs + j]]);
		done[target->id] = true;
		promise(target->spec && graph_find(graph, target->name) == target);
		ingredients_init(&ingredients, arena);
		params_ingredients(target->rule->params, target->spec, &ingredients);
	}
}

static void
load(const char *set)
{
	struct arena arena finally(arena_finish) = { 0 };
	struct pair pair = { .key = "value", .value = set };
	const struct pairs sets = { .items = &pair, .count = *set != '\0' };
	const char *path = arena_join(&arena, scratch_path(), "/m.yaml");
	struct manifest manifest = { 0 };
	struct graph graph finally(graph_finish) = { 0 };
	struct errors errors;
	bool loaded;

	errors_init(&errors, &arena);
	loaded = manifest_load(&manifest, path, scratch_path(), &sets, &arena, &errors);
	promise(loaded == (errors.count == 0));
	check_errors(&errors, &manifest.sources);
	if (!loaded)
		return;
	loaded = graph_link(&graph, &manifest, all_rules, &errors);
	promise(loaded == (errors.count == 0));
	check_errors(&errors, &manifest.sources);
	if (loaded)
		check_graph(&graph, &arena);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena arena finally(arena_finish) = { 0 };
	struct feed feed = { data, size };
	const char *text;
	size_t length;

	if (size > LARGEST)
		return 0;
	text = feed_text(&feed, &arena, &length);
	parse_alone(text, length);
	scratch_write("m.yaml", text, length);
	text = feed_text(&feed, &arena, &length);
	scratch_write("base.yaml", text, length);
	load(feed_text(&feed, &arena, NULL));
	return 0;
}
