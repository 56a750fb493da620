/* stale.h - fingerprint, record and state in, one reason out. Asks nobody, changes nothing. */
#pragma once

#include <stdbool.h>

#include "record.h"
#include "rule.h"

struct evidence {
	const struct record *record;    /* NULL: never built */
	uint32_t rule_version;
	const struct digest *fingerprint; /* NULL: cannot be known before a dependency is built */
	bool need_will_change;          /* a target it needs is to be built */
	bool need_mended;               /* something live was started before a target that it needs was put right */
	bool asked_for;
	const struct look *look;        /* NULL: the world was not looked at */
};

enum reason stale(const struct evidence *evidence);

/* First-hand causes: what differs between the record's ingredients and today's, with old and new values. */
struct cause {
	enum reason reason;
	const char *what;    /* "docker/Dockerfile", "args", "weights" */
	const char *before;  /* value then, for eyes; or NULL */
	const char *after;
	uint32_t line;       /* of the first line that differs in a kept text; 0: not known */
	const char *path;    /* file that changed; or NULL */
};

struct causes {
	struct cause *items;
	size_t count;
	size_t capacity;
};

/* Both lists sorted by name. */
void stale_causes(const struct ingredients *before, const struct ingredients *after, struct arena *arena, struct causes *causes);
