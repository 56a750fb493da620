/* The memory socket as the cache fills it: what was written is read again, whole and in order. */
#include "fixture.h"

#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/time.h>

#include "engine/base/clock.h"

static void
nothing_there_is_an_empty_memory(void **state)
{
	struct fixture *fixture = *state;
	struct ledger *ledger finally(close_ledger) = NULL;
	struct history_entry head;
	struct known_file *files;
	const char **names;
	struct memory *memory;
	char hash[DIGEST_HEX];
	struct error err;
	struct row *rows;
	struct stat st;
	size_t count = 7;
	bool found = true;

	must(ledger_open_reading(fixture->path, &ledger, &err));
	memory = ledger_memory(ledger);
	assert_string_equal(memory->project(memory->self), "");
	must(memory->records(memory->self, "d", &fixture->arena, &rows, &count, &err));
	assert_int_equal(count, 0);
	must(memory->files(memory->self, &fixture->arena, &files, &count, &err));
	assert_int_equal(count, 0);
	must(memory->deployments(memory->self, &fixture->arena, &names, &count, &err));
	assert_int_equal(count, 0);
	must(memory->last_action(memory->self, "d", "t", &fixture->arena, &head, &found, &err));
	assert_false(found);
	must(memory->verify(memory->self, &fixture->arena, &head, hash, &count, &err));
	assert_string_equal(hash, "");
	assert_null(memory->commit);
	assert_int_equal(stat(fixture->state, &st), -1);
}

static void
everything_comes_back(void **state)
{
	struct fixture *fixture = *state;
	struct arena *arena = &fixture->arena;
	struct ledger *ledger finally(close_ledger) = NULL;
	struct record record = record_named("weights", "one"), back;
	struct artifact artifact = { .kind = ARTIFACT_FILE, .name = "/data/w.bin", .size = UINT64_MAX / 2, .note = "{}" };
	struct outcome outcome = outcome_of(&record);
	struct run_info run = run_named("RUN00001", "autoglm");
	struct known_file file = { .key = { .device = UINT64_MAX - 1, .inode = UINT64_MAX, .size = 5, .mtime_ns = -3, .ctime_ns = 4 },
		.hashed_ns = 99, .digest = record.output }, *files;
	const char *done[] = { "part:1" };
	const char *ids[] = { "INTENT01" };
	struct intent intent = { .id = ids[0], .target = "weights", .kind = "container", .name = "c1", .run = run.id }, *intents;
	struct history_entry *entries, last;
	struct memory *memory;
	const char **names;
	const void *bytes;
	int64_t *ms;
	struct error err;
	struct row *rows;
	size_t count;
	bool found;

	digest_of("x", 1, &artifact.digest);
	artifacts_add(&record.artifacts, arena, &artifact);
	pairs_set(&record.outputs, arena, "dir", "/data \"w\"\n");
	pairs_set(&record.materials, arena, "https://hub/w", "sha256:1");
	ingredients_init(&record.ingredients, arena);
	ingredients_add(&record.ingredients, INGREDIENT_PARAM, "param:dir", "/data", NULL);

	must(ledger_open_writing(fixture->path, &ledger, &err));
	memory = ledger_memory(ledger);
	assert_int_equal(strlen(memory->project(memory->self)), 12);
	must(memory->begin_run(memory->self, &run, &err));
	must(memory->add_intent(memory->self, &intent, &err));
	must(memory->save_checkpoint(memory->self, done[0], "abc", 3, &err));
	must(memory->save_checkpoint(memory->self, "part:2", "", 0, &err));
	must(memory->intents(memory->self, "autoglm", arena, &intents, &count, &err));
	assert_int_equal(count, 1);
	assert_string_equal(intents[0].name, "c1");
	assert_string_equal(intents[0].kind, "container");
	must(memory->checkpoint(memory->self, "part:1", arena, &bytes, &count, &err));
	assert_int_equal(count, 3);
	assert_memory_equal(bytes, "abc", 3);
	outcome.checkpoints_done = done;
	outcome.checkpoints_done_count = 1;
	outcome.intents_done = ids;
	outcome.intents_done_count = 1;
	outcome.message = "said \"no\"";
	must(memory->commit(memory->self, &outcome, 1, &file, 1, &err));
	must(memory->end_run(memory->self, "ok", 0, 5000, &err));
	close_ledger(&ledger);

	must(ledger_open_reading(fixture->path, &ledger, &err));
	memory = ledger_memory(ledger);
	must(memory->records(memory->self, "autoglm", arena, &rows, &count, &err));
	assert_int_equal(count, 1);
	assert_string_equal(rows[0].target, "weights");
	assert_string_equal(rows[0].rule, "command");
	assert_int_equal(rows[0].rule_version, 3);
	assert_true(digest_equal(&rows[0].fingerprint, &record.fingerprint));
	assert_true(digest_equal(&rows[0].output, &record.output));
	assert_int_equal((uintptr_t)rows[0].body % _Alignof(max_align_t), 0);
	memset(&back, 0, sizeof back);
	assert_true(record_unpack(&back, rows[0].body, rows[0].body_size, arena));
	assert_true(record_unpack_why(&back, rows[0].body, rows[0].body_size, arena));
	assert_string_equal(pairs_get(&back.outputs, "dir"), "/data \"w\"\n");
	assert_string_equal(back.artifacts.items[0].name, "/data/w.bin");
	assert_true(back.artifacts.items[0].size == artifact.size);
	assert_string_equal(pairs_get(&back.materials, "https://hub/w"), "sha256:1");
	assert_non_null(ingredients_find(&back.ingredients, "param:dir"));
	assert_string_equal(back.summary, "one");

	must(memory->files(memory->self, arena, &files, &count, &err));
	assert_int_equal(count, 1);
	assert_memory_equal(&files[0], &file, sizeof file);
	must(memory->intents(memory->self, "autoglm", arena, &intents, &count, &err));
	assert_int_equal(count, 0);
	must(memory->checkpoint(memory->self, "part:1", arena, &bytes, &count, &err));
	assert_null(bytes);
	must(memory->checkpoint(memory->self, "part:2", arena, &bytes, &count, &err));
	assert_non_null(bytes);
	assert_int_equal(count, 0);
	must(memory->deployments(memory->self, arena, &names, &count, &err));
	assert_int_equal(count, 1);
	assert_string_equal(names[0], "autoglm");
	must(memory->durations(memory->self, "autoglm", arena, &names, &ms, &count, &err));
	assert_int_equal(count, 1);
	assert_string_equal(names[0], "weights");
	assert_int_equal(ms[0], 7);
	must(memory->last_action(memory->self, "autoglm", "weights", arena, &last, &found, &err));
	assert_true(found);
	assert_int_equal(last.seq, 2);
	assert_non_null(strstr(last.body, "\"message\":\"said \\\"no\\\"\""));
	assert_non_null(strstr(last.body, "\"name\":\"param:dir\",\"value\":\"/data\""));
	must(memory->history(memory->self, "RUN00001", arena, &entries, &count, &err));
	assert_int_equal(count, 3);
	assert_string_equal(entries[0].kind, "run");
	assert_string_equal(entries[1].kind, "action");
	assert_string_equal(entries[2].kind, "end");
	assert_string_equal(entries[2].result, "ok");
	assert_int_equal(entries[2].ended_ns, 5000);
	must(memory->history(memory->self, "NOBODY00", arena, &entries, &count, &err));
	assert_int_equal(count, 0);
	must(memory->records(memory->self, "other", arena, &rows, &count, &err));
	assert_int_equal(count, 0);
}

/* Commit one outcome for target `t` and say what its current and kept records are: summaries, "-" for none. */
static const char *
after(struct fixture *fixture, struct memory *memory, struct outcome outcome)
{
	struct arena *arena = &fixture->arena;
	const char *shown[2] = { "-", "-" };
	struct error err;

	outcome.target = "t";
	must(memory->commit(memory->self, &outcome, 1, NULL, 0, &err));
	for (size_t i = 0; i < 2; i++) {
		struct record back = { 0 };
		struct row *rows;
		size_t count;

		must((i == 0 ? memory->records : memory->kept)(memory->self, "d", arena, &rows, &count, &err));
		if (count == 0)
			continue;
		assert_int_equal(count, 1);
		assert_true(record_unpack(&back, rows[0].body, rows[0].body_size, arena));
		shown[i] = back.summary;
	}
	return arena_printf(arena, "%s %s", shown[0], shown[1]);
}

static void
records_are_kept_dropped_restored(void **state)
{
	struct fixture *fixture = *state;
	struct ledger *ledger finally(close_ledger) = NULL;
	struct record a = record_named("t", "a"), b = record_named("t", "b"), c = record_named("t", "c");
	const struct outcome none = { .action = "make", .result = "failed" };
	struct outcome make_a = outcome_of(&a), keep_a = outcome_of(&b), keep_b = outcome_of(&c), drop = none, restore = none, remove = none;
	struct run_info run = run_named("RUN00001", "d");
	struct memory *memory;
	struct history_entry head;
	char hash[DIGEST_HEX];
	struct error err;
	size_t runs;

	keep_a.keep_old = keep_b.keep_old = true;
	drop.drop_old = true;
	restore.restore_old = true;
	remove.removed = true;
	must(ledger_open_writing(fixture->path, &ledger, &err));
	memory = ledger_memory(ledger);
	must(memory->begin_run(memory->self, &run, &err));

	assert_string_equal(after(fixture, memory, restore), "- -");
	assert_string_equal(after(fixture, memory, make_a), "a -");
	assert_string_equal(after(fixture, memory, none), "a -");
	assert_string_equal(after(fixture, memory, restore), "a -");
	assert_string_equal(after(fixture, memory, keep_a), "b a");
	assert_string_equal(after(fixture, memory, restore), "a -");
	assert_string_equal(after(fixture, memory, keep_a), "b a");
	assert_string_equal(after(fixture, memory, keep_b), "c a");
	assert_string_equal(after(fixture, memory, drop), "c -");
	must(memory->verify(memory->self, &fixture->arena, &head, hash, &runs, &err));
	assert_string_equal(after(fixture, memory, remove), "- -");
	assert_string_equal(after(fixture, memory, remove), "- -");
	must(memory->verify(memory->self, &fixture->arena, &head, hash, &runs, &err));
	assert_int_equal(runs, 1);
	assert_int_equal(head.seq, 12);
}

/* A batch whose last outcome cannot be written leaves nothing of the others. */
static void
a_batch_is_whole_or_nothing(void **state)
{
	struct fixture *fixture = *state;
	struct ledger *ledger finally(close_ledger) = NULL;
	struct record good = record_named("good", "1"), huge = record_named("huge", "1");
	struct outcome batch[] = { outcome_of(&good), outcome_of(&huge) };
	struct run_info run = run_named("RUN00001", "d");
	char *text = test_malloc(17 << 20);
	struct memory *memory;
	struct error err;
	struct row *rows;
	size_t count;

	memset(text, 'x', 17 << 20);
	text[(17 << 20) - 1] = '\0';
	huge.summary = text;
	must(ledger_open_writing(fixture->path, &ledger, &err));
	memory = ledger_memory(ledger);
	must_fail(memory->commit(memory->self, batch, 2, NULL, 0, &err), FAULT_INTERNAL); /* no run */
	must(memory->begin_run(memory->self, &run, &err));
	must_fail(memory->commit(memory->self, batch, 2, NULL, 0, &err), FAULT_TOO_LARGE);
	test_free(text);
	must(memory->records(memory->self, "d", &fixture->arena, &rows, &count, &err));
	assert_int_equal(count, 0);
	must(memory->commit(memory->self, batch, 1, NULL, 0, &err));
	must(memory->records(memory->self, "d", &fixture->arena, &rows, &count, &err));
	assert_int_equal(count, 1);
}

static void
ten_thousand_in_one_scan(void **state)
{
	enum { COUNT = 10000 };
	struct fixture *fixture = *state;
	struct arena *arena = &fixture->arena;
	struct ledger *ledger finally(close_ledger) = NULL;
	struct record *records = arena_array(arena, COUNT, sizeof *records);
	struct outcome *outcomes = arena_array(arena, COUNT, sizeof *outcomes);
	struct known_file *files = arena_array(arena, COUNT, sizeof *files), *seen;
	struct run_info run = run_named("RUN00001", "d");
	struct memory *memory;
	struct history_entry head;
	char hash[DIGEST_HEX];
	struct error err;
	struct row *rows;
	size_t count;

	for (size_t i = 0; i < COUNT; i++) {
		records[i] = record_named(arena_printf(arena, "target-%zu", (i * 7919) % COUNT), "v");
		outcomes[i] = outcome_of(&records[i]);
		files[i].key = (struct stat_key){ .device = 1, .inode = COUNT - i };
		files[i].digest = records[i].output;
	}
	must(ledger_open_writing(fixture->path, &ledger, &err));
	memory = ledger_memory(ledger);
	must(memory->begin_run(memory->self, &run, &err));
	must(memory->commit(memory->self, outcomes, COUNT, files, COUNT, &err));
	must(memory->commit(memory->self, outcomes, COUNT, files, COUNT, &err));
	must(memory->records(memory->self, "d", arena, &rows, &count, &err));
	assert_int_equal(count, COUNT);
	for (size_t i = 0; i < COUNT; i++) {
		assert_string_equal(rows[i].target, records[i].target);
		assert_true(digest_equal(&rows[i].output, &records[i].output));
		assert_ptr_equal(rows[i].rule, rows[0].rule);
	}
	must(memory->files(memory->self, arena, &seen, &count, &err));
	assert_int_equal(count, COUNT);
	for (size_t i = 0; i < COUNT; i++)
		assert_int_equal(seen[i].key.inode, i + 1);
	must(memory->verify(memory->self, arena, &head, hash, &count, &err));
	assert_int_equal(head.seq, 2 * COUNT + 1);
}

static void
script(const char *path, const char *text)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	if (sqlite3_exec(db, text, NULL, NULL, NULL) != SQLITE_OK)
		fail_msg("%s: %s", text, sqlite3_errmsg(db));
	sqlite3_close(db);
}

static void
put_file(const char *path, const char *bytes)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	fputs(bytes, file);
	assert_int_equal(fclose(file), 0);
}

/* What cannot be believed is refused by readers and writers alike, and stays to the byte. */
static void
strange_files_are_refused_and_kept(void **state)
{
	static const struct {
		const char *bytes;  /* the file; NULL: a cache of ours */
		const char *script; /* then this */
		enum fault fault;
	} cases[] = {
		{ .bytes = "", .fault = FAULT_DATABASE },
		{ .bytes = "this is no database, but a letter to a friend\n", .fault = FAULT_DATABASE },
		{ .bytes = "", .script = "CREATE TABLE somebody_elses (x); PRAGMA user_version = 1", .fault = FAULT_DATABASE },
		{ .script = "PRAGMA user_version = 99", .fault = FAULT_NEWER_DATABASE },
		{ .script = "PRAGMA user_version = -1", .fault = FAULT_DATABASE },
		{ .script = "DELETE FROM meta", .fault = FAULT_DATABASE },
	};
	struct fixture *fixture = *state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const char *path = arena_printf(&fixture->arena, "%s/%zu/cache.db", fixture->root, i);
		struct ledger *ledger finally(close_ledger) = NULL;
		const char *before, *now;
		size_t before_size, now_size;
		struct error err;

		if (cases[i].bytes) {
			assert_int_equal(mkdir(path_dir(&fixture->arena, path), 0700), 0);
			put_file(path, cases[i].bytes);
		} else {
			must(ledger_open_writing(path, &ledger, &err));
			close_ledger(&ledger);
		}
		if (cases[i].script)
			script(path, cases[i].script);
		must(file_load(path, 1 << 20, &fixture->arena, &before, &before_size, &err));
		must_fail(ledger_open_reading(path, &ledger, &err), cases[i].fault);
		assert_non_null(strstr(err.text, "cache.db"));
		must_fail(ledger_open_writing(path, &ledger, &err), cases[i].fault);
		must(file_load(path, 1 << 20, &fixture->arena, &now, &now_size, &err));
		assert_int_equal(now_size, before_size);
		assert_memory_equal(now, before, now_size);
	}
}

static void
a_damaged_page_is_found(void **state)
{
	struct fixture *fixture = *state;
	struct ledger *ledger finally(close_ledger) = NULL;
	struct record record = record_named("t", "v");
	struct outcome outcome = outcome_of(&record);
	struct run_info run = run_named("RUN00001", "d");
	struct memory *memory;
	struct history_entry head;
	char hash[DIGEST_HEX], junk[2048];
	struct error err;
	struct stat st;
	size_t runs;
	int fd;

	must(ledger_open_writing(fixture->path, &ledger, &err));
	memory = ledger_memory(ledger);
	must(memory->begin_run(memory->self, &run, &err));
	must(memory->commit(memory->self, &outcome, 1, NULL, 0, &err));
	close_ledger(&ledger);
	memset(junk, 0xA5, sizeof junk);
	fd = open(fixture->path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(fstat(fd, &st), 0);
	for (off_t at = 4096; at < st.st_size; at += 4096)
		assert_int_equal(pwrite(fd, junk, sizeof junk, at), sizeof junk);
	close(fd);
	if (!ledger_open_reading(fixture->path, &ledger, &err)) {
		assert_int_equal(err.fault, FAULT_DATABASE);
		return;
	}
	memory = ledger_memory(ledger);
	must_fail(memory->verify(memory->self, &fixture->arena, &head, hash, &runs, &err), FAULT_DATABASE);
}

static void
a_link_on_the_way_is_followed_and_one_in_place_is_not(void **state)
{
	struct fixture *fixture = *state;
	struct arena *arena = &fixture->arena;
	struct ledger *ledger finally(close_ledger) = NULL;
	const char *real = arena_printf(arena, "%s/real # 100%%?", fixture->root);
	const char *link = arena_printf(arena, "%s/link", fixture->root);
	const char *odd = arena_printf(arena, "%s/odd.db", real);
	struct error err;
	struct stat st;

	assert_int_equal(mkdir(real, 0700), 0);
	assert_int_equal(symlink(real, link), 0);
	must(ledger_open_writing(arena_printf(arena, "%s/cache.db", link), &ledger, &err));
	close_ledger(&ledger);
	assert_int_equal(stat(arena_printf(arena, "%s/cache.db", real), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	must(ledger_open_reading(arena_printf(arena, "%s/cache.db", link), &ledger, &err));
	close_ledger(&ledger);
	assert_int_equal(symlink(arena_printf(arena, "%s/cache.db", real), odd), 0);
	must_fail(ledger_open_reading(odd, &ledger, &err), FAULT_DATABASE);
	must_fail(ledger_open_writing(odd, &ledger, &err), FAULT_DATABASE);
}

static void
the_directory_is_made_and_left_out_of_git(void **state)
{
	struct fixture *fixture = *state;
	struct ledger *ledger finally(close_ledger) = NULL;
	const char *text;
	struct error err;
	struct stat st;

	must(ledger_open_writing(fixture->path, &ledger, &err));
	assert_int_equal(stat(fixture->state, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	must(file_load(arena_printf(&fixture->arena, "%s/.gitignore", fixture->state), 100, &fixture->arena, &text, NULL, &err));
	assert_string_equal(text, "*\n");
	close_ledger(&ledger);

	/* A directory of the user's own gets no such file. */
	must(ledger_open_writing(arena_printf(&fixture->arena, "%s/mine.db", fixture->root), &ledger, &err));
	assert_int_equal(stat(arena_printf(&fixture->arena, "%s/.gitignore", fixture->root), &st), -1);
	close_ledger(&ledger);
	assert_int_equal(chmod(fixture->state, 0777), 0);
	must_fail(ledger_open_writing(fixture->path, &ledger, &err), FAULT_UNSAFE_DIRECTORY);
}

/* A new cache that was being made when its maker was killed is made anew, and never seen half. */
static void
a_half_made_cache_is_made_again(void **state)
{
	struct fixture *fixture = *state;
	struct arena *arena = &fixture->arena;
	struct ledger *ledger finally(close_ledger) = NULL;
	struct memory *memory;
	struct error err;
	struct stat st;

	assert_int_equal(mkdir(fixture->state, 0700), 0);
	put_file(arena_printf(arena, "%s.new", fixture->path), "half");
	put_file(arena_printf(arena, "%s.new-wal", fixture->path), "half");
	must(ledger_open_reading(fixture->path, &ledger, &err));
	memory = ledger_memory(ledger);
	assert_string_equal(memory->project(memory->self), "");
	close_ledger(&ledger);
	must(ledger_open_writing(fixture->path, &ledger, &err));
	assert_int_equal(stat(arena_printf(arena, "%s.new", fixture->path), &st), -1);
	assert_int_equal(stat(arena_printf(arena, "%s.new-wal", fixture->path), &st), -1);
}

/* A file that may not grow stands for a full disk: what was committed stays, and the next commit with room works. */
static void
a_full_disk_loses_nothing(void **state)
{
	struct fixture *fixture = *state;
	struct ledger *ledger finally(close_ledger) = NULL;
	struct run_info run = run_named("RUN00001", "d");
	struct rlimit old, tight;
	struct memory *memory;
	struct error err = { 0 };
	struct row *rows;
	size_t count, written = 0;
	struct history_entry head;
	char hash[DIGEST_HEX];

	signal(SIGXFSZ, SIG_IGN);
	must(ledger_open_writing(fixture->path, &ledger, &err));
	memory = ledger_memory(ledger);
	must(memory->begin_run(memory->self, &run, &err));
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	tight = old;
	tight.rlim_cur = 300000;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
	for (; written < 1000; written++) {
		struct record record = record_named(arena_printf(&fixture->arena, "t%zu", written), "v");
		struct outcome outcome = outcome_of(&record);

		if (!memory->commit(memory->self, &outcome, 1, NULL, 0, &err))
			break;
	}
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_in_range(written, 1, 999);
	assert_true(err.fault == FAULT_IO || err.fault == FAULT_CANNOT_CREATE);
	assert_non_null(strstr(err.text, "cache.db"));
	must(memory->records(memory->self, "d", &fixture->arena, &rows, &count, &err));
	assert_int_equal(count, written);
	must(memory->end_run(memory->self, "failed", 74, 1, &err));
	must(memory->verify(memory->self, &fixture->arena, &head, hash, &count, &err));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(nothing_there_is_an_empty_memory, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(everything_comes_back, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(records_are_kept_dropped_restored, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(a_batch_is_whole_or_nothing, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(ten_thousand_in_one_scan, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(strange_files_are_refused_and_kept, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(a_damaged_page_is_found, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(a_link_on_the_way_is_followed_and_one_in_place_is_not, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(the_directory_is_made_and_left_out_of_git, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(a_half_made_cache_is_made_again, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(a_full_disk_loses_nothing, fixture_setup, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
