/* params.h - a rule's parameters: one table drives validation, did-you-mean, help and the filled struct.
 *
 * Knows no YAML file, only nodes. Everything filled in lives in the arena. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/secret.h"
#include "base/strings.h"
#include "manifest.h"

struct ingredients;

enum param_type {
	PARAM_STRING,   /* const char * */
	PARAM_INT,      /* int64_t */
	PARAM_FLOAT,    /* double */
	PARAM_BOOL,     /* bool */
	PARAM_SIZE,     /* int64_t, bytes */
	PARAM_DURATION, /* int64_t, milliseconds */
	PARAM_PATH,     /* const char *, absolute */
	PARAM_ENUM,     /* int: index into `choices` */
	PARAM_STRINGS,  /* struct strings; a single scalar is a list of one */
	PARAM_PATHS,    /* struct strings, absolute */
	PARAM_INTS,     /* struct ints */
	PARAM_PAIRS,    /* struct pairs: a map of scalars, in the order written */
	PARAM_STRUCT,   /* const void *: a nested struct by `fields`, NULL if absent */
	PARAM_LIST,     /* struct list of nested structs by `fields` */
	PARAM_SECRET,   /* struct secret_ref; the name alone is fingerprinted */
	PARAM_JSON,     /* const char *: the value as compact JSON, any shape, NULL if absent */
};

struct ints {
	const int64_t *items;
	size_t count;
};

struct list {
	const void *items; /* `count` structs of the param's `size`, one behind the other */
	size_t count;
	const struct place *at; /* of each item */
};

struct param {
	const char *name;
	enum param_type type;
	size_t offset;
	bool required;
	bool unhashed;            /* does not change the product: never an ingredient (timeouts, tokens, where an input lies) */
	const char *about;        /* one line of documentation */
	const char *fallback;     /* default as it would be written, or NULL: zero */
	const char *const *choices; /* of PARAM_ENUM, ends with NULL */
	const struct param *fields; /* of PARAM_STRUCT and PARAM_LIST */
	size_t size;              /* of one such struct */
	int64_t least, most;      /* bounds of numbers; both 0: none */
};

/* Fill `spec` (zeroed, of the rule's size) from a map. Keys in `common` (may be NULL) fill `common_spec`; any other key is refused with
 * did-you-mean. Pending nodes are accepted for every type and left zero. `owner` names the map in messages ("target `service` (rule: service)"). False if errors
 * were added. Relative paths start at the directory of the file that the parameter is written in, which `sources` knows. */
bool params_fill(const struct param *params, const struct node *map, struct place at, const char *owner, const struct sources *sources,
	const struct param *common, void *common_spec, struct arena *arena, void *spec, struct errors *errors);

/* Every hashed parameter of a filled struct as ingredients `param:NAME`, with canonical text, zero values and empty lists left out. */
void params_ingredients(const struct param *params, const void *spec, struct ingredients *into);

/* The value of one parameter as canonical text; NULL if it is zero or empty. */
const char *params_text(const struct param *param, const void *spec, struct arena *arena);

/* "string", "list of paths", "size" ...: for help. */
const char *params_type_name(const struct param *param);
