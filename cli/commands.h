/* commands.h - the table of commands: names, operands, help and the function of each. */
#pragma once

#include <stddef.h>

struct session;

enum command_id {
	COMMAND_PLAN,
	COMMAND_APPLY,
	COMMAND_ADOPT,
	COMMAND_STATUS,
	COMMAND_WHY,
	COMMAND_AUDIT,
	COMMAND_CHECK,
	COMMAND_GRAPH,
	COMMAND_LOGS,
	COMMAND_DESTROY,
	COMMAND_SHAPES,
	COMMAND_DIAGNOSE,
	COMMAND_RULES,
	COMMAND_EXPLAIN,
	COMMAND_HELP,
	COMMAND_VERSION,
};

#define COMMAND_BIT(id) (1u << (id))

struct command {
	const char *name;
	enum command_id id;
	const char *operands;      /* as usage shows them */
	const char *about;         /* one line of purpose */
	const char *examples[4];   /* what to type; NULL ends */
	const char *text;          /* more, or NULL */
	size_t least, most;        /* operands */
	int (*run)(struct session *session); /* the exit status */
};

extern const struct command command_table[]; /* ends with a row without a name */

/* NULL if there is none. */
const struct command *command_find(const char *name);

/* What was probably meant, or NULL. */
const char *command_suggest(const char *name);

int command_plan(struct session *session);
int command_apply(struct session *session);
int command_adopt(struct session *session);
int command_status(struct session *session);
int command_why(struct session *session);
int command_audit(struct session *session);
int command_check(struct session *session);
int command_graph(struct session *session);
int command_logs(struct session *session);
int command_destroy(struct session *session);
int command_shapes(struct session *session);
int command_diagnose(struct session *session);
int command_rules(struct session *session);
int command_explain(struct session *session);
int command_help(struct session *session);
int command_version(struct session *session);
