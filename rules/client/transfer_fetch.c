#include "transfer_fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/units.h"

#define MOST_TRIES 6u
#define MOST_STALLS 2u
#define PROGRESS ((uint64_t)1 << 20) /* bytes that make a new start of the count of tries */
#define COPY_SIZE ((size_t)1 << 20)
#define LONGEST_POINTER 1024

/* One source being asked by one connection, over all its lanes and tries. */
struct asking {
	struct part *part;
	struct lane *lane;
	struct transfer *transfer;
	const struct transfer_source *source;
	struct arena *arena;   /* of the thread */
	const char *location;  /* where the source sent us before: asked directly, until it refuses; or NULL */
	uint64_t skip;         /* bytes of a whole body that are here already */
	bool ranged;           /* a range was asked for this time */
	bool whole;            /* ask without a range: the source cannot do them, or refused one */
	bool plain;            /* say that nothing on the way may encode */
	bool again;            /* the answer was refused, but another request may bring a better one */
	bool overrun;          /* more came than was asked for */
	struct error failure;  /* of writing: ends the transfer */
	unsigned refusals;     /* of the host behind a redirect */
	unsigned stalls;
};

/* ---- which answers are taken: the table of model-hubs.md 5.3 ---- */

static bool
reject(struct error *err, const char *words)
{
	return fail(err, FAULT_PROTOCOL, "%s", words);
}

/* Where the lane ends, as far as is known. */
static uint64_t
lane_end(const struct asking *asking)
{
	const struct lane *lane = asking->lane;

	return lane->end < asking->part->size ? lane->end : asking->part->size;
}

static bool
content_length(const struct http_response *response, uint64_t *length)
{
	const char *text = http_header(response, "content-length");
	int64_t value;

	if (!text || !units_int(text, &value) || value < 0)
		return false;
	*length = (uint64_t)value;
	return true;
}

static bool
wrong_size(const struct asking *asking, uint64_t size, struct error *err)
{
	return fail(err, FAULT_PROTOCOL, "it has %" PRIu64 " bytes there and should have %" PRIu64 "%s", size, asking->part->size,
		size < LONGEST_POINTER && asking->part->size >= LONGEST_POINTER ? " (a git-lfs pointer or an error page?)" : "");
}

/* A total of which nobody knew better is the size; any other must be the pinned one. */
static bool
agree_on_size(struct asking *asking, uint64_t size, struct error *err)
{
	if (asking->part->size == UINT64_MAX) {
		if (!part_set_size(asking->part, size, err)) {
			asking->failure = *err;
			return false;
		}
		return true;
	}
	return size == asking->part->size || wrong_size(asking, size, err);
}

static bool
accept_range(struct asking *asking, uint64_t from, uint64_t to, uint64_t total, struct error *err)
{
	if (total != UINT64_MAX && !agree_on_size(asking, total, err))
		return false;
	if (asking->part->size == UINT64_MAX)
		return reject(err, "the range does not say how long the file is");
	if (from != asking->lane->at || to >= lane_end(asking))
		return reject(err, "it sent other bytes than the range asked for");
	return true;
}

static bool
accept_whole(struct asking *asking, const struct http_response *response, struct error *err)
{
	uint64_t length;

	/* One lane must do, before anybody else knows the size: this answer goes on to the end, and another one would begin anew. A guest that asked for no range has a file of one piece. */
	if (asking->lane->front || asking->ranged)
		part_take_one_lane(asking->part);
	if (content_length(response, &length) && !agree_on_size(asking, length, err))
		return false;
	asking->skip = asking->lane->at;
	if (!asking->ranged)
		return true;
	asking->whole = true;
	return asking->lane->front || reject(err, "it answers no ranges");
}

static bool
on_head(void *context, const struct http_response *response, struct error *err)
{
	struct asking *asking = context;
	const char *encoding = http_header(response, "content-encoding"), *type = http_header(response, "content-type");
	const char *name = asking->transfer->name;
	uint64_t from, to, total;

	asking->skip = 0;
	asking->overrun = false;
	if (response->status >= 300)
		return true;
	if (encoding && *encoding && strcasecmp(encoding, "identity") != 0) {
		asking->again = !asking->plain;
		asking->plain = true;
		return fail(err, FAULT_PROTOCOL, "the answer is encoded as `%.40s`, which nobody asked for", encoding);
	}
	if (type && strncasecmp(type, "text/html", 9) == 0 && !text_ends(name, ".html") && !text_ends(name, ".htm"))
		return reject(err, "got an HTML page; a proxy or firewall may have answered");
	if (type && strncasecmp(type, "multipart/byteranges", 20) == 0)
		return reject(err, "the answer is in several parts");
	if (http_header(response, "content-range"))
		return http_content_range(response, &from, &to, &total) ? accept_range(asking, from, to, total, err)
		                                                        : reject(err, "its Content-Range cannot be read");
	if (response->status != 200)
		return reject(err, "a partial answer does not say which bytes it has");
	return accept_whole(asking, response, err);
}

static bool
on_body(void *context, const char *bytes, size_t size)
{
	struct asking *asking = context;
	size_t skipped = asking->skip < size ? (size_t)asking->skip : size, taken;
	uint64_t room;

	asking->transfer->fetched += size;
	if (asking->transfer->cancel && *asking->transfer->cancel)
		return fail(&asking->failure, FAULT_INTERRUPTED, "stopped while fetching `%s`", asking->transfer->name);
	if (!asking->lane->front && !part_is_open(asking->part))
		return fail(&asking->failure, FAULT_INTERRUPTED, "`%s` is wanted no more", asking->transfer->name);
	asking->skip -= skipped;
	bytes += skipped;
	size -= skipped;
	room = lane_end(asking) - asking->lane->at;
	taken = size < room ? size : (size_t)room;
	if (!lane_take(asking->lane, bytes, taken, &asking->failure))
		return false;
	/* Past the end of the span: either a whole body that goes on, or a source that sends more than there is. */
	asking->overrun = taken < size;
	return !asking->overrun;
}

/* ---- what is tried again ---- */

static void
make_request(struct asking *asking, struct http_range *range, struct http_request *request)
{
	const struct transfer_source *source = asking->source;
	struct part *part = asking->part;

	asking->ranged = !asking->whole && part->size != UINT64_MAX && (asking->lane->at > 0 || part->size >= TRANSFER_PIECE);
	*range = (struct http_range){ asking->lane->at, lane_end(asking) - 1 };
	*request = (struct http_request){
		.url = asking->location ? asking->location : source->url,
		/* The token is for the source alone, never for where it sent us. */
		.bearer = asking->location ? NULL : source->bearer,
		.secret_cookie = asking->location ? NULL : source->secret_cookie,
		.insecure_http = source->insecure_http,
		.range = asking->ranged ? range : NULL,
		.on_head = on_head,
		.on_body = on_body,
		.context = asking,
	};
	if (asking->plain)
		strings_add(&request->headers, asking->arena, "Cache-Control: no-transform");
}

/* A link to a storage host dies after minutes; asking the hub again gives a fresh one. */
static bool
host_behind_refuses(const struct asking *asking, const struct http_response *response)
{
	long status = response->status;

	return (status == 401 || status == 403 || status == 410) && !http_same_origin(asking->source->url, response->location);
}

static bool
may_pass(const struct http_response *response)
{
	long status = response->status;

	return status == 408 || status == 429 || status == 500 || (status >= 502 && status <= 504);
}

/* What to do after an answer with an error status. */
static bool
goes_on(struct asking *asking, const struct http_response *response, bool *at_once, struct error *err)
{
	const char *host = http_host(asking->arena, response->location);

	*at_once = false;
	if (response->status >= 400)
		http_fail_status(host, response, err);
	else
		fail(err, FAULT_PROTOCOL, "`%s` answered with status %ld", host, response->status);
	if (may_pass(response))
		return true;
	*at_once = true;
	if (response->status == 416 && !asking->whole) {
		asking->whole = true;
		return true;
	}
	if (!host_behind_refuses(asking, response))
		return false;
	asking->location = NULL;
	asking->refusals++;
	asking->whole = asking->whole || asking->refusals == 2;
	return asking->refusals <= 2;
}

/* After a body: true when the span is here, else why not. */
static bool
span_is_here(struct asking *asking, const struct http *http, const struct http_response *response, uint64_t before, struct error *err)
{
	struct part *part = asking->part;

	if (part->size == UINT64_MAX && !response->partial && !part_set_size(part, part->front, err)) {
		asking->failure = *err;
		return false;
	}
	if (asking->lane->at >= lane_end(asking))
		return true;
	if (asking->lane->at == before && response->received == 0 && !response->partial)
		return fail(err, FAULT_PROTOCOL, "the server sent an empty body");
	if (response->stalled)
		return fail(err, FAULT_NETWORK, "next to nothing came for %s", units_show_duration(asking->arena, http_stall_ms(http)));
	return fail(err, FAULT_NETWORK, "the answer ended too early");
}

enum step { STEP_DONE, STEP_AGAIN, STEP_AT_ONCE, STEP_LEAVE, STEP_END };

/* Failures of this machine, not of a source. */
static bool
ends_all(const struct error *err)
{
	return err->fault == FAULT_INTERRUPTED || err->fault == FAULT_NO_SPACE || err->fault == FAULT_IO ||
		err->fault == FAULT_CANNOT_CREATE || err->fault == FAULT_PERMISSION;
}

static enum step
ask_once(struct asking *asking, struct http *http, int64_t *wait, struct error *err)
{
	struct http_response response finally(http_response_finish) = { 0 };
	uint64_t before = asking->lane->at;
	struct http_request request;
	struct http_range range;
	bool at_once, answered;

	make_request(asking, &range, &request);
	asking->again = false;
	asking->failure.fault = FAULT_NONE;
	answered = http_do(http, &request, asking->arena, &response, err);
	if (asking->failure.fault != FAULT_NONE) {
		*err = asking->failure;
		return STEP_END;
	}
	if (!answered && ends_all(err))
		return STEP_END;
	if (!answered)
		return asking->again || (err->fault == FAULT_NETWORK && !http->hopeless) ? STEP_AGAIN : STEP_LEAVE;
	*wait = response.retry_after;
	if (response.status >= 300)
		return !goes_on(asking, &response, &at_once, err) || http_asks_too_much(&response) ? STEP_LEAVE : at_once ? STEP_AT_ONCE : STEP_AGAIN;
	/* Signed links are asked directly from here on, which spares the source a question for each span. */
	if (!asking->location && !http_same_origin(asking->source->url, response.location))
		asking->location = response.location;
	if (span_is_here(asking, http, &response, before, err))
		return STEP_DONE;
	asking->stalls += response.stalled;
	return STEP_AGAIN;
}

/* Until the span is here, or the source proves of no use. */
static bool
ask_for_span(struct asking *asking, struct http *http, bool alternatives, struct error *err)
{
	uint64_t mark = asking->lane->at;

	for (unsigned tries = 0;;) {
		int64_t wait = 0;
		enum step step = ask_once(asking, http, &wait, err);

		if (step == STEP_DONE)
			return true;
		if (step == STEP_END || step == STEP_LEAVE)
			return false;
		if (asking->lane->at >= mark + PROGRESS) {
			mark = asking->lane->at;
			tries = 0;
		}
		if (++tries >= MOST_TRIES || (alternatives && asking->stalls >= MOST_STALLS))
			return false;
		if (step == STEP_AGAIN)
			clock_sleep_ms(http_back_off(http, tries - 1, wait), http->cancel);
	}
}

/* The owner's next lane: at the front, else wherever something is missing. False without a fault: all is in others' hands. */
static bool
next_lane(struct lane *lane, struct part *part, struct error *err)
{
	err->fault = FAULT_NONE;
	if (lane_at_front(lane, part, !part->transfer->pool, err))
		return true;
	return err->fault == FAULT_NONE && lane_behind(lane, part, err);
}

bool
transfer_from_url(struct part *part, struct transfer *transfer, const struct transfer_source *source, struct http *http,
	bool alternatives, struct error *err)
{
	struct asking asking = { .part = part, .transfer = transfer, .source = source, .arena = part->arena };

	for (;;) {
		struct lane lane finally(lane_leave) = { .part = NULL };

		if (!part_is_sound(part, err) || !part_advance(part, err))
			return error_wrap(err, "`%s` from %s", transfer->name, source->name);
		if (part->front >= part->size)
			return true;
		if (next_lane(&lane, part, err)) {
			asking.lane = &lane;
			if (lane.at < lane_end(&asking) && !ask_for_span(&asking, http, alternatives, err))
				return error_wrap(err, "`%s` from %s", transfer->name, source->name);
		} else if (err->fault != FAULT_NONE) {
			return error_wrap(err, "`%s` from %s", transfer->name, source->name);
		} else if (transfer->cancel && *transfer->cancel) {
			return fail(err, FAULT_INTERRUPTED, "stopped while fetching `%s`", transfer->name);
		} else {
			part_wait(part);
		}
	}
}

bool
transfer_lend_a_hand(struct part *part, struct http *http, struct arena *arena)
{
	struct transfer *transfer = part->transfer;
	const struct transfer_source *source = &transfer->sources[part_source(part)];
	struct asking asking = { .part = part, .transfer = transfer, .source = source, .arena = arena };
	struct error err = { 0 };
	bool any = false;

	while (source->url && !(transfer->cancel && *transfer->cancel) && part_wants_help(part)) {
		struct lane lane finally(lane_leave) = { .part = NULL };

		if (!lane_behind(&lane, part, &err))
			break;
		any = true;
		asking.lane = &lane;
		if (lane.at < lane_end(&asking) && !ask_for_span(&asking, http, true, &err))
			break;
	}
	return any;
}

/* ---- a file on this machine ---- */

static bool
clone_file(struct part *part, int fd)
{
	return part->front == 0 && ioctl(part->fd, FICLONE, fd) == 0;
}

static bool
copy_span(struct lane *lane, struct part *part, char *buffer, int fd, const char *path, struct error *err)
{
	if (!lane_at_front(lane, part, true, err))
		return false;
	while (lane->at < lane->end) {
		size_t want = lane->end - lane->at < COPY_SIZE ? (size_t)(lane->end - lane->at) : COPY_SIZE, got;

		if (part->transfer->cancel && *part->transfer->cancel)
			return fail(err, FAULT_INTERRUPTED, "stopped while copying `%s`", path);
		if (!file_pread_all(fd, buffer, want, lane->at, &got, err))
			return error_wrap(err, "`%s`", path);
		if (got == 0)
			return fail(err, FAULT_INPUT_CHANGED, "`%s` became shorter while it was copied", path);
		if (!lane_take(lane, buffer, got, err))
			return false;
	}
	return true;
}

static bool
copy_file(struct part *part, int fd, const char *path, struct error *err)
{
	char *buffer finally(free_text) = xmalloc(COPY_SIZE);

	while (part->front < part->size) {
		struct lane lane finally(lane_leave) = { .part = NULL };

		if (!part_advance(part, err))
			return false;
		if (part->front < part->size && !copy_span(&lane, part, buffer, fd, path, err))
			return false;
	}
	return true;
}

bool
transfer_from_path(struct part *part, const struct transfer_source *source, struct error *err)
{
	int fd finally(close_fd) = open(source->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) != 0)
		return fail_errno(err, "open `%s`", source->path);
	if (!S_ISREG(st.st_mode))
		return fail(err, FAULT_NOT_FOUND, "`%s` is no file", source->path);
	if (part->size == UINT64_MAX && !part_set_size(part, (uint64_t)st.st_size, err))
		return false;
	if ((uint64_t)st.st_size != part->size)
		return fail(err, FAULT_PROTOCOL, "`%s` has %" PRIu64 " bytes and should have %" PRIu64, source->path, (uint64_t)st.st_size,
			part->size);
	posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	if (part->size > 0 && clone_file(part, fd))
		return part_take_cloned(part, err);
	return copy_file(part, fd, source->path, err);
}

bool
transfer_has_url(const struct transfer *transfer)
{
	for (size_t i = 0; i < transfer->source_count; i++)
		if (transfer->sources[i].url)
			return true;
	return false;
}
