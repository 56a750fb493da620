/* audit.h - the parts of `provision audit`, and what they share: records as the cache holds them. */
#pragma once

#include "session.h"

/* One deployment's records, with all that was recorded of them. */
struct records {
	const char *deployment;
	struct record *items;
	size_t count;
};

/* Records of every deployment of the project, in order. A body that cannot be read is E0902. */
enum status audit_records(struct session *session, struct records **deployments, size_t *count);

/* The last attempt at a target, if it did not end well. */
struct attempt {
	const char *deployment;
	const struct history_entry *entry;
	const char *message; /* or NULL */
};

/* Of all targets, in the order of their first attempt; those that have a record all the same among them. */
enum status audit_attempts(struct session *session, struct attempt **attempts, size_t *count);

/* Who ran a run: "li@gpubox"; "-" where that is not known. The last answer is kept in `*memo`. */
struct run_memo {
	const char *run;
	const char *who;
	const char *manifest;
	const char *fallback_of;
};

const char *audit_who(struct session *session, const char *run, struct run_memo *memo);

/* What became of the last action on a target, which may have failed after its record was made. */
const char *audit_last_result(struct session *session, const char *deployment, const char *target);

enum status audit_table(struct session *session);
enum status audit_log(struct session *session);
enum status audit_show(struct session *session, const char *target);
enum status audit_check(struct session *session, const struct strings *names);
