/* transfer.c against the test hub: every answer that a server may give, and every way to be interrupted, end in the right bytes or in a named failure. */
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/file.h"
#include "rules/client/transfer.h"
#include "tests/fake/hub.h"

#include <cmocka.h> /* last: its macro `fail` hides our function */

#define SIZE ((size_t)300000)

/* A directory to fetch into, and checkpoints as the cache would keep them. */
struct bench {
	struct arena arena;
	char directory[64];
	int dirfd;
	char *key;
	void *bytes;
	size_t size;
	unsigned saves;
	uint64_t told;
	atomic_bool cancel;
	uint64_t cancel_after; /* bytes told; 0: never */
	const char *run;
};

static struct fake_hub hub;

static bool
load(void *context, const char *key, struct arena *arena, const void **bytes, size_t *size, struct error *err)
{
	struct bench *bench = context;

	(void)err;
	*bytes = NULL;
	if (bench->bytes && strcmp(key, bench->key) == 0) {
		*bytes = arena_copy_bytes(arena, bench->bytes, bench->size);
		*size = bench->size;
	}
	return true;
}

static bool
save(void *context, const char *key, const void *bytes, size_t size, struct error *err)
{
	struct bench *bench = context;

	(void)err;
	free(bench->key);
	free(bench->bytes);
	bench->key = xstrdup(key);
	bench->bytes = NULL;
	bench->size = size;
	bench->saves++;
	if (bytes) {
		bench->bytes = xmalloc(size + 1);
		memcpy(bench->bytes, bytes, size);
	}
	return true;
}

static void
progress(void *context, const struct transfer *transfer, uint64_t bytes)
{
	struct bench *bench = context;

	(void)transfer;
	bench->told += bytes;
	if (bench->cancel_after && bench->told >= bench->cancel_after)
		bench->cancel = true;
}

static void
bench_init(struct bench *bench)
{
	*bench = (struct bench){ .directory = "/tmp/transfer-XXXXXX", .run = "AAAA" };
	arena_init(&bench->arena);
	assert_non_null(mkdtemp(bench->directory));
	bench->dirfd = open(bench->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
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
	arena_finish(&bench->arena);
	free(bench->key);
	free(bench->bytes);
}

static struct transfer
transfer_of(struct bench *bench, const struct transfer_source *sources, size_t count, const char *original, enum checksum_kind kind)
{
	struct transfer transfer = {
		.sources = sources, .source_count = count, .dirfd = bench->dirfd, .dir = bench->directory, .name = "sub/file.bin",
		.run = bench->run, .context = bench, .load = load, .save = save, .progress = progress, .cancel = &bench->cancel,
	};
	struct hasher hasher finally(hasher_finish) = { 0 };
	const char *text;
	struct error err = { 0 };
	size_t size;

	assert_true(file_load(original, (size_t)1 << 30, &bench->arena, &text, &size, &err));
	transfer.size = size;
	if (kind == CHECKSUM_GIT)
		hasher_init_git(&hasher, size);
	else
		hasher_init(&hasher);
	hasher_add(&hasher, text, size);
	hasher_checksum(&hasher, &transfer.checksum);
	return transfer;
}

static struct transfer_source
remote(struct bench *bench, const char *path)
{
	return (struct transfer_source){ .url = arena_printf(&bench->arena, "%s/%s", hub.url, path), .name = "test:hub" };
}

static bool
same_bytes(struct bench *bench, const char *original)
{
	const char *a, *b;
	size_t a_size, b_size;
	struct error err = { 0 };

	return file_load(original, (size_t)1 << 30, &bench->arena, &a, &a_size, &err) &&
		file_load(path_join(&bench->arena, bench->directory, "sub/file.bin"), (size_t)1 << 30, &bench->arena, &b, &b_size, &err) &&
		a_size == b_size && memcmp(a, b, a_size) == 0;
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

static bool
exists(struct bench *bench)
{
	return faccessat(bench->dirfd, "sub/file.bin", F_OK, 0) == 0;
}

/* What one fault, struck on a file that comes in one piece, must lead to. */
static void
faults(void **state)
{
	static const struct {
		const char *fault;
		const char *path;
		enum fault expected; /* FAULT_NONE: the file */
		const char *words;   /* in the message */
	} cases[] = {
		{ "{\"path\":\"w.safetensors\",\"behaviour\":\"none\",\"times\":0}", "acme/t/resolve/main/w.safetensors", FAULT_NONE, NULL },
		{ "{\"path\":\"w.safetensors\",\"behaviour\":\"truncate\",\"arg\":100000}", "acme/t/resolve/main/w.safetensors", FAULT_NONE, NULL },
		{ "{\"path\":\"w.safetensors\",\"behaviour\":\"truncate\",\"arg\":0}", "acme/t/resolve/main/w.safetensors", FAULT_NONE, NULL },
		{ "{\"path\":\"w.safetensors\",\"behaviour\":\"close\"}", "acme/t/resolve/main/w.safetensors", FAULT_NONE, NULL },
		{ "{\"path\":\"w.safetensors\",\"behaviour\":\"503\",\"times\":2}", "acme/t/resolve/main/w.safetensors", FAULT_NONE, NULL },
		{ "{\"path\":\"w.safetensors\",\"behaviour\":\"429\",\"arg\":0}", "acme/t/resolve/main/w.safetensors", FAULT_NONE, NULL },
		{ "{\"path\":\"w.safetensors\",\"behaviour\":\"403\",\"where\":\"cdn\"}", "acme/t/resolve/main/w.safetensors", FAULT_NONE, NULL },
		{ "{\"path\":\"w.safetensors\",\"behaviour\":\"403\",\"where\":\"cdn\",\"times\":-1}", "acme/t/resolve/main/w.safetensors", FAULT_HUB_DENIED, "403" },
		{ "{\"path\":\"w.safetensors\",\"behaviour\":\"403\",\"where\":\"hub\",\"times\":-1}", "acme/t/resolve/main/w.safetensors", FAULT_HUB_DENIED, "403" },
		{ "{\"path\":\"w.safetensors\",\"behaviour\":\"404\",\"where\":\"hub\"}", "acme/t/resolve/main/w.safetensors", FAULT_HUB_NOT_FOUND, "404" },
		{ "{\"path\":\"w.safetensors\",\"behaviour\":\"416\"}", "acme/t/resolve/main/w.safetensors", FAULT_NONE, NULL },
		{ "{\"path\":\"w.safetensors\",\"behaviour\":\"wrong_byte\",\"arg\":70000}", "acme/t/resolve/main/w.safetensors", FAULT_NONE, NULL },
		{ "{\"path\":\"w.safetensors\",\"behaviour\":\"wrong_byte\",\"arg\":70000,\"times\":-1}", "acme/t/resolve/main/w.safetensors", FAULT_DIGEST, "expected sha256:" },
		{ "{\"path\":\"w.safetensors\",\"behaviour\":\"gzip\"}", "acme/t/resolve/main/w.safetensors", FAULT_NONE, NULL },
		{ "{\"path\":\"w.safetensors\",\"behaviour\":\"gzip\",\"times\":-1}", "acme/t/resolve/main/w.safetensors", FAULT_PROTOCOL, "gzip" },
		{ "{\"path\":\"w.safetensors\",\"behaviour\":\"html\"}", "acme/t/resolve/main/w.safetensors", FAULT_PROTOCOL, "HTML" },
		{ "{\"path\":\"w.safetensors\",\"behaviour\":\"pointer\"}", "acme/t/resolve/main/w.safetensors", FAULT_PROTOCOL, "pointer" },
		{ "{\"path\":\"w.safetensors\",\"behaviour\":\"empty\"}", "acme/t/resolve/main/w.safetensors", FAULT_PROTOCOL, "0 bytes" },
		{ "{\"path\":\"w.safetensors\",\"behaviour\":\"long\"}", "acme/t/resolve/main/w.safetensors", FAULT_PROTOCOL, "bytes there" },
		{ "{\"path\":\"w.safetensors\",\"behaviour\":\"no_length\"}", "acme/t/resolve/main/w.safetensors", FAULT_NONE, NULL },
		{ "{\"path\":\"w.safetensors\",\"behaviour\":\"redirect_loop\",\"where\":\"hub\",\"times\":-1}", "acme/t/resolve/main/w.safetensors", FAULT_PROTOCOL, "redirects" },
		{ "{\"path\":\"w.safetensors\",\"behaviour\":\"redirect_file\",\"where\":\"hub\"}", "acme/t/resolve/main/w.safetensors", FAULT_PROTOCOL, "file" },
		{ "{\"path\":\"w.safetensors\",\"behaviour\":\"redirect_http\",\"where\":\"hub\"}", "acme/t/resolve/main/w.safetensors", FAULT_INSECURE, "example.invalid" },
		{ "{\"path\":\"w.safetensors\",\"behaviour\":\"none\",\"times\":0}", "api/v1/models/acme/t/repo?Revision=master&FilePath=w.safetensors", FAULT_NONE, NULL },
		{ "{\"path\":\"w.safetensors\",\"behaviour\":\"truncate\",\"arg\":100000}", "api/v1/models/acme/t/repo?Revision=master&FilePath=w.safetensors", FAULT_NONE, NULL },
		{ "{\"path\":\"w.safetensors\",\"behaviour\":\"none\",\"times\":0}", "plain/acme/t/w.safetensors", FAULT_NONE, NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const char *original = path_join(&hub.arena, hub.root, "acme/t/w.safetensors");
		struct bench bench;
		struct transfer_source source;
		struct transfer transfer;
		struct error err = { 0 };
		bool good;

		bench_init(&bench);
		fake_hub_reset(&hub);
		fake_hub_fault(&hub, cases[i].fault);
		source = remote(&bench, cases[i].path);
		transfer = transfer_of(&bench, &source, 1, original, CHECKSUM_SHA256);
		good = transfer_fetch(&transfer, &bench.arena, &err);
		if (good != (cases[i].expected == FAULT_NONE) || (!good && err.fault != cases[i].expected))
			fail_msg("%s (%s): %s %s", cases[i].fault, cases[i].path, good ? "fetched" : fault_row(err.fault)->code, err.text);
		if (good && (!same_bytes(&bench, original) || parts_left(&bench) != 0))
			fail_msg("%s: not the bytes", cases[i].fault);
		if (!good && (exists(&bench) || !strstr(err.text, cases[i].words)))
			fail_msg("%s: %s", cases[i].fault, err.text);
		bench_finish(&bench);
	}
	assert_int_equal(fake_hub_leaks(&hub), 0);
}

/* The same on a range in the middle, after a first try that broke off. */
static void
faults_of_ranges(void **state)
{
	static const struct {
		const char *behaviour;
		enum fault expected;
	} cases[] = {
		{ "no_range", FAULT_NONE },
		{ "wrong_start", FAULT_PROTOCOL },
		{ "wrong_total", FAULT_PROTOCOL },
		{ "no_content_range", FAULT_PROTOCOL },
		{ "416", FAULT_NONE },
		{ "truncate", FAULT_NONE },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const char *original = path_join(&hub.arena, hub.root, "acme/t/w.safetensors");
		struct bench bench;
		struct transfer_source source;
		struct transfer transfer;
		struct error err = { 0 };
		bool good;

		bench_init(&bench);
		fake_hub_reset(&hub);
		fake_hub_fault(&hub, "{\"path\":\"w.safetensors\",\"behaviour\":\"truncate\",\"arg\":100000}");
		fake_hub_fault(&hub, arena_printf(&bench.arena, "{\"path\":\"w.safetensors\",\"behaviour\":\"%s\",\"arg\":100000}", cases[i].behaviour));
		source = remote(&bench, "acme/t/resolve/main/w.safetensors");
		transfer = transfer_of(&bench, &source, 1, original, CHECKSUM_SHA256);
		good = transfer_fetch(&transfer, &bench.arena, &err);
		if (good != (cases[i].expected == FAULT_NONE) || (!good && err.fault != cases[i].expected))
			fail_msg("%s: %s", cases[i].behaviour, good ? "fetched" : err.text);
		if (good)
			assert_true(same_bytes(&bench, original));
		else
			assert_int_equal(parts_left(&bench), 1); /* what came first is kept */
		bench_finish(&bench);
	}
}

static void
git_blob(void **state)
{
	const char *original = path_join(&hub.arena, hub.root, "acme/t/config.json");
	struct bench bench;
	struct transfer_source source;
	struct transfer transfer;
	struct error err = { 0 };
	struct digest digest;
	const char *text;
	size_t size;

	(void)state;
	bench_init(&bench);
	source = remote(&bench, "acme/t/resolve/main/config.json");
	transfer = transfer_of(&bench, &source, 1, original, CHECKSUM_GIT);
	if (!transfer_fetch(&transfer, &bench.arena, &err))
		fail_msg("%s", err.text);
	assert_true(file_load(original, SIZE, &bench.arena, &text, &size, &err));
	digest_of(text, size, &digest);
	assert_true(digest_equal(&digest, &transfer.sha256));
	bench_finish(&bench);
}

/* Stopped in the middle: the next run, under another name, fetches only the rest. */
static void
resumes(void **state)
{
	const char *original = fake_hub_fill(&hub, "acme/big/w.bin", (size_t)150 << 20, 7);
	struct bench bench;
	struct transfer_source source;
	struct transfer transfer;
	struct error err = { 0 };
	int64_t first, second;

	(void)state;
	bench_init(&bench);
	fake_hub_reset(&hub);
	source = remote(&bench, "acme/big/resolve/main/w.bin");
	transfer = transfer_of(&bench, &source, 1, original, CHECKSUM_SHA256);
	bench.cancel_after = (uint64_t)100 << 20;
	assert_false(transfer_fetch(&transfer, &bench.arena, &err));
	assert_int_equal(err.fault, FAULT_INTERRUPTED);
	assert_false(exists(&bench));
	assert_int_equal(parts_left(&bench), 1);
	assert_true(bench.saves >= 2); /* after 64 MiB, and when stopped */
	first = fake_hub_bytes(&hub);
	bench.cancel = false;
	bench.cancel_after = 0;
	bench.run = "BBBB";
	transfer = transfer_of(&bench, &source, 1, original, CHECKSUM_SHA256);
	if (!transfer_fetch(&transfer, &bench.arena, &err))
		fail_msg("%s", err.text);
	second = fake_hub_bytes(&hub) - first;
	assert_true(same_bytes(&bench, original));
	assert_int_equal(parts_left(&bench), 0);
	assert_in_range((uintmax_t)transfer.fetched, 1, (uintmax_t)51 << 20);
	assert_true(second <= (int64_t)51 << 20);
	bench_finish(&bench);
}

static const char *
only_part(struct bench *bench)
{
	const char *parts = path_join(&bench->arena, bench->directory, ".provision/parts");
	DIR *dir = opendir(parts);
	const char *path = NULL;
	struct dirent *entry;

	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			path = path_join(&bench->arena, parts, entry->d_name);
	closedir(dir);
	return path;
}

/* A damaged piece of a former run is found by its digest, and it alone is fetched again. */
static void
repairs_a_piece(void **state)
{
	const char *original = path_join(&hub.arena, hub.root, "acme/big/w.bin");
	struct bench bench;
	struct transfer_source source;
	struct transfer transfer;
	struct error err = { 0 };
	int fd;

	(void)state;
	bench_init(&bench);
	source = remote(&bench, "acme/big/resolve/main/w.bin");
	transfer = transfer_of(&bench, &source, 1, original, CHECKSUM_SHA256);
	bench.cancel_after = (uint64_t)140 << 20;
	assert_false(transfer_fetch(&transfer, &bench.arena, &err));
	fd = open(only_part(&bench), O_WRONLY);
	assert_int_equal(pwrite(fd, "damaged", 7, 1000), 7);
	close(fd);
	bench.cancel = false;
	bench.cancel_after = 0;
	fake_hub_reset(&hub);
	transfer = transfer_of(&bench, &source, 1, original, CHECKSUM_SHA256);
	if (!transfer_fetch(&transfer, &bench.arena, &err))
		fail_msg("%s", err.text);
	assert_true(same_bytes(&bench, original));
	assert_in_range((uintmax_t)transfer.fetched, (uintmax_t)64 << 20, (uintmax_t)76 << 20);
	bench_finish(&bench);
}

/* A part without a checkpoint, and a checkpoint that is garbage, are worth nothing and do no harm. */
static void
distrusts(void **state)
{
	const char *original = path_join(&hub.arena, hub.root, "acme/t/w.safetensors");

	(void)state;
	for (int garbage = 0; garbage < 2; garbage++) {
		struct bench bench;
		struct transfer_source source;
		struct transfer transfer;
		struct error err = { 0 };

		bench_init(&bench);
		fake_hub_reset(&hub);
		fake_hub_fault(&hub, "{\"path\":\"w.safetensors\",\"behaviour\":\"truncate\",\"arg\":100000}");
		fake_hub_fault(&hub, "{\"path\":\"w.safetensors\",\"behaviour\":\"404\",\"where\":\"hub\"}");
		fake_hub_fault(&hub, "{\"path\":\"w.safetensors\",\"behaviour\":\"404\",\"where\":\"hub\"}");
		source = remote(&bench, "acme/t/resolve/main/w.safetensors");
		transfer = transfer_of(&bench, &source, 1, original, CHECKSUM_SHA256);
		transfer_fetch(&transfer, &bench.arena, &err);
		fake_hub_reset(&hub);
		if (garbage && bench.bytes)
			memset(bench.bytes, 0x5a, bench.size);
		else
			save(&bench, "other", NULL, 0, &err);
		transfer = transfer_of(&bench, &source, 1, original, CHECKSUM_SHA256);
		transfer.run = "BBBB";
		if (!transfer_fetch(&transfer, &bench.arena, &err))
			fail_msg("%s", err.text);
		assert_true(same_bytes(&bench, original));
		assert_int_equal(parts_left(&bench), 0);
		bench_finish(&bench);
	}
}

/* A right file is adopted without a request; a wrong one is replaced only if it is ours; a link is never followed. */
static void
standing_files(void **state)
{
	const char *original = path_join(&hub.arena, hub.root, "acme/t/w.safetensors"), *text;
	struct bench bench;
	struct transfer_source source;
	struct transfer transfer;
	struct error err = { 0 };
	struct stat st;
	size_t size;
	const char *final;

	(void)state;
	bench_init(&bench);
	fake_hub_reset(&hub);
	final = path_join(&bench.arena, bench.directory, "sub/file.bin");
	source = remote(&bench, "acme/t/resolve/main/w.safetensors");
	assert_true(file_load(original, SIZE * 2, &bench.arena, &text, &size, &err));
	assert_int_equal(mkdirat(bench.dirfd, "sub", 0755), 0);
	assert_true(file_save(final, text, size, 0644, &err));
	transfer = transfer_of(&bench, &source, 1, original, CHECKSUM_SHA256);
	assert_true(transfer_fetch(&transfer, &bench.arena, &err));
	assert_true(transfer.adopted);
	/* The run that fetched it may have left a checkpoint. */
	assert_non_null(transfer.checkpoint);
	assert_int_equal(fake_hub_bytes(&hub), 0);

	assert_true(file_save(final, "mine", 4, 0644, &err));
	transfer = transfer_of(&bench, &source, 1, original, CHECKSUM_SHA256);
	assert_false(transfer_fetch(&transfer, &bench.arena, &err));
	assert_int_equal(err.fault, FAULT_NOT_OURS);
	assert_true(file_load(final, SIZE, &bench.arena, &text, &size, &err));
	assert_string_equal(text, "mine");

	transfer = transfer_of(&bench, &source, 1, original, CHECKSUM_SHA256);
	transfer.replace = true;
	if (!transfer_fetch(&transfer, &bench.arena, &err))
		fail_msg("%s", err.text);
	assert_true(same_bytes(&bench, original));
	assert_int_equal(stat(final, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0444);

	assert_int_equal(unlink(final), 0);
	assert_int_equal(symlink("/etc/passwd", final), 0);
	transfer = transfer_of(&bench, &source, 1, original, CHECKSUM_SHA256);
	assert_false(transfer_fetch(&transfer, &bench.arena, &err));
	assert_int_equal(err.fault, FAULT_NOT_OURS);
	assert_int_equal(unlink(final), 0);
	assert_int_equal(rmdir(path_join(&bench.arena, bench.directory, "sub")), 0);
	assert_int_equal(symlink("/tmp", path_join(&bench.arena, bench.directory, "sub")), 0);
	transfer = transfer_of(&bench, &source, 1, original, CHECKSUM_SHA256);
	assert_false(transfer_fetch(&transfer, &bench.arena, &err));
	assert_int_not_equal(stat("/tmp/file.bin", &st), 0);
	bench_finish(&bench);
}

/* The next source takes over, also in the middle of a file. */
static void
next_source(void **state)
{
	const char *original = path_join(&hub.arena, hub.root, "acme/t/w.safetensors");
	struct bench bench;
	struct transfer_source sources[3];
	struct transfer transfer;
	struct error err = { 0 };

	(void)state;
	bench_init(&bench);
	fake_hub_reset(&hub);
	sources[0] = (struct transfer_source){ .url = "http://127.0.0.1:9/gone", .name = "test:dead" };
	sources[1] = remote(&bench, "acme/t/resolve/main/w.safetensors");
	sources[2] = (struct transfer_source){ .path = original, .name = "test:disk" };
	fake_hub_fault(&hub, "{\"path\":\"w.safetensors\",\"behaviour\":\"truncate\",\"arg\":100000}");
	fake_hub_fault(&hub, "{\"path\":\"w.safetensors\",\"behaviour\":\"410\",\"where\":\"cdn\",\"times\":-1}");
	transfer = transfer_of(&bench, &sources[1], 2, original, CHECKSUM_SHA256);
	if (!transfer_fetch(&transfer, &bench.arena, &err))
		fail_msg("%s", err.text);
	assert_true(same_bytes(&bench, original));
	assert_string_equal(transfer.served_by, "test:disk");
	assert_int_equal(transfer.fetched, 100000);
	bench_finish(&bench);
}

static void
local_file(void **state)
{
	static const size_t sizes[] = { 0, 1, 4096, (size_t)70 << 20 };

	(void)state;
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		const char *original = fake_hub_fill(&hub, "acme/l/file", sizes[i], (unsigned)i);
		struct bench bench;
		struct transfer_source source = { .path = original, .name = "test:disk" };
		struct transfer transfer;
		struct error err = { 0 };

		bench_init(&bench);
		transfer = transfer_of(&bench, &source, 1, original, i % 2 ? CHECKSUM_GIT : CHECKSUM_SHA256);
		if (!transfer_fetch(&transfer, &bench.arena, &err))
			fail_msg("%zu: %s", sizes[i], err.text);
		assert_true(same_bytes(&bench, original));
		assert_int_equal(transfer.actual_size, sizes[i]);
		assert_int_equal(transfer.fetched, 0);
		bench_finish(&bench);
	}
}

static void
unknown_size(void **state)
{
	const char *original = path_join(&hub.arena, hub.root, "acme/t/w.safetensors");
	static const char *const behaviours[] = { "none", "no_length" };

	(void)state;
	for (size_t i = 0; i < sizeof behaviours / sizeof *behaviours; i++) {
		struct bench bench;
		struct transfer_source source;
		struct transfer transfer;
		struct error err = { 0 };

		bench_init(&bench);
		fake_hub_reset(&hub);
		fake_hub_fault(&hub, arena_printf(&bench.arena, "{\"path\":\"w.safetensors\",\"behaviour\":\"%s\"}", behaviours[i]));
		source = remote(&bench, "plain/acme/t/w.safetensors");
		transfer = transfer_of(&bench, &source, 1, original, CHECKSUM_SHA256);
		transfer.size = UINT64_MAX;
		if (!transfer_fetch(&transfer, &bench.arena, &err))
			fail_msg("%s: %s", behaviours[i], err.text);
		assert_true(same_bytes(&bench, original));
		bench_finish(&bench);
	}
}

static void
cancels_quickly(void **state)
{
	const char *original = path_join(&hub.arena, hub.root, "acme/t/w.safetensors");
	struct bench bench;
	struct transfer_source source;
	struct transfer transfer;
	struct error err = { 0 };
	int64_t begun;

	(void)state;
	bench_init(&bench);
	fake_hub_reset(&hub);
	fake_hub_fault(&hub, "{\"path\":\"w.safetensors\",\"behaviour\":\"trickle\",\"times\":-1}");
	source = remote(&bench, "acme/t/resolve/main/w.safetensors");
	transfer = transfer_of(&bench, &source, 1, original, CHECKSUM_SHA256);
	bench.cancel_after = 5;
	begun = clock_monotonic_ms();
	assert_false(transfer_fetch(&transfer, &bench.arena, &err));
	assert_int_equal(err.fault, FAULT_INTERRUPTED);
	assert_in_range((uintmax_t)(clock_monotonic_ms() - begun), 300, 1500);
	bench_finish(&bench);
}

static int
start(void **state)
{
	(void)state;
	fake_hub_start(&hub, NULL);
	fake_hub_tensors(&hub, "acme/t/w.safetensors", SIZE, 1);
	fake_hub_write(&hub, "acme/t/config.json", "{\"a\": 1}", 8);
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
		cmocka_unit_test(faults),
		cmocka_unit_test(faults_of_ranges),
		cmocka_unit_test(git_blob),
		cmocka_unit_test(resumes),
		cmocka_unit_test(repairs_a_piece),
		cmocka_unit_test(distrusts),
		cmocka_unit_test(standing_files),
		cmocka_unit_test(next_source),
		cmocka_unit_test(local_file),
		cmocka_unit_test(unknown_size),
		cmocka_unit_test(cancels_quickly),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
