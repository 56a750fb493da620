#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdatomic.h>
#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/digest.h"
#include "scratch.h"

#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

static const char *
hex_of(const struct digest *digest)
{
	static char hex[DIGEST_HEX];

	digest_hex(digest, hex);
	return hex;
}

static void
known_digests(void **state)
{
	static const struct {
		const char *text, *hex;
	} cases[] = {
		{ "", EMPTY },
		{ "abc", ABC },
		{ "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		size_t length = strlen(cases[i].text);
		struct hasher hasher;
		struct digest digest;

		digest_of(cases[i].text, length, &digest);
		assert_string_equal(hex_of(&digest), cases[i].hex);
		/* In two parts, at each place; and the hasher starts anew each time. */
		hasher_init(&hasher);
		for (size_t cut = 0; cut <= length; cut++) {
			hasher_add(&hasher, cases[i].text, cut);
			hasher_add(&hasher, cases[i].text + cut, length - cut);
			hasher_digest(&hasher, &digest);
			assert_string_equal(hex_of(&digest), cases[i].hex);
		}
		hasher_finish(&hasher);
		hasher_finish(&hasher);
	}
}

static void
git_blob_ids(void **state)
{
	static const struct {
		const char *text, *id;
	} cases[] = {
		{ "", "git:e69de29bb2d1d6434b8b29ae775ad8c2e48c5391" },
		{ "hello\n", "git:ce013625030ba8dba906f756967f9e9ca394464a" },
		{ "test content\n", "git:d670460b4b4aece5915caf5c68d12f560a9fe3e4" },
	};
	struct hasher hasher = { 0 };
	struct arena arena = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct checksum checksum, parsed;

		hasher_init_git(&hasher, strlen(cases[i].text));
		hasher_add(&hasher, cases[i].text, strlen(cases[i].text));
		hasher_checksum(&hasher, &checksum);
		assert_int_equal(checksum.kind, CHECKSUM_GIT);
		assert_string_equal(checksum_text(&arena, &checksum), cases[i].id);
		assert_true(checksum_parse(CHECKSUM_GIT, cases[i].id + 4, &parsed));
		assert_true(checksum_equal(&checksum, &parsed));
	}
	/* One that is given up half-way. */
	hasher_init_git(&hasher, 10);
	hasher_add(&hasher, "x", 1);
	hasher_finish(&hasher);
	arena_finish(&arena);
}

static void
fields_cannot_be_shifted(void **state)
{
	static const size_t lengths[] = { 0, 1, 2, 63, 64, 247, 248, 249, 255, 256, 257, 5000 };
	char text[5000];
	struct hasher hasher;

	(void)state;
	memset(text, 'x', sizeof text);
	hasher_init(&hasher);
	for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
		unsigned char length[8] = { (unsigned char)lengths[i], (unsigned char)(lengths[i] >> 8) };
		struct digest field, by_hand;

		hasher_add_field(&hasher, text, lengths[i]);
		hasher_digest(&hasher, &field);
		hasher_add(&hasher, length, sizeof length);
		hasher_add(&hasher, text, lengths[i]);
		hasher_digest(&hasher, &by_hand);
		assert_true(digest_equal(&field, &by_hand));
	}
	for (size_t cut = 0; cut < 4; cut++) {
		struct digest one, other;

		hasher_add_field(&hasher, "abcd", cut);
		hasher_add_field(&hasher, &"abcd"[cut], 4 - cut);
		hasher_digest(&hasher, &one);
		hasher_add_field(&hasher, "abcd", 4);
		hasher_add_field(&hasher, "", 0);
		hasher_digest(&hasher, &other);
		assert_false(digest_equal(&one, &other));
	}
	hasher_finish(&hasher);
}

static void
files_are_hashed_from_where_they_stand(void **state)
{
	struct scratch *scratch = *state;
	static const size_t sizes[] = { 0, 1, 4096, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20 };
	char *bytes = calloc(1, 3 << 20);
	struct error err = { 0 };

	for (size_t i = 0; i < 3 << 20; i++)
		bytes[i] = (char)(i * 31 + i / 1000);
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		int fd = openat(scratch->fd, "file", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		struct digest expected, digest;
		uint64_t size = 99;

		assert_int_equal(write(fd, bytes, sizes[i]), sizes[i]);
		lseek(fd, 0, SEEK_SET);
		digest_of(bytes, sizes[i], &expected);
		assert_true(digest_fd(fd, &digest, &size, NULL, &err));
		assert_int_equal(size, sizes[i]);
		assert_true(digest_equal(&digest, &expected));
		/* The rest, from the middle. */
		lseek(fd, (off_t)(sizes[i] / 2), SEEK_SET);
		digest_of(bytes + sizes[i] / 2, sizes[i] - sizes[i] / 2, &expected);
		assert_true(digest_fd(fd, &digest, NULL, NULL, &err));
		assert_true(digest_equal(&digest, &expected));
		close(fd);
	}
	free(bytes);
}

static void
hashing_stops_when_asked(void **state)
{
	struct scratch *scratch = *state;
	struct digest digest, untouched;
	struct error err = { 0 };
	atomic_bool cancel = true;
	uint64_t size = 7;

	memset(&digest, 3, sizeof digest);
	untouched = digest;
	assert_false(digest_fd(scratch->fd, &digest, &size, &cancel, &err));
	assert_int_equal(err.fault, FAULT_INTERRUPTED);
	/* A directory cannot be read. */
	cancel = false;
	assert_false(digest_fd(scratch->fd, &digest, &size, &cancel, &err));
	assert_int_equal(err.fault, FAULT_IO);
	assert_int_equal(size, 7);
	assert_true(digest_equal(&digest, &untouched));
}

static void
hex_is_read_strictly(void **state)
{
	static const struct {
		const char *hex;
		bool good;
	} cases[] = {
		{ ABC, true },
		{ "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD", true },
		{ "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015a", false },
		{ ABC "0", false },
		{ ABC " ", false },
		{ ABC "\n", false },
		{ " a7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", false },
		{ "ga7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", false },
		{ "0xba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015", false },
		{ "", false },
	};
	struct arena arena = { 0 };
	struct digest abc;

	(void)state;
	digest_of("abc", 3, &abc);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct digest digest = { .bytes = { 1 } };
		struct checksum checksum = { .kind = CHECKSUM_NONE };

		if (digest_parse(cases[i].hex, &digest) != cases[i].good)
			fail_msg("`%s`", cases[i].hex);
		assert_int_equal(checksum_parse(CHECKSUM_SHA256, cases[i].hex, &checksum), cases[i].good);
		assert_false(checksum_parse(CHECKSUM_GIT, cases[i].hex, &checksum));
		assert_false(checksum_parse(CHECKSUM_NONE, cases[i].hex, &checksum));
		assert_int_equal(digest_equal(&digest, &abc), cases[i].good);
		assert_int_equal(digest.bytes[0], cases[i].good ? 0xba : 1);
		if (cases[i].good)
			assert_string_equal(checksum_text(&arena, &checksum), "sha256:" ABC);
	}
	assert_string_equal(digest_text(&arena, &abc), ABC);
	arena_finish(&arena);
}

static void
no_checksum_equals_nothing(void **state)
{
	struct checksum none = { 0 }, also_none = { 0 }, sha = { .kind = CHECKSUM_SHA256 }, git = { .kind = CHECKSUM_GIT }, other;
	struct digest zero = { 0 }, one = { .bytes = { [31] = 1 } };
	struct arena arena = { 0 };

	(void)state;
	assert_false(checksum_equal(&none, &also_none));
	assert_false(checksum_equal(&none, &sha));
	assert_false(checksum_equal(&sha, &git));
	other = sha;
	assert_true(checksum_equal(&sha, &other));
	other.bytes[31] = 1;
	assert_false(checksum_equal(&sha, &other));
	/* Beyond the 20 bytes of a git id nothing counts. */
	other = git;
	other.bytes[20] = 1;
	assert_true(checksum_equal(&git, &other));
	other.bytes[19] = 1;
	assert_false(checksum_equal(&git, &other));
	assert_string_equal(checksum_text(&arena, &none), "none");
	assert_true(digest_is_zero(&zero));
	assert_false(digest_is_zero(&one));
	arena_finish(&arena);
}

static void *
hash_many(void *seed)
{
	uintptr_t failed = 0;

	for (int i = 0; i < 2000; i++) {
		struct hasher git = { 0 };
		struct digest digest, expected;
		struct checksum checksum;

		digest_of("abc", 3, &digest);
		digest_parse(ABC, &expected);
		hasher_init_git(&git, 0);
		hasher_checksum(&git, &checksum);
		failed += !digest_equal(&digest, &expected) || checksum.bytes[0] != 0xe6;
	}
	(void)seed;
	return (void *)failed;
}

static void
threads_hash_side_by_side(void **state)
{
	pthread_t threads[8];

	(void)state;
	for (size_t i = 0; i < 8; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, hash_many, NULL), 0);
	for (size_t i = 0; i < 8; i++) {
		void *failed;

		assert_int_equal(pthread_join(threads[i], &failed), 0);
		assert_null(failed);
	}
}

static void
random_bytes_differ(void **state)
{
	unsigned char a[400] = { 0 }, b[400] = { 0 };

	(void)state;
	random_bytes(a, sizeof a);
	random_bytes(b, sizeof b);
	assert_memory_not_equal(a, b, sizeof a);
	random_bytes(a, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		/* First, so that the algorithms are fetched by threads at once. */
		cmocka_unit_test(threads_hash_side_by_side),
		cmocka_unit_test(known_digests),
		cmocka_unit_test(git_blob_ids),
		cmocka_unit_test(fields_cannot_be_shifted),
		cmocka_unit_test_setup_teardown(files_are_hashed_from_where_they_stand, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(hashing_stops_when_asked, scratch_setup, scratch_teardown),
		cmocka_unit_test(hex_is_read_strictly),
		cmocka_unit_test(no_checksum_equals_nothing),
		cmocka_unit_test(random_bytes_differ),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
