/* One part and the threads around it: the follower that hashes behind the front, and when the owner has use for guests. Pieces are small here. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/path.h"
#include "rules/client/transfer_part.h"

#include <cmocka.h> /* last: its macro `fail` hides our function */

#define SIZE (3 * (size_t)TRANSFER_PIECE + 777)

struct fixture {
	struct arena arena;
	char directory[64];
	struct transfer transfer;
	struct part part;
	unsigned char *bytes;
};

static int
set_up(void **state)
{
	struct fixture *fixture = xmalloc(sizeof *fixture);
	struct digest digest;
	struct error err;

	arena_init(&fixture->arena);
	strcpy(fixture->directory, "/tmp/part-XXXXXX");
	assert_non_null(mkdtemp(fixture->directory));
	fixture->bytes = xmalloc(SIZE);
	random_bytes(fixture->bytes, SIZE);
	digest_of(fixture->bytes, SIZE, &digest);
	fixture->transfer = (struct transfer){ .dirfd = open(fixture->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC),
		.dir = fixture->directory, .name = "file", .run = "RUN", .size = SIZE, .checksum.kind = CHECKSUM_SHA256 };
	memcpy(fixture->transfer.checksum.bytes, digest.bytes, DIGEST_SIZE);
	assert_true(part_open(&fixture->part, &fixture->transfer, &fixture->arena, &err));
	*state = fixture;
	return 0;
}

static int
tear_down(void **state)
{
	struct fixture *fixture = *state;

	part_discard(&fixture->part);
	part_finish(&fixture->part);
	unlinkat(fixture->transfer.dirfd, ".provision/parts", AT_REMOVEDIR);
	unlinkat(fixture->transfer.dirfd, ".provision", AT_REMOVEDIR);
	close(fixture->transfer.dirfd);
	assert_int_equal(rmdir(fixture->directory), 0);
	arena_finish(&fixture->arena);
	free(fixture->bytes);
	free(fixture);
	return 0;
}

/* All bytes through a lane at the front, in `step`s. */
static void
write_all(struct fixture *fixture, size_t step)
{
	struct error err;
	struct lane lane;

	assert_true(lane_at_front(&lane, &fixture->part, true, &err));
	for (size_t at = (size_t)lane.at; at < SIZE; at += step)
		assert_true(lane_take(&lane, fixture->bytes + at, step < SIZE - at ? step : SIZE - at, &err));
	lane_leave(&lane);
}

static void
what_passes_the_front_is_hashed_behind_it(void **state)
{
	static const size_t steps[] = { 1, 777, 4096, TRANSFER_PIECE / 64, TRANSFER_PIECE, SIZE };
	struct fixture *fixture = *state;
	struct checksum found;
	struct digest sha256;
	struct error err;

	for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
		write_all(fixture, steps[i]);
		assert_true(fixture->part.follower.running);
		assert_int_equal(fixture->part.front, SIZE);
		assert_true(part_settle(&fixture->part, &err));
		assert_true(part_is_right(&fixture->part, &sha256, &found));
		assert_true(part_reset(&fixture->part, &err));
		assert_false(fixture->part.follower.running);
	}
}

/* Pieces that another lane has written are the owner's to hash, in between. */
static void
the_owner_hashes_between(void **state)
{
	struct fixture *fixture = *state;
	struct part *part = &fixture->part;
	struct lane front, behind;
	struct checksum found;
	struct digest sha256;
	struct error err;

	part->transfer->pool = (struct transfer_pool *)fixture; /* there is one: a lane ends with its piece */
	assert_true(lane_at_front(&front, part, false, &err));
	assert_true(lane_behind(&behind, part, &err));
	assert_int_equal(behind.at, TRANSFER_PIECE);
	assert_true(lane_take(&behind, fixture->bytes + TRANSFER_PIECE, TRANSFER_PIECE, &err));
	lane_leave(&behind);
	for (size_t at = 0; at < TRANSFER_PIECE; at += 1024)
		assert_true(lane_take(&front, fixture->bytes + at, 1024, &err));
	lane_leave(&front);
	assert_true(part_advance(part, &err));
	assert_int_equal(part->front, 2 * TRANSFER_PIECE);
	write_all(fixture, 1000);
	assert_true(part_settle(part, &err));
	assert_true(part_is_right(part, &sha256, &found));
	part->transfer->pool = NULL;
}

static void
what_cannot_be_read_back_is_told(void **state)
{
	struct fixture *fixture = *state;
	struct part *part = &fixture->part;
	struct error err;
	int fd = part->fd;

	part->fd = path_open_below(part->dirfd, part->name, O_WRONLY, 0);
	assert_true(part->fd >= 0);
	write_all(fixture, 4096);
	assert_false(part_settle(part, &err));
	assert_int_equal(err.fault, FAULT_IO);
	assert_non_null(strstr(err.text, "part of `file`"));
	part_unfollow(part);
	close(part->fd);
	part->fd = fd;
}

/* Work for 50 ms by the clock on the wall; how many percent of them this thread was let. */
static int64_t
work_a_while(void)
{
	struct timespec from, to;
	int64_t until = clock_monotonic_ms() + 50;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
	while (clock_monotonic_ms() < until)
		;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to);
	return ((to.tv_sec - from.tv_sec) * 1000000000 + to.tv_nsec - from.tv_nsec) / 500000;
}

static void
an_owner_that_waits_wants_help(void **state)
{
	struct fixture *fixture = *state;
	bool judged = false;

	clock_sleep_ms(200, NULL);
	assert_true(part_wants_help(&fixture->part));
	/* A machine with other work may keep a thread from its own; that says nothing. */
	for (int tries = 0; tries < 200 && !judged; tries++) {
		part_watch_owner(&fixture->part);
		judged = work_a_while() > 2 * TRANSFER_BUSY;
		if (judged)
			assert_false(part_wants_help(&fixture->part));
	}
	if (!judged)
		skip();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_passes_the_front_is_hashed_behind_it, set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_owner_hashes_between, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_cannot_be_read_back_is_told, set_up, tear_down),
		cmocka_unit_test_setup_teardown(an_owner_that_waits_wants_help, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
