#include "url.h"

#include <arpa/inet.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

static const struct {
	const char *scheme;
	unsigned port;
} schemes[] = { { "https", 443 }, { "http", 80 } };

static bool
is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool
wrong(const char **why, const char *words)
{
	*why = words;
	return false;
}

static bool
split_scheme(const char *text, struct url *url)
{
	const char *at = text;

	if (!is_letter(*at))
		return false;
	while (is_letter(*at) || is_digit(*at) || *at == '+' || *at == '-' || *at == '.')
		at++;
	url->scheme = text;
	url->scheme_size = (size_t)(at - text);
	return strncmp(at, "://", 3) == 0;
}

static bool
split_port(const char *text, size_t size, unsigned *port, const char **why)
{
	unsigned value = 0;

	if (size == 0 || size > 5)
		return wrong(why, "its port is no number from 1 to 65535");
	for (size_t i = 0; i < size; i++) {
		if (!is_digit(text[i]))
			return wrong(why, "its port is no number from 1 to 65535");
		value = value * 10 + (unsigned)(text[i] - '0');
	}
	if (value == 0 || value > 65535)
		return wrong(why, "its port is no number from 1 to 65535");
	*port = value;
	return true;
}

static bool
host_is_plain(const struct url *url)
{
	if (url->host_size == 0 || url->host_size > 255)
		return false;
	for (size_t i = 0; i < url->host_size; i++) {
		char c = url->host[i];

		if (!is_letter(c) && !is_digit(c) && c != '.' && c != '-' && c != '_' && !(url->bracketed && c == ':'))
			return false;
	}
	return true;
}

static bool
split_authority(const char *text, size_t size, struct url *url, const char **why)
{
	const char *at_sign = memchr(text, '@', size);
	const char *end = text + size, *colon;

	url->user_info = at_sign != NULL;
	if (at_sign)
		text = at_sign + 1;
	if (memchr(text, '@', (size_t)(end - text)))
		return wrong(why, "it holds more than one `@`");
	url->bracketed = text < end && *text == '[';
	if (url->bracketed) {
		const char *closing = memchr(text, ']', (size_t)(end - text));

		if (!closing || (closing + 1 < end && closing[1] != ':'))
			return wrong(why, "its address in brackets does not end well");
		url->host = text + 1;
		url->host_size = (size_t)(closing - url->host);
		colon = closing + 1 < end ? closing + 1 : NULL;
	} else {
		colon = memchr(text, ':', (size_t)(end - text));
		url->host = text;
		url->host_size = (size_t)((colon ? colon : end) - text);
	}
	if (!host_is_plain(url))
		return wrong(why, "its host holds something else than letters, digits, `.`, `-` and `_`");
	return !colon || split_port(colon + 1, (size_t)(end - colon - 1), &url->port, why);
}

bool
url_split(const char *text, struct url *url, const char **why)
{
	struct url found = { 0 };
	const char *authority;
	size_t size;

	for (const char *c = text; *c; c++)
		if ((unsigned char)*c <= ' ' || (unsigned char)*c >= 0x7f || *c == '\\')
			return wrong(why, "it holds a character that must be escaped");
	if (!split_scheme(text, &found))
		return wrong(why, "it does not begin with `https://`");
	for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
		if (url_has_scheme(&found, schemes[i].scheme))
			found.port = schemes[i].port;
	authority = text + found.scheme_size + 3;
	size = strcspn(authority, "/?#");
	found.path = authority + size;
	found.host = authority;
	/* Schemes without a host (file:) are known by their name alone. */
	if (found.port != 0 && !split_authority(authority, size, &found, why))
		return false;
	*url = found;
	return true;
}

bool
url_has_scheme(const struct url *url, const char *scheme)
{
	return strlen(scheme) == url->scheme_size && strncasecmp(url->scheme, scheme, url->scheme_size) == 0;
}

bool
url_same_origin(const struct url *a, const struct url *b)
{
	return a->scheme_size == b->scheme_size && strncasecmp(a->scheme, b->scheme, a->scheme_size) == 0 &&
		a->host_size == b->host_size && a->bracketed == b->bracketed &&
		strncasecmp(a->host, b->host, a->host_size) == 0 && a->port == b->port;
}

bool
url_is_loopback(const struct url *url)
{
	char host[256];

	if (url->host_size == 0 || url->host_size >= sizeof host)
		return false;
	memcpy(host, url->host, url->host_size);
	host[url->host_size] = '\0';
	return strcasecmp(host, "localhost") == 0 || url_reach(host) == REACH_LOOPBACK;
}

static enum reach
reach_of_v4(uint32_t address)
{
	static const struct {
		uint32_t network, mask;
		enum reach reach;
	} networks[] = {
		{ 0x00000000, 0xff000000, REACH_LOOPBACK },
		{ 0x7f000000, 0xff000000, REACH_LOOPBACK },
		{ 0x0a000000, 0xff000000, REACH_PRIVATE },
		{ 0xac100000, 0xfff00000, REACH_PRIVATE },
		{ 0xc0a80000, 0xffff0000, REACH_PRIVATE },
		{ 0x64400000, 0xffc00000, REACH_PRIVATE },
		{ 0xa9fe0000, 0xffff0000, REACH_LINK },
	};

	for (size_t i = 0; i < sizeof networks / sizeof *networks; i++)
		if ((address & networks[i].mask) == networks[i].network)
			return networks[i].reach;
	return REACH_PUBLIC;
}

enum reach
url_reach(const char *address)
{
	struct in_addr v4;
	struct in6_addr v6;

	if (*address == '\0')
		return REACH_LOOPBACK;
	if (inet_pton(AF_INET, address, &v4) == 1)
		return reach_of_v4(ntohl(v4.s_addr));
	if (inet_pton(AF_INET6, address, &v6) != 1)
		return REACH_PUBLIC;
	if (IN6_IS_ADDR_V4MAPPED(&v6)) {
		uint32_t inner;

		memcpy(&inner, v6.s6_addr + 12, sizeof inner);
		return reach_of_v4(ntohl(inner));
	}
	if (IN6_IS_ADDR_LOOPBACK(&v6) || IN6_IS_ADDR_UNSPECIFIED(&v6))
		return REACH_LOOPBACK;
	if (IN6_IS_ADDR_LINKLOCAL(&v6))
		return REACH_LINK;
	return (v6.s6_addr[0] & 0xfe) == 0xfc ? REACH_PRIVATE : REACH_PUBLIC;
}
