#include "preflight.h"

#include <string.h>

#include "client/docker.h"
#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "engine/base/cleanup.h"
#include "engine/base/json.h"
#include "engine/base/units.h"
#include "engine/task.h"
#include "oneshot.h"

#define ANSWER_MS (5 * 60 * 1000) /* loading the library of a large image from a cold disk takes a minute */
#define OUTPUT_LIMIT (1u << 20)
#define SHARED "/provision/model"
#define MARK "provision:"

/* What vLLM would ask: numbers of the text model. A type that vLLM has a class of its own for is no matter of transformers. */
static const char script[] =
	"import glob, importlib.util, json, os, re, sys\n"
	"def say(**answer):\n"
	"    print('\\n" MARK "' + json.dumps(answer), flush=True)\n"
	"    sys.exit(0)\n"
	"def words(error):\n"
	"    return (type(error).__name__ + ': ' + str(error)).split('\\n')[0][:300]\n"
	"def has_vllm_class(kind):\n"
	"    spec = importlib.util.find_spec('vllm')\n"
	"    for root in (spec.submodule_search_locations or []) if spec else []:\n"
	"        for path in glob.glob(os.path.join(root, 'transformers_utils', 'config.py')):\n"
	"            with open(path, encoding='utf-8', errors='replace') as file:\n"
	"                if re.search(r'\\b' + re.escape(kind) + r'\\b[\\'\"]?\\s*[:=]', file.read()):\n"
	"                    return True\n"
	"    return False\n"
	"try:\n"
	"    import transformers\n"
	"    from transformers import AutoConfig\n"
	"except Exception as error:\n"
	"    say(problem='import', words=words(error))\n"
	"version = str(getattr(transformers, '__version__', '?'))\n"
	"with open('" SHARED "/config.json', encoding='utf-8') as file:\n"
	"    kind = str(json.load(file).get('model_type'))\n"
	"try:\n"
	"    config = AutoConfig.from_pretrained('" SHARED "', trust_remote_code=False, local_files_only=True)\n"
	"except Exception as error:\n"
	"    unknown = 'does not recognize this architecture' in str(error) or (isinstance(error, KeyError) and kind in error.args)\n"
	"    say(problem='type' if unknown and not has_vllm_class(kind) else 'load', version=version, kind=kind, words=words(error))\n"
	"text = config.get_text_config() if hasattr(config, 'get_text_config') else getattr(config, 'text_config', None) or config\n"
	"names = ['num_attention_heads', 'num_key_value_heads', 'hidden_size', 'num_hidden_layers', 'vocab_size']\n"
	"numbers = {name: getattr(text, name, None) for name in names}\n"
	"say(version=version, numbers={name: value for name, value in numbers.items() if type(value) is int})\n";

static const struct number {
	const char *key;
	const char *words;
	size_t offset;
} numbers[] = {
	{ "num_attention_heads", "attention heads", offsetof(struct architecture, heads) },
	{ "num_key_value_heads", "KV heads", offsetof(struct architecture, kv_heads) },
	{ "hidden_size", "hidden size", offsetof(struct architecture, hidden) },
	{ "num_hidden_layers", "layers", offsetof(struct architecture, layers) },
	{ "vocab_size", "vocabulary", offsetof(struct architecture, vocab) },
};

/* What the interpreter printed. */
struct capture {
	struct task *task;
	struct buf out;
	struct buf err;
};

static void
finish_capture(struct capture *capture)
{
	buf_finish(&capture->out);
	buf_finish(&capture->err);
}

static void
take(void *context, bool is_stderr, const char *bytes, size_t size)
{
	struct capture *capture = context;

	task_log_bytes(capture->task, is_stderr, bytes, size);
	buf_add(is_stderr ? &capture->err : &capture->out, bytes, size);
}

static const char *
said_last(struct arena *arena, const struct buf *text)
{
	const char *line = text_last_line(arena, text->data, text->size);

	return line ? line : "it said nothing";
}

/* The verdict rests on config.json alone, as without `in_image`; who asked for more is told why there is no more. */
static void
warn_unasked(const struct preflight *spec, struct task *task, const char *why)
{
	struct findings *findings = task_findings(task);
	struct finding *finding = findings_add(findings, FAULT_IMAGE_UNASKED, task_place(task, "in_image"),
		"image `%s` cannot say what it makes of this model", spec->in_image);

	finding->advice = finding->late = true;
	finding_note(findings, finding, "%s", why);
	finding_help(findings, finding, "name the image that will serve the model, or leave `in_image` out");
}

static void
refuse_type(const struct preflight *spec, const json_t *answer, struct task *task)
{
	struct findings *findings = task_findings(task);
	const char *version = json_string_at(answer, "version"), *kind = json_string_at(answer, "kind"), *words = json_string_at(answer, "words");
	struct finding *finding = findings_add(findings, FAULT_IMAGE_DISAGREES, task_place(task, "in_image"),
		"transformers %s of image `%s` does not know models of type `%s`", version ? version : "?", spec->in_image, kind ? kind : "?");

	finding_note(findings, finding, "%s", words ? words : "");
	finding_help(findings, finding, "use an image with a newer transformers, or pin one in its Dockerfile");
}

/* Numbers that both know and that differ. */
static size_t
compare(const struct preflight *spec, const struct architecture *ours, const json_t *answer, struct task *task)
{
	struct findings *findings = task_findings(task);
	const char *version = json_string_at(answer, "version");
	struct finding *finding = NULL;
	const json_t *theirs = json_at(answer, "numbers");
	size_t compared = 0;

	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
		const struct known_number *own = (const struct known_number *)(const void *)((const char *)ours + numbers[i].offset);
		int64_t value;

		if (!own->known || !json_int_at(theirs, numbers[i].key, &value))
			continue;
		compared++;
		if (own->value == value)
			continue;
		if (!finding)
			finding = findings_add(findings, FAULT_IMAGE_DISAGREES, task_place(task, "in_image"),
				"transformers %s of image `%s` reads another model out of config.json", version ? version : "?", spec->in_image);
		finding_note(findings, finding, "%s: %lld, the image says %lld", numbers[i].words, (long long)own->value, (long long)value);
	}
	if (finding)
		finding_help(findings, finding, "the server goes by what its image reads: use an image made for this model");
	return compared;
}

static void
judge_answer(const struct preflight *spec, const struct architecture *ours, const json_t *answer, struct task *task)
{
	struct arena *arena = task_arena(task);
	const char *problem = json_string_at(answer, "problem"), *version = json_string_at(answer, "version");
	const char *words = json_string_at(answer, "words");

	if (version)
		task_material(task, "pkg:pypi/transformers", version);
	if (text_equal(problem, "import"))
		warn_unasked(spec, task, arena_printf(arena, "it has no transformers that could be asked: %s", words ? words : "?"));
	else if (text_equal(problem, "type"))
		refuse_type(spec, answer, task);
	else if (problem)
		warn_unasked(spec, task, arena_printf(arena, "its transformers %s does not read config.json: %s", version ? version : "?", words ? words : "?"));
	else if (compare(spec, ours, answer, task) == 0)
		warn_unasked(spec, task, "its transformers names none of the numbers that are compared");
}

static void
judge_output(const struct preflight *spec, const struct architecture *ours, const struct capture *capture, const struct oneshot_result *ended,
	struct task *task)
{
	struct arena *arena = task_arena(task);
	json_t *answer finally(json_release) = NULL;
	const char *line = said_last(arena, &capture->out);
	struct error ignored;

	if (ended->timed_out)
		warn_unasked(spec, task, arena_printf(arena, "it gave no answer within %s", units_show_duration(arena, ANSWER_MS)));
	else if (!text_starts(line, MARK) || !json_parse(line + strlen(MARK), strlen(line + strlen(MARK)), "answer", &answer, &ignored))
		warn_unasked(spec, task, arena_printf(arena, "its python3 ended with status %d: %s", ended->exit_code,
			said_last(arena, capture->err.size ? &capture->err : &capture->out)));
	else
		judge_answer(spec, ours, answer, task);
}

/* The engine's words for a program that is not there; Podman's differ. */
static bool
is_without_python(const struct error *err)
{
	return strstr(err->text, "python3") && (strstr(err->text, "executable file not found") || strstr(err->text, "no such file or directory"));
}

bool
preflight_ask_image(const struct preflight *spec, const struct model *model, struct task *task, struct error *err)
{
	static const char *const argv[] = { "python3", "-c", script, NULL };
	struct docker docker finally(docker_finish) = { 0 };
	struct capture capture finally(finish_capture) = { .task = task };
	struct arena *arena = task_arena(task);
	struct oneshot_result ended;
	struct pairs env = { 0 };
	struct oneshot oneshot = {
		.role = "preflight",
		.argv = argv,
		.env = &env,
		.file = model->config,
		.file_name = "config.json",
		.file_at = SHARED,
		.as_caller = true,
		.closed = true,
		.timeout_ms = ANSWER_MS,
		.output = take,
		.context = &capture,
	};

	pairs_set(&env, arena, "HOME", "/tmp");
	pairs_set(&env, arena, "HF_HOME", "/tmp");
	pairs_set(&env, arena, "HF_HUB_OFFLINE", "1");
	pairs_set(&env, arena, "TRANSFORMERS_OFFLINE", "1");
	pairs_set(&env, arena, "PYTHONDONTWRITEBYTECODE", "1");
	buf_init(&capture.out, OUTPUT_LIMIT);
	buf_init(&capture.err, OUTPUT_LIMIT);
	task_progress(task, "asking the image", 0, 0, "");
	if (!docker_init(&docker, "auto", task_cancel(task), arena, err) ||
		!oneshot_image(&docker, task, "in_image", spec->in_image, &oneshot.image, err))
		return false;
	task_material(task, arena_printf(arena, "image:%s", spec->in_image), oneshot.image);
	if (!oneshot_run(&docker, task, &oneshot, &ended, err)) {
		if (!is_without_python(err))
			return error_wrap(err, "the question to image `%s`", spec->in_image);
		*err = (struct error){ 0 };
		warn_unasked(spec, task, "it has no python3");
		return true;
	}
	if (ended.cancelled)
		return fail(err, FAULT_INTERRUPTED, "the question to image `%s` was stopped", spec->in_image);
	judge_output(spec, &model->architecture, &capture, &ended, task);
	return true;
}
