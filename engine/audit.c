#include "audit.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "signals.h"
#include "task_internal.h"

/* A file of a record that must be read. */
struct reading {
	struct audit_row *row;
	const struct artifact *artifact;
};

/* One verification. */
struct check {
	const struct audit_wishes *wishes;
	struct audit *audit;
	struct known *known;
	struct arena *arena;
	struct reading *readings;
	size_t count;
	size_t capacity;
	struct bulk bulk;
	struct signals signals;
};

static struct finding *
mismatch(struct audit_row *row, const char *name, const char *what)
{
	return findings_add(&row->findings, FAULT_MISMATCH, (struct place){ 0 }, "%s %s", name, what);
}

/* ---- stat data ---- */

static void
add_reading(struct check *check, struct audit_row *row, const struct artifact *artifact)
{
	if (check->count == check->capacity) {
		struct reading *grown = arena_array(check->arena, check->capacity * 2 + 64, sizeof *grown);

		if (check->count > 0)
			memcpy(grown, check->readings, check->count * sizeof *grown);
		check->readings = grown;
		check->capacity = check->capacity * 2 + 64;
	}
	check->readings[check->count++] = (struct reading){ row, artifact };
}

/* The file is there with the right size: whether that is all that is asked for. */
static void
check_stat_key(struct check *check, struct audit_row *row, const struct artifact *artifact, const struct stat_key *key)
{
	switch (check->wishes->level) {
	case AUDIT_QUICK:
		if (!known_saw(check->known, key, &artifact->digest))
			finding_note(&row->findings, mismatch(row, artifact->name, "is not the file whose bytes were recorded, by its stat data"),
				"without --quick its bytes decide");
		break;
	case AUDIT_NORMAL:
		if (!known_has(check->known, key, &artifact->digest))
			add_reading(check, row, artifact);
		break;
	case AUDIT_DEEP:
		add_reading(check, row, artifact);
		break;
	}
}

static void
check_file(struct check *check, struct audit_row *row, const struct artifact *artifact)
{
	struct stat_key key;
	struct stat st;

	if (lstat(artifact->name, &st) != 0) {
		mismatch(row, artifact->name, errno == ENOENT ? "is missing" : "cannot be looked at");
	} else if (!S_ISREG(st.st_mode)) {
		mismatch(row, artifact->name, "is no regular file any more");
	} else if ((uint64_t)st.st_size != artifact->size) {
		finding_note(&row->findings, mismatch(row, artifact->name, "differs"), "recorded %llu bytes, now %lld",
			(unsigned long long)artifact->size, (long long)st.st_size);
	} else {
		key = stat_key_of(&st);
		check_stat_key(check, row, artifact, &key);
	}
}

static void
check_directory(struct audit_row *row, const struct artifact *artifact)
{
	struct stat st;

	if (stat(artifact->name, &st) != 0 || !S_ISDIR(st.st_mode))
		mismatch(row, artifact->name, "is no directory any more");
}

static void
check_artifacts(struct check *check, struct audit_row *row)
{
	const struct artifacts *artifacts = &row->record->artifacts;

	for (size_t i = 0; i < artifacts->count; i++) {
		if (artifacts->items[i].kind == ARTIFACT_FILE)
			check_file(check, row, &artifacts->items[i]);
		else if (artifacts->items[i].kind == ARTIFACT_DIRECTORY)
			check_directory(row, &artifacts->items[i]);
	}
}

/* ---- bytes ---- */

static void
tick(void *self)
{
	struct check *check = self;
	int number;

	while ((number = signals_read(&check->signals))) {
		if (number == SIGUSR1)
			continue;
		/* A disk that does not answer holds its reader: whoever asks a third time is not kept waiting. */
		if (check->bulk.halt)
			signals_let_go();
		check->bulk.halt = true;
		check->audit->signal = number;
	}
	if (check->wishes->progress)
		check->wishes->progress(check->wishes->self, &check->bulk);
}

static void
compare(struct check *check, const struct reading *reading, const struct bulk_file *file)
{
	struct findings *findings = &reading->row->findings;

	if (file->fault != FAULT_NONE)
		findings_add(findings, file->fault, (struct place){ 0 }, "%s", file->why);
	else if (!digest_equal(&file->sha256, &reading->artifact->digest))
		finding_note(findings, mismatch(reading->row, reading->artifact->name, "differs"), "recorded sha256 %s, now %s",
			digest_text(check->arena, &reading->artifact->digest), digest_text(check->arena, &file->sha256));
}

static bool
read_files(struct check *check, struct error *err)
{
	struct bulk_file *files = arena_array(check->arena, check->count + 1, sizeof *files);
	bool ok;

	if (check->count == 0)
		return true;
	for (size_t i = 0; i < check->count; i++)
		files[i] = (struct bulk_file){ .path = check->readings[i].artifact->name, .size = check->readings[i].artifact->size };
	check->bulk = (struct bulk){ .files = files, .count = check->count, .dirfd = -1 };
	if (!signals_init(&check->signals))
		return fail_errno(err, "open a descriptor for signals");
	ok = bulk_hash(&check->bulk, tick, check, err);
	signals_finish(&check->signals);
	check->audit->files = check->bulk.ended;
	check->audit->bytes = check->bulk.done;
	if (ok && check->bulk.halt)
		ok = fail(err, FAULT_INTERRUPTED, "stopped after %zu of %zu files: nothing is said of the others", (size_t)check->bulk.ended, check->count);
	for (size_t i = 0; i < check->count && ok; i++)
		compare(check, &check->readings[i], &files[i]);
	bulk_finish(&check->bulk);
	return ok;
}

/* ---- what only the rule can ask: an engine, a process ---- */

static void
check_by_rule(struct check *check, struct audit_row *row, const struct inspection *inspection, const struct rule *rule)
{
	struct task task finally(task_finish) = { 0 };
	struct error err = { 0 };

	task_init(&task, inspection, NULL, row->record->target, check->arena);
	task.record = row->record;
	if (!rule->verify(&task, check->wishes->level == AUDIT_DEEP, &err))
		findings_add_error(&row->findings, &err);
	for (size_t i = 0; i < task.findings.count; i++)
		*findings_add(&row->findings, FAULT_MISMATCH, (struct place){ 0 }, "%s", "") = task.findings.items[i];
}

static const struct rule *
find_rule(const struct rule *const *rules, const char *name)
{
	for (; *rules; rules++)
		if (strcmp((*rules)->name, name) == 0)
			return *rules;
	return NULL;
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

/* The records that are asked for, as rows without findings. */
static bool
load_rows(struct check *check, const struct memory *memory, struct error *err)
{
	const struct audit_wishes *wishes = check->wishes;
	struct audit *audit = check->audit;
	struct row *rows;
	size_t count;

	if (!memory->records(memory->self, wishes->deployment, check->arena, &rows, &count, err))
		return false;
	audit->rows = arena_array(check->arena, count + 1, sizeof *audit->rows);
	for (size_t i = 0; i < count; i++) {
		struct audit_row *row = &audit->rows[audit->count];
		struct record *record;

		if (wishes->names->count && !strings_has(wishes->names, rows[i].target))
			continue;
		record = arena_alloc(check->arena, sizeof *record);
		if (!unpack(&rows[i], check->arena, record))
			return fail(err, FAULT_DATABASE, "the record of `%s` is torn", rows[i].target);
		row->record = record;
		findings_init(&row->findings, check->arena);
		audit->count++;
	}
	if (wishes->names->count && audit->count == 0)
		return fail(err, FAULT_NO_RECORD, "nothing is recorded of `%s`", wishes->names->items[0]);
	return true;
}

bool
audit_verify(struct audit *audit, const struct audit_wishes *wishes, const struct memory *memory, const struct project *project, struct known *known,
	struct arena *arena, struct error *err)
{
	const struct manifest manifest = { .arena = arena, .name = wishes->deployment };
	const struct wishes looking = { .deep = wishes->level == AUDIT_DEEP };
	const struct graph graph = { .rules = wishes->rules, .arena = arena };
	const struct inspection inspection = { .manifest = &manifest, .graph = &graph, .memory = memory, .project = project, .wishes = &looking,
		.known = known, .arena = arena };
	struct check check = { .wishes = wishes, .audit = audit, .known = known, .arena = arena };

	*audit = (struct audit){ 0 };
	if (!known_load(known, err) || !load_rows(&check, memory, err))
		return false;
	for (size_t i = 0; i < audit->count; i++)
		check_artifacts(&check, &audit->rows[i]);
	if (!read_files(&check, err))
		return false;
	for (size_t i = 0; i < audit->count; i++) {
		struct audit_row *row = &audit->rows[i];
		const struct rule *rule = find_rule(wishes->rules, row->record->rule);

		if (rule && rule->verify)
			check_by_rule(&check, row, &inspection, rule);
		row->ok = row->findings.count == 0;
		audit->differing += !row->ok;
	}
	return true;
}
