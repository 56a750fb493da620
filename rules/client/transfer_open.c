#include "transfer_part.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
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

#define PARTS ".provision/parts"
#define FORMAT 2
#define LONGEST_CHECKPOINT ((size_t)8 << 20)

/* ---- what is remembered ---- */

bool
part_save(struct part *part, struct error *err)
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
		pack_int(&body, (int64_t)part->pieces[i].durable.length);
		pack_bytes(&body, part->pieces[i].durable.tag, TAG_SIZE);
	}
	return part->transfer->save(part->transfer->context, part->key, body.data, body.size, err);
}

struct memory_of_part {
	uint64_t size;
	uint64_t device;
	uint64_t inode;
	struct extent *pieces;
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
	if (unpack.bad || count < 0 || (uint64_t)count > size / TAG_SIZE)
		return false;
	memory->count = (size_t)count;
	memory->pieces = arena_array(part->arena, memory->count + 1, sizeof *memory->pieces);
	for (size_t i = 0; i < memory->count; i++) {
		const void *tag;
		size_t length;

		memory->pieces[i].length = (uint64_t)unpack_int(&unpack);
		tag = unpack_bytes(&unpack, &length);
		if (unpack.bad || length != TAG_SIZE || memory->pieces[i].length > TRANSFER_PIECE)
			return false;
		memcpy(memory->pieces[i].tag, tag, TAG_SIZE);
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

static bool
rename_leftover(const struct part *part, const char *name)
{
	if (renameat2(part->dirfd, name, part->dirfd, part->name, RENAME_NOREPLACE) == 0)
		return true;
	/* Where the file system knows no such flag: nobody else has this run's name. */
	return (errno == EINVAL || errno == ENOSYS) && renameat(part->dirfd, name, part->dirfd, part->name) == 0;
}

/* One leftover of the same file: taken over if it is the one that the checkpoint speaks of, removed otherwise, left alone
 * while another run writes to it. One that cannot be looked at is no reason to fetch everything again. */
static bool
claim(struct part *part, const char *name, const struct memory_of_part *memory, struct error *err)
{
	int fd finally(close_fd) = path_open_below(part->dirfd, name, O_RDWR, 0);
	struct stat st;

	if (fd < 0 && path_errno_tells(errno))
		return true;
	if (fd < 0 || fstat(fd, &st) != 0)
		return fail_errno(err, "open `%s/" PARTS "/%s`", part->transfer->dir, name);
	if (!lock(fd))
		return true;
	if (part->fd >= 0 || memory->count == 0 || st.st_ino != memory->inode || st.st_dev != memory->device) {
		if (strcmp(name, part->name) != 0 && unlinkat(part->dirfd, name, 0) != 0 && errno != ENOENT)
			return fail_errno(err, "remove `%s/" PARTS "/%s`", part->transfer->dir, name);
		return true;
	}
	if (strcmp(name, part->name) != 0 && !rename_leftover(part, name))
		return errno == ENOENT || errno == EEXIST || fail_errno(err, "rename `%s/" PARTS "/%s`", part->transfer->dir, name);
	part->fd = fd;
	fd = -1;
	return true;
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
	while (errno = 0, (entry = readdir(dir)))
		if (text_starts(entry->d_name, prefix) && text_ends(entry->d_name, ".part"))
			strings_add(&names, part->arena, arena_copy(part->arena, entry->d_name));
	if (errno != 0)
		return fail_errno(err, "read `%s/" PARTS "`", part->transfer->dir);
	for (size_t i = 0; i < names.count; i++)
		if (!claim(part, names.items[i], memory, err))
			return false;
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

/* "sha256:..." without its first word. */
static const char *
pinned_hex(const struct transfer *transfer, struct arena *arena)
{
	return strchr(checksum_text(arena, &transfer->checksum), ':') + 1;
}

const char *
part_key(const struct transfer *transfer, struct arena *arena)
{
	return arena_printf(arena, "part:%s:%s/%s", pinned_hex(transfer, arena), transfer->dir, transfer->name);
}

static void
take_over(struct part *part, const struct memory_of_part *memory)
{
	part->size = memory->size;
	part->pieces = arena_array(part->arena, memory->count + 1, sizeof *part->pieces);
	part->piece_count = part->piece_capacity = memory->count;
	for (size_t i = 0; i < memory->count; i++) {
		uint64_t start = (uint64_t)i * TRANSFER_PIECE, room = memory->size > start ? memory->size - start : 0;

		/* What cannot be is not there. */
		if (memory->pieces[i].length <= room)
			part->pieces[i].written = part->pieces[i].durable = memory->pieces[i];
	}
}

bool
part_open(struct part *part, struct transfer *transfer, struct arena *arena, struct error *err)
{
	struct memory_of_part memory;
	struct digest name;
	const char *prefix;

	*part = (struct part){ .transfer = transfer, .arena = arena, .dirfd = -1, .fd = -1, .size = transfer->size };
	pthread_mutex_init(&part->mutex, NULL);
	pthread_cond_init(&part->changed, NULL);
	part_watch_owner(part);
	digest_of(transfer->name, strlen(transfer->name), &name);
	/* Two files of equal content have parts of their own by the digest of their names. */
	prefix = arena_printf(arena, "%s-%.8s.", pinned_hex(transfer, arena), digest_text(arena, &name));
	part->name = arena_printf(arena, "%s%s.part", prefix, transfer->run);
	part->key = part_key(transfer, arena);
	if (!open_dir(part, err) || !recall(part, &memory, err) || !claim_leftover(part, prefix, &memory, err))
		return false;
	part->former = memory.pieces;
	part->former_count = memory.count;
	if (part->fd >= 0)
		take_over(part, &memory);
	else if (!create(part, err))
		return false;
	if (fsync(part->dirfd) != 0 && errno != EINVAL)
		return fail_errno(err, "sync `%s/" PARTS "`", transfer->dir);
	part_start_hashers(part);
	return part->size == UINT64_MAX || part_set_size(part, part->size, err);
}

void
part_finish(struct part *part)
{
	if (!part->transfer)
		return;
	part_unfollow(part);
	close_fd(&part->fd);
	close_fd(&part->dirfd);
	hasher_finish(&part->sha256);
	hasher_finish(&part->git);
	pthread_cond_destroy(&part->changed);
	pthread_mutex_destroy(&part->mutex);
}

void
part_discard(struct part *part)
{
	unlinkat(part->dirfd, part->name, 0);
}
