/* rule.h - socket: what a rule is and what it owes.
 *
 * A rule is one file in rules/ that exports one `const struct rule`. The engine knows rules only through it; rules know nothing of each
 * other, of SQL, of YAML or of the terminal. Rules exchange nothing but named outputs. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "params.h"
#include "reason.h"
#include "record.h"

struct arena;
struct task;

enum state { STATE_FRESH, STATE_ABSENT, STATE_DRIFTED };

/* What inspect saw. Text lives in the task's arena. */
struct look {
	enum state state;
	enum reason reason;   /* of ABSENT and DRIFTED: output_missing, output_differs, container_gone, container_not_ours */
	const char *what;     /* what differs, in words: "model-00003-of-00004.safetensors: truncated" */
	bool judged;          /* of checks that give their verdict here: findings are in the task */
	const char *summary;  /* of a verdict: "4 GPUs, 24 GiB each, 212 GB free"; or NULL */
};

/* What an action will cost. -1: unknown. */
struct cost {
	int64_t download;     /* bytes */
	int64_t keep;         /* bytes that stay on disk */
	int64_t duration;     /* ms, as the rule guesses; history overrules it */
	int64_t downtime;     /* ms while something live is down */
	bool stops;           /* stops or replaces something that is running now */
	bool deletes;         /* deletes data */
	const char *lines[4]; /* details for the plan; NULL ends */
};

struct output {
	const char *name;
	const char *about;
	const char *param; /* it is simply this parameter: known before the target is built; or NULL */
};

/* Paths that a target reads or makes, so that a maker becomes a dependency. */
struct paths {
	struct strings reads;
	struct strings makes;
};

/* Something that one target alone can have. */
struct claim {
	const char *kind;   /* "port": claims of different kinds never meet */
	const char *name;   /* "8000" */
	const char *where;  /* "127.0.0.1": claims at different places never meet; NULL: everywhere */
	const char *param;  /* that says so */
	bool shared;        /* by targets of the same parameters */
};

struct claims {
	struct claim *items;
	size_t count;
	size_t capacity;
};

struct rule {
	const char *name;
	const char *about;
	uint32_t version;             /* raised whenever the same ingredients would be built into something different */
	bool check;                   /* the product is a verdict */
	bool keeps_time;              /* build sees to task_timeout itself: it has more to do than to stop */
	bool precious;                /* removed only when its target is named: weights, images */
	bool sheds;                   /* what a rebuild makes no more is removed by destroy, whose record then lists that alone */
	bool adopts;                  /* build heeds task_adopting: what is there can be taken over */
	bool files_alone;             /* ingredients and inspect look at nothing but the bytes of files, by task_digest, or say so: task_looked_elsewhere */
	const struct param *params;   /* ends with { 0 } */
	size_t size;                  /* of the filled struct */
	const struct output *outputs; /* ends with { 0 } */

	/* What the table cannot say: parameters that exclude or want each other. Pure. NULL: nothing. Missing values may be pending: `task_is_pending`. */
	void (*validate)(const void *spec, struct task *task, struct errors *errors);

	/* Which paths the target reads and makes, for links between targets. Pure. NULL: none. */
	void (*paths)(const void *spec, struct arena *arena, struct paths *paths);

	/* What the target has for itself, besides the paths that it makes. Pure; what is not known yet is left out. NULL: nothing. */
	void (*claims)(const void *spec, struct arena *arena, struct claims *claims);

	/* Add what the product depends on besides its parameters: task_ingredient. NULL: nothing. An input that another target still has to make is
	 * passed over by asking task_is_made_later(). */
	bool (*ingredients)(const void *spec, struct task *task, struct error *err);

	/* Compare task_record() with the world: milliseconds, changes nothing. Only called with a record, but for checks, which
	 * may give their verdict without one. */
	bool (*inspect)(const void *spec, struct task *task, struct look *look, struct error *err);

	/* What building would cost. NULL: nothing worth saying. May use the network unless task_offline(). */
	bool (*estimate)(const void *spec, struct task *task, struct cost *cost, struct error *err);

	/* Make it so. Resumable after a kill at any instant. On success outputs, artifacts and materials are filled in. A check adds findings and returns true; the engine
	 * judges. */
	bool (*build)(const void *spec, struct task *task, struct error *err);

	/* For a rule that replaces something live. Both make the world agree with task_record(): settle drops what was kept of the old (the
	 * record is the new one), revert brings the old back and removes the new (the record is the old one). Where the old is gone for good, and not just out
	 * of reach, revert changes nothing and says so: task_lost. */
	bool (*settle)(struct task *task, struct error *err);
	bool (*revert)(struct task *task, struct error *err);

	/* Remove what killed runs left of the target, as task_intents() names it; what is recorded stays. Knows no spec. Runs before anything is built. NULL: build,
	 * settle and destroy look after it. */
	bool (*sweep)(struct task *task, struct error *err);

	/* Remove what task_record() lists, and what carries our label but is in no record. Knows no spec: the manifest may have dropped the target. */
	bool (*destroy)(struct task *task, struct error *err);

	/* Compare every byte and setting with task_record() for `audit verify`; findings go to the task. `deep` reads contents. NULL: the engine
	 * does what inspect says, and hashes ARTIFACT_FILEs when deep. */
	bool (*verify)(struct task *task, bool deep, struct error *err);
};

void claims_add(struct claims *claims, struct arena *arena, const struct claim *claim);
