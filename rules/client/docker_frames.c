#include "docker.h"

#include <string.h>

/* Logging drivers split lines at 16 KiB, so that no honest frame comes near. */
#define FRAME_LIMIT (1u << 20)

/* Collect the 8 bytes in front of a payload. Returns how many of `bytes` went into it. */
static size_t
take_head(struct docker_frames *frames, const char *bytes, size_t size)
{
	size_t want = sizeof frames->head - frames->have;
	size_t got = size < want ? size : want;

	memcpy(frames->head + frames->have, bytes, got);
	frames->have += got;
	return got;
}

static bool
begin_payload(struct docker_frames *frames)
{
	const unsigned char *head = frames->head;

	if (head[0] > 3 || head[1] != 0 || head[2] != 0 || head[3] != 0)
		return false;
	frames->stream = head[0];
	frames->left = (uint64_t)head[4] << 24 | (uint64_t)head[5] << 16 | (uint64_t)head[6] << 8 | head[7];
	if (frames->left > FRAME_LIMIT)
		return false;
	if (frames->left == 0)
		frames->have = 0;
	return true;
}

bool
docker_frames_feed(struct docker_frames *frames, const char *bytes, size_t size,
	void (*output)(void *context, bool is_stderr, const char *bytes, size_t size), void *context)
{
	while (size > 0) {
		size_t used;

		if (frames->have < sizeof frames->head) {
			used = take_head(frames, bytes, size);
			if (frames->have == sizeof frames->head && !begin_payload(frames))
				return false;
		} else {
			used = size < frames->left ? size : (size_t)frames->left;
			/* 2 is stderr, 3 what the engine itself has to say. */
			output(context, frames->stream >= 2, bytes, used);
			frames->left -= used;
			if (frames->left == 0)
				frames->have = 0;
		}
		bytes += used;
		size -= used;
	}
	return true;
}
