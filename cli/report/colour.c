#include "colour.h"

#include <stddef.h>
#include <string.h>

static bool
is_set(const char *value)
{
	return value && *value;
}

static bool
is_forced(const char *value)
{
	return is_set(value) && strcmp(value, "0") != 0;
}

bool
colour_wanted(enum choice option, const char *(*lookup)(const char *name), bool terminal)
{
	const char *ours = lookup("PROVISION_COLOR");
	const char *term = lookup("TERM");

	if (option != CHOICE_AUTO)
		return option == CHOICE_ALWAYS;
	if (ours && strcmp(ours, "always") == 0)
		return true;
	if (ours && strcmp(ours, "never") == 0)
		return false;
	if (is_set(lookup("NO_COLOR")))
		return false;
	if (is_forced(lookup("CLICOLOR_FORCE")) || is_forced(lookup("FORCE_COLOR")))
		return true;
	if (!is_set(term) || strcmp(term, "dumb") == 0)
		return false;
	return terminal;
}

const char *
colour_begin(enum style style)
{
	static const char *const sequences[] = {
		[STYLE_PLAIN] = "",
		[STYLE_ERROR] = "\033[1;31m",
		[STYLE_WARNING] = "\033[1;33m",
		[STYLE_HINT] = "\033[36m",
		[STYLE_NEW] = "\033[32m",
		[STYLE_CHANGE] = "\033[33m",
		[STYLE_REMOVE] = "\033[31m",
		[STYLE_DIM] = "\033[2m",
		[STYLE_BOLD] = "\033[1m",
	};

	return sequences[style];
}
