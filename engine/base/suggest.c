#include "suggest.h"

#include <stdbool.h>
#include <string.h>

/* Names in a manifest have at most 63 characters; nobody is helped by a guess about something longer. */
#define LONGEST 80

static char
fold(char c)
{
	if (c >= 'A' && c <= 'Z')
		return (char)(c - 'A' + 'a');
	return c == '-' ? '_' : c;
}

static size_t
least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Optimal string alignment distance; SIZE_MAX where one of the words is too long. */
static size_t
distance(const char *a, const char *b)
{
	size_t a_length = strlen(a);
	size_t b_length = strlen(b);
	size_t rows[3][LONGEST + 1];

	if (a_length > LONGEST || b_length > LONGEST)
		return (size_t)-1;
	for (size_t j = 0; j <= b_length; j++)
		rows[0][j] = j;
	for (size_t i = 1; i <= a_length; i++) {
		const size_t *before = rows[(i + 1) % 3]; /* two rows up; not read while i is 1 */
		const size_t *above = rows[(i - 1) % 3];
		size_t *row = rows[i % 3];

		row[0] = i;
		for (size_t j = 1; j <= b_length; j++) {
			char x = fold(a[i - 1]);
			char y = fold(b[j - 1]);

			row[j] = least(least(above[j], row[j - 1]) + 1, above[j - 1] + (x != y));
			if (i > 1 && j > 1 && x == fold(b[j - 2]) && y == fold(a[i - 2]))
				row[j] = least(row[j], before[j - 2] + 1);
		}
	}
	return rows[a_length % 3][b_length];
}

const char *
suggest_better(const char *word, const char *best, const char *candidate)
{
	size_t limit = strlen(word) / 3;
	size_t far = distance(word, candidate);

	if (far > (limit > 1 ? limit : 1))
		return best;
	return !best || far < distance(word, best) ? candidate : best;
}

const char *
suggest(const char *word, const char *const *candidates)
{
	const char *best = NULL;

	for (; *candidates; candidates++)
		best = suggest_better(word, best, *candidates);
	return best;
}
