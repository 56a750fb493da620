/* What engines and children stream: the same events, however the bytes are cut.
 *
 * Input: a byte that says how often the log has the rest in it, eight that say how it is cut, and the bytes. */
#include <string.h>

#include "engine/base/buf.h"
#include "engine/base/json.h"
#include "engine/log.h"
#include "fuzz.h"
#include "rules/client/docker_call.h"
#include "session.h"

#define CUTS 8
#define LIMIT ((size_t)1 << 20)

/* A stream, and where it is cut. */
struct stream {
	const char *bytes;
	size_t size;
	uint8_t cuts[CUTS];
	bool whole;
};

static size_t
piece_of(const struct stream *stream, size_t at, size_t number)
{
	size_t cut = stream->cuts[number % CUTS], left = stream->size - at;

	/* Small pieces mostly; a large byte makes a large one. */
	cut = cut < 200 ? cut + 1 : (cut - 199) * 2048;
	return stream->whole || cut > left ? left : cut;
}

/* Each byte of output behind the number of its stream. */
static void
note(void *context, bool is_stderr, const char *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		buf_char(context, is_stderr ? 'e' : 'o');
		buf_char(context, bytes[i]);
	}
}

static bool
feed_frames(const struct stream *stream, struct buf *out)
{
	struct docker_frames frames = { 0 };

	for (size_t at = 0, n = 0; at < stream->size; n++) {
		size_t piece = piece_of(stream, at, n);

		if (!docker_frames_feed(&frames, stream->bytes + at, piece, note, out))
			return false;
		at += piece;
	}
	return true;
}

/* The same, as the format says it. */
static bool
read_frames(const struct stream *stream, struct buf *out)
{
	const unsigned char *bytes = (const unsigned char *)stream->bytes;
	size_t at = 0;

	while (stream->size - at >= 8) {
		const unsigned char *head = bytes + at;
		size_t length = (size_t)head[4] << 24 | (size_t)head[5] << 16 | (size_t)head[6] << 8 | head[7];

		if (head[0] > 3 || head[1] || head[2] || head[3] || length > 1 << 20)
			return false;
		at += 8;
		length = length < stream->size - at ? length : stream->size - at;
		note(out, head[0] >= 2, stream->bytes + at, length);
		at += length;
	}
	return true;
}

static void
check_frames(struct stream stream)
{
	struct buf whole finally(buf_finish) = { 0 };
	struct buf cut finally(buf_finish) = { 0 };
	bool ok;

	buf_init(&whole, 4 * LIMIT);
	buf_init(&cut, 4 * LIMIT);
	ok = read_frames(&stream, &whole);
	promise(feed_frames(&stream, &cut) == ok);
	promise(whole.size == cut.size && memcmp(whole.data, cut.data, cut.size) == 0);
}

/* The log in memory; its path has no directory, so that there is no file. */
static void
write_log(const struct stream *stream, struct buf *out)
{
	struct arena arena finally(arena_finish) = { 0 };
	struct log log finally(log_finish) = { 0 };

	log_init(&log, "none");
	for (size_t at = 0, n = 0; at < stream->size; n++) {
		size_t piece = piece_of(stream, at, n);

		log_bytes(&log, stream->bytes + at, piece);
		at += piece;
	}
	buf_text(out, log_tail(&log, &arena));
}

static void
check_log(struct stream stream)
{
	struct buf whole finally(buf_finish) = { 0 };
	struct buf cut finally(buf_finish) = { 0 };

	buf_init(&whole, LIMIT);
	buf_init(&cut, LIMIT);
	write_log(&stream, &cut);
	stream.whole = true;
	write_log(&stream, &whole);
	promise(strcmp(whole.data, cut.data) == 0);
	for (const char *at = whole.data; *at; at++)
		promise((unsigned char)*at >= 0x20 || *at == '\n' || *at == '\t');
}

/* The engine's answer to a pull: docker_call is replaced by this at link time, all behind it is the product. */
bool __wrap_docker_call(struct docker *docker, const struct docker_call *call, struct arena *arena, struct http_response *response, struct error *err);

bool
__wrap_docker_call(struct docker *docker, const struct docker_call *call, struct arena *arena, struct http_response *response, struct error *err)
{
	const struct stream *stream = (const void *)docker->socket;

	(void)arena;
	*response = (struct http_response){ .status = 200 };
	buf_init(&response->body, 1024);
	for (size_t at = 0, n = 0; at < stream->size; n++) {
		size_t piece = piece_of(stream, at, n);

		if (!call->on_body(call->context, stream->bytes + at, piece))
			return fail(err, FAULT_PROTOCOL, "the body was refused");
		at += piece;
	}
	return true;
}

static void
note_progress(void *context, uint64_t done, uint64_t total)
{
	buf_printf(context, "%llu/%llu ", (unsigned long long)done, (unsigned long long)total);
}

static void
pull(const struct stream *stream, struct buf *out)
{
	struct arena arena finally(arena_finish) = { 0 };
	struct docker docker = { .http = fuzz_session(), .arena = &arena, .socket = (const char *)stream };
	struct error err = { 0 };

	if (!docker_pull(&docker, "image:tag", NULL, note_progress, out, &err))
		buf_text(out, err.text);
}

static void
check_pull(struct stream stream)
{
	struct buf whole finally(buf_finish) = { 0 };
	struct buf cut finally(buf_finish) = { 0 };

	buf_init(&whole, LIMIT);
	buf_init(&cut, LIMIT);
	pull(&stream, &cut);
	stream.whole = true;
	pull(&stream, &whole);
	promise(strcmp(whole.data, cut.data) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf bytes finally(buf_finish) = { 0 };
	struct feed feed = { data, size };
	struct stream stream = { 0 };
	size_t times;

	if (size > 4096)
		return 0;
	times = feed_byte(&feed);
	times = times < 200 ? 1 : times - 198;
	for (size_t i = 0; i < CUTS; i++)
		stream.cuts[i] = feed_byte(&feed);
	stream.bytes = feed.left ? (const char *)feed.bytes : "";
	stream.size = feed.left;
	check_frames(stream);
	check_pull(stream);
	buf_init(&bytes, LIMIT);
	while (times-- > 0)
		buf_add(&bytes, stream.bytes, feed.left);
	stream.bytes = bytes.data;
	stream.size = bytes.size;
	check_log(stream);
	return 0;
}
