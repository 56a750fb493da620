/* path.h - names from outside, checked as text and opened below a directory.
 *
 * Rules of model-hubs.md section 6 and reliability.md section 7: no accepted name leaves the directory, not even in a race. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "error.h"

/* Whether a relative name from a hub, mirror or checksum list may be used. `why` gets a few words if not. */
bool path_is_safe(const char *name, const char **why);

/* The same for a set: also refuses duplicates, names equal but for ASCII case, and a file that is another's directory. */
bool path_set_is_safe(const char *const *names, size_t count, struct error *err);

/* openat2 with RESOLVE_BENEATH | NO_SYMLINKS | NO_MAGICLINKS, or a walk by components where the kernel has none. Always adds
 * O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK; the result is a regular file with one link, or a directory if O_DIRECTORY was asked for. -1 with errno set on failure. */
int path_open_below(int dirfd, const char *name, int flags, mode_t mode);

/* Whether that errno says what stands at the name, or that nothing does. Any other says that nobody could look. */
bool path_errno_tells(int number);

/* The walk alone, without the checks of the result: for old kernels, and for the tests. */
int path_walk_below(int dirfd, const char *name, int flags, mode_t mode);

/* Make the directories of `name` below dirfd and return a descriptor of the last one, -1 with errno set on failure. Every directory that was
 * made is durable. `*last` is set to the last component within `name`. */
int path_open_parent(int dirfd, const char *name, bool create, const char **last);

/* Open a directory of ours for writing into it: refuses one that others may write to without the sticky bit, or whose owner is neither us nor root,
 * or whose path leads through a symbolic link of such an owner (E0304). Creates it when `create`. */
bool path_open_dir(const char *path, bool create, int *fd, struct error *err);
