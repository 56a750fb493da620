/* fuzz.h - what the fuzz targets share: taking an input apart, saying that a promise is broken, a directory to work in.
 *
 * A target is one file with LLVMFuzzerTestOneInput. Linked with libFuzzer it searches; linked with replay.c it runs the files of its corpus. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/error.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What a target promises of every input. */
#define promise(condition) ((condition) ? (void)0 : fuzz_broken(__FILE__, __LINE__, #condition))

_Noreturn void fuzz_broken(const char *file, int line, const char *what);

/* An input that is taken from its front. When it is used up there are zeros and empty texts. */
struct feed {
	const uint8_t *bytes;
	size_t left;
};

uint8_t feed_byte(struct feed *feed);
size_t feed_below(struct feed *feed, size_t bound); /* of one byte; 0 if `bound` is */

/* Up to the next byte 0x1e, which separates what has to be text, or to the end; with a NUL behind, in the arena. */
const char *feed_text(struct feed *feed, struct arena *arena, size_t *size);

/* A directory of this process, which is removed with all that lies in it when the process ends. */
const char *scratch_path(void);
int scratch_fd(void);
void scratch_write(const char *name, const void *bytes, size_t size);
void scratch_clear(void); /* removes what lies in it */
