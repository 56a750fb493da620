#include "hub_protocol.h"

#include <string.h>
#include <strings.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/units.h"

#define CHINA "https://modelscope.cn"
#define ABROAD "https://www.modelscope.ai"
#define MODE_SYMLINK 40960

static const char *
revision_name(const struct hub *hub)
{
	return hub->source.revision ? hub->source.revision : "master";
}

static const char *
revision_asked(const struct hub *hub, const char *commit)
{
	return hub->by_name || *commit == '\0' ? revision_name(hub) : commit;
}

/* Field names come in two spellings. */
static const json_t *
field(const json_t *object, const char *upper, const char *lower)
{
	const json_t *value = json_object_get(object, upper);

	return value ? value : json_object_get(object, lower);
}

static const char *
text_field(const json_t *object, const char *upper, const char *lower)
{
	return json_string_value(field(object, upper, lower));
}

static bool
number_field(const json_t *object, const char *upper, const char *lower, int64_t *value)
{
	const json_t *found = field(object, upper, lower);

	if (json_is_string(found))
		return units_int(json_string_value(found), value);
	if (!json_is_integer(found))
		return false;
	*value = json_integer_value(found);
	return true;
}

/* Words of an error in an answer that calls itself 200, and the status that they stand for. */
static const struct {
	const char *words;
	long status;
} complaints[] = {
	{ "\xe4\xb8\x8d\xe5\xad\x98\xe5\x9c\xa8", 404 },                 /* "does not exist" */
	{ "not exist", 404 },
	{ "not found", 404 },
	{ "\xe6\x9c\xaa\xe7\x99\xbb\xe5\xbd\x95", 401 },                 /* "not logged in" */
	{ "not logged in", 401 },
};

static long
status_of(int64_t code, const char *message)
{
	if (code >= 400 && code < 600)
		return (long)code;
	for (size_t i = 0; message && i < sizeof complaints / sizeof *complaints; i++)
		if (strcasestr(message, complaints[i].words))
			return complaints[i].status;
	return 400;
}

/* `Data` of an answer; an error within HTTP 200 is one. */
static bool
get_data(struct hub *hub, const char *url, const char *what, json_t **envelope, const json_t **data, struct error *err)
{
	struct http_response response finally(http_response_finish) = { 0 };
	const char *type;
	int64_t code;

	if (!hub_get(hub, url, what, &response, err))
		return false;
	type = http_header(&response, "content-type");
	if (response.status != 200 || (type && strncasecmp(type, "text/html", 9) == 0))
		return hub_fail(hub, what, &response, err);
	if (!json_parse(response.body.data, response.body.size, what, envelope, err))
		return error_wrap(err, "%s", http_host(hub->arena, url));
	if (!json_is_object(*envelope) || !number_field(*envelope, "Code", "code", &code))
		return fail(err, FAULT_PROTOCOL, "%s: `%s` did not answer as ModelScope does", what, http_host(hub->arena, url));
	if (code != 200) {
		response.status = status_of(code, text_field(*envelope, "Message", "message"));
		return hub_fail(hub, what, &response, err);
	}
	*data = field(*envelope, "Data", "data");
	return true;
}

static bool
newest_commit(struct hub *hub, const char **commit, struct error *err)
{
	json_t *envelope finally(json_release) = NULL;
	const json_t *data = NULL;
	const char *what = arena_printf(hub->arena, "revision `%s`", revision_name(hub)), *id;
	const char *url = arena_printf(hub->arena, "%s/api/v1/models/%s/commits?Ref=%s&PageNumber=1&PageSize=1",
		hub->source.endpoint, hub->source.repo, http_escape(hub->arena, revision_name(hub), NULL));

	if (!get_data(hub, url, what, &envelope, &data, err))
		return false;
	data = field(data, "Commit", "Commits");
	id = text_field(json_array_get(data, 0), "Id", "id");
	if (!id || !hub_is_commit(id))
		return fail(err, FAULT_PROTOCOL, "%s: `%s` names no commit", what, http_host(hub->arena, url));
	*commit = arena_copy(hub->arena, id);
	return true;
}

/* The same name may live on the site for the other half of the world; a token belongs to one of them alone. */
static bool
move_abroad(struct hub *hub)
{
	if (strcmp(hub->source.endpoint, CHINA) != 0)
		return false;
	hub->source.endpoint = ABROAD;
	secret_finish(&hub->token);
	hub->token = (struct secret){ 0 };
	return true;
}

static bool
resolve(struct hub *hub, const char **commit, struct error *err)
{
	struct error abroad;

	if (newest_commit(hub, commit, err))
		return true;
	if (err->fault != FAULT_HUB_NOT_FOUND || !move_abroad(hub))
		return false;
	if (newest_commit(hub, commit, &abroad))
		return true;
	hub->source.endpoint = CHINA;
	return false;
}

static bool
read_entry(struct hub *hub, const json_t *entry, struct hub_files *files, struct error *err)
{
	const char *path = text_field(entry, "Path", "path"), *type = text_field(entry, "Type", "type");
	const char *sha256 = text_field(entry, "Sha256", "sha256");
	struct hub_file file = { 0 };
	int64_t size = -1, mode = 0;

	if (!path || !type)
		return fail(err, FAULT_PROTOCOL, "the listing holds an entry without a path or type");
	if (strcmp(type, "tree") == 0)
		return true;
	if (!number_field(entry, "Size", "size", &size) || size < 0)
		return fail(err, FAULT_PROTOCOL, "the listing gives an entry no size");
	file.path = arena_copy(hub->arena, path);
	file.size = (uint64_t)size;
	if (strcmp(type, "blob") != 0)
		file.refusal = "neither a file nor a directory";
	if (number_field(entry, "Mode", "mode", &mode) && mode == MODE_SYMLINK)
		file.refusal = "a symlink";
	if (sha256 && *sha256 && !checksum_parse(CHECKSUM_SHA256, sha256, &file.checksum))
		return fail(err, FAULT_PROTOCOL, "the listing holds a Sha256 that is none");
	return hub_add_file(files, &file, err);
}

static bool
list_revision(struct hub *hub, const char *revision, struct hub_files *files, struct error *err)
{
	json_t *envelope finally(json_release) = NULL;
	const json_t *data = NULL, *entries, *entry;
	const char *url = arena_printf(hub->arena, "%s/api/v1/models/%s/repo/files?Revision=%s&Recursive=True",
		hub->source.endpoint, hub->source.repo, http_escape(hub->arena, revision, NULL));
	size_t i;

	if (!get_data(hub, url, "listing", &envelope, &data, err))
		return false;
	entries = json_is_array(data) ? data : field(data, "Files", "files");
	if (entries && !json_is_array(entries) && !json_is_null(entries))
		return fail(err, FAULT_PROTOCOL, "the listing of `%s` is no list", http_host(hub->arena, url));
	json_array_foreach(entries, i, entry)
		if (!read_entry(hub, entry, files, err))
			return false;
	return true;
}

/* Whether the hub takes a commit for a revision is not documented; where it does not, the name stands for the commit as long as it still means it. */
static bool
list(struct hub *hub, const char *commit, struct hub_files *files, struct error *err)
{
	const char *now;

	if (list_revision(hub, revision_asked(hub, commit), files, err))
		return true;
	if (err->fault != FAULT_HUB_NOT_FOUND || hub->by_name || (hub->source.revision && hub_is_commit(hub->source.revision)))
		return false;
	hub->by_name = true;
	files->count = 0;
	if (!list_revision(hub, revision_name(hub), files, err) || !newest_commit(hub, &now, err))
		return false;
	if (*commit == '\0' || strcmp(now, commit) == 0)
		return true;
	fail(err, FAULT_HUB_NOT_FOUND, "`modelscope:%s`: `%s` is no longer commit %.12s but %.12s, and the hub gives no older one",
		hub->source.repo, revision_name(hub), commit, now);
	return error_hint(err, "`--refresh` takes the newer one");
}

static const char *
file_url(const struct hub *hub, const char *commit, const char *file, struct arena *arena)
{
	return arena_printf(arena, "%s/api/v1/models/%s/repo?Revision=%s&FilePath=%s", hub->source.endpoint, hub->source.repo,
		http_escape(arena, revision_asked(hub, commit), NULL), http_escape(arena, file, NULL));
}

const struct hub_protocol hub_modelscope = {
	.name = "modelscope",
	.endpoint = CHINA,
	.cookie = "m_session_id",
	.wants_id = true,
	.resolve = resolve,
	.list = list,
	.url = file_url,
};
