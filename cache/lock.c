#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/file.h"
#include "engine/base/units.h"
#include "place.h"

#define NAME "lock"
#define TEXT_LIMIT 4096
#define POLL_MS 100
#define TELL_MS 10000
#define NAME_MS 500      /* that a new holder may take to write who it is */
#define NAME_POLL_MS 10

static bool
try_lock(int fd)
{
	struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	while (fcntl(fd, F_OFD_SETLK, &whole) < 0)
		if (errno != EINTR)
			return false;
	return true;
}

static int
open_lock(int place, int flags)
{
	int fd;

	do
		fd = openat(place, NAME, flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
	while (fd < 0 && errno == EINTR);
	return fd;
}

static bool
is_regular(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

/* A second description of the same file must be kept out, or locks are a fiction here. */
static bool
locks_work(int place, bool *work)
{
	int second finally(close_fd) = open_lock(place, O_RDWR);

	if (second < 0)
		return false;
	*work = !try_lock(second);
	return !*work || errno == EAGAIN || errno == EACCES;
}

/* Values of one line each, whatever they hold. */
static void
add_line(struct buf *text, const char *key, const char *value)
{
	buf_printf(text, "%s=", key);
	for (; *value; value++)
		buf_char(text, (unsigned char)*value < ' ' ? ' ' : *value);
	buf_char(text, '\n');
}

/* Field 22 of a process's stat, "" if there is none; the second field, a name in parentheses, may hold spaces. */
static const char *
start_of(const char *process, struct arena *arena)
{
	const char *text;
	struct error ignored;
	char *at;

	if (!file_load(arena_printf(arena, "/proc/%s/stat", process), TEXT_LIMIT, arena, &text, NULL, &ignored) || !(at = strrchr(text, ')')))
		return "";
	for (int field = 2; field < 22 && at; field++)
		at = strchr(at + 1, ' ');
	return at ? arena_copy_bytes(arena, at + 1, strcspn(at + 1, " ")) : "";
}

static const char *
boot_id(struct arena *arena)
{
	const char *text;
	struct error ignored;

	return file_load("/proc/sys/kernel/random/boot_id", TEXT_LIMIT, arena, &text, NULL, &ignored)
		? arena_copy_bytes(arena, text, strcspn(text, "\n"))
		: "";
}

static const char *
own_name(struct arena *arena)
{
	struct passwd entry, *found = NULL;
	char *scratch = arena_alloc(arena, TEXT_LIMIT);

	if (getpwuid_r(geteuid(), &entry, scratch, TEXT_LIMIT, &found) == 0 && found)
		return found->pw_name;
	return arena_printf(arena, "%u", (unsigned)geteuid());
}

/* For people alone: what cannot be written is left out. */
static void
write_text(int fd, const char *command, const char *run)
{
	struct arena arena finally(arena_finish) = { 0 };
	struct buf text finally(buf_finish) = { 0 };
	struct error ignored;
	int64_t now = clock_now_ns();
	char host[256] = "";

	buf_init(&text, TEXT_LIMIT);
	gethostname(host, sizeof host - 1);
	add_line(&text, "command", command);
	add_line(&text, "run", run);
	add_line(&text, "user", own_name(&arena));
	add_line(&text, "host", host);
	add_line(&text, "pid", arena_printf(&arena, "%ld", (long)getpid()));
	add_line(&text, "start", start_of("self", &arena));
	add_line(&text, "boot", boot_id(&arena));
	add_line(&text, "since", clock_utc(&arena, now));
	add_line(&text, "since_ns", arena_printf(&arena, "%lld", (long long)now));
	if (ftruncate(fd, 0) == 0)
		file_pwrite_all(fd, text.data, text.size, 0, &ignored);
}

static const char *
find_line(struct arena *arena, const char *text, const char *key)
{
	size_t length = strlen(key);

	while (*text) {
		size_t line = strcspn(text, "\n");

		if (line > length && strncmp(text, key, length) == 0 && text[length] == '=')
			return arena_copy_bytes(arena, text + length + 1, line - length - 1);
		text += line + (text[line] == '\n');
	}
	return "";
}

static void
parse_text(const char *text, struct arena *arena, struct lock_holder *holder)
{
	*holder = (struct lock_holder){
		.command = find_line(arena, text, "command"),
		.run = find_line(arena, text, "run"),
		.user = find_line(arena, text, "user"),
		.host = find_line(arena, text, "host"),
	};
	if (!units_int(find_line(arena, text, "pid"), &holder->pid))
		holder->pid = 0;
	if (!units_int(find_line(arena, text, "since_ns"), &holder->since_ns))
		holder->since_ns = 0;
}

static const char *
read_text(int fd, struct arena *arena)
{
	char *text = arena_alloc(arena, TEXT_LIMIT + 1);
	struct error ignored;
	size_t got = 0;

	if (!file_pread_all(fd, text, TEXT_LIMIT, 0, &got, &ignored))
		got = 0;
	text[got] = '\0';
	return text;
}

static void
read_holder(int fd, struct arena *arena, struct lock_holder *holder)
{
	parse_text(read_text(fd, arena), arena, holder);
}

/* Whether the text is the holder's own: not empty, and not what one left who was killed. Who can be seen from here alone is judged. */
static bool
names_holder(int fd)
{
	struct arena arena finally(arena_finish) = { 0 };
	const char *text = read_text(fd, &arena), *pid = find_line(&arena, text, "pid");

	if (!*pid || strspn(pid, "0123456789") != strlen(pid))
		return false;
	return strcmp(find_line(&arena, text, "boot"), boot_id(&arena)) != 0 || strcmp(find_line(&arena, text, "start"), start_of(pid, &arena)) == 0;
}

static bool
fail_locked(int fd, struct error *err)
{
	struct arena arena finally(arena_finish) = { 0 };
	struct lock_holder holder;

	read_holder(fd, &arena, &holder);
	if (holder.pid == 0)
		fail(err, FAULT_LOCKED, "another run holds the lock of this project");
	else
		fail(err, FAULT_LOCKED, "another run holds the lock of this project: %s%s%s, pid %lld, user %s, host %s, since %s (%s)",
			holder.command, *holder.run ? " " : "", holder.run, (long long)holder.pid, holder.user, holder.host,
			clock_local(&arena, holder.since_ns),
			units_show_duration(&arena, (clock_now_ns() - holder.since_ns) / 1000000));
	return error_hint(err, "wait with --lock-timeout 10m; the lock ends with that process, there is nothing to unlock by hand");
}

static bool
wait_for(int fd, int64_t timeout_ms, void (*waiting)(void *context, const struct lock_holder *holder), void *context)
{
	int64_t began = clock_monotonic_ms(), end = began + timeout_ms, tell = began;

	while (!try_lock(fd)) {
		int64_t now = clock_monotonic_ms();

		if (errno != EAGAIN && errno != EACCES)
			return false;
		/* Who just took it may still have to write its name; who just left it has made room. */
		if (now >= end && (now >= end + NAME_MS || names_holder(fd))) {
			errno = EAGAIN;
			return false;
		}
		if (waiting && now >= tell && now < end && (now >= began + NAME_MS || names_holder(fd))) {
			struct arena arena finally(arena_finish) = { 0 };
			struct lock_holder holder;

			read_holder(fd, &arena, &holder);
			waiting(context, &holder);
			tell = now + TELL_MS;
		}
		clock_sleep_ms(now >= end ? NAME_POLL_MS : end - now < POLL_MS ? end - now : POLL_MS, NULL);
	}
	return true;
}

bool
lock_take(struct lock *lock, const char *state_dir, const char *command, const char *run, int64_t timeout_ms,
	void (*waiting)(void *context, const struct lock_holder *holder), void *context, struct error *err)
{
	int place finally(close_fd) = -1;
	int fd finally(close_fd) = -1;
	struct stat st;
	bool work;

	if (!place_open(state_dir, &place, err))
		return false;
	fd = open_lock(place, O_RDWR | O_CREAT);
	if (fd < 0 || fstat(fd, &st) != 0)
		return fail_errno(err, "open `%s/%s`", state_dir, NAME);
	if (!S_ISREG(st.st_mode))
		return fail(err, FAULT_CANNOT_CREATE, "`%s/%s` is in the way: it is no regular file", state_dir, NAME);
	if (!wait_for(fd, timeout_ms, waiting, context))
		return errno == EAGAIN || errno == EACCES ? fail_locked(fd, err) : fail_errno(err, "lock `%s/%s`", state_dir, NAME);
	if (!locks_work(place, &work))
		return fail_errno(err, "lock `%s/%s` again", state_dir, NAME);
	if (!work) {
		fail(err, FAULT_NO_LOCKS, "`%s` lies on a file system that gives one lock to two holders", state_dir);
		return error_hint(err, "let the cache lie on a local disk: --cache /local/path/cache.db; weights may stay where they are");
	}
	write_text(fd, command, run);
	lock->fd = fd;
	fd = -1;
	return true;
}

void
lock_release(struct lock *lock)
{
	if (lock->fd < 0)
		return;
	/* So that the next one is not taken for us before it has written who it is. */
	(void)!ftruncate(lock->fd, 0);
	close(lock->fd);
	lock->fd = -1;
}

bool
lock_read(const char *state_dir, struct arena *arena, struct lock_holder *holder)
{
	int place finally(close_fd) = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int fd finally(close_fd) = place < 0 ? -1 : open_lock(place, O_RDONLY);
	struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	if (fd < 0 || !is_regular(fd) || fcntl(fd, F_OFD_GETLK, &whole) < 0 || whole.l_type == F_UNLCK)
		return false;
	read_holder(fd, arena, holder);
	return true;
}
