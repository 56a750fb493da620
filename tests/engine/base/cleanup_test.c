#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/cleanup.h"

static int
open_in_scope(void)
{
	int fd finally(close_fd) = open("/dev/null", O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	return fd;
}

static void
the_scope_closes(void **state)
{
	int fd = open_in_scope();

	(void)state;
	assert_int_equal(fcntl(fd, F_GETFD), -1);
}

static void
nothing_to_release(void **state)
{
	int none = -1;
	int fd = dup(STDIN_FILENO);
	int copy = fd;
	char *text = NULL;

	(void)state;
	close_fd(&none);
	assert_int_equal(none, -1);
	close_fd(&fd);
	assert_int_equal(fd, -1);
	assert_int_equal(fcntl(copy, F_GETFD), -1);
	/* 0 is a descriptor too. */
	copy = dup(STDIN_FILENO);
	fd = STDIN_FILENO;
	close_fd(&fd);
	assert_int_equal(fcntl(STDIN_FILENO, F_GETFD), -1);
	assert_int_equal(dup2(copy, STDIN_FILENO), STDIN_FILENO);
	close(copy);
	free_text(&text);
	text = strdup("x");
	free_text(&text);
	assert_null(text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_scope_closes),
		cmocka_unit_test(nothing_to_release),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
