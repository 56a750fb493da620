/* hub.h - the test hub (hub.py) as a child of a test: its files, faults and counts.
 *
 * A step that cannot be carried through ends the test. */
#pragma once

#include <jansson.h>
#include <stdint.h>
#include <sys/types.h>

#include "engine/base/arena.h"

struct fake_hub {
	char directory[64]; /* everything of it */
	char root[80];      /* repositories: ORG/NAME/... */
	char url[64];
	char cdn[64];
	pid_t pid;
	struct arena arena; /* of texts returned here */
};

/* `options` end with NULL; may be NULL. */
void fake_hub_start(struct fake_hub *hub, const char *const *options);
void fake_hub_stop(struct fake_hub *hub);

/* A file of a repository: text, or `size` bytes that depend on `seed`. The path is returned. */
const char *fake_hub_write(struct fake_hub *hub, const char *path, const void *bytes, size_t size);
const char *fake_hub_fill(struct fake_hub *hub, const char *path, size_t size, unsigned seed);

/* A safetensors file with one tensor of `size` bytes. */
const char *fake_hub_tensors(struct fake_hub *hub, const char *path, size_t size, unsigned seed);

/* JSON of a fault, as hub.py describes it. */
void fake_hub_fault(struct fake_hub *hub, const char *json);
void fake_hub_reset(struct fake_hub *hub);

/* Counts: requests for a file's name or a request's path; bytes of all files. */
int64_t fake_hub_requests(struct fake_hub *hub, const char *path);
int64_t fake_hub_bytes(struct fake_hub *hub);

/* How often a secret came to where it does not belong; how many requests carried one. */
size_t fake_hub_leaks(struct fake_hub *hub);
int64_t fake_hub_authorized(struct fake_hub *hub);
