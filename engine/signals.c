#include "signals.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/cleanup.h"

static bool
is_ignored(int number)
{
	struct sigaction action;

	return sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

bool
signals_init(struct signals *signals)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGUSR1);
	if (!is_ignored(SIGHUP))
		sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &set, &signals->before);
	signals->fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (signals->fd >= 0)
		return true;
	pthread_sigmask(SIG_SETMASK, &signals->before, NULL);
	return false;
}

void
signals_let_go(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

void
signals_finish(struct signals *signals)
{
	close_fd(&signals->fd);
	pthread_sigmask(SIG_SETMASK, &signals->before, NULL);
}

int
signals_read(const struct signals *signals)
{
	struct signalfd_siginfo info;

	return read(signals->fd, &info, sizeof info) == (ssize_t)sizeof info ? (int)info.ssi_signo : 0;
}

/* Parent, group and session of a process, from /proc/PID/stat; the name in it may hold anything, so it is skipped from behind. */
static bool
kin(const char *pid, long *parent, long *group, long *session)
{
	char path[300], text[512];
	FILE *file;
	size_t size;
	const char *end;

	snprintf(path, sizeof path, "/proc/%s/stat", pid);
	file = fopen(path, "re");
	if (!file)
		return false;
	size = fread(text, 1, sizeof text - 1, file);
	fclose(file);
	text[size] = '\0';
	end = strrchr(text, ')');
	return end && sscanf(end + 1, " %*c %ld %ld %ld", parent, group, session) == 3;
}

void
signals_kill_children(void)
{
	DIR *proc = opendir("/proc");
	const struct dirent *entry;
	long self = getpid(), parent, group, session;

	while (proc && (entry = readdir(proc))) {
		if (entry->d_name[0] < '1' || entry->d_name[0] > '9' || !kin(entry->d_name, &parent, &group, &session))
			continue;
		if (parent == self && session == getsid(0) && group != getpgid(0))
			kill((pid_t)-group, SIGKILL);
	}
	if (proc)
		closedir(proc);
}
