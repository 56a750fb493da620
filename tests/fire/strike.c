/* strike.c - run a program and strike at one of its system calls: kill it before the call, or let the call fail.
 *
 *   strike [-o REPORT] [-k N] [-n N] [-d DIR | -m] [-a NAMES] [-l LIST] [-K N] [-f N -e ERRNO [-F]] -- PROGRAM ARGS...
 *
 * -k N  SIGKILL to the program just before the Nth call, counted over all its threads and all children that it starts. Children live on, as they would.
 * -n N  the same just before the call that follows the Nth one which can have changed something outside the task: between two of those, each call would
 *       leave the same behind
 * -d    calls of the program itself that read or write below DIR, by descriptor or by name, are numbered too; -l writes one line for each. What fcntl does
 *       with locks goes by the names of lock, unlock and getlock
 * -m    instead of those, the calls by which the program itself asks for memory. Where one fails, so do those that the thread makes next to get it in
 *       another way. The first that counts is the one that begins the heap: the loader, which the kernel's own messages and signals speak for, has none
 * -a    of those only the calls of these names, each between commas
 * -K N  SIGKILL just before the Nth of those
 * -f N  the Nth of those does not happen and gives -1 with ERRNO (a number); -F: and so do all after it
 * -o    "calls N changes C files M struck K", K the number of calls that were struck, and the name and path of the first
 *
 * Exit status: the program's, 128 + N after signal N; 125 if strike itself fails. No call before the program's own first one is counted. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST_TASKS 256
#define FAILED 125
#define WATCHED (PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC)

/* Where a call has its descriptor and its name; -1: none. A name counts from the descriptor, or from the working directory. */
static const struct call {
	long number;
	const char *name;
	int fd;
	int path;
} calls[] = {
	{ SYS_write, "write", 0, -1 },
	{ SYS_pwrite64, "pwrite64", 0, -1 },
	{ SYS_writev, "writev", 0, -1 },
	{ SYS_pwritev, "pwritev", 0, -1 },
	{ SYS_read, "read", 0, -1 },
	{ SYS_pread64, "pread64", 0, -1 },
	{ SYS_lseek, "lseek", 0, -1 },
	{ SYS_fsync, "fsync", 0, -1 },
	{ SYS_fdatasync, "fdatasync", 0, -1 },
	{ SYS_ftruncate, "ftruncate", 0, -1 },
	{ SYS_fallocate, "fallocate", 0, -1 },
	{ SYS_fadvise64, "fadvise64", 0, -1 },
	{ SYS_fchmod, "fchmod", 0, -1 },
	{ SYS_fchown, "fchown", 0, -1 },
	{ SYS_fcntl, "fcntl", 0, -1 },
	{ SYS_flock, "flock", 0, -1 },
	{ SYS_ioctl, "ioctl", 0, -1 },
	{ SYS_close, "close", 0, -1 },
	{ SYS_fstat, "fstat", 0, -1 },
	{ SYS_fstatfs, "fstatfs", 0, -1 },
	{ SYS_getdents64, "getdents64", 0, -1 },
	{ SYS_copy_file_range, "copy_file_range", 2, -1 },
	{ SYS_mmap, "mmap", 4, -1 },
	{ SYS_openat, "openat", 0, 1 },
	{ SYS_openat2, "openat2", 0, 1 },
	{ SYS_newfstatat, "newfstatat", 0, 1 },
	{ SYS_statx, "statx", 0, 1 },
	{ SYS_faccessat, "faccessat", 0, 1 },
	{ SYS_faccessat2, "faccessat2", 0, 1 },
	{ SYS_readlinkat, "readlinkat", 0, 1 },
	{ SYS_mkdirat, "mkdirat", 0, 1 },
	{ SYS_unlinkat, "unlinkat", 0, 1 },
	{ SYS_renameat, "renameat", 2, 3 },
	{ SYS_renameat2, "renameat2", 2, 3 },
	{ SYS_linkat, "linkat", 2, 3 },
	{ SYS_fchmodat, "fchmodat", 0, 1 },
	{ SYS_utimensat, "utimensat", 0, 1 },
	{ SYS_statfs, "statfs", -1, 0 },
#ifdef SYS_open
	{ SYS_open, "open", -1, 0 },
	{ SYS_stat, "stat", -1, 0 },
	{ SYS_lstat, "lstat", -1, 0 },
	{ SYS_access, "access", -1, 0 },
	{ SYS_readlink, "readlink", -1, 0 },
	{ SYS_mkdir, "mkdir", -1, 0 },
	{ SYS_rmdir, "rmdir", -1, 0 },
	{ SYS_unlink, "unlink", -1, 0 },
	{ SYS_rename, "rename", -1, 1 },
	{ SYS_link, "link", -1, 1 },
	{ SYS_symlink, "symlink", -1, 1 },
	{ SYS_chmod, "chmod", -1, 0 },
#endif
};

/* What changes nothing that another process could see. Anything else may. */
static const long idle[] = {
	SYS_read, SYS_pread64, SYS_readv, SYS_lseek, SYS_newfstatat, SYS_fstat, SYS_statx, SYS_faccessat, SYS_faccessat2, SYS_readlinkat, SYS_getdents64,
	SYS_statfs, SYS_fstatfs, SYS_fadvise64, SYS_close, SYS_mmap, SYS_munmap, SYS_mprotect, SYS_madvise, SYS_brk, SYS_mremap, SYS_rt_sigaction,
	SYS_rt_sigprocmask, SYS_rt_sigtimedwait, SYS_sigaltstack, SYS_futex, SYS_poll, SYS_ppoll, SYS_epoll_wait, SYS_epoll_pwait, SYS_epoll_ctl,
	SYS_epoll_create1, SYS_eventfd2, SYS_signalfd4, SYS_clock_nanosleep, SYS_clock_gettime, SYS_getpid, SYS_gettid, SYS_getuid, SYS_geteuid, SYS_getgid,
	SYS_getegid, SYS_getppid, SYS_getrandom, SYS_uname, SYS_sysinfo, SYS_prlimit64, SYS_set_tid_address, SYS_set_robust_list, SYS_rseq, SYS_getsockopt,
	SYS_setsockopt, SYS_getsockname, SYS_getpeername, SYS_recvfrom, SYS_recvmsg, SYS_socket, SYS_pidfd_open, SYS_sched_getaffinity, SYS_sched_yield,
	SYS_restart_syscall, SYS_pipe2, SYS_prctl, SYS_umask, SYS_getcwd, SYS_ioctl, SYS_wait4, SYS_waitid,
#ifdef SYS_open
	SYS_stat, SYS_lstat, SYS_access, SYS_readlink, SYS_arch_prctl, SYS_pause,
#endif
};

struct traced {
	pid_t id;
	bool ours;    /* a thread of the program, not of a child */
	bool inside;  /* between the entry of a call and its end */
	bool refused; /* the call was struck: give it its error at its end */
	bool starved; /* it got no memory, and has made no other call since */
	unsigned long long heap; /* what brk was asked for, if that is what was struck */
};

struct strike {
	unsigned long kill_at, kill_at_change, kill_at_file, fail_at, calls, changes, files, struck;
	int number;
	bool for_ever, count_changes, memory, has_heap;
	const char *dir;
	const char *names; /* ",read,write,"; NULL: all */
	FILE *list;
	const char *report;
	char first[PATH_MAX + 64];
	pid_t program;
	struct traced tasks[MOST_TASKS];
	size_t count;
};

static _Noreturn void
die(const char *what)
{
	perror(what);
	_exit(FAILED);
}

/* ---- tasks ---- */

static struct traced *
task_of(struct strike *strike, pid_t id)
{
	for (size_t i = 0; i < strike->count; i++)
		if (strike->tasks[i].id == id)
			return &strike->tasks[i];
	if (strike->count == MOST_TASKS) {
		fputs("strike: too many threads\n", stderr);
		_exit(FAILED);
	}
	strike->tasks[strike->count] = (struct traced){ .id = id };
	return &strike->tasks[strike->count++];
}

static void
forget(struct strike *strike, pid_t id)
{
	*task_of(strike, id) = strike->tasks[strike->count - 1];
	strike->count--;
}

/* ---- what a call is about ---- */

static bool
read_text(pid_t id, uint64_t at, char *text, size_t size)
{
	size_t done = 0;

	/* Not past the page that holds its end: the next one may not be there. */
	while (done < size - 1) {
		size_t step = 4096 - (at + done) % 4096;
		struct iovec local = { text + done, step < size - 1 - done ? step : size - 1 - done };
		struct iovec remote = { (void *)(uintptr_t)(at + done), local.iov_len };
		ssize_t got = process_vm_readv(id, &local, 1, &remote, 1, 0);

		if (got <= 0)
			return false;
		if (memchr(text + done, '\0', (size_t)got))
			return true;
		done += (size_t)got;
	}
	text[done] = '\0';
	return true;
}

static bool
path_of_descriptor(pid_t id, int fd, char *path, size_t size)
{
	char link[64];
	ssize_t got;

	if (fd == AT_FDCWD)
		snprintf(link, sizeof link, "/proc/%d/cwd", (int)id);
	else
		snprintf(link, sizeof link, "/proc/%d/fd/%d", (int)id, fd);
	got = readlink(link, path, size - 1);
	if (got < 0)
		return false;
	path[got] = '\0';
	return true;
}

static const struct call *
call_of(long number)
{
	for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
		if (calls[i].number == number)
			return &calls[i];
	return NULL;
}

/* What fcntl does with a lock, which can fail in its own ways; NULL: something else. */
static const char *
name_of_lock(pid_t id, const struct user_regs_struct *registers)
{
	struct flock lock;
	struct iovec local = { &lock, sizeof lock }, remote = { (void *)(uintptr_t)registers->rdx, sizeof lock };

	switch ((int)registers->rsi) {
	case F_GETLK:
	case F_OFD_GETLK: return "getlock";
	case F_SETLK:
	case F_SETLKW:
	case F_OFD_SETLK:
	case F_OFD_SETLKW:
		return process_vm_readv(id, &local, 1, &remote, 1, 0) == (ssize_t)sizeof lock && lock.l_type == F_UNLCK ? "unlock" : "lock";
	default: return NULL;
	}
}

/* The call that asks for memory; NULL: another one. A heap of a thread is mapped as a whole and opened bit by bit; to ask brk where the heap ends takes none. */
static const char *
name_of_memory(const struct user_regs_struct *registers)
{
	switch (registers->orig_rax) {
	case SYS_mmap: return registers->r10 & MAP_ANONYMOUS ? "mmap" : NULL;
	case SYS_mremap: return "mremap";
	case SYS_mprotect: return registers->rdx & PROT_WRITE ? "mprotect" : NULL;
	case SYS_brk: return registers->rdi ? "brk" : NULL;
	default: return NULL;
	}
}

static bool
path_of_call(pid_t id, const struct call *call, const struct user_regs_struct *registers, char *path, size_t size)
{
	const unsigned long long args[] = { registers->rdi, registers->rsi, registers->rdx, registers->r10, registers->r8, registers->r9 };
	int fd = call->fd < 0 ? AT_FDCWD : (int)args[call->fd];
	char name[PATH_MAX] = "";
	size_t length;

	if (call->path >= 0 && args[call->path] && !read_text(id, args[call->path], name, sizeof name))
		return false;
	if (*name == '/') {
		snprintf(path, size, "%s", name);
		return true;
	}
	if (!path_of_descriptor(id, fd, path, size))
		return false;
	length = strlen(path);
	if (*name)
		snprintf(path + length, size - length, "/%s", name);
	return true;
}

static bool
is_asked_for(const char *names, const char *name)
{
	char word[32];

	snprintf(word, sizeof word, ",%s,", name);
	return !names || strstr(names, word);
}

static bool
is_below(const char *dir, const char *path)
{
	size_t length = strlen(dir);

	return strncmp(path, dir, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

/* The name of a call on a file below the directory, and that file; NULL: another one. */
static const char *
name_of_file_call(const struct strike *strike, pid_t id, const struct user_regs_struct *registers, char *path, size_t size)
{
	const struct call *call = call_of((long)registers->orig_rax);
	const char *lock = call && call->number == SYS_fcntl ? name_of_lock(id, registers) : NULL, *name = lock ? lock : call ? call->name : NULL;

	return name && is_asked_for(strike->names, name) && path_of_call(id, call, registers, path, size) && is_below(strike->dir, path) ? name : NULL;
}

static const char *
name_of_memory_call(struct strike *strike, const struct user_regs_struct *registers, char *path, size_t size)
{
	const char *name = name_of_memory(registers);

	snprintf(path, size, "memory");
	strike->has_heap |= registers->orig_rax == SYS_brk && name;
	return strike->has_heap && name && is_asked_for(strike->names, name) ? name : NULL;
}

/* ---- strikes ---- */

static void
refuse(struct strike *strike, struct traced *task, struct user_regs_struct *registers)
{
	/* brk has no error: it says where the heap ends, and that it has not moved is all that a caller sees. */
	task->heap = registers->orig_rax == SYS_brk ? registers->rdi : 0;
	if (task->heap)
		registers->rdi = 0;
	else
		registers->orig_rax = (unsigned long long)-1;
	if (ptrace(PTRACE_SETREGS, task->id, NULL, registers) != 0)
		die("strike: change a call");
	task->refused = true;
	task->starved = strike->memory;
	strike->struck++;
}

static void
give_error(struct strike *strike, struct traced *task)
{
	struct user_regs_struct registers;

	task->refused = false;
	if (ptrace(PTRACE_GETREGS, task->id, NULL, &registers) != 0)
		return;
	if (task->heap)
		registers.rdi = task->heap;
	else
		registers.rax = (unsigned long long)-(long long)strike->number;
	if (ptrace(PTRACE_SETREGS, task->id, NULL, &registers) != 0)
		die("strike: change a result");
}

static bool
is_struck(const struct strike *strike, const struct traced *task)
{
	if (strike->fail_at == 0 || strike->files < strike->fail_at)
		return false;
	return strike->files == strike->fail_at || strike->for_ever || task->starved;
}

static void
number_call(struct strike *strike, struct traced *task)
{
	struct user_regs_struct registers;
	const char *name;
	char path[2 * PATH_MAX];

	if (ptrace(PTRACE_GETREGS, task->id, NULL, &registers) != 0)
		return;
	name = strike->memory ? name_of_memory_call(strike, &registers, path, sizeof path)
			      : name_of_file_call(strike, task->id, &registers, path, sizeof path);
	if (!name) {
		task->starved = false;
		return;
	}
	strike->files++;
	if (strike->list)
		fprintf(strike->list, "%lu %lu %s %s\n", strike->files, strike->calls, name, path);
	if (!is_struck(strike, task))
		return;
	if (strike->struck == 0)
		snprintf(strike->first, sizeof strike->first, " %s %s", name, path);
	refuse(strike, task, &registers);
}

/* Opening a file changes something if it may make or empty one, and fcntl if it is about a lock. */
static bool
is_idle(const struct user_regs_struct *registers)
{
	long number = (long)registers->orig_rax;

	if (number == SYS_openat)
		return !(registers->rdx & (O_CREAT | O_TRUNC));
	if (number == SYS_fcntl)
		return registers->rsi != F_SETLK && registers->rsi != F_OFD_SETLK;
	for (size_t i = 0; i < sizeof idle / sizeof *idle; i++)
		if (idle[i] == number)
			return true;
	return false;
}

/* True: the change after which the program dies was made by an earlier call. */
static bool
changed_enough(struct strike *strike, const struct traced *task)
{
	struct user_regs_struct registers;

	if (strike->kill_at_change && strike->changes >= strike->kill_at_change)
		return true;
	if (ptrace(PTRACE_GETREGS, task->id, NULL, &registers) == 0 && !is_idle(&registers))
		strike->changes++;
	return false;
}

/* True: this is the call before which the program dies. */
static bool
at_call(struct strike *strike, struct traced *task)
{
	task->inside = !task->inside;
	if (!task->inside) {
		if (task->refused)
			give_error(strike, task);
		return false;
	}
	strike->calls++;
	if (strike->kill_at && strike->calls == strike->kill_at)
		return true;
	if (strike->count_changes && changed_enough(strike, task))
		return true;
	if ((strike->dir || strike->memory) && task->ours)
		number_call(strike, task);
	return strike->kill_at_file && strike->files == strike->kill_at_file;
}

/* ---- the loop ---- */

static void
go_on(pid_t id, int signal)
{
	if (ptrace(PTRACE_SYSCALL, id, NULL, (void *)(intptr_t)signal) != 0 && errno != ESRCH)
		die("strike: go on");
}

static void
at_event(struct strike *strike, pid_t id, int event)
{
	unsigned long born = 0;

	if (event == PTRACE_EVENT_STOP || event == PTRACE_EVENT_EXEC || ptrace(PTRACE_GETEVENTMSG, id, NULL, &born) != 0)
		return;
	/* posix_spawn is a vfork for the kernel: what is cloned is a thread. */
	task_of(strike, (pid_t)born)->ours = event == PTRACE_EVENT_CLONE && task_of(strike, id)->ours;
}

/* After the kill: wait for the program's end, and let its children go. */
static int
bury(struct strike *strike)
{
	int status;

	kill(strike->program, SIGKILL);
	for (;;) {
		pid_t id = waitpid(-1, &status, __WALL);

		if (id < 0)
			die("strike: wait");
		if (id == strike->program && (WIFEXITED(status) || WIFSIGNALED(status)))
			return status;
		if (WIFSTOPPED(status))
			ptrace(PTRACE_DETACH, id, NULL, NULL);
	}
}

static int
follow(struct strike *strike)
{
	int status;

	for (;;) {
		pid_t id = waitpid(-1, &status, __WALL);
		int signal, event;

		if (id < 0)
			die("strike: wait");
		if (WIFEXITED(status) || WIFSIGNALED(status)) {
			forget(strike, id);
			if (id == strike->program)
				return status;
			continue;
		}
		signal = WSTOPSIG(status);
		event = status >> 16;
		if (signal == (SIGTRAP | 0x80)) {
			if (at_call(strike, task_of(strike, id)))
				return bury(strike);
			signal = 0;
		} else if (event) {
			at_event(strike, id, event);
			signal = 0;
		}
		go_on(id, signal);
	}
}

/* The child waits until it is watched, so that the exec is the first call that is seen, and nothing of ours is counted. */
static void
start(struct strike *strike, char **argv)
{
	int gate[2], status;
	char go = 0;

	if (pipe2(gate, O_CLOEXEC) != 0)
		die("strike: pipe");
	strike->program = fork();
	if (strike->program < 0)
		die("strike: fork");
	if (strike->program == 0) {
		if (read(gate[0], &go, 1) == 1)
			execvp(argv[0], argv);
		die(argv[0]);
	}
	if (ptrace(PTRACE_SEIZE, strike->program, NULL, (void *)WATCHED) != 0)
		die("strike: watch");
	if (write(gate[1], &go, 1) != 1)
		die("strike: write");
	close(gate[0]);
	close(gate[1]);
	/* The first stop is that of the exec itself. */
	if (waitpid(strike->program, &status, __WALL) != strike->program || status >> 8 != (SIGTRAP | PTRACE_EVENT_EXEC << 8)) {
		fprintf(stderr, "strike: `%s` did not start\n", argv[0]);
		_exit(FAILED);
	}
	*task_of(strike, strike->program) = (struct traced){ .id = strike->program, .ours = true, .inside = true };
	go_on(strike->program, 0);
}

static void
tell(const struct strike *strike)
{
	FILE *file = strike->report ? fopen(strike->report, "we") : NULL;

	if (file) {
		fprintf(file, "calls %lu changes %lu files %lu struck %lu%s\n", strike->calls, strike->changes, strike->files, strike->struck, strike->first);
		if (fclose(file) != 0)
			die(strike->report);
	}
	if (strike->list && fclose(strike->list) != 0)
		die("strike: list");
}

int
main(int argc, char **argv)
{
	struct strike strike = { 0 };
	int option, status;

	while ((option = getopt(argc, argv, "+o:k:n:K:a:d:l:f:e:Fm")) != -1) {
		switch (option) {
		case 'o': strike.report = optarg; break;
		case 'k': strike.kill_at = strtoul(optarg, NULL, 10); break;
		case 'K': strike.kill_at_file = strtoul(optarg, NULL, 10); break;
		case 'n': strike.kill_at_change = strtoul(optarg, NULL, 10); strike.count_changes = true; break;
		case 'a': strike.names = optarg; break;
		case 'd': strike.dir = optarg; break;
		case 'l': strike.list = fopen(optarg, "we"); break;
		case 'f': strike.fail_at = strtoul(optarg, NULL, 10); break;
		case 'e': strike.number = atoi(optarg); break;
		case 'F': strike.for_ever = true; break;
		case 'm': strike.memory = true; break;
		default: return FAILED;
		}
	}
	if (optind == argc)
		return FAILED;
	start(&strike, argv + optind);
	status = follow(&strike);
	tell(&strike);
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
