#include "secret.h"

#include <string.h>

#include "arena.h"
#include "strings.h"

static bool
is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static size_t
letters_at(const char *text)
{
	size_t length = 0;

	while (is_letter(text[length]))
		length++;
	return length;
}

static size_t
base64_at(const char *text)
{
	size_t length = 0;

	while (is_letter(text[length]) || text[length] == '-' || text[length] == '_')
		length++;
	return length;
}

/* `8f3c...-....`, as ModelScope's tokens are behind `ms-`. */
static bool
is_uuid(const char *text)
{
	static const size_t groups[] = { 8, 4, 4, 4, 12 };

	for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
		if (strspn(text, "0123456789abcdefABCDEF") < groups[i])
			return false;
		text += groups[i];
		if (i + 1 < sizeof groups / sizeof *groups && *text++ != '-')
			return false;
	}
	return !is_letter(*text);
}

/* Keys behind `sk-` may have words in them (`sk-proj-...`), and so have names like `sk-learn-models`: a key has a long run with digits and letters. */
static bool
has_key(const char *text)
{
	size_t end = base64_at(text);

	for (size_t at = 0; at < end; at++) {
		size_t run = letters_at(text + at);
		size_t digits = 0;

		for (size_t i = at; i < at + run; i++)
			digits += text[i] >= '0' && text[i] <= '9';
		if (run >= 16 && digits > 0 && digits < run)
			return true;
		at += run;
	}
	return false;
}

static bool
is_jwt(const char *text)
{
	for (int part = 0; part < 3; part++) {
		size_t length = base64_at(text);

		if (length < 10 || (part == 0 && !text_starts(text, "eyJ")))
			return false;
		text += length;
		if (part < 2 && *text++ != '.')
			return false;
	}
	return true;
}

static bool
looks_here(const char *text)
{
	return (text_starts(text, "hf_") && letters_at(text + 3) >= 30) ||
	       (text_starts(text, "ghp_") && letters_at(text + 4) >= 30) ||
	       (text_starts(text, "ms-") && is_uuid(text + 3)) || (text_starts(text, "sk-") && has_key(text + 3)) ||
	       is_jwt(text);
}

bool
secret_looks_like_one(const char *text)
{
	const char *begin = strstr(text, "-----BEGIN ");

	if (begin && strstr(begin, "PRIVATE KEY-----"))
		return true;
	/* Only where a word begins: `--token=hf_...` too, but not the middle of a name. */
	for (const char *at = text; *at; at++)
		if ((at == text || (!is_letter(at[-1]) && at[-1] != '_' && at[-1] != '-')) && looks_here(at))
			return true;
	return false;
}

const char *
secret_url_shown(struct arena *arena, const char *url)
{
	/* In a query there may be another address, which is none of our scheme. */
	size_t scheme = strcspn(url, ":/?#");
	bool has_scheme = text_starts(url + scheme, "://");
	const char *host = has_scheme ? url + scheme + 3 : url;
	size_t end = strcspn(host, "?#");
	size_t authority = strcspn(host, "/?#\\");
	const char *user_end = NULL;
	const char *port;

	if (!has_scheme)
		return arena_copy_bytes(arena, url, strcspn(url, "?#"));
	for (size_t i = 0; i < authority; i++)
		if (host[i] == '@')
			user_end = host + i;
	/* `https://user:pass/word@host/`: the password has a slash that should have been escaped. What stands behind a colon must be a port. */
	port = memchr(host, ':', authority);
	if (!user_end && *host != '[' && port && port + 1 + strspn(port + 1, "0123456789") < host + authority)
		user_end = strrchr(host, '@');
	if (!user_end)
		return arena_copy_bytes(arena, url, (size_t)(host - url) + end);
	return arena_printf(arena, "%.*s%.*s", (int)(host - url), url, (int)strcspn(user_end + 1, "?#"), user_end + 1);
}
