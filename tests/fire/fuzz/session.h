/* session.h - a session of the product's own client, opened once: what stands behind the replaced transport asks for its limits. */
#pragma once

#include "fuzz.h"
#include "rules/client/http.h"

static inline struct http
fuzz_session(void)
{
	static struct http http;
	struct error err = { 0 };

	promise(http.session || http_init(&http, NULL, &err));
	return http;
}
