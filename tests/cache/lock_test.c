/* One writer a project: who comes second is told who is there, and the lock dies with its holder. */
#include "fixture.h"

#include "cache/lock.h"
#include "engine/base/clock.h"

static void
one_holder_at_a_time(void **state)
{
	struct fixture *fixture = *state;
	struct lock first = { -1 }, second = { -1 };
	struct lock_holder holder;
	struct error err;
	struct stat st;

	assert_false(lock_read(fixture->state, &fixture->arena, &holder));
	must(lock_take(&first, fixture->state, "apply a.yaml", "RUN00001", 0, NULL, NULL, &err));
	must_fail(lock_take(&second, fixture->state, "apply", "RUN00002", 0, NULL, NULL, &err), FAULT_LOCKED);
	assert_int_equal(second.fd, -1);
	assert_non_null(strstr(err.text, "apply a.yaml"));
	assert_non_null(strstr(err.text, arena_printf(&fixture->arena, "pid %ld", (long)getpid())));
	assert_true(lock_read(fixture->state, &fixture->arena, &holder));
	assert_string_equal(holder.command, "apply a.yaml");
	assert_string_equal(holder.run, "RUN00001");
	assert_int_equal(holder.pid, getpid());
	assert_true(fcntl(first.fd, F_GETFD) & FD_CLOEXEC);
	assert_true(clock_now_ns() - holder.since_ns < INT64_C(60000000000));
	assert_true(strlen(holder.user) > 0 && strlen(holder.host) > 0);
	lock_release(&first);
	lock_release(&first);
	assert_false(lock_read(fixture->state, &fixture->arena, &holder));
	must(lock_take(&second, fixture->state, "apply", "RUN00002", 0, NULL, NULL, &err));
	lock_release(&second);
	assert_int_equal(stat(arena_printf(&fixture->arena, "%s/lock", fixture->state), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void
count_words(void *context, const struct lock_holder *holder)
{
	size_t *count = context;

	assert_string_equal(holder->run, "HOLDER01");
	++*count;
}

static int
hold(const char *state_dir, int64_t ms)
{
	struct lock lock;
	struct error err;

	if (!lock_take(&lock, state_dir, "apply", "HOLDER01", 0, NULL, NULL, &err))
		return 1;
	if (write(1, "x", 1) != 1)
		return 1;
	clock_sleep_ms(ms, NULL);
	return 0;
}

/* kill -9 leaves no stale lock, whatever the text says. */
static void
the_lock_dies_with_its_holder(void **state)
{
	struct fixture *fixture = *state;
	struct lock lock = { -1 };
	struct lock_holder holder;
	struct error err;
	int out finally(close_fd) = -1;
	pid_t pid = spawn_self("hold", fixture->state, &out);

	wait_for_word(out);
	must_fail(lock_take(&lock, fixture->state, "apply", "RUN00002", 0, NULL, NULL, &err), FAULT_LOCKED);
	assert_true(lock_read(fixture->state, &fixture->arena, &holder));
	assert_int_equal(holder.pid, pid);
	kill(pid, SIGKILL);
	wait_for_exit(pid);
	assert_false(lock_read(fixture->state, &fixture->arena, &holder));
	must(lock_take(&lock, fixture->state, "apply", "RUN00002", 0, NULL, NULL, &err));
	assert_true(lock_read(fixture->state, &fixture->arena, &holder));
	assert_string_equal(holder.run, "RUN00002");
	lock_release(&lock);
}

static void
waiting_ends_when_the_holder_does(void **state)
{
	struct fixture *fixture = *state;
	struct lock lock = { -1 };
	struct error err;
	int out finally(close_fd) = -1;
	pid_t pid = spawn_self("hold-a-moment", fixture->state, &out);
	int64_t began = clock_monotonic_ms();
	size_t words = 0;

	wait_for_word(out);
	must_fail(lock_take(&lock, fixture->state, "apply", "RUN00002", 50, count_words, &words, &err), FAULT_LOCKED);
	assert_int_equal(words, 1);
	must(lock_take(&lock, fixture->state, "apply", "RUN00002", 20000, count_words, &words, &err));
	assert_true(clock_monotonic_ms() - began < 10000);
	lock_release(&lock);
	wait_for_exit(pid);
}

static void
what_is_in_the_way_is_refused(void **state)
{
	struct fixture *fixture = *state;
	const char *path = arena_printf(&fixture->arena, "%s/lock", fixture->state);
	struct lock lock = { -1 };
	struct lock_holder holder;
	struct error err;

	assert_int_equal(mkdir(fixture->state, 0700), 0);
	assert_int_equal(symlink("elsewhere", path), 0);
	assert_false(lock_take(&lock, fixture->state, "apply", "RUN00001", 0, NULL, NULL, &err));
	assert_false(lock_read(fixture->state, &fixture->arena, &holder));
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
	must_fail(lock_take(&lock, fixture->state, "apply", "RUN00001", 0, NULL, NULL, &err), FAULT_CANNOT_CREATE);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(chmod(fixture->state, 0777), 0);
	must_fail(lock_take(&lock, fixture->state, "apply", "RUN00001", 0, NULL, NULL, &err), FAULT_UNSAFE_DIRECTORY);
}

/* The text is written by anybody: nonsense in it is no error. */
static void
the_text_decides_nothing(void **state)
{
	static const char *const texts[] = { "", "pid=", "pid=x\nsince_ns=y\n", "pid=999999999999999999999\n", "=\n\n=\n", "pid", "user=a\tb" };
	struct fixture *fixture = *state;
	struct lock lock = { -1 }, second = { -1 };
	struct lock_holder holder;
	struct error err;

	must(lock_take(&lock, fixture->state, "apply", "RUN00001", 0, NULL, NULL, &err));
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		assert_int_equal(ftruncate(lock.fd, 0), 0);
		assert_int_equal(pwrite(lock.fd, texts[i], strlen(texts[i]), 0), strlen(texts[i]));
		must_fail(lock_take(&second, fixture->state, "apply", "RUN00002", 0, NULL, NULL, &err), FAULT_LOCKED);
		assert_true(lock_read(fixture->state, &fixture->arena, &holder));
		assert_int_equal(holder.pid, 0);
	}
	lock_release(&lock);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(one_holder_at_a_time, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(the_lock_dies_with_its_holder, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(waiting_ends_when_the_holder_does, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(what_is_in_the_way_is_refused, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(the_text_decides_nothing, fixture_setup, fixture_teardown),
	};

	if (argc == 3 && strcmp(argv[1], "hold") == 0)
		return hold(argv[2], 60000);
	if (argc == 3 && strcmp(argv[1], "hold-a-moment") == 0)
		return hold(argv[2], 800);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
