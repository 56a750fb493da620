#include "audit.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "task_internal.h"

struct check {
	struct known *known;
	struct arena *arena;
	struct audit_row *row;
	bool deep;
};

static struct finding *
mismatch(struct check *check, const char *name, const char *what)
{
	return findings_add(&check->row->findings, FAULT_MISMATCH, (struct place){ 0 }, "%s %s", name, what);
}

static void
compare_digest(struct check *check, const struct artifact *artifact, const struct digest *now)
{
	struct finding *finding = mismatch(check, artifact->name, "differs");

	finding_note(&check->row->findings, finding, "recorded sha256 %s, now %s", digest_text(check->arena, &artifact->digest),
		digest_text(check->arena, now));
}

/* Stat data says whether bytes must be read; `deep` reads them in any case. */
static void
check_file(struct check *check, const struct artifact *artifact)
{
	struct digest digest;
	struct stat_key key;
	struct error err = { 0 };
	struct stat st;

	if (lstat(artifact->name, &st) != 0) {
		mismatch(check, artifact->name, errno == ENOENT ? "is missing" : "cannot be looked at");
	} else if (!S_ISREG(st.st_mode)) {
		mismatch(check, artifact->name, "is no regular file any more");
	} else if ((uint64_t)st.st_size != artifact->size) {
		struct finding *finding = mismatch(check, artifact->name, "differs");

		finding_note(&check->row->findings, finding, "recorded %llu bytes, now %lld", (unsigned long long)artifact->size, (long long)st.st_size);
	} else if (!known_digest(check->known, artifact->name, check->deep, NULL, &digest, &key, &err)) {
		findings_add_error(&check->row->findings, &err);
	} else if (!digest_equal(&digest, &artifact->digest)) {
		compare_digest(check, artifact, &digest);
	}
}

static void
check_directory(struct check *check, const struct artifact *artifact)
{
	struct stat st;

	if (stat(artifact->name, &st) != 0 || !S_ISDIR(st.st_mode))
		mismatch(check, artifact->name, "is no directory any more");
}

static void
check_artifacts(struct check *check)
{
	const struct artifacts *artifacts = &check->row->record->artifacts;

	for (size_t i = 0; i < artifacts->count; i++) {
		if (artifacts->items[i].kind == ARTIFACT_FILE)
			check_file(check, &artifacts->items[i]);
		else if (artifacts->items[i].kind == ARTIFACT_DIRECTORY)
			check_directory(check, &artifacts->items[i]);
	}
}

/* What only the rule can ask: an engine, a process. */
static void
check_by_rule(struct check *check, const struct inspection *inspection, const struct rule *rule)
{
	struct task task finally(task_finish) = { 0 };
	struct error err = { 0 };

	task_init(&task, inspection, NULL, check->row->record->target, check->arena);
	task.record = check->row->record;
	if (!rule->verify(&task, check->deep, &err))
		findings_add_error(&check->row->findings, &err);
	for (size_t i = 0; i < task.findings.count; i++)
		*findings_add(&check->row->findings, FAULT_MISMATCH, (struct place){ 0 }, "%s", "") = task.findings.items[i];
}

static const struct rule *
find_rule(const struct rule *const *rules, const char *name)
{
	for (; *rules; rules++)
		if (strcmp((*rules)->name, name) == 0)
			return *rules;
	return NULL;
}

static void
verify_row(struct check *check, const struct inspection *inspection, const struct rule *const *rules)
{
	const struct rule *rule = find_rule(rules, check->row->record->rule);

	findings_init(&check->row->findings, check->arena);
	check_artifacts(check);
	if (rule && rule->verify)
		check_by_rule(check, inspection, rule);
	check->row->ok = check->row->findings.count == 0;
}

static bool
unpack(const struct row *row, struct arena *arena, struct record *record)
{
	*record = (struct record){
		.target = row->target,
		.rule = row->rule,
		.rule_version = row->rule_version,
		.fingerprint = row->fingerprint,
		.output = row->output,
		.body = row->body,
		.body_size = row->body_size,
	};
	return record_unpack(record, row->body, row->body_size, arena) && record_unpack_why(record, row->body, row->body_size, arena);
}

bool
audit_verify(struct audit *audit, const char *deployment, const struct strings *names, const struct rule *const *rules, const struct memory *memory,
	const struct project *project, struct known *known, bool deep, struct arena *arena, struct error *err)
{
	const struct manifest manifest = { .arena = arena, .name = deployment };
	const struct wishes wishes = { .deep = deep };
	const struct graph graph = { .rules = rules, .arena = arena };
	const struct inspection inspection = { .manifest = &manifest, .graph = &graph, .memory = memory, .project = project, .wishes = &wishes,
		.known = known, .arena = arena };
	struct row *rows;
	size_t count;

	*audit = (struct audit){ 0 };
	if (!known_load(known, err) || !memory->records(memory->self, deployment, arena, &rows, &count, err))
		return false;
	audit->rows = arena_array(arena, count + 1, sizeof *audit->rows);
	for (size_t i = 0; i < count; i++) {
		struct record *record = arena_alloc(arena, sizeof *record);
		struct check check = { .known = known, .arena = arena, .row = &audit->rows[audit->count], .deep = deep };

		if (names->count && !strings_has(names, rows[i].target))
			continue;
		if (!unpack(&rows[i], arena, record))
			return fail(err, FAULT_DATABASE, "the record of `%s` is torn", rows[i].target);
		check.row->record = record;
		verify_row(&check, &inspection, rules);
		audit->differing += !check.row->ok;
		audit->count++;
	}
	if (names->count && audit->count == 0)
		return fail(err, FAULT_NO_RECORD, "nothing is recorded of `%s`", names->items[0]);
	return true;
}
