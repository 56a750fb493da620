#include "link.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/finding.h"

#define CYCLE_TEXT 400
#define CYCLE_EDGES 4 /* whose places are told, beside the first */
#define CYCLE_STEPS ((size_t)20 << 20) /* edges looked at while searching for the shortest cycle */

void
link_edge(struct linking *linking, uint32_t user, uint32_t need)
{
	if (linking->edge_count == linking->edge_capacity) {
		linking->edge_capacity = linking->edge_capacity ? linking->edge_capacity * 2 : 256;
		linking->edges = xrealloc(linking->edges, linking->edge_capacity * sizeof *linking->edges);
	}
	linking->edges[linking->edge_count++] = (struct edge){ .user = user, .need = need };
}

static int
by_ids(const void *a, const void *b)
{
	const struct edge *left = a, *right = b;

	if (left->user != right->user)
		return left->user < right->user ? -1 : 1;
	return left->need < right->need ? -1 : left->need > right->need;
}

static void
sort_edges(struct linking *linking)
{
	size_t kept = 0;

	if (linking->edge_count == 0)
		return;
	qsort(linking->edges, linking->edge_count, sizeof *linking->edges, by_ids);
	for (size_t i = 1; i < linking->edge_count; i++)
		if (by_ids(&linking->edges[kept], &linking->edges[i]) != 0)
			linking->edges[++kept] = linking->edges[i];
	linking->edge_count = kept + 1;
}

void
link_slices(struct linking *linking)
{
	struct graph *graph = linking->graph;
	uint32_t at = 0;

	sort_edges(linking);
	graph->needs = arena_array(graph->arena, linking->edge_count + 1, sizeof *graph->needs);
	graph->users = arena_array(graph->arena, linking->edge_count + 1, sizeof *graph->users);
	for (uint32_t i = 0; i < graph->count; i++) {
		graph->targets[i].need_count = 0;
		graph->targets[i].user_count = 0;
	}
	for (size_t i = 0; i < linking->edge_count; i++) {
		struct target *user = &graph->targets[linking->edges[i].user];

		if (user->need_count++ == 0)
			user->needs = (uint32_t)i;
		graph->needs[i] = linking->edges[i].need;
		graph->targets[linking->edges[i].need].user_count++;
	}
	for (uint32_t i = 0; i < graph->count; i++) {
		graph->targets[i].users = at;
		at += graph->targets[i].user_count;
		graph->targets[i].user_count = 0;
	}
	for (size_t i = 0; i < linking->edge_count; i++) {
		struct target *need = &graph->targets[linking->edges[i].need];

		graph->users[need->users + need->user_count++] = linking->edges[i].user;
	}
}

static bool
is_ordered(const struct linking *linking)
{
	for (size_t i = 0; i < linking->edge_count; i++)
		if (linking->edges[i].need >= linking->edges[i].user)
			return false;
	return true;
}

/* A heap of ids: the smallest that is ready comes next, which keeps the manifest's order. */
static void
push(uint32_t *heap, uint32_t *count, uint32_t id)
{
	uint32_t at = (*count)++;

	for (; at > 0 && heap[(at - 1) / 2] > id; at = (at - 1) / 2)
		heap[at] = heap[(at - 1) / 2];
	heap[at] = id;
}

static uint32_t
pop(uint32_t *heap, uint32_t *count)
{
	uint32_t top = heap[0], last = heap[--*count], at = 0;

	for (;;) {
		uint32_t child = 2 * at + 1;

		if (child >= *count)
			break;
		if (child + 1 < *count && heap[child + 1] < heap[child])
			child++;
		if (heap[child] >= last)
			break;
		heap[at] = heap[child];
		at = child;
	}
	heap[at] = last;
	return top;
}

/* The place at which a target says that it needs another. */
struct search {
	const char *need;
	struct place found;
};

static void
on_reference(void *context, const char *target, const char *output, struct place at)
{
	struct search *search = context;

	(void)output;
	if (!search->found.file && strcmp(target, search->need) == 0)
		search->found = at;
}

static struct place
edge_place(const struct linking *linking, const struct target *user, const struct target *need)
{
	struct search search = { .need = need->name };
	const struct node *needs = node_get(user->node, "needs");

	for (uint32_t i = 0; needs && needs->kind == NODE_LIST && i < needs->count; i++)
		if (needs->items[i]->kind == NODE_SCALAR && strcmp(needs->items[i]->text, need->name) == 0)
			return node_origin(needs->items[i]);
	if (user->node->pending)
		resolve_references(user->node, on_reference, &search, linking->scratch);
	return search.found.file ? search.found : user->at;
}

/* What the search for a cycle works with: an entry per target, and a stamp instead of a clean slate for each start. */
struct walk {
	const uint32_t *waits; /* 0: not part of any cycle */
	uint32_t *before;      /* the user that led here */
	uint32_t *queue;
	uint32_t *depth;
	uint32_t *stamp;
	uint32_t start_number;
	size_t steps;
};

/* Breadth first from `start` back to itself. Returns the length, 0 if there is no cycle of less than `limit` (0: any). */
static uint32_t
cycle_from(const struct graph *graph, struct walk *walk, uint32_t start, uint32_t limit)
{
	uint32_t first = 0, last = 0;

	walk->start_number++;
	walk->queue[last++] = start;
	walk->depth[start] = 1;
	walk->stamp[start] = walk->start_number;
	while (first < last) {
		uint32_t id = walk->queue[first++];
		const struct target *target = &graph->targets[id];

		if (limit && walk->depth[id] >= limit)
			return 0;
		for (uint32_t i = 0; i < target->need_count; i++) {
			uint32_t need = graph->needs[target->needs + i];

			walk->steps++;
			if (need == start) {
				walk->before[start] = id;
				return walk->depth[id];
			}
			if (!walk->waits[need] || walk->stamp[need] == walk->start_number)
				continue;
			walk->stamp[need] = walk->start_number;
			walk->depth[need] = walk->depth[id] + 1;
			walk->before[need] = id;
			walk->queue[last++] = need;
		}
	}
	return 0;
}

static void
tell_cycle(struct linking *linking, uint32_t start, uint32_t length, const uint32_t *before)
{
	const struct graph *graph = linking->graph;
	uint32_t *cycle = arena_array(linking->scratch, length + 1, sizeof *cycle);
	struct buf text finally(buf_finish) = { 0 };
	struct error err = { 0 };
	uint32_t id = start;

	for (uint32_t i = length; i > 0; i--) {
		cycle[i] = id;
		id = before[id];
	}
	cycle[0] = start;
	buf_init(&text, CYCLE_TEXT);
	for (uint32_t i = 0; i <= length; i++)
		buf_printf(&text, "%s%s", i ? " -> " : "", graph->targets[cycle[i]].name);
	fail_at(&err, edge_place(linking, &graph->targets[start], &graph->targets[cycle[1]]), FAULT_CYCLE, "the targets form a cycle: %s", text.data);
	error_label(&err, "`%s` needs `%s` here", graph->targets[start].name, graph->targets[cycle[1]].name);
	buf_clear(&text);
	for (uint32_t i = 1; i < length && i <= CYCLE_EDGES; i++) {
		const struct target *user = &graph->targets[cycle[i]], *need = &graph->targets[cycle[i + 1]];
		struct place at = edge_place(linking, user, need);

		buf_printf(&text, "; `%s` needs `%s` at %s:%u:%u", user->name, need->name, at.file ? at.file : "?", at.line, at.column);
	}
	error_hint(&err, "%s%s", length == 1 ? "a target cannot need itself" : "remove one of these edges", text.data);
	errors_add(linking->errors, &err);
}

/* Take out what only waits for a cycle: nothing that is left needs it. */
static void
trim(const struct graph *graph, uint32_t *waits, uint32_t *stack, uint32_t *users)
{
	uint32_t depth = 0;

	for (uint32_t id = 0; id < graph->count; id++) {
		const struct target *target = &graph->targets[id];

		for (uint32_t i = 0; i < target->user_count; i++)
			users[id] += waits[graph->users[target->users + i]] > 0;
		if (waits[id] && !users[id])
			stack[depth++] = id;
	}
	while (depth > 0) {
		const struct target *target = &graph->targets[stack[--depth]];

		waits[target->id] = 0;
		for (uint32_t i = 0; i < target->need_count; i++) {
			uint32_t need = graph->needs[target->needs + i];

			if (waits[need] && --users[need] == 0)
				stack[depth++] = need;
		}
	}
}

/* Some target on a cycle: from where each has a need that is left, walking on must come around. */
static uint32_t
some_start(const struct graph *graph, const uint32_t *waits, unsigned char *seen)
{
	uint32_t id = 0;

	while (!waits[id])
		id++;
	while (!seen[id]) {
		const struct target *target = &graph->targets[id];
		uint32_t i = 0;

		seen[id] = 1;
		while (!waits[graph->needs[target->needs + i]])
			i++;
		id = graph->needs[target->needs + i];
	}
	return id;
}

/* The shortest cycle among what could not be ordered, told from the target that comes first in the file. In a heap of long cycles the search ends after CYCLE_STEPS
 * with the shortest that it has met. */
static void
find_cycle(struct linking *linking, uint32_t *waits)
{
	const struct graph *graph = linking->graph;
	size_t count = graph->count;
	uint32_t *scratch = arena_array(linking->scratch, 5 * count, sizeof *scratch);
	struct walk walk = {
		.waits = waits, .before = scratch, .queue = scratch + count, .depth = scratch + 2 * count, .stamp = scratch + 3 * count,
	};
	uint32_t start, best;

	trim(graph, waits, walk.queue, scratch + 4 * count);
	start = some_start(graph, waits, arena_alloc(linking->scratch, count));
	best = cycle_from(graph, &walk, start, 0);
	for (uint32_t id = 0; id < graph->count && best > 1 && walk.steps < CYCLE_STEPS; id++) {
		uint32_t length = waits[id] ? cycle_from(graph, &walk, id, best) : 0;

		if (length) {
			best = length;
			start = id;
		}
	}
	cycle_from(graph, &walk, start, 0);
	for (uint32_t id = walk.before[start], end = start; id != end; id = walk.before[id])
		start = id < start ? id : start;
	tell_cycle(linking, start, best, walk.before);
}

bool
link_order(struct linking *linking)
{
	struct graph *graph = linking->graph;
	uint32_t *waits, *heap, ready = 0, done = 0;

	graph->order = arena_array(graph->arena, graph->count + 1, sizeof *graph->order);
	if (is_ordered(linking)) {
		for (uint32_t i = 0; i < graph->count; i++)
			graph->order[i] = i;
		return true;
	}
	waits = arena_array(linking->scratch, graph->count + 1, sizeof *waits);
	heap = arena_array(linking->scratch, graph->count + 1, sizeof *heap);
	for (uint32_t i = 0; i < graph->count; i++) {
		waits[i] = graph->targets[i].need_count;
		if (waits[i] == 0)
			push(heap, &ready, i);
	}
	while (ready > 0) {
		const struct target *target = &graph->targets[pop(heap, &ready)];

		graph->order[done++] = target->id;
		for (uint32_t i = 0; i < target->user_count; i++)
			if (--waits[graph->users[target->users + i]] == 0)
				push(heap, &ready, graph->users[target->users + i]);
	}
	if (done == graph->count)
		return true;
	find_cycle(linking, waits);
	return false;
}
