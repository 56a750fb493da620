#include "hub_protocol.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/units.h"

#define PUBLIC "https://huggingface.co"
#define MOST_PAGES 1000

static const char *
encoded_revision(const struct hub *hub)
{
	return http_escape(hub->arena, hub->source.revision ? hub->source.revision : "main", NULL);
}

static bool
resolve(struct hub *hub, const char **commit, struct error *err)
{
	json_t *info finally(json_release) = NULL;
	const char *url = arena_printf(hub->arena, "%s/api/models/%s/revision/%s", hub->source.endpoint, hub->source.repo,
		encoded_revision(hub));
	const char *what = arena_printf(hub->arena, "revision `%s`", hub->source.revision ? hub->source.revision : "main");
	const char *sha;

	if (!hub_get_json(hub, url, what, NULL, &info, err))
		return false;
	sha = json_string_at(info, "sha");
	if (!sha || !hub_is_commit(sha))
		return fail(err, FAULT_PROTOCOL, "%s: `%s` names no commit", what, http_host(hub->arena, url));
	*commit = arena_copy(hub->arena, sha);
	return true;
}

/* The blob id of a file in LFS is that of its pointer: so commit, tree and content hang together, whoever answers. */
static bool
pointer_fits(const char *oid, const char *sha256, uint64_t size)
{
	char text[200];
	int length = snprintf(text, sizeof text, "version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %" PRIu64 "\n",
		sha256, size);
	struct hasher hasher finally(hasher_finish) = { 0 };
	struct checksum made, said;

	hasher_init_git(&hasher, (uint64_t)length);
	hasher_add(&hasher, text, (size_t)length);
	hasher_checksum(&hasher, &made);
	return checksum_parse(CHECKSUM_GIT, oid, &said) && checksum_equal(&made, &said);
}

static bool
read_lfs(const json_t *entry, struct hub_file *file, const char *oid, struct error *err)
{
	const char *sha256 = json_string_at(entry, "lfs.oid");
	int64_t size;

	if (!sha256 || !checksum_parse(CHECKSUM_SHA256, sha256, &file->checksum) || !json_int_at(entry, "lfs.size", &size) ||
		size < 0 || (uint64_t)size != file->size)
		return fail(err, FAULT_PROTOCOL, "the listing does not describe `%s` in full", file->path);
	if (!pointer_fits(oid, sha256, file->size)) {
		fail(err, FAULT_PROTOCOL, "the listing contradicts itself: the blob id of `%s` is not that of its LFS pointer", file->path);
		return error_hint(err, "the listing was altered on its way, or the mirror is broken; ask another endpoint");
	}
	return true;
}

static bool
read_entry(struct hub *hub, const json_t *entry, struct hub_files *files, struct error *err)
{
	const char *type = json_string_at(entry, "type"), *path = json_string_at(entry, "path"), *oid = json_string_at(entry, "oid");
	struct hub_file file = { 0 };
	int64_t size = -1;

	if (!type || !path)
		return fail(err, FAULT_PROTOCOL, "the listing holds an entry without a path or type");
	if (strcmp(type, "directory") == 0)
		return true;
	file.path = arena_copy(hub->arena, path);
	if (strcmp(type, "file") != 0) {
		file.refusal = "neither a file nor a directory";
		return hub_add_file(files, &file, err);
	}
	if (!json_int_at(entry, "size", &size) || size < 0 || !oid)
		return fail(err, FAULT_PROTOCOL, "the listing gives an entry no size or no id");
	file.size = (uint64_t)size;
	if (!hub_add_file(files, &file, err))
		return false;
	if (json_at(entry, "lfs"))
		return read_lfs(entry, &files->items[files->count - 1], oid, err);
	if (!checksum_parse(CHECKSUM_GIT, oid, &files->items[files->count - 1].checksum))
		return fail(err, FAULT_PROTOCOL, "the listing gives `%s` an id that is none", file.path);
	return true;
}

/* The URL of `rel="next"`; links of other kinds, and commas within `<...>`, are passed over. */
static const char *
next_link(const char *header, struct arena *arena)
{
	while (header && (header = strchr(header, '<'))) {
		const char *end = strchr(header, '>'), *following, *rel;

		if (!end)
			return NULL;
		following = strchr(end, '<');
		rel = strstr(end, "rel=\"next\"");
		if (!rel)
			rel = strstr(end, "rel=next");
		if (rel && (!following || rel < following))
			return arena_copy_bytes(arena, header + 1, (size_t)(end - header - 1));
		header = following;
	}
	return NULL;
}

/* A mirror hands out links to the public hub: the rest of the conversation stays with the endpoint that was chosen. */
static bool
rewrite_link(const struct hub *hub, const char *link, const char **url, struct error *err)
{
	const char *endpoint = hub->source.endpoint;

	if (*link == '/')
		*url = arena_printf(hub->arena, "%s%s", endpoint, link);
	else if (http_same_origin(link, endpoint))
		*url = link;
	else if (http_same_origin(link, PUBLIC))
		*url = arena_printf(hub->arena, "%s%s", endpoint, link + strlen(PUBLIC));
	else
		return fail(err, FAULT_PROTOCOL, "the listing goes on at `%s`, which is not `%s`", http_host(hub->arena, link),
			http_host(hub->arena, endpoint));
	return true;
}

static bool
read_page(struct hub *hub, const char *url, struct hub_files *files, const char **next, struct error *err)
{
	struct http_response head finally(http_response_finish) = { 0 };
	json_t *page finally(json_release) = NULL;
	const char *link;
	const json_t *entry;
	size_t i;

	if (!hub_get_json(hub, url, "listing", &head, &page, err))
		return false;
	if (!json_is_array(page))
		return fail(err, FAULT_PROTOCOL, "the listing of `%s` is no list", http_host(hub->arena, url));
	json_array_foreach(page, i, entry)
		if (!read_entry(hub, entry, files, err))
			return false;
	link = next_link(http_header(&head, "link"), hub->arena);
	*next = NULL;
	return !link || rewrite_link(hub, link, next, err);
}

static bool
list(struct hub *hub, const char *commit, struct hub_files *files, struct error *err)
{
	const char *url = arena_printf(hub->arena, "%s/api/models/%s/tree/%s?recursive=True", hub->source.endpoint,
		hub->source.repo, commit);
	int64_t end = clock_monotonic_ms() + hub_patience_ms(hub);

	for (unsigned page = 0; url; page++) {
		const char *next = NULL;

		if (clock_monotonic_ms() > end)
			return fail(err, FAULT_NETWORK, "the listing of `%s` has not ended after %s", hub->source.repo,
				units_show_duration(hub->arena, hub_patience_ms(hub)));
		if (page == MOST_PAGES)
			return fail(err, FAULT_PROTOCOL, "the listing of `%s` has more than %d pages", hub->source.repo, MOST_PAGES);
		if (!read_page(hub, url, files, &next, err))
			return false;
		if (next && strcmp(next, url) == 0)
			return fail(err, FAULT_PROTOCOL, "the listing of `%s` goes round in a circle", hub->source.repo);
		url = next;
	}
	return true;
}

static const char *
file_url(const struct hub *hub, const char *commit, const char *file, struct arena *arena)
{
	return arena_printf(arena, "%s/%s/resolve/%s/%s", hub->source.endpoint, hub->source.repo, commit,
		http_escape(arena, file, "/"));
}

const struct hub_protocol hub_huggingface = {
	.name = "huggingface",
	.endpoint = PUBLIC,
	.resolve = resolve,
	.list = list,
	.url = file_url,
};
