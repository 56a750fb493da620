/* manifest.h - YAML to nodes that keep file, line and column.
 *
 * The only user of libyaml, and of its events alone. Knows no kind of target. Nodes live in the arena; nothing is copied for an alias, and an alias
 * bomb is refused by its weight before anybody walks it. Limits: 64 MiB a file, 64 levels, 4,000,000 nodes with aliases and merge keys followed. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/error.h"
#include "node.h"
#include "source.h"

/* Read a file and parse it into one map. NULL when something is wrong: `errors` says all of it that can be known. Merge keys (`<<`) are applied, explicit keys win. */
struct node *manifest_parse(struct sources *sources, const char *file, const char *path, struct errors *errors);

/* Parse text that is not a file: the value of `--set`. `file` is what places name. */
struct node *manifest_parse_text(struct sources *sources, const char *file, const char *text, size_t size, struct errors *errors);
