/* bulk.c: many files hashed side by side. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "engine/base/arena.h"
#include "engine/base/bulk.h"
#include "engine/base/clock.h"

#include <cmocka.h> /* last: its macro `fail` hides our function */

#define MIB ((size_t)1 << 20)
#define BIG (80 * MIB)
#define TMPFS 0x01021994

static char directory[64];
static int dirfd_ = -1;

static int
begin(void **state)
{
	(void)state;
	snprintf(directory, sizeof directory, "%s/bulk-XXXXXX", "/var/tmp");
	assert_non_null(mkdtemp(directory));
	dirfd_ = open(directory, O_RDONLY | O_DIRECTORY);
	assert_true(dirfd_ >= 0);
	return 0;
}

static int
end(void **state)
{
	static const char *const names[] = { "0", "1", "2", "3", "4", "big", "sparse", "link" };

	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		unlinkat(dirfd_, names[i], 0);
	close(dirfd_);
	rmdir(directory);
	return 0;
}

/* Bytes that differ from block to block. */
static char *
put(const char *name, size_t size)
{
	int fd = openat(dirfd_, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	char *bytes = xmalloc(size + 1);

	for (size_t i = 0; i < size; i++)
		bytes[i] = (char)(i * 31 + (i >> 12));
	assert_int_equal(write(fd, bytes, size), (ssize_t)size);
	assert_int_equal(fsync(fd), 0);
	close(fd);
	return bytes;
}

static void
hashes_all(void **state)
{
	static const size_t sizes[] = { 0, 1, MIB, MIB + 1, 3 * MIB + 17 };
	static const char *const names[] = { "0", "1", "2", "3", "4" };
	struct bulk_file files[6] = { 0 };
	struct bulk bulk = { .files = files, .count = 6, .dirfd = dirfd_, .threads = 3 };
	struct digest wanted[5];
	struct checksum empty;
	struct error err = { 0 };
	uint64_t sum = 0;

	(void)state;
	for (size_t i = 0; i < 5; i++) {
		char *bytes = put(names[i], sizes[i]);

		digest_of(bytes, sizes[i], &wanted[i]);
		files[i] = (struct bulk_file){ .path = names[i], .size = sizes[i], .git = true };
		sum += sizes[i];
		free(bytes);
	}
	files[5] = (struct bulk_file){ .path = "nowhere", .size = 5 };
	assert_true(bulk_hash(&bulk, NULL, NULL, &err));
	for (size_t i = 0; i < 5; i++) {
		assert_int_equal(files[i].fault, FAULT_NONE);
		assert_true(digest_equal(&files[i].sha256, &wanted[i]));
		assert_int_equal(files[i].key.size, sizes[i]);
		assert_true(files[i].hashed_ns > 0);
	}
	assert_true(checksum_parse(CHECKSUM_GIT, "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391", &empty));
	assert_true(checksum_equal(&files[0].blob, &empty));
	assert_false(checksum_equal(&files[1].blob, &empty));
	assert_int_not_equal(files[5].fault, FAULT_NONE);
	assert_non_null(strstr(files[5].why, "nowhere"));
	assert_int_equal(bulk.done, sum);
	assert_int_equal(bulk.ended, 6);
	bulk_finish(&bulk);
}

static void
refuses_links_and_directories(void **state)
{
	struct bulk_file files[2] = { { .path = "link" }, { .path = directory } };
	struct bulk below = { .files = files, .count = 1, .dirfd = dirfd_ }, absolute = { .files = files + 1, .count = 1, .dirfd = -1 };
	struct error err = { 0 };

	(void)state;
	free(put("1", 1));
	assert_int_equal(symlinkat("1", dirfd_, "link"), 0);
	assert_true(bulk_hash(&below, NULL, NULL, &err));
	assert_int_not_equal(files[0].fault, FAULT_NONE);
	assert_true(bulk_hash(&absolute, NULL, NULL, &err));
	assert_non_null(strstr(files[1].why, "no regular file"));
	bulk_finish(&below);
	bulk_finish(&absolute);
}

static void
halt(void *self)
{
	((struct bulk *)self)->halt = true;
}

/* Gigabytes that would take seconds are left as soon as that is asked for; what was not come to is said to be so. */
static void
stops(void **state)
{
	struct bulk_file files[2] = { { .path = "sparse", .size = 2 }, { .path = "1", .size = 1 } };
	struct bulk bulk = { .files = files, .count = 2, .dirfd = dirfd_, .threads = 1 };
	struct error err = { 0 };
	int64_t began = clock_monotonic_ms();
	int fd = openat(dirfd_, "sparse", O_WRONLY | O_CREAT, 0600);

	(void)state;
	assert_int_equal(ftruncate(fd, (off_t)64 << 30), 0);
	close(fd);
	free(put("1", 1));
	assert_true(bulk_hash(&bulk, halt, &bulk, &err));
	assert_true(clock_monotonic_ms() - began < 5000);
	assert_int_equal(files[0].fault, FAULT_INTERRUPTED);
	assert_int_equal(files[1].fault, FAULT_INTERRUPTED);
	assert_true(bulk.done < (uint64_t)64 << 30);
	assert_int_equal(bulk.ended, 0);
	bulk_finish(&bulk);
}

static double
cached(const char *name)
{
	static unsigned char pages[BIG / 4096 + 1];
	int fd = openat(dirfd_, name, O_RDONLY);
	void *map = mmap(NULL, BIG, PROT_READ, MAP_SHARED, fd, 0);
	size_t count = BIG / (size_t)sysconf(_SC_PAGESIZE), here = 0;

	assert_true(map != MAP_FAILED);
	assert_int_equal(mincore(map, BIG, pages), 0);
	for (size_t i = 0; i < count; i++)
		here += pages[i] & 1;
	munmap(map, BIG);
	close(fd);
	return (double)here / (double)count;
}

/* What was cached stays cached, what was not leaves no trace. */
static void
spares_the_cache(void **state)
{
	struct bulk_file file = { .path = "big", .size = BIG };
	struct bulk bulk = { .files = &file, .count = 1, .dirfd = dirfd_ };
	struct error err = { 0 };
	struct statfs fs;
	int fd;

	(void)state;
	free(put("big", BIG));
	if (fstatfs(dirfd_, &fs) != 0 || fs.f_type == TMPFS)
		skip();
	assert_true(bulk_hash(&bulk, NULL, NULL, &err));
	assert_true(cached("big") > 0.9);
	fd = openat(dirfd_, "big", O_RDONLY);
	assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
	close(fd);
	if (cached("big") > 0.1)
		skip();
	bulk_finish(&bulk);
	assert_true(bulk_hash(&bulk, NULL, NULL, &err));
	assert_int_equal(file.fault, FAULT_NONE);
	assert_true(cached("big") < 0.1);
	bulk_finish(&bulk);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(hashes_all, begin, end),
		cmocka_unit_test_setup_teardown(refuses_links_and_directories, begin, end),
		cmocka_unit_test_setup_teardown(stops, begin, end),
		cmocka_unit_test_setup_teardown(spares_the_cache, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
