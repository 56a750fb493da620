/* model_files.h - what is known of a model's files once they are there: their structure, the list beside them, the record. For model.c alone. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "crew.h"

/* Look into files by their kind: a safetensors header must cover its file, and nothing may be a
 * pickle under another name: one that was just fetched is removed again. */
bool model_check_files(struct snapshot *snapshot, int dirfd, const struct fetched *fetched, struct error *err);

/* DIR/.provision/files.json: for adoption, and for other projects that use the directory. Written last. */
bool model_write_list(struct snapshot *snapshot, const struct fetched *fetched, struct error *err);

/* Outputs, artifacts, materials and summary of the task. */
void model_put_out(struct snapshot *snapshot, const struct fetched *fetched);

/* Without a network: true if all that the record or files.json names is there. E0614 says what is missing. */
bool model_build_offline(const struct model_spec *spec, struct task *task, struct error *err);

/* What the note of a recorded file says: the checksum it was verified against, and whether it was there before. */
bool model_note_says(const char *note, const struct checksum *checksum, struct arena *arena);
bool model_note_in_place(const char *note);

/* Bytes in parts of earlier runs. */
uint64_t model_parts_size(const char *dir);

/* Remove files.json, parts, and the directories if they are empty then. */
bool model_remove_bookkeeping(const char *dir, struct error *err);
