/* shapes.h - `provision shapes`: the answer as one JSON document. */
#pragma once

#include "engine/base/json.h"
#include "rules/shapes.h"

struct arena;

/* What is refused for other causes than memory has no use for numbers of it. */
bool shapes_is_measured(const struct fit *fit);

/* The caller owns it. */
json_t *shapes_json(const struct shapes *shapes, struct arena *arena);
