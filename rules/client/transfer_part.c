#include "transfer_part.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "engine/base/cleanup.h"
#include "engine/base/pack.h"
#include "engine/base/path.h"
#include "engine/base/strings.h"
#include "engine/base/units.h"

#define PARTS ".provision/parts"
#define FORMAT 1
#define READ_SIZE ((size_t)1 << 20)
#define LONGEST_CHECKPOINT ((size_t)8 << 20)

/* ---- digests ---- */

static void
start_hashers(struct part *part)
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

/* ---- checkpoints ---- */

static bool
cancelled(const struct part *part)
{
	return part->transfer->cancel && *part->transfer->cancel;
}

static bool
save(struct part *part, struct error *err)
{
	struct buf body finally(buf_finish) = { 0 };
	struct stat st;

	if (!part->transfer->save)
		return true;
	if (fstat(part->fd, &st) != 0)
		return fail_errno(err, "part of `%s`", part->transfer->name);
	buf_init(&body, LONGEST_CHECKPOINT);
	pack_int(&body, FORMAT);
	pack_int(&body, (int64_t)part->size);
	pack_int(&body, (int64_t)st.st_dev);
	pack_int(&body, (int64_t)st.st_ino);
	pack_int(&body, (int64_t)part->piece_count);
	for (size_t i = 0; i < part->piece_count; i++) {
		pack_int(&body, (int64_t)part->pieces[i].length);
		pack_bytes(&body, part->pieces[i].digest.bytes, DIGEST_SIZE);
	}
	return part->transfer->save(part->transfer->context, part->key, body.data, body.size, err);
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
	return still_ours(part, err) && sync_part(part, err) && save(part, err);
}

struct memory_of_part {
	uint64_t size;
	uint64_t device;
	uint64_t inode;
	struct part_piece *pieces;
	size_t count;
};

static bool
unpack_memory(struct part *part, const void *bytes, size_t size, struct memory_of_part *memory)
{
	struct unpack unpack;
	int64_t count;

	unpack_init(&unpack, bytes, size);
	if (unpack_int(&unpack) != FORMAT)
		return false;
	memory->size = (uint64_t)unpack_int(&unpack);
	memory->device = (uint64_t)unpack_int(&unpack);
	memory->inode = (uint64_t)unpack_int(&unpack);
	count = unpack_int(&unpack);
	if (unpack.bad || count < 0 || (uint64_t)count > size / DIGEST_SIZE)
		return false;
	memory->count = (size_t)count;
	memory->pieces = arena_array(part->arena, memory->count + 1, sizeof *memory->pieces);
	for (size_t i = 0; i < memory->count; i++) {
		const void *digest;
		size_t length;

		memory->pieces[i].length = (uint64_t)unpack_int(&unpack);
		digest = unpack_bytes(&unpack, &length);
		if (unpack.bad || length != DIGEST_SIZE || memory->pieces[i].length > TRANSFER_PIECE)
			return false;
		memcpy(memory->pieces[i].digest.bytes, digest, DIGEST_SIZE);
	}
	return unpack_done(&unpack);
}

/* What was remembered, if anything; a checkpoint that cannot be read is none. */
static bool
recall(struct part *part, struct memory_of_part *memory, struct error *err)
{
	const void *bytes = NULL;
	size_t size = 0;

	*memory = (struct memory_of_part){ 0 };
	if (!part->transfer->load)
		return true;
	if (!part->transfer->load(part->transfer->context, part->key, part->arena, &bytes, &size, err))
		return false;
	if (!bytes || !unpack_memory(part, bytes, size, memory) ||
		(part->transfer->size != UINT64_MAX && memory->size != part->transfer->size))
		*memory = (struct memory_of_part){ 0 };
	return true;
}

/* ---- opening ---- */

static bool
lock(int fd)
{
	struct flock range = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	return fcntl(fd, F_OFD_SETLK, &range) == 0 || errno != EAGAIN;
}

static void
close_dir(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

/* One leftover of the same file: taken over if it is the one that the checkpoint speaks of, removed otherwise, left alone while another run writes to it. */
static void
claim(struct part *part, const char *name, const struct memory_of_part *memory)
{
	int fd finally(close_fd) = path_open_below(part->dirfd, name, O_RDWR, 0);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) != 0 || !lock(fd))
		return;
	if (part->fd >= 0 || memory->count == 0 || st.st_ino != memory->inode || st.st_dev != memory->device) {
		if (strcmp(name, part->name) != 0)
			unlinkat(part->dirfd, name, 0);
		return;
	}
	if (strcmp(name, part->name) != 0 &&
		renameat2(part->dirfd, name, part->dirfd, part->name, RENAME_NOREPLACE) != 0)
		return;
	part->fd = fd;
	fd = -1;
}

static bool
claim_leftover(struct part *part, const char *prefix, const struct memory_of_part *memory, struct error *err)
{
	int listed = openat(part->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir finally(close_dir) = listed >= 0 ? fdopendir(listed) : NULL;
	struct strings names = { 0 };
	struct dirent *entry;

	if (!dir)
		return fail_errno(err, "read `%s/" PARTS "`", part->transfer->dir);
	while ((entry = readdir(dir)))
		if (text_starts(entry->d_name, prefix) && text_ends(entry->d_name, ".part"))
			strings_add(&names, part->arena, arena_copy(part->arena, entry->d_name));
	for (size_t i = 0; i < names.count; i++)
		claim(part, names.items[i], memory);
	return true;
}

static bool
open_dir(struct part *part, struct error *err)
{
	const char *last;

	part->dirfd = path_open_parent(part->transfer->dirfd, PARTS "/x", true, &last);
	return part->dirfd >= 0 || fail_errno(err, "create `%s/" PARTS "`", part->transfer->dir);
}

static bool
create(struct part *part, struct error *err)
{
	part->fd = path_open_below(part->dirfd, part->name, O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (part->fd < 0)
		return fail_errno(err, "create `%s/" PARTS "/%s`", part->transfer->dir, part->name);
	lock(part->fd);
	return true;
}

bool
part_open(struct part *part, const struct transfer *transfer, struct arena *arena, struct error *err)
{
	const struct checksum *checksum = &transfer->checksum;
	struct memory_of_part memory;
	struct digest name;
	const char *hex, *prefix;

	*part = (struct part){ .transfer = transfer, .arena = arena, .dirfd = -1, .fd = -1, .size = transfer->size };
	digest_of(transfer->name, strlen(transfer->name), &name);
	/* "sha256:..." without its first word; two files of equal content have parts of their own by the digest of their names. */
	hex = strchr(checksum_text(arena, checksum), ':') + 1;
	prefix = arena_printf(arena, "%s-%.8s.", hex, digest_text(arena, &name));
	part->name = arena_printf(arena, "%s%s.part", prefix, transfer->run);
	part->key = arena_printf(arena, "part:%s:%s/%s", hex, transfer->dir, transfer->name);
	if (!open_dir(part, err) || !recall(part, &memory, err) || !claim_leftover(part, prefix, &memory, err))
		return false;
	if (part->fd >= 0) {
		part->pieces = memory.pieces;
		part->piece_count = part->piece_capacity = memory.count;
		part->size = memory.size;
	} else if (!create(part, err)) {
		return false;
	}
	if (fsync(part->dirfd) != 0 && errno != EINVAL)
		return fail_errno(err, "sync `%s/" PARTS "`", transfer->dir);
	start_hashers(part);
	return part->size == UINT64_MAX || part_set_size(part, part->size, err);
}

void
part_finish(struct part *part)
{
	if (!part->transfer)
		return;
	close_fd(&part->fd);
	close_fd(&part->dirfd);
	hasher_finish(&part->sha256);
	hasher_finish(&part->git);
	hasher_finish(&part->piece);
}

void
part_discard(struct part *part)
{
	unlinkat(part->dirfd, part->name, 0);
}

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
		start_hashers(part);
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

	start_hashers(part);
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
	return part->front == part->size || (still_ours(part, err) && sync_part(part, err) && save(part, err));
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
	start_hashers(part);
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
	start_hashers(part);
	return hash_range(part, 0, part->size, false, &there, err);
}
