/* transfer_part.h - the part file of one transfer: its bytes, their digests, and what is known of it from before. For transfer*.c alone.
 *
 * A part is filled piece by piece, by one lane for each connection. The lane at the front hashes what passes; whatever lies before `front` was written and is in the
 * running digest, or on its way there (transfer_follow.c). Other lanes write further behind, and leave a tag (digest.h) for each piece, by which the front believes it when it comes there. What a checkpoint
 * speaks of was synced before (reliability.md W2); bytes of a former run are believed by tag alone, and at the end the whole by its digest (W7).
 *
 * One thread owns a part: it opens, advances, names and finishes it. Others only take lanes. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "transfer.h"

/* An owner that works so many percent of the time has no use for guests; the tests' own build always has. */
#ifndef TRANSFER_BUSY
#define TRANSFER_BUSY 33
#endif

/* So many bytes from a piece's start are there, and have this tag; 0: none. */
struct extent {
	uint64_t length;
	unsigned char tag[TAG_SIZE];
};

struct part_piece {
	struct extent written;
	struct extent durable; /* what may be remembered */
	bool busy;             /* a lane is in it */
};

/* The thread that hashes behind the lane at the front, so that receiving and hashing are on different cores. */
struct follower {
	pthread_t thread;
	bool running;
	uint64_t passed;         /* bytes that the lane has written; all three are the owner's */
	uint64_t given;          /* what lies before is hashed, or this thread's to hash */
	atomic_bool leaving;

	pthread_cond_t changed;  /* with the part's mutex, of all below */
	uint64_t hashed;
	uint64_t goal;
	bool failed;
	struct error why;
};

struct part {
	struct transfer *transfer;
	struct arena *arena;     /* of the owner */
	int dirfd;               /* `.provision/parts` */
	int fd;
	const char *name;        /* below dirfd */
	const char *key;         /* part_key */
	uint64_t size;           /* UINT64_MAX: not known yet; then there is one lane */
	uint64_t front;          /* the owner's */
	bool held;               /* the owner left the front's piece half done, and keeps it */
	struct hasher sha256;    /* both the follower's, while it has something to hash */
	struct hasher git;       /* only if the checksum is one */
	struct follower follower;
	clockid_t owner_clock;   /* of the processor time of the thread that opened it */
	const struct extent *former; /* pieces of a file that was finished once, by an older checkpoint */
	size_t former_count;

	pthread_mutex_t mutex;   /* of all below */
	pthread_cond_t changed;
	struct part_piece *pieces;
	size_t piece_count;
	size_t piece_capacity;
	unsigned guests;         /* lanes of other threads */
	bool closing;            /* they are to leave */
	bool one_lane;           /* the source answers no ranges */
	bool broken;             /* a sync failed: nothing that was written may be believed (W4) */
	struct error why;
	size_t source;           /* index of the one that the owner asks */
	bool wants_help;         /* as the owner fared between the last two looks */
	int64_t looked_ns;       /* and the last look: by the clock on the wall, and by the owner's */
	int64_t worked_ns;
};

/* A place in the part at which one connection writes. */
struct lane {
	struct part *part;
	uint64_t at;
	uint64_t end;            /* of what it may write; it grows when the size becomes known */
	size_t piece;
	bool front;
	struct tagger tagger;    /* over the piece so far */
};

/* Key of its checkpoint. */
const char *part_key(const struct transfer *transfer, struct arena *arena);

/* Open the part, taking over one that a former run left, with what its checkpoint says. The part's name is durable on return. */
bool part_open(struct part *part, struct transfer *transfer, struct arena *arena, struct error *err);
void part_finish(struct part *part);

/* The size, once it is known: E0609 if there is no room for what is missing. */
bool part_set_size(struct part *part, uint64_t size, struct error *err);

/* Move the front over what is there already and proves right. */
bool part_advance(struct part *part, struct error *err);

/* A lane at the front, to the end of its piece or, `alone`, to the next piece that is there; for the owner. False: another lane is in that piece. */
bool lane_at_front(struct lane *lane, struct part *part, bool alone, struct error *err);

/* A lane in the first piece that nobody has. False: there is none, or `err` says what went wrong. */
bool lane_behind(struct lane *lane, struct part *part, struct error *err);

/* The next bytes, not beyond the end. */
bool lane_take(struct lane *lane, const void *bytes, size_t size, struct error *err);

/* Leave: what came stays. */
void lane_leave(struct lane *lane);

/* Whether every sync so far went well; for the owner, since a guest has nobody to tell. */
bool part_is_sound(struct part *part, struct error *err);

/* Bytes that the lane at the front has written: they are hashed, here and now or soon, and the front moves. */
void part_pass(struct part *part, const void *bytes, size_t size);

/* The owner has hashed all before by himself. */
void part_move_front(struct part *part, uint64_t to);

/* All before the front is hashed, and the hashers are the owner's again. */
bool part_settle(struct part *part, struct error *err);

/* End the thread, and with it what it has not hashed. */
void part_unfollow(struct part *part);

/* Wait a little for other lanes; for the owner. */
void part_wait(struct part *part);

/* The others are to leave; returns when they have. Until part_reopen nobody comes in. */
void part_close(struct part *part);
void part_reopen(struct part *part);

/* A guest comes in; false: not now. It looks now and then whether it is to leave. */
bool part_enter(struct part *part);

/* From here on, until part_finish: how busy this thread is. */
void part_watch_owner(struct part *part);

/* Whether another connection would bring something: the owner mostly waits. One that is busy receiving or hashing is only kept from it by more. */
bool part_wants_help(struct part *part);
bool part_is_open(struct part *part);
void part_exit(struct part *part);

/* The source that is asked answers no ranges. */
void part_take_one_lane(struct part *part);

/* Which source the owner asks. */
void part_set_source(struct part *part, size_t source);
size_t part_source(struct part *part);

/* The rest is in the file already, put there by the file system: hash it. */
bool part_take_cloned(struct part *part, struct error *err);

/* Take pieces that are still right from a finished file of which only some bytes are wrong. */
bool part_salvage(struct part *part, int fd, struct error *err);

/* Make what is there durable and remember it, for the next run. */
bool part_checkpoint(struct part *part, struct error *err);

/* The file has its name, synced: its tags are remembered, so that a repair costs no more than what is damaged. */
bool part_remember(struct part *part, struct error *err);

/* Forget all bytes: they were wrong. */
bool part_reset(struct part *part, struct error *err);

/* Digests of the whole; true if they are as pinned. Once only, until part_reset or part_reread. */
bool part_is_right(struct part *part, struct digest *sha256, struct checksum *found);

/* Hash the whole file again from the disk. */
bool part_reread(struct part *part, struct error *err);

/* Remove it. */
void part_discard(struct part *part);

/* Bytes that are there already. */
uint64_t part_claimed(struct part *part);

/* ---- between the files of a part: transfer_part.c, transfer_open.c, transfer_lane.c, transfer_salvage.c, transfer_follow.c, transfer_guest.c ---- */

/* Hashers begin anew; a checkpoint says what is durable (with the mutex held, or alone). */
void part_start_hashers(struct part *part);
bool part_save(struct part *part, struct error *err);

/* Pieces by number; the last one may be shorter. */
size_t part_piece_of(uint64_t offset);
uint64_t part_piece_start(size_t piece);
uint64_t part_piece_end(const struct part *part, size_t piece);

/* With the mutex held: that there are so many; whether a lane is in one. */
void part_need_pieces(struct part *part, size_t count);
void part_set_busy(struct part *part, size_t piece, bool busy);

/* What a piece was said to hold is not there. */
void part_forget(struct part *part, size_t piece);

/* Bytes that pass the front; and that so many came, for whoever watches. */
void part_hash(struct part *part, const void *bytes, size_t size);
void transfer_tell(struct transfer *transfer, uint64_t bytes);

/* Read [from, to) of a file into the hashers (`whole`) and a tagger, or either alone. `*there` false: it is shorter. */
bool part_read(struct part *part, int fd, uint64_t from, uint64_t to, bool whole, struct tagger *tagger, bool *there, struct error *err);
bool part_has_tag(const struct tagger *tagger, const struct extent *extent);

/* Move the front over what the piece at it holds; `*moved` false: it did not prove right, and is forgotten. */
bool part_advance_over(struct part *part, const struct extent *extent, bool *moved, struct error *err);
