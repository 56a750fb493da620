/* audit.h - records against the world, as findings. Changes nothing. */
#pragma once

#include "base/bulk.h"
#include "inspect.h"

/* How closely to look at files. */
enum audit_level {
	AUDIT_QUICK,  /* stat data alone: nothing is read */
	AUDIT_NORMAL, /* what stat data cannot vouch for is read */
	AUDIT_DEEP,   /* every byte */
};

struct audit_row {
	const struct record *record;
	bool ok;
	struct findings findings; /* E0911 for each thing that differs */
};

struct audit {
	struct audit_row *rows;
	size_t count;
	size_t differing;
	size_t files;             /* that were read */
	uint64_t bytes;
	int signal;               /* that ended it: E0910; 0: none */
};

struct audit_wishes {
	const char *deployment;
	const struct strings *names;      /* of targets; empty: all */
	const struct rule *const *rules;  /* ends with NULL */
	enum audit_level level;
	void (*progress)(void *self, const struct bulk *bulk); /* every 50 ms while files are read; NULL: nobody watches */
	void *self;
};

/* Verify records of a deployment, each by its rule; files side by side, one per core. */
bool audit_verify(struct audit *audit, const struct audit_wishes *wishes, const struct memory *memory, const struct project *project, struct known *known,
	struct arena *arena, struct error *err);
