/* seal.h - what looking at an up-to-date project consisted of, so that the next look can be that alone.
 *
 * A seal lists every file that a whole inspection asked for, manifests included, with its stat data. While none of them has changed and nothing was
 * recorded since (every run drops it), the inspection would find the same: that all is up to date. Only projects whose targets look at nothing but files
 * can be sealed. The seal is a shortcut, never evidence: what breaks it leads to the ordinary way. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "inspect.h"

#define SEAL_KEY "seal" /* where the memory keeps it, among the checkpoints */

struct seal {
	uint32_t targets; /* up to date */
	uint32_t files;   /* looked at by stat */
};

/* Pack the seal of an inspection that found everything up to date. False: it cannot be sealed, and nothing is wrong. */
bool seal_make(const struct inspection *inspection, struct buf *bytes);

/* Whether the seal is of this manifest and root (absolute paths) and this version, and everything is as it was. */
bool seal_holds(const void *bytes, size_t size, const char *manifest, const char *root, struct seal *seal);
