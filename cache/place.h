/* place.h - the directory that the cache lies in: made, ours, on a file system that can carry a database and its locks. */
#pragma once

#include <stdbool.h>

#include "engine/base/error.h"

/* Make the directory if it is missing (0700, with a `.gitignore` that keeps it out of git) and open it. E0903 where locks and shared memory
 * cannot be relied on, E0304 if others may write to it. */
bool place_open(const char *dir, int *fd, struct error *err);
