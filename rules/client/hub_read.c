#include "hub.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/file.h"
#include "engine/base/path.h"
#include "hub_protocol.h"

/* A server that ignores ranges is read past this much at most. */
#define MOST_SKIPPED ((uint64_t)1 << 20)

struct reading {
	struct buf *into;
	const char *commit;
	uint64_t offset;
	uint64_t wanted; /* bytes from there; UINT64_MAX: to the end */
	uint64_t skip;   /* bytes before the ones that are wanted */
	uint64_t left;   /* of `wanted` */
};

static bool
on_head(void *context, const struct http_response *response, struct error *err)
{
	struct reading *reading = context;
	const char *encoding = http_header(response, "content-encoding"), *commit = http_header(response, "x-repo-commit");
	uint64_t from, to, total;

	/* A second try begins anew. */
	buf_clear(reading->into);
	reading->skip = 0;
	reading->left = reading->wanted;
	if (!commit && response->first_headers.count > 0)
		commit = pairs_get(&response->first_headers, "x-repo-commit");
	if (response->status >= 300)
		return true;
	if (encoding && *encoding && strcasecmp(encoding, "identity") != 0)
		return fail(err, FAULT_PROTOCOL, "the answer is encoded as `%s`, which nobody asked for", encoding);
	if (commit && *reading->commit && hub_is_commit(commit) && strcmp(commit, reading->commit) != 0)
		return fail(err, FAULT_PROTOCOL, "the answer is from commit %.12s, not %.12s", commit, reading->commit);
	if (http_content_range(response, &from, &to, &total))
		return from == reading->offset || fail(err, FAULT_PROTOCOL, "the answer is another piece of the file than was asked for");
	reading->skip = reading->offset;
	return reading->skip <= MOST_SKIPPED || fail(err, FAULT_PROTOCOL, "the server cannot give a piece of a file");
}

static bool
on_body(void *context, const char *bytes, size_t size)
{
	struct reading *reading = context;
	size_t skipped = reading->skip < size ? (size_t)reading->skip : size, taken = size - skipped;

	reading->skip -= skipped;
	if (reading->left != UINT64_MAX && taken > reading->left)
		taken = (size_t)reading->left;
	buf_add(reading->into, bytes + skipped, taken);
	if (reading->left != UINT64_MAX)
		reading->left -= taken;
	return reading->left > 0 && !reading->into->truncated;
}

static bool
is_page(const struct http_response *response, const char *file)
{
	const char *type = http_header(response, "content-type");

	return type && strncasecmp(type, "text/html", 9) == 0 && !text_ends(file, ".html") && !text_ends(file, ".htm");
}

static bool
is_missing(const struct http_response *response)
{
	const char *code = http_header(response, "x-error-code");

	return response->status == 404 && (!code || strcmp(code, "EntryNotFound") == 0);
}

static bool
read_remote(struct hub *hub, const char *url, const char *file, struct reading *reading, bool *missing, struct error *err)
{
	struct http_response response finally(http_response_finish) = { 0 };
	struct http_range range = { reading->offset, reading->offset + reading->wanted - 1 };
	struct http_request request;

	hub_request(hub, url, &request);
	request.range = reading->wanted != UINT64_MAX ? &range : NULL;
	request.on_head = on_head;
	request.on_body = on_body;
	request.context = reading;
	if (!http_do_retrying(&hub->http, &request, hub->tries ? hub->tries : HUB_TRIES, hub->arena, &response, err))
		return error_wrap(err, "%s", file);
	if (missing && is_missing(&response)) {
		*missing = true;
		return true;
	}
	if (response.status >= 300 || is_page(&response, file))
		return hub_fail(hub, file, &response, err);
	if (response.partial && reading->left > 0)
		return fail(err, FAULT_NETWORK, "%s: the answer of `%s` %s", file, http_host(hub->arena, response.location),
			response.stalled ? "came to a halt" : "ended too early");
	return true;
}

static bool
read_here(const char *path, struct reading *reading, bool *missing, struct error *err)
{
	int fd finally(close_fd) = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char piece[16384];
	struct stat st;

	if (fd < 0 && missing && errno == ENOENT) {
		*missing = true;
		return true;
	}
	if (fd < 0 || fstat(fd, &st) != 0)
		return fail_errno(err, "open `%s`", path);
	if (!S_ISREG(st.st_mode))
		return fail(err, FAULT_NOT_FOUND, "`%s` is no file", path);
	for (uint64_t at = reading->offset;;) {
		size_t got;

		if (!file_pread_all(fd, piece, sizeof piece, at, &got, err))
			return error_wrap(err, "`%s`", path);
		at += got;
		if (!on_body(reading, piece, got) || got < sizeof piece)
			return true;
	}
}

static bool
verify(const struct hub_file *file, const struct buf *into, struct error *err)
{
	struct hasher hasher finally(hasher_finish) = { 0 };
	struct checksum found;

	if (file->checksum.kind == CHECKSUM_NONE)
		return true;
	if (file->checksum.kind == CHECKSUM_GIT)
		hasher_init_git(&hasher, into->size);
	else
		hasher_init(&hasher);
	hasher_add(&hasher, into->data, into->size);
	hasher_checksum(&hasher, &found);
	return checksum_equal(&found, &file->checksum) ||
		fail(err, FAULT_DIGEST, "`%s` does not have the digest of the listing (%zu bytes came)", file->path, into->size);
}

/* A hub that does not take commits says "not found" for every file: once it is asked by name. */
static bool
needs_name(const struct hub *hub, const char *commit, bool missing, const struct error *err)
{
	bool lost = missing || err->fault == FAULT_HUB_NOT_FOUND;

	return lost && hub->source.kind == HUB_MODELSCOPE && !hub->by_name && *commit &&
		!(hub->source.revision && hub_is_commit(hub->source.revision));
}

bool
hub_read(struct hub *hub, const char *commit, const struct hub_file *file, uint64_t offset, uint64_t size, struct buf *into,
	bool *missing, struct error *err)
{
	uint64_t wanted = size ? size : UINT64_MAX;
	struct reading reading = { .into = into, .commit = commit, .offset = offset, .wanted = wanted, .left = wanted };
	const char *path, *url = hub_file_url(hub, commit, file->path, &path, hub->arena);
	const char *why;
	bool lost = false;
	bool good;

	if (!path_is_safe(file->path, &why))
		return fail(err, FAULT_HOSTILE_NAME, "the name `%s` is refused: %s", file->path, why);
	err->fault = FAULT_NONE;
	good = url ? read_remote(hub, url, file->path, &reading, missing ? &lost : NULL, err)
	           : read_here(path, &reading, missing ? &lost : NULL, err);
	if ((!good || lost) && needs_name(hub, commit, lost, err)) {
		hub->by_name = true;
		lost = false;
		url = hub_file_url(hub, commit, file->path, &path, hub->arena);
		good = read_remote(hub, url, file->path, &reading, missing ? &lost : NULL, err);
	}
	if (missing)
		*missing = lost;
	if (!good || lost)
		return good;
	if (size == 0 && into->truncated)
		return fail(err, FAULT_PROTOCOL, "`%s` is longer than %zu bytes", file->path, into->limit);
	return size != 0 || offset != 0 || verify(file, into, err);
}
