/* hub.c: sources as they are written, listings of every hub, and what failures are called. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/file.h"
#include "rules/client/hub.h"
#include "tests/fake/hub.h"

#include <cmocka.h> /* last: its macro `fail` hides our function */

static struct fake_hub hub;   /* pages of three entries */
static struct fake_hub gated; /* wants a token */

static void
parse(void **state)
{
	static const struct {
		const char *text, *endpoint, *name, *revision;
		enum hub_kind kind;
		enum fault fault;
	} cases[] = {
		{ "huggingface:org/name", NULL, "huggingface:org/name", NULL, HUB_HUGGINGFACE, FAULT_NONE },
		{ "huggingface:org/name@refs/pr/4", NULL, "huggingface:org/name", "refs/pr/4", HUB_HUGGINGFACE, FAULT_NONE },
		{ "modelscope:ZhipuAI/AutoGLM-Phone-9B", NULL, "modelscope:ZhipuAI/AutoGLM-Phone-9B", NULL, HUB_MODELSCOPE, FAULT_NONE },
		{ "https://host/dir/", NULL, "https://host/dir", NULL, HUB_HTTP, FAULT_NONE },
		{ "file:///a%20b/c", NULL, "file:///a b/c", NULL, HUB_FILE, FAULT_NONE },
		{ "file://localhost/a", NULL, "file:///a", NULL, HUB_FILE, FAULT_NONE },
		{ "models/x", NULL, "/base/models/x", NULL, HUB_LOCAL, FAULT_NONE },
		{ "/models/x", NULL, "/models/x", NULL, HUB_LOCAL, FAULT_NONE },
		{ "./odd:name", NULL, "/base/odd:name", NULL, HUB_LOCAL, FAULT_NONE },
		{ "", NULL, NULL, NULL, 0, FAULT_BAD_VALUE },
		{ "hugging-face:org/name", NULL, NULL, NULL, 0, FAULT_BAD_VALUE },
		{ "huggingface:name", NULL, NULL, NULL, 0, FAULT_BAD_VALUE },
		{ "huggingface:org/../x", NULL, NULL, NULL, 0, FAULT_BAD_VALUE },
		{ "huggingface:org/na me", NULL, NULL, NULL, 0, FAULT_BAD_VALUE },
		{ "huggingface:org/name.git", NULL, NULL, NULL, 0, FAULT_BAD_VALUE },
		{ "huggingface:org/-name", NULL, NULL, NULL, 0, FAULT_BAD_VALUE },
		{ "huggingface:org/na--me", NULL, NULL, NULL, 0, FAULT_BAD_VALUE },
		{ "huggingface:org/name@a b", NULL, NULL, NULL, 0, FAULT_BAD_VALUE },
		{ "huggingface:org/name", "ftp://x", NULL, NULL, 0, FAULT_BAD_VALUE },
		{ "huggingface:org/name", "https://me:pw@x", NULL, NULL, 0, FAULT_BAD_VALUE },
		{ "file://host/a", NULL, NULL, NULL, 0, FAULT_BAD_VALUE },
		{ "file:///a%zz", NULL, NULL, NULL, 0, FAULT_BAD_VALUE },
		{ "https://host/x?token=1", NULL, NULL, NULL, 0, FAULT_BAD_VALUE },
		{ "https://h/x", "https://y", NULL, NULL, 0, FAULT_CONFLICT },
	};
	struct arena arena;

	(void)state;
	arena_init(&arena);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct hub_source source = { 0 };
		struct error err = { 0 };
		bool good = hub_parse(cases[i].text, cases[i].endpoint, "/base", &arena, &source, &err);

		if (good != (cases[i].fault == FAULT_NONE) || (!good && err.fault != cases[i].fault))
			fail_msg("%s: %s", cases[i].text, good ? "read" : err.text);
		if (!good)
			continue;
		assert_int_equal(source.kind, cases[i].kind);
		assert_string_equal(hub_source_name(&source, &arena), cases[i].name);
		assert_true(text_equal(source.revision, cases[i].revision));
	}
	arena_finish(&arena);
}

static void
endpoints(void **state)
{
	struct hub_source source;
	struct error err = { 0 };

	(void)state;
	unsetenv("HF_ENDPOINT");
	assert_true(hub_parse("huggingface:a/b", NULL, "/", &hub.arena, &source, &err));
	assert_string_equal(source.endpoint, "https://huggingface.co");
	assert_true(source.endpoint_is_public);
	setenv("HF_ENDPOINT", "https://mirror.example.org/", 1);
	assert_true(hub_parse("huggingface:a/b", NULL, "/", &hub.arena, &source, &err));
	assert_string_equal(source.endpoint, "https://mirror.example.org");
	assert_false(source.endpoint_is_public);
	assert_true(hub_parse("huggingface:a/b", "https://huggingface.co/", "/", &hub.arena, &source, &err));
	assert_true(source.endpoint_is_public);
	unsetenv("HF_ENDPOINT");
}

static void
checksums(void **state)
{
#define DIGEST "85dc10f3cc8c0a3fdbc7cc7cfc8d7a2d1ea29b4c06d7ff3ccb4a9ab2db4c5b7a"
	static const struct {
		const char *text;
		size_t count; /* 0: refused */
		const char *words;
	} cases[] = {
		{ DIGEST "  a\n" DIGEST " *b/c\n", 2, NULL },
		{ "# comment\n\n" DIGEST "  ./a\r\n", 1, NULL },
		{ DIGEST "  with space", 1, NULL },
		{ "", 0, "names no file" },
		{ DIGEST "a\n", 0, "line 1" },
		{ DIGEST "  a\nxyz  b\n", 0, "line 2" },
		{ DIGEST "  ../a\n", 0, "line 1" },
		{ DIGEST "  /a\n", 0, "absolute" },
		{ DIGEST "  a\n" DIGEST "  a\n", 0, "twice" },
		{ "\\" DIGEST "  a\\nb\n", 0, "line 1" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct hub_file *files = NULL;
		struct error err = { 0 };
		size_t count = 0;
		bool good = hub_parse_checksums(cases[i].text, strlen(cases[i].text), "SUMS", &hub.arena, &files, &count, &err);

		if (good != (cases[i].count > 0) || count != cases[i].count)
			fail_msg("%s: %s", cases[i].text, good ? "read" : err.text);
		if (!good) {
			assert_int_equal(err.fault, FAULT_CHECKSUM_LIST);
			assert_non_null(strstr(err.text, cases[i].words));
		}
	}
}

static bool
open_source(struct hub *opened, struct fake_hub *server, const char *text, const char *token, struct error *err)
{
	struct hub_source source;
	struct secret_ref ref = { .env = token };
	const char *endpoint = text_starts(text, "http") || *text == '/' ? NULL : server->url;

	return hub_parse(text, endpoint, "/", &server->arena, &source, err) && hub_open(opened, &source, &ref, false, NULL, NULL, &server->arena, err);
}

/* Every hub lists the same repository with the same sizes, and digests that fit the bytes. */
static void
listings(void **state)
{
	const char *sources[] = { "huggingface:acme/tiny", "modelscope:acme/tiny", NULL, NULL };

	(void)state;
	sources[2] = arena_printf(&hub.arena, "%s/plain/acme/tiny", hub.url);
	sources[3] = arena_printf(&hub.arena, "%s/acme/tiny", hub.root);
	fake_hub_reset(&hub);
	for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
		struct hub opened finally(hub_close) = { 0 };
		struct hub_listing listing;
		struct error err = { 0 };
		const char *commit;

		if (!open_source(&opened, &hub, sources[i], NULL, &err) || !hub_resolve(&opened, &commit, &err) ||
			!hub_list(&opened, commit, &listing, &err))
			fail_msg("%s: %s", sources[i], err.text);
		assert_int_equal(listing.count, 8);
		assert_int_equal(strlen(commit), i < 2 ? 40 : 0);
		for (size_t n = 0; n < listing.count; n++) {
			const char *path = path_join(&hub.arena, hub.root, arena_printf(&hub.arena, "acme/tiny/%s", listing.files[n].path));
			struct buf text finally(buf_finish) = { 0 };
			struct stat st;

			assert_int_equal(stat(path, &st), 0);
			assert_int_equal(listing.files[n].size, st.st_size);
			assert_int_equal(listing.files[n].checksum.kind == CHECKSUM_NONE, i == 3);
			assert_true(n == 0 || strcmp(listing.files[n - 1].path, listing.files[n].path) < 0);
			buf_init(&text, 100000);
			if (!hub_read(&opened, commit, &listing.files[n], 0, 0, &text, NULL, &err))
				fail_msg("%s %s: %s", sources[i], listing.files[n].path, err.text);
			assert_int_equal(text.size, st.st_size);
		}
	}
	assert_int_equal(fake_hub_leaks(&hub), 0);
}

/* Pieces of files, files that are not there, and servers that cannot do ranges. */
static void
reading(void **state)
{
	static const char *const sources[] = { "huggingface:acme/tiny", "modelscope:acme/tiny" };
	static const char *const faults[] = { "none", "no_range" };

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		struct hub opened finally(hub_close) = { 0 };
		struct buf text finally(buf_finish) = { 0 };
		struct hub_file file = { .path = "a.json", .size = UINT64_MAX }, gone = { .path = "gone.json", .size = UINT64_MAX };
		struct hub_file hostile = { .path = "../a.json", .size = UINT64_MAX };
		struct error err = { 0 };
		bool missing = false;
		const char *commit;

		fake_hub_reset(&hub);
		fake_hub_fault(&hub, arena_printf(&hub.arena, "{\"path\":\"a.json\",\"behaviour\":\"%s\"}", faults[i / 2]));
		assert_true(open_source(&opened, &hub, sources[i % 2], NULL, &err));
		assert_true(hub_resolve(&opened, &commit, &err));
		buf_init(&text, 1000);
		if (!hub_read(&opened, commit, &file, 4, 3, &text, NULL, &err))
			fail_msg("%s: %s", sources[i % 2], err.text);
		assert_string_equal(text.data, "456");
		buf_clear(&text);
		assert_true(hub_read(&opened, commit, &gone, 0, 0, &text, &missing, &err));
		assert_true(missing);
		assert_int_equal(text.size, 0);
		assert_false(hub_read(&opened, commit, &gone, 0, 0, &text, NULL, &err));
		assert_int_equal(err.fault, FAULT_HUB_NOT_FOUND);
		assert_false(hub_read(&opened, commit, &hostile, 0, 0, &text, NULL, &err));
		assert_int_equal(err.fault, FAULT_HOSTILE_NAME);
		buf_clear(&text);
		file.checksum.kind = CHECKSUM_SHA256;
		assert_false(hub_read(&opened, commit, &file, 0, 0, &text, NULL, &err));
		assert_int_equal(err.fault, FAULT_DIGEST);
	}
}

/* Faults of a listing, and what they are called. */
static void
failures(void **state)
{
	static const struct {
		const char *source, *fault;
		enum fault expected; /* FAULT_NONE: it lists all the same */
		const char *words;
	} cases[] = {
		{ "huggingface:acme/tiny", "{\"path\":\"acme/tiny\",\"behaviour\":\"public_link\",\"times\":-1}", FAULT_NONE, NULL },
		{ "huggingface:acme/tiny", "{\"path\":\"acme/tiny\",\"behaviour\":\"503\"}", FAULT_NONE, NULL },
		{ "huggingface:acme/tiny", "{\"path\":\"acme/tiny\",\"behaviour\":\"429\",\"arg\":0}", FAULT_NONE, NULL },
		{ "huggingface:acme/tiny", "{\"path\":\"acme/tiny\",\"behaviour\":\"foreign_link\",\"times\":-1}", FAULT_PROTOCOL, "goes on at" },
		{ "huggingface:acme/tiny", "{\"path\":\"acme/tiny\",\"behaviour\":\"paging_loop\",\"times\":-1}", FAULT_PROTOCOL, "circle" },
		{ "huggingface:acme/tiny", "{\"path\":\"acme/tiny\",\"behaviour\":\"wrong_pointer\",\"times\":-1}", FAULT_PROTOCOL, "pointer" },
		{ "huggingface:acme/tiny", "{\"path\":\"acme/tiny\",\"behaviour\":\"html\"}", FAULT_PROTOCOL, "HTML" },
		{ "huggingface:acme/tiny", "{\"path\":\"acme/tiny\",\"behaviour\":\"401\",\"arg\":{\"code\":\"GatedRepo\"}}", FAULT_HUB_DENIED, "gated" },
		{ "huggingface:acme/tiny", "{\"path\":\"acme/tiny\",\"behaviour\":\"401\"}", FAULT_HUB_DENIED, "no token was sent" },
		{ "huggingface:acme/tiny", "{\"path\":\"acme/tiny\",\"behaviour\":\"403\",\"arg\":{\"message\":\"Access to this resource is disabled.\"}}", FAULT_HUB_DENIED, "disabled" },
		{ "huggingface:acme/tiny", "{\"path\":\"acme/tiny\",\"behaviour\":\"404\",\"arg\":{\"code\":\"RevisionNotFound\"}}", FAULT_HUB_NOT_FOUND, "revision" },
		{ "huggingface:acme/none", "{\"path\":\"x\",\"behaviour\":\"404\"}", FAULT_HUB_NOT_FOUND, "acme/none" },
		{ "huggingface:acme/tiny@v9", "{\"path\":\"x\",\"behaviour\":\"404\"}", FAULT_HUB_NOT_FOUND, "v9" },
		{ "modelscope:acme/none", "{\"path\":\"x\",\"behaviour\":\"404\"}", FAULT_HUB_NOT_FOUND, "acme/none" },
		{ "modelscope:acme/tiny", "{\"path\":\"acme/tiny\",\"behaviour\":\"envelope\",\"arg\":401}", FAULT_HUB_DENIED, "token" },
		{ "modelscope:acme/tiny", "{\"path\":\"acme/tiny\",\"behaviour\":\"envelope\",\"arg\":10010}", FAULT_PROTOCOL, "\xe6\x9c\x8d" },
		{ "modelscope:acme/tiny", "{\"path\":\"acme/tiny\",\"behaviour\":\"files_null\",\"times\":-1}", FAULT_HUB_NOT_FOUND, "no files" },
		{ "modelscope:acme/tiny", "{\"path\":\"acme/tiny\",\"behaviour\":\"no_commit_revision\",\"times\":-1}", FAULT_NONE, NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct hub opened finally(hub_close) = { 0 };
		struct hub_listing listing = { 0 };
		struct error err = { 0 };
		const char *commit;
		bool good;

		fake_hub_reset(&hub);
		fake_hub_fault(&hub, cases[i].fault);
		assert_true(open_source(&opened, &hub, cases[i].source, NULL, &err));
		good = hub_resolve(&opened, &commit, &err) && hub_list(&opened, commit, &listing, &err);
		if (good != (cases[i].expected == FAULT_NONE) || (!good && (err.fault != cases[i].expected || !strstr(err.text, cases[i].words))))
			fail_msg("%s %s: %s", cases[i].source, cases[i].fault, good ? "listed" : err.text);
		if (good)
			assert_int_equal(listing.count, 8);
	}
}

/* A hub that knows no commits as revisions is asked by name, as long as the name still means the commit. */
static void
by_name(void **state)
{
	struct hub opened finally(hub_close) = { 0 };
	struct hub_listing listing;
	struct error err = { 0 };
	const char *path;

	(void)state;
	fake_hub_reset(&hub);
	fake_hub_fault(&hub, "{\"path\":\"acme/tiny\",\"behaviour\":\"no_commit_revision\",\"times\":-1}");
	assert_true(open_source(&opened, &hub, "modelscope:acme/tiny", NULL, &err));
	assert_false(hub_list(&opened, "0123456789012345678901234567890123456789", &listing, &err));
	assert_int_equal(err.fault, FAULT_HUB_NOT_FOUND);
	assert_non_null(strstr(err.text, "no longer"));
	assert_non_null(strstr(hub_file_url(&opened, "0123", "a b", &path, &hub.arena), "Revision=master&FilePath=a%20b"));
}

static void
tokens(void **state)
{
	struct hub with finally(hub_close) = { 0 }, without finally(hub_close) = { 0 }, wrong finally(hub_close) = { 0 };
	struct error err = { 0 };
	const char *commit;

	(void)state;
	setenv("HUB_TEST_TOKEN", "canary-right", 1);
	setenv("HUB_TEST_WRONG", "canary-wrong", 1);
	setenv("HF_TOKEN", "canary-right", 1);
	assert_true(open_source(&with, &gated, "huggingface:acme/tiny", "HUB_TEST_TOKEN", &err));
	if (!hub_resolve(&with, &commit, &err))
		fail_msg("%s", err.text);
	/* The environment's token is for the public hub alone. */
	assert_true(open_source(&without, &gated, "huggingface:acme/tiny", NULL, &err));
	assert_false(hub_resolve(&without, &commit, &err));
	assert_int_equal(err.fault, FAULT_HUB_DENIED);
	assert_non_null(strstr(err.text, "gated"));
	assert_true(open_source(&wrong, &gated, "huggingface:acme/tiny", "HUB_TEST_WRONG", &err));
	assert_false(hub_resolve(&wrong, &commit, &err));
	assert_int_equal(err.fault, FAULT_HUB_DENIED);
	assert_null(strstr(err.text, "canary"));
	unsetenv("HF_TOKEN");
}

/* A token that is no good does not keep anybody from what is public. */
static void
token_left_out(void **state)
{
	struct hub opened finally(hub_close) = { 0 };
	struct error err = { 0 };
	const char *commit;

	(void)state;
	fake_hub_reset(&hub);
	fake_hub_fault(&hub, "{\"path\":\"acme/tiny\",\"behaviour\":\"401\",\"arg\":{\"message\":\"Invalid credentials in Authorization header\"}}");
	assert_true(open_source(&opened, &hub, "huggingface:acme/tiny", "HUB_TEST_WRONG", &err));
	if (!hub_resolve(&opened, &commit, &err))
		fail_msg("%s", err.text);
	assert_non_null(strstr(opened.note, "HUB_TEST_WRONG"));
	assert_int_equal(opened.token.length, 0);
}

static void
make_repository(struct fake_hub *server)
{
	static const struct {
		const char *name, *text;
	} files[] = {
		{ "acme/tiny/a.json", "0123456789" }, { "acme/tiny/b.txt", "b" }, { "acme/tiny/c/d.txt", "d" }, { "acme/tiny/e/f/g.txt", "g" },
		{ "acme/tiny/model.safetensors", "not really" }, { "acme/tiny/empty.txt", "" }, { "acme/tiny/with space.txt", "x" },
		{ "acme/tiny/z.bin", "zzz" },
	};

	for (size_t i = 0; i < sizeof files / sizeof *files; i++)
		fake_hub_write(server, files[i].name, files[i].text, strlen(files[i].text));
}

static int
start(void **state)
{
	static const char *const pages[] = { "--page-size", "3", NULL }, *const token[] = { "--token", "canary-right", NULL };

	(void)state;
	fake_hub_start(&hub, pages);
	fake_hub_start(&gated, token);
	make_repository(&hub);
	make_repository(&gated);
	return 0;
}

static int
stop(void **state)
{
	(void)state;
	fake_hub_stop(&hub);
	fake_hub_stop(&gated);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parse),
		cmocka_unit_test(endpoints),
		cmocka_unit_test(checksums),
		cmocka_unit_test(listings),
		cmocka_unit_test(reading),
		cmocka_unit_test(failures),
		cmocka_unit_test(by_name),
		cmocka_unit_test(tokens),
		cmocka_unit_test(token_left_out),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
