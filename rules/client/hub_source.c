#include "hub_protocol.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/file.h"
#include "engine/base/suggest.h"
#include "url.h"

static const char *const hub_words[] = { "huggingface", "modelscope", NULL };

/* Base URLs that count as the public hub, where tokens of the environment may go. */
static const struct {
	enum hub_kind kind;
	const char *url;
} public_endpoints[] = {
	{ HUB_HUGGINGFACE, "https://huggingface.co" },
	{ HUB_MODELSCOPE, "https://modelscope.cn" },
	{ HUB_MODELSCOPE, "https://www.modelscope.cn" },
	{ HUB_MODELSCOPE, "https://www.modelscope.ai" },
};

static bool
is_word(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

static const char *
without_slashes(struct arena *arena, const char *text)
{
	size_t size = strlen(text);

	while (size > 0 && text[size - 1] == '/')
		size--;
	return arena_copy_bytes(arena, text, size);
}

static bool
part_is_good(const char *part, size_t size, const char **why)
{
	*why = "a repository is ORG/NAME, of letters, digits, `.`, `_` and `-`";
	for (size_t i = 0; i < size; i++)
		if (!is_word(part[i]))
			return false;
	if (size == 0)
		return false;
	*why = "neither half of a repository's name has more than 96 characters";
	if (size > 96)
		return false;
	*why = "neither half of a repository's name begins or ends with `-` or `.`";
	return !strchr("-.", part[0]) && !strchr("-.", part[size - 1]);
}

/* The rules of the official client, so that whatever passes is put into a URL as it is. */
static bool
repo_is_good(const char *repo, const char **why)
{
	const char *slash = strchr(repo, '/');

	*why = "a repository is ORG/NAME";
	if (!slash || !part_is_good(repo, (size_t)(slash - repo), why) || !part_is_good(slash + 1, strlen(slash + 1), why))
		return false;
	*why = "a repository's name holds no `--` or `..` and does not end with `.git`";
	return !strstr(repo, "--") && !strstr(repo, "..") && !text_ends(repo, ".git");
}

static bool
revision_is_good(const char *revision)
{
	if (*revision == '\0' || strlen(revision) > 255)
		return false;
	for (const char *c = revision; *c; c++)
		if ((unsigned char)*c <= ' ' || *c == 0x7f)
			return false;
	return true;
}

static const char *
environment_endpoint(enum hub_kind kind, struct arena *arena)
{
	const char *url = getenv(kind == HUB_HUGGINGFACE ? "HF_ENDPOINT" : "MODELSCOPE_ENDPOINT");
	const char *domain = kind == HUB_MODELSCOPE ? getenv("MODELSCOPE_DOMAIN") : NULL;

	if (url && *url)
		return arena_copy(arena, url);
	return domain && *domain ? arena_printf(arena, "https://%s", domain) : NULL;
}

static bool
set_endpoint(const char *endpoint, struct arena *arena, struct hub_source *source, struct error *err)
{
	const char *chosen = endpoint ? endpoint : environment_endpoint(source->kind, arena), *why = NULL;
	const struct hub_protocol *protocol = source->kind == HUB_HUGGINGFACE ? &hub_huggingface : &hub_modelscope;
	struct url parts;

	source->endpoint = without_slashes(arena, chosen ? chosen : protocol->endpoint);
	if (!url_split(source->endpoint, &parts, &why))
		return fail(err, FAULT_BAD_VALUE, "endpoint `%s`: %s", source->endpoint, why);
	if ((!url_has_scheme(&parts, "https") && !url_has_scheme(&parts, "http")) || parts.user_info || strpbrk(parts.path, "?#"))
		return fail(err, FAULT_BAD_VALUE, "endpoint `%s` is no plain http(s) URL", secret_url_shown(arena, source->endpoint));
	for (size_t i = 0; i < sizeof public_endpoints / sizeof *public_endpoints; i++)
		if (source->kind == public_endpoints[i].kind && strcmp(source->endpoint, public_endpoints[i].url) == 0)
			source->endpoint_is_public = true;
	return true;
}

static bool
parse_hub(const char *text, enum hub_kind kind, const char *endpoint, struct arena *arena, struct hub_source *source,
	struct error *err)
{
	const char *rest = strchr(text, ':') + 1, *at = strchr(rest, '@'), *why;

	source->kind = kind;
	source->repo = at ? arena_copy_bytes(arena, rest, (size_t)(at - rest)) : arena_copy(arena, rest);
	source->revision = at ? arena_copy(arena, at + 1) : NULL;
	if (!repo_is_good(source->repo, &why))
		return fail(err, FAULT_BAD_VALUE, "source `%s`: %s", text, why);
	if (at && !revision_is_good(at + 1))
		return fail(err, FAULT_BAD_VALUE, "source `%s`: a commit, branch or tag stands behind `@`", text);
	return set_endpoint(endpoint, arena, source, err);
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The path of a file:// URL, `file://./` being below `base_dir`; NULL if it names a host or cannot be unescaped. */
static const char *
file_path(const char *text, const char *base_dir, struct arena *arena)
{
	const char *from = text + strlen("file://");
	char *path, *to;

	if (text_starts(from, "localhost/"))
		from += strlen("localhost");
	if (text_starts(from, "./"))
		from = path_absolute(arena, base_dir, from);
	if (*from != '/')
		return NULL;
	path = to = arena_alloc(arena, strlen(from) + 1);
	for (; *from; from++) {
		int high = *from == '%' ? hex_digit(from[1]) : -1, low = high >= 0 ? hex_digit(from[2]) : -1;

		if (*from != '%') {
			*to++ = *from;
			continue;
		}
		if (low < 0 || high * 16 + low < ' ')
			return NULL;
		*to++ = (char)(high * 16 + low);
		from += 2;
	}
	return path;
}

static bool
parse_http(const char *text, struct arena *arena, struct hub_source *source, struct error *err)
{
	const char *why = NULL, *shown = secret_url_shown(arena, text);
	struct url parts;

	source->kind = HUB_HTTP;
	source->base = without_slashes(arena, text);
	if (!url_split(text, &parts, &why))
		return fail(err, FAULT_BAD_VALUE, "source `%s`: %s", shown, why);
	if (parts.user_info)
		return fail(err, FAULT_BAD_VALUE, "source `%s`: a URL holds no user name or password; use `token:`", shown);
	if (strpbrk(parts.path, "?#"))
		return fail(err, FAULT_BAD_VALUE, "source `%s`: the URL of a directory has no `?` or `#`", shown);
	return true;
}

/* `word:` that is no known hub: a slip of the pen rather than a path, which can be written with `./` in front. */
static bool
looks_like_hub(const char *text, struct arena *arena, const char **word)
{
	const char *colon = strchr(text, ':');

	if (!colon || colon == text)
		return false;
	for (const char *c = text; c < colon; c++)
		if (!is_word(*c) || *c == '.')
			return false;
	*word = arena_copy_bytes(arena, text, (size_t)(colon - text));
	return true;
}

bool
hub_parse(const char *text, const char *endpoint, const char *base_dir, struct arena *arena, struct hub_source *source,
	struct error *err)
{
	struct hub_source found = { .text = arena_copy(arena, text) };
	const char *word, *near;
	bool good = true;

	if (text_starts(text, "huggingface:"))
		good = parse_hub(text, HUB_HUGGINGFACE, endpoint, arena, &found, err);
	else if (text_starts(text, "modelscope:"))
		good = parse_hub(text, HUB_MODELSCOPE, endpoint, arena, &found, err);
	else if (text_starts(text, "https://") || text_starts(text, "http://"))
		good = parse_http(text, arena, &found, err);
	else if (text_starts(text, "file://"))
		found = (struct hub_source){ .kind = HUB_FILE, .text = found.text, .base = file_path(text, base_dir, arena) };
	else if (looks_like_hub(text, arena, &word)) {
		near = suggest(word, hub_words);
		fail(err, FAULT_BAD_VALUE, "source `%s`: no hub is called `%s`", text, word);
		return near ? error_hint(err, "did you mean `%s`?", near) : error_hint(err, "a path with a colon begins with `./`");
	} else if (*text)
		found = (struct hub_source){ .kind = HUB_LOCAL, .text = found.text, .base = path_absolute(arena, base_dir, text) };
	if (!good)
		return false;
	if (!found.repo && !found.base)
		return fail(err, FAULT_BAD_VALUE, *text ? "source `%s` is no URL of a directory on this machine" : "a source is empty%s",
			text);
	if (endpoint && !found.repo)
		return fail(err, FAULT_CONFLICT, "`endpoint` goes with a hub alone, and `%s` is none", text);
	*source = found;
	return true;
}

const char *
hub_source_name(const struct hub_source *source, struct arena *arena)
{
	switch (source->kind) {
	case HUB_HUGGINGFACE:
		return arena_printf(arena, "huggingface:%s", source->repo);
	case HUB_MODELSCOPE:
		return arena_printf(arena, "modelscope:%s", source->repo);
	case HUB_HTTP:
		return secret_url_shown(arena, source->base);
	case HUB_FILE:
		return arena_printf(arena, "file://%s", source->base);
	case HUB_LOCAL:
		break;
	}
	return source->base;
}
