/* model.c against the test hub: planned, applied and destroyed as the engine does it. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/file.h"
#include "rules/rules.h"
#include "tests/fake/hub.h"
#include "tests/fake/site.h"

#include <cmocka.h> /* last: its macro `fail` hides our function */

#define SHARD ((size_t)200000)
#define INDEX "{\"metadata\":{},\"weight_map\":{\"a\":\"model-1.safetensors\",\"b\":\"model-2.safetensors\"}}"

static const struct rule *const rules[] = { &model_rule, NULL };
static struct fake_hub hub;

/* ORG/NAME with two shards and what goes with them. */
static void
make_model(const char *repo, unsigned seed)
{
	char path[200];
	static const struct {
		const char *name, *text;
	} files[] = {
		{ "config.json", "{\"num_attention_heads\": 32}" },
		{ "model.safetensors.index.json", INDEX },
		{ "tokenizer.json", "{}" },
		{ "README.md", "a model" },
		{ "assets/picture.png", "not for servers" },
	};

	for (unsigned i = 1; i <= 2; i++) {
		snprintf(path, sizeof path, "%s/model-%u.safetensors", repo, i);
		fake_hub_tensors(&hub, path, SHARD, seed + i);
	}
	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		snprintf(path, sizeof path, "%s/%s", repo, files[i].name);
		fake_hub_write(&hub, path, files[i].text, strlen(files[i].text));
	}
}

/* The one target, `weights`, with lines of its own. */
static const char *
target(const char *source, const char *more)
{
	return arena_printf(&hub.arena, "  weights:\n    rule: model\n    source: %s\n    dir: out\n%s", source, more);
}

static const char *
hub_target(const char *kind, const char *repo, const char *more)
{
	return target(arena_printf(&hub.arena, "%s:%s", kind, repo), arena_printf(&hub.arena, "    endpoint: %s\n%s", hub.url, more));
}

static bool
is_there(struct site *site, const char *name)
{
	struct stat st;

	return lstat(site_path(site, name), &st) == 0;
}

static bool
same(struct site *site, const char *original, const char *name)
{
	const char *a, *b;
	size_t a_size, b_size;
	struct error err = { 0 };

	return file_load(path_join(&hub.arena, hub.root, original), (size_t)1 << 30, &hub.arena, &a, &a_size, &err) &&
		file_load(site_path(site, name), (size_t)1 << 30, &hub.arena, &b, &b_size, &err) && a_size == b_size &&
		memcmp(a, b, a_size) == 0;
}

/* Every kind of source: planned with its cost, fetched, fresh without a request, repaired, removed. */
static void
life(void **state)
{
	static const char *const kinds[] = { "huggingface", "modelscope", "plain", "file", "local" };

	(void)state;
	make_model("acme/tiny", 1);
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		struct site site;
		struct apply_result result;
		const struct record *record;
		const struct seen *seen;
		const char *text;

		site_init(&site, rules);
		fake_hub_reset(&hub);
		if (i < 2)
			text = hub_target(kinds[i], "acme/tiny", "");
		else if (i == 2)
			text = target(arena_printf(&hub.arena, "%s/plain/acme/tiny", hub.url), "");
		else if (i == 3)
			text = target(arena_printf(&hub.arena, "file://%s/acme/tiny", hub.root),
				"    checksums: sums\n    include: [config.json]\n");
		else
			text = target(arena_printf(&hub.arena, "%s/acme/tiny", hub.root), "");
		if (i == 3)
			site_write(&site, "sums", "85dc10f3cc8c0a3fdbc7cc7cfc8d7a2d1ea29b4c06d7ff3ccb4a9ab2db4c5b7a  config.json\n");
		seen = site_plan(&site, text, "weights");
		assert_int_equal(seen->reason, REASON_NEVER_BUILT);
		if (seen->detail->error.fault != FAULT_NONE)
			fail_msg("%s: %s", kinds[i], seen->detail->error.text);
		result = site_apply(&site, text);
		if (i == 3) {
			/* The list is wrong on purpose: nothing may get its name. */
			assert_int_equal(result.error.fault, FAULT_DIGEST);
			assert_false(is_there(&site, "out/config.json"));
			site_finish(&site);
			continue;
		}
		if (result.status != STATUS_OK)
			fail_msg("%s: %s", kinds[i], result.error.text);
		assert_true(same(&site, "acme/tiny/model-1.safetensors", "out/model-1.safetensors"));
		assert_true(same(&site, "acme/tiny/config.json", "out/config.json"));
		assert_false(is_there(&site, "out/assets/picture.png"));
		assert_true(is_there(&site, "out/.provision/files.json"));
		record = site_record(&site, "weights");
		assert_string_equal(pairs_get(&record->outputs, "files"), "6");
		assert_int_equal(strlen(pairs_get(&record->outputs, "commit")), i < 2 ? 40 : 0);
		assert_int_equal(record->artifacts.count, 6);
		assert_int_equal(site.memory.checkpoint_count, 0);

		fake_hub_reset(&hub);
		seen = site_plan(&site, text, "weights");
		assert_int_equal(seen->reason, REASON_NONE);
		assert_int_equal(fake_hub_requests(&hub, "/api/models/acme/tiny/revision/main"), 0);
		assert_int_equal(fake_hub_bytes(&hub), 0);

		assert_int_equal(unlink(site_path(&site, "out/model-2.safetensors")), 0);
		seen = site_plan(&site, text, "weights");
		assert_int_equal(seen->reason, REASON_OUTPUT_MISSING);
		assert_string_equal(seen->detail->look.what, "model-2.safetensors: missing");
		fake_hub_reset(&hub);
		result = site_apply(&site, text);
		if (result.status != STATUS_OK)
			fail_msg("%s: %s", kinds[i], result.error.text);
		assert_true(same(&site, "acme/tiny/model-2.safetensors", "out/model-2.safetensors"));
		assert_int_equal(fake_hub_requests(&hub, "model-1.safetensors"), i == 2 ? 1 : 0); /* plain: its size is asked for */
		assert_true(fake_hub_bytes(&hub) < (int64_t)SHARD + 2000);

		assert_int_equal(site_destroy(&site, text, "weights").status, STATUS_OK);
		assert_false(is_there(&site, "out"));
		site_finish(&site);
	}
	assert_int_equal(fake_hub_leaks(&hub), 0);
}

/* What a killed run left beside the list goes with the next one; what another run is writing stays. */
static void
leftovers(void **state)
{
	static const char *const dead = "out/.provision/.provision-0123456789abcdef.tmp", *const alive = "out/.provision/.provision-fedcba9876543210.tmp";
	struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	struct site site;
	int fd finally(close_fd) = -1;

	(void)state;
	make_model("acme/leftovers", 10);
	site_init(&site, rules);
	site_write(&site, dead, "[");
	site_write(&site, alive, "[");
	fd = open(site_path(&site, alive), O_RDWR | O_CLOEXEC);
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &whole), 0);
	assert_int_equal(site_apply(&site, hub_target("huggingface", "acme/leftovers", "")).status, STATUS_OK);
	assert_false(is_there(&site, dead));
	assert_true(is_there(&site, alive));
	site_finish(&site);
}

/* Damage is named, and put right; what we did not put there is not touched. */
static void
drift(void **state)
{
	struct site site;
	struct apply_result result;
	const struct seen *seen;
	const char *text;

	(void)state;
	make_model("acme/drift", 10);
	site_init(&site, rules);
	text = hub_target("huggingface", "acme/drift", "");
	site_write(&site, "out/config.json", "somebody's own");
	result = site_apply(&site, text);
	assert_int_equal(result.error.fault, FAULT_NOT_OURS);
	assert_int_equal(unlink(site_path(&site, "out/config.json")), 0);
	assert_int_equal(site_apply(&site, text).status, STATUS_OK);

	assert_int_equal(chmod(site_path(&site, "out/model-1.safetensors"), 0644), 0);
	assert_int_equal(truncate(site_path(&site, "out/model-1.safetensors"), 1000), 0);
	seen = site_plan(&site, text, "weights");
	assert_int_equal(seen->reason, REASON_OUTPUT_DIFFERS);
	assert_non_null(strstr(seen->detail->look.what, "model-1.safetensors: truncated (have 1000, want "));
	assert_int_equal(site_apply(&site, text).status, STATUS_OK);
	assert_true(same(&site, "acme/drift/model-1.safetensors", "out/model-1.safetensors"));

	site_write(&site, "out/config.json", "{\"num_attention_heads\": 31}");
	seen = site_plan(&site, text, "weights");
	assert_int_equal(seen->reason, REASON_OUTPUT_DIFFERS);
	assert_string_equal(seen->detail->look.what, "config.json: differs");

	/* An edited file is left by destroy. */
	assert_int_equal(site_destroy(&site, text, "weights").status, STATUS_OK);
	assert_true(is_there(&site, "out/config.json"));
	assert_false(is_there(&site, "out/model-1.safetensors"));
	site_finish(&site);
}

/* A branch that moves is nothing to us until --refresh. */
static void
refresh(void **state)
{
	struct site site;
	const struct seen *seen;
	const struct record *record;
	const char *text, *before;

	(void)state;
	make_model("acme/moves", 20);
	site_init(&site, rules);
	text = hub_target("huggingface", "acme/moves", "");
	assert_int_equal(site_apply(&site, text).status, STATUS_OK);
	record = site_record(&site, "weights");
	before = arena_copy(&hub.arena, pairs_get(&record->outputs, "commit"));
	fake_hub_write(&hub, "acme/moves/config.json", "{\"num_attention_heads\": 16}", 27);
	assert_int_equal(site_plan(&site, text, "weights")->reason, REASON_NONE);
	site.wishes.refresh = true;
	seen = site_plan(&site, text, "weights");
	assert_int_equal(seen->reason, REASON_UPSTREAM_MOVED);
	assert_non_null(strstr(seen->detail->look.what, arena_printf(&hub.arena, "was %.7s", before)));
	fake_hub_reset(&hub);
	assert_int_equal(site_apply(&site, text).status, STATUS_OK);
	assert_true(same(&site, "acme/moves/config.json", "out/config.json"));
	assert_int_equal(fake_hub_requests(&hub, "model-1.safetensors"), 0);
	assert_string_not_equal(pairs_get(&site_record(&site, "weights")->outputs, "commit"), before);
	/* A new version has mostly the size of the old one, and is fetched all the same. */
	fake_hub_write(&hub, "acme/moves/config.json", "{\"num_attention_heads\": 24}", 27);
	assert_int_equal(site_plan(&site, text, "weights")->detail->cost.download, 27);
	assert_int_equal(site_apply(&site, text).status, STATUS_OK);
	assert_true(same(&site, "acme/moves/config.json", "out/config.json"));
	site.wishes.refresh = false;
	assert_int_equal(site_plan(&site, text, "weights")->reason, REASON_NONE);
	site_finish(&site);
}

/* Killed or failed halfway, the next run fetches only what is missing; a mirror steps in; offline, what is there is enough. */
static void
again(void **state)
{
	struct site site;
	struct apply_result result;
	const char *text, *mirrored;

	(void)state;
	make_model("acme/again", 30);
	site_init(&site, rules);
	text = hub_target("huggingface", "acme/again", "");
	fake_hub_reset(&hub);
	fake_hub_fault(&hub, "{\"path\":\"tokenizer.json\",\"behaviour\":\"404\",\"times\":1}");
	site.wishes.downloads = 1;
	result = site_apply(&site, text);
	assert_int_equal(result.error.fault, FAULT_HUB_NOT_FOUND);
	assert_non_null(strstr(result.error.text, "tokenizer.json") ? "" : strstr(result.error.text, "404"));
	fake_hub_reset(&hub);
	assert_int_equal(site_apply(&site, text).status, STATUS_OK);
	assert_int_equal(fake_hub_requests(&hub, "model-1.safetensors"), 0);

	mirrored = hub_target("huggingface", "acme/again", arena_printf(&hub.arena, "    mirrors: ['%s/plain/acme/again']\n", hub.url));
	assert_int_equal(unlink(site_path(&site, "out/model-2.safetensors")), 0);
	fake_hub_fault(&hub, "{\"path\":\"model-2.safetensors\",\"behaviour\":\"403\",\"where\":\"hub\",\"times\":1}");
	result = site_apply(&site, mirrored);
	if (result.status != STATUS_OK)
		fail_msg("%s", result.error.text);
	assert_true(same(&site, "acme/again/model-2.safetensors", "out/model-2.safetensors"));

	site.wishes.offline = true;
	fake_hub_reset(&hub);
	assert_int_equal(site_plan(&site, text, "weights")->reason, REASON_NONE);
	assert_int_equal(unlink(site_path(&site, "out/config.json")), 0);
	result = site_apply(&site, text);
	assert_int_equal(result.error.fault, FAULT_OFFLINE);
	assert_non_null(strstr(result.error.text, "config.json"));
	assert_int_equal(fake_hub_bytes(&hub), 0);
	site_finish(&site);
}

/* What a listing may not do to us, and what may not be fetched. */
static void
refusals(void **state)
{
	static const struct {
		const char *kind, *fault, *more;
		enum fault expected;
	} cases[] = {
		{ "huggingface", "{\"path\":\"acme/bad\",\"behaviour\":\"hostile\",\"arg\":[\"../x.json\"],\"times\":-1}", "    include: ['*']\n", FAULT_HOSTILE_NAME },
		{ "huggingface", "{\"path\":\"acme/bad\",\"behaviour\":\"hostile\",\"arg\":[\"Config.json\"],\"times\":-1}", "", FAULT_HOSTILE_NAME },
		{ "modelscope", "{\"path\":\"acme/bad\",\"behaviour\":\"hostile\",\"arg\":[\"a\\\\..\\\\x\"],\"times\":-1}", "    include: ['*']\n", FAULT_HOSTILE_NAME },
		{ "huggingface", "{\"path\":\"acme/bad\",\"behaviour\":\"wrong_pointer\",\"times\":-1}", "", FAULT_PROTOCOL },
		{ "huggingface", "{\"path\":\"acme/bad\",\"behaviour\":\"html\",\"times\":-1}", "", FAULT_PROTOCOL },
		{ "huggingface", "{\"path\":\"acme/bad\",\"behaviour\":\"symlink\",\"times\":-1}", "", FAULT_PROTOCOL },
		{ "modelscope", "{\"path\":\"acme/bad\",\"behaviour\":\"no_sha256\",\"times\":-1}", "", FAULT_NO_DIGEST },
		{ "modelscope", "{\"path\":\"acme/bad\",\"behaviour\":\"wrong_sha256\",\"times\":-1}", "", FAULT_DIGEST },
		{ "modelscope", "{\"path\":\"acme/bad\",\"behaviour\":\"files_null\",\"times\":-1}", "", FAULT_HUB_NOT_FOUND },
		{ "huggingface", "{\"path\":\"acme/bad\",\"behaviour\":\"401\",\"arg\":{\"code\":\"GatedRepo\"},\"times\":-1}", "", FAULT_HUB_DENIED },
		{ "huggingface", "{\"path\":\"model-1.safetensors\",\"behaviour\":\"wrong_byte\",\"arg\":500,\"times\":-1}", "", FAULT_DIGEST },
		{ "huggingface", "{\"path\":\"x\",\"behaviour\":\"404\"}", "    exclude: ['*.gguf']\n", FAULT_NO_MATCH },
	};

	(void)state;
	make_model("acme/bad", 40);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct site site;
		struct apply_result result;

		site_init(&site, rules);
		fake_hub_reset(&hub);
		fake_hub_fault(&hub, cases[i].fault);
		result = site_apply(&site, hub_target(cases[i].kind, "acme/bad", cases[i].more));
		if (result.error.fault != cases[i].expected)
			fail_msg("%s: %s %s", cases[i].fault, fault_row(result.error.fault)->code, result.error.text);
		assert_null(site_record(&site, "weights"));
		assert_false(is_there(&site, "x.json"));
		site_finish(&site);
	}
}

/* A pickle under another name is found by its content and removed again; a broken safetensors file is refused although its bytes are as listed. */
static void
contents(void **state)
{
	struct site site;
	struct apply_result result;

	(void)state;
	make_model("acme/odd", 50);
	fake_hub_write(&hub, "acme/odd/tokenizer.json", "\x80\x04\x95 pickled", 11);
	site_init(&site, rules);
	result = site_apply(&site, hub_target("huggingface", "acme/odd", ""));
	assert_int_equal(result.error.fault, FAULT_CODE_REFUSED);
	assert_false(is_there(&site, "out/tokenizer.json"));
	site_write(&site, "out/tokenizer.json", "\x80\x04\x95 pickled");
	result = site_apply(&site, hub_target("huggingface", "acme/odd", ""));
	assert_int_equal(result.error.fault, FAULT_CODE_REFUSED);
	assert_true(is_there(&site, "out/tokenizer.json"));
	site_finish(&site);
	site_init(&site, rules);
	fake_hub_write(&hub, "acme/odd/tokenizer.json", "{}", 2);
	fake_hub_fill(&hub, "acme/odd/model-2.safetensors", 5000, 1);
	result = site_apply(&site, hub_target("huggingface", "acme/odd", ""));
	assert_int_equal(result.error.fault, FAULT_PROTOCOL);
	site_finish(&site);
}

/* The source is the directory itself: verified, never moved or removed. */
static void
in_place(void **state)
{
	struct site site;
	const char *text;

	(void)state;
	make_model("acme/here", 60);
	site_init(&site, rules);
	text = arena_printf(&hub.arena, "  weights:\n    rule: model\n    source: %s/acme/here\n    dir: %s/acme/here\n", hub.root, hub.root);
	assert_int_equal(site_apply(&site, text).status, STATUS_OK);
	assert_int_equal(site_plan(&site, text, "weights")->reason, REASON_NONE);
	assert_int_equal(site_destroy(&site, text, "weights").status, STATUS_OK);
	assert_int_equal(faccessat(AT_FDCWD, path_join(&hub.arena, hub.root, "acme/here/model-1.safetensors"), F_OK, 0), 0);
	assert_int_not_equal(faccessat(AT_FDCWD, path_join(&hub.arena, hub.root, "acme/here/.provision"), F_OK, 0), 0);
	site_finish(&site);
}

static void
parameters(void **state)
{
	static const struct {
		const char *source, *more, *code;
	} cases[] = {
		{ "huggingface:acme/tiny", "", "" },
		{ "huggingfac:acme/tiny", "", "E0103" },
		{ "huggingface:tiny", "", "E0103" },
		{ "huggingface:a/b/c", "", "E0103" },
		{ "huggingface:a/b..c", "", "E0103" },
		{ "huggingface:a/b@", "", "E0103" },
		{ "https://me:pw@host/x", "", "E0103" },
		{ "./weights", "    endpoint: https://x.org\n", "E0115" },
		{ "huggingface:a/b", "    mode: '0999'\n", "E0103" },
		{ "huggingface:a/b", "    mode: '0640'\n", "" },
		{ "huggingface:a/b", "    mirrors: [{src: x}]\n", "E0103" },
		{ "huggingface:a/b", "    mirrors: [{source: 'modelscope:a/b', endpoint: 'https://x.org', token: {env: X}}]\n", "" },
		{ "huggingface:a/b", "    mirrors: [{source: 'modelscope:a/b', tokn: {env: X}}]\n", "E0102" },
		{ "huggingface:a/b", "    allow_code: true\n", "E0115" },
		{ "huggingface:a/b@0123456789012345678901234567890123456789", "    allow_code: true\n", "" },
	};
	struct site site;

	(void)state;
	site_init(&site, rules);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const char *found = site_check(&site, target(cases[i].source, cases[i].more));

		if (strncmp(found, cases[i].code, 5) != 0 || (*cases[i].code == '\0') != (*found == '\0'))
			fail_msg("%s %s: %s", cases[i].source, cases[i].more, found);
	}
	site_finish(&site);
}

static int
start(void **state)
{
	(void)state;
	fake_hub_start(&hub, NULL);
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
		cmocka_unit_test(leftovers),
		cmocka_unit_test(drift),
		cmocka_unit_test(refresh),
		cmocka_unit_test(again),
		cmocka_unit_test(refusals),
		cmocka_unit_test(contents),
		cmocka_unit_test(in_place),
		cmocka_unit_test(parameters),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
