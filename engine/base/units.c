#include "units.h"

#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Digits at `*at`, which moves behind them. False if there are none, or too many. */
static bool
read_digits(const char **at, int64_t *value)
{
	const char *from = *at;
	int64_t number = 0;

	for (; is_digit(**at); (*at)++)
		if (__builtin_mul_overflow(number, (int64_t)10, &number) ||
			__builtin_add_overflow(number, (int64_t)(**at - '0'), &number))
			return false;
	*value = number;
	return *at > from;
}

bool
units_size(const char *text, int64_t *bytes)
{
	static const struct {
		const char *name;
		int64_t factor;
	} units[] = {
		{ "", 1 },
		{ "B", 1 },
		{ "kB", 1000 },
		{ "MB", INT64_C(1000) * 1000 },
		{ "GB", INT64_C(1000) * 1000 * 1000 },
		{ "TB", INT64_C(1000) * 1000 * 1000 * 1000 },
		{ "KiB", INT64_C(1) << 10 },
		{ "MiB", INT64_C(1) << 20 },
		{ "GiB", INT64_C(1) << 30 },
		{ "TiB", INT64_C(1) << 40 },
	};
	const char *point = NULL;
	const char *digits_end;
	int64_t whole;

	if (!read_digits(&text, &whole))
		return false;
	digits_end = text;
	if (*text == '.' && is_digit(text[1])) {
		point = text;
		digits_end = text + 1 + strspn(text + 1, "0123456789");
		text = digits_end;
	}
	if (*text == ' ' && text[1])
		text++;
	for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
		int64_t part = 0;

		if (strcmp(text, units[i].name) != 0)
			continue;
		/* A fraction of nothing in particular is a mistake. */
		if (point && !*text)
			return false;
		/* From the last digit on: rounding down at each step rounds down the whole. */
		for (const char *at = digits_end - 1; point && at > point; at--)
			part = ((*at - '0') * units[i].factor + part) / 10;
		if (__builtin_mul_overflow(whole, units[i].factor, &whole) ||
			__builtin_add_overflow(whole, part, &whole))
			return false;
		*bytes = whole;
		return true;
	}
	return false;
}

bool
units_duration(const char *text, int64_t *milliseconds)
{
	static const struct {
		const char *name;
		size_t length;
		int64_t factor;
	} units[] = {
		/* `ms` before `m`: the first that fits counts. */
		{ "ms", 2, 1 },
		{ "s", 1, 1000 },
		{ "m", 1, INT64_C(60) * 1000 },
		{ "h", 1, INT64_C(60) * 60 * 1000 },
	};
	int64_t total = 0;

	do {
		size_t i = 0;
		int64_t part;

		if (!read_digits(&text, &part))
			return false;
		while (i < sizeof units / sizeof *units && strncmp(text, units[i].name, units[i].length) != 0)
			i++;
		if (i == sizeof units / sizeof *units)
			return false;
		text += units[i].length;
		if (__builtin_mul_overflow(part, units[i].factor, &part) || __builtin_add_overflow(total, part, &total))
			return false;
	} while (*text);
	*milliseconds = total;
	return true;
}

bool
units_int(const char *text, int64_t *value)
{
	bool negative = *text == '-';
	int64_t number = 0;

	if (*text == '-' || *text == '+')
		text++;
	if (!is_digit(*text))
		return false;
	/* Counted downwards, since there is one more number below zero than above. */
	for (; is_digit(*text); text++)
		if (__builtin_mul_overflow(number, (int64_t)10, &number) ||
			__builtin_sub_overflow(number, (int64_t)(*text - '0'), &number))
			return false;
	if (*text || (!negative && __builtin_sub_overflow((int64_t)0, number, &number)))
		return false;
	*value = number;
	return true;
}

static bool
is_float(const char *text)
{
	size_t digits;

	if (*text == '-' || *text == '+')
		text++;
	digits = strspn(text, "0123456789");
	text += digits;
	if (*text == '.') {
		size_t behind = strspn(text + 1, "0123456789");

		digits += behind;
		text += 1 + behind;
	}
	if (digits > 0 && (*text == 'e' || *text == 'E')) {
		text++;
		if (*text == '-' || *text == '+')
			text++;
		digits = strspn(text, "0123456789");
		text += digits;
	}
	return digits > 0 && !*text;
}

bool
units_float(const char *text, double *value)
{
	/* The decimal sign is a point in every locale. */
	locale_t plain;
	double number;

	if (!is_float(text))
		return false;
	plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
	if (!plain)
		out_of_memory();
	number = strtod_l(text, NULL, plain);
	freelocale(plain);
	if (!isfinite(number))
		return false;
	*value = number;
	return true;
}

/* `number` / `unit` with three significant digits. Zeros at the end stand only where they were rounded to: 24 GiB is exact, 30.0 GB is not. */
static const char *
show(struct arena *arena, uint64_t number, uint64_t unit, const char *name)
{
	uint64_t whole = number / unit;
	uint64_t rest = number % unit;
	uint64_t scale = whole < 10 ? 100 : whole < 100 ? 10 : 1;
	uint64_t part = (rest * scale + unit / 2) / unit;
	bool exact = rest * scale % unit == 0;
	int places = scale == 100 ? 2 : scale == 10 ? 1 : 0;

	if (part == scale) {
		whole++;
		part = 0;
		/* 9.999 is 10.0, and 99.99 is 100. */
		if (places > 0 && (whole == 10 || whole == 100))
			places--;
	}
	while (exact && places > 0 && part % 10 == 0) {
		part /= 10;
		places--;
	}
	if (places == 0)
		return arena_printf(arena, "%llu %s", (unsigned long long)whole, name);
	return arena_printf(arena, "%llu.%0*llu %s", (unsigned long long)whole, places, (unsigned long long)part, name);
}

static const char *
show_in(struct arena *arena, uint64_t bytes, uint64_t step, const char *const names[5])
{
	uint64_t unit = 1;
	size_t i = 0;

	/* Rounded first: 999.6 kB is 1 MB, not 1000 kB. */
	while (i < 4 && bytes / unit + (bytes % unit >= unit - unit / 2) >= step) {
		unit *= step;
		i++;
	}
	return show(arena, bytes, unit, names[i]);
}

const char *
units_show_size(struct arena *arena, uint64_t bytes)
{
	static const char *const names[] = { "B", "kB", "MB", "GB", "TB" };

	return show_in(arena, bytes, 1000, names);
}

const char *
units_show_memory(struct arena *arena, uint64_t bytes)
{
	static const char *const names[] = { "B", "KiB", "MiB", "GiB", "TiB" };

	return show_in(arena, bytes, 1024, names);
}

const char *
units_show_duration(struct arena *arena, int64_t milliseconds)
{
	int64_t tenths, seconds, minutes;

	/* A clock that was set back is no reason to confuse people. */
	if (milliseconds < 50)
		return "0 s";
	tenths = milliseconds / 100 + (milliseconds % 100 >= 50);
	if (tenths < 100)
		return arena_printf(arena, "%d.%d s", (int)(tenths / 10), (int)(tenths % 10));
	seconds = milliseconds / 1000 + (milliseconds % 1000 >= 500);
	if (seconds < 60)
		return arena_printf(arena, "%d s", (int)seconds);
	if (seconds < 3600)
		return arena_printf(arena, "%d m %02d s", (int)(seconds / 60), (int)(seconds % 60));
	minutes = seconds / 60 + (seconds % 60 >= 30);
	return arena_printf(arena, "%lld h %02d m", (long long)(minutes / 60), (int)(minutes % 60));
}
