/* What hubs and mirrors answer, to the files that a target takes. The transport is replaced at link time; all behind it is the product.
 *
 * Input: a byte for the kind of hub, one for what is asked for, and answers separated by 0x1e. An answer is lines `STATUS`, `name: value`..., an empty line and the body. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/file.h"
#include "engine/base/path.h"
#include "fuzz.h"
#include "rules/client/hub.h"
#include "rules/client/hub_protocol.h"
#include "rules/select.h"
#include "session.h"

#define COMMIT "0123456789abcdef0123456789abcdef01234567"
#define MOST_OPENED 4

/* Answers that are left; one input at a time. */
static struct feed answers;

bool __wrap_http_do_retrying(struct http *http, const struct http_request *request, unsigned tries, struct arena *arena, struct http_response *response,
	struct error *err);

static void
read_head(const char **text, struct arena *arena, struct http_response *response)
{
	response->status = strtol(*text, NULL, 10) % 600;
	*text += strcspn(*text, "\n");
	while (**text == '\n' && (*text)[1] && (*text)[1] != '\n') {
		const char *line = *text + 1;
		size_t length = strcspn(line, "\n"), name = strcspn(line, ":\n");

		if (name < length)
			pairs_set(&response->headers, arena, arena_copy_bytes(arena, line, name),
				arena_copy_bytes(arena, line + name + 1 + (line[name + 1] == ' '), length - name - 1 - (line[name + 1] == ' ')));
		*text = line + length;
	}
	*text += **text == '\n' ? 1 + ((*text)[1] == '\n') : 0;
}

bool
__wrap_http_do_retrying(struct http *http, const struct http_request *request, unsigned tries, struct arena *arena, struct http_response *response,
	struct error *err)
{
	size_t size;
	const char *text = feed_text(&answers, arena, &size), *body = text;

	(void)http;
	(void)tries;
	if (size == 0)
		return fail(err, FAULT_NETWORK, "nobody answers");
	promise(request->url && (text_starts(request->url, "https://") || text_starts(request->url, "http://")));
	*response = (struct http_response){ .url = request->url, .location = request->url };
	buf_init(&response->body, (size_t)1 << 20);
	read_head(&body, arena, response);
	size -= (size_t)(body - text);
	if (request->on_head && !request->on_head(request->context, response, err))
		return false;
	if (request->on_body && response->status < 300)
		request->on_body(request->context, body, size);
	else
		buf_add(&response->body, body, size);
	return true;
}

static void
remove_made(const char *name, struct arena *arena)
{
	char *path = arena_copy(arena, name);

	unlinkat(scratch_fd(), path, 0);
	for (char *slash; (slash = strrchr(path, '/'));) {
		*slash = '\0';
		unlinkat(scratch_fd(), path, AT_REMOVEDIR);
	}
}

/* A name that is taken is made where it belongs. */
static void
open_file(const char *name, struct arena *arena)
{
	const char *last;
	int parent finally(close_fd) = path_open_parent(scratch_fd(), name, true, &last);
	int fd finally(close_fd) = path_open_below(parent, last, O_RDWR | O_CREAT, 0600);
	char link[4096];
	ssize_t size;

	promise(fd >= 0);
	size = readlink(arena_printf(arena, "/proc/self/fd/%d", fd), link, sizeof link - 1);
	promise(size > 0);
	link[size] = '\0';
	promise(strcmp(link, arena_printf(arena, "%s/%s", scratch_path(), name)) == 0);
	remove_made(name, arena);
}

static void
take_files(const struct hub_listing *listing, uint8_t wish, struct arena *arena)
{
	static const char *all = "*";
	struct strings everything = { .items = &all, .count = 1 }, nothing = { 0 };
	struct selection_rules rules = { .include = wish & 1 ? &everything : &nothing, .exclude = &nothing, .allow_pickle = wish & 2, .allow_code = wish & 4 };
	struct selection selection = { 0 };
	struct error err = { 0 };
	uint64_t sum = 0;

	if (!select_files(listing, &rules, arena, &selection, &err))
		return;
	promise(selection.count <= listing->count);
	for (size_t i = 0; i < selection.count; i++) {
		const char *why;

		promise(path_is_safe(selection.files[i]->path, &why) && !selection.files[i]->refusal);
		promise(i == 0 || strcmp(selection.files[i - 1]->path, selection.files[i]->path) < 0);
		sum += selection.files[i]->size;
		if (i < MOST_OPENED)
			open_file(selection.files[i]->path, arena);
	}
	promise(selection.bytes == UINT64_MAX || selection.bytes == sum);
}

static void
talk(struct hub *hub, uint8_t wish, struct arena *arena)
{
	struct hub_listing listing = { 0 };
	struct buf content finally(buf_finish) = { 0 };
	struct error err = { 0 };
	const char *commit = COMMIT;
	bool missing = false;

	if ((wish & 8) && !hub_resolve(hub, &commit, &err)) {
		promise(err.fault != FAULT_NONE && *err.text);
		return;
	}
	promise(hub_is_commit(commit));
	if (!hub_list(hub, commit, &listing, &err)) {
		promise(err.fault != FAULT_NONE && *err.text);
		return;
	}
	promise(listing.count > 0 && listing.count <= HUB_MOST_FILES);
	for (size_t i = 0; i < listing.count; i++)
		promise(listing.files[i].size < HUB_MOST_SIZE && (i == 0 || strcmp(listing.files[i - 1].path, listing.files[i].path) <= 0));
	take_files(&listing, wish, arena);
	buf_init(&content, 4096);
	/* A whole file that is read has the bytes that the listing promised. */
	if (hub_read(hub, commit, &listing.files[0], 0, 0, &content, &missing, &err) && !missing && listing.files[0].checksum.kind == CHECKSUM_SHA256) {
		struct digest digest;

		digest_of(content.data, content.size, &digest);
		promise(memcmp(digest.bytes, listing.files[0].checksum.bytes, DIGEST_SIZE) == 0);
	}
}

static void
read_checksums(uint8_t wish, struct arena *arena)
{
	struct hub_listing listing = { .commit = "" };
	struct error err = { 0 };
	size_t size;
	const char *text = feed_text(&answers, arena, &size), *why;

	if (!hub_parse_checksums(text, size, "SHA256SUMS", arena, &listing.files, &listing.count, &err)) {
		promise(err.fault == FAULT_CHECKSUM_LIST);
		return;
	}
	for (size_t i = 0; i < listing.count; i++)
		promise(path_is_safe(listing.files[i].path, &why) && listing.files[i].checksum.kind == CHECKSUM_SHA256);
	take_files(&listing, wish, arena);
}

/* Any text as a source; what is accepted has a kind's own parts. */
static void
parse_source(struct arena *arena)
{
	const char *text = feed_text(&answers, arena, NULL);
	struct hub_source source;
	struct error err = { 0 };

	if (!hub_parse(text, NULL, "/base", arena, &source, &err)) {
		promise(err.fault != FAULT_NONE && *err.text);
		return;
	}
	promise(source.kind == HUB_HUGGINGFACE || source.kind == HUB_MODELSCOPE ? source.repo && source.endpoint : source.base != NULL);
	promise(source.kind == HUB_HTTP || !source.base || *source.base == '/');
	hub_source_name(&source, arena);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const sources[] = { "huggingface:org/name", "modelscope:org/name@v1", "https://mirror.example/models/" };
	struct arena arena finally(arena_finish) = { 0 };
	struct feed feed = { data, size };
	struct hub hub = { .arena = &arena };
	struct error err = { 0 };
	uint8_t kind, wish;

	if (size > 16384)
		return 0;
	kind = (uint8_t)feed_below(&feed, 5);
	wish = feed_byte(&feed);
	answers = feed;
	hub.http = fuzz_session();
	if (kind == 3) {
		read_checksums(wish, &arena);
	} else if (kind == 4) {
		parse_source(&arena);
	} else {
		promise(hub_parse(sources[kind], NULL, "/", &arena, &hub.source, &err));
		if (kind == 2)
			hub.checksums = NULL;
		if (kind < 2)
			talk(&hub, wish, &arena);
	}
	return 0;
}
