/* url.c: what is read as a URL, and how far an address reaches. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>

#include <string.h>

#include "engine/base/arena.h"
#include "rules/client/http.h"
#include "rules/client/url.h"

#include <cmocka.h> /* last: its macro `fail` hides our function */

static void
split(void **state)
{
	static const struct {
		const char *text, *host;
		unsigned port;
		bool good, user_info;
	} cases[] = {
		{ "https://huggingface.co/a?b=c", "huggingface.co", 443, true, false },
		{ "http://127.0.0.1:8000", "127.0.0.1", 8000, true, false },
		{ "HTTPS://Host:1/", "Host", 1, true, false },
		{ "https://[::1]:8080/x", "::1", 8080, true, false },
		{ "https://[::1]", "::1", 443, true, false },
		{ "https://me:pw@host/", "host", 443, true, true },
		{ "https://host?x", "host", 443, true, false },
		{ "https://a@b@c/", NULL, 0, false, false },
		{ "https://host:0/", NULL, 0, false, false },
		{ "https://host:65536/", NULL, 0, false, false },
		{ "https://host:/", NULL, 0, false, false },
		{ "https://host:8a/", NULL, 0, false, false },
		{ "https:///path", NULL, 0, false, false },
		{ "https://[::1/x", NULL, 0, false, false },
		{ "https://[::1]x/", NULL, 0, false, false },
		{ "https://good.org\\@evil.org/", NULL, 0, false, false },
		{ "https://a b/", NULL, 0, false, false },
		{ "https://h\xc3\xb6st/", NULL, 0, false, false },
		{ "https://h%6fst/", NULL, 0, false, false },
		{ "https://host/\n", NULL, 0, false, false },
		{ "//host/", NULL, 0, false, false },
		{ "host", NULL, 0, false, false },
		{ "", NULL, 0, false, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct url url = { 0 };
		const char *why = NULL;
		bool good = url_split(cases[i].text, &url, &why);

		if (good != cases[i].good)
			fail_msg("%s: %s", cases[i].text, good ? "read" : why);
		if (!good) {
			assert_non_null(why);
			continue;
		}
		assert_int_equal(url.host_size, strlen(cases[i].host));
		assert_memory_equal(url.host, cases[i].host, url.host_size);
		assert_int_equal(url.port, cases[i].port);
		assert_int_equal(url.user_info, cases[i].user_info);
	}
}

static void
reach(void **state)
{
	static const struct {
		const char *address;
		enum reach reach;
	} cases[] = {
		{ "", REACH_LOOPBACK }, { "127.0.0.1", REACH_LOOPBACK }, { "127.255.0.9", REACH_LOOPBACK }, { "::1", REACH_LOOPBACK },
		{ "0.0.0.0", REACH_LOOPBACK }, { "::ffff:127.0.0.1", REACH_LOOPBACK }, { "10.1.2.3", REACH_PRIVATE },
		{ "172.16.0.1", REACH_PRIVATE }, { "172.32.0.1", REACH_PUBLIC }, { "192.168.1.1", REACH_PRIVATE },
		{ "192.169.1.1", REACH_PUBLIC }, { "100.64.0.1", REACH_PRIVATE }, { "169.254.169.254", REACH_LINK },
		{ "::ffff:169.254.169.254", REACH_LINK }, { "fe80::1", REACH_LINK }, { "fd00::1", REACH_PRIVATE },
		{ "2001:db8::1", REACH_PUBLIC }, { "8.8.8.8", REACH_PUBLIC },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		if (url_reach(cases[i].address) != cases[i].reach)
			fail_msg("%s", cases[i].address);
}

static void
origins(void **state)
{
	(void)state;
	assert_true(http_same_origin("https://a.org/x", "HTTPS://A.org:443/y"));
	assert_false(http_same_origin("https://a.org/", "http://a.org/"));
	assert_false(http_same_origin("https://a.org/", "https://a.org:8443/"));
	assert_false(http_same_origin("https://a.org/", "https://a.org.evil.net/"));
	assert_false(http_same_origin("bad", "bad"));
	assert_true(http_same_origin("file:///a", "file:///b"));
	assert_false(http_same_origin("file:///a", "https://a.org/"));
	assert_true(http_is_loopback("http://localhost:1/"));
	assert_true(http_is_loopback("http://127.1.2.3/"));
	assert_true(http_is_loopback("http://[::1]/"));
	assert_false(http_is_loopback("http://localhost.evil.net/"));
	assert_false(http_is_loopback("http://127.0.0.1.evil.net/"));
	assert_false(http_is_loopback("http://128.0.0.1/"));
}

static void
escape(void **state)
{
	struct arena arena;

	(void)state;
	arena_init(&arena);
	assert_string_equal(http_escape(&arena, "refs/pr/4", NULL), "refs%2Fpr%2F4");
	assert_string_equal(http_escape(&arena, "a b/\xc3\xa9+&~_.-", "/"), "a%20b/%C3%A9%2B%26~_.-");
	assert_string_equal(http_escape(&arena, "", NULL), "");
	arena_finish(&arena);
}

static void
content_range(void **state)
{
	static const struct {
		const char *text;
		bool good;
		uint64_t from, to, total;
	} cases[] = {
		{ "bytes 0-9/10", true, 0, 9, 10 },
		{ "bytes 5-5/*", true, 5, 5, UINT64_MAX },
		{ "Bytes 1000000000-1000000099/4915962496", true, 1000000000, 1000000099, 4915962496 },
		{ "bytes 9-5/10", false, 0, 0, 0 },
		{ "bytes 0-10/10", false, 0, 0, 0 },
		{ "bytes */10", false, 0, 0, 0 },
		{ "bytes 0-9", false, 0, 0, 0 },
		{ "bytes 0-9/10x", false, 0, 0, 0 },
		{ "bytes -1-9/10", false, 0, 0, 0 },
		{ "bytes 0-99999999999999999999/*", false, 0, 0, 0 },
		{ "items 0-9/10", false, 0, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct pair header = { "content-range", cases[i].text };
		struct http_response response = { .headers = { &header, 1, 1 } };
		uint64_t from = 0, to = 0, total = 0;

		if (http_content_range(&response, &from, &to, &total) != cases[i].good)
			fail_msg("%s", cases[i].text);
		assert_int_equal(from, cases[i].from);
		assert_int_equal(to, cases[i].to);
		assert_true(total == cases[i].total);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(split),
		cmocka_unit_test(reach),
		cmocka_unit_test(origins),
		cmocka_unit_test(escape),
		cmocka_unit_test(content_range),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
