#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "engine/base/secret.h"
#include "engine/base/strings.h"
#include "scratch.h"

/* Neither of them is or was a secret of anybody. */
#define CANARY "canary/Of+Nobody=\"42\"\\end"
#define OTHER "0ther-canary-of-nobody"

static const char *
redacted(const char *text)
{
	static char result[4000];
	struct buf out;

	buf_init(&out, sizeof result - 1);
	secret_redact(text, strlen(text), &out);
	snprintf(result, sizeof result, "%s", out.data);
	buf_finish(&out);
	return result;
}

static void
nothing_is_replaced_before_one_is_loaded(void **state)
{
	struct rlimit limit;

	(void)state;
	/* As high as it may be, so that closing it shows. */
	assert_int_equal(getrlimit(RLIMIT_CORE, &limit), 0);
	limit.rlim_cur = limit.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_CORE, &limit), 0);
	assert_true(secret_none_loaded());
	assert_string_equal(redacted("text with " CANARY), "text with " CANARY);
}

static void
failures_name_what_is_missing(void **state)
{
	struct scratch *scratch = *state;
	struct secret secret = { .name = "untouched" };
	struct error err = { 0 };
	char expected[200];
	int fd;

	unsetenv("NO_SUCH_TOKEN");
	assert_false(secret_load(&(struct secret_ref){ .env = "NO_SUCH_TOKEN" }, false, &secret, &err));
	assert_int_equal(err.fault, FAULT_PERMISSION);
	assert_string_equal(err.text, "the environment variable `NO_SUCH_TOKEN` is not set");
	setenv("EMPTY_TOKEN", " \n", 1);
	assert_false(secret_load(&(struct secret_ref){ .env = "EMPTY_TOKEN" }, false, &secret, &err));
	assert_string_equal(err.text, "the secret `EMPTY_TOKEN` is empty");
	assert_false(secret_load(&(struct secret_ref){ 0 }, false, &secret, &err));
	assert_false(secret_load(&(struct secret_ref){ .file = "/no/such/file" }, true, &secret, &err));
	assert_int_equal(err.fault, FAULT_PERMISSION);
	assert_non_null(strstr(err.text, "/no/such/file"));
	assert_false(secret_load(&(struct secret_ref){ .file = scratch->path }, true, &secret, &err));
	assert_non_null(strstr(err.text, "not a regular file"));
	assert_int_equal(mkfifoat(scratch->fd, "fifo", 0600), 0);
	assert_false(secret_load(&(struct secret_ref){ .file = scratch_path(scratch, "fifo") }, true, &secret, &err));
	assert_non_null(strstr(err.text, "not a regular file"));
	for (mode_t bit = 1; bit < 0100; bit <<= 1) {
		scratch_file(scratch, "open", "never-loaded");
		assert_int_equal(fchmodat(scratch->fd, "open", 0600 | bit, 0), 0);
		assert_false(secret_load(&(struct secret_ref){ .file = scratch_path(scratch, "open") }, false, &secret, &err));
		assert_int_equal(err.fault, FAULT_PERMISSION);
		snprintf(expected, sizeof expected, "chmod 600 %s/open", scratch->path);
		assert_string_equal(err.hint, expected);
	}
	if (geteuid() == 0) {
		assert_int_equal(fchmodat(scratch->fd, "open", 0600, 0), 0);
		assert_int_equal(fchownat(scratch->fd, "open", 12345, (gid_t)-1, 0), 0);
		assert_false(secret_load(&(struct secret_ref){ .file = scratch_path(scratch, "open") }, false, &secret, &err));
		assert_non_null(strstr(err.text, "12345"));
	}
	fd = openat(scratch->fd, "nul", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, "never\0loaded", 12), 12);
	close(fd);
	assert_false(secret_load(&(struct secret_ref){ .file = scratch_path(scratch, "nul") }, false, &secret, &err));
	assert_string_equal(err.text, "the secret `nul` has a NUL inside");
	assert_true(secret_none_loaded());
	assert_string_equal(secret.name, "untouched");
}

static void
values_lose_space_at_both_ends(void **state)
{
	struct scratch *scratch = *state;
	struct secret secret;
	struct error err = { 0 };
	char *large;

	setenv("CANARY_TOKEN", " \t" CANARY "\r\n", 1);
	assert_true(secret_load(&(struct secret_ref){ .env = "CANARY_TOKEN" }, false, &secret, &err));
	assert_string_equal(secret.name, "<CANARY_TOKEN>");
	assert_string_equal(secret.value, CANARY);
	assert_int_equal(secret.length, strlen(CANARY));
	secret_finish(&secret);
	assert_null(secret.value);
	secret_finish(&secret);
	scratch_file(scratch, "token", "\n" OTHER "\n\n");
	assert_int_equal(fchmodat(scratch->fd, "token", 0400, 0), 0);
	assert_true(secret_load(&(struct secret_ref){ .file = scratch_path(scratch, "token") }, false, &secret, &err));
	assert_string_equal(secret.name, "<token>");
	assert_string_equal(secret.value, OTHER);
	/* The hubs' own files are taken as they are. */
	assert_int_equal(fchmodat(scratch->fd, "token", 0644, 0), 0);
	assert_false(secret_load(&(struct secret_ref){ .file = scratch_path(scratch, "token") }, false, &secret, &err));
	assert_true(secret_load(&(struct secret_ref){ .file = scratch_path(scratch, "token") }, true, &secret, &err));
	assert_false(secret_none_loaded());
	large = calloc(1, 70000);
	memset(large, 'x', 69999);
	scratch_file(scratch, "large", large);
	assert_false(secret_load(&(struct secret_ref){ .file = scratch_path(scratch, "large") }, true, &secret, &err));
	assert_int_equal(err.fault, FAULT_TOO_LARGE);
	free(large);
}

static void
the_process_is_closed(void **state)
{
	struct rlimit limit;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_CORE, &limit), 0);
	assert_int_equal(limit.rlim_cur, 0);
	assert_int_equal(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), 0);
	/* Else the leak sanitizer cannot look at us at the end. */
	prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

static void
all_spellings_are_replaced(void **state)
{
	static const struct {
		const char *text, *expected;
	} cases[] = {
		{ "", "" },
		{ "nothing here", "nothing here" },
		{ CANARY, "<CANARY_TOKEN>" },
		{ "Bearer " CANARY "; next", "Bearer <CANARY_TOKEN>; next" },
		{ "first " CANARY " second " OTHER " third", "first <CANARY_TOKEN> second <token> third" },
		{ CANARY CANARY OTHER, "<CANARY_TOKEN><CANARY_TOKEN><token>" },
		{ "canary/Of+Nobody=\"42\"\\en", "canary/Of+Nobody=\"42\"\\en" },
		/* JSON, with and without the slash escaped. */
		{ "{\"t\": \"canary/Of+Nobody=\\\"42\\\"\\\\end\"}", "{\"t\": \"<CANARY_TOKEN>\"}" },
		{ "{\"t\": \"canary\\/Of+Nobody=\\\"42\\\"\\\\end\"}", "{\"t\": \"<CANARY_TOKEN>\"}" },
		/* URL, both cases of the digits. */
		{ "?t=canary%2FOf%2BNobody%3D%2242%22%5Cend&x", "?t=<CANARY_TOKEN>&x" },
		{ "?t=canary%2fOf%2bNobody%3d%2242%22%5cend&x", "?t=<CANARY_TOKEN>&x" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		assert_string_equal(redacted(cases[i].text), cases[i].expected);
}

static void
encode(const char *letters, const char *text, char *out)
{
	size_t length = strlen(text);

	for (size_t i = 0; i < length; i += 3) {
		uint32_t word = (uint32_t)(unsigned char)text[i] << 16;

		if (i + 1 < length)
			word |= (uint32_t)(unsigned char)text[i + 1] << 8;
		if (i + 2 < length)
			word |= (unsigned char)text[i + 2];
		for (size_t k = 0; k < 4; k++)
			*out++ = i + k > length ? '=' : letters[word >> (18 - 6 * k) & 63];
	}
	*out = '\0';
}

static void
base64_is_found_inside_of_other_text(void **state)
{
	static const char *const letters[] = {
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
	};
	char check[20];

	(void)state;
	encode(letters[0], "user:x", check);
	assert_string_equal(check, "dXNlcjp4");
	encode(letters[0], "abcd", check);
	assert_string_equal(check, "YWJjZA==");
	for (size_t kind = 0; kind < 2; kind++)
		for (size_t before = 0; before < 7; before++)
			for (size_t behind = 0; behind < 4; behind++) {
				char plain[100], coded[200];
				const char *result;

				snprintf(plain, sizeof plain, "%.*s" CANARY "%.*s", (int)before, "user:xy", (int)behind, "....");
				encode(letters[kind], plain, coded);
				result = redacted(coded);
				if (!strstr(result, "<CANARY_TOKEN>"))
					fail_msg("`%s` in base64 is still there: `%s`", plain, result);
				/* At most one letter at each side depends on the secret and on its neighbour too. */
				assert_true(strlen(result) <= strlen("<CANARY_TOKEN>") + (before + behind) * 4 / 3 + 8);
			}
}

/* Few texts need the letters in which the two kinds of base64 differ. */
static void
base64_with_its_rare_letters(void **state)
{
	struct secret secret;
	struct error err = { 0 };

	(void)state;
	setenv("RARE", "~~~???~~~???~~~???", 1);
	assert_true(secret_load(&(struct secret_ref){ .env = "RARE" }, false, &secret, &err));
	prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
	assert_string_equal(redacted("log: fn5+Pz8/fn5+Pz8/fn5+Pz8/"), "log: <RARE>");
	assert_string_equal(redacted("log: fn5-Pz8_fn5-Pz8_fn5-Pz8_"), "log: <RARE>");
}

static void
keys_of_several_lines(void **state)
{
	static const char key[] = "-----BEGIN NOBODY KEY-----\nbm90IGEga2V5IG9mIGFueWJvZHk\nc2hvcnQ=\nYW5vdGhlciBsaW5lIG9mIGl0\nc2l4dGVlbiBleGFj\n-----END NOBODY KEY-----";
	struct secret secret;
	struct error err = { 0 };

	(void)state;
	setenv("KEY", key, 1);
	assert_true(secret_load(&(struct secret_ref){ .env = "KEY" }, false, &secret, &err));
	prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
	assert_string_equal(redacted(key), "<KEY>");
	assert_string_equal(redacted("log: YW5vdGhlciBsaW5lIG9mIGl0!"), "log: <KEY>!");
	assert_string_equal(redacted("log: c2l4dGVlbiBleGFj"), "log: <KEY>");
	assert_string_equal(redacted("log: c2hvcnQ="), "log: c2hvcnQ=");
}

static void
short_values_are_used_but_not_hunted(void **state)
{
	struct secret secret;
	struct error err = { 0 };

	(void)state;
	setenv("DUMMY", "EMPTY", 1);
	assert_true(secret_load(&(struct secret_ref){ .env = "DUMMY" }, false, &secret, &err));
	prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
	assert_string_equal(secret.value, "EMPTY");
	assert_string_equal(redacted("EMPTY cache"), "EMPTY cache");
	setenv("DUMMY", "nobody", 1);
	assert_true(secret_load(&(struct secret_ref){ .env = "DUMMY" }, false, &secret, &err));
	prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
	assert_string_equal(redacted("nobody is here"), "<DUMMY> is here");
}

static size_t
memory_held(void)
{
	FILE *file = fopen("/proc/self/statm", "r");
	size_t pages = 0;

	assert_non_null(file);
	assert_int_equal(fscanf(file, "%zu", &pages), 1);
	fclose(file);
	return pages * 4096;
}

/* Around the sizes of the memory that they are kept in, and up to the limit. */
static void
values_of_all_sizes(void **state)
{
	static const size_t sizes[] = { 1, 4095, 4096, 16382, 16383, 16384, 16385, 20000, 65535, 65536 };
	struct scratch *scratch = *state;
	char *text = calloc(1, 65537);
	struct secret secret;
	struct error err = { 0 };
	struct buf out;
	size_t before;

	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		for (size_t k = 0; k < sizes[i]; k++)
			text[k] = (char)('a' + (k * k + i) % 23);
		text[sizes[i]] = '\0';
		scratch_file(scratch, "sized", text);
		assert_int_equal(fchmodat(scratch->fd, "sized", 0600, 0), 0);
		assert_true(secret_load(&(struct secret_ref){ .file = scratch_path(scratch, "sized") }, false, &secret, &err));
		assert_int_equal(secret.length, sizes[i]);
		assert_string_equal(secret.value, text);
		buf_init(&out, 100000);
		secret_redact(text, sizes[i], &out);
		assert_string_equal(out.data, sizes[i] > 1 ? "<sized>" : text);
		buf_finish(&out);
	}
	/* What is known costs nothing more. */
	before = memory_held();
	for (int i = 0; i < 300; i++)
		assert_true(secret_load(&(struct secret_ref){ .file = scratch_path(scratch, "sized") }, false, &secret, &err));
	assert_true(memory_held() < before + (1 << 20));
	prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
	free(text);
}

static void *
load_and_redact(void *number)
{
	uintptr_t wrong = 0;

	for (int i = 0; i < 500; i++) {
		struct secret secret;
		struct error err = { 0 };
		struct buf out;

		/* New ones too, while others look. */
		if (i < 20) {
			char path[100], text[100];
			int fd;

			snprintf(path, sizeof path, "/tmp/provision-test-%d-%zu", (int)getpid(), (size_t)number);
			snprintf(text, sizeof text, "of-nobody-%zu-%d", (size_t)number, i);
			fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
			wrong += write(fd, text, strlen(text)) < 0;
			close(fd);
			wrong += !secret_load(&(struct secret_ref){ .file = path }, false, &secret, &err);
			unlink(path);
		}
		wrong += !secret_load(&(struct secret_ref){ .env = "CANARY_TOKEN" }, false, &secret, &err);
		buf_init(&out, 1000);
		secret_redact("a " CANARY " b", strlen(CANARY) + 4, &out);
		wrong += strcmp(out.data, "a <CANARY_TOKEN> b") != 0;
		buf_finish(&out);
	}
	return (void *)wrong;
}

static void
threads_redact_side_by_side(void **state)
{
	pthread_t threads[6];

	(void)state;
	for (size_t i = 0; i < 6; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, load_and_redact, (void *)i), 0);
	for (size_t i = 0; i < 6; i++) {
		void *wrong;

		assert_int_equal(pthread_join(threads[i], &wrong), 0);
		assert_null(wrong);
	}
	prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

/* Last: it fills the list. */
static void
the_list_has_an_end(void **state)
{
	struct error err = { 0 };
	size_t loaded = 0;

	(void)state;
	for (int i = 0; i < 400; i++) {
		struct secret secret;
		char value[40];

		snprintf(value, sizeof value, "number-%d-of-nobody", i);
		setenv("MANY", value, 1);
		if (!secret_load(&(struct secret_ref){ .env = "MANY" }, false, &secret, &err))
			break;
		loaded++;
		assert_string_equal(redacted(value), "<MANY>");
	}
	prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
	/* 256 less those of the tests before. */
	assert_in_range(loaded, 80, 200);
	assert_int_equal(err.fault, FAULT_TOO_LARGE);
	assert_string_equal(redacted(CANARY), "<CANARY_TOKEN>");
}

#define A30 "aB3aB3aB3aB3aB3aB3aB3aB3aB3aB3"

static void
what_looks_like_a_secret(void **state)
{
	static const struct {
		const char *text;
		bool looks;
	} cases[] = {
		{ "hf_" A30, true },
		{ "Bearer hf_" A30 "x", true },
		{ "--token=hf_" A30, true },
		{ "hf_short", false },
		{ "hf_aB3aB3aB3aB3aB3aB3aB3aB3aB3aB", false },
		{ "xhf_" A30, false },
		{ "hf_hub_download_of_everything_there_is", false },
		{ "ms-12345678-9abc-def0-1234-56789abcdef0", true },
		{ "ms-12345678-9abc-def0-1234-56789abcdef", false },
		{ "ms-12345678-9abc-def0-1234-56789abcdef01", false },
		{ "ms-12345678x9abc-def0-1234-56789abcdef0", false },
		{ "ms-swift-is-a-tool-for-fine-tuning-models", false },
		{ "sk-" A30, true },
		{ "sk-proj-" A30, true },
		{ "sk-abcdefghijklmno9", true },
		{ "sk-abcdefghijklmn9", false },
		{ "sk-abcdefghijklmnopqrstuvwxyz", false },
		{ "hf_" "A9A9A9A9A9A9A9A9A9A9A9A9A9A9A9", true },
		{ "sk-learn-style-classifier-of-everything", false },
		{ "task-" A30, false },
		{ "sk-12345678901234567890", false },
		{ "ghp_" A30 "abcdef", true },
		{ "eyJhbGciOiJub25lIn0.eyJzdWIiOiJub2JvZHkifQ.c2lnbmF0dXJl", true },
		{ "eyJhbGciOiJub25lIn0.eyJzdWIiOiJub2JvZHkifQ", false },
		{ "eyJhbGciOi.1234567890.1234567890", true },
		{ "eyJhbGciO.1234567890.1234567890", false },
		{ "eyJhbGciOi.123456789.1234567890", false },
		{ "eyJhbGciOi.1234567890.123456789", false },
		{ "xyJhbGciOi.1234567890.1234567890", false },
		{ "-----BEGIN PRIVATE KEY-----\nx", true },
		{ "-----BEGIN OPENSSH PRIVATE KEY-----", true },
		{ "-----BEGIN CERTIFICATE-----", false },
		{ "", false },
		{ "${env.HF_TOKEN}", false },
		{ "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", false },
		{ "zai-org/AutoGLM-Phone-9B-Multilingual", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		if (secret_looks_like_one(cases[i].text) != cases[i].looks)
			fail_msg("`%s`", cases[i].text);
}

static void
urls_are_shown_without_secrets(void **state)
{
	static const struct {
		const char *url, *shown;
	} cases[] = {
		{ "https://host/path", "https://host/path" },
		{ "https://host:8443/a@b/c:d", "https://host:8443/a@b/c:d" },
		{ "https://user:word@host/path?sig=1#top", "https://host/path" },
		{ "https://token@host", "https://host" },
		{ "https://user:w@rd@host/path", "https://host/path" },
		{ "https://user:wo/rd@host/path", "https://host/path" },
		{ "https://user:wo?rd@host/path?x", "https://host/path" },
		{ "https://user:wo#rd@host/path", "https://host/path" },
		{ "https://host?sig=a@b", "https://host" },
		{ "https://host/path?a=https://x@y", "https://host/path" },
		{ "http://[::1]:8000/v1?k=@", "http://[::1]:8000/v1" },
		{ "unix:///var/run/docker.sock", "unix:///var/run/docker.sock" },
		{ "git@github.com:org/repo", "git@github.com:org/repo" },
		{ "/local/path?x", "/local/path" },
		{ "/local/path?next=https://user:word@host", "/local/path" },
		{ "path#https://user:word@host", "path" },
		{ "https://", "https://" },
		{ "", "" },
	};
	struct arena arena = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const char *shown = secret_url_shown(&arena, cases[i].url);

		if (strcmp(shown, cases[i].shown) != 0)
			fail_msg("`%s` shows as `%s`", cases[i].url, shown);
	}
	arena_finish(&arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_replaced_before_one_is_loaded),
		cmocka_unit_test_setup_teardown(failures_name_what_is_missing, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(values_lose_space_at_both_ends, scratch_setup, scratch_teardown),
		cmocka_unit_test(the_process_is_closed),
		cmocka_unit_test(all_spellings_are_replaced),
		cmocka_unit_test(base64_is_found_inside_of_other_text),
		cmocka_unit_test(base64_with_its_rare_letters),
		cmocka_unit_test(keys_of_several_lines),
		cmocka_unit_test(short_values_are_used_but_not_hunted),
		cmocka_unit_test_setup_teardown(values_of_all_sizes, scratch_setup, scratch_teardown),
		cmocka_unit_test(threads_redact_side_by_side),
		cmocka_unit_test(the_list_has_an_end),
		cmocka_unit_test(what_looks_like_a_secret),
		cmocka_unit_test(urls_are_shown_without_secrets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
