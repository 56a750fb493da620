#include "digest.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "arena.h"
#include "cleanup.h"
#include "file.h"

#define READ_SIZE ((size_t)1 << 20)
#define SHA1_SIZE 20

/* Fetching costs two milliseconds, so it happens once and only where something is hashed. They live as long as the process. */
static EVP_MD *sha256_algorithm;
static EVP_MD *sha1_algorithm;
static EVP_MAC *gmac_algorithm;

static void
fetch_sha256(void)
{
	sha256_algorithm = EVP_MD_fetch(NULL, "SHA256", NULL);
}

static void
fetch_gmac(void)
{
	gmac_algorithm = EVP_MAC_fetch(NULL, "GMAC", NULL);
}

static void
fetch_sha1(void)
{
	sha1_algorithm = EVP_MD_fetch(NULL, "SHA1", NULL);
}

/* Libcrypto has no other reason to fail here than missing memory or a broken installation. */
static void
check(int done)
{
	static const char message[] = "provision: libcrypto cannot compute digests: out of memory, or an installation that is broken\n";

	if (done == 1)
		return;
	fputs(message, stderr);
	_Exit(70);
}

static const EVP_MD *
algorithm(enum checksum_kind kind)
{
	static pthread_once_t sha256_once = PTHREAD_ONCE_INIT;
	static pthread_once_t sha1_once = PTHREAD_ONCE_INIT;
	const EVP_MD *found;

	if (kind == CHECKSUM_GIT) {
		pthread_once(&sha1_once, fetch_sha1);
		found = sha1_algorithm;
	} else {
		pthread_once(&sha256_once, fetch_sha256);
		found = sha256_algorithm;
	}
	check(found != NULL);
	return found;
}

static size_t
checksum_size(enum checksum_kind kind)
{
	switch (kind) {
	case CHECKSUM_SHA256:
		return DIGEST_SIZE;
	case CHECKSUM_GIT:
		return SHA1_SIZE;
	case CHECKSUM_NONE:
		break;
	}
	return 0;
}

static void
start(struct hasher *hasher, enum checksum_kind kind)
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();

	if (!context)
		out_of_memory();
	check(EVP_DigestInit_ex2(context, algorithm(kind), NULL));
	hasher->context = context;
	hasher->kind = kind;
}

void
hasher_init(struct hasher *hasher)
{
	start(hasher, CHECKSUM_SHA256);
}

void
hasher_init_git(struct hasher *hasher, uint64_t size)
{
	char header[32];
	int length = snprintf(header, sizeof header, "blob %llu", (unsigned long long)size);

	start(hasher, CHECKSUM_GIT);
	hasher_add(hasher, header, (size_t)length + 1);
}

void
hasher_copy(struct hasher *to, const struct hasher *from)
{
	start(to, from->kind);
	check(EVP_MD_CTX_copy_ex(to->context, from->context));
}

void
hasher_finish(struct hasher *hasher)
{
	EVP_MD_CTX_free(hasher->context);
	*hasher = (struct hasher){ 0 };
}

void
hasher_add(struct hasher *hasher, const void *bytes, size_t size)
{
	if (size > 0)
		check(EVP_DigestUpdate(hasher->context, bytes, size));
}

void
hasher_add_field(struct hasher *hasher, const void *bytes, size_t size)
{
	unsigned char field[256];

	for (size_t i = 0; i < 8; i++)
		field[i] = (unsigned char)((uint64_t)size >> (8 * i));
	/* One call for the many short fields of a fingerprint. */
	if (size > 0 && size <= sizeof field - 8) {
		memcpy(field + 8, bytes, size);
		hasher_add(hasher, field, 8 + size);
	} else {
		hasher_add(hasher, field, 8);
		hasher_add(hasher, bytes, size);
	}
}

static void
take_result(struct hasher *hasher, unsigned char bytes[DIGEST_SIZE])
{
	unsigned char result[EVP_MAX_MD_SIZE];

	check(EVP_DigestFinal_ex(hasher->context, result, NULL));
	memset(bytes, 0, DIGEST_SIZE);
	memcpy(bytes, result, checksum_size(hasher->kind));
	/* A git blob begins with its size, which nobody knows yet: its hasher is over. */
	if (hasher->kind == CHECKSUM_GIT)
		hasher_finish(hasher);
	else
		check(EVP_DigestInit_ex2(hasher->context, NULL, NULL));
}

void
hasher_digest(struct hasher *hasher, struct digest *digest)
{
	take_result(hasher, digest->bytes);
}

void
hasher_checksum(struct hasher *hasher, struct checksum *checksum)
{
	checksum->kind = hasher->kind;
	take_result(hasher, checksum->bytes);
}

void
digest_of(const void *bytes, size_t size, struct digest *digest)
{
	struct hasher hasher finally(hasher_finish) = { 0 };

	hasher_init(&hasher);
	hasher_add(&hasher, bytes, size);
	check(EVP_DigestFinal_ex(hasher.context, digest->bytes, NULL));
}

bool
digest_fd(int fd, struct digest *digest, uint64_t *size, const atomic_bool *cancel, struct error *err)
{
	struct hasher hasher finally(hasher_finish) = { 0 };
	char *block finally(free_text) = xmalloc(READ_SIZE);
	uint64_t total = 0;
	size_t got;

	/* Only advice: whether the kernel takes it changes no answer. */
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	hasher_init(&hasher);
	do {
		if (cancel && *cancel)
			return fail(err, FAULT_INTERRUPTED, "interrupted");
		if (!file_read_all(fd, block, READ_SIZE, &got, err))
			return false;
		hasher_add(&hasher, block, got);
		total += got;
	} while (got == READ_SIZE);
	hasher_digest(&hasher, digest);
	if (size)
		*size = total;
	return true;
}

bool
digest_equal(const struct digest *a, const struct digest *b)
{
	return memcmp(a->bytes, b->bytes, DIGEST_SIZE) == 0;
}

bool
digest_is_zero(const struct digest *digest)
{
	static const struct digest zero;

	return digest_equal(digest, &zero);
}

static void
write_hex(const unsigned char *bytes, size_t size, char *text)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < size; i++) {
		text[2 * i] = digits[bytes[i] >> 4];
		text[2 * i + 1] = digits[bytes[i] & 15];
	}
	text[2 * size] = '\0';
}

static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static bool
read_hex(const char *hex, unsigned char *bytes, size_t size)
{
	if (strlen(hex) != 2 * size)
		return false;
	for (size_t i = 0; i < size; i++) {
		int high = hex_value(hex[2 * i]);
		int low = hex_value(hex[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		bytes[i] = (unsigned char)(high << 4 | low);
	}
	return true;
}

void
digest_hex(const struct digest *digest, char text[DIGEST_HEX])
{
	write_hex(digest->bytes, DIGEST_SIZE, text);
}

const char *
digest_text(struct arena *arena, const struct digest *digest)
{
	char hex[DIGEST_HEX];

	digest_hex(digest, hex);
	return arena_copy_bytes(arena, hex, DIGEST_HEX - 1);
}

bool
digest_parse(const char *hex, struct digest *digest)
{
	struct digest parsed;

	if (!read_hex(hex, parsed.bytes, DIGEST_SIZE))
		return false;
	*digest = parsed;
	return true;
}

bool
checksum_equal(const struct checksum *a, const struct checksum *b)
{
	size_t size = checksum_size(a->kind);

	return size > 0 && a->kind == b->kind && memcmp(a->bytes, b->bytes, size) == 0;
}

bool
checksum_parse(enum checksum_kind kind, const char *hex, struct checksum *checksum)
{
	struct checksum parsed = { .kind = kind };
	size_t size = checksum_size(kind);

	if (size == 0 || !read_hex(hex, parsed.bytes, size))
		return false;
	*checksum = parsed;
	return true;
}

const char *
checksum_text(struct arena *arena, const struct checksum *checksum)
{
	char hex[DIGEST_HEX];

	if (checksum->kind == CHECKSUM_NONE)
		return "none";
	write_hex(checksum->bytes, checksum_size(checksum->kind), hex);
	return arena_printf(arena, "%s:%s", checksum->kind == CHECKSUM_GIT ? "git" : "sha256", hex);
}

void
random_bytes(void *bytes, size_t count)
{
	unsigned char *at = bytes;

	while (count > 0) {
		ssize_t got = getrandom(at, count, 0);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			fputs("provision: the system gives no random bytes\n", stderr);
			_Exit(70);
		}
		at += got;
		count -= (size_t)got;
	}
}

void
tagger_init(struct tagger *tagger)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	static const unsigned char key[16], iv[12];
	char cipher[] = "AES-128-GCM";
	unsigned char start_iv[sizeof iv];
	OSSL_PARAM params[3];

	memcpy(start_iv, iv, sizeof iv);
	params[0] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_CIPHER, cipher, 0);
	params[1] = OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_IV, start_iv, sizeof start_iv);
	params[2] = OSSL_PARAM_construct_end();
	pthread_once(&once, fetch_gmac);
	check(gmac_algorithm != NULL);
	tagger->context = EVP_MAC_CTX_new(gmac_algorithm);
	if (!tagger->context)
		out_of_memory();
	check(EVP_MAC_init(tagger->context, key, sizeof key, params));
}

void
tagger_finish(struct tagger *tagger)
{
	EVP_MAC_CTX_free(tagger->context);
	tagger->context = NULL;
}

void
tagger_add(struct tagger *tagger, const void *bytes, size_t size)
{
	check(EVP_MAC_update(tagger->context, bytes, size));
}

void
tagger_tag(const struct tagger *tagger, unsigned char tag[TAG_SIZE])
{
	EVP_MAC_CTX *copy = EVP_MAC_CTX_dup(tagger->context);
	size_t size;

	if (!copy)
		out_of_memory();
	check(EVP_MAC_final(copy, tag, &size, TAG_SIZE));
	EVP_MAC_CTX_free(copy);
}
