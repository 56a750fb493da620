/* version.h - dotted versions against conditions: `550.54` against `>=550`. */
#pragma once

#include <stdbool.h>

/* <0, 0, >0; missing parts count as 0, anything behind the numbers is ignored (`29.0.1-ce` is 29.0.1). */
int version_compare(const char *a, const char *b);

/* Condition: `>=12.9`, `>`, `<=`, `<`, `=`, or a bare version, which means `>=`; several joined by commas. False if the condition cannot be read. */
bool version_condition_valid(const char *condition);
bool version_meets(const char *version, const char *condition);
