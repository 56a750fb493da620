#include "shed.h"

#include <string.h>

#include "base/arena.h"

/* The same path, or one that lies below the other. */
static bool
overlaps(const char *a, const char *b)
{
	size_t i = 0;

	while (a[i] && a[i] == b[i])
		i++;
	return (!a[i] && (!b[i] || b[i] == '/')) || (!b[i] && a[i] == '/');
}

static bool
is_recorded(const struct record *record, const char *path)
{
	for (size_t i = 0; record && i < record->artifacts.count; i++)
		if (overlaps(record->artifacts.items[i].name, path))
			return true;
	return false;
}

/* Of a target that the seal vouched for no record was read. One that cannot be read now is none. */
static const struct record *
record_of(const struct inspection *inspection, const struct record *const *current, uint32_t id, struct arena *arena)
{
	const struct memory *memory = inspection->memory;
	const struct seen *seen = &inspection->seen[id];
	struct record *record = arena_alloc(arena, sizeof *record);
	struct error ignored;
	struct row *row;

	if (seen->has_record || (current && current[id]))
		return current ? current[id] : seen->record;
	if (!memory->record(memory->self, inspection->manifest->name, inspection->graph->targets[id].name, arena, &row, &ignored) || !row)
		return NULL;
	return record_unpack(record, row->body, row->body_size, arena) ? record : NULL;
}

static bool
is_made(const struct inspection *inspection, const struct record *const *current, const struct record *old, const struct strings *makes,
	const char *path, struct arena *arena)
{
	const struct graph *graph = inspection->graph;

	if (graph_maker(graph, path) != NO_NAME || graph_is_parent(graph, path))
		return true;
	for (size_t i = 0; i < makes->count; i++)
		if (overlaps(makes->items[i], path))
			return true;
	/* What these make the manifest does not say, but their records do. */
	for (uint32_t i = 0; i < graph->pending_count; i++) {
		uint32_t id = graph->pending[i];

		if (strcmp(graph->targets[id].name, old->target) != 0 && is_recorded(record_of(inspection, current, id, arena), path))
			return true;
	}
	return false;
}

void
shed_list(const struct inspection *inspection, const struct record *const *current, const struct record *old, const struct strings *makes,
	struct arena *arena, struct artifacts *left)
{
	static const struct strings nothing = { 0 };
	const struct target *target = graph_find(inspection->graph, old->target);
	/* Paths that were known when the manifest was linked are in the graph already. */
	const struct strings *others = target && !target->pending ? &nothing : makes;

	for (size_t i = 0; i < old->artifacts.count; i++) {
		const struct artifact *artifact = &old->artifacts.items[i];

		if (artifact->kind != ARTIFACT_FILE && artifact->kind != ARTIFACT_DIRECTORY)
			continue;
		if (!is_made(inspection, current, old, others, artifact->name, arena))
			artifacts_add(left, arena, artifact);
	}
}
