/* ignore.c and context.c: .dockerignore as the builders read it, and the digest of what is left. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine/base/buf.h"
#include "engine/known.h"
#include "engine/task_internal.h"
#include "rules/context.h"
#include "tests/fake/site.h"

#include <cmocka.h> /* last: its macro `fail` hides our function */

/* ---- patterns: what moby/patternmatcher and its ignorefile say */

static void
patterns(void **state)
{
	static const struct {
		const char *text, *path;
		bool ignored;
	} cases[] = {
		{ "", "a", false },
		{ "a", "a", true },
		{ "a", "a/b/c", true },
		{ "a", "b/a", false },
		{ "/a", "a", true },
		{ "//a//b/", "a/b/c", true },
		{ "  a \t\r", "a", true },
		{ "# a", "a", false },
		{ "# a", "# a", false },
		{ " # a", "# a", true },
		{ ".", "a", false },
		{ "/", "a", false },
		{ "./a", "a", true },
		{ "b/../a", "a", true },
		{ "../a", "a", false },
		{ "/../a", "a", true },
		{ "../../a", "a", false },
		{ "*", "a", true },
		{ "*", "a/b", true },
		{ "*.o", "x.o", true },
		{ "*.o", "d/x.o", false },
		{ "*.o", ".o", true },
		{ "*/x", "a/x", true },
		{ "*/x", "x", false },
		{ "*/x", "a/b/x", false },
		{ "*/*/x", "a/b/x", true },
		{ "a?c", "abc", true },
		{ "a?c", "a/c", false },
		{ "a?c", "a\xc3\xa9" "c", true },
		{ "**", "a/b", true },
		{ "**/", "a", true },
		{ "**/x", "x", true },
		{ "**/x", "a/b/x", true },
		{ "**/x", "ax", false },
		{ "**/x", "a/x/b", true },
		{ "**x", "ax", true },
		{ "**x", "a/bx", true },
		{ "**/*.go", "a/b.go", true },
		{ "**/*.go", "b.go", true },
		{ "**/*.go", "b.goo", false },
		{ "a/**", "a", false },
		{ "a/**", "a/b/c", true },
		{ "a**", "ab/c", true },
		{ "a/**/b", "a/b", true },
		{ "a/**/b", "a/x/y/b", true },
		{ "a/**/b", "a/xb", false },
		{ "**/a/**", "x/a/y", true },
		{ "[a-c]x", "bx", true },
		{ "[a-c]x", "dx", false },
		{ "[^a-c]x", "dx", true },
		{ "[^a-c]x", "ax", false },
		{ "[\\]]", "]", true },
		{ "\\*", "*", true },
		{ "\\*", "a", false },
		{ "a.b", "axb", false },
		{ "a+(b)|c$^{}", "a+(b)|c$^{}", true },
		{ "a\n!a", "a", false },
		{ "!a\na", "a", true },
		{ "*\n!a/keep", "a/keep", false },
		{ "*\n!a/keep", "a/other", true },
		{ "*\n! a", "a", false },
		{ "*.md\n!README*.md\nREADME-secret.md", "README-secret.md", true },
		{ "*.md\n!README*.md\nREADME-secret.md", "README-a.md", false },
		{ "*.md\nREADME-secret.md\n!README*.md", "README-secret.md", false },
		{ "a\n!a/b", "a/b/c", false },
		{ "a\n!a/b\na/b/c", "a/b/c", true },
		{ "*\n!**/keep", "x/y/keep", false },
		{ "*a*a*a*a*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false },
		{ "\xef\xbb\xbf" "a", "a", true },
		{ "a\r\nb\r\n", "b", true },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct arena arena = { 0 };
		struct ignore ignore;
		struct error err = { 0 };

		if (!ignore_parse(cases[i].text, strlen(cases[i].text), &arena, &ignore, &err))
			fail_msg("`%s`: %s", cases[i].text, err.text);
		if (ignore_matches(&ignore, cases[i].path) != cases[i].ignored)
			fail_msg("`%s` and `%s`: wanted %d", cases[i].text, cases[i].path, cases[i].ignored);
		arena_finish(&arena);
	}
}

static void
patterns_that_are_none(void **state)
{
	static const struct {
		const char *text;
		size_t size;
		enum fault fault;
		const char *words;
	} cases[] = {
		{ "a\n!\n", 4, FAULT_BAD_VALUE, "line 2: `!` without a pattern" },
		{ "! \n", 3, FAULT_BAD_VALUE, "line 1" },
		{ "[a", 2, FAULT_BAD_VALUE, "`[a` is no pattern" },
		{ "[]a]", 4, FAULT_BAD_VALUE, "is no pattern" },
		{ "[a-]", 4, FAULT_BAD_VALUE, "is no pattern" },
		{ "[-x]", 4, FAULT_BAD_VALUE, "is no pattern" },
		{ "a\\", 2, FAULT_BAD_VALUE, "is no pattern" },
		{ "a\0b", 3, FAULT_ENCODING, "NUL" },
	};
	char *line = xmalloc(70000);

	(void)state;
	memset(line, 'a', 70000);
	for (size_t i = 0; i <= sizeof cases / sizeof *cases; i++) {
		bool last = i == sizeof cases / sizeof *cases;
		struct arena arena = { 0 };
		struct ignore ignore;
		struct error err = { 0 };

		assert_false(ignore_parse(last ? line : cases[i].text, last ? 70000 : cases[i].size, &arena, &ignore, &err));
		assert_int_equal(err.fault, last ? FAULT_TOO_LARGE : cases[i].fault);
		if (!strstr(err.text, last ? "line 1 is over" : cases[i].words))
			fail_msg("%s", err.text);
		arena_finish(&arena);
	}
	free(line);
}

/* ---- contexts */

struct world {
	struct site site;
	struct known known;
	struct inspection inspection;
	struct task task;
	struct error err;
	struct context_file *files;
	size_t count;
	struct digest digest;
};

static int
set_up(void **state)
{
	struct world *world = xmalloc(sizeof *world);

	*world = (struct world){ 0 };
	site_init(&world->site, NULL);
	known_init(&world->known, &world->site.memory.socket, &world->site.arena);
	assert_true(known_load(&world->known, &world->err));
	world->inspection = (struct inspection){ .known = &world->known, .wishes = &world->site.wishes, .arena = &world->site.arena };
	task_init(&world->task, &world->inspection, NULL, "image", &world->site.arena);
	site_write(&world->site, "c/Dockerfile", "FROM scratch\n");
	site_write(&world->site, "c/a/x", "1");
	site_write(&world->site, "c/b", "22");
	*state = world;
	return 0;
}

static int
tear_down(void **state)
{
	struct world *world = *state;

	task_finish(&world->task);
	known_finish(&world->known);
	site_finish(&world->site);
	free(world);
	return 0;
}

static bool
read_context(struct world *world)
{
	return context_read(&world->task, site_path(&world->site, "c"), site_path(&world->site, "c/Dockerfile"), &world->files, &world->count, &world->digest,
		&world->err);
}

/* Names of all that is in the context, with a space between. */
static const char *
names(struct world *world)
{
	struct buf text;
	const char *copy;

	buf_init(&text, 10000);
	if (!read_context(world))
		fail_msg("%s", world->err.text);
	for (size_t i = 0; i < world->count; i++)
		buf_printf(&text, "%s%s", i ? " " : "", world->files[i].path);
	copy = arena_copy(&world->site.arena, text.data);
	buf_finish(&text);
	return copy;
}

static void
what_is_left(void **state)
{
	static const struct {
		const char *common, *own, *names;
	} cases[] = {
		{ NULL, NULL, "Dockerfile a a/x b" },
		{ "b", NULL, ".dockerignore Dockerfile a a/x" },
		{ "*", NULL, "Dockerfile" },
		{ "*\n!a/x", NULL, "Dockerfile a/x" },
		{ "*\n!**/x", NULL, "Dockerfile a/x" },
		{ "a/x\n.dockerignore", NULL, "Dockerfile a b" },
		{ "b", "a\n*.dockerignore\n.dockerignore", "Dockerfile b" },
	};
	struct world *world = *state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		unlink(site_path(&world->site, "c/.dockerignore"));
		unlink(site_path(&world->site, "c/Dockerfile.dockerignore"));
		if (cases[i].common)
			site_write(&world->site, "c/.dockerignore", cases[i].common);
		if (cases[i].own)
			site_write(&world->site, "c/Dockerfile.dockerignore", cases[i].own);
		if (strcmp(names(world), cases[i].names) != 0)
			fail_msg("case %zu: %s", i, names(world));
	}
}

static struct digest
digest_now(struct world *world)
{
	names(world);
	return world->digest;
}

static void
same_or_other(struct world *world, struct digest *before, bool same, const char *what)
{
	struct digest now = digest_now(world);

	if (digest_equal(before, &now) != same)
		fail_msg("%s: the digest %s", what, same ? "changed" : "is still the same");
	*before = now;
}

static void
digest_tells(void **state)
{
	struct world *world = *state;
	const char *b = site_path(&world->site, "c/b");
	struct timespec times[2] = { { .tv_sec = 1000 }, { .tv_sec = 1000 } };
	struct digest digest = digest_now(world);

	same_or_other(world, &digest, true, "nothing");
	utimensat(AT_FDCWD, b, times, 0);
	same_or_other(world, &digest, true, "time stamp");
	site_write(&world->site, "c/b", "23");
	same_or_other(world, &digest, false, "content");
	assert_int_equal(chmod(b, 0755), 0);
	same_or_other(world, &digest, false, "mode");
	assert_int_equal(rename(b, site_path(&world->site, "c/B")), 0);
	same_or_other(world, &digest, false, "name");
	assert_int_equal(symlink("a/x", b), 0);
	same_or_other(world, &digest, false, "symlink");
	unlink(b);
	assert_int_equal(symlink("/etc/passwd", b), 0);
	same_or_other(world, &digest, false, "target of a symlink");
	assert_int_equal(mkdir(site_path(&world->site, "c/empty"), 0755), 0);
	same_or_other(world, &digest, false, "empty directory");
	site_write(&world->site, "c/.dockerignore", "empty\n.dockerignore");
	same_or_other(world, &digest, false, "ignored directory");
	site_write(&world->site, "c/empty/x", "1");
	same_or_other(world, &digest, true, "ignored file");
	assert_int_equal(symlink("../..", site_path(&world->site, "c/a/up")), 0);
	assert_string_equal(names(world), "B Dockerfile a a/up a/x b");
}

static void
what_no_builder_takes(void **state)
{
	struct world *world = *state;
	const char *path = site_path(&world->site, "c/a/thing");
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	assert_int_equal(mkfifo(path, 0600), 0);
	assert_false(read_context(world));
	assert_int_equal(world->err.fault, FAULT_BAD_VALUE);
	assert_non_null(strstr(world->err.text, "c/a/thing` is a FIFO"));
	site_write(&world->site, "c/.dockerignore", "a/thing");
	assert_string_equal(names(world), ".dockerignore Dockerfile a a/x b");
	unlink(site_path(&world->site, "c/.dockerignore"));
	unlink(path);
	snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
	assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof address), 0);
	assert_false(read_context(world));
	assert_non_null(strstr(world->err.text, "is a socket"));
	close(fd);
	unlink(path);
	assert_int_equal(mkfifo(site_path(&world->site, "c/.dockerignore"), 0600), 0);
	assert_false(read_context(world));
	assert_non_null(strstr(world->err.text, ".dockerignore` is no file"));
}

static void
contexts_that_are_none(void **state)
{
	struct world *world = *state;
	struct arena *arena = &world->site.arena;
	const char *deep = "c";

	assert_false(context_read(&world->task, site_path(&world->site, "none"), "/x", &world->files, &world->count, &world->digest, &world->err));
	assert_int_equal(world->err.fault, FAULT_NOT_FOUND);
	assert_false(context_read(&world->task, site_path(&world->site, "c/b"), "/x", &world->files, &world->count, &world->digest, &world->err));
	site_write(&world->site, "c/.dockerignore", "[");
	assert_false(read_context(world));
	assert_non_null(strstr(world->err.text, ".dockerignore`: line 1"));
	unlink(site_path(&world->site, "c/.dockerignore"));
	for (int i = 0; i < 102; i++)
		deep = arena_printf(arena, "%s/d", deep);
	site_write(&world->site, arena_printf(arena, "%s/x", deep), "1");
	assert_false(read_context(world));
	assert_int_equal(world->err.fault, FAULT_TOO_LARGE);
	assert_non_null(strstr(world->err.text, "deeper than 100"));
}

static void
dockerfile_elsewhere(void **state)
{
	struct world *world = *state;
	struct digest inside = digest_now(world);

	assert_true(context_read(&world->task, site_path(&world->site, "c"), site_path(&world->site, "other/Dockerfile"), &world->files, &world->count,
		&world->digest, &world->err));
	assert_true(digest_equal(&inside, &world->digest));
	site_write(&world->site, "other/Dockerfile.dockerignore", "b");
	assert_true(context_read(&world->task, site_path(&world->site, "c"), site_path(&world->site, "other/Dockerfile"), &world->files, &world->count,
		&world->digest, &world->err));
	assert_int_equal(world->count, 3);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(patterns),
		cmocka_unit_test(patterns_that_are_none),
		cmocka_unit_test_setup_teardown(what_is_left, set_up, tear_down),
		cmocka_unit_test_setup_teardown(digest_tells, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_no_builder_takes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(contexts_that_are_none, set_up, tear_down),
		cmocka_unit_test_setup_teardown(dockerfile_elsewhere, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
