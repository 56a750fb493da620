#include "transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/path.h"
#include "transfer_fetch.h"
#include "transfer_pool.h"

#define READ_SIZE ((size_t)1 << 20)
#define DEFAULT_MODE 0444

/* Where the file will have its name. */
struct place_of_file {
	int dirfd;
	const char *last;
};

static void
place_finish(struct place_of_file *place)
{
	close_fd(&place->dirfd);
}

/* ---- what stands there already ---- */

enum standing { STANDING_NOTHING, STANDING_RIGHT, STANDING_OTHER };

/* Bytes go into the tag of the piece that they lie in. */
static void
tag_pieces(struct tagger *tagger, struct part_piece *pieces, uint64_t at, const char *bytes, size_t size)
{
	while (size > 0) {
		size_t piece = (size_t)(at / TRANSFER_PIECE), room = TRANSFER_PIECE - (size_t)(at % TRANSFER_PIECE);
		size_t count = size < room ? size : room;

		if (at % TRANSFER_PIECE == 0) {
			tagger_finish(tagger);
			tagger_init(tagger);
		}
		tagger_add(tagger, bytes, count);
		at += count;
		bytes += count;
		size -= count;
		pieces[piece].durable.length = at - (uint64_t)piece * TRANSFER_PIECE;
		tagger_tag(tagger, pieces[piece].durable.tag);
	}
}

/* `pieces` (may be NULL) get their tags. */
static bool
hash_standing(struct transfer *transfer, int fd, uint64_t size, struct part_piece *pieces, struct checksum *found, struct error *err)
{
	struct hasher sha256 finally(hasher_finish) = { 0 }, git finally(hasher_finish) = { 0 };
	struct tagger tagger finally(tagger_finish) = { 0 };
	char *buffer finally(free_text) = xmalloc(READ_SIZE);
	uint64_t at = 0;
	size_t got = READ_SIZE;

	hasher_init(&sha256);
	hasher_init_git(&git, size);
	while (got == READ_SIZE) {
		if (transfer->cancel && *transfer->cancel)
			return fail(err, FAULT_INTERRUPTED, "stopped while reading `%s`", transfer->name);
		if (!file_read_all(fd, buffer, READ_SIZE, &got, err))
			return error_wrap(err, "`%s/%s`", transfer->dir, transfer->name);
		if (got > size - at)
			return fail(err, FAULT_INPUT_CHANGED, "`%s/%s` grew while it was read", transfer->dir, transfer->name);
		hasher_add(&sha256, buffer, got);
		if (transfer->checksum.kind == CHECKSUM_GIT)
			hasher_add(&git, buffer, got);
		if (pieces)
			tag_pieces(&tagger, pieces, at, buffer, got);
		at += got;
	}
	hasher_digest(&sha256, &transfer->sha256);
	*found = (struct checksum){ .kind = CHECKSUM_SHA256 };
	memcpy(found->bytes, transfer->sha256.bytes, DIGEST_SIZE);
	if (transfer->checksum.kind == CHECKSUM_GIT)
		hasher_checksum(&git, found);
	return true;
}

/* A right file is made durable before anyone hears of it: it may have come from a run that was killed before its sync (W1). */
static bool
look_at_standing(struct transfer *transfer, const struct place_of_file *place, struct arena *arena, enum standing *standing, struct error *err)
{
	struct part part = { .transfer = transfer, .arena = arena };
	int fd finally(close_fd) = path_open_below(place->dirfd, place->last, O_RDONLY, 0);
	struct checksum found;
	struct stat st, after;

	*standing = fd < 0 && errno == ENOENT ? STANDING_NOTHING : STANDING_OTHER;
	if (fd < 0 && !path_errno_tells(errno))
		return fail_errno(err, "open `%s/%s`", transfer->dir, transfer->name);
	if (fd < 0)
		return true;
	transfer->hashed_ns = clock_now_ns();
	if (fstat(fd, &st) != 0)
		return fail_errno(err, "`%s/%s`", transfer->dir, transfer->name);
	if (transfer->size != UINT64_MAX && (uint64_t)st.st_size != transfer->size)
		return true;
	part.size = (uint64_t)st.st_size;
	part.piece_count = part.size > TRANSFER_PIECE ? (size_t)((part.size - 1) / TRANSFER_PIECE) + 1 : 0;
	part.pieces = part.piece_count ? arena_array(arena, part.piece_count, sizeof *part.pieces) : NULL;
	if (!hash_standing(transfer, fd, part.size, part.pieces, &found, err))
		return false;
	if (!checksum_equal(&found, &transfer->checksum))
		return true;
	if (fsync(fd) != 0 || fsync(place->dirfd) != 0 || fstat(fd, &after) != 0)
		return fail_errno(err, "sync `%s/%s`", transfer->dir, transfer->name);
	transfer->key = stat_key_of(&after);
	transfer->actual_size = (uint64_t)after.st_size;
	*standing = STANDING_RIGHT;
	if (!part.pieces)
		return true;
	part.fd = fd;
	part.key = transfer->checkpoint;
	transfer->checkpoint = NULL;
	return part_save(&part, err);
}

static bool
adopt(struct transfer *transfer)
{
	transfer->adopted = true;
	transfer_tell(transfer, transfer->actual_size);
	return true;
}

static bool
in_the_way(const struct transfer *transfer, struct error *err)
{
	fail(err, FAULT_NOT_OURS, "`%s/%s` is there with other content, and no record says that it was put there from here",
		transfer->dir, transfer->name);
	return error_hint(err, "move it away, or give the target another directory");
}

/* ---- fetching ---- */

static bool
ends_all(const struct error *err)
{
	return err->fault == FAULT_INTERRUPTED || err->fault == FAULT_NO_SPACE || err->fault == FAULT_IO ||
		err->fault == FAULT_CANNOT_CREATE;
}

/* Ask one source after the other until the part is whole. */
static bool
fill(struct part *part, struct transfer *transfer, struct http *http, size_t first, struct error *err)
{
	for (size_t i = 0; i < transfer->source_count; i++) {
		const struct transfer_source *source = &transfer->sources[(first + i) % transfer->source_count];
		bool more = i + 1 < transfer->source_count;

		transfer->served_by = source->name;
		part_set_source(part, (first + i) % transfer->source_count);
		if (source->url ? transfer_from_url(part, transfer, source, http, more, err) : transfer_from_path(part, source, err))
			return true;
		if (ends_all(err))
			return false;
	}
	return false;
}

static bool
starts_like_pointer(const struct part *part)
{
	static const char pointer[] = "version https://git-lfs.github.com/spec/v1\n";
	char begin[sizeof pointer - 1];
	struct error ignored;
	size_t got;

	return file_pread_all(part->fd, begin, sizeof begin, 0, &got, &ignored) && got == sizeof begin &&
		memcmp(begin, pointer, sizeof begin) == 0;
}

static bool
wrong_digest(const struct part *part, const struct transfer *transfer, const struct checksum *found, bool same, struct error *err)
{
	fail(err, FAULT_DIGEST, "`%s`: expected %s, got %s (%" PRIu64 " bytes from %s)", transfer->name,
		checksum_text(part->arena, &transfer->checksum), checksum_text(part->arena, found), part->size, transfer->served_by);
	if (starts_like_pointer(part))
		return error_hint(err, "the server sent a git-lfs pointer, not the file");
	if (part->size == 0)
		return error_hint(err, "that is the digest of nothing: the server sent an empty body");
	return error_hint(err, "%s", same ? "the same wrong bytes came twice: the listing disagrees with what the source serves; name another source"
		: "the bytes were damaged on their way; the next run fetches them again");
}

/* The digest decides. Wrong bytes are read again from the disk first, to tell its faults from those of a source, then fetched once more. */
static bool
fill_rightly(struct part *part, struct transfer *transfer, struct http *http, struct error *err)
{
	struct checksum found, before = { 0 };

	for (size_t round = 0;; round++) {
		bool filled = fill(part, transfer, http, round, err);

		part_close(part);
		if (!filled || !part_is_sound(part, err) || !part_settle(part, err))
			return false;
		if (part_is_right(part, &transfer->sha256, &found))
			return true;
		if (!part_reread(part, err))
			return false;
		if (part_is_right(part, &transfer->sha256, &found))
			return true;
		wrong_digest(part, transfer, &found, round > 0 && checksum_equal(&found, &before), err);
		before = found;
		if (round > 0 && round + 1 >= transfer->source_count) {
			struct error ignored;

			part_reset(part, &ignored);
			part_discard(part);
			return false;
		}
		if (!part_reset(part, err))
			return false;
		part_reopen(part);
	}
}

/* ---- giving it its name ---- */

/* Some file systems cannot rename without replacing; there the look before it has to do. */
static bool
rename_into_place(const struct part *part, const struct transfer *transfer, const struct place_of_file *place, bool *taken)
{
	struct stat st;

	*taken = false;
	if (transfer->replace)
		return renameat(part->dirfd, part->name, place->dirfd, place->last) == 0;
	if (renameat2(part->dirfd, part->name, place->dirfd, place->last, RENAME_NOREPLACE) == 0)
		return true;
	*taken = errno == EEXIST;
	if (errno != EINVAL && errno != ENOSYS)
		return false;
	*taken = fstatat(place->dirfd, place->last, &st, AT_SYMLINK_NOFOLLOW) == 0;
	return !*taken && renameat(part->dirfd, part->name, place->dirfd, place->last) == 0;
}

static bool
sync_fd(int fd)
{
	return fsync(fd) == 0 || errno == EINVAL;
}

static bool
look_at_final(struct transfer *transfer, const struct place_of_file *place, uint64_t size, struct error *err)
{
	int fd finally(close_fd) = path_open_below(place->dirfd, place->last, O_RDONLY, 0);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) != 0)
		return fail_errno(err, "`%s/%s`", transfer->dir, transfer->name);
	if ((uint64_t)st.st_size != size)
		return fail(err, FAULT_INPUT_CHANGED, "`%s/%s` was changed while it got its name", transfer->dir, transfer->name);
	transfer->key = stat_key_of(&st);
	transfer->actual_size = size;
	return true;
}

static bool
give_name(struct part *part, struct transfer *transfer, const struct place_of_file *place, struct error *err)
{
	enum standing standing;
	bool taken;

	if (fchmod(part->fd, transfer->mode ? transfer->mode : DEFAULT_MODE) != 0 || fsync(part->fd) != 0)
		return fail_errno(err, "part of `%s`", transfer->name);
	transfer->hashed_ns = clock_now_ns();
	if (rename_into_place(part, transfer, place, &taken))
		return (sync_fd(place->dirfd) && sync_fd(part->dirfd) ? true : fail_errno(err, "sync `%s`", transfer->dir)) &&
			look_at_final(transfer, place, part->size, err);
	if (!taken)
		return fail_errno(err, "give `%s/%s` its name", transfer->dir, transfer->name);
	/* Somebody else was quicker: fine if it is the same. */
	if (!look_at_standing(transfer, place, part->arena, &standing, err))
		return false;
	if (standing != STANDING_RIGHT)
		return in_the_way(transfer, err);
	part_discard(part);
	return adopt(transfer);
}

/* Of a file of one piece nothing could be spared. */
static bool
remember(struct part *part, struct transfer *transfer, struct error *err)
{
	if (part->size <= TRANSFER_PIECE || transfer->adopted)
		return true;
	transfer->checkpoint = NULL;
	return part_remember(part, err);
}

/* A file that was finished once, and of which some bytes are wrong now: most of its pieces will be right. */
static bool
salvage(struct part *part, const struct place_of_file *place, struct error *err)
{
	int fd finally(close_fd) = -1;
	struct stat st;

	if (part->former_count == 0 || part->size == UINT64_MAX || part_claimed(part) > 0)
		return true;
	fd = path_open_below(place->dirfd, place->last, O_RDONLY, 0);
	if (fd < 0 || fstat(fd, &st) != 0 || (uint64_t)st.st_size != part->size)
		return true;
	return part_salvage(part, fd, err);
}

static bool
fetch_with(struct transfer *transfer, struct http *http, const struct place_of_file *place, struct arena *arena, struct error *err)
{
	struct part part finally(part_finish) = { .dirfd = -1, .fd = -1 };
	struct error ignored;
	bool filled;

	if (!part_open(&part, transfer, arena, err) || !salvage(&part, place, err))
		return false;
	transfer_tell(transfer, part_claimed(&part));
	if (transfer->pool)
		transfer_pool_add(transfer->pool, &part);
	filled = fill_rightly(&part, transfer, http, err);
	if (transfer->pool)
		transfer_pool_remove(transfer->pool, &part);
	if (filled)
		return give_name(&part, transfer, place, err) && remember(&part, transfer, err);
	/* Whatever went wrong, what came so far is worth keeping; a failed sync has seen to itself. */
	if (err->fault != FAULT_DIGEST && err->fault != FAULT_IO)
		part_checkpoint(&part, &ignored);
	return false;
}

const char *
transfer_key(const struct digest *sha256, const char *dir, const char *name, struct arena *arena)
{
	struct transfer transfer = { .dir = dir, .name = name, .checksum.kind = CHECKSUM_SHA256 };

	memcpy(transfer.checksum.bytes, sha256->bytes, DIGEST_SIZE);
	return part_key(&transfer, arena);
}

bool
transfer_fetch(struct transfer *transfer, struct arena *arena, struct error *err)
{
	struct place_of_file place finally(place_finish) = { .dirfd = -1 };
	struct http own finally(http_finish) = { 0 };
	enum standing standing;

	if (transfer->checksum.kind == CHECKSUM_NONE || transfer->source_count == 0)
		return fail(err, FAULT_NO_DIGEST, "nothing says which bytes `%s` must have", transfer->name);
	/* A file that is there already may have one of the run that fetched it and went no further. */
	transfer->checkpoint = part_key(transfer, arena);
	place.dirfd = path_open_parent(transfer->dirfd, transfer->name, true, &place.last);
	if (place.dirfd < 0)
		return fail_errno(err, "create the directory of `%s/%s`", transfer->dir, transfer->name);
	if (!look_at_standing(transfer, &place, arena, &standing, err))
		return false;
	if (standing == STANDING_RIGHT)
		return adopt(transfer);
	if (standing == STANDING_OTHER && !transfer->replace)
		return in_the_way(transfer, err);
	if (!transfer->http && transfer_has_url(transfer) && !http_init(&own, transfer->cancel, err))
		return false;
	return fetch_with(transfer, transfer->http ? transfer->http : &own, &place, arena, err);
}
