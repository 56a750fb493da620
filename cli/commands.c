#include "commands.h"

#include <stdint.h>
#include <string.h>

#include "engine/base/suggest.h"

const struct command command_table[] = {
	{
		.name = "plan",
		.id = COMMAND_PLAN,
		.operands = "[MANIFEST|-] [TARGET...]",
		.about = "what would happen, why, at what cost; changes nothing",
		.examples = { "provision plan manifests/tp3.yaml", "provision plan --target weights --json" },
		.most = SIZE_MAX,
		.run = command_plan,
	},
	{
		.name = "apply",
		.id = COMMAND_APPLY,
		.operands = "[MANIFEST|-] [TARGET...]",
		.about = "do it: build what is stale, in order, side by side",
		.examples = { "provision apply manifests/tp4.yaml", "provision apply --yes --progress plain",
			"provision apply --replace service" },
		.text = "Shows the plan, then asks once. Without a terminal and without --yes, what only\n"
			"adds is done; what stops a running service, deletes data or goes beyond the\n"
			"manifest's limits is not: exit 7.",
		.most = SIZE_MAX,
		.run = command_apply,
	},
	{
		.name = "status",
		.id = COMMAND_STATUS,
		.operands = "[MANIFEST] [TARGET...]",
		.about = "what is there, and whether it still matches",
		.examples = { "provision status", "provision status --json" },
		.text = "Exit 5 if something is not as it was recorded.",
		.most = SIZE_MAX,
		.run = command_status,
	},
	{
		.name = "why",
		.id = COMMAND_WHY,
		.operands = "[MANIFEST] TARGET",
		.about = "the full reason chain of one target",
		.examples = { "provision why service" },
		.least = 1,
		.most = 2,
		.run = command_why,
	},
	{
		.name = "audit",
		.id = COMMAND_AUDIT,
		.operands = "[log | show TARGET | verify [TARGET...]]",
		.about = "the provenance database: what was made, from what, by whom",
		.examples = { "provision audit", "provision audit show weights", "provision audit verify --deep" },
		.text = "verify compares records with disk and engine, and the history with its chain of\n"
			"hashes; exit 5 if they differ. --quick reads nothing, --deep every byte, one file\n"
			"per core. --head SEQ:HASH checks the chain against an entry noted elsewhere.",
		.most = SIZE_MAX,
		.run = command_audit,
	},
	{
		.name = "check",
		.id = COMMAND_CHECK,
		.operands = "[MANIFEST...]",
		.about = "parse, parameters, graph; no network, no engine",
		.examples = { "provision check manifests/*.yaml", "provision check --diag github" },
		.most = SIZE_MAX,
		.run = command_check,
	},
	{
		.name = "graph",
		.id = COMMAND_GRAPH,
		.operands = "[MANIFEST]",
		.about = "targets and their needs",
		.examples = { "provision graph", "provision graph --dot | dot -Tsvg" },
		.most = 1,
		.run = command_graph,
	},
	{
		.name = "logs",
		.id = COMMAND_LOGS,
		.operands = "TARGET",
		.about = "stored log of a target",
		.examples = { "provision logs service", "provision logs image --run 7K2QABCD" },
		.least = 1,
		.most = 1,
		.run = command_logs,
	},
	{
		.name = "adopt",
		.id = COMMAND_ADOPT,
		.operands = "[MANIFEST] [TARGET...]",
		.about = "take over models and files that are there already; fetches nothing",
		.examples = { "provision adopt manifests/tp4.yaml weights" },
		.text = "Files are read and compared with the digests of their source, whoever put them\n"
			"there: another client, or a hand. Exit 5 if some are missing or differ.",
		.most = SIZE_MAX,
		.run = command_adopt,
	},
	{
		.name = "destroy",
		.id = COMMAND_DESTROY,
		.operands = "[MANIFEST] [TARGET...]",
		.about = "stop and remove what the manifest made; asks first",
		.examples = { "provision destroy manifests/tp4.yaml", "provision destroy service" },
		.text = "Weights and images go only if their targets are named.",
		.most = SIZE_MAX,
		.run = command_destroy,
	},
	{
		.name = "shapes",
		.id = COMMAND_SHAPES,
		.operands = "MODEL",
		.about = "which shapes of a model fit on which GPUs; no manifest",
		.examples = { "provision shapes modelscope:ZhipuAI/AutoGLM-Phone-9B --gpus 0-2",
			"provision shapes huggingface:Qwen/Qwen3-8B --gpu-count 4 --gpu-memory 24GiB" },
		.text = "MODEL is a directory, huggingface:ORG/NAME[@REV], modelscope:ORG/NAME[@REV] or a\n"
			"URL. Only config.json and the headers or the index of the weights are read.\n"
			"Without --gpu-count the GPUs are those of this machine. -v lists more shapes.\n"
			"Exit 3 if none can work.",
		.least = 1,
		.most = 1,
		.run = command_shapes,
	},
	{
		.name = "diagnose",
		.id = COMMAND_DIAGNOSE,
		.operands = "FILE|-",
		.about = "cause and remedy of a service that did not start, from its log",
		.examples = { "provision diagnose vllm.log", "docker logs vllm 2>&1 | provision diagnose -" },
		.text = "Exit 1 if the log shows no cause that is known.",
		.least = 1,
		.most = 1,
		.run = command_diagnose,
	},
	{
		.name = "rules",
		.id = COMMAND_RULES,
		.operands = "[NAME]",
		.about = "rules and their parameters",
		.examples = { "provision rules", "provision rules service" },
		.most = 1,
		.run = command_rules,
	},
	{
		.name = "explain",
		.id = COMMAND_EXPLAIN,
		.operands = "[CODE]",
		.about = "long text of a diagnostic code",
		.examples = { "provision explain E0512" },
		.most = 1,
		.run = command_explain,
	},
	{
		.name = "help",
		.id = COMMAND_HELP,
		.operands = "[COMMAND]",
		.about = "this help",
		.examples = { "provision help apply" },
		.most = 1,
		.run = command_help,
	},
	{
		.name = "version",
		.id = COMMAND_VERSION,
		.operands = "",
		.about = "version; with -v or --json every setting and its origin",
		.examples = { "provision version --json" },
		.run = command_version,
	},
	{ 0 },
};

const struct command *
command_find(const char *name)
{
	for (const struct command *command = command_table; command->name; command++)
		if (strcmp(command->name, name) == 0)
			return command;
	return NULL;
}

const char *
command_suggest(const char *name)
{
	const char *near = NULL;

	for (const struct command *command = command_table; command->name; command++)
		near = suggest_better(name, near, command->name);
	return near;
}
