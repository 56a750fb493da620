/* Secrets in text, in the spellings that they are met in, cut anywhere: none of them gets through.
 *
 * Input: eight bytes that say how the text is cut, then pieces of it: a byte below 128 is a length of text that follows, one above stands for a secret in
 * some spelling. */
#include "engine/base/secret.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "engine/base/buf.h"
#include "engine/log.h"
#include "fuzz.h"

#define CUTS 8
#define LIMIT ((size_t)1 << 20)
#define TEXT 120000 /* more than a line of the log may have */
#define LONG_SECRET 5000

enum spelling { PLAIN, BASE64, BASE64_BEHIND_1, BASE64_BEHIND_2, BASE64_URL, URL_UPPER, URL_LOWER, JSON, SPELLINGS };

static char long_secret[LONG_SECRET + 1];

/* Quotes, slashes and a backslash; letters alone; one of several lines; one longer than a line of a terminal by far. */
static const char *const secrets[] = { "tok-Zq3/4+b\"8\\x=&end", "hunter2hunter2", "-----BEGIN KEY-----\nMIIBVwIBADANBgkqhkiG9w0\nq83vEjRWeJCrze8SNFZ4\n-----END KEY-----",
	long_secret };

#define SECRETS (sizeof secrets / sizeof *secrets)

static void
load_secrets(void)
{
	static bool loaded;

	if (loaded)
		return;
	for (size_t i = 0; i < LONG_SECRET; i++)
		long_secret[i] = "abcdefghijklmnopqrstuvwxyz0123456789"[(i * i + i / 7) % 36];
	for (size_t i = 0; i < SECRETS; i++) {
		char name[] = "FUZZ_0";
		struct secret secret;
		struct error err = { 0 };

		name[5] = (char)('0' + i);
		promise(setenv(name, secrets[i], 1) == 0);
		promise(secret_load(&(struct secret_ref){ .env = name }, false, &secret, &err));
	}
	/* The leak checker attaches to its own process. */
	prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
	loaded = true;
}

/* The letters that `size` bytes behind `shift` others become, but for those that depend on their neighbours. */
static void
add_base64(struct buf *out, const char *value, size_t size, size_t shift, bool url)
{
	const char *letters = url ? "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
				  : "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	unsigned bits = 0, have = 0;

	for (size_t i = 0; i < shift + size; i++) {
		bits = (bits << 8 | (i < shift ? 0 : (unsigned char)value[i - shift])) & 0xffffff;
		for (have += 8; have >= 6; have -= 6)
			/* A letter is the value's own when no bit of it comes from before. */
			if (i >= shift + (have > 8) || (i == shift && shift == 0))
				buf_char(out, letters[bits >> (have - 6) & 63]);
	}
}

static void
add_url(struct buf *out, const char *value, const char *format)
{
	for (; *value; value++)
		if (strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~", *value))
			buf_char(out, *value);
		else
			buf_printf(out, format[1] == 'X' ? "%%%02X" : "%%%02x", (unsigned)(unsigned char)*value);
}

static void
add_json(struct buf *out, const char *value)
{
	for (; *value; value++)
		if (*value == '\n')
			buf_text(out, "\\n");
		else
			buf_printf(out, *value == '"' || *value == '\\' ? "\\%c" : "%c", *value);
}

static void
spell(struct buf *out, const char *value, enum spelling spelling)
{
	switch (spelling) {
	case PLAIN:
		buf_text(out, value);
		break;
	case BASE64:
	case BASE64_BEHIND_1:
	case BASE64_BEHIND_2:
		add_base64(out, value, strlen(value), (size_t)(spelling - BASE64), false);
		break;
	case BASE64_URL:
		add_base64(out, value, strlen(value), 0, true);
		break;
	case URL_UPPER:
	case URL_LOWER:
		add_url(out, value, spelling == URL_UPPER ? "%X" : "%x");
		break;
	case JSON:
	case SPELLINGS:
		add_json(out, value);
		break;
	}
}

/* Spelled once for all inputs. */
static const struct buf *
spelled(size_t secret, int spelling)
{
	static struct buf all[SECRETS][SPELLINGS];
	struct buf *buf = &all[secret][spelling];

	if (!buf->data) {
		buf_init(buf, LIMIT);
		spell(buf, secrets[secret], (enum spelling)spelling);
	}
	return buf;
}

static void
check_clean(const char *text)
{
	for (size_t i = 0; i < SECRETS; i++)
		for (int spelling = PLAIN; spelling < SPELLINGS; spelling++)
			promise(!strstr(text, spelled(i, spelling)->data));
	/* Whatever else stands there, a line of the key, or a good part of the long one, must not. */
	promise(!strstr(text, "MIIBVwIBADANBgkqhkiG9w0") && !strstr(text, "q83vEjRWeJCrze8SNFZ4"));
}

static void
make_text(struct feed *feed, struct buf *text)
{
	while (feed->left > 0) {
		uint8_t what = feed_byte(feed);

		if (what >= 128) {
			const struct buf *piece = spelled(what % SECRETS, what / SECRETS % SPELLINGS);

			/* Whole or not at all. */
			if (text->size + piece->size <= TEXT)
				buf_add(text, piece->data, piece->size);
			continue;
		}
		/* A NUL would hide from strstr what stands behind it. */
		for (size_t length = what; length > 0 && feed->left > 0; length--) {
			char c = (char)feed_byte(feed);

			buf_char(text, c ? c : ' ');
		}
	}
}

static bool
has_piece_of_long(const char *text)
{
	static const size_t piece = 200;

	for (size_t at = 0; at + piece < LONG_SECRET; at += piece) {
		char part[201];

		memcpy(part, long_secret + at, piece);
		part[piece] = '\0';
		if (strstr(text, part))
			return true;
	}
	return false;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena arena finally(arena_finish) = { 0 };
	struct buf text finally(buf_finish) = { 0 };
	struct buf clean finally(buf_finish) = { 0 };
	struct log log finally(log_finish) = { 0 };
	struct feed feed = { data, size };
	uint8_t cuts[CUTS];
	const char *tail;

	if (size > 2048)
		return 0;
	load_secrets();
	for (size_t i = 0; i < CUTS; i++)
		cuts[i] = feed_byte(&feed);
	buf_init(&text, LIMIT);
	buf_init(&clean, 4 * LIMIT);
	make_text(&feed, &text);
	secret_redact(text.data, text.size, &clean);
	check_clean(clean.data);
	promise(!has_piece_of_long(clean.data));
	log_init(&log, "none");
	for (size_t at = 0, n = 0; at < text.size; n++) {
		size_t cut = cuts[n % CUTS] < 200 ? cuts[n % CUTS] + 1u : (cuts[n % CUTS] - 199u) * 2048, left = text.size - at;

		log_bytes(&log, text.data + at, cut < left ? cut : left);
		at += cut < left ? cut : left;
	}
	/* Escaped characters could stand within a spelling, so that the log may hold less of it than was written, and never more. */
	tail = log_tail(&log, &arena);
	check_clean(tail);
	promise(!has_piece_of_long(tail));
	return 0;
}
