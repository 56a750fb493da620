#include "transfer_part.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "engine/base/file.h"

#define WRITEBACK (TRANSFER_PIECE / 8)

static bool
is_whole(const struct part *part, size_t piece)
{
	return part->pieces[piece].written.length == part_piece_end(part, piece) - part_piece_start(piece);
}

/* Read again what a piece holds already, so that its tag can go on; a lane at the front hashes it too. What does not prove right is fetched again. */
static bool
go_on(struct lane *lane, const struct extent *extent, struct error *err)
{
	struct part *part = lane->part;
	uint64_t start = part_piece_start(lane->piece);
	bool there = true, moved = true;

	tagger_init(&lane->tagger);
	if (extent->length == 0)
		return true;
	if (lane->front && part->front == start && !part_advance_over(part, extent, &moved, err))
		return false;
	if (!moved)
		return true;
	if (!part_read(part, part->fd, start, start + extent->length, false, &lane->tagger, &there, err))
		return false;
	if (there && part_has_tag(&lane->tagger, extent)) {
		lane->at = start + extent->length;
		return true;
	}
	/* The digest has passed these bytes already. */
	if (lane->front)
		return fail(err, FAULT_IO, "the part of `%s` changed while it was written", part->transfer->name);
	part_forget(part, lane->piece);
	tagger_finish(&lane->tagger);
	tagger_init(&lane->tagger);
	return true;
}

/* With the mutex held: where the next piece begins that is there or in somebody's hands. */
static uint64_t
gap_end(const struct part *part, size_t piece)
{
	for (size_t i = piece + 1; i < part->piece_count; i++)
		if (part->pieces[i].written.length > 0 || part->pieces[i].busy)
			return part_piece_start(i);
	return part->size;
}

bool
lane_at_front(struct lane *lane, struct part *part, bool alone, struct error *err)
{
	size_t piece = part_piece_of(part->front);
	struct extent extent;
	bool free_now;

	pthread_mutex_lock(&part->mutex);
	part_need_pieces(part, piece + 1);
	free_now = part->held || !part->pieces[piece].busy;
	part->held = false;
	if (free_now) {
		*lane = (struct lane){ .part = part, .piece = piece, .front = true, .at = part->front };
		/* Of unknown size it comes in one answer. */
		lane->end = alone || part->one_lane || part->size == UINT64_MAX ? gap_end(part, piece) : part_piece_end(part, piece);
		extent = part->pieces[piece].written;
		part_set_busy(part, piece, true);
	}
	pthread_mutex_unlock(&part->mutex);
	if (!free_now)
		return false;
	if (go_on(lane, &extent, err)) {
		lane->at = part->front;
		return true;
	}
	lane_leave(lane);
	return false;
}

bool
lane_behind(struct lane *lane, struct part *part, struct error *err)
{
	struct extent extent;
	size_t piece = 0;
	bool found = false;

	err->fault = FAULT_NONE;
	pthread_mutex_lock(&part->mutex);
	if (!part->closing && !part->one_lane && part->size != UINT64_MAX)
		for (; part_piece_start(piece) < part->size && !found; piece += !found)
			found = !part->pieces[piece].busy && !is_whole(part, piece);
	if (found) {
		*lane = (struct lane){ .part = part, .piece = piece, .at = part_piece_start(piece), .end = part_piece_end(part, piece) };
		extent = part->pieces[piece].written;
		part_set_busy(part, piece, true);
	}
	pthread_mutex_unlock(&part->mutex);
	if (!found)
		return false;
	if (go_on(lane, &extent, err))
		return true;
	lane_leave(lane);
	return false;
}

/* The disk begins with what is written while more arrives: the sync at the end of the piece then finds little to do. It promises nothing, so whether it works is not asked. */
static void
start_writeback(const struct lane *lane, uint64_t from)
{
	if (lane->at / WRITEBACK != from / WRITEBACK)
		(void)sync_file_range(lane->part->fd, (off_t)(from / WRITEBACK * WRITEBACK), WRITEBACK, SYNC_FILE_RANGE_WRITE);
}

static bool
write_at(struct lane *lane, const void *bytes, size_t size, struct error *err)
{
	const struct transfer *transfer = lane->part->transfer;

	if (file_pwrite_all(lane->part->fd, bytes, size, lane->at, err))
		return true;
	if (err->fault == FAULT_CANNOT_CREATE)
		err->fault = FAULT_NO_SPACE;
	return error_wrap(err, "part of `%s` in `%s`", transfer->name, transfer->dir);
}

/* What the lane has of its piece so far. */
static void
note_extent(struct lane *lane)
{
	struct part *part = lane->part;
	struct extent extent = { .length = lane->at - part_piece_start(lane->piece) };

	if (extent.length == 0 || !lane->tagger.context)
		return;
	tagger_tag(&lane->tagger, extent.tag);
	pthread_mutex_lock(&part->mutex);
	part->pieces[lane->piece].written = extent;
	pthread_mutex_unlock(&part->mutex);
}

/* The lane stands at the end of its piece. A lane that has more before it goes on into the next one. */
static bool
end_piece(struct lane *lane, struct error *err)
{
	struct part *part = lane->part;
	bool last = lane->front && lane->at == part->size;

	note_extent(lane);
	tagger_finish(&lane->tagger);
	/* The whole is synced before it gets its name. */
	if (!last && !part_checkpoint(part, err))
		return false;
	if (lane->at >= lane->end || lane->at >= part->size)
		return true;
	pthread_mutex_lock(&part->mutex);
	part_set_busy(part, lane->piece, false);
	lane->piece++;
	part_need_pieces(part, lane->piece + 1);
	part_set_busy(part, lane->piece, true);
	pthread_mutex_unlock(&part->mutex);
	tagger_init(&lane->tagger);
	return true;
}

bool
lane_take(struct lane *lane, const void *bytes, size_t size, struct error *err)
{
	struct part *part = lane->part;
	const char *from = bytes;

	while (size > 0) {
		uint64_t room = part_piece_end(part, lane->piece) - lane->at;
		size_t count = size < room ? size : (size_t)room;

		if (!write_at(lane, from, count, err))
			return false;
		tagger_add(&lane->tagger, from, count);
		lane->at += count;
		start_writeback(lane, lane->at - count);
		if (lane->front)
			part_pass(part, from, count);
		transfer_tell(part->transfer, count);
		from += count;
		size -= count;
		if (lane->at == part_piece_end(part, lane->piece) && !end_piece(lane, err))
			return false;
	}
	return true;
}

void
lane_leave(struct lane *lane)
{
	struct part *part = lane->part;

	if (!part)
		return;
	note_extent(lane);
	tagger_finish(&lane->tagger);
	pthread_mutex_lock(&part->mutex);
	if (lane->front)
		part->held = lane->at > part_piece_start(lane->piece) && lane->at < part_piece_end(part, lane->piece);
	if (!lane->front || !part->held)
		part_set_busy(part, lane->piece, false);
	pthread_mutex_unlock(&part->mutex);
	lane->part = NULL;
}
