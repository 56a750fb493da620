#include "transfer_part.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/units.h"

#define PARTS ".provision/parts"
#define READ_SIZE ((size_t)1 << 20)

/* ---- digests ---- */

void
part_start_hashers(struct part *part)
{
	hasher_finish(&part->sha256);
	hasher_finish(&part->git);
	hasher_finish(&part->piece);
	hasher_init(&part->sha256);
	hasher_init(&part->piece);
	if (part->transfer->checksum.kind == CHECKSUM_GIT && part->size != UINT64_MAX)
		hasher_init_git(&part->git, part->size);
}

static void
hash(struct part *part, const void *bytes, size_t size)
{
	hasher_add(&part->sha256, bytes, size);
	hasher_add(&part->piece, bytes, size);
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

static struct part_piece *
piece_at(struct part *part, size_t index)
{
	while (part->piece_count <= index) {
		if (part->piece_count == part->piece_capacity)
			part->pieces = arena_grow(part->arena, part->pieces, part->piece_count, &part->piece_capacity, sizeof *part->pieces);
		part->pieces[part->piece_count++] = (struct part_piece){ 0 };
	}
	return &part->pieces[index];
}

static uint64_t
piece_end(const struct part *part, uint64_t offset)
{
	uint64_t end = (offset / TRANSFER_PIECE + 1) * TRANSFER_PIECE;

	return end < part->size ? end : part->size;
}

uint64_t
part_gap_end(const struct part *part)
{
	for (size_t i = (size_t)(part->front / TRANSFER_PIECE) + 1; i < part->piece_count; i++)
		if (part->pieces[i].length > 0)
			return (uint64_t)i * TRANSFER_PIECE;
	return part->size;
}

static void
close_piece(struct part *part)
{
	struct part_piece *piece = piece_at(part, (size_t)((part->front - 1) / TRANSFER_PIECE));

	piece->length = (part->front - 1) % TRANSFER_PIECE + 1;
	hasher_digest(&part->piece, &piece->digest);
}

/* ---- what must be durable ---- */

static bool
cancelled(const struct part *part)
{
	return part->transfer->cancel && *part->transfer->cancel;
}

/* A checkpoint is only as good as the sync before it, and a failed sync is never asked again: what it spoke of is forgotten (W4). */
static bool
sync_part(struct part *part, struct error *err)
{
	struct error ignored;

	if (fdatasync(part->fd) == 0)
		return true;
	fail_errno(err, "sync the part of `%s`", part->transfer->name);
	if (part->transfer->save)
		part->transfer->save(part->transfer->context, part->key, NULL, 0, &ignored);
	part_discard(part);
	return false;
}

/* Whether the name still leads to what is being written: another run may have taken it over. */
static bool
still_ours(const struct part *part, struct error *err)
{
	struct stat named, own;

	if (fstatat(part->dirfd, part->name, &named, AT_SYMLINK_NOFOLLOW) == 0 && fstat(part->fd, &own) == 0 &&
		named.st_ino == own.st_ino && named.st_dev == own.st_dev)
		return true;
	return fail(err, FAULT_IO, "the part of `%s` in `%s/" PARTS "` was taken away", part->transfer->name, part->transfer->dir);
}

bool
part_checkpoint(struct part *part, struct error *err)
{
	if (part->front == 0)
		return true;
	if (part->front % TRANSFER_PIECE != 0 && part->front != part->size)
		close_piece(part);
	return still_ours(part, err) && sync_part(part, err) && part_save(part, err);
}

/* ---- room ---- */

static uint64_t
bytes_claimed(const struct part *part)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < part->piece_count; i++)
		sum += part->pieces[i].length;
	return sum;
}

static bool
check_space(const struct part *part, struct error *err)
{
	uint64_t claimed = bytes_claimed(part), missing = part->size > claimed ? part->size - claimed : 0, room;

	if (!file_free_space(part->transfer->dir, &room, err))
		return false;
	if (missing + missing / 20 <= room)
		return true;
	return fail(err, FAULT_NO_SPACE, "`%s` needs %s more, and `%s` has %s free", part->transfer->name,
		units_show_size(part->arena, missing + missing / 20), part->transfer->dir, units_show_size(part->arena, room));
}

bool
part_set_size(struct part *part, uint64_t size, struct error *err)
{
	bool first = part->size == UINT64_MAX;

	part->size = size;
	if (first && part->front == 0)
		part_start_hashers(part);
	if (!check_space(part, err))
		return false;
	/* Where the file system cannot do it, the space was at least counted. */
	if (size > 0 && fallocate(part->fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)size) != 0 && (errno == ENOSPC || errno == EDQUOT))
		return fail(err, FAULT_NO_SPACE, "`%s` needs %s in `%s`: %s", part->transfer->name,
			units_show_size(part->arena, size), part->transfer->dir, strerror(errno));
	return true;
}

/* ---- bytes ---- */

/* Read [from, to) of the part into the hashers; `piece_alone` spares the ones over the whole. False with err->fault NONE: the bytes are not there. */
static bool
hash_range(struct part *part, uint64_t from, uint64_t to, bool piece_alone, bool *there, struct error *err)
{
	char *buffer finally(free_text) = xmalloc(READ_SIZE);

	*there = true;
	while (from < to) {
		size_t want = to - from < READ_SIZE ? (size_t)(to - from) : READ_SIZE, got;

		if (cancelled(part))
			return fail(err, FAULT_INTERRUPTED, "stopped while reading `%s`", part->transfer->name);
		if (!file_pread_all(part->fd, buffer, want, from, &got, err))
			return error_wrap(err, "part of `%s`", part->transfer->name);
		if (piece_alone)
			hasher_add(&part->piece, buffer, got);
		else
			hash(part, buffer, got);
		from += got;
		if (got < want) {
			*there = false;
			return true;
		}
	}
	return true;
}

/* The hashers over the whole have seen bytes that proved wrong: feed them anew up to the front. */
static bool
rehash_front(struct part *part, struct error *err)
{
	uint64_t open = part->front - part->front % TRANSFER_PIECE;
	struct digest ignored;
	bool there;

	part_start_hashers(part);
	if (!hash_range(part, 0, open, false, &there, err))
		return false;
	hasher_digest(&part->piece, &ignored);
	return hash_range(part, open, part->front, false, &there, err);
}

static void
told(const struct part *part, uint64_t bytes)
{
	if (part->transfer->progress && bytes > 0)
		part->transfer->progress(part->transfer->context, bytes);
}

bool
part_advance(struct part *part, struct error *err)
{
	while (part->front < part->size && part->front % TRANSFER_PIECE == 0) {
		size_t index = (size_t)(part->front / TRANSFER_PIECE);
		struct part_piece *piece = index < part->piece_count ? &part->pieces[index] : NULL;
		struct digest found;
		bool there;

		if (!piece || piece->length == 0)
			return true;
		if (!hash_range(part, part->front, part->front + piece->length, false, &there, err))
			return false;
		hasher_digest(&part->piece, &found);
		if (!there || !digest_equal(&found, &piece->digest)) {
			piece->length = 0;
			return rehash_front(part, err);
		}
		part->front += piece->length;
		told(part, piece->length);
		/* An open piece goes on growing: its own hasher has to have seen its beginning. */
		if (part->front < piece_end(part, part->front - 1) &&
			!hash_range(part, part->front - piece->length, part->front, true, &there, err))
			return false;
	}
	return true;
}

static bool
write_at_front(struct part *part, const void *bytes, size_t size, struct error *err)
{
	if (file_pwrite_all(part->fd, bytes, size, part->front, err))
		return true;
	if (err->fault == FAULT_CANNOT_CREATE)
		err->fault = FAULT_NO_SPACE;
	return error_wrap(err, "part of `%s` in `%s`", part->transfer->name, part->transfer->dir);
}

/* The front stands at the end of a piece. */
static bool
end_piece(struct part *part, struct error *err)
{
	close_piece(part);
	return part->front == part->size || (still_ours(part, err) && sync_part(part, err) && part_save(part, err));
}

bool
part_take(struct part *part, const void *bytes, size_t size, struct error *err)
{
	const char *from = bytes;

	while (size > 0) {
		uint64_t room = piece_end(part, part->front) - part->front;
		size_t count = size < room ? size : (size_t)room;

		if (!write_at_front(part, from, count, err))
			return false;
		hash(part, from, count);
		part->front += count;
		told(part, count);
		from += count;
		size -= count;
		if ((part->front % TRANSFER_PIECE == 0 || part->front == part->size) && !end_piece(part, err))
			return false;
	}
	return true;
}

bool
part_take_cloned(struct part *part, struct error *err)
{
	uint64_t from = part->front;
	bool there;

	if (!hash_range(part, from, part->size, false, &there, err))
		return false;
	if (!there)
		return fail(err, FAULT_INPUT_CHANGED, "`%s` became shorter while it was copied", part->transfer->name);
	part->front = part->size;
	told(part, part->size - from);
	return true;
}

bool
part_reset(struct part *part, struct error *err)
{
	part->front = 0;
	part->piece_count = 0;
	part_start_hashers(part);
	if (ftruncate(part->fd, 0) != 0)
		return fail_errno(err, "part of `%s`", part->transfer->name);
	return !part->transfer->save || part->transfer->save(part->transfer->context, part->key, NULL, 0, err);
}

bool
part_reread(struct part *part, struct error *err)
{
	bool there;

	if (!sync_part(part, err))
		return false;
	/* Only what comes from the disk itself can tell a bad cable or disk from a bad source. */
	posix_fadvise(part->fd, 0, 0, POSIX_FADV_DONTNEED);
	part_start_hashers(part);
	return hash_range(part, 0, part->size, false, &there, err);
}
