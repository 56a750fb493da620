/* audit_verify.c - `provision audit verify`: records against the world, and the chain of the history. */
#include "audit.h"

#include <string.h>

#include "engine/audit.h"
#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/units.h"
#include "report/pace.h"
#include "report/words.h"
#include "rules/rules.h"

#define REDRAW_MS 200

static const char *const level_names[] = { [AUDIT_QUICK] = "quick", [AUDIT_NORMAL] = "normal", [AUDIT_DEEP] = "deep" };

/* The sums of one verification. */
struct verifying {
	struct session *session;
	enum audit_level level;
	json_t *rows;
	size_t count;
	size_t differing;
	size_t files;        /* that were read */
	uint64_t bytes;
	int64_t ms;          /* that reading took, and all beside it */
	enum status status;
	struct pace pace;
	int64_t told_ms;
	bool drawn;          /* a line of progress stands on the terminal */
};

/* ---- progress ---- */

static void
wipe(struct verifying *verifying)
{
	struct out *err = &verifying->session->err;

	if (!verifying->drawn)
		return;
	out_text(err, "\r\033[K");
	out_flush(err);
	verifying->drawn = false;
}

static bool
may_tell(struct verifying *verifying, int64_t now)
{
	const struct options *options = &verifying->session->options;
	bool redraws = verifying->session->err.terminal && options->progress != PROGRESS_PLAIN;

	if (options->json || options->quiet || options->progress == PROGRESS_NONE)
		return false;
	return redraws ? now - verifying->told_ms >= REDRAW_MS : options->heartbeat > 0 && now - verifying->told_ms >= options->heartbeat;
}

static void
tell_progress(void *self, const struct bulk *bulk)
{
	struct verifying *verifying = self;
	struct out *err = &verifying->session->err;
	struct arena arena finally(arena_finish) = { 0 };
	int64_t now = clock_monotonic_ms();
	const struct event event = { .kind = EVENT_PROGRESS, .target = "verify", .stage = "verify", .done = bulk->done, .total = bulk->total, .unit = "bytes" };
	const struct pace_row *row = pace_note(&verifying->pace, &event, now);
	const char *numbers;

	if (!may_tell(verifying, now))
		return;
	arena_init(&arena);
	verifying->told_ms = now;
	verifying->drawn = err->terminal && verifying->session->options.progress != PROGRESS_PLAIN;
	numbers = words_progress(row, ", ", &arena);
	out_printf(err, "%sverify: %s, %zu of %zu files%s", verifying->drawn ? "\r" : "", numbers ? numbers : "nothing yet", (size_t)bulk->ended,
		bulk->count, verifying->drawn ? "\033[K" : "\n");
	out_flush(err);
}

/* ---- records ---- */

static void
show_row(struct verifying *verifying, const struct audit_row *row)
{
	struct session *session = verifying->session;
	struct out *out = &session->out;
	const char *mark = row->ok ? out->utf8 ? "✓" : "ok" : out->utf8 ? "✗" : "FAIL";
	const struct findings *findings = &row->findings;

	if (row->ok && session->options.quiet > 1)
		return;
	out_text(out, " ");
	out_paint(out, row->ok ? STYLE_NEW : STYLE_ERROR, "%s", mark);
	out_text(out, " ");
	out_cell(out, row->record->target, 12);
	out_safe(out, row->ok ? row->record->summary ? row->record->summary : "as recorded" : findings->items[0].text);
	out_text(out, "\n");
	for (size_t i = 0; !row->ok && i < findings->count; i++) {
		const struct finding *finding = &findings->items[i];

		if (i > 0) {
			out_pad(out, 15);
			out_safe(out, finding->text);
			out_text(out, "\n");
		}
		for (size_t j = 0; j < sizeof finding->notes / sizeof *finding->notes && finding->notes[j]; j++) {
			out_pad(out, 15);
			out_safe(out, finding->notes[j]);
			out_text(out, "\n");
		}
	}
}

static json_t *
row_json(const char *deployment, const struct audit_row *row)
{
	json_t *findings = json_array();

	for (size_t i = 0; i < row->findings.count; i++)
		json_array_append_new(
			findings, diagnostic_json(&(struct diagnostic){ .finding = &row->findings.items[i] }));
	return json_pack("{s:s, s:s, s:b, s:o}", "deployment", deployment, "target", row->record->target, "ok",
		(int)row->ok, "findings", findings);
}

static void
verify_deployment(struct verifying *verifying, const char *deployment, const struct strings *names)
{
	struct session *session = verifying->session;
	const struct audit_wishes wishes = {
		.deployment = deployment,
		.names = names,
		.rules = all_rules,
		.level = verifying->level,
		.progress = tell_progress,
		.self = verifying,
	};
	int64_t began = verifying->told_ms = clock_monotonic_ms();
	struct error err = { 0 };
	struct audit audit;
	bool ok = audit_verify(&audit, &wishes, session->memory, &session->project, &session->known, &session->arena, &err);

	wipe(verifying);
	verifying->ms += clock_monotonic_ms() - began;
	verifying->files += audit.files;
	verifying->bytes += audit.bytes;
	if (!ok) {
		session->signal = audit.signal;
		verifying->status = status_worse(verifying->status, session_fail(session, &err, NULL));
		return;
	}
	for (size_t i = 0; i < audit.count; i++) {
		json_array_append_new(verifying->rows, row_json(deployment, &audit.rows[i]));
		if (!session->options.json)
			show_row(verifying, &audit.rows[i]);
	}
	verifying->count += audit.count;
	verifying->differing += audit.differing;
}

/* "SEQ:HASH" as it was noted elsewhere. */
static bool
read_head(const char *text, int64_t *seq, struct digest *hash, struct error *err)
{
	const char *colon = strchr(text, ':');
	char number[24] = { 0 };

	if (!colon || (size_t)(colon - text) >= sizeof number || !digest_parse(colon + 1, hash))
		return fail(err, FAULT_USAGE, "`--head` wants SEQ:HASH as `audit verify` prints it, not `%s`", text);
	memcpy(number, text, (size_t)(colon - text));
	return units_int(number, seq) || fail(err, FAULT_USAGE, "`--head`: `%s` is no number", number);
}

static const struct history_entry *
find_entry(const struct history_entry *entries, size_t count, int64_t seq)
{
	for (size_t i = 0; i < count; i++)
		if (entries[i].seq == seq)
			return &entries[i];
	return NULL;
}

/* The noted entry must still be there with the hash that it had. */
static bool
compare_head(struct session *session, const char *noted, const struct history_entry *head, const char *head_hash,
	struct error *err)
{
	const struct memory *memory = session->memory;
	const struct history_entry *entry;
	struct history_entry *entries;
	struct digest hash, now;
	int64_t seq;
	size_t count;

	if (!read_head(noted, &seq, &hash, err))
		return false;
	if (seq > head->seq)
		return fail(err, FAULT_MISMATCH,
			"entry %lld was noted, and the history ends at %lld: its end was cut off", (long long)seq,
			(long long)head->seq);
	if (!memory->history(memory->self, NULL, &session->arena, &entries, &count, err))
		return false;
	entry = find_entry(entries, count, seq);
	if (!entry)
		return fail(err, FAULT_MISMATCH, "the history has no entry %lld", (long long)seq);
	now = entry->hash;
	if (seq == head->seq && !digest_parse(head_hash, &now))
		return fail(err, FAULT_INTERNAL, "the head of the history has no hash");
	if (digest_is_zero(&now))
		return fail(err, FAULT_DATABASE, "the hash of entry %lld cannot be read, so it cannot be compared",
			(long long)seq);
	return digest_equal(&now, &hash) ||
	       fail(err, FAULT_MISMATCH, "entry %lld has another hash than was noted: the past was rewritten",
		       (long long)seq);
}

static bool
verify_chain(struct verifying *verifying, struct history_entry *head, char head_hash[DIGEST_HEX], size_t *runs,
	struct error *err)
{
	struct session *session = verifying->session;
	const struct memory *memory = session->memory;

	if (!memory->verify(memory->self, &session->arena, head, head_hash, runs, err))
		return false;
	return !session->options.head || compare_head(session, session->options.head, head, head_hash, err);
}

static enum status
report(struct verifying *verifying, const struct history_entry *head, const char *head_hash, size_t runs, bool intact)
{
	struct session *session = verifying->session;
	struct error err = { 0 };

	if (session->options.json) {
		session_document(
			session, json_pack("{s:b, s:s, s:I, s:I, s:b, s:I, s:I, s:s, s:O}", "ok", verifying->differing == 0 && intact,
					 "level", level_names[verifying->level], "files_read", (json_int_t)verifying->files,
					 "bytes_read", (json_int_t)verifying->bytes, "chain", (int)intact, "runs", (json_int_t)runs,
					 "seq", (json_int_t)head->seq, "head", head_hash, "records", verifying->rows));
	} else if (intact && session->options.quiet < 2) {
		if (verifying->bytes > 0)
			out_printf(&session->out, "   %-12s%s in %s, %s\n", "read", units_show_size(&session->arena, verifying->bytes),
				words_count(&session->arena, verifying->files, "file", "files"),
				units_show_duration(&session->arena, verifying->ms));
		out_text(&session->out, " ");
		out_paint(&session->out, STYLE_NEW, "%s", session->out.utf8 ? "✓" : "ok");
		out_printf(&session->out, " %-12s%s, chain intact", "records", words_count(&session->arena, runs, "run", "runs"));
		if (head->seq > 0)
			out_printf(&session->out, ", head %lld:%s", (long long)head->seq, head_hash);
		out_text(&session->out, "\n");
		if (!session->options.head && head->seq > 0)
			session_hint(session, "A chain without a copy elsewhere shows careless edits only: keep that "
					      "head in another place, and give it to --head.");
	}
	if (verifying->differing == 0)
		return STATUS_OK;
	fail(&err, FAULT_MISMATCH, "%zu of %zu %s not match %s", verifying->differing, verifying->count,
		verifying->differing == 1 ? "does" : "do", verifying->differing == 1 ? "its record" : "their records");
	error_hint(&err, "provision apply     makes again what differs");
	return session->options.json ? STATUS_MISMATCH : session_fail(session, &err, NULL);
}

static enum status
check_names(struct session *session, const struct strings *names, const struct records *deployments, size_t count)
{
	struct error err = { 0 };

	for (size_t n = 0; n < names->count; n++) {
		bool found = false;

		for (size_t i = 0; i < count && !found; i++)
			for (size_t j = 0; j < deployments[i].count && !found; j++)
				found = strcmp(deployments[i].items[j].target, names->items[n]) == 0;
		if (!found) {
			fail(&err, FAULT_NO_RECORD, "nothing is recorded of a target `%s`", names->items[n]);
			return session_fail(session, &err, NULL);
		}
	}
	return STATUS_OK;
}

enum status
audit_check(struct session *session, const struct strings *names)
{
	const struct options *options = &session->options;
	struct verifying verifying = { .session = session, .status = STATUS_OK,
		.level = options->quick ? AUDIT_QUICK : options->deep ? AUDIT_DEEP : AUDIT_NORMAL };
	char head_hash[DIGEST_HEX] = "";
	struct history_entry head = { 0 };
	struct records *deployments;
	struct error err = { 0 };
	size_t runs = 0, count;
	bool intact;
	enum status status = audit_records(session, &deployments, &count);

	if (status == STATUS_OK)
		status = check_names(session, names, deployments, count);
	if (status == STATUS_OK && options->quick && options->deep) {
		fail(&err, FAULT_USAGE, "`--quick` reads nothing and `--deep` reads everything: say one of them");
		return session_fail(session, &err, NULL);
	}
	if (status != STATUS_OK)
		return status;
	verifying.rows = json_array();
	for (size_t i = 0; i < count && !session->signal; i++)
		verify_deployment(&verifying, deployments[i].deployment, names);
	pace_finish(&verifying.pace);
	if (session->signal) {
		json_decref(verifying.rows);
		return verifying.status;
	}
	intact = verify_chain(&verifying, &head, head_hash, &runs, &err);
	if (!intact)
		verifying.status = status_worse(verifying.status, session_fail(session, &err, NULL));
	status = status_worse(verifying.status, report(&verifying, &head, head_hash, runs, intact));
	json_decref(verifying.rows);
	return status;
}
