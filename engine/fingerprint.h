/* fingerprint.h - folds ingredients into one digest, canonically.
 *
 * SHA-256 over the rule's name, its version and every ingredient's name and value, sorted by name, each field after its length in 8 bytes, little-endian. */
#pragma once

#include "base/digest.h"
#include "record.h"

struct hasher;

/* Sort by name: the order in which ingredients are folded and compared. */
void fingerprint_sort(struct ingredients *ingredients);

/* Sorts `ingredients`. The hasher is a scratch that is reused from target to target. */
void fingerprint(struct hasher *hasher, const char *rule, uint32_t version, struct ingredients *ingredients, struct digest *digest);
