#include "graph.h"

#include <string.h>

#include "base/arena.h"
#include "base/finding.h"
#include "link.h"

/* The directories that a made path lies in, up to the first that is known already. What is made mostly lies together. */
static void
note_parents(struct linking *linking, const char *path)
{
	struct names *parents = &linking->graph->parents;
	const char *slash = strrchr(path, '/');
	size_t length = slash ? (size_t)(slash - path) : 0;
	const char *last = linking->parent;

	if (last && strncmp(last, path, length) == 0 && last[length] == '\0')
		return;
	while (length > 0) {
		size_t before = parents->count;
		uint32_t id = names_add_n(parents, path, length);

		if (path + length == slash)
			linking->parent = names_text(parents, id);
		if (id != before)
			return;
		while (length > 0 && path[--length] != '/')
			;
	}
}

static void
note_made(struct linking *linking, const struct target *target, const char *path)
{
	struct graph *graph = linking->graph;
	uint32_t before = (uint32_t)graph->paths.count, id = names_add(&graph->paths, path);

	if (id != before) {
		const struct target *maker = &graph->targets[graph->path_maker[id]];

		if (maker != target)
			link_refuse_second(linking, maker, maker->at, target, target->at, arena_printf(linking->scratch, "make `%s`", path));
		return;
	}
	if (id >= linking->maker_capacity)
		graph->path_maker = arena_grow(graph->arena, graph->path_maker, id, &linking->maker_capacity, sizeof *graph->path_maker);
	graph->path_maker[id] = target->id;
	graph->path_lengths[strlen(path) % GRAPH_PATH_LENGTHS] = true;
	note_parents(linking, path);
}

uint32_t
graph_maker(const struct graph *graph, const char *path)
{
	size_t length = strlen(path);
	uint32_t id = names_find(&graph->paths, path);
	char above[4096];

	if (id != NO_NAME)
		return graph->path_maker[id];
	if (length >= sizeof above)
		return NO_NAME;
	memcpy(above, path, length + 1);
	/* Most directories are made by nobody: a length that no maker has is not looked up. */
	while (length > 1) {
		length--;
		if (above[length] != '/')
			continue;
		above[length] = '\0';
		if (!graph->path_lengths[length % GRAPH_PATH_LENGTHS])
			continue;
		id = names_find(&graph->paths, above);
		if (id != NO_NAME)
			return graph->path_maker[id];
	}
	return NO_NAME;
}

static bool
lies_below(const char *path, const char *directory)
{
	size_t length = strlen(directory);

	while (length > 1 && directory[length - 1] == '/')
		length--;
	return strncmp(path, directory, length) == 0 && path[length] == '/';
}

bool
graph_makes_below(const struct graph *graph, uint32_t id, const char *directory, struct arena *arena)
{
	const struct target *target = &graph->targets[id];
	struct paths paths = { 0 };

	if (!target->rule->paths || !target->spec)
		return false;
	target->rule->paths(target->spec, arena, &paths);
	for (size_t i = 0; i < paths.makes.count; i++)
		if (lies_below(paths.makes.items[i], directory))
			return true;
	return false;
}

bool
graph_is_parent(const struct graph *graph, const char *directory)
{
	size_t length = strlen(directory);
	char bare[4096];

	while (length > 1 && directory[length - 1] == '/')
		length--;
	if (length >= sizeof bare)
		return false;
	memcpy(bare, directory, length);
	bare[length] = '\0';
	return names_find(&graph->parents, bare) != NO_NAME;
}

bool
link_paths(struct linking *linking)
{
	struct graph *graph = linking->graph;
	struct paths *paths = arena_array(linking->scratch, graph->count + 1, sizeof *paths);
	bool any = false;

	for (uint32_t i = 0; i < graph->count; i++) {
		const struct target *target = &graph->targets[i];

		if (!target->rule->paths)
			continue;
		target->rule->paths(target->spec, linking->scratch, &paths[i]);
		for (size_t j = 0; j < paths[i].makes.count; j++)
			note_made(linking, target, paths[i].makes.items[j]);
	}
	for (uint32_t i = 0; i < graph->count && graph->paths.count; i++)
		for (size_t j = 0; j < paths[i].reads.count; j++) {
			uint32_t maker = graph_maker(graph, paths[i].reads.items[j]);

			if (maker == NO_NAME || maker == i)
				continue;
			link_edge(linking, i, maker);
			any = true;
		}
	return any;
}
