#include "hub.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "hub_protocol.h"

#define LONGEST_ANSWER ((size_t)64 << 20)
#define PATIENCE 20 /* stall spans for one answer or one listing, however steadily it drips */

static const struct hub_protocol *const protocols[] = {
	[HUB_HUGGINGFACE] = &hub_huggingface,
	[HUB_MODELSCOPE] = &hub_modelscope,
	[HUB_HTTP] = &hub_http,
	[HUB_FILE] = &hub_here,
	[HUB_LOCAL] = &hub_here,
};

const struct hub_protocol *
hub_protocol(const struct hub *hub)
{
	return protocols[hub->source.kind];
}

bool
hub_open(struct hub *hub, const struct hub_source *source, const struct secret_ref *token, bool insecure_http,
	const char *checksums, const atomic_bool *cancel, struct arena *arena, struct error *err)
{
	struct hub made = { .source = *source, .insecure_http = insecure_http, .checksums = checksums, .arena = arena };
	bool named = token && (token->env || token->file);
	bool good = true;

	if (named) {
		made.token_origin = token->env ? token->env : token->file;
		good = secret_load(token, false, &made.token, err);
	} else if (source->endpoint) {
		good = hub_find_token(&made, err);
	}
	/* What lies on this machine needs no libcurl. */
	if (good && protocols[source->kind]->url)
		good = http_init(&made.http, cancel, err);
	if (good)
		*hub = made;
	else
		secret_finish(&made.token);
	return good;
}

void
hub_close(struct hub *hub)
{
	if (hub->http.session)
		http_finish(&hub->http);
	secret_finish(&hub->token);
	*hub = (struct hub){ 0 };
}

bool
hub_is_commit(const char *text)
{
	return strlen(text) == 40 && strspn(text, "0123456789abcdef") == 40;
}

bool
hub_add_file(struct hub_files *files, const struct hub_file *file, struct error *err)
{
	if (file->size != UINT64_MAX && file->size >= HUB_MOST_SIZE)
		return fail(err, FAULT_PROTOCOL, "the listing gives `%s` an absurd size", file->path);
	if (files->count == HUB_MOST_FILES)
		return fail(err, FAULT_PROTOCOL, "the listing has more than %d files", HUB_MOST_FILES);
	if (files->count == files->capacity)
		files->items = arena_grow(files->arena, files->items, files->count, &files->capacity, sizeof *files->items);
	files->items[files->count++] = *file;
	return true;
}

/* The hub quotes it in its errors. */
static const char *
request_id(struct arena *arena)
{
	unsigned char id[16];
	char text[33];

	random_bytes(id, sizeof id);
	for (size_t i = 0; i < sizeof id; i++)
		snprintf(text + 2 * i, 3, "%02x", id[i]);
	return arena_printf(arena, "X-Request-ID: %s", text);
}

int64_t
hub_patience_ms(const struct hub *hub)
{
	return PATIENCE * http_stall_ms(&hub->http);
}

void
hub_request(struct hub *hub, const char *url, struct http_request *request)
{
	*request = (struct http_request){ .url = url, .insecure_http = hub->insecure_http, .timeout_ms = hub_patience_ms(hub) };
	if (hub->token.length > 0) {
		request->bearer = &hub->token;
		request->secret_cookie = hub_protocol(hub)->cookie;
	}
	if (hub_protocol(hub)->wants_id)
		strings_add(&request->headers, hub->arena, request_id(hub->arena));
}

/* A bad token is refused even for what everybody may read. */
static bool
blames_token(const struct hub *hub, const struct http_response *response)
{
	const char *message = http_header(response, "x-error-message");

	return response->status == 401 && hub->token.length > 0 && message && text_starts(message, "Invalid credentials");
}

static bool
do_with_token(struct hub *hub, struct http_request *request, struct http_response *response, struct error *err)
{
	struct http_response without = { 0 };
	struct error ignored;

	if (!http_do_retrying(&hub->http, request, hub->tries ? hub->tries : HUB_TRIES, hub->arena, response, err))
		return false;
	if (!blames_token(hub, response))
		return true;
	request->bearer = NULL;
	request->secret_cookie = NULL;
	if (http_do_retrying(&hub->http, request, 1, hub->arena, &without, &ignored) && without.status < 400) {
		hub->note = arena_printf(hub->arena, "the token of %s was refused; it went on without one", hub->token_origin);
		http_response_finish(response);
		*response = without;
		secret_finish(&hub->token);
		hub->token = (struct secret){ 0 };
	} else {
		http_response_finish(&without);
	}
	return true;
}

bool
hub_get(struct hub *hub, const char *url, const char *what, struct http_response *response, struct error *err)
{
	struct http_request request;

	hub_request(hub, url, &request);
	request.limit = LONGEST_ANSWER;
	if (!do_with_token(hub, &request, response, err))
		return error_wrap(err, "%s", what);
	if (response->partial && response->status < 300) {
		fail(err, FAULT_NETWORK, "%s: the answer of `%s` %s", what, http_host(hub->arena, response->location),
			response->stalled ? "came to a halt" : "ended too early");
		http_response_finish(response);
		return false;
	}
	return true;
}

bool
hub_get_json(struct hub *hub, const char *url, const char *what, struct http_response *head, json_t **value, struct error *err)
{
	struct http_response response finally(http_response_finish) = { 0 };
	const char *type;

	if (!hub_get(hub, url, what, &response, err))
		return false;
	type = http_header(&response, "content-type");
	if (response.status != 200 || (type && strncasecmp(type, "text/html", 9) == 0))
		return hub_fail(hub, what, &response, err);
	if (!json_parse(response.body.data, response.body.size, what, value, err))
		return error_wrap(err, "%s", http_host(hub->arena, url));
	if (head) {
		*head = response;
		buf_finish(&head->body);
		response.body = (struct buf){ 0 };
		head->body = (struct buf){ 0 };
	}
	return true;
}

bool
hub_resolve(struct hub *hub, const char **commit, struct error *err)
{
	const struct hub_protocol *protocol = hub_protocol(hub);

	if (!protocol->resolve) {
		*commit = "";
		return true;
	}
	if (hub->source.revision && hub_is_commit(hub->source.revision)) {
		*commit = hub->source.revision;
		return true;
	}
	return protocol->resolve(hub, commit, err);
}

static int
by_path(const void *a, const void *b)
{
	const struct hub_file *left = a, *right = b;

	return strcmp(left->path, right->path);
}

static struct hub_file *
find_file(struct hub_file *files, size_t count, const char *path)
{
	struct hub_file key = { .path = path };

	return bsearch(&key, files, count, sizeof *files, by_path);
}

/* The manifest's own list overrules what the hub says of the same file. */
static bool
overrule(const struct hub *hub, struct hub_files *files, struct error *err)
{
	struct hub_file *named;
	size_t count;

	if (!hub->checksums)
		return true;
	if (!hub_load_checksums(hub, &named, &count, err))
		return false;
	for (size_t i = 0; i < files->count; i++) {
		const struct hub_file *better = find_file(named, count, files->items[i].path);

		if (better)
			files->items[i].checksum = better->checksum;
	}
	return true;
}

bool
hub_list(struct hub *hub, const char *commit, struct hub_listing *listing, struct error *err)
{
	struct hub_files files = { .arena = hub->arena };

	if (!hub_protocol(hub)->list(hub, commit, &files, err))
		return false;
	if (files.count == 0)
		return fail(err, FAULT_HUB_NOT_FOUND, "`%s` has no files", hub_source_name(&hub->source, hub->arena));
	qsort(files.items, files.count, sizeof *files.items, by_path);
	if (!overrule(hub, &files, err))
		return false;
	*listing = (struct hub_listing){ .commit = commit, .files = files.items, .count = files.count };
	return true;
}

const char *
hub_file_url(const struct hub *hub, const char *commit, const char *file, const char **path, struct arena *arena)
{
	const struct hub_protocol *protocol = hub_protocol(hub);

	*path = NULL;
	if (protocol->url)
		return protocol->url(hub, commit, file, arena);
	*path = arena_printf(arena, "%s/%s", strcmp(hub->source.base, "/") == 0 ? "" : hub->source.base, file);
	return NULL;
}
