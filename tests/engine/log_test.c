#include "engine/log.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/base/arena.h"
#include "engine/base/file.h"
#include "engine/base/secret.h"

struct world {
	struct arena arena;
	struct log log;
	char directory[32];
	char path[64];
};

static void
begin(struct world *world)
{
	*world = (struct world){ .directory = "/tmp/log-XXXXXX" };
	arena_init(&world->arena);
	assert_non_null(mkdtemp(world->directory));
	snprintf(world->path, sizeof world->path, "%s/RUN/t.log", world->directory);
	log_init(&world->log, world->path);
}

static const char *
finish(struct world *world)
{
	const char *text = "";
	struct error err;

	log_finish(&world->log);
	file_load(world->path, (size_t)80 << 20, &world->arena, &text, NULL, &err);
	return text;
}

static void
end(struct world *world)
{
	char path[64];

	unlink(world->path);
	snprintf(path, sizeof path, "%s/RUN", world->directory);
	rmdir(path);
	rmdir(world->directory);
	arena_finish(&world->arena);
}

/* In one piece and byte by byte, the same lines. */
static void
test_lines(void **state)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{ "one\ntwo\n", "one\ntwo\n" },
		{ "no end", "no end\n" },
		{ "a\r\nb\r\n", "a\nb\n" },
		{ "\n\na\n", "\n\na\n" },
		{ "\r\n\r\n", "\n\n" },
		{ " 1%\r 2%\r 3%\n", " 1%\n 2%\n 3%\n" },
		{ "\r\r\rx\n", "x\n" },
		{ "x\r\n\ny\n", "x\n\ny\n" },
		{ "\x1b[31mred\x1b[0m\n", "^[[31mred^[[0m\n" },
		{ "bell\a tab\t del\x7f\n", "bell^G tab\t del^?\n" },
		{ "c1 \xc2\x9b" "31m\n", "c1 \\x9b31m\n" },
		{ "健康 \xff\xfe\n", "健康 \\xff\\xfe\n" },
		{ "", "" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		for (int pieces = 0; pieces < 2; pieces++) {
			struct world world;

			begin(&world);
			for (size_t at = 0; pieces && cases[i].in[at]; at++)
				log_bytes(&world.log, cases[i].in + at, 1);
			if (!pieces)
				log_bytes(&world.log, cases[i].in, strlen(cases[i].in));
			assert_string_equal(finish(&world), cases[i].out);
			end(&world);
		}
}

static void
test_printf(void **state)
{
	struct world world;
	struct stat st;

	(void)state;
	begin(&world);
	log_bytes(&world.log, "half", 4);
	log_printf(&world.log, "said %d", 5);
	assert_string_equal(log_tail(&world.log, &world.arena), "half\nsaid 5\n");
	assert_int_equal(stat(world.path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_string_equal(finish(&world), "half\nsaid 5\n");
	end(&world);
}

/* The beginning and the end stay; the middle is counted. */
static void
test_bounded(void **state)
{
	struct world world;
	const char *text;
	char line[1001];
	size_t size;

	(void)state;
	begin(&world);
	memset(line, 'x', sizeof line);
	line[1000] = '\n';
	log_printf(&world.log, "the beginning");
	for (int i = 0; i < 90000; i++)
		log_bytes(&world.log, line, sizeof line);
	log_printf(&world.log, "the end");
	assert_true(strlen(log_tail(&world.log, &world.arena)) <= 64 << 10);
	text = finish(&world);
	size = strlen(text);
	assert_true(size <= (size_t)64 << 20 && size > (size_t)60 << 20);
	assert_memory_equal(text, "the beginning\n", 14);
	assert_string_equal(text + size - 8, "the end\n");
	assert_non_null(strstr(text, "bytes of this log are left out here]\n"));
	end(&world);
}

/* A line without end is cut; the memory that it takes is bounded. */
static void
test_endless_line(void **state)
{
	struct world world;
	char piece[1000];
	const char *text;
	size_t count = 0;

	(void)state;
	begin(&world);
	memset(piece, 'y', sizeof piece);
	for (int i = 0; i < 1000; i++)
		log_bytes(&world.log, piece, sizeof piece);
	assert_true(world.log.partial.size < 256 << 10);
	text = finish(&world);
	for (const char *at = text; *at; at++)
		count += *at == 'y';
	assert_int_equal(count, 1000000);
	end(&world);
}

/* A secret is never written, wherever pieces and lines end. */
static void
test_secret(void **state)
{
	static const char value[] = "canary-0123456789-canary";
	struct secret_ref ref = { .env = "PROVISION_LOG_CANARY" };
	struct secret secret;
	struct error err;

	(void)state;
	setenv("PROVISION_LOG_CANARY", value, 1);
	assert_true(secret_load(&ref, false, &secret, &err));
	for (size_t before = (64 << 10) - 40; before < (64 << 10) + 10; before++) {
		struct world world;
		char *fill = malloc(before);
		const char *text;

		begin(&world);
		memset(fill, 'z', before);
		log_bytes(&world.log, fill, before);
		log_bytes(&world.log, value, 7);
		log_bytes(&world.log, value + 7, strlen(value) - 7);
		log_bytes(&world.log, "tail\n", 5);
		assert_null(strstr(log_tail(&world.log, &world.arena), "canary"));
		text = finish(&world);
		assert_null(strstr(text, "canary"));
		assert_non_null(strstr(text, "<PROVISION_LOG_CANARY>"));
		free(fill);
		end(&world);
	}
	secret_finish(&secret);
}

/* Nor by a line of ours between its pieces, nor in a tail that is asked for then. */
static void
a_secret_in_pieces(void **state)
{
	static const char value[] = "canary-0123456789-canary";
	struct secret_ref ref = { .env = "PROVISION_LOG_CANARY" };
	struct secret secret;
	struct error err;

	(void)state;
	setenv("PROVISION_LOG_CANARY", value, 1);
	assert_true(secret_load(&ref, false, &secret, &err));
	for (size_t cut = 1; cut < strlen(value); cut++) {
		struct world world;

		begin(&world);
		log_bytes(&world.log, "token ", 6);
		log_bytes(&world.log, value, cut);
		assert_string_equal(log_tail(&world.log, &world.arena), "token \n");
		log_printf(&world.log, "ours");
		log_bytes(&world.log, value + cut, strlen(value) - cut);
		/* It ends as it begins, and is whole all the same. */
		assert_string_equal(log_tail(&world.log, &world.arena), "ours\ntoken <PROVISION_LOG_CANARY>\n");
		assert_string_equal(finish(&world), "ours\ntoken <PROVISION_LOG_CANARY>\n");
		end(&world);
	}
	secret_finish(&secret);
}

/* One that is longer than a screen of text, in a line that does not end. */
static void
a_long_secret(void **state)
{
	struct secret_ref ref = { .env = "PROVISION_LOG_LONG" };
	struct secret secret;
	char value[9001];
	struct error err;

	(void)state;
	for (size_t i = 0; i < sizeof value; i++)
		value[i] = "abcdefghijklmnopqrstuvwxyz0123456789"[(i * i + i / 7) % 36];
	value[sizeof value - 1] = '\0';
	setenv("PROVISION_LOG_LONG", value, 1);
	assert_true(secret_load(&ref, false, &secret, &err));
	for (size_t before = 50000; before < 100000; before += 1000) {
		struct world world;
		char *fill = malloc(before);
		const char *text;

		begin(&world);
		memset(fill, 'z', before);
		log_bytes(&world.log, fill, before);
		log_bytes(&world.log, value, sizeof value - 1);
		text = finish(&world);
		assert_null(strpbrk(text, "abcdefgh"));
		assert_non_null(strstr(text, "<PROVISION_LOG_LONG>"));
		free(fill);
		end(&world);
	}
	secret_finish(&secret);
}

/* Where an endless line is broken does not depend on the pieces that it comes in. */
static void
pieces_leave_no_trace(void **state)
{
	struct world whole, cut;
	char *text = malloc(300000);
	const char *expected;

	(void)state;
	for (size_t i = 0; i < 300000; i++)
		text[i] = (char)('a' + i % 23);
	begin(&whole);
	begin(&cut);
	log_bytes(&whole.log, text, 300000);
	for (size_t at = 0; at < 300000; at += 1500)
		log_bytes(&cut.log, text + at, 1500);
	expected = finish(&whole);
	assert_string_equal(finish(&cut), expected);
	end(&whole);
	end(&cut);
	free(text);
}

static void *
write_on(void *context)
{
	struct log *log = context;

	for (int i = 0; i < 20000; i++)
		log_printf(log, "line %d of a child that does not stop talking", i);
	return NULL;
}

/* A tail stays what it was while others write on. */
static void
a_tail_is_a_copy(void **state)
{
	struct world world;
	pthread_t writer;
	size_t length;

	(void)state;
	begin(&world);
	log_printf(&world.log, "first");
	const char *first = log_tail(&world.log, &world.arena);
	assert_int_equal(pthread_create(&writer, NULL, write_on, &world.log), 0);
	for (int i = 0; i < 200; i++) {
		const char *tail = log_tail(&world.log, &world.arena);
		length = strlen(tail);
		assert_in_range(length, 1, 64 << 10);
		assert_int_equal(tail[length - 1], '\n');
	}
	pthread_join(writer, NULL);
	assert_string_equal(first, "first\n");
	assert_non_null(strstr(log_tail(&world.log, &world.arena), "line 19999 of"));
	finish(&world);
	end(&world);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines), cmocka_unit_test(test_printf), cmocka_unit_test(test_bounded), cmocka_unit_test(test_endless_line), cmocka_unit_test(pieces_leave_no_trace),
		cmocka_unit_test(a_secret_in_pieces), cmocka_unit_test(a_long_secret),
		cmocka_unit_test(test_secret),
		cmocka_unit_test(a_tail_is_a_copy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
