/* Readers leave no trace: no byte, no time stamp, no name below `.provision` differs after they were there, whatever they found. */
#include "fixture.h"

#include <dirent.h>
#include <grp.h>

#include "engine/base/buf.h"
#include "engine/base/clock.h"
#include "engine/base/digest.h"

#define STEPS 30
#define ROUNDS 40

/* What a directory holds: names, inodes, modes, sizes, time stamps but for those of reading, contents. */
static const char *
snapshot(struct arena *arena, const char *directory)
{
	struct buf text finally(buf_finish) = { 0 };
	struct dirent **entries;
	int count = scandir(directory, &entries, NULL, alphasort);
	const char *copy;

	assert_true(count >= 2);
	buf_init(&text, 1 << 20);
	for (int i = 0; i < count; i++) {
		const char *path = path_join(arena, directory, entries[i]->d_name);
		struct digest digest = { 0 };
		char hex[DIGEST_HEX];
		struct error err;
		uint64_t size;
		struct stat st;

		assert_int_equal(lstat(path, &st), 0);
		if (S_ISREG(st.st_mode)) {
			int fd finally(close_fd) = open(path, O_RDONLY | O_CLOEXEC);

			must(digest_fd(fd, &digest, &size, NULL, &err));
		}
		digest_hex(&digest, hex);
		if (strcmp(entries[i]->d_name, "..") != 0)
			buf_printf(&text, "%s %lu %o %lld %lld.%09ld %lld.%09ld %s\n", entries[i]->d_name, (unsigned long)st.st_ino, st.st_mode,
				(long long)st.st_size, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec, (long long)st.st_ctim.tv_sec,
				st.st_ctim.tv_nsec, hex);
		free(entries[i]);
	}
	free(entries);
	copy = arena_copy(arena, text.data);
	return copy;
}

/* Ask everything that can be asked. The number of records. */
static size_t
ask_all(struct ledger *ledger)
{
	struct arena arena finally(arena_finish) = { 0 };
	struct memory *memory = ledger_memory(ledger);
	struct history_entry *entries, entry;
	struct known_file *files;
	struct intent *intents;
	const char **names;
	const void *bytes;
	char hash[DIGEST_HEX];
	struct error err;
	struct row *rows;
	size_t count, records;
	int64_t *ms;
	bool found;

	must(memory->records(memory->self, "d", &arena, &rows, &records, &err));
	must(memory->kept(memory->self, "d", &arena, &rows, &count, &err));
	must(memory->files(memory->self, &arena, &files, &count, &err));
	must(memory->intents(memory->self, "d", &arena, &intents, &count, &err));
	must(memory->checkpoint(memory->self, "k", &arena, &bytes, &count, &err));
	must(memory->deployments(memory->self, &arena, &names, &count, &err));
	must(memory->last_action(memory->self, "d", "t0", &arena, &entry, &found, &err));
	must(memory->history(memory->self, NULL, &arena, &entries, &count, &err));
	must(memory->verify(memory->self, &arena, &entry, hash, &count, &err));
	must(memory->durations(memory->self, "d", &arena, &names, &ms, &count, &err));
	return records;
}

static void
commit(struct memory *memory, int i)
{
	struct arena arena finally(arena_finish) = { 0 };
	struct record record = record_named(arena_printf(&arena, "t%d", i), "v");
	struct outcome outcome = outcome_of(&record);
	struct known_file file = { .key = { .inode = (uint64_t)i } };
	struct error err;

	must(memory->commit(memory->self, &outcome, 1, &file, 1, &err));
}

/* Another process that commits three records and is then killed, or ends well. */
static void
write_elsewhere(struct fixture *fixture, const char *mode)
{
	wait_for_exit(spawn_self(mode, fixture->path, NULL));
}

static int
be_a_writer(const char *path, bool ends_well)
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
	for (int i = 0; i < 3; i++)
		commit(memory, i);
	if (ends_well) {
		ledger_close(ledger);
		return 0;
	}
	kill(getpid(), SIGKILL);
	return 1;
}

/* The last two: killed right after the first step, the second step of beginning a -wal. */
enum scene { SCENE_ENDED, SCENE_KILLED, SCENE_POWER_CUT, SCENE_EMPTY_WAL, SCENE_WAL_HEADER, SCENE_COUNT };

static void
put_bytes(const char *path, size_t size)
{
	char bytes[32768];
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	memset(bytes, 'x', sizeof bytes);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, size), size);
	close(fd);
}


static void
set_scene(struct fixture *fixture, enum scene scene)
{
	struct arena *arena = &fixture->arena;
	struct stat st;

	write_elsewhere(fixture, scene == SCENE_KILLED || scene == SCENE_POWER_CUT ? "die" : "end");
	if (scene == SCENE_POWER_CUT)
		assert_int_equal(unlink(arena_printf(arena, "%s-shm", fixture->path)), 0);
	if (scene == SCENE_EMPTY_WAL || scene == SCENE_WAL_HEADER)
		put_bytes(arena_printf(arena, "%s-wal", fixture->path), scene == SCENE_EMPTY_WAL ? 0 : 32);
	if (scene == SCENE_WAL_HEADER)
		put_bytes(arena_printf(arena, "%s-shm", fixture->path), 32768);
	/* The scene is what it says. */
	assert_int_equal(stat(arena_printf(arena, "%s-wal", fixture->path), &st), scene == SCENE_ENDED ? -1 : 0);
	assert_int_equal(stat(arena_printf(arena, "%s-shm", fixture->path), &st),
		scene == SCENE_KILLED || scene == SCENE_WAL_HEADER ? 0 : -1);
}

static void
no_trace_is_left(void **state)
{
	struct fixture *fixture = *state;

	for (enum scene scene = 0; scene < SCENE_COUNT; scene++) {
		struct ledger *ledger finally(close_ledger) = NULL;
		const char *before;
		struct error err;

		set_scene(fixture, scene);
		before = snapshot(&fixture->arena, fixture->state);
		clock_sleep_ms(20, NULL); /* so that a change would get another time stamp */
		must(ledger_open_reading(fixture->path, &ledger, &err));
		assert_int_equal(ask_all(ledger), 3);
		assert_string_equal(snapshot(&fixture->arena, fixture->state), before);
		close_ledger(&ledger);
		assert_string_equal(snapshot(&fixture->arena, fixture->state), before);
		nftw(fixture->state, fixture_remove_one, 16, FTW_DEPTH | FTW_PHYS);
	}
}

static void
wait_for_stop(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	assert_true(WIFSTOPPED(status));
}

/* A reader beside a writer sees what was committed when it asks, and changes nothing. */
static void
beside_a_live_writer(void **state)
{
	struct fixture *fixture = *state;
	struct ledger *reader finally(close_ledger) = NULL;
	pid_t pid = spawn_self("step", fixture->path, NULL);
	struct error err;

	for (int i = 1; i <= STEPS; i++) {
		const char *before;

		wait_for_stop(pid);
		if (!reader)
			must(ledger_open_reading(fixture->path, &reader, &err));
		before = snapshot(&fixture->arena, fixture->state);
		assert_int_equal(ask_all(reader), i);
		assert_string_equal(snapshot(&fixture->arena, fixture->state), before);
		kill(pid, SIGCONT);
	}
	assert_int_equal(wait_for_exit(pid), 0);
	assert_int_equal(ask_all(reader), STEPS);
}

/* Commits, and stops after each time until it is told to go on. */
static int
be_a_stepper(const char *path)
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
	for (int i = 0; i < STEPS; i++) {
		commit(memory, i);
		raise(SIGSTOP);
	}
	ledger_close(ledger);
	return 0;
}

/* A writer that comes and goes while the reader is open: the reader reads anew instead of believing what it has. */
static void
writers_come_and_go(void **state)
{
	struct fixture *fixture = *state;
	struct ledger *reader finally(close_ledger) = NULL;
	struct error err;

	must(ledger_open_reading(fixture->path, &reader, &err));
	for (int i = 0; i < 5; i++) {
		struct ledger *writer finally(close_ledger) = NULL;
		struct run_info run = run_named("RUN00001", "d");
		struct memory *memory;

		assert_int_equal(ask_all(reader), i);
		must(ledger_open_writing(fixture->path, &writer, &err));
		memory = ledger_memory(writer);
		assert_int_equal(ask_all(reader), i);
		must(memory->begin_run(memory->self, &run, &err));
		commit(memory, i);
		assert_int_equal(ask_all(reader), i + 1);
		close_ledger(&writer);
		assert_int_equal(ask_all(reader), i + 1);
	}
}

/* Readers that open and ask all the time while writers in another process begin, commit, are killed and end. The writers go on until the
 * reader has seen enough, so that a busy machine takes longer and nothing else. */
static void
in_the_thick_of_it(void **state)
{
	struct fixture *fixture = *state;
	const char *enough = arena_printf(&fixture->arena, "%s.enough", fixture->path);
	pid_t pid = spawn_self("churn", fixture->path, NULL);
	size_t least = 0;

	for (size_t rounds = 0; rounds < ROUNDS || least == 0; rounds++) {
		struct ledger *reader finally(close_ledger) = NULL;
		struct error err;
		int status;

		assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
		must(ledger_open_reading(fixture->path, &reader, &err));
		for (int i = 0; i < 3; i++) {
			size_t seen = ask_all(reader);

			assert_true(seen >= least);
			least = seen;
		}
	}
	put_bytes(enough, 0);
	assert_int_equal(wait_for_exit(pid), 0);
}

static int
be_many_writers(const char *path)
{
	struct arena arena finally(arena_finish) = { 0 };
	const char *enough = arena_printf(&arena, "%s.enough", path);
	/* Whoever asks has died if it takes that long. */
	int64_t end = clock_monotonic_ms() + 90000;

	for (int i = 0; access(enough, F_OK) != 0 && clock_monotonic_ms() < end; i++) {
		struct run_info run = run_named("RUN00001", "d");
		struct ledger *ledger;
		struct memory *memory;
		struct error err;

		if (!ledger_open_writing(path, &ledger, &err))
			return 1;
		memory = ledger_memory(ledger);
		if (!memory->begin_run(memory->self, &run, &err))
			return 1;
		commit(memory, i);
		ledger_close(ledger);
		/* Writers that follow each other without a breath are no case: a reader gives up on them, and says so. */
		clock_sleep_ms(i % 4, NULL);
	}
	return 0;
}

/* Where nothing may be written, everything can still be read, and writing says so. */
static void
a_read_only_directory(void **state)
{
	struct fixture *fixture = *state;

	for (enum scene scene = 0; scene < SCENE_COUNT; scene++) {
		struct arena *arena = &fixture->arena;
		int status;

		set_scene(fixture, scene);
		chmod(fixture->root, 0755);
		chmod(fixture->path, 0444);
		chmod(arena_printf(arena, "%s-wal", fixture->path), 0444);
		chmod(arena_printf(arena, "%s-shm", fixture->path), 0444);
		chmod(fixture->state, 0555);
		status = wait_for_exit(spawn_self("stranger", fixture->path, NULL));
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), 0);
		chmod(fixture->state, 0755);
		nftw(fixture->state, fixture_remove_one, 16, FTW_DEPTH | FTW_PHYS);
	}
}

static int
be_a_stranger(const char *path)
{
	struct ledger *ledger;
	struct memory *memory;
	struct run_info run = run_named("RUN00002", "d");
	struct error err = { 0 };

	/* Root may write everywhere. */
	if (geteuid() == 0 && (setgroups(0, NULL) != 0 || setresgid(65534, 65534, 65534) != 0 || setresuid(65534, 65534, 65534) != 0))
		return 2;
	if (!ledger_open_reading(path, &ledger, &err)) {
		fprintf(stderr, "reading: %s\n", err.text);
		return 3;
	}
	if (ask_all(ledger) != 3)
		return 4;
	ledger_close(ledger);
	if (!ledger_open_writing(path, &ledger, &err)) {
		fprintf(stderr, "writing: %s: %s\n", fault_row(err.fault)->code, err.text);
		return err.fault == FAULT_PERMISSION ? 0 : 5;
	}
	memory = ledger_memory(ledger);
	if (memory->begin_run(memory->self, &run, &err))
		return 6;
	return err.fault == FAULT_PERMISSION ? 0 : 7;
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(no_trace_is_left, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(beside_a_live_writer, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(writers_come_and_go, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(in_the_thick_of_it, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(a_read_only_directory, fixture_setup, fixture_teardown),
	};

	if (argc == 3 && strcmp(argv[1], "end") == 0)
		return be_a_writer(argv[2], true);
	if (argc == 3 && strcmp(argv[1], "die") == 0)
		return be_a_writer(argv[2], false);
	if (argc == 3 && strcmp(argv[1], "step") == 0)
		return be_a_stepper(argv[2]);
	if (argc == 3 && strcmp(argv[1], "churn") == 0)
		return be_many_writers(argv[2]);
	if (argc == 3 && strcmp(argv[1], "stranger") == 0)
		return be_a_stranger(argv[2]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
