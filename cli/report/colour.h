/* colour.h - whether a stream gets colours, and which: the 8 basic ones and bold, so that the user's palette rules.
 *
 * Never colour alone: each doubles a symbol or a word. */
#pragma once

#include <stdbool.h>

enum choice { CHOICE_AUTO, CHOICE_ALWAYS, CHOICE_NEVER };

enum style {
	STYLE_PLAIN,
	STYLE_ERROR,
	STYLE_WARNING,
	STYLE_HINT,
	STYLE_NEW,
	STYLE_CHANGE,
	STYLE_REMOVE,
	STYLE_DIM,
	STYLE_BOLD,
};

/* First match wins: the option, PROVISION_COLOR, NO_COLOR, CLICOLOR_FORCE or FORCE_COLOR, TERM, the terminal. `lookup`
 * reads the environment. */
bool colour_wanted(enum choice option, const char *(*lookup)(const char *name), bool terminal);

/* "\033[31m" ...; "" for STYLE_PLAIN. */
const char *colour_begin(enum style style);
#define COLOUR_END "\033[0m"
