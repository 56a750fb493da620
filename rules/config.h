/* config.h - config.json while it is being read: shared by architecture.c and layers.c. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "architecture.h"
#include "engine/base/json.h"
#include "families.h"

/* Numbers beyond this are no model's: taken as missing, so that arithmetic stays far from its ends. */
#define LARGEST ((int64_t)1 << 31)

struct config {
	const json_t *top;
	const json_t *text;
	const json_t *vision;
	struct architecture *arch;
	struct arena *arena;
};

/* A positive integer; unknown whatever else stands there. */
static inline struct known_number
number_at(const json_t *object, const char *path)
{
	int64_t value;

	if (!object || !json_int_at(object, path, &value) || value <= 0 || value > LARGEST)
		return (struct known_number){ 0 };
	return (struct known_number){ .known = true, .value = value };
}

static inline bool
is_true(const json_t *object, const char *path)
{
	return json_is_true(json_at(object, path));
}

static inline void
default_to(struct known_number *number, int64_t value)
{
	if (!number->known && value > 0)
		*number = (struct known_number){ .known = true, .value = value };
}

/* What the layers are: experts, how far they look back, how many positions they bear, state instead of attention. layers.c */
void config_read_layers(const struct config *config, const struct family *family);
