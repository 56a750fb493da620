/* digest.h - SHA-256 and git blob ids: the only OpenSSL. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

#define DIGEST_SIZE 32
#define DIGEST_HEX 65 /* with the NUL */

struct arena;

struct digest {
	unsigned char bytes[DIGEST_SIZE];
};

/* What a hub says of a file: SHA-256, or a git blob id (SHA-1 over "blob SIZE\0" and the content). */
enum checksum_kind { CHECKSUM_NONE, CHECKSUM_SHA256, CHECKSUM_GIT };

struct checksum {
	enum checksum_kind kind;
	unsigned char bytes[DIGEST_SIZE]; /* 20 are used by a git blob id */
};

/* A running hash; one thread at a time. */
struct hasher {
	void *context; /* EVP_MD_CTX */
	enum checksum_kind kind;
};

void hasher_init(struct hasher *hasher);                         /* SHA-256 */
void hasher_init_git(struct hasher *hasher, uint64_t size);      /* git blob id of content of that size */
void hasher_copy(struct hasher *to, const struct hasher *from);  /* `to` is zeroed; both go on by themselves */
void hasher_finish(struct hasher *hasher);
void hasher_add(struct hasher *hasher, const void *bytes, size_t size);
void hasher_add_field(struct hasher *hasher, const void *bytes, size_t size); /* length in 8 bytes, little-endian, then the bytes */

/* The result; the hasher starts anew (a git one must be initialised again). */
void hasher_digest(struct hasher *hasher, struct digest *digest);
void hasher_checksum(struct hasher *hasher, struct checksum *checksum);

void digest_of(const void *bytes, size_t size, struct digest *digest);

/* Hash the rest of an open file, in reads of 1 MiB. `*cancel` (may be NULL) is looked at between them: then E0910. */
bool digest_fd(int fd, struct digest *digest, uint64_t *size, const atomic_bool *cancel, struct error *err);

bool digest_equal(const struct digest *a, const struct digest *b);
bool digest_is_zero(const struct digest *digest);
void digest_hex(const struct digest *digest, char text[DIGEST_HEX]);
const char *digest_text(struct arena *arena, const struct digest *digest);
bool digest_parse(const char *hex, struct digest *digest); /* 64 hex digits, any case, nothing behind */

bool checksum_equal(const struct checksum *a, const struct checksum *b); /* never for CHECKSUM_NONE: it vouches for nothing */
bool checksum_parse(enum checksum_kind kind, const char *hex, struct checksum *checksum);
const char *checksum_text(struct arena *arena, const struct checksum *checksum); /* "sha256:..." or "git:..." */

/* A tag tells bytes that were damaged from those that were written, several times as fast as SHA-256: GMAC (NIST SP 800-38D, AES-128) under a fixed key. It finds accidents and
 * says where they are; whether the whole is right is for a digest to say. */
#define TAG_SIZE 16

struct tagger {
	void *context; /* EVP_MAC_CTX */
};

void tagger_init(struct tagger *tagger);
void tagger_finish(struct tagger *tagger);
void tagger_add(struct tagger *tagger, const void *bytes, size_t size);
void tagger_tag(const struct tagger *tagger, unsigned char tag[TAG_SIZE]); /* of the bytes so far; the tagger goes on */

/* `count` random bytes from the system. */
void random_bytes(void *bytes, size_t count);
