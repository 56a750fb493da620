/* secret.h - a value that never prints, and the redaction of text that might hold one.
 *
 * The manifest names a secret, never its value. Loaded values are kept in memory that is locked and left out of dumps. The redactor is the last net before every
 * log, terminal and record write; it knows what was loaded in this process. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "error.h"

struct arena;
struct buf;

/* As written in the manifest: one of the two names. */
struct secret_ref {
	const char *env;
	const char *file;
};

struct secret {
	const char *name;  /* for messages: `<HF_TOKEN>` */
	char *value;       /* NUL-terminated; spaces and line ends at both ends removed */
	size_t length;
};

/* Read it. A missing variable or file is E0907 with its name. A file must be regular, ours, 0600 or stricter, else E0907 with the chmod to run;
 * `lenient` (token files of the hubs' own clients) skips that. The value joins the redactor's list for the life of the process. */
bool secret_load(const struct secret_ref *ref, bool lenient, struct secret *secret, struct error *err);
void secret_finish(struct secret *secret);

/* Replace every loaded secret in `text` (plain, base64, URL-escaped, JSON-escaped) by `<NAME>`, in place or shorter-or-longer in `out`. Thread-safe.
 * Values of less than 6 bytes are left alone: `EMPTY` and the like are found everywhere and protect nothing. */
void secret_redact(const char *text, size_t size, struct buf *out);

/* Whether nothing would be replaced: the cheap common case. */
bool secret_none_loaded(void);

/* Bytes of the longest spelling that is replaced; 0 if nothing is. At most three times what a secret may have. */
size_t secret_longest(void);

/* Bytes at the end of `text` that may be the beginning of a secret. */
size_t secret_open_end(const char *text, size_t size);

/* Whether a manifest value looks like a secret itself (`hf_` and 30 more, `ms-`, `sk-`, PEM, JWT). */
bool secret_looks_like_one(const char *text);

/* A URL without user info and query, for people and records. */
const char *secret_url_shown(struct arena *arena, const char *url);
