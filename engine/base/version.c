#include "version.h"

#include <stddef.h>
#include <string.h>

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* The next number as digits without leading zeros, so that it may be of any length. */
static const char *
next_part(const char **at, size_t *length)
{
	const char *digits;

	*at += strspn(*at, "0");
	digits = *at;
	*at += strspn(*at, "0123456789");
	*length = (size_t)(*at - digits);
	/* A dot counts only with a number behind it. */
	if (**at == '.' && is_digit((*at)[1]))
		(*at)++;
	else
		*at = "";
	return digits;
}

int
version_compare(const char *a, const char *b)
{
	/* `v0.12.0` is how tags are named. */
	if (*a == 'v' && is_digit(a[1]))
		a++;
	if (*b == 'v' && is_digit(b[1]))
		b++;
	while (*a || *b) {
		size_t a_length, b_length;
		const char *a_part = next_part(&a, &a_length);
		const char *b_part = next_part(&b, &b_length);
		int order = (a_length > b_length) - (a_length < b_length);

		if (order == 0)
			order = memcmp(a_part, b_part, a_length);
		if (order != 0)
			return order;
	}
	return 0;
}

enum relation { AT_LEAST, ABOVE, AT_MOST, BELOW, EQUAL };

/* One condition of the list; `*at` moves behind it and its comma. The version stays in place: comparing stops at its end. */
static bool
next_condition(const char **at, enum relation *relation, const char **version)
{
	/* The longer signs first. */
	static const struct {
		const char *sign;
		enum relation relation;
	} signs[] = { { ">=", AT_LEAST }, { "<=", AT_MOST }, { "==", EQUAL }, { ">", ABOVE }, { "<", BELOW },
		{ "=", EQUAL }, { "", AT_LEAST } };
	const char *text = *at + strspn(*at, " ");
	size_t i = 0;

	while (strncmp(text, signs[i].sign, strlen(signs[i].sign)) != 0)
		i++;
	text += strlen(signs[i].sign);
	text += strspn(text, " ");
	if (!is_digit(*text))
		return false;
	*relation = signs[i].relation;
	*version = text;
	while (is_digit(*text) || (*text == '.' && is_digit(text[1])))
		text++;
	text += strspn(text, " ");
	if (*text == ',' && text[1])
		text++;
	else if (*text)
		return false;
	*at = text;
	return true;
}

static bool
holds(enum relation relation, int order)
{
	switch (relation) {
	case AT_LEAST:
		return order >= 0;
	case ABOVE:
		return order > 0;
	case AT_MOST:
		return order <= 0;
	case BELOW:
		return order < 0;
	case EQUAL:
		break;
	}
	return order == 0;
}

bool
version_condition_valid(const char *condition)
{
	enum relation relation;
	const char *version;

	do
		if (!next_condition(&condition, &relation, &version))
			return false;
	while (*condition);
	return true;
}

bool
version_meets(const char *version, const char *condition)
{
	const char *wanted;
	enum relation relation;

	if (!version_condition_valid(condition))
		return false;
	while (*condition && next_condition(&condition, &relation, &wanted))
		if (!holds(relation, version_compare(version, wanted)))
			return false;
	return true;
}
