#include "hub_protocol.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/file.h"

#define LIST_NAME "SHA256SUMS"
#define LONGEST_LIST ((size_t)16 << 20)
#define MOST_PROBES 256
#define DEEPEST 32

/* ---- over HTTP ---- */

static const char *
http_url(const struct hub *hub, const char *commit, const char *file, struct arena *arena)
{
	(void)commit;
	return arena_printf(arena, "%s/%s", hub->source.base, http_escape(arena, file, "/"));
}

static bool
fetch_list(struct hub *hub, struct hub_file **files, size_t *count, struct error *err)
{
	struct http_response response finally(http_response_finish) = { 0 };
	const char *url = http_url(hub, "", LIST_NAME, hub->arena), *type;

	if (!hub_get(hub, url, LIST_NAME, &response, err))
		return false;
	type = http_header(&response, "content-type");
	if (response.status != 200 || (type && strncasecmp(type, "text/html", 9) == 0)) {
		hub_fail(hub, LIST_NAME, &response, err);
		return error_hint(err, "a directory needs a list of digests: put " LIST_NAME " there, or name one with `checksums:`");
	}
	if (response.body.size > LONGEST_LIST)
		return fail(err, FAULT_CHECKSUM_LIST, "`%s` is longer than %zu bytes", secret_url_shown(hub->arena, url), LONGEST_LIST);
	return hub_parse_checksums(response.body.data, response.body.size, secret_url_shown(hub->arena, url), hub->arena, files,
		count, err);
}

/* A size is wanted for the plan and for the disk; who does not tell it is still good for the bytes. */
static uint64_t
probe_size(struct hub *hub, const char *file, bool *answers)
{
	struct http_response response finally(http_response_finish) = { 0 };
	struct http_request request;
	struct error ignored;
	const char *length;
	uint64_t size = 0;

	hub_request(hub, http_url(hub, "", file, hub->arena), &request);
	request.method = "HEAD";
	*answers = http_do(&hub->http, &request, hub->arena, &response, &ignored);
	if (!*answers || response.status != 200)
		return UINT64_MAX;
	length = http_header(&response, "content-length");
	if (!length || *length == '\0' || strlen(length) > 16 || strspn(length, "0123456789") != strlen(length))
		return UINT64_MAX;
	for (; *length; length++)
		size = size * 10 + (uint64_t)(*length - '0');
	return size < HUB_MOST_SIZE ? size : UINT64_MAX;
}

static bool
http_list(struct hub *hub, const char *commit, struct hub_files *files, struct error *err)
{
	struct hub_file *named;
	bool answers = true;
	size_t count;

	(void)commit;
	if (!(hub->checksums ? hub_load_checksums(hub, &named, &count, err) : fetch_list(hub, &named, &count, err)))
		return false;
	for (size_t i = 0; i < count; i++) {
		/* Whom the first one did not get an answer from would let all of them wait. */
		if (count <= MOST_PROBES && answers)
			named[i].size = probe_size(hub, named[i].path, &answers);
		if (!hub_add_file(files, &named[i], err))
			return false;
	}
	return true;
}

const struct hub_protocol hub_http = { .name = "http", .list = http_list, .url = http_url };

/* ---- on this machine ---- */

/* Directories and files that clients keep beside a repository's own. */
static bool
is_bookkeeping(const char *name)
{
	static const char *const names[] = { ".", "..", ".git", ".cache", ".provision", "._____temp", ".msc", ".mdl", ".mv" };

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

struct walk {
	struct hub *hub;
	struct hub_files *files;
	const char *base; /* for messages */
};

static bool
walk_directory(const struct walk *walk, int fd, const char *prefix, unsigned depth, struct error *err);

/* Symlinks to files are followed: in the cache of a hub's client every file is one. Symlinks to directories are not. */
static bool
walk_entry(const struct walk *walk, int dirfd, const char *name, const char *path, unsigned depth, struct error *err)
{
	struct hub_file file = { .path = path };
	struct stat own, st;

	if (fstatat(dirfd, name, &own, AT_SYMLINK_NOFOLLOW) != 0 || fstatat(dirfd, name, &st, 0) != 0)
		return fail_errno(err, "`%s/%s`", walk->base, path);
	if (S_ISDIR(own.st_mode))
		return walk_directory(walk, openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), path, depth + 1, err);
	if (!S_ISREG(st.st_mode))
		return true;
	file.size = (uint64_t)st.st_size;
	return hub_add_file(walk->files, &file, err);
}

static bool
walk_directory(const struct walk *walk, int fd, const char *prefix, unsigned depth, struct error *err)
{
	DIR *dir finally(close_dir) = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *entry;

	if (!dir) {
		fail_errno(err, "read `%s/%s`", walk->base, prefix);
		close_fd(&fd);
		return false;
	}
	if (depth > DEEPEST)
		return fail(err, FAULT_TOO_LARGE, "`%s` is deeper than %d directories", walk->base, DEEPEST);
	while (errno = 0, (entry = readdir(dir))) {
		const char *path;

		if (is_bookkeeping(entry->d_name))
			continue;
		path = *prefix ? arena_printf(walk->hub->arena, "%s/%s", prefix, entry->d_name) : arena_copy(walk->hub->arena, entry->d_name);
		if (!walk_entry(walk, dirfd(dir), entry->d_name, path, depth, err))
			return false;
	}
	return errno == 0 || fail_errno(err, "read `%s/%s`", walk->base, prefix);
}

/* Every file that a list names must be there. */
static bool
add_named(struct hub *hub, struct hub_file *named, size_t count, struct hub_files *files, struct error *err)
{
	for (size_t i = 0; i < count; i++) {
		const char *path = arena_printf(hub->arena, "%s/%s", hub->source.base, named[i].path);
		struct stat st;

		if (stat(path, &st) != 0)
			return fail_errno(err, "`%s`, which the checksum list names", path);
		if (!S_ISREG(st.st_mode))
			return fail(err, FAULT_NOT_FOUND, "`%s`, which the checksum list names, is no file", path);
		named[i].size = (uint64_t)st.st_size;
		if (!hub_add_file(files, &named[i], err))
			return false;
	}
	return true;
}

static bool
here_list(struct hub *hub, const char *commit, struct hub_files *files, struct error *err)
{
	const char *base = hub->source.base, *list = arena_printf(hub->arena, "%s/" LIST_NAME, base), *text;
	struct walk walk = { .hub = hub, .files = files, .base = base };
	struct hub_file *named;
	struct stat st;
	size_t count, size;

	(void)commit;
	if (hub->checksums)
		return hub_load_checksums(hub, &named, &count, err) && add_named(hub, named, count, files, err);
	if (stat(list, &st) == 0)
		return file_load(list, LONGEST_LIST, hub->arena, &text, &size, err) &&
			hub_parse_checksums(text, size, list, hub->arena, &named, &count, err) &&
			add_named(hub, named, count, files, err);
	if (stat(base, &st) != 0)
		return fail_errno(err, "the source `%s`", hub->source.text);
	if (hub->source.kind == HUB_FILE) {
		fail(err, FAULT_NO_DIGEST, "`%s` has no list of digests", hub->source.text);
		return error_hint(err, "put " LIST_NAME " there, or name one with `checksums:`");
	}
	return walk_directory(&walk, open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC), "", 0, err);
}

const struct hub_protocol hub_here = { .name = "file", .list = here_list };
