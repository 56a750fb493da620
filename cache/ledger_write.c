#include "ledger_internal.h"

#include <string.h>

#include "engine/base/cleanup.h"
#include "files.h"
#include "records.h"
#include "sql.h"

static bool
ledger_begin_run(void *self, const struct run_info *info, struct error *err)
{
	struct ledger *ledger = self;
	struct transaction transaction finally(transaction_finish) = { 0 };
	struct sql *sql = &ledger->database.sql;
	struct current_run run;
	int64_t deployment;
	struct tip tip;

	/* After a run that was killed, a look at every page before one more is written. */
	if (!history_tip(sql, ledger->project, &tip, err) || (tip.open && !database_check(&ledger->database, true, err)))
		return false;
	if (!transaction_begin(&transaction, sql, err) || !history_tip(sql, ledger->project, &tip, err) ||
		!history_bury(sql, &tip, err) || !records_deployment(sql, info->deployment, true, &deployment, err) ||
		!history_begin(sql, &tip, info, &run, err) || !transaction_commit(&transaction, err))
		return false;
	ledger->run = run;
	ledger->deployment = deployment;
	ledger->running = true;
	return true;
}

static bool
ledger_end_run(void *self, const char *result, int status, int64_t ended_ns, struct error *err)
{
	struct ledger *ledger = self;
	struct transaction transaction finally(transaction_finish) = { 0 };
	struct sql *sql = &ledger->database.sql;
	struct tip tip;

	if (!ledger->running)
		return fail(err, FAULT_INTERNAL, "no run was begun");
	if (!transaction_begin(&transaction, sql, err) || !history_tip(sql, ledger->project, &tip, err) ||
		!history_end(sql, &tip, &ledger->run, result, status, ended_ns, err) || !transaction_commit(&transaction, err))
		return false;
	ledger->running = false;
	return true;
}

static bool
drop_all(struct sql *sql, enum statement id, const char *const *names, size_t count, struct error *err)
{
	for (size_t i = 0; i < count; i++)
		if (!sql_run(sql, id, VALUES(value_text(names[i])), err))
			return false;
	return true;
}

static bool
commit_one(struct ledger *ledger, struct tip *tip, const struct outcome *outcome, struct error *err)
{
	struct sql *sql = &ledger->database.sql;
	struct record_change change;

	if (!records_apply(sql, ledger->deployment, outcome, &change, err) ||
		!history_action(sql, tip, &ledger->run, outcome, &change, err))
		return false;
	if (outcome->record && strcmp(outcome->result, "ok") == 0 &&
		!sql_run(sql, SQL_PUT_DURATION,
			VALUES(value_int(ledger->deployment), value_text(outcome->target),
				value_int((outcome->ended_ns - outcome->started_ns) / 1000000)),
			err))
		return false;
	return drop_all(sql, SQL_DROP_CHECKPOINT, outcome->checkpoints_done, outcome->checkpoints_done_count, err) &&
		drop_all(sql, SQL_DROP_INTENT, outcome->intents_done, outcome->intents_done_count, err);
}

static bool
ledger_commit(void *self, const struct outcome *outcomes, size_t count, const struct known_file *files, size_t file_count,
	struct error *err)
{
	struct ledger *ledger = self;
	struct transaction transaction finally(transaction_finish) = { 0 };
	struct sql *sql = &ledger->database.sql;
	struct tip tip;

	/* What was learnt of files alone belongs to no run. */
	if (count > 0 && !ledger->running)
		return fail(err, FAULT_INTERNAL, "no run was begun");
	if (!transaction_begin(&transaction, sql, err) || !history_tip(sql, ledger->project, &tip, err))
		return false;
	for (size_t i = 0; i < count; i++)
		if (!commit_one(ledger, &tip, &outcomes[i], err))
			return error_wrap(err, "record `%s`", outcomes[i].target);
	return files_save(sql, files, file_count, err) && transaction_commit(&transaction, err);
}

static bool
ledger_save_checkpoint(void *self, const char *key, const void *bytes, size_t size, struct error *err)
{
	struct ledger *ledger = self;
	struct transaction transaction finally(transaction_finish) = { 0 };
	struct sql *sql = &ledger->database.sql;

	return transaction_begin(&transaction, sql, err) &&
		(bytes ? sql_run(sql, SQL_PUT_CHECKPOINT, VALUES(value_text(key), value_blob(bytes, size)), err)
		       : sql_run(sql, SQL_DROP_CHECKPOINT, VALUES(value_text(key)), err)) &&
		transaction_commit(&transaction, err);
}

static bool
ledger_add_intent(void *self, const struct intent *intent, struct error *err)
{
	struct ledger *ledger = self;
	struct transaction transaction finally(transaction_finish) = { 0 };
	struct sql *sql = &ledger->database.sql;

	if (!ledger->running)
		return fail(err, FAULT_INTERNAL, "no run was begun");
	return transaction_begin(&transaction, sql, err) &&
		sql_run(sql, SQL_PUT_INTENT,
			VALUES(value_text(intent->id), value_int(ledger->deployment), value_text(intent->target),
				value_text(intent->kind), value_text(intent->name), value_text(intent->run)),
			err) &&
		transaction_commit(&transaction, err);
}

static bool
ledger_drop_intent(void *self, const char *id, struct error *err)
{
	struct ledger *ledger = self;
	struct transaction transaction finally(transaction_finish) = { 0 };
	struct sql *sql = &ledger->database.sql;

	return transaction_begin(&transaction, sql, err) && sql_run(sql, SQL_DROP_INTENT, VALUES(value_text(id)), err) &&
		transaction_commit(&transaction, err);
}

void
ledger_plug_writing(struct ledger *ledger)
{
	ledger->memory.begin_run = ledger_begin_run;
	ledger->memory.end_run = ledger_end_run;
	ledger->memory.commit = ledger_commit;
	ledger->memory.save_checkpoint = ledger_save_checkpoint;
	ledger->memory.add_intent = ledger_add_intent;
	ledger->memory.drop_intent = ledger_drop_intent;
}
