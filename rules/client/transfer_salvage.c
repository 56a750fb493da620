#include "transfer_part.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/cleanup.h"

/* Copy one piece; what it holds is believed when the front comes there. */
static bool
salvage_piece(struct part *part, int fd, size_t piece, struct error *err)
{
	const struct extent *former = &part->former[piece];
	uint64_t start = part_piece_start(piece), end = part_piece_end(part, piece);
	struct tagger tagger finally(tagger_finish) = { 0 };
	loff_t from = (loff_t)start, to = (loff_t)start;
	bool there;

	tagger_init(&tagger);
	if (former->length != end - start)
		return true;
	if (!part_read(part, fd, start, end, false, &tagger, &there, err))
		return false;
	if (!there || !part_has_tag(&tagger, former))
		return true;
	while ((uint64_t)from < end)
		if (copy_file_range(fd, &from, part->fd, &to, (size_t)(end - (uint64_t)from), 0) <= 0)
			return errno == ENOSPC ? fail_errno(err, "part of `%s`", part->transfer->name) : true;
	pthread_mutex_lock(&part->mutex);
	part->pieces[piece].written = *former;
	pthread_mutex_unlock(&part->mutex);
	return true;
}

bool
part_salvage(struct part *part, int fd, struct error *err)
{
	for (size_t i = 0; i < part->former_count && i < part->piece_count; i++)
		if (part->pieces[i].written.length == 0 && !salvage_piece(part, fd, i, err))
			return false;
	return true;
}
