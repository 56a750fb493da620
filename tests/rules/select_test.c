/* select.c: which files of a repository are taken. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>

#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "engine/base/cleanup.h"
#include "rules/select.h"

#include <cmocka.h> /* last: its macro `fail` hides our function */

#define INDEX "{\"metadata\":{},\"weight_map\":{\"a\":\"model-1.safetensors\",\"b\":\"model-2.safetensors\",\"c\":\"model-1.safetensors\"}}"

/* Names separated by spaces; `!NAME` is one that is no plain file. */
struct example {
	const char *listing;
	const char *index;
	const char *include;
	const char *exclude;
	bool allow_pickle;
	bool allow_code;
	const char *taken;   /* NULL: refused */
	enum fault fault;
};

static const struct example examples[] = {
	{ "config.json model-1.safetensors model-2.safetensors model-3.safetensors model.safetensors.index.json", INDEX, "", "", false, false,
		"config.json model-1.safetensors model-2.safetensors model.safetensors.index.json", FAULT_NONE },
	{ "config.json model-1.safetensors model.safetensors.index.json", INDEX, "", "", false, false, NULL, FAULT_PROTOCOL },
	{ "model.safetensors.index.json x", "{}", "", "", false, false, NULL, FAULT_PROTOCOL },
	{ "model.safetensors.index.json x", "{\"weight_map\":{\"a\":1}}", "", "", false, false, NULL, FAULT_PROTOCOL },
	{ "model.safetensors.index.json x", "no json", "", "", false, false, NULL, FAULT_PROTOCOL },
	{ "a.safetensors config.json model.safetensors", NULL, "", "", false, false, "config.json model.safetensors", FAULT_NONE },
	{ "a.safetensors b.safetensors consolidated.safetensors", NULL, "", "", false, false, "a.safetensors b.safetensors", FAULT_NONE },
	{ "config.json consolidated.safetensors flax_model.msgpack metal/model.bin model-1.safetensors model-2.safetensors model.gguf "
	  "model.safetensors model.safetensors.index.json onnx/config.json onnx/model.onnx original/consolidated.safetensors pytorch_model.bin tf_model.h5",
		INDEX, "", "", true, true, "config.json model-1.safetensors model-2.safetensors model.safetensors.index.json", FAULT_NONE },
	{ "config.json model.gguf original/consolidated.safetensors", NULL, "", "", false, false, "config.json", FAULT_NONE },
	{ "config.json pytorch_model.bin", NULL, "", "", false, false, NULL, FAULT_CODE_REFUSED },
	{ "config.json pytorch_model.bin", NULL, "", "", true, false, "config.json pytorch_model.bin", FAULT_NONE },
	{ "model.safetensors pytorch_model.bin pytorch_model.bin.index.json", NULL, "", "", true, false, "model.safetensors", FAULT_NONE },
	{ ".gitattributes LICENSE.txt NOTICE README.md assets/a.png chat_template.jinja merges.txt model.safetensors notes.md original/x.json "
	  "tokenizer.bin tokenizer.json tokenizer.model tokenizer.py vocab.tiktoken", NULL, "", "", false, false,
		"LICENSE.txt NOTICE README.md chat_template.jinja merges.txt model.safetensors tokenizer.json tokenizer.model vocab.tiktoken", FAULT_NONE },
	{ "config.json model.safetensors modeling.py sub/more.py", NULL, "", "", false, true, "config.json model.safetensors modeling.py sub/more.py",
		FAULT_NONE },
	{ "a/b.txt config.json model.gguf", NULL, "*.gguf", "", false, false, "model.gguf", FAULT_NONE },
	{ "a/b.txt a/c.txt config.json", NULL, "a/", "a/c*", false, false, "a/b.txt", FAULT_NONE },
	{ "a/b.txt config.json", NULL, "*.txt", "", false, false, "a/b.txt", FAULT_NONE },
	{ "config.json", NULL, "Config.json", "", false, false, NULL, FAULT_NO_MATCH },
	{ "config.json model.safetensors", NULL, "", "*.bin", false, false, NULL, FAULT_NO_MATCH },
	{ "config.json", NULL, "*", "*", false, false, NULL, FAULT_NO_MATCH },
	{ "config.json w.bin", NULL, "*", "", false, false, NULL, FAULT_CODE_REFUSED },
	{ "config.json w.BIN", NULL, "*", "", false, false, NULL, FAULT_CODE_REFUSED },
	{ "config.json w.bin", NULL, "*", "*.bin", false, false, "config.json", FAULT_NONE },
	{ "config.json run.py", NULL, "*", "", true, false, NULL, FAULT_CODE_REFUSED },
	{ "../x config.json", NULL, "", "", false, false, "config.json", FAULT_NONE },
	{ "../x config.json", NULL, "*", "", false, false, NULL, FAULT_HOSTILE_NAME },
	{ "/etc/x config.json", NULL, "*", "", false, false, NULL, FAULT_HOSTILE_NAME },
	{ "A.json a.json", NULL, "", "", false, false, NULL, FAULT_HOSTILE_NAME },
	{ "A.json a.json", NULL, "", "A*", false, false, "a.json", FAULT_NONE },
	{ "Dir/b.json a.json dir/B.json", NULL, "*", "", false, false, NULL, FAULT_HOSTILE_NAME },
	{ "x x-y x/y", NULL, "*", "", false, false, NULL, FAULT_HOSTILE_NAME },
	{ "x x/y", NULL, "*", "", false, false, NULL, FAULT_HOSTILE_NAME },
	{ "!link.json config.json", NULL, "", "", false, false, NULL, FAULT_PROTOCOL },
	{ "!link.json config.json", NULL, "", "link.json", false, false, "config.json", FAULT_NONE },
};

static size_t
read_listing(const char *text, struct arena *arena, struct hub_file *files)
{
	size_t count = 0;

	while (*text) {
		size_t length = strcspn(text, " ");
		bool odd = *text == '!';

		files[count] = (struct hub_file){ .path = arena_copy_bytes(arena, text + odd, length - odd), .size = 10 };
		files[count++].refusal = odd ? "a symlink" : NULL;
		text += length + (text[length] == ' ');
	}
	return count;
}

static void
joined(const struct selection *selection, struct buf *text)
{
	buf_init(text, 4096);
	for (size_t i = 0; i < selection->count; i++)
		buf_printf(text, "%s%s", i ? " " : "", selection->files[i]->path);
}

static void
selects(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
		const struct example *example = &examples[i];
		struct arena arena;
		struct hub_file files[32];
		struct hub_listing listing = { .commit = "", .files = files };
		struct strings include = { 0 }, exclude = { 0 };
		struct selection_rules rules = { &include, &exclude, example->allow_pickle, example->allow_code, example->index,
			example->index ? strlen(example->index) : 0 };
		struct selection selection = { 0 };
		struct error err = { 0 };
		struct buf text finally(buf_finish) = { 0 };
		bool good;

		arena_init(&arena);
		listing.count = read_listing(example->listing, &arena, files);
		if (*example->include)
			strings_add(&include, &arena, example->include);
		if (*example->exclude)
			strings_add(&exclude, &arena, example->exclude);
		good = select_files(&listing, &rules, &arena, &selection, &err);
		joined(&selection, &text);
		if (good != (example->taken != NULL) || (!good && err.fault != example->fault) || (good && strcmp(text.data, example->taken) != 0))
			fail_msg("%s: %s", example->listing, good ? text.data : err.text);
		if (good) {
			assert_int_equal(selection.bytes, selection.count * 10);
			assert_int_equal(selection.skipped, listing.count - selection.count);
			assert_int_equal(selection.skipped_bytes, selection.skipped * 10);
		}
		arena_finish(&arena);
	}
}

static void
sums(void **state)
{
	struct hub_file files[2] = { { .path = "a.json", .size = UINT64_MAX }, { .path = "b.json", .size = 5 } };
	struct hub_listing listing = { .commit = "", .files = files, .count = 2 };
	struct selection_rules rules = { 0 };
	struct selection selection = { 0 };
	struct error err = { 0 };
	struct arena arena;

	(void)state;
	arena_init(&arena);
	assert_true(select_files(&listing, &rules, &arena, &selection, &err));
	assert_true(selection.bytes == UINT64_MAX);
	files[0].size = (uint64_t)3 << 40;
	assert_false(select_files(&listing, &rules, &arena, &selection, &err));
	assert_int_equal(err.fault, FAULT_PROTOCOL);
	arena_finish(&arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(selects),
		cmocka_unit_test(sums),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
