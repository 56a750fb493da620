/* gpuset.h - GPUs asked for -> devices, dealt to replicas; honours `reserve`. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/gpu.h"
#include "engine/base/error.h"

struct arena;

/* What a `gpus:` parameter says (its JSON text): `none`, a list of indices or UUIDs, `{count, free}`. */
struct gpuset {
	bool none;
	const char **names;   /* indices as text, or UUIDs */
	size_t name_count;
	int64_t count;        /* of {count: N}; 0: by name */
	bool want_free;
};

bool gpuset_parse(const char *json, struct arena *arena, struct gpuset *set, struct error *err); /* NULL: none */

/* How many GPUs it asks for. */
int64_t gpuset_size(const struct gpuset *set);

/* Refuse what `reserve` keeps (E0405), as far as indices tell without looking at the machine. */
bool gpuset_check_reserved(const struct gpuset *set, const int64_t *reserved, size_t count, const char *purpose, struct error *err);

/* Choose devices: named ones must exist (E0502) and must not be reserved; by count the free ones first, lowest index first. */
bool gpuset_choose(const struct gpuset *set, const struct gpus *gpus, const int64_t *reserved, size_t reserved_count, const char *purpose,
	struct arena *arena, const struct gpu ***chosen, size_t *count, struct error *err);
