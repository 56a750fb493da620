#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "engine/base/cleanup.h"
#include "engine/base/path.h"
#include "engine/base/strings.h"
#include "durable.h"
#include "scratch.h"

#define X64 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
#define X255 X64 X64 X64 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
#define D31 "d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/"

static const struct {
	const char *name;
	const char *why; /* NULL: may be used */
} names[] = {
	{ "model-00001-of-00004.safetensors", NULL },
	{ "a/b/c.json", NULL },
	{ "..a/b...", NULL },
	{ ".gitattributes", NULL },
	{ "sub/.cache/x", NULL },
	{ "a b", NULL },
	{ "-rf", NULL },
	{ "\xe5\x81\xa5\xe5\xba\xb7.txt", NULL },
	{ "ab:c", NULL },
	{ X255, NULL },
	{ X255 "/" X255 "/" X255 "/" X64 X64 X64 X64, "component longer than 255 bytes" },
	{ X255 "/" X255 "/" X255 "/" X255 "/y", "longer than 1024 bytes" },
	{ X255 "x", "component longer than 255 bytes" },
	{ D31 "x", NULL },
	{ D31 "d/x", "deeper than 32 directories" },
	{ "", "empty" },
	{ "/etc/passwd", "absolute" },
	{ "~/x", "begins with `~`" },
	{ "..", "component `.` or `..`" },
	{ ".", "component `.` or `..`" },
	{ "../x", "component `.` or `..`" },
	{ "a/../b", "component `.` or `..`" },
	{ "a/./b", "component `.` or `..`" },
	{ "a/..", "component `.` or `..`" },
	{ "a//b", "empty component" },
	{ "a/", "empty component" },
	{ "a\\b", "backslash" },
	{ "..\\x", "backslash" },
	{ "C:x", "begins with a drive letter" },
	{ "C:\\x", "begins with a drive letter" },
	{ "a\nb", "control character" },
	{ "a\x1b[31m", "control character" },
	{ "a\x7f", "control character" },
	{ "a\xc2\x9b", "control character" },
	{ "a\xc2\xa0", NULL },
	{ "a\xff", "not valid UTF-8" },
	{ "a\xc0\xaf..", "not valid UTF-8" },
	{ "a\xe5\x81", "not valid UTF-8" },
	{ "\xed\xa0\x80", "not valid UTF-8" },
	{ ".git/config", "name reserved for tools" },
	{ ".git", "name reserved for tools" },
	{ ".GIT/hooks/post-checkout", "name reserved for tools" },
	{ "sub/.git/config", "name reserved for tools" },
	{ ".cache/huggingface/x", "name reserved for tools" },
	{ ".provision/parts/x", "name reserved for tools" },
	{ "._____temp/x", "name reserved for tools" },
	{ ".msc", "name reserved for tools" },
	{ ".mdl", "name reserved for tools" },
	{ ".mv", "name reserved for tools" },
};

static void
names_as_text(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		const char *why = "untouched";

		if (path_is_safe(names[i].name, &why) != !names[i].why)
			fail_msg("`%s`: %s", names[i].name, why);
		assert_string_equal(why, names[i].why ? names[i].why : "untouched");
	}
}

static void
what_is_accepted_can_be_opened_below(void **state)
{
	struct scratch *scratch = *state;

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		const char *last;
		int parent, fd;

		if (names[i].why)
			continue;
		parent = path_open_parent(scratch->fd, names[i].name, true, &last);
		if (parent < 0)
			fail_msg("`%s`: %s", names[i].name, strerror(errno));
		fd = path_open_below(parent, last, O_RDWR | O_CREAT, 0600);
		assert_true(fd >= 0);
		close(fd);
		close(parent);
		fd = path_open_below(scratch->fd, names[i].name, O_RDONLY, 0);
		assert_true(fd >= 0);
		close(fd);
	}
}

static void
sets_of_names(void **state)
{
	static const struct {
		const char *names[6];
		const char *text; /* of the error; NULL: good */
	} cases[] = {
		{ { NULL }, NULL },
		{ { "a", NULL }, NULL },
		{ { "a", "b/a", "b/b", "a.txt", "b.txt" }, NULL },
		{ { "A/x", "a/y" }, NULL },
		{ { "b", "a", "b" }, "`b` is listed twice" },
		{ { "a/b", "c", "a" }, "`a` is a file, and the directory of `a/b`" },
		{ { "a.b", "a/b/c", "a-b", "a", "a.c" }, "`a` is a file, and the directory of `a/b/c`" },
		{ { "A", "a/b" }, "`A` is a file, and the directory of `a/b`" },
		{ { "sub/README.md", "x", "sub/Readme.md" }, "`sub/README.md` and `sub/Readme.md` differ only in case" },
		{ { "a", "../b" }, "the name `../b` is refused: component `.` or `..`" },
		{ { "a", "", "b" }, "the name `` is refused: empty" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct error err = { 0 };
		size_t count = 0;

		while (count < 6 && cases[i].names[count])
			count++;
		assert_int_equal(path_set_is_safe(cases[i].names, count, &err), !cases[i].text);
		if (!cases[i].text)
			continue;
		assert_int_equal(err.fault, FAULT_HOSTILE_NAME);
		/* Which of two that differ in case comes first is open. */
		if (!strstr(err.text, "differ"))
			assert_string_equal(err.text, cases[i].text);
	}
}

static void
large_sets(void **state)
{
	size_t count = 100001;
	char (*text)[16] = calloc(count, sizeof *text);
	const char **list = calloc(count, sizeof *list);
	struct error err = { 0 };

	(void)state;
	for (size_t i = 0; i < count; i++) {
		snprintf(text[i], sizeof text[i], "d%zu/f%zu", i % 100, i);
		list[i] = text[i];
	}
	assert_true(path_set_is_safe(list, count - 1, &err));
	assert_false(path_set_is_safe(list, count, &err));
	assert_int_equal(err.fault, FAULT_PROTOCOL);
	snprintf(text[99999], sizeof text[99999], "D0/F0");
	assert_false(path_set_is_safe(list, count - 1, &err));
	assert_int_equal(err.fault, FAULT_HOSTILE_NAME);
	free(list);
	free(text);
}

static void
make_tree(struct scratch *scratch)
{
	static const struct {
		const char *to, *name;
	} links[] = {
		{ "file", "top/inside" },    { "../outside", "top/out" }, { "/etc/passwd", "top/absolute" },
		{ "nowhere", "top/dangling" }, { "sub", "top/dir" },      { "..", "top/up" },
		{ "/proc/self/root", "top/magic" },
	};

	assert_int_equal(mkdirat(scratch->fd, "top", 0755), 0);
	assert_int_equal(mkdirat(scratch->fd, "top/sub", 0755), 0);
	scratch_file(scratch, "outside", "secret");
	scratch_file(scratch, "top/file", "file");
	scratch_file(scratch, "top/sub/file", "below");
	scratch_file(scratch, "top/hard", "two names");
	assert_int_equal(linkat(scratch->fd, "top/hard", scratch->fd, "hard", 0), 0);
	assert_int_equal(mkfifoat(scratch->fd, "top/fifo", 0600), 0);
	for (size_t i = 0; i < sizeof links / sizeof *links; i++)
		assert_int_equal(symlinkat(links[i].to, scratch->fd, links[i].name), 0);
}

/* What opening does, by openat2 and by the walk alike. */
static const struct {
	const char *name;
	int flags;
	int number; /* errno; 0: it opens */
} opens[] = {
	{ "file", O_RDONLY, 0 },
	{ "file", O_RDWR, 0 },
	{ "sub/file", O_RDONLY, 0 },
	{ "new", O_RDWR | O_CREAT | O_EXCL, 0 },
	{ "sub/new", O_WRONLY | O_CREAT, 0 },
	{ "sub", O_RDONLY | O_DIRECTORY, 0 },
	{ "sub", O_PATH | O_DIRECTORY, 0 },
	{ "sub", O_RDONLY, EISDIR },
	{ "sub/", O_RDONLY, EISDIR },
	{ "file", O_RDONLY | O_DIRECTORY, ENOTDIR },
	{ "file", O_RDWR | O_CREAT | O_EXCL, EEXIST },
	{ "file/x", O_RDONLY, ENOTDIR },
	{ "missing", O_RDONLY, ENOENT },
	{ "missing/x", O_RDWR | O_CREAT, ENOENT },
	{ "", O_RDONLY, ENOENT },
	{ "/etc/passwd", O_RDONLY, EXDEV },
	{ "../outside", O_RDONLY, EXDEV },
	{ "..", O_RDONLY | O_DIRECTORY, EXDEV },
	{ "sub/../../outside", O_RDONLY, EXDEV },
	{ "inside", O_RDONLY, ELOOP },
	{ "out", O_RDONLY, ELOOP },
	{ "absolute", O_RDONLY, ELOOP },
	{ "dangling", O_RDONLY, ELOOP },
	{ "dangling", O_RDWR | O_CREAT, ELOOP },
	{ "dir/file", O_RDONLY, ELOOP },
	{ "up/outside", O_RDONLY, ELOOP },
	{ "magic/etc/passwd", O_RDONLY, ELOOP },
	{ "inside", O_PATH, ELOOP },
	{ "fifo", O_RDONLY, EINVAL },
	{ "fifo", O_RDWR, EINVAL },
	{ "hard", O_RDWR, EMLINK },
	{ "hard", O_RDWR | O_TRUNC, EMLINK },
	{ X255, O_RDWR | O_CREAT | O_EXCL, 0 },
	{ X255 "/x", O_RDONLY, ENOTDIR },
	{ X255 "x", O_RDONLY, ENAMETOOLONG },
};

/* How many of them went otherwise; in a child too, where nothing may be asserted. */
static int
count_wrong_opens(int top)
{
	int wrong = 0;

	for (size_t i = 0; i < sizeof opens / sizeof *opens; i++) {
		int fd = path_open_below(top, opens[i].name, opens[i].flags, 0600);
		int number = fd < 0 ? errno : 0;

		if (number != opens[i].number) {
			print_error("`%s` with %#x: %s, not %s\n", opens[i].name, (unsigned)opens[i].flags, strerror(number),
			            strerror(opens[i].number));
			wrong++;
		}
		if (fd >= 0 && !(fcntl(fd, F_GETFD) & FD_CLOEXEC)) {
			print_error("`%s` is not close-on-exec\n", opens[i].name);
			wrong++;
		}
		close_fd(&fd);
	}
	unlinkat(top, X255, 0);
	unlinkat(top, "new", 0);
	unlinkat(top, "sub/new", 0);
	return wrong;
}

static int
open_top(struct scratch *scratch)
{
	make_tree(scratch);
	return openat(scratch->fd, "top", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void
opened_by_openat2(void **state)
{
	int top finally(close_fd) = open_top(*state);

	assert_int_equal(count_wrong_opens(top), 0);
}

/* From now on openat2 fails with `number`, as on an old kernel or below a filter. */
static bool
forbid_openat2(int number)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)number),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = sizeof filter / sizeof *filter, .filter = filter };

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0;
}

static void
opened_by_the_walk(void **state)
{
	static const int numbers[] = { ENOSYS, EPERM };
	int top finally(close_fd) = open_top(*state);

	for (size_t i = 0; i < 2; i++) {
		int status = -1;
		pid_t pid = fork();

		if (pid == 0) {
			bool filtered = forbid_openat2(numbers[i]);

			_exit(filtered ? count_wrong_opens(top) : 99);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (WIFEXITED(status) && WEXITSTATUS(status) == 99)
			print_message("no seccomp here: the walk is tested alone\n");
		else
			assert_int_equal(status, 0);
	}
}

static void
the_walk_alone(void **state)
{
	int top finally(close_fd) = open_top(*state);

	for (size_t i = 0; i < sizeof opens / sizeof *opens; i++) {
		int fd = path_walk_below(top, opens[i].name, opens[i].flags | O_NONBLOCK, 0600);
		/* What it does not look at itself: kind and links of the result. */
		bool checked_later = opens[i].number == EISDIR || opens[i].number == EINVAL || opens[i].number == EMLINK || (opens[i].flags & O_PATH);

		if (!checked_later && (fd < 0 ? errno : 0) != opens[i].number)
			fail_msg("`%s`: %s", opens[i].name, fd < 0 ? strerror(errno) : "opened");
		close_fd(&fd);
	}
}

static void
nothing_is_truncated_by_mistake(void **state)
{
	struct scratch *scratch = *state;
	int top finally(close_fd) = open_top(scratch);
	struct stat st;
	int fd;

	assert_int_equal(path_open_below(top, "hard", O_RDWR | O_TRUNC, 0), -1);
	assert_int_equal(fstatat(top, "hard", &st, 0), 0);
	assert_int_equal(st.st_size, 9);
	fd = path_open_below(top, "file", O_RDWR | O_TRUNC, 0);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, 0);
	close(fd);
}

static atomic_bool stop;

/* `swing` is a directory, then a link to one outside, then a directory ... */
static void *
swing(void *top)
{
	int fd = *(int *)top;

	while (!stop) {
		renameat(fd, "swing", fd, "real");
		if (symlinkat("..", fd, "swing") == 0)
			unlinkat(fd, "swing", 0);
		renameat(fd, "real", fd, "swing");
	}
	return NULL;
}

static void
no_race_leads_outside(void **state)
{
	struct scratch *scratch = *state;
	int top finally(close_fd) = open_top(scratch);
	pthread_t thread;
	int opened = 0;
	int refused = 0;

	assert_int_equal(mkdirat(top, "swing", 0755), 0);
	scratch_file(scratch, "top/swing/outside", "mine");
	stop = false;
	assert_int_equal(pthread_create(&thread, NULL, swing, &top), 0);
	/* Until both were seen often, since on a busy machine one thread may stand still for thousands of tries. The test's
	 * own time limit is the end of it. */
	for (int i = 0; opened < 3000 || refused < 3000; i++) {
		int fd = i % 2 ? path_walk_below(top, "swing/outside", O_RDONLY, 0) : path_open_below(top, "swing/outside", O_RDONLY, 0);
		char bytes[6] = "";

		if (fd < 0) {
			refused++;
			continue;
		}
		opened++;
		assert_int_equal(read(fd, bytes, 6), 4);
		assert_string_equal(bytes, "mine");
		close(fd);
	}
	stop = true;
	assert_int_equal(pthread_join(thread, NULL), 0);
}

static void
parents_are_made_below(void **state)
{
	struct scratch *scratch = *state;
	int top finally(close_fd) = open_top(scratch);
	int path_only finally(close_fd) = openat(scratch->fd, "top", O_PATH | O_DIRECTORY | O_CLOEXEC);
	static const struct {
		const char *name;
		bool create;
		int number;
		const char *last;
	} cases[] = {
		{ "file", false, 0, "file" },
		{ "missing", false, 0, "missing" },
		{ "sub/file", false, 0, "file" },
		{ "n/e/w", false, ENOENT, NULL },
		{ "n/e/w", true, 0, "w" },
		{ "n/e/w", false, 0, "w" },
		{ "n/e/x", true, 0, "x" },
		{ "file/x", true, ENOTDIR, NULL },
		{ "dir/x", true, ELOOP, NULL },
		{ "up/x", true, ELOOP, NULL },
		{ "dangling/x", true, ELOOP, NULL },
		{ "../x", true, EXDEV, NULL },
		{ "sub/../x", true, EXDEV, NULL },
		{ "sub/..", true, EXDEV, NULL },
		{ "sub/.", true, EXDEV, NULL },
		{ "sub/", true, EXDEV, NULL },
		{ "sub//x", true, EXDEV, NULL },
		{ "/x", true, EXDEV, NULL },
		{ "", true, EXDEV, NULL },
		{ X255 "x/y", true, ENAMETOOLONG, NULL },
	};
	mode_t mask = umask(077);
	struct stat st;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const char *last = NULL;
		int fd = path_open_parent(i % 2 ? top : path_only, cases[i].name, cases[i].create, &last);

		if ((fd < 0 ? errno : 0) != cases[i].number)
			fail_msg("`%s`: %s", cases[i].name, fd < 0 ? strerror(errno) : "opened");
		assert_true(text_equal(last, cases[i].last));
		if (fd < 0)
			continue;
		assert_ptr_equal(last, cases[i].name + strlen(cases[i].name) - strlen(last));
		/* It can be synced. */
		assert_int_equal(fsync(fd), 0);
		assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
		close(fd);
	}
	assert_int_equal(fstatat(top, "n/e", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0755);
	umask(mask);
}

static void
parents_are_durable(void **state)
{
	struct scratch *scratch = *state;
	int top finally(close_fd) = open_top(scratch);
	const char *last;
	int fd;

	durable_reset(0, 0);
	fd = path_open_parent(top, "n/e/w", true, &last);
	assert_true(fd >= 0);
	close(fd);
	assert_string_equal(durable.log, "sync top; sync n; sync n; sync e; ");
	durable_reset(0, 0);
	fd = path_open_parent(top, "n/e/w", true, &last);
	assert_true(fd >= 0);
	close(fd);
	assert_string_equal(durable.log, "");
	for (int failing = 1; failing <= 2; failing++) {
		durable_reset(failing, EIO);
		fd = path_open_parent(top, failing == 1 ? "x/w" : "y/w", true, &last);
		assert_int_equal(fd, -1);
		assert_int_equal(errno, EIO);
	}
	durable_reset(0, 0);
}

static void
directories_of_ours(void **state)
{
	struct scratch *scratch = *state;
	struct error err = { 0 };
	int fd = -1;

	assert_false(path_open_dir(scratch_path(scratch, "new/dir"), false, &fd, &err));
	assert_int_equal(err.fault, FAULT_NOT_FOUND);
	assert_int_equal(fd, -1);
	assert_true(path_open_dir(scratch_path(scratch, "new/dir"), true, &fd, &err));
	assert_int_equal(fsync(fd), 0);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	close(fd);
	fd = -1;
	assert_int_equal(fchmodat(scratch->fd, "new/dir", 0777, 0), 0);
	assert_false(path_open_dir(scratch_path(scratch, "new/dir"), true, &fd, &err));
	assert_int_equal(err.fault, FAULT_UNSAFE_DIRECTORY);
	assert_true(text_starts(err.hint, "chmod o-w "));
	assert_int_equal(fd, -1);
	assert_int_equal(fchmodat(scratch->fd, "new/dir", 01777, 0), 0);
	assert_true(path_open_dir(scratch_path(scratch, "new/dir"), true, &fd, &err));
	close(fd);
	fd = -1;
	assert_int_equal(fchmodat(scratch->fd, "new/dir", 0775, 0), 0);
	assert_true(path_open_dir(scratch_path(scratch, "new/dir"), true, &fd, &err));
	close(fd);
	fd = -1;
	if (geteuid() == 0) {
		assert_int_equal(fchownat(scratch->fd, "new/dir", 12345, (gid_t)-1, 0), 0);
		assert_false(path_open_dir(scratch_path(scratch, "new/dir"), true, &fd, &err));
		assert_int_equal(err.fault, FAULT_UNSAFE_DIRECTORY);
		assert_non_null(strstr(err.text, "12345"));
	}
	scratch_file(scratch, "file", "x");
	for (int create = 0; create < 2; create++) {
		assert_false(path_open_dir(scratch_path(scratch, "file"), create, &fd, &err));
		assert_int_equal(err.fault, FAULT_CANNOT_CREATE);
		assert_false(path_open_dir(scratch_path(scratch, "file/x"), create, &fd, &err));
		assert_int_equal(err.fault, FAULT_CANNOT_CREATE);
	}
	assert_int_equal(fd, -1);
	assert_true(path_open_dir(".", false, &fd, &err));
	close(fd);
	assert_true(path_open_dir("/", false, &fd, &err));
	close(fd);
}

static void
links_on_the_way_to_a_directory(void **state)
{
	static const struct {
		const char *to, *name;
	} links[] = {
		{ "real", "near" }, { "near/", "chain" }, { "../real", "real/up" }, { "a", "b" }, { "b", "a" }, { "nowhere", "dangling" }, { "real", "foreign" },
	};
	static const struct {
		const char *path;
		enum fault fault; /* FAULT_NONE: it opens */
	} cases[] = {
		{ "real", FAULT_NONE }, { "near", FAULT_NONE }, { "near/", FAULT_NONE }, { "chain/up/up", FAULT_NONE }, { "real/../near", FAULT_NONE },
		{ "absolute", FAULT_NONE }, { "a", FAULT_IO }, { "near/new", FAULT_NONE }, { "dangling", FAULT_CANNOT_CREATE },
	};
	struct scratch *scratch = *state;
	struct error err = { 0 };
	struct stat real, st;
	char path[100];
	int fd = -1;

	assert_int_equal(mkdirat(scratch->fd, "real", 0755), 0);
	snprintf(path, sizeof path, "%s/real", scratch->path);
	assert_int_equal(symlinkat(path, scratch->fd, "absolute"), 0);
	for (size_t i = 0; i < sizeof links / sizeof *links; i++)
		assert_int_equal(symlinkat(links[i].to, scratch->fd, links[i].name), 0);
	assert_int_equal(stat(path, &real), 0);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		bool opened = path_open_dir(scratch_path(scratch, cases[i].path), true, &fd, &err);

		if (opened != !cases[i].fault || (!opened && err.fault != cases[i].fault))
			fail_msg("`%s`: %s", cases[i].path, opened ? "opened" : err.text);
		if (!opened)
			continue;
		assert_int_equal(fstat(fd, &st), 0);
		assert_true(st.st_ino == real.st_ino || text_ends(cases[i].path, "new"));
		close(fd);
	}
	if (geteuid() != 0)
		return;
	assert_int_equal(fchownat(scratch->fd, "foreign", 12345, (gid_t)-1, AT_SYMLINK_NOFOLLOW), 0);
	fd = -1;
	assert_false(path_open_dir(scratch_path(scratch, "foreign"), false, &fd, &err));
	assert_int_equal(err.fault, FAULT_UNSAFE_DIRECTORY);
	/* Not even a directory is made behind it. */
	assert_false(path_open_dir(scratch_path(scratch, "foreign/other"), true, &fd, &err));
	assert_int_equal(err.fault, FAULT_UNSAFE_DIRECTORY);
	assert_int_equal(fstatat(scratch->fd, "real/other", &st, 0), -1);
	assert_int_equal(fd, -1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_as_text),
		cmocka_unit_test_setup_teardown(what_is_accepted_can_be_opened_below, scratch_setup, scratch_teardown),
		cmocka_unit_test(sets_of_names),
		cmocka_unit_test(large_sets),
		cmocka_unit_test_setup_teardown(opened_by_openat2, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(opened_by_the_walk, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(the_walk_alone, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(nothing_is_truncated_by_mistake, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(no_race_leads_outside, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(parents_are_made_below, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(parents_are_durable, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(directories_of_ours, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(links_on_the_way_to_a_directory, scratch_setup, scratch_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
