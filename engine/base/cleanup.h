/* cleanup.h - release at the end of the scope.
 *
 * `struct buf text finally(buf_finish) = { 0 };` finishes `text` wherever the scope is left. A finish function takes zeroed
 * memory as "nothing to release". */
#pragma once

#include <dirent.h>

#define finally(fn) __attribute__((cleanup(fn)))

/* Close the descriptor unless it is negative; errors are ignored, so only for what was read. */
void close_fd(int *fd);

/* Close the directory unless it is NULL. */
void close_dir(DIR **dir);

/* free() for a scope: `char *text finally(free_text) = NULL;`. */
void free_text(char **text);
