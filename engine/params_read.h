/* params_read.h - one value of a manifest into one field of a filled struct, by the type of its parameter. For params.c alone. */
#pragma once

#include "params.h"

/* One map that is being filled in. */
struct fill {
	const struct sources *sources;
	struct arena *arena;
	struct errors *errors;
	const char *owner;           /* "target `service` (rule: service)", "`ready`" */
	const char *file;            /* a reference brought the map here: paths in it start at this file; else NULL */
	const struct fill *above;    /* the map around this one */
	const struct param *params;
	const struct param *common;
};

/* False: an error was added. A value that is pending is left zero. */
bool params_read(const struct fill *fill, const struct param *param, const struct node *node, void *spec);

/* The parameter's default, as if it had been written in `map`. */
bool params_read_default(const struct fill *fill, const struct param *param, const struct node *map, void *spec);

/* Of a parameter that is a map, or an item of its list: params.c fills it as it fills every map. */
bool params_fill_nested(const struct fill *above, const struct param *param, const struct node *map, void *spec);
