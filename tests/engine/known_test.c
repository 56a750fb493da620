#include "engine/known.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/base/arena.h"
#include "engine/base/clock.h"

struct world {
	struct arena arena;
	struct known known;
	struct known_file *rows;
	size_t row_count;
	struct memory memory;
	char path[64];
	struct error err;
};

static bool
read_rows(void *self, struct arena *arena, struct known_file **files, size_t *count, struct error *err)
{
	struct world *world = self;

	(void)arena;
	(void)err;
	*files = world->rows;
	*count = world->row_count;
	return true;
}

static void
put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

static void
begin(struct world *world)
{
	int fd;

	*world = (struct world){ .path = "/tmp/known-XXXXXX" };
	arena_init(&world->arena);
	world->memory = (struct memory){ .self = world, .files = read_rows };
	fd = mkstemp(world->path);
	assert_true(fd >= 0);
	close(fd);
	known_init(&world->known, &world->memory, &world->arena);
	assert_true(known_load(&world->known, &world->err));
}

static void
end(struct world *world)
{
	unlink(world->path);
	known_finish(&world->known);
	arena_finish(&world->arena);
	free(world->rows);
}

/* As if the process had ended, and a new one had begun with what was committed. */
static void
start_again(struct world *world)
{
	struct known_file *files;
	size_t count = known_take_new(&world->known, &files);

	world->rows = realloc(world->rows, (world->row_count + count + 1) * sizeof *world->rows);
	if (count > 0)
		memcpy(world->rows + world->row_count, files, count * sizeof *files);
	world->row_count += count;
	free(files);
	known_finish(&world->known);
	known_init(&world->known, &world->memory, &world->arena);
	assert_true(known_load(&world->known, &world->err));
}

static void
expect(struct world *world, const char *text, bool deep)
{
	struct digest want, got;
	struct stat_key key;

	digest_of(text, strlen(text), &want);
	if (!known_digest(&world->known, world->path, deep, NULL, &got, &key, &world->err))
		fail_msg("%s", world->err.text);
	assert_true(digest_equal(&want, &got));
	assert_int_equal(key.size, strlen(text));
}

/* The stamps of a young file may not be believed where time stamps are coarse. */
static void
wait_for_age(void)
{
	usleep(2100000);
}

static void
test_hashed_once(void **state)
{
	struct world world;

	(void)state;
	begin(&world);
	put(world.path, "one");
	wait_for_age();
	expect(&world, "one", false);
	expect(&world, "one", false);
	assert_int_equal(world.known.hashes, 1);
	assert_int_equal(world.known.stats, 1);
	start_again(&world);
	expect(&world, "one", false);
	assert_int_equal(world.known.hashes, 0);
	expect(&world, "one", true);
	assert_int_equal(world.known.hashes, 1);
	end(&world);
}

/* Same size, within a tick, with the old time set back: found every time, by way of ctime, in the same process and in the next. */
static void
test_sly_edits(void **state)
{
	struct world world;

	(void)state;
	begin(&world);
	for (int i = 0; i < 500; i++) {
		char text[16], other[16];
		struct timespec times[2];
		struct stat st;

		snprintf(text, sizeof text, "a%04d", i);
		snprintf(other, sizeof other, "b%04d", i);
		put(world.path, text);
		assert_int_equal(stat(world.path, &st), 0);
		expect(&world, text, false);
		put(world.path, other);
		times[0] = st.st_atim;
		times[1] = st.st_mtim;
		assert_int_equal(utimensat(AT_FDCWD, world.path, times, 0), 0);
		if (i % 2)
			start_again(&world);
		expect(&world, other, false);
	}
	end(&world);
}

static void
test_replaced_file(void **state)
{
	struct world world;
	char other[80];

	(void)state;
	begin(&world);
	put(world.path, "one");
	expect(&world, "one", false);
	snprintf(other, sizeof other, "%s.new", world.path);
	put(other, "two");
	assert_int_equal(rename(other, world.path), 0);
	expect(&world, "two", false);
	end(&world);
}

static void
test_streamed(void **state)
{
	struct digest digest, other = { { 9 } };
	struct world world;
	struct stat_key key;
	struct stat st;

	(void)state;
	begin(&world);
	put(world.path, "streamed");
	wait_for_age();
	assert_int_equal(stat(world.path, &st), 0);
	key = stat_key_of(&st);
	digest_of("streamed", 8, &digest);
	assert_false(known_has(&world.known, &key, &digest));
	known_add(&world.known, &key, &digest, clock_now_ns());
	assert_true(known_has(&world.known, &key, &digest));
	assert_false(known_has(&world.known, &key, &other));
	expect(&world, "streamed", false);
	assert_int_equal(world.known.hashes, 0);
	start_again(&world);
	assert_true(known_has(&world.known, &key, &digest));
	key.ctime_ns++;
	assert_false(known_has(&world.known, &key, &digest));
	end(&world);
}

/* A row as young as its file says nothing. */
static void
test_racy_row(void **state)
{
	struct digest wrong = { { 1 } };
	struct world world;
	struct stat_key key;
	struct stat st;

	(void)state;
	begin(&world);
	put(world.path, "x");
	assert_int_equal(stat(world.path, &st), 0);
	key = stat_key_of(&st);
	known_add(&world.known, &key, &wrong, key.mtime_ns);
	assert_false(known_has(&world.known, &key, &wrong));
	expect(&world, "x", false);
	end(&world);
}

static void
test_failures(void **state)
{
	struct digest digest = { { 7 } };
	struct stat_key key = { .size = 7 };
	struct world world;

	(void)state;
	begin(&world);
	assert_false(known_digest(&world.known, "/nowhere/at/all", false, NULL, &digest, &key, &world.err));
	assert_int_equal(world.err.fault, FAULT_NOT_FOUND);
	assert_false(known_digest(&world.known, "/tmp", false, NULL, &digest, &key, &world.err));
	assert_int_equal(digest.bytes[0], 7);
	assert_int_equal(key.size, 7);
	end(&world);
}

/* Many rows: each is found again, and only new ones are handed out. */
static void *
scribble(void *fd)
{
	for (int i = 0; i < 200; i++) {
		assert_int_equal(pwrite(*(int *)fd, &i, sizeof i, 0), sizeof i);
		clock_sleep_ms(2, NULL);
	}
	return NULL;
}

/* Its digest would be that of bytes that it never had at once. */
static void
test_moving_file(void **state)
{
	struct digest digest;
	struct world world;
	pthread_t thread;
	int fd;

	(void)state;
	begin(&world);
	fd = open(world.path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(ftruncate(fd, 256 << 20), 0);
	assert_int_equal(pthread_create(&thread, NULL, scribble, &fd), 0);
	assert_false(known_digest(&world.known, world.path, false, NULL, &digest, NULL, &world.err));
	assert_int_equal(world.err.fault, FAULT_INPUT_CHANGED);
	pthread_join(thread, NULL);
	close(fd);
	end(&world);
}

static void
test_many(void **state)
{
	struct world world;
	struct known_file *files;

	(void)state;
	begin(&world);
	for (uint64_t i = 0; i < 100000; i++) {
		struct stat_key key = { .device = i % 3, .inode = i, .size = i, .mtime_ns = 5, .ctime_ns = 5 };
		struct digest digest = { { (unsigned char)i } };

		known_add(&world.known, &key, &digest, INT64_C(1) << 60);
	}
	start_again(&world);
	assert_int_equal(known_take_new(&world.known, &files), 0);
	for (uint64_t i = 0; i < 100000; i++) {
		struct stat_key key = { .device = i % 3, .inode = i, .size = i, .mtime_ns = 5, .ctime_ns = 5 };
		struct digest digest = { { (unsigned char)i } };

		assert_true(known_has(&world.known, &key, &digest));
	}
	free(files);
	end(&world);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hashed_once), cmocka_unit_test(test_sly_edits), cmocka_unit_test(test_replaced_file), cmocka_unit_test(test_streamed),
		cmocka_unit_test(test_racy_row), cmocka_unit_test(test_failures), cmocka_unit_test(test_moving_file), cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
