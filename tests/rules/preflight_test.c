#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/buf.h"
#include "engine/base/cleanup.h"
#include "engine/base/file.h"
#include "engine/base/json.h"
#include "rules/rules.h"
#include "tests/fake/gpus.h"
#include "tests/fake/site.h"

#define AUTOGLM MODELS "/autoglm-phone-9b"
#define FOUR "{\"gpus\": [{}, {}, {}, {}]}"
#define GUIDE "    max_model_len: 25480\n    mm_encoder_tp_mode: data\n    limit_mm_per_prompt: {image: 10}\n"
#define GIB (1024.0 * 1024 * 1024)

static const struct rule *const rules[] = { &preflight_rule, NULL };

struct world {
	struct scratch *scratch;
	struct site site;
};

static int
setup(void **state)
{
	struct world *world = calloc(1, sizeof *world);
	void *scratch;

	if (!world || scratch_setup(&scratch) != 0)
		return -1;
	world->scratch = scratch;
	fake_gpus(world->scratch, FAKE_NVML, FOUR);
	site_init(&world->site, rules);
	*state = world;
	return 0;
}

static int
teardown(void **state)
{
	struct world *world = *state;
	void *scratch = world->scratch;

	site_finish(&world->site);
	free(world);
	return scratch_teardown(&scratch);
}

#define CHECK(text) "  check:\n    rule: preflight\n" text

static struct seen *
plan(struct world *world, const char *text)
{
	return site_plan(&world->site, text, "check");
}

static const struct finding *
finding_of(const struct seen *seen, enum fault fault)
{
	for (size_t i = 0; seen->detail && i < seen->detail->findings.count; i++)
		if (seen->detail->findings.items[i].fault == fault)
			return &seen->detail->findings.items[i];
	return NULL;
}

static const char *
output(const struct seen *seen, const char *name)
{
	const char *value = pairs_get(&seen->detail->outputs, name);

	return value ? value : "";
}

/* The answer of the reference scenario, word for word. */
static void
refuses_three_gpus(void **state)
{
	struct world *world = *state;
	const struct seen *seen = plan(
		world, CHECK("    model: " AUTOGLM "\n    tensor_parallel: 3\n" GUIDE) "reserve: {gpus: [3], for: training}\n");
	const struct finding *finding = finding_of(seen, FAULT_INFEASIBLE);
	json_t *data finally(json_release) = NULL;
	struct error err = { 0 };
	int64_t heads;

	assert_true(seen->refused);
	assert_int_equal(seen->detail->findings.count, 1);
	assert_string_equal(seen->detail->look.summary, "infeasible: 32 attention heads, 3 GPUs");
	assert_string_equal(finding->text, "tensor parallel size 3 cannot run this model");
	assert_string_equal(finding->label, "32 attention heads do not divide by 3");
	assert_int_equal(finding->at.line, 7);
	assert_string_equal(finding->notes[0], "neither do 2 KV heads, intermediate_size 13696 and vocabulary 151552");
	assert_string_equal(finding->notes[1], "read from config.json of " AUTOGLM "; nothing else was downloaded");
	assert_null(finding->notes[2]);
	assert_string_equal(finding->helps[0], "sizes that divide this model and fit 4 GPUs: 1 (tight), 2, 4");
	assert_string_equal(finding->helps[1], "to keep GPU 3 free and use GPUs 0-2: pipeline_parallel: 3");
	assert_null(finding->helps[2]);
	assert_true(json_parse(finding->data, strlen(finding->data), "data", &data, &err));
	assert_true(json_int_at(data, "heads", &heads) && heads == 32);
	assert_int_equal(json_array_size(json_at(data, "sizes")), 3);
	assert_int_equal(json_array_size(json_at(data, "failed")), 4);
	assert_true(json_array_size(json_at(data, "shapes")) >= 4);
}

static void
gives_verdicts(void **state)
{
	static const struct {
		const char *text, *summary;
		enum fault fault;   /* of a finding; FAULT_NONE: there is none */
		bool refused;
		const char *says;   /* in the finding, its notes or helps */
	} cases[] = {
		{ "    tensor_parallel: 4\n" GUIDE, "tp 4 on 4 GPUs: feasible", FAULT_NONE, false, "" },
		{ "    tensor_parallel: 2\n    replicas: 2\n" GUIDE, "2 x tp 2 on 4 GPUs: feasible", FAULT_NONE, false, "" },
		{ "    pipeline_parallel: 3\n    gpus: [0, 1, 2]\n" GUIDE, "pp 3 on 3 GPUs: feasible", FAULT_NONE, false, "" },
		{ "    replicas: 3\n    gpus: {count: 3}\n" GUIDE, "3 x tp 1 on 3 GPUs: tight", FAULT_TIGHT, false, "dummy video" },
		{ "    tight: fail\n" GUIDE, "tp 1 on 1 GPU: tight", FAULT_MEMORY, true, "tight: fail" },
		{ "    gpu_memory: 20GiB\n    gpu_count: 1\n", "infeasible: weights of 19.2 GiB", FAULT_MEMORY, true, "does not fit as tp 1" },
		{ "    tensor_parallel: 4\n    gpus: [0, 1]\n", "infeasible: the shape needs 4 GPUs, 2 may be used", FAULT_TOO_FEW_GPUS, true, "tp 2" },
		{ "    tensor_parallel: 8\n", "infeasible: the shape needs 8 GPUs", FAULT_TOO_FEW_GPUS, true, "tp 8 needs 8 GPUs, 4 may be used" },
		{ "    max_model_len: 70000\n    tensor_parallel: 4\n", "infeasible: max_model_len 70000", FAULT_INFEASIBLE, true, "65536" },
		{ "    pipeline_parallel: 41\n    gpu_count: 64\n    gpu_memory: 24GiB\n", "infeasible: 40 layers", FAULT_INFEASIBLE, true, "pipeline parallel size 41" },
		{ "    gpus: [0, 7]\n", "tp 1 on 1 GPU: ", FAULT_TOO_FEW_GPUS, true, "no GPU `7`" },
		{ "    tensor_parallel: 8\n    gpu_count: 8\n    gpu_memory: 80GiB\n    mm_encoder_tp_mode: data\n", "tp 8 on 8 GPUs: feasible", FAULT_NONE, false, "" },
		{ "    tensor_parallel: 8\n    gpu_count: 8\n    gpu_memory: 80GiB\n", "infeasible: 12 heads of the vision", FAULT_INFEASIBLE, true, "tensor parallel size 8" },
		{ "    tensor_parallel: 2\n    gpu_memory: 8GiB\n    gpu_count: 2\n", "infeasible: weights of 9.59", FAULT_MEMORY, true, "no shape of this model" },
		{ "    tensor_parallel: 2\n    dtype: float32\n    gpu_memory: 16GiB\n    gpu_count: 2\n", "infeasible: weights of 19.2", FAULT_MEMORY, true, "90 %" },
	};
	struct world *world = *state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const struct finding *finding;
		const struct seen *seen;
		bool said = false;
		char text[512];

		snprintf(text, sizeof text, CHECK("    model: " AUTOGLM "\n%s"), cases[i].text);
		seen = plan(world, text);
		finding = finding_of(seen, cases[i].fault);
		if (!seen->detail || strncmp(seen->detail->look.summary, cases[i].summary, strlen(cases[i].summary)) != 0)
			fail_msg("case %zu: %s", i, seen->detail ? seen->detail->look.summary : "no detail");
		assert_int_equal(seen->refused, cases[i].refused);
		assert_int_equal(cases[i].fault != FAULT_NONE, finding != NULL);
		if (!finding) {
			assert_int_equal(seen->detail->findings.count, 0);
			continue;
		}
		said = strstr(finding->text, cases[i].says) || (finding->label && strstr(finding->label, cases[i].says));
		for (size_t n = 0; n < 6; n++)
			said = said || (finding->notes[n] && strstr(finding->notes[n], cases[i].says)) ||
				(finding->helps[n] && strstr(finding->helps[n], cases[i].says));
		if (!said)
			fail_msg("case %zu: %s; %s", i, finding->text, finding->helps[0] ? finding->helps[0] : "");
	}
}

static void
refuses_bad_parameters(void **state)
{
	static const struct {
		const char *text, *error;
	} cases[] = {
		{ "", "" },
		{ "    gpus: [a]\n", "E0103 " },
		{ "    gpus: [0]\n    gpu_count: 4\n", "E0115 " },
		{ "    tensor_parallel: 0\n", "E0103 " },
		{ "    gpu_memory_utilization: 1.5\n", "E0103 `gpu_memory_utilization`" },
		{ "    limit_mm_per_prompt: {image: many}\n", "E0103 `limit_mm_per_prompt`" },
		{ "    limit_mm_per_prompt: [1]\n", "E0103 `limit_mm_per_prompt`" },
		{ "    dtype: int3\n", "E0103 " },
		{ "    tight: never\n", "E0103 " },
		{ "    tensor_paralel: 2\n", "E0102 " },
		{ "    in_image: vllm/vllm-openai:v0.12.0\n", "" },
		{ "    in_image: \"\"\n", "E0103 `in_image` is empty" },
	};
	struct world *world = *state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char text[512];
		const char *error;

		snprintf(text, sizeof text, CHECK("    model: " AUTOGLM "\n%s"), cases[i].text);
		error = site_check(&world->site, text);
		if (*cases[i].error ? strncmp(error, cases[i].error, strlen(cases[i].error)) != 0 : *error)
			fail_msg("case %zu: %s", i, error);
	}
	assert_memory_equal(site_check(&world->site, CHECK("    tensor_parallel: 2\n")), "E0104", 5);
}

/* A shape that config.json refutes costs nothing else: the index, which is broken here, is never opened. Where it is, the estimate does. */
static void
reads_no_more_than_it_must(void **state)
{
	struct world *world = *state;
	const struct seen *seen;
	const struct finding *finding;
	struct error err = { 0 };
	struct arena arena finally(arena_finish) = { 0 };
	const char *config;
	size_t size;

	arena_init(&arena);
	assert_true(file_load(AUTOGLM "/config.json", 1 << 20, &arena, &config, &size, &err));
	site_write(&world->site, "model/config.json", config);
	site_write(&world->site, "model/model.safetensors.index.json", "{\"weight_map\": {\"a\": \"../../etc/passwd\"}}");
	seen = plan(world, CHECK("    model: model\n    tensor_parallel: 3\n" GUIDE));
	finding = finding_of(seen, FAULT_INFEASIBLE);
	assert_string_equal(finding->notes[1], "read from config.json of model; nothing else was downloaded");
	assert_null(finding->notes[2]);
	seen = plan(world, CHECK("    model: model\n" GUIDE));
	finding = finding_of(seen, FAULT_TIGHT);
	assert_non_null(strstr(finding->notes[1], "but for weights computed from config.json"));
}

/* One tensor of the model, behind the ones before it. */
static void
add_tensor(struct buf *header, uint64_t *at, const char *name, uint64_t rows, uint64_t columns)
{
	uint64_t bytes = rows * (columns ? columns : 1) * 2;

	buf_printf(header, "%s\"%s\":{\"dtype\":\"BF16\",\"shape\":[%llu%s", header->size > 1 ? "," : "", name,
		(unsigned long long)rows, columns ? "," : "");
	if (columns)
		buf_printf(header, "%llu", (unsigned long long)columns);
	buf_printf(header, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)*at, (unsigned long long)(*at + bytes));
	*at += bytes;
}

/* All tensors of AutoGLM-Phone-9B as GLM-4.1V names them, in one header; 20,585,554,944 bytes. */
static void
write_header(struct world *world, const char *path)
{
	static const struct {
		const char *name;
		uint64_t rows, columns;
	} layer[] = {
		{ "self_attn.q_proj.weight", 4096, 4096 }, { "self_attn.q_proj.bias", 4096, 0 }, { "self_attn.k_proj.weight", 256, 4096 },
		{ "self_attn.k_proj.bias", 256, 0 }, { "self_attn.v_proj.weight", 256, 4096 }, { "self_attn.v_proj.bias", 256, 0 },
		{ "self_attn.o_proj.weight", 4096, 4096 }, { "mlp.gate_up_proj.weight", 27392, 4096 }, { "mlp.down_proj.weight", 4096, 13696 },
		{ "input_layernorm.weight", 4096, 0 }, { "post_attention_layernorm.weight", 4096, 0 }, { "post_self_attn_layernorm.weight", 4096, 0 },
		{ "post_mlp_layernorm.weight", 4096, 0 },
	};
	struct buf header finally(buf_finish) = { 0 };
	unsigned char length[8];
	uint64_t at = 0;
	char name[128];
	int fd;

	buf_init(&header, 1 << 20);
	buf_char(&header, '{');
	add_tensor(&header, &at, "model.language_model.embed_tokens.weight", 151552, 4096);
	for (int i = 0; i < 40; i++)
		for (size_t t = 0; t < sizeof layer / sizeof *layer; t++) {
			snprintf(name, sizeof name, "model.language_model.layers.%d.%s", i, layer[t].name);
			add_tensor(&header, &at, name, layer[t].rows, layer[t].columns);
		}
	add_tensor(&header, &at, "model.language_model.norm.weight", 4096, 0);
	add_tensor(&header, &at, "model.visual.everything.weight", 892498432, 0);
	add_tensor(&header, &at, "lm_head.weight", 151552, 4096);
	buf_char(&header, '}');
	assert_int_equal(at, 20585554944);
	for (size_t i = 0; i < sizeof length; i++)
		length[i] = (unsigned char)(header.size >> 8 * i);
	fd = open(site_path(&world->site, path), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	assert_int_equal(write(fd, length, sizeof length), sizeof length);
	assert_int_equal(write(fd, header.data, header.size), header.size);
	assert_int_equal(ftruncate(fd, (off_t)(sizeof length + header.size + at)), 0);
	close(fd);
}

/* Sums of headers and the arithmetic of the config agree, and are those of the reference. */
static void
adds_up_tensors(void **state)
{
	static const struct {
		const char *shape;
		double weights, per_token;
	} cases[] = {
		{ "", 19.17, 40960 },
		{ "    tensor_parallel: 2\n", 10.42, 20480 },
		{ "    tensor_parallel: 4\n", 6.08, 20480 },
		{ "    pipeline_parallel: 3\n", 7.76, 14336 },
	};
	struct world *world = *state;
	struct arena arena finally(arena_finish) = { 0 };
	const struct finding *finding;
	const struct seen *seen;
	struct error err = { 0 };
	const char *config;
	size_t size;

	arena_init(&arena);
	assert_true(file_load(AUTOGLM "/config.json", 1 << 20, &arena, &config, &size, &err));
	site_write(&world->site, "model/config.json", config);
	write_header(world, "model/model.safetensors");
	seen = plan(world, CHECK("    model: model\n    max_model_len: 65536\n    limit_mm_per_prompt: {video: 0}\n"));
	finding = finding_of(seen, FAULT_MEMORY);
	assert_true(seen->refused);
	assert_string_equal(seen->detail->look.summary,
		"infeasible: the KV cache for 65536 tokens needs 2.5 GiB per GPU; weights of 19.2 GiB leave 2.15 GiB of 21.3 GiB");
	assert_non_null(strstr(finding->helps[0], "max_model_len: 3"));
	assert_non_null(strstr(finding->helps[2], "tp 2"));
	/* The recipe for one card of vllm.md 2.5. */
	seen = plan(world,
		CHECK("    model: model\n    max_model_len: 25480\n    limit_mm_per_prompt: {image: 10, video: 0}\n    "
			"gpu_memory_utilization: 0.95\n"));
	assert_string_equal(finding_of(seen, FAULT_TIGHT)->text, "tp 1 fits with little to spare");
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char text[512];

		snprintf(text, sizeof text, CHECK("    model: model\n%s" GUIDE), cases[i].shape);
		seen = plan(world, text);
		assert_true(seen->passed_now);
		assert_true(fabs(strtod(output(seen, "weights_per_gpu"), NULL) / GIB - cases[i].weights) < 0.006);
		assert_true(fabs(strtod(output(seen, "kv_per_token"), NULL) - cases[i].per_token) < 1);
		if (*cases[i].shape)
			continue;
		/* The stock command on one card: the dummy video of the profile run is what does not fit. */
		finding = finding_of(seen, FAULT_TIGHT);
		assert_string_equal(finding->text, "tp 1 may run out of memory when it starts");
		assert_string_equal(finding->notes[1], "activations are an estimate; weights and KV cache are not");
		assert_string_equal(finding->helps[0], "limit_mm_per_prompt: {video: 0} spares the profile run's dummy video");
	}
}

/* Recorded, the verdict stands without another look; other memory, other shapes and --refresh ask anew. */
static void
stands_once_recorded(void **state)
{
#define FOUR_WAYS CHECK("    model: " AUTOGLM "\n    tensor_parallel: 4\n" GUIDE)
	struct world *world = *state;
	const struct seen *seen;

	assert_int_equal(site_apply(&world->site, FOUR_WAYS).status, STATUS_OK);
	assert_string_equal(pairs_get(&site_record(&world->site, "check")->outputs, "verdict"), "feasible");
	assert_string_equal(pairs_get(&site_record(&world->site, "check")->outputs, "shape"), "tp 4");
	seen = plan(world, FOUR_WAYS);
	assert_int_equal(seen->reason, REASON_NONE);
	assert_false(seen->passed_now);
	/* Somebody uses the GPUs now: that is not this question. */
	fake_gpus(world->scratch, FAKE_NVML, "{\"gpus\": [{\"used_mib\": 20000}, {}, {}, {}]}");
	assert_int_equal(plan(world, FOUR_WAYS)->reason, REASON_NONE);
	fake_gpus(world->scratch, FAKE_NVML, "{\"gpus\": [{\"total_mib\": 8192}, {}, {}, {}]}");
	seen = plan(world, FOUR_WAYS);
	assert_int_not_equal(seen->reason, REASON_NONE);
	assert_string_equal(output(seen, "verdict"), "tight");
	fake_gpus(world->scratch, FAKE_NVML, FOUR);
	world->site.wishes.refresh = true;
	assert_true(plan(world, FOUR_WAYS)->passed_now);
}

/* Without a driver the dimensions alone are judged; without the hub nothing is, and nothing is refused. */
static void
goes_on_without_answers(void **state)
{
	struct world *world = *state;
	const struct seen *seen;
	const struct finding *finding;

	fake_gpus(world->scratch, FAKE_NVML, NULL);
	seen = plan(world, CHECK("    model: " AUTOGLM "\n    tensor_parallel: 4\n" GUIDE));
	assert_true(seen->passed_now);
	assert_string_equal(output(seen, "verdict"), "feasible");
	seen = plan(world, CHECK("    model: " AUTOGLM "\n    tensor_parallel: 3\n" GUIDE));
	finding = finding_of(seen, FAULT_INFEASIBLE);
	assert_non_null(strstr(finding->notes[2], "memory was not judged: no NVIDIA driver"));
	assert_string_equal(finding->helps[0], "sizes that divide this model: 1, 2, 4, 8");

	fake_gpus(world->scratch, FAKE_NVML, FOUR);
	world->site.wishes.offline = true;
	seen = plan(world, CHECK("    model: huggingface:a/b\n    tensor_parallel: 3\n"));
	finding = finding_of(seen, FAULT_MODEL_UNKNOWN);
	assert_true(seen->passed_now && finding && finding->advice);
	assert_non_null(strstr(finding->notes[0], "E0614"));
	assert_string_equal(output(seen, "verdict"), "unasked");
	world->site.wishes.offline = false;
	seen = plan(world, CHECK("    model: huggingface:a/b\n    endpoint: http://127.0.0.1:9\n    tensor_parallel: 3\n"));
	finding = finding_of(seen, FAULT_MODEL_UNKNOWN);
	assert_true(seen->passed_now && finding && finding->advice);
	assert_non_null(strstr(finding->notes[0], "E0601"));
}

/* What was recorded as unasked is asked again as soon as there is a network. */
static void
asks_again(void **state)
{
#define UNREACHABLE CHECK("    model: huggingface:a/b\n    endpoint: http://127.0.0.1:9\n")
	struct world *world = *state;

	world->site.wishes.offline = true;
	assert_int_equal(site_apply(&world->site, UNREACHABLE).status, STATUS_OK);
	assert_int_equal(plan(world, UNREACHABLE)->reason, REASON_NONE);
	assert_false(plan(world, UNREACHABLE)->passed_now);
	world->site.wishes.offline = false;
	assert_true(plan(world, UNREACHABLE)->passed_now);
}

static void
says_what_is_unknown(void **state)
{
	struct world *world = *state;
	const struct seen *seen;

	site_write(&world->site, "model/config.json",
		"{\"model_type\": \"brand_new\", \"num_attention_heads\": 32, \"auto_map\": {\"AutoModel\": \"x.Y\"}}");
	seen = plan(world, CHECK("    model: model\n    tensor_parallel: 4\n"));
	assert_true(seen->passed_now);
	assert_string_equal(output(seen, "verdict"), "unknown");
	assert_non_null(strstr(finding_of(seen, FAULT_MODEL_UNKNOWN)->notes[0], "intermediate_size; vocab_size"));
	assert_non_null(finding_of(seen, FAULT_MODEL_CODE));
	/* What is known still refutes. */
	assert_true(plan(world, CHECK("    model: model\n    tensor_parallel: 3\n"))->refused);
	/* A directory without a config is a mistake, not a mystery. */
	seen = plan(world, CHECK("    model: nowhere\n    tensor_parallel: 3\n"));
	assert_true(seen->refused);
	site_write(&world->site, "model/config.json", "<!DOCTYPE html>");
	seen = plan(world, CHECK("    model: model\n    tensor_parallel: 3\n"));
	assert_true(seen->refused && finding_of(seen, FAULT_PROTOCOL));
}

static void
warns_of_quantisation(void **state)
{
	struct world *world = *state;
	const struct seen *seen;

	site_write(&world->site, "model/config.json",
		"{\"architectures\": [\"Qwen2ForCausalLM\"], \"model_type\": \"qwen2\", \"torch_dtype\": \"float16\", \"num_attention_heads\": 28, \"num_key_value_heads\": 4,"
		"\"hidden_size\": 3584, \"num_hidden_layers\": 28, \"intermediate_size\": 18944, \"vocab_size\": 152064, \"max_position_embeddings\": 8192,"
		"\"quantization_config\": {\"quant_method\": \"awq\", \"bits\": 4, \"group_size\": 512}}");
	seen = plan(world, CHECK("    model: model\n    tensor_parallel: 4\n"));
	assert_true(seen->passed_now);
	assert_non_null(strstr(finding_of(seen, FAULT_QUANTISED)->text, "awq"));
	assert_non_null(strstr(finding_of(seen, FAULT_QUANTISED)->notes[0], "no multiple of 512"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(refuses_three_gpus, setup, teardown),
		cmocka_unit_test_setup_teardown(gives_verdicts, setup, teardown),
		cmocka_unit_test_setup_teardown(refuses_bad_parameters, setup, teardown),
		cmocka_unit_test_setup_teardown(reads_no_more_than_it_must, setup, teardown),
		cmocka_unit_test_setup_teardown(adds_up_tensors, setup, teardown),
		cmocka_unit_test_setup_teardown(stands_once_recorded, setup, teardown),
		cmocka_unit_test_setup_teardown(goes_on_without_answers, setup, teardown),
		cmocka_unit_test_setup_teardown(asks_again, setup, teardown),
		cmocka_unit_test_setup_teardown(says_what_is_unknown, setup, teardown),
		cmocka_unit_test_setup_teardown(warns_of_quantisation, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
