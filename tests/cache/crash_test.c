/* Killed at any moment of a commit: what was acknowledged is there, the rest is whole or absent, and the chain holds. */
#include "fixture.h"

#include "engine/base/clock.h"

#define KILLS 25

/* Commits pairs of records for ever and says each number once it is durable. */
static int
commit_for_ever(const char *path)
{
	struct run_info run = run_named("RUN00001", "d");
	struct ledger *ledger;
	struct memory *memory;
	struct error err;

	if (!ledger_open_writing(path, &ledger, &err))
		return 1;
	memory = ledger_memory(ledger);
	if (!memory->begin_run(memory->self, &run, &err))
		return 1;
	for (uint32_t i = 0;; i++) {
		struct arena arena finally(arena_finish) = { 0 };
		struct record records[2];
		struct outcome outcomes[2];
		struct known_file file = { .key = { .inode = i } };
		const char *key = arena_printf(&arena, "part-%u", i);

		records[0] = record_named(arena_printf(&arena, "a%u", i % 300), key);
		records[1] = record_named(arena_printf(&arena, "b%u", i % 300), key);
		outcomes[0] = outcome_of(&records[0]);
		outcomes[1] = outcome_of(&records[1]);
		outcomes[0].checkpoints_done = &key;
		outcomes[0].checkpoints_done_count = 1;
		if (!memory->save_checkpoint(memory->self, key, key, strlen(key), &err) ||
			!memory->commit(memory->self, outcomes, 2, &file, 1, &err) || write(1, &i, sizeof i) != sizeof i)
			return 1;
	}
}

/* Killed `ms` after its start, or after its first word. The last number that was said; -1: none. */
static int64_t
kill_after(struct fixture *fixture, bool first_word, int64_t ms)
{
	int out finally(close_fd) = -1;
	pid_t pid = spawn_self("commit", fixture->path, &out);
	int64_t last = -1;
	uint32_t number;

	if (first_word) {
		assert_int_equal(read(out, &number, sizeof number), sizeof number);
		last = number;
	}
	clock_sleep_ms(ms, NULL);
	kill(pid, SIGKILL);
	assert_true(WIFSIGNALED(wait_for_exit(pid)));
	while (read(out, &number, sizeof number) == sizeof number)
		last = number;
	return last;
}

/* The summary of `PREFIX + N % 300`: of which number the record is. */
static int64_t
number_of(struct fixture *fixture, const struct row *rows, size_t count, char prefix, int64_t number)
{
	char name[16];

	snprintf(name, sizeof name, "%c%d", prefix, (int)(number % 300));
	for (size_t i = 0; i < count; i++) {
		struct record record = { 0 };

		if (strcmp(rows[i].target, name) != 0)
			continue;
		assert_true(record_unpack(&record, rows[i].body, rows[i].body_size, &fixture->arena));
		return strtol(record.summary + strlen("part-"), NULL, 10);
	}
	return -1;
}

static void
check(struct fixture *fixture, struct memory *memory, int64_t last)
{
	struct history_entry head;
	struct row *rows;
	char hash[DIGEST_HEX];
	struct error err;
	size_t count, runs;

	must(memory->verify(memory->self, &fixture->arena, &head, hash, &runs, &err));
	must(memory->records(memory->self, "d", &fixture->arena, &rows, &count, &err));
	if (last >= 0) {
		assert_true(number_of(fixture, rows, count, 'a', last) >= last);
		assert_true(number_of(fixture, rows, count, 'b', last) >= last);
	}
	/* Both of a batch or neither. */
	for (int64_t i = 0; i < 300; i++)
		assert_int_equal(number_of(fixture, rows, count, 'a', i), number_of(fixture, rows, count, 'b', i));
}

static void
killed_in_the_middle(void **state)
{
	struct fixture *fixture = *state;
	struct history_entry *entries;
	struct ledger *ledger = NULL;
	struct memory *memory;
	struct error err;
	size_t count, died = 0, begun = 0, acknowledged = 0;

	for (int i = 0; i < KILLS; i++) {
		int64_t last = kill_after(fixture, i % 2 == 0, 3 * i);

		acknowledged += last >= 0;
		/* As it is, and as the next writer leaves it. */
		must(ledger_open_reading(fixture->path, &ledger, &err));
		memory = ledger_memory(ledger);
		if (last >= 0)
			check(fixture, memory, last);
		close_ledger(&ledger);
		must(ledger_open_writing(fixture->path, &ledger, &err));
		memory = ledger_memory(ledger);
		check(fixture, memory, last);
		close_ledger(&ledger);
	}
	assert_true(acknowledged >= KILLS / 2);
	must(ledger_open_writing(fixture->path, &ledger, &err));
	memory = ledger_memory(ledger);
	must(memory->begin_run(memory->self, &(struct run_info){ .id = "RUN00009", .command = "apply", .deployment = "d" }, &err));
	must(memory->history(memory->self, NULL, &fixture->arena, &entries, &count, &err));
	for (size_t i = 0; i < count; i++) {
		begun += strcmp(entries[i].kind, "run") == 0;
		died += entries[i].result && strcmp(entries[i].result, "died") == 0;
	}
	assert_int_equal(died, begun - 1);
	assert_true(died >= acknowledged);
	close_ledger(&ledger);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(killed_in_the_middle, fixture_setup, fixture_teardown),
	};

	if (argc == 3 && strcmp(argv[1], "commit") == 0)
		return commit_for_ever(argv[2]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
