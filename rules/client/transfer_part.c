#include "transfer_part.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/units.h"

#define PARTS ".provision/parts"
#define READ_SIZE ((size_t)1 << 20)

/* ---- digests ---- */

void
part_start_hashers(struct part *part)
{
	hasher_finish(&part->sha256);
	hasher_finish(&part->git);
	hasher_init(&part->sha256);
	if (part->transfer->checksum.kind == CHECKSUM_GIT && part->size != UINT64_MAX)
		hasher_init_git(&part->git, part->size);
}

void
part_hash(struct part *part, const void *bytes, size_t size)
{
	hasher_add(&part->sha256, bytes, size);
	if (part->git.context)
		hasher_add(&part->git, bytes, size);
}

bool
part_is_right(struct part *part, struct digest *sha256, struct checksum *found)
{
	hasher_digest(&part->sha256, sha256);
	if (part->git.context) {
		hasher_checksum(&part->git, found);
	} else {
		*found = (struct checksum){ .kind = CHECKSUM_SHA256 };
		memcpy(found->bytes, sha256->bytes, DIGEST_SIZE);
	}
	return checksum_equal(found, &part->transfer->checksum);
}

/* ---- pieces ---- */

size_t
part_piece_of(uint64_t offset)
{
	return (size_t)(offset / TRANSFER_PIECE);
}

uint64_t
part_piece_start(size_t piece)
{
	return (uint64_t)piece * TRANSFER_PIECE;
}

uint64_t
part_piece_end(const struct part *part, size_t piece)
{
	uint64_t end = part_piece_start(piece + 1);

	return end < part->size ? end : part->size;
}

/* With the mutex held. */
void
part_need_pieces(struct part *part, size_t count)
{
	while (part->piece_count < count) {
		if (part->piece_count == part->piece_capacity)
			part->pieces = arena_grow(part->arena, part->pieces, part->piece_count, &part->piece_capacity, sizeof *part->pieces);
		part->pieces[part->piece_count++] = (struct part_piece){ .busy = false };
	}
}

static struct extent
extent_of(struct part *part, size_t piece)
{
	struct extent extent;

	pthread_mutex_lock(&part->mutex);
	part_need_pieces(part, piece + 1);
	extent = part->pieces[piece].written;
	pthread_mutex_unlock(&part->mutex);
	return extent;
}

void
part_forget(struct part *part, size_t piece)
{
	pthread_mutex_lock(&part->mutex);
	part->pieces[piece].written.length = part->pieces[piece].durable.length = 0;
	pthread_mutex_unlock(&part->mutex);
}

void
part_set_busy(struct part *part, size_t piece, bool busy)
{
	part->pieces[piece].busy = busy;
	pthread_cond_broadcast(&part->changed);
}

uint64_t
part_claimed(struct part *part)
{
	uint64_t sum = 0;

	pthread_mutex_lock(&part->mutex);
	for (size_t i = 0; i < part->piece_count; i++)
		sum += part->pieces[i].written.length;
	pthread_mutex_unlock(&part->mutex);
	return sum;
}

/* ---- what must be durable ---- */

static bool
cancelled(const struct part *part)
{
	return part->transfer->cancel && *part->transfer->cancel;
}

static bool
stopped(struct error *err, const struct part *part)
{
	return fail(err, FAULT_INTERRUPTED, "stopped while reading `%s`", part->transfer->name);
}

/* Whether the name still leads to what is being written: another run may have taken it over. */
static bool
still_ours(const struct part *part, struct error *err)
{
	struct stat named = { 0 }, own;

	if (fstat(part->fd, &own) != 0 || (fstatat(part->dirfd, part->name, &named, AT_SYMLINK_NOFOLLOW) != 0 && errno != ENOENT))
		return fail_errno(err, "look at the part of `%s` in `%s/" PARTS "`", part->transfer->name, part->transfer->dir);
	if (named.st_ino == own.st_ino && named.st_dev == own.st_dev)
		return true;
	return fail(err, FAULT_IO, "the part of `%s` in `%s/" PARTS "` was taken away", part->transfer->name, part->transfer->dir);
}

/* What is written now, for after the sync. */
static size_t
take_down(struct part *part, struct extent **written)
{
	size_t count;

	pthread_mutex_lock(&part->mutex);
	count = part->piece_count;
	*written = xmalloc((count + 1) * sizeof **written);
	for (size_t i = 0; i < count; i++)
		(*written)[i] = part->pieces[i].written;
	pthread_mutex_unlock(&part->mutex);
	return count;
}

/* A checkpoint is only as good as the sync before it, and a failed sync is never asked again: what it spoke of is forgotten (W4). */
static bool
sync_and_save(struct part *part, struct error *err)
{
	struct extent *written = NULL;
	size_t count = take_down(part, &written);
	struct error ignored;
	bool ok = true;

	if (fdatasync(part->fd) != 0) {
		fail_errno(err, "sync the part of `%s`", part->transfer->name);
		if (part->transfer->save)
			part->transfer->save(part->transfer->context, part->key, NULL, 0, &ignored);
		part_discard(part);
		ok = false;
	}
	pthread_mutex_lock(&part->mutex);
	if (!ok && !part->broken) {
		part->broken = true;
		part->why = *err;
	}
	for (size_t i = 0; ok && i < count; i++)
		if (part->pieces[i].written.length >= written[i].length)
			part->pieces[i].durable = written[i];
	ok = ok && part_save(part, err);
	pthread_mutex_unlock(&part->mutex);
	free(written);
	return ok;
}

bool
part_is_sound(struct part *part, struct error *err)
{
	bool broken;

	pthread_mutex_lock(&part->mutex);
	broken = part->broken;
	if (broken)
		*err = part->why;
	pthread_mutex_unlock(&part->mutex);
	return !broken;
}

bool
part_checkpoint(struct part *part, struct error *err)
{
	if (part_claimed(part) == 0)
		return true;
	return part_is_sound(part, err) && still_ours(part, err) && sync_and_save(part, err);
}

/* ---- room ---- */

static bool
check_space(struct part *part, struct error *err)
{
	uint64_t claimed = part_claimed(part), missing = part->size > claimed ? part->size - claimed : 0, room;

	if (!file_free_space(part->transfer->dir, &room, err))
		return false;
	if (missing + missing / 20 <= room)
		return true;
	return fail(err, FAULT_NO_SPACE, "`%s` needs %s more, and `%s` has %s free", part->transfer->name,
		units_show_size(part->arena, missing + missing / 20), part->transfer->dir, units_show_size(part->arena, room));
}

static bool
lies_in_memory(const struct part *part)
{
	struct statfs fs;

	return fstatfs(part->fd, &fs) == 0 && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
}

bool
part_set_size(struct part *part, uint64_t size, struct error *err)
{
	bool first = part->size == UINT64_MAX;

	pthread_mutex_lock(&part->mutex);
	part->size = size;
	if (size > 0)
		part_need_pieces(part, part_piece_of(size - 1) + 1);
	pthread_mutex_unlock(&part->mutex);
	if (first && part->front == 0)
		part_start_hashers(part);
	if (!check_space(part, err))
		return false;
	/* Where the file system cannot do it, the space was at least counted; one that lies in memory would fill it with zeros first. */
	if (size > 0 && !lies_in_memory(part) && fallocate(part->fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)size) != 0 && (errno == ENOSPC || errno == EDQUOT))
		return fail(err, FAULT_NO_SPACE, "`%s` needs %s in `%s`: %s", part->transfer->name,
			units_show_size(part->arena, size), part->transfer->dir, strerror(errno));
	return true;
}

/* ---- reading what is there ---- */

/* Read [from, to) of a file into the hashers (`whole`) and a tagger, or either alone. `*there` false: it is shorter. */
bool
part_read(struct part *part, int fd, uint64_t from, uint64_t to, bool whole, struct tagger *tagger, bool *there, struct error *err)
{
	char *buffer finally(free_text) = xmalloc(READ_SIZE);

	*there = true;
	while (from < to && *there) {
		size_t want = to - from < READ_SIZE ? (size_t)(to - from) : READ_SIZE, got;

		if (cancelled(part))
			return stopped(err, part);
		if (!file_pread_all(fd, buffer, want, from, &got, err))
			return error_wrap(err, "part of `%s`", part->transfer->name);
		if (whole)
			part_hash(part, buffer, got);
		if (tagger)
			tagger_add(tagger, buffer, got);
		from += got;
		*there = got == want;
	}
	return true;
}

bool
part_has_tag(const struct tagger *tagger, const struct extent *extent)
{
	unsigned char found[TAG_SIZE];

	tagger_tag(tagger, found);
	return memcmp(found, extent->tag, TAG_SIZE) == 0;
}

void
transfer_tell(struct transfer *transfer, uint64_t bytes)
{
	transfer->arrived += bytes;
	if (transfer->progress && bytes > 0)
		transfer->progress(transfer->context, transfer, bytes);
}

/* What the running digests were before a piece that may prove wrong. */
struct retreat {
	struct hasher sha256;
	struct hasher git;
};

static void
retreat_finish(struct retreat *retreat)
{
	hasher_finish(&retreat->sha256);
	hasher_finish(&retreat->git);
}

static void
swap_hashers(struct hasher *a, struct hasher *b)
{
	struct hasher kept = *a;

	*a = *b;
	*b = kept;
}

/* One piece of a former run or another lane. Partial ones are for the lane that goes on with them. */
bool
part_advance_over(struct part *part, const struct extent *extent, bool *moved, struct error *err)
{
	struct tagger tagger finally(tagger_finish) = { 0 };
	struct retreat retreat finally(retreat_finish) = { 0 };
	size_t piece = part_piece_of(part->front);
	bool there;

	if (!part_settle(part, err))
		return false;
	hasher_copy(&retreat.sha256, &part->sha256);
	if (part->git.context)
		hasher_copy(&retreat.git, &part->git);
	tagger_init(&tagger);
	if (!part_read(part, part->fd, part->front, part->front + extent->length, true, &tagger, &there, err))
		return false;
	*moved = there && part_has_tag(&tagger, extent);
	if (*moved) {
		part_move_front(part, part->front + extent->length);
		return true;
	}
	swap_hashers(&part->sha256, &retreat.sha256);
	if (part->git.context)
		swap_hashers(&part->git, &retreat.git);
	part_forget(part, piece);
	return true;
}

bool
part_advance(struct part *part, struct error *err)
{
	bool moved = true;

	while (part->front < part->size && part->front % TRANSFER_PIECE == 0 && part->size != UINT64_MAX && moved) {
		size_t piece = part_piece_of(part->front);
		struct extent extent = extent_of(part, piece);

		if (part->front + extent.length < part_piece_end(part, piece))
			return true;
		if (!part_advance_over(part, &extent, &moved, err))
			return false;
	}
	return true;
}

/* ---- the whole ---- */

bool
part_take_cloned(struct part *part, struct error *err)
{
	uint64_t from = part->front;
	bool there;

	if (!part_read(part, part->fd, from, part->size, true, NULL, &there, err))
		return false;
	if (!there)
		return fail(err, FAULT_INPUT_CHANGED, "`%s` became shorter while it was copied", part->transfer->name);
	part_move_front(part, part->size);
	transfer_tell(part->transfer, part->size - from);
	return true;
}

bool
part_remember(struct part *part, struct error *err)
{
	bool ok;

	pthread_mutex_lock(&part->mutex);
	for (size_t i = 0; i < part->piece_count; i++)
		part->pieces[i].durable = part->pieces[i].written;
	ok = part_save(part, err);
	pthread_mutex_unlock(&part->mutex);
	return ok;
}

bool
part_reset(struct part *part, struct error *err)
{
	pthread_mutex_lock(&part->mutex);
	for (size_t i = 0; i < part->piece_count; i++)
		part->pieces[i] = (struct part_piece){ .busy = false };
	pthread_mutex_unlock(&part->mutex);
	part_unfollow(part);
	part_move_front(part, 0);
	part->held = false;
	part_start_hashers(part);
	if (ftruncate(part->fd, 0) != 0)
		return fail_errno(err, "part of `%s`", part->transfer->name);
	return !part->transfer->save || part->transfer->save(part->transfer->context, part->key, NULL, 0, err);
}

bool
part_reread(struct part *part, struct error *err)
{
	bool there;

	if (!part_checkpoint(part, err))
		return false;
	/* Only what comes from the disk itself can tell a bad cable or disk from a bad source. */
	posix_fadvise(part->fd, 0, 0, POSIX_FADV_DONTNEED);
	part_unfollow(part);
	part_start_hashers(part);
	return part_read(part, part->fd, 0, part->size, true, NULL, &there, err);
}
