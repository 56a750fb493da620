/* Small languages: sizes, durations, versions, addresses, Dockerfiles and depfiles.
 *
 * Input: two texts, separated by 0x1e. */
#include <string.h>

#include "engine/base/secret.h"
#include "engine/base/strings.h"
#include "engine/base/units.h"
#include "engine/base/version.h"
#include "fuzz.h"
#include "rules/client/url.h"
#include "rules/depfile.h"
#include "rules/dockerfile.h"

#define LARGEST 2048

static void
check_numbers(const char *text, struct arena *arena)
{
	int64_t number, again;
	double real;

	if (units_size(text, &number)) {
		promise(number >= 0);
		promise(units_size(arena_printf(arena, "%lld", (long long)number), &again) && again == number);
		promise(*units_show_size(arena, (uint64_t)number) && *units_show_memory(arena, (uint64_t)number));
	}
	if (units_duration(text, &number)) {
		promise(number >= 0);
		promise(units_duration(arena_printf(arena, "%lldms", (long long)number), &again) && again == number);
		promise(*units_show_duration(arena, number));
	}
	if (units_int(text, &number))
		promise(units_int(arena_printf(arena, "%lld", (long long)number), &again) && again == number);
	units_float(text, &real);
}

static int
sign(int number)
{
	return (number > 0) - (number < 0);
}

static void
check_versions(const char *a, const char *b, struct arena *arena)
{
	promise(version_compare(a, a) == 0);
	promise(sign(version_compare(a, b)) == -sign(version_compare(b, a)));
	if (!version_condition_valid(b)) {
		promise(!version_meets(a, b));
		return;
	}
	if (version_condition_valid(a) && !strpbrk(a, "<>=, ") && !strpbrk(b, "<>=, ")) {
		promise(version_meets(a, b) == (version_compare(a, b) >= 0));
		promise(version_meets(a, arena_join(arena, "<", b)) == (version_compare(a, b) < 0));
	}
}

static void
check_url(const char *text, struct arena *arena)
{
	const char *shown = secret_url_shown(arena, text), *why = NULL;
	struct url url;

	promise(!strpbrk(shown, "?#"));
	if (!url_split(text, &url, &why)) {
		promise(why && *why);
		return;
	}
	promise(url.scheme == text && url.scheme_size > 0 && url.path >= text && url.path <= text + strlen(text));
	promise(!*url.path || strchr("/?#", *url.path));
	promise(url_same_origin(&url, &url) || !url.port);
	promise(url.port <= 65535);
	/* What is shown has no user, whoever reads it. */
	promise(!url.host || url.host + url.host_size <= url.path);
	promise(!memchr(shown, '@', strcspn(shown + url.scheme_size + 3 <= shown + strlen(shown) ? shown + url.scheme_size + 3 : "", "/") + url.scheme_size));
	url_reach(text);
}

static bool
is_within(const char *piece, const char *text)
{
	return strlen(piece) <= strlen(text);
}

static void
check_files(const char *text, size_t size, const char *value, struct arena *arena)
{
	struct pair pair = { .key = "A", .value = value };
	const struct pairs args = { .items = &pair, .count = 1 };
	struct dockerfile file = { 0 };
	struct strings paths = { 0 };
	struct error err = { 0 };

	if (dockerfile_read(text, size, &args, NULL, arena, &file, &err)) {
		for (size_t i = 0; i < file.bases.count; i++) {
			promise(*file.bases.items[i] && strcmp(file.bases.items[i], "scratch") != 0);
			for (size_t j = 0; j < i; j++)
				promise(strcmp(file.bases.items[i], file.bases.items[j]) != 0);
		}
	} else {
		promise(err.fault != FAULT_NONE && *err.text);
	}
	if (depfile_parse(text, size, arena, &paths, &err))
		for (size_t i = 0; i < paths.count; i++)
			promise(*paths.items[i] && is_within(paths.items[i], text));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena arena finally(arena_finish) = { 0 };
	struct feed feed = { data, size };
	const char *first, *second;
	size_t length;

	if (size > LARGEST)
		return 0;
	first = feed_text(&feed, &arena, &length);
	second = feed_text(&feed, &arena, NULL);
	check_numbers(first, &arena);
	check_versions(first, second, &arena);
	check_url(first, &arena);
	check_files(first, length, second, &arena);
	secret_looks_like_one(first);
	promise(text_shell(&arena, first));
	return 0;
}
