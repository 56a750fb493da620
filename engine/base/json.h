/* json.h - jansson, with limits, and look-ups that fail with a path.
 *
 * Length and depth are checked before jansson sees the text (reliability.md section 10). */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

struct arena;
struct buf;

#define JSON_LIMIT (64u << 20)

/* Duplicate keys, NUL, bad UTF-8 and depth over 64 are E0605 with `what` named. The caller owns `*value`. */
bool json_parse(const char *text, size_t size, const char *what, json_t **value, struct error *err);
bool json_parse_file(const char *path, size_t limit, json_t **value, struct error *err);

/* Only checks depth and size, for text that goes elsewhere. */
bool json_depth_ok(const char *text, size_t size, size_t depth);

void json_release(json_t **value); /* for `finally` */

/* Dotted path (`config.text.heads`); NULL if missing or of another type. Borrowed. */
const json_t *json_at(const json_t *value, const char *path);
const char *json_string_at(const json_t *value, const char *path);
bool json_int_at(const json_t *value, const char *path, int64_t *number);

/* Text of a value, compact, keys in the order of insertion (or sorted), in the arena. */
const char *json_text(struct arena *arena, const json_t *value, bool sorted);

/* Append a quoted JSON string; bad UTF-8 becomes U+FFFD. */
void json_quote(struct buf *buf, const char *text);

/* Give a value to an object or a list; NULL for want of memory, or no room, ends the program. */
void json_put(json_t *object, const char *key, json_t *value);
void json_push(json_t *list, json_t *value);
