/* url.h - the parts of an http(s) URL, as text. Pure.
 *
 * Stricter than libcurl on purpose: what is read here in one way cannot be read there in another, so that a secret is never sent to a host that was
 * not looked at. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct url {
	const char *scheme;  /* points into the text, like the rest */
	size_t scheme_size;
	const char *host;    /* without brackets */
	size_t host_size;
	bool bracketed;      /* an IPv6 address */
	unsigned port;       /* the scheme's own if the text has none */
	bool user_info;
	const char *path;    /* "/..." or "" or "?..." */
};

/* False with a few words in `why` on what is no absolute URL of plain ASCII, or has an odd host or port. Any scheme. */
bool url_split(const char *text, struct url *url, const char **why);

bool url_has_scheme(const struct url *url, const char *scheme);
bool url_same_origin(const struct url *a, const struct url *b);

/* localhost, 127.0.0.0/8, ::1. */
bool url_is_loopback(const struct url *url);

/* How far an address reaches: a redirect may not lead further in than where it came from. */
enum reach { REACH_PUBLIC, REACH_PRIVATE, REACH_LINK, REACH_LOOPBACK };

/* Of an address in numbers; what cannot be read counts as public. An empty one (a unix socket) is loopback. */
enum reach url_reach(const char *address);
