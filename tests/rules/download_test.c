/* download.c against the test hub: planned, applied and destroyed as the engine does it. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/file.h"
#include "rules/rules.h"
#include "tests/fake/hub.h"
#include "tests/fake/site.h"

#include <cmocka.h> /* last: its macro `fail` hides our function */

#define HELLO "hello, world"
#define HELLO_SHA256 "09ca7e4eaa6e8ae9c7d261167129184883644d07dfba7cbfbc4c8a2e08360d5b"

static const struct rule *const rules[] = { &download_rule, NULL };
static struct fake_hub hub;

static const char *
target(const char *more)
{
	return arena_printf(&hub.arena, "  file:\n    rule: download\n    path: sub/hello.txt\n    sha256: " HELLO_SHA256 "\n%s", more);
}

static const char *
from_hub(const char *more)
{
	return target(arena_printf(&hub.arena, "    url: %s/plain/acme/d/hello.txt\n%s", hub.url, more));
}

static bool
has(struct site *site, const char *wanted)
{
	const char *text;
	size_t size;
	struct error err = { 0 };

	return file_load(site_path(site, "sub/hello.txt"), 1000, &hub.arena, &text, &size, &err) && strcmp(text, wanted) == 0;
}

static void
life(void **state)
{
	struct site site;
	const char *text = from_hub("    mode: '0640'\n    size: 12\n");
	const struct seen *seen;
	struct stat st;

	(void)state;
	site_init(&site, rules);
	fake_hub_reset(&hub);
	seen = site_plan(&site, text, "file");
	assert_int_equal(seen->reason, REASON_NEVER_BUILT);
	assert_int_equal(seen->detail->cost.download, 12);
	assert_int_equal(site_apply(&site, text).status, STATUS_OK);
	assert_true(has(&site, HELLO));
	assert_int_equal(stat(site_path(&site, "sub/hello.txt"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_string_equal(pairs_get(&site_record(&site, "file")->outputs, "sha256"), HELLO_SHA256);
	fake_hub_reset(&hub);
	assert_int_equal(site_plan(&site, text, "file")->reason, REASON_NONE);
	assert_int_equal(fake_hub_requests(&hub, "hello.txt"), 0);

	site_write(&site, "sub/hello.txt", "hello, World");
	seen = site_plan(&site, text, "file");
	assert_int_equal(seen->reason, REASON_OUTPUT_DIFFERS);
	assert_string_equal(seen->detail->look.what, "sub/hello.txt: differs");
	assert_int_equal(site_apply(&site, text).status, STATUS_OK);
	assert_true(has(&site, HELLO));

	assert_int_equal(unlink(site_path(&site, "sub/hello.txt")), 0);
	assert_int_equal(site_plan(&site, text, "file")->reason, REASON_OUTPUT_MISSING);
	site.wishes.offline = true;
	assert_int_equal(site_apply(&site, text).error.fault, FAULT_OFFLINE);
	site.wishes.offline = false;
	assert_int_equal(site_apply(&site, text).status, STATUS_OK);
	assert_int_equal(site_destroy(&site, text, "file").status, STATUS_OK);
	assert_int_not_equal(stat(site_path(&site, "sub/hello.txt"), &st), 0);
	site_finish(&site);
}

static void
sources(void **state)
{
	const struct {
		const char *more, *fault;
		enum fault expected;
	} cases[] = {
		{ "    urls: [URL/plain/acme/d/gone.txt, URL/plain/acme/d/hello.txt]\n", NULL, FAULT_NONE },
		{ "    urls: [URL/plain/acme/d/gone.txt, ROOT/acme/d/hello.txt]\n", NULL, FAULT_NONE },
		{ "    url: file://ROOT/acme/d/hello.txt\n", NULL, FAULT_NONE },
		{ "    url: URL/plain/acme/d/gone.txt\n", NULL, FAULT_HUB_NOT_FOUND },
		{ "    url: URL/plain/acme/d/other.txt\n", NULL, FAULT_DIGEST },
		{ "    urls: [URL/plain/acme/d/other.txt, URL/plain/acme/d/hello.txt]\n", NULL, FAULT_NONE },
		{ "    url: URL/plain/acme/d/hello.txt\n    size: 13\n", NULL, FAULT_PROTOCOL },
		{ "    url: http://example.invalid/x\n", NULL, FAULT_INSECURE },
		{ "    url: URL/plain/acme/d/hello.txt\n    token: {env: NO_SUCH_TOKEN}\n", NULL, FAULT_PERMISSION },
		{ "    url: URL/plain/acme/d/hello.txt\n", "{\"path\":\"hello.txt\",\"behaviour\":\"503\"}", FAULT_NONE },
		{ "    url: URL/plain/acme/d/hello.txt\n", "{\"path\":\"hello.txt\",\"behaviour\":\"html\"}", FAULT_PROTOCOL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char more[1000] = "";
		struct site site;
		struct apply_result result;

		for (const char *at = cases[i].more; *at;) {
			const char *word = text_starts(at, "URL") ? hub.url : text_starts(at, "ROOT") ? hub.root : NULL;
			size_t used = strlen(more);

			snprintf(more + used, sizeof more - used, word ? "%s" : "%.1s", word ? word : at);
			at += !word ? 1 : word == hub.url ? 3 : 4;
		}
		site_init(&site, rules);
		fake_hub_reset(&hub);
		if (cases[i].fault)
			fake_hub_fault(&hub, cases[i].fault);
		result = site_apply(&site, target(more));
		if (result.error.fault != cases[i].expected)
			fail_msg("%s: %s %s", more, fault_row(result.error.fault)->code, result.error.text);
		assert_int_equal(has(&site, HELLO), cases[i].expected == FAULT_NONE);
		site_finish(&site);
	}
}

/* The token is for the first URL's origin alone. */
static void
token(void **state)
{
	struct site site;
	const char *path;

	(void)state;
	site_init(&site, rules);
	fake_hub_reset(&hub);
	setenv("DOWNLOAD_TOKEN", "canary-of-the-test", 1);
	path = arena_printf(&hub.arena, "    urls: [%s/acme/d/resolve/main/hello.bin, %s/object/none]\n    token: {env: DOWNLOAD_TOKEN}\n", hub.url, hub.cdn);
	fake_hub_write(&hub, "acme/d/hello.bin", HELLO, strlen(HELLO));
	fake_hub_fault(&hub, "{\"path\":\"hello.bin\",\"behaviour\":\"404\",\"where\":\"hub\"}");
	assert_int_equal(site_apply(&site, target(path)).error.fault, FAULT_HUB_DENIED);
	assert_true(fake_hub_authorized(&hub) > 0);
	assert_int_equal(site_apply(&site, target(path)).status, STATUS_OK);
	assert_int_equal(fake_hub_leaks(&hub), 0);
	site_finish(&site);
}

static void
parameters(void **state)
{
	static const struct {
		const char *more, *code;
	} cases[] = {
		{ "    url: https://example.org/x\n", "" },
		{ "", "E0104" },
		{ "    url: ftp://example.org/x\n", "E0103" },
		{ "    url: huggingface:a/b\n", "E0103" },
		{ "    url: https://example.org/x\n    mode: '4755'\n", "E0103" },
		{ "    url: https://example.org/x\n    size: lots\n", "E0103" },
	};
	struct site site;

	(void)state;
	site_init(&site, rules);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const char *found = site_check(&site, target(cases[i].more));

		if (strncmp(found, cases[i].code, 5) != 0 || (*cases[i].code == '\0') != (*found == '\0'))
			fail_msg("%s: %s", cases[i].more, found);
	}
	assert_memory_equal(site_check(&site, "  f:\n    rule: download\n    url: https://x.org/x\n    path: x\n    sha256: abc\n"), "E0103", 5);
	site_finish(&site);
}

static int
start(void **state)
{
	(void)state;
	fake_hub_start(&hub, NULL);
	fake_hub_write(&hub, "acme/d/hello.txt", HELLO, strlen(HELLO));
	fake_hub_write(&hub, "acme/d/other.txt", "hello, other", strlen(HELLO));
	return 0;
}

static int
stop(void **state)
{
	(void)state;
	fake_hub_stop(&hub);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(life),
		cmocka_unit_test(sources),
		cmocka_unit_test(token),
		cmocka_unit_test(parameters),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
