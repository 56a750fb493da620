/* main.c - the process around a command: descriptors, signals, locale, the exit status. */
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "commands.h"
#include "help.h"
#include "session.h"

/* A file that is opened as descriptor 1 or 2 would get our output. */
static bool
guard_descriptors(void)
{
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == 0 ? O_RDONLY : O_WRONLY) != fd)
			return false;
	return true;
}

static void
set_up(void)
{
	/* The decimal sign stays a point: only characters follow the locale. */
	setlocale(LC_CTYPE, "");
	umask(077);
	/* A closed pipe is seen by the write that fails, so that a run reaches its safe points first. */
	signal(SIGPIPE, SIG_IGN);
}

/* Children of children must not outlive a run. */
static void
adopt_orphans(const struct command *command)
{
	if (command->id == COMMAND_APPLY || command->id == COMMAND_DESTROY)
		prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
}

static int
run(struct session *session, int argc, char **argv)
{
	enum status status = session_init(session, argc, argv);
	const struct command *command = session->options.command;

	if (status != STATUS_OK)
		return (int)status;
	if (session->options.help) {
		if (command)
			help_one(session, command);
		else
			help_all(session);
		return STATUS_OK;
	}
	if (!command) {
		help_brief(session);
		return STATUS_OK;
	}
	adopt_orphans(command);
	return command->run(session);
}

/* What was to be read has not been written: that outweighs success. */
static int
check_output(struct session *session, int status)
{
	struct error err = { 0 };

	if (out_flush(&session->out) || session->out.error == EPIPE)
		return status;
	fail(&err, FAULT_IO, "write to standard output: %s", strerror(session->out.error));
	session->options.json = false;
	return (int)status_worse((enum status)status, session_fail(session, &err, NULL));
}

/* The shell is to see the signal itself, not a number that looks like it. */
static void
die_from(int number)
{
	sigset_t only;

	signal(number, SIG_DFL);
	sigemptyset(&only);
	sigaddset(&only, number);
	sigprocmask(SIG_UNBLOCK, &only, NULL);
	raise(number);
}

int
main(int argc, char **argv)
{
	struct session session;
	int status, number;

	if (!guard_descriptors())
		return STATUS_IO;
	set_up();
	status = run(&session, argc, argv);
	status = check_output(&session, status);
	out_flush(&session.err);
	number = session.signal ? session.signal : session.out.error == EPIPE ? SIGPIPE : 0;
	session_finish(&session);
	if (number)
		die_from(number);
	return status;
}
