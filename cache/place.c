#include "place.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/file.h"
#include "engine/base/path.h"

/* File systems on which a lock may be a fiction, or shared memory not shared. FUSE is missing: some of it can, and lock_take tries. */
static const struct {
	uint32_t magic;
	const char *name;
} refused[] = {
	{ 0x00006969, "NFS" },
	{ 0xFF534D42, "CIFS" },
	{ 0xFE534D42, "SMB2" },
	{ 0x0000517B, "SMB" },
	{ 0x6B414653, "AFS" },
	{ 0x00C36400, "Ceph" },
	{ 0x01021997, "9p" },
	{ 0x0BD00BD0, "Lustre" },
	{ 0x47504653, "GPFS" },
	{ 0x19830326, "BeeGFS" },
};

static bool
check_file_system(int fd, const char *dir, struct error *err)
{
	struct statfs fs;

	while (fstatfs(fd, &fs) < 0)
		if (errno != EINTR)
			return fail_errno(err, "file system of `%s`", dir);
	for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
		if ((uint32_t)fs.f_type != refused[i].magic)
			continue;
		fail(err, FAULT_NO_LOCKS, "`%s` lies on %s, whose locks and shared memory cannot be relied on", dir, refused[i].name);
		return error_hint(err, "let the cache lie on a local disk: --cache /local/path/cache.db; weights may stay where they are");
	}
	return true;
}

/* Nothing rests on this file: where it cannot be written, what can be does without. */
static void
keep_out_of_git(int fd)
{
	static const char everything[] = "*\n";
	int file finally(close_fd) = openat(fd, ".gitignore", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	struct error ignored;

	if (file >= 0)
		file_write_all(file, everything, sizeof everything - 1, &ignored);
}

/* A directory that the user made for other things stays as it is. */
static bool
is_ours(const char *dir, bool made)
{
	return made || strcmp(path_base(dir), ".provision") == 0;
}

bool
place_open(const char *dir, int *fd, struct error *err)
{
	struct stat st;
	bool made = lstat(dir, &st) < 0 && errno == ENOENT;
	int opened finally(close_fd) = -1;

	if (!file_make_dirs(dir, 0700, err) || !path_open_dir(dir, false, &opened, err))
		return error_wrap(err, "the cache's directory");
	if (!check_file_system(opened, dir, err))
		return false;
	if (is_ours(dir, made))
		keep_out_of_git(opened);
	*fd = opened;
	opened = -1;
	return true;
}
