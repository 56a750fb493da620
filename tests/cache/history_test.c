/* The chain: what was written can be recomputed, and a past that was changed by another tool shows. */
#include "fixture.h"

#include <sqlite3.h>

/* Three runs of one action each: entries 1 to 9. */
static void
write_three_runs(struct fixture *fixture)
{
	struct ledger *ledger finally(close_ledger) = NULL;
	struct memory *memory;
	struct error err;

	must(ledger_open_writing(fixture->path, &ledger, &err));
	memory = ledger_memory(ledger);
	for (int i = 0; i < 3; i++) {
		struct record record = record_named(arena_printf(&fixture->arena, "t%d", i), "v");
		struct outcome outcome = outcome_of(&record);
		struct run_info run = run_named(arena_printf(&fixture->arena, "RUN0000%d", i), "d");

		must(memory->begin_run(memory->self, &run, &err));
		must(memory->commit(memory->self, &outcome, 1, NULL, 0, &err));
		must(memory->end_run(memory->self, "ok", 0, 3000 + i, &err));
	}
}

static bool
verify(struct fixture *fixture, struct history_entry *head, char hash[DIGEST_HEX], size_t *runs, struct error *err)
{
	struct ledger *ledger finally(close_ledger) = NULL;
	struct memory *memory;

	if (!ledger_open_reading(fixture->path, &ledger, err))
		return false;
	memory = ledger_memory(ledger);
	return memory->verify(memory->self, &fixture->arena, head, hash, runs, err);
}

static void
the_chain_holds(void **state)
{
	struct fixture *fixture = *state;
	struct history_entry head;
	char hash[DIGEST_HEX], again[DIGEST_HEX];
	struct error err;
	size_t runs;

	write_three_runs(fixture);
	must(verify(fixture, &head, hash, &runs, &err));
	assert_int_equal(head.seq, 9);
	assert_string_equal(head.kind, "end");
	assert_int_equal(runs, 3);
	assert_int_equal(strlen(hash), 64);
	must(verify(fixture, &head, again, &runs, &err));
	assert_string_equal(hash, again);
}

/* A head that was noted long ago can be compared, not only the newest. */
static void
every_entry_tells_its_hash(void **state)
{
	struct fixture *fixture = *state;
	struct ledger *ledger finally(close_ledger) = NULL;
	struct history_entry *entries, head;
	char hash[DIGEST_HEX], own[DIGEST_HEX];
	struct memory *memory;
	struct error err;
	size_t runs, count;

	write_three_runs(fixture);
	must(verify(fixture, &head, hash, &runs, &err));
	must(ledger_open_reading(fixture->path, &ledger, &err));
	memory = ledger_memory(ledger);
	must(memory->history(memory->self, NULL, &fixture->arena, &entries, &count, &err));
	assert_int_equal(count, 9);
	for (size_t i = 0; i < count; i++) {
		assert_false(digest_is_zero(&entries[i].hash));
		assert_true(i == 0 || !digest_equal(&entries[i].hash, &entries[i - 1].hash));
	}
	digest_hex(&entries[8].hash, own);
	assert_string_equal(own, hash);
}

static int
execute(const char *path, const char *text)
{
	sqlite3 *db;
	int code;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	code = sqlite3_exec(db, text, NULL, NULL, NULL);
	sqlite3_close(db);
	return code;
}

static void
other_tools_may_not_change_it(void **state)
{
	struct fixture *fixture = *state;

	write_three_runs(fixture);
	assert_int_equal(execute(fixture->path, "UPDATE history SET result = 'failed' WHERE seq = 5"), SQLITE_CONSTRAINT);
	assert_int_equal(execute(fixture->path, "DELETE FROM history WHERE seq = 5"), SQLITE_CONSTRAINT);
}

#define NO_TRIGGERS "DROP TRIGGER history_no_update; DROP TRIGGER history_no_delete;"
#define COPY "run, deployment, kind, target, action, result, started_ns, ended_ns, body, record, hash"

static void
a_changed_past_shows(void **state)
{
	static const struct {
		const char *script;
		const char *says; /* within the text */
	} cases[] = {
		{ "UPDATE history SET run = 'RUN0000X' WHERE seq = 4", "entry 4 " },
		{ "UPDATE history SET deployment = 'e' WHERE seq = 5", "entry 5 " },
		{ "UPDATE history SET kind = 'end' WHERE seq = 5", "entry 5 " },
		{ "UPDATE history SET target = 't9' WHERE seq = 5", "entry 5 " },
		{ "UPDATE history SET target = NULL WHERE seq = 5", "entry 5 " },
		{ "UPDATE history SET target = '' WHERE seq = 4", "entry 4 " },
		{ "UPDATE history SET target = target || char(0) || 'x' WHERE seq = 5", "entry 5 " },
		{ "UPDATE history SET action = 'redo' WHERE seq = 5", "entry 5 " },
		{ "UPDATE history SET result = 'failed' WHERE seq = 5", "entry 5 " },
		{ "UPDATE history SET started_ns = started_ns + 1 WHERE seq = 5", "entry 5 " },
		{ "UPDATE history SET ended_ns = 0 WHERE seq = 9", "entry 9 " },
		{ "UPDATE history SET body = replace(body, 'li', 'wu') WHERE seq = 1", "entry 1 " },
		{ "UPDATE history SET record = zeroblob(32) WHERE seq = 5", "entry 5 " },
		{ "UPDATE history SET record = NULL WHERE seq = 5", "entry 5 " },
		{ "UPDATE history SET hash = zeroblob(32) WHERE seq = 5", "entry 5 " },
		{ "DELETE FROM history WHERE seq = 1", "entry 1 " },
		{ "DELETE FROM history WHERE seq = 5", "entry 5 " },
		{ "DELETE FROM history WHERE seq BETWEEN 4 AND 6", "entry 4 " },
		{ "DELETE FROM history WHERE seq = 6; UPDATE history SET seq = seq - 1 WHERE seq > 6", "entry 6 " },
		{ "UPDATE history SET seq = 100 - seq WHERE seq IN (4, 5); UPDATE history SET seq = seq - 91 WHERE seq = 95;"
		  "UPDATE history SET seq = seq - 91 WHERE seq = 96", "entry 4 " },
		{ "UPDATE history SET seq = seq + 1000 WHERE seq > 5; UPDATE history SET seq = seq - 999 WHERE seq > 5;"
		  "INSERT INTO history (seq, " COPY ") SELECT 6, " COPY " FROM history WHERE seq = 5", "entry 6 " },
		{ "INSERT INTO history (seq, " COPY ") SELECT 10, " COPY " FROM history WHERE seq = 8", "entry 10 " },
		{ "UPDATE meta SET value = '0123456789ab'", "entry 1 " },
		{ "UPDATE record SET fingerprint = zeroblob(32) WHERE target = 't1'", "`t1`" },
		{ "UPDATE record SET output = zeroblob(32) WHERE target = 't1'", "`t1`" },
		{ "UPDATE record SET body = CAST(body || 'x' AS BLOB) WHERE target = 't1'", "`t1`" },
		{ "UPDATE record SET rule_version = 4 WHERE target = 't1'", "`t1`" },
		{ "UPDATE record SET rule = 'download' WHERE target = 't2'", "`t2`" },
		{ "DELETE FROM record WHERE target = 't2'", "`t2`" },
		{ "UPDATE record SET target = 't7' WHERE target = 't2'", "`t7`" },
		{ "INSERT INTO record (deployment, rule_version, target, rule, fingerprint, output, body)"
		  " SELECT deployment, rule_version, 'new', rule, fingerprint, output, body FROM record WHERE target = 't0'", "`new`" },
	};
	struct fixture *fixture = *state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct history_entry head;
		char hash[DIGEST_HEX];
		struct error err;
		size_t runs;

		write_three_runs(fixture);
		if (execute(fixture->path, NO_TRIGGERS) != SQLITE_OK || execute(fixture->path, cases[i].script) != SQLITE_OK)
			fail_msg("%s: the script is wrong", cases[i].script);
		if (verify(fixture, &head, hash, &runs, &err))
			fail_msg("not found: %s", cases[i].script);
		if (err.fault != FAULT_MISMATCH || !strstr(err.text, cases[i].says))
			fail_msg("%s: %s, not %s", cases[i].script, err.text, cases[i].says);
		assert_int_equal(unlink(fixture->path), 0);
	}
}

static void
rows_without_a_deployment_are_found(void **state)
{
	struct fixture *fixture = *state;
	struct history_entry head;
	char hash[DIGEST_HEX];
	struct error err;
	size_t runs;

	write_three_runs(fixture);
	assert_int_equal(execute(fixture->path, "PRAGMA foreign_keys = OFF; UPDATE duration SET deployment = 77"), SQLITE_OK);
	must_fail(verify(fixture, &head, hash, &runs, &err), FAULT_DATABASE);
}

/* A run without an end was killed: the next one says so before it begins. */
static void
the_dead_are_buried(void **state)
{
	struct fixture *fixture = *state;
	struct arena *arena = &fixture->arena;
	struct ledger *ledger finally(close_ledger) = NULL;
	struct record record = record_named("t", "v");
	struct outcome outcome = outcome_of(&record);
	struct run_info first = run_named("RUN00001", "d"), second = run_named("RUN00002", "e");
	struct history_entry *entries, head;
	struct memory *memory;
	char hash[DIGEST_HEX];
	struct error err;
	size_t count;

	must(ledger_open_writing(fixture->path, &ledger, &err));
	memory = ledger_memory(ledger);
	must(memory->begin_run(memory->self, &first, &err));
	must(memory->commit(memory->self, &outcome, 1, NULL, 0, &err));
	close_ledger(&ledger);

	must(ledger_open_writing(fixture->path, &ledger, &err));
	memory = ledger_memory(ledger);
	must(memory->begin_run(memory->self, &second, &err));
	must(memory->end_run(memory->self, "ok", 0, 3000, &err));
	must_fail(memory->end_run(memory->self, "ok", 0, 3000, &err), FAULT_INTERNAL);
	must(memory->history(memory->self, NULL, arena, &entries, &count, &err));
	assert_int_equal(count, 5);
	assert_string_equal(entries[2].kind, "end");
	assert_string_equal(entries[2].result, "died");
	assert_string_equal(entries[2].run, "RUN00001");
	assert_int_equal(entries[2].started_ns, 1000);
	assert_int_equal(entries[2].ended_ns, 9000000);
	assert_string_equal(entries[3].run, "RUN00002");
	must(memory->verify(memory->self, arena, &head, hash, &count, &err));
	assert_int_equal(count, 2);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_chain_holds, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(every_entry_tells_its_hash, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(other_tools_may_not_change_it, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(a_changed_past_shows, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(rows_without_a_deployment_are_found, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(the_dead_are_buried, fixture_setup, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
