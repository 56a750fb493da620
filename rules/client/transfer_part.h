/* transfer_part.h - the part file of one transfer: its bytes, their running digests, and what is known of it from before. For transfer.c alone.
 *
 * Bytes arrive in order. Whatever lies before `front` was written and hashed. After each piece, and when stopped, the bytes are synced before a
 * checkpoint speaks of them (reliability.md W2). Bytes of a former run are believed piece by piece, by digest alone (W7). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "transfer.h"

struct part_piece {
	struct digest digest;
	uint64_t length; /* bytes from the piece's start that are said to be there; 0: none */
};

struct part {
	const struct transfer *transfer;
	struct arena *arena;
	int dirfd;               /* `.provision/parts` */
	int fd;
	const char *name;        /* below dirfd */
	const char *key;         /* part_key */
	uint64_t size;           /* UINT64_MAX: not known yet */
	uint64_t front;
	struct part_piece *pieces;
	size_t piece_count;
	size_t piece_capacity;
	struct hasher sha256;
	struct hasher git;       /* only if the checksum is one */
	struct hasher piece;
};

/* Key of its checkpoint. */
const char *part_key(const struct transfer *transfer, struct arena *arena);

/* Open the part, taking over one that a former run left, with what its checkpoint says. The part's name is durable on return. */
bool part_open(struct part *part, const struct transfer *transfer, struct arena *arena, struct error *err);
void part_finish(struct part *part);

/* The size, once it is known: E0609 if there is no room for what is missing. */
bool part_set_size(struct part *part, uint64_t size, struct error *err);

/* Move the front over what is there already and proves right. */
bool part_advance(struct part *part, struct error *err);

/* Where the bytes that are missing from the front on end. */
uint64_t part_gap_end(const struct part *part);

/* The next bytes. */
bool part_take(struct part *part, const void *bytes, size_t size, struct error *err);

/* The rest is in the file already, put there by the file system: hash it. */
bool part_take_cloned(struct part *part, struct error *err);

/* Make what is there durable and remember it, for the next run. */
bool part_checkpoint(struct part *part, struct error *err);

/* Forget all bytes: they were wrong. */
bool part_reset(struct part *part, struct error *err);

/* Digests of the whole; true if they are as pinned. Once only, until part_reset or part_reread. */
bool part_is_right(struct part *part, struct digest *sha256, struct checksum *found);

/* Hash the whole file again from the disk. */
bool part_reread(struct part *part, struct error *err);

/* Remove it. */
void part_discard(struct part *part);

/* Between transfer_part.c and transfer_open.c. Hashers begin anew; a checkpoint says what the pieces hold (the bytes are synced by then). */
void part_start_hashers(struct part *part);
bool part_save(struct part *part, struct error *err);
