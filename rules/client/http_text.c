#include "http.h"

#include <string.h>
#include <strings.h>

#include "engine/base/arena.h"
#include "http_hop.h"
#include "url.h"

static const struct {
	long least, most;
	enum fault fault;
	const char *words;
} meanings[] = {
	{ 401, 401, FAULT_HUB_DENIED, "it wants a valid token (401)" },
	{ 403, 403, FAULT_HUB_DENIED, "access is denied (403)" },
	{ 404, 404, FAULT_HUB_NOT_FOUND, "not found (404)" },
	{ 410, 410, FAULT_HUB_NOT_FOUND, "gone (410)" },
	{ 408, 408, FAULT_NETWORK, "the server gave up waiting (408)" },
	{ 429, 429, FAULT_RATE_LIMIT, "too many requests (429)" },
	{ 500, 599, FAULT_NETWORK, "the server failed (5xx)" },
};

bool
http_fail_status(const char *what, const struct http_response *response, struct error *err)
{
	long status = response->status;

	for (size_t i = 0; i < sizeof meanings / sizeof *meanings; i++)
		if (status >= meanings[i].least && status <= meanings[i].most)
			return fail(err, meanings[i].fault, "%s: %s", what, meanings[i].words);
	return fail(err, FAULT_PROTOCOL, "%s: unexpected status %ld", what, status);
}

const char *
http_header(const struct http_response *response, const char *name)
{
	return pairs_get(&response->headers, name);
}

static bool
read_number(const char **text, uint64_t *value)
{
	const char *at = *text;

	for (*value = 0; *at >= '0' && *at <= '9'; at++)
		if (__builtin_mul_overflow(*value, 10u, value) || __builtin_add_overflow(*value, (unsigned)(*at - '0'), value))
			return false;
	if (at == *text)
		return false;
	*text = at;
	return true;
}

static bool
read_char(const char **text, char c)
{
	if (**text != c)
		return false;
	++*text;
	return true;
}

bool
http_content_range(const struct http_response *response, uint64_t *from, uint64_t *to, uint64_t *total)
{
	const char *text = http_header(response, "content-range");
	uint64_t a, b, t = UINT64_MAX;

	if (!text || strncasecmp(text, "bytes ", 6) != 0)
		return false;
	text += 6;
	if (!read_number(&text, &a) || !read_char(&text, '-') || !read_number(&text, &b) || !read_char(&text, '/'))
		return false;
	if (!read_char(&text, '*') && !read_number(&text, &t))
		return false;
	if (*text != '\0' || b < a || (t != UINT64_MAX && b >= t))
		return false;
	*from = a;
	*to = b;
	*total = t;
	return true;
}

const char *
http_escape(struct arena *arena, const char *text, const char *keep)
{
	static const char digits[] = "0123456789ABCDEF";
	char *out = arena_alloc(arena, strlen(text) * 3 + 1), *to = out;

	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;
		bool plain = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || strchr("_.-~", c) ||
			(keep && strchr(keep, c));

		if (plain) {
			*to++ = (char)c;
			continue;
		}
		*to++ = '%';
		*to++ = digits[c >> 4];
		*to++ = digits[c & 15];
	}
	return out;
}

bool
http_same_origin(const char *a, const char *b)
{
	struct url left, right;
	const char *why;

	return url_split(a, &left, &why) && url_split(b, &right, &why) && url_same_origin(&left, &right);
}

bool
http_is_loopback(const char *url)
{
	struct url parts;
	const char *why;

	return url_split(url, &parts, &why) && url_is_loopback(&parts);
}

const char *
http_host(struct arena *arena, const char *url)
{
	char name[264];

	return arena_copy(arena, http_shown_host(url, name));
}
