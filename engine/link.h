/* link.h - edges between targets while a graph is being made: slices, one order, cycles. For graph.c and paths.c alone. */
#pragma once

#include "graph.h"

struct edge {
	uint32_t user;
	uint32_t need;
};

struct linking {
	struct graph *graph;
	const struct manifest *manifest;
	struct errors *errors;
	struct arena *scratch;
	const struct target *target; /* whose references are being read */
	bool broken;                 /* targets of the manifest are left out of the graph: their own errors were told */
	struct edge *edges;          /* malloc */
	size_t edge_count;
	size_t edge_capacity;
	size_t maker_capacity;
	const char *parent;          /* of the path that was noted last */
};

void link_edge(struct linking *linking, uint32_t user, uint32_t need);

/* Edges to the graph's slices of needs and users, each once. */
void link_slices(struct linking *linking);

/* A path that one target makes and another reads makes the first a need of the second. Whether there are any. */
bool link_paths(struct linking *linking);

/* Add E0204 for what two targets claim for themselves. */
void link_claims(struct linking *linking);

/* Add E0204: `second` makes or claims what `first` has already. `what` names it: "make `x`". */
void link_refuse_second(struct linking *linking, const struct target *first, struct place first_at, const struct target *second, struct place at,
	const char *what);

/* The topological order that keeps the manifest's where it can. False: E0201 with the shortest cycle was added. */
bool link_order(struct linking *linking);
