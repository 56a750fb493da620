/* Several connections on several files: pieces are small here, so that a file of half a megabyte has many. Whatever is struck, bytes are right or a failure is named, and what
 * was here already is not fetched again. */
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/file.h"
#include "rules/client/transfer.h"
#include "tests/fake/hub.h"

#include <cmocka.h> /* last: its macro `fail` hides our function */

#define CONNECTIONS 4u
#define BIG (9 * (size_t)TRANSFER_PIECE + 1234)
#define ROOM 64

static struct fake_hub hub;

struct kept {
	char *key;
	void *bytes;
	size_t size;
};

/* A directory to fetch into, and checkpoints as the cache would keep them, for many threads. */
struct bench {
	struct arena arena;
	char directory[64];
	int dirfd;
	pthread_mutex_t mutex;
	struct kept kept[ROOM];
	size_t kept_count;
	uint64_t told;
	uint64_t cancel_after; /* bytes told; 0: never */
	atomic_bool cancel;
};

static struct kept *
find(struct bench *bench, const char *key)
{
	for (size_t i = 0; i < bench->kept_count; i++)
		if (strcmp(bench->kept[i].key, key) == 0)
			return &bench->kept[i];
	return NULL;
}

static bool
load(void *context, const char *key, struct arena *arena, const void **bytes, size_t *size, struct error *err)
{
	struct bench *bench = context;
	const struct kept *kept;

	(void)err;
	pthread_mutex_lock(&bench->mutex);
	kept = find(bench, key);
	*bytes = kept && kept->bytes ? arena_copy_bytes(arena, kept->bytes, kept->size) : NULL;
	*size = kept ? kept->size : 0;
	pthread_mutex_unlock(&bench->mutex);
	return true;
}

static bool
save(void *context, const char *key, const void *bytes, size_t size, struct error *err)
{
	struct bench *bench = context;
	struct kept *kept;

	(void)err;
	pthread_mutex_lock(&bench->mutex);
	kept = find(bench, key);
	if (!kept) {
		assert_in_range(bench->kept_count, 0, ROOM - 1);
		kept = &bench->kept[bench->kept_count++];
		kept->key = xstrdup(key);
	}
	free(kept->bytes);
	kept->bytes = bytes ? xmalloc(size + 1) : NULL;
	if (bytes)
		memcpy(kept->bytes, bytes, size);
	kept->size = size;
	pthread_mutex_unlock(&bench->mutex);
	return true;
}

static void
progress(void *context, const struct transfer *transfer, uint64_t bytes)
{
	struct bench *bench = context;

	(void)transfer;
	pthread_mutex_lock(&bench->mutex);
	bench->told += bytes;
	if (bench->cancel_after && bench->told >= bench->cancel_after)
		bench->cancel = true;
	pthread_mutex_unlock(&bench->mutex);
}

static void
bench_init(struct bench *bench)
{
	*bench = (struct bench){ .directory = "/tmp/transfer-XXXXXX" };
	arena_init(&bench->arena);
	pthread_mutex_init(&bench->mutex, NULL);
	assert_non_null(mkdtemp(bench->directory));
	bench->dirfd = open(bench->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fake_hub_reset(&hub);
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st, (void)type, (void)at;
	return remove(path);
}

static void
bench_finish(struct bench *bench)
{
	close(bench->dirfd);
	nftw(bench->directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	for (size_t i = 0; i < bench->kept_count; i++) {
		free(bench->kept[i].key);
		free(bench->kept[i].bytes);
	}
	pthread_mutex_destroy(&bench->mutex);
	arena_finish(&bench->arena);
}

static struct transfer
transfer_of(struct bench *bench, const char *name, size_t source_count, const char *const *places)
{
	struct transfer_source *sources = arena_array(&bench->arena, source_count, sizeof *sources);
	struct transfer transfer = {
		.sources = sources, .source_count = source_count, .dirfd = bench->dirfd, .dir = bench->directory, .name = name, .run = "AAAA",
		.context = bench, .load = load, .save = save, .progress = progress,
	};
	const char *text;
	struct error err = { 0 };
	struct digest digest;
	size_t size;

	assert_true(file_load(path_join(&bench->arena, path_join(&bench->arena, hub.root, "acme/many"), name), (size_t)1 << 30, &bench->arena, &text, &size, &err));
	digest_of(text, size, &digest);
	transfer.size = size;
	transfer.checksum.kind = CHECKSUM_SHA256;
	memcpy(transfer.checksum.bytes, digest.bytes, DIGEST_SIZE);
	for (size_t i = 0; i < source_count; i++)
		sources[i] = (struct transfer_source){
			.url = arena_printf(&bench->arena, "%s/%s/%s", hub.url, places[i], name),
			.name = arena_printf(&bench->arena, "source %zu", i),
		};
	return transfer;
}

static struct transfer
from_hub(struct bench *bench, const char *name)
{
	static const char *const places[] = { "acme/many/resolve/main" };

	return transfer_of(bench, name, 1, places);
}

static bool
fetch(struct bench *bench, struct transfer *transfers, size_t count, struct error *err)
{
	size_t failed;

	*err = (struct error){ 0 };
	return transfer_fetch_all(transfers, count, CONNECTIONS, &bench->cancel, &bench->arena, &failed, err);
}

static void
assert_right(struct bench *bench, const struct transfer *transfer)
{
	const char *text, *path = path_join(&bench->arena, bench->directory, transfer->name);
	struct error err = { 0 };
	struct digest digest;
	size_t size;

	assert_true(file_load(path, (size_t)1 << 30, &bench->arena, &text, &size, &err));
	digest_of(text, size, &digest);
	assert_memory_equal(digest.bytes, transfer->checksum.bytes, DIGEST_SIZE);
	assert_memory_equal(transfer->sha256.bytes, digest.bytes, DIGEST_SIZE);
	assert_true(transfer->done);
}

static size_t
parts_left(struct bench *bench)
{
	DIR *dir = opendir(path_join(&bench->arena, bench->directory, ".provision/parts"));
	struct dirent *entry;
	size_t count = 0;

	while (dir && (entry = readdir(dir)))
		count += entry->d_name[0] != '.';
	if (dir)
		closedir(dir);
	return count;
}

static void
one_file_by_many(void **state)
{
	struct bench bench;
	struct transfer transfer;
	struct error err;

	(void)state;
	bench_init(&bench);
	transfer = from_hub(&bench, "big.safetensors");
	if (!fetch(&bench, &transfer, 1, &err))
		fail_msg("%s", err.text);
	assert_right(&bench, &transfer);
	assert_int_equal(transfer.fetched, BIG);
	assert_int_equal(bench.told, BIG);
	assert_int_equal(fake_hub_bytes(&hub), (int64_t)BIG);
	assert_int_equal(parts_left(&bench), 0);
	bench_finish(&bench);
}

/* A file of unknown size comes in one answer, which says how long it is: nobody fetches beside it what it brings. */
static void
unknown_size_comes_once(void **state)
{
	struct bench bench;
	struct transfer transfer;
	struct error err;

	(void)state;
	bench_init(&bench);
	fake_hub_fault(&hub, "{\"path\":\"big.safetensors\",\"behaviour\":\"slow\",\"arg\":2000000,\"times\":-1}");
	transfer = from_hub(&bench, "big.safetensors");
	transfer.size = UINT64_MAX;
	if (!fetch(&bench, &transfer, 1, &err))
		fail_msg("%s", err.text);
	assert_right(&bench, &transfer);
	assert_int_equal(transfer.fetched, BIG);
	assert_int_equal(fake_hub_bytes(&hub), (int64_t)BIG);
	bench_finish(&bench);
}

static void
many_files(void **state)
{
	static const char *const names[] = { "a.txt", "b.safetensors", "big.safetensors", "empty.txt", "one.safetensors", "名 前.txt" };
	struct transfer transfers[sizeof names / sizeof *names];
	struct bench bench;
	struct error err;
	uint64_t all = 0;

	(void)state;
	bench_init(&bench);
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		transfers[i] = from_hub(&bench, names[i]);
		if (strchr(names[i], ' '))
			((struct transfer_source *)(uintptr_t)transfers[i].sources)->url =
				arena_printf(&bench.arena, "%s/acme/many/resolve/main/%s", hub.url, http_escape(&bench.arena, names[i], ""));
	}
	if (!fetch(&bench, transfers, sizeof names / sizeof *names, &err))
		fail_msg("%s", err.text);
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		assert_right(&bench, &transfers[i]);
		all += transfers[i].size;
	}
	/* Whoever lends a hand takes what nobody else fetches. */
	assert_int_equal(fake_hub_bytes(&hub), all);
	assert_int_equal(parts_left(&bench), 0);
	bench_finish(&bench);
}

/* What strikes one of the connections, in the middle of the others. */
static void
faults(void **state)
{
	static const struct {
		const char *behaviour;
		const char *more;
		enum fault expected;
	} cases[] = {
		{ "truncate", ",\"arg\":10000", FAULT_NONE },
		{ "close", "", FAULT_NONE },
		{ "503", ",\"times\":2", FAULT_NONE },
		{ "403", ",\"where\":\"cdn\"", FAULT_NONE },
		{ "416", "", FAULT_NONE },
		{ "no_range", "", FAULT_NONE },
		{ "no_range", ",\"times\":-1", FAULT_NONE },
		{ "wrong_byte", ",\"arg\":100", FAULT_NONE },
		{ "wrong_byte", ",\"arg\":100,\"times\":-1", FAULT_DIGEST },
		{ "wrong_start", ",\"times\":-1", FAULT_PROTOCOL },
		{ "wrong_total", ",\"times\":-1", FAULT_PROTOCOL },
		{ "404", ",\"where\":\"hub\",\"times\":-1", FAULT_HUB_NOT_FOUND },
	};

	(void)state;
	setenv("PROVISION_RETRY_PAUSE", "20ms", 1);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct bench bench;
		struct transfer transfer;
		struct error err;
		bool good;

		bench_init(&bench);
		fake_hub_fault(&hub, arena_printf(&bench.arena, "{\"path\":\"big.safetensors\",\"behaviour\":\"%s\"%s}", cases[i].behaviour, cases[i].more));
		transfer = from_hub(&bench, "big.safetensors");
		good = fetch(&bench, &transfer, 1, &err);
		if (good != (cases[i].expected == FAULT_NONE) || (!good && err.fault != cases[i].expected))
			fail_msg("%s%s: %s %s", cases[i].behaviour, cases[i].more, good ? "fetched" : fault_row(err.fault)->code, err.text);
		if (good)
			assert_right(&bench, &transfer);
		else
			assert_int_not_equal(faccessat(bench.dirfd, transfer.name, F_OK, 0), 0);
		bench_finish(&bench);
	}
	assert_int_equal(fake_hub_leaks(&hub), 0);
	unsetenv("PROVISION_RETRY_PAUSE");
}

/* Stopped ten times, the file costs hardly more than once. */
static void
stopped_often(void **state)
{
	struct bench bench;
	struct transfer transfer;
	struct error err;
	uint64_t fetched = 0;
	int stops = 0;

	(void)state;
	bench_init(&bench);
	for (int i = 1; i < 40; i++) {
		bench.told = 0;
		bench.cancel = false;
		bench.cancel_after = i <= 10 ? (uint64_t)i * BIG / 11 : 0;
		transfer = from_hub(&bench, "big.safetensors");
		if (fetch(&bench, &transfer, 1, &err)) {
			fetched += transfer.fetched;
			break;
		}
		assert_int_equal(err.fault, FAULT_INTERRUPTED);
		fetched += transfer.fetched;
		stops++;
	}
	assert_right(&bench, &transfer);
	assert_in_range(stops, 5, 10);
	/* What was on its way when the stop came. */
	assert_in_range(fetched, BIG, BIG + (uint64_t)stops * CONNECTIONS * TRANSFER_PIECE / 2);
	bench_finish(&bench);
}

/* A finished file with one flipped bit is repaired for one piece. */
static void
flipped_bit(void **state)
{
	struct bench bench;
	struct transfer transfer;
	struct error err;
	char byte;
	int fd;

	(void)state;
	bench_init(&bench);
	transfer = from_hub(&bench, "big.safetensors");
	assert_true(fetch(&bench, &transfer, 1, &err));
	assert_int_equal(fchmodat(bench.dirfd, transfer.name, 0644, 0), 0);
	fd = openat(bench.dirfd, transfer.name, O_RDWR);
	assert_int_equal(pread(fd, &byte, 1, 5 * TRANSFER_PIECE + 77), 1);
	byte ^= 4;
	assert_int_equal(pwrite(fd, &byte, 1, 5 * TRANSFER_PIECE + 77), 1);
	close(fd);
	transfer = from_hub(&bench, "big.safetensors");
	transfer.replace = true;
	if (!fetch(&bench, &transfer, 1, &err))
		fail_msg("%s", err.text);
	assert_right(&bench, &transfer);
	assert_int_equal(transfer.fetched, TRANSFER_PIECE);
	bench_finish(&bench);
}

/* A mirror with other bytes is left, and so is one that is not there; the right one serves. */
static void
bad_mirror(void **state)
{
	static const char *const places[] = { "acme/false/resolve/main", "acme/none/resolve/main", "acme/many/resolve/main" };
	struct bench bench;
	struct transfer transfer;
	struct error err;

	(void)state;
	bench_init(&bench);
	transfer = transfer_of(&bench, "big.safetensors", 3, places);
	if (!fetch(&bench, &transfer, 1, &err))
		fail_msg("%s", err.text);
	assert_right(&bench, &transfer);
	assert_string_equal(transfer.served_by, "source 2");
	bench_finish(&bench);
}

/* The first failure names its file, and the others keep what they had. */
static void
one_of_many_fails(void **state)
{
	struct transfer transfers[2];
	struct bench bench;
	struct error err;
	size_t failed;

	(void)state;
	bench_init(&bench);
	fake_hub_fault(&hub, "{\"path\":\"a.txt\",\"behaviour\":\"404\",\"where\":\"hub\",\"times\":-1}");
	transfers[0] = from_hub(&bench, "a.txt");
	transfers[1] = from_hub(&bench, "one.safetensors");
	assert_false(transfer_fetch_all(transfers, 2, 1, &bench.cancel, &bench.arena, &failed, &err));
	assert_int_equal(failed, 0);
	assert_int_equal(err.fault, FAULT_HUB_NOT_FOUND);
	assert_true(transfers[1].done);
	assert_false(transfers[0].done);
	bench_finish(&bench);
}

static int
start(void **state)
{
	(void)state;
	fake_hub_start(&hub, NULL);
	fake_hub_fill(&hub, "acme/many/big.safetensors", BIG, 1);
	fake_hub_fill(&hub, "acme/many/b.safetensors", 3 * (size_t)TRANSFER_PIECE, 2);
	fake_hub_fill(&hub, "acme/many/one.safetensors", 1000, 3);
	fake_hub_write(&hub, "acme/many/a.txt", "alpha\n", 6);
	fake_hub_write(&hub, "acme/many/empty.txt", "", 0);
	fake_hub_write(&hub, "acme/many/名 前.txt", "name\n", 5);
	fake_hub_fill(&hub, "acme/false/big.safetensors", BIG, 4);
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
		cmocka_unit_test(one_file_by_many),
		cmocka_unit_test(unknown_size_comes_once),
		cmocka_unit_test(many_files),
		cmocka_unit_test(faults),
		cmocka_unit_test(stopped_often),
		cmocka_unit_test(flipped_bit),
		cmocka_unit_test(bad_mirror),
		cmocka_unit_test(one_of_many_fails),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
