#include "rules/validate.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/base/arena.h"
#include "rules/rules.h"
#include "tests/fake/site.h"

#define REQUEST_SIZE ((size_t)4 << 20)
#define MODELS "{\"object\":\"list\",\"data\":[{\"id\":\"phone\",\"max_model_len\":25480},{\"id\":\"other\"}]}"
#define ANSWER(content) "{\"choices\":[{\"message\":{\"content\":" content "},\"finish_reason\":\"stop\"}],\"usage\":{\"completion_tokens\":50,\"prompt_tokens\":3354}}"

static const struct rule *const rules[] = { &validate_rule, NULL };

/* A server with one thread that gives the answers it is told to, and keeps what it was asked. */
struct server {
	pthread_t thread;
	int fd;
	int port;
	int health;
	const char *models;
	const char *version; /* NULL: there is no such address */
	int status;
	const char *chat;
	unsigned delay_ms;
	char *request;      /* the last one with a body, whole */
	unsigned chats;
};

static void
reply(int fd, int status, const char *body)
{
	char head[200];
	int size = snprintf(head, sizeof head, "HTTP/1.1 %d Words\r\nContent-Type: application/json\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n", status,
		strlen(body));

	if (write(fd, head, (size_t)size) == size && write(fd, body, strlen(body)) < 0)
		abort();
}

/* A whole request: its head, and as many bytes as that announces. */
static bool
read_request(int fd, char *text)
{
	size_t size = 0;

	for (;;) {
		ssize_t got = read(fd, text + size, REQUEST_SIZE - 1 - size);
		const char *head, *length;

		if (got <= 0)
			return false;
		size += (size_t)got;
		text[size] = '\0';
		head = strstr(text, "\r\n\r\n");
		if (!head)
			continue;
		length = strcasestr(text, "\r\ncontent-length:");
		if (!length || length > head || size - (size_t)(head + 4 - text) >= strtoul(length + 17, NULL, 10))
			return true;
	}
}

static void
answer(struct server *server, int fd, char *text)
{
	if (!read_request(fd, text))
		return;
	if (strncmp(text, "GET /health ", 12) == 0) {
		reply(fd, server->health, "");
	} else if (strncmp(text, "GET /v1/models ", 15) == 0) {
		reply(fd, server->models ? 200 : 401, server->models ? server->models : "{\"error\":\"Unauthorized\"}");
	} else if (strncmp(text, "POST /v1/chat/completions ", 26) == 0) {
		server->chats++;
		memcpy(server->request, text, strlen(text) + 1);
		usleep(server->delay_ms * 1000);
		reply(fd, server->status, server->chat);
	} else if (strncmp(text, "GET /metrics ", 13) == 0) {
		static const char line[] = "vllm:num_requests_running 0\n";
		char lines[12 * sizeof line] = "";
		/* Lines that are alike are what a list of figures is made of. */
		for (int i = 0; i < 12; i++)
			memcpy(lines + (size_t)i * (sizeof line - 1), line, sizeof line);
		reply(fd, 200, lines);
	} else if (strncmp(text, "GET /version ", 13) == 0 && server->version) {
		reply(fd, 200, server->version);
	} else {
		reply(fd, 404, "{\"detail\":\"Not Found\"}");
	}
}

static void *
serve(void *context)
{
	struct server *server = context;
	char *text = malloc(REQUEST_SIZE);

	for (;;) {
		int fd = accept(server->fd, NULL, NULL);

		if (fd < 0)
			break;
		answer(server, fd, text);
		close(fd);
	}
	free(text);
	return NULL;
}

static void
server_start(struct server *server)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof address;

	*server = (struct server){ .health = 200, .models = MODELS, .status = 200, .chat = ANSWER("\"fine\"") };
	server->request = calloc(1, REQUEST_SIZE);
	server->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(server->fd, (struct sockaddr *)&address, sizeof address), 0);
	assert_int_equal(listen(server->fd, 16), 0);
	assert_int_equal(getsockname(server->fd, (struct sockaddr *)&address, &size), 0);
	server->port = ntohs(address.sin_port);
	assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
}

static void
server_stop(struct server *server)
{
	shutdown(server->fd, SHUT_RDWR);
	pthread_join(server->thread, NULL);
	close(server->fd);
	free(server->request);
}

static struct apply_result
run(struct site *site, const struct server *server, const char *rest)
{
	char targets[4000];

	snprintf(targets, sizeof targets, "  v:\n    rule: validate\n    url: http://127.0.0.1:%d/v1\n%s", server->port, rest);
	return site_apply(site, targets);
}

static void
test_smoke(void **state)
{
	struct server server;
	struct site site;
	struct apply_result result;
	const struct record *record;

	(void)state;
	server_start(&server);
	site_init(&site, rules);
	result = run(&site, &server, "");
	assert_int_equal(result.failed, 0);
	assert_int_equal(result.changed, 1);
	record = site_record(&site, "v");
	assert_string_equal(pairs_get(&record->outputs, "verdict"), "passed");
	assert_string_equal(pairs_get(&record->outputs, "tokens"), "50");
	assert_non_null(strstr(server.request, "{\"model\":\"phone\",\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"temperature\":0,\"max_tokens\":5,\"stream\":false}"));
	assert_null(strcasestr(server.request, "\r\nexpect:"));
	assert_null(strcasestr(server.request, "\r\nauthorization:"));
	/* Judged once; asked again only when something changes. */
	result = run(&site, &server, "");
	assert_int_equal(result.changed, 0);
	assert_int_equal(server.chats, 1);
	server_stop(&server);
	site_finish(&site);
}

/* What is expected, what the server answers, and the words of the first finding; NULL: accepted. */
static void
test_verdicts(void **state)
{
	static const struct {
		const char *expect, *chat;
		int status;
		const char *words;
	} cases[] = {
		{ "", ANSWER("\"<think>I should open it</think><answer>do(action=\\\"Launch\\\", app=\\\"京东\\\")\""), 200, NULL },
		{ "contains: [Launch]", ANSWER("\"do(Launch)\""), 200, NULL },
		{ "contains: [Launch]", ANSWER("\"nothing\\u001b[31m\""), 200, "does not contain `Launch`: `nothing\\x1b[31m`" },
		{ "matches: 'Launch.*京东'", ANSWER("\"Launch, app=京东\""), 200, NULL },
		{ "matches: ['a+b', 'c']", ANSWER("\"aab\""), 200, "does not match `c`" },
		{ "not_contains: [sorry]", ANSWER("\"I am sorry\""), 200, "contains `sorry`" },
		{ "min_tokens: 50", ANSWER("\"x\""), 200, NULL },
		{ "min_tokens: 51", ANSWER("\"x\""), 200, "at least 51 tokens are expected, and there were 50" },
		{ "min_tokens: 1", "{\"choices\":[{\"message\":{\"content\":\"x\"}}]}", 200, "does not say" },
		{ "min_prompt_tokens: 4000", ANSWER("\"x\""), 200, "prompt tokens are expected, and there were 3354" },
		{ "min_thinking: 5", ANSWER("\"<think> 我想一想再 </think><answer>do(action=1)\""), 200, NULL },
		{ "min_thinking: 6", ANSWER("\"<think> 我想一想再 </think><answer>do(action=1)\""), 200, "there were 5" },
		{ "min_thinking: 4", "{\"choices\":[{\"message\":{\"content\":\"do(action=1)\",\"reasoning_content\":\"long\"}}]}", 200, NULL },
		{ "finish_reason: stop", ANSWER("\"x\""), 200, NULL },
		{ "finish_reason: length", ANSWER("\"x\""), 200, "finish_reason `length` is expected, and it is `stop`" },
		{ "", ANSWER("\"over and over again, over and over again, over and over again, over and over again, over and over again, over and over again, "
			"over and over again, over and over again, over and over again, \""), 200, "repeats itself" },
		{ "no_repetition: false", ANSWER("\"--------------------------------------------------------------------------------------------------------"
			"------------------------------------------------------------------------\""), 200, NULL },
		{ "", ANSWER("\"bad \xef\xbf\xbd\""), 200, "could not be decoded" },
		{ "valid_utf8: false", ANSWER("\"bad \xef\xbf\xbd\""), 200, NULL },
		{ "", ANSWER("\"bad \xff\""), 200, "check `c`: the answer is not JSON in UTF-8" },
		{ "", ANSWER("\" \\n\""), 200, "check `c` is suspect: the answer is empty" },
		{ "", "{\"choices\":[{\"message\":{\"content\":null}}]}", 200, "the answer is empty" },
		{ "", "{\"choices\":[{\"message\":{\"content\":null,\"reasoning\":\"still thinking\"}}]}", 200, NULL },
		{ "", "{\"choices\":[{\"message\":{\"content\":null,\"tool_calls\":[{\"id\":\"a\"}]}}]}", 200, NULL },
		{ "", "{\"choices\":[]}", 200, "no choices" },
		{ "", "not json", 200, "not JSON" },
		{ "", "{\"error\":{\"message\":\"too long by far\"}}", 400, "answers 400: too long by far" },
		{ "", "{\"error\":\"Unauthorized\"}", 401, "answers 401: Unauthorized" },
		{ "", "<html>nginx</html>", 413, "answers 413: <html>" },
		{ "latency: 100ms", ANSWER("\"x\""), 200, "an answer within" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct server server;
		struct site site;
		struct apply_result result;
		char rest[2000];

		server_start(&server);
		site_init(&site, rules);
		server.chat = cases[i].chat;
		server.status = cases[i].status;
		server.delay_ms = strstr(cases[i].expect, "latency") ? 150 : 0;
		snprintf(rest, sizeof rest, "    checks:\n      - {name: c, prompt: hello, expect: {%s}}\n", cases[i].expect);
		result = run(&site, &server, rest);
		if (!cases[i].words != (result.failed == 0) || (cases[i].words && (result.error.fault != FAULT_NOT_ACCEPTED || !strstr(result.error.text, cases[i].words)
			|| !strstr(result.error.text, "check `c`"))))
			fail_msg("case %zu: %u failed: %s", i, result.failed, result.error.text);
		server_stop(&server);
		site_finish(&site);
	}
}

/* It answers, and not well, or it does not do its work: an answer that came is suspect, whatever else is down. */
static void
test_suspect_is_not_down(void **state)
{
	static const struct {
		const char *rest, *chat;
		int status, health;
		bool suspect;
	} cases[] = {
		{ "", ANSWER("\"\""), 200, 200, true },
		{ "    checks: [{name: c, prompt: a, expect: {min_tokens: 51}}]\n", ANSWER("\"x\""), 200, 200, true },
		{ "    checks: [{name: c, prompt: a, expect: {finish_reason: length}}]\n", ANSWER("\"x\""), 200, 200, true },
		{ "", "{\"error\":\"boom\"}", 500, 200, false },
		{ "", ANSWER("\"\""), 200, 503, false },
		{ "", "{\"choices\":[]}", 200, 200, false },
		{ "    model: nobody\n", ANSWER("\"x\""), 200, 200, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct server server;
		struct site site;
		struct apply_result result;

		server_start(&server);
		site_init(&site, rules);
		server.chat = cases[i].chat;
		server.status = cases[i].status;
		server.health = cases[i].health;
		result = run(&site, &server, cases[i].rest);
		assert_int_equal(result.failed, 1);
		if (!strstr(result.error.text, "is suspect") != !cases[i].suspect)
			fail_msg("case %zu: %s", i, result.error.text);
		server_stop(&server);
		site_finish(&site);
	}
}

static void
test_messages_go_out_as_they_are(void **state)
{
	static const char messages[] = "[ {\"role\":\"system\",\n \"content\":\"\\u5065 1.0\"}]\n";
	struct server server;
	struct site site;
	struct apply_result result;
	const struct record *record;

	(void)state;
	server_start(&server);
	site_init(&site, rules);
	site_write(&site, "m.json", messages);
	result = run(&site, &server, "    model: other\n    checks:\n      - {name: c, messages: m.json, temperature: 0.10, top_p: 0.85, max_tokens: 3000, seed: 7}\n");
	assert_int_equal(result.failed, 0);
	assert_non_null(strstr(server.request, messages));
	assert_non_null(strstr(server.request, "\"model\":\"other\""));
	assert_non_null(strstr(server.request, ",\"temperature\":0.10,\"top_p\":0.85,\"seed\":7,\"max_tokens\":3000,\"stream\":false}"));
	record = site_record(&site, "v");
	assert_non_null(ingredients_find(&record->ingredients, "file:m.json"));
	/* Other messages are another question. */
	site_write(&site, "m.json", "[{\"role\":\"user\",\"content\":\"x\"}]");
	result = run(&site, &server, "    model: other\n    checks:\n      - {name: c, messages: m.json, temperature: 0.10, top_p: 0.85, max_tokens: 3000, seed: 7}\n");
	assert_int_equal(result.changed, 1);
	site_write(&site, "m.json", "{\"role\":\"user\"}");
	result = run(&site, &server, "    checks:\n      - {name: c, messages: m.json}\n");
	assert_int_equal(result.failed, 1);
	assert_non_null(strstr(result.error.text, "not a JSON list of messages"));
	server_stop(&server);
	site_finish(&site);
}

static void
test_image(void **state)
{
	struct server server;
	struct site site;
	struct apply_result result;

	(void)state;
	server_start(&server);
	site_init(&site, rules);
	site_write(&site, "i.png", "\x89PNG\r\n\x1a\n1");
	result = run(&site, &server, "    checks:\n      - {name: c, prompt: what, image: i.png}\n");
	assert_int_equal(result.failed, 0);
	assert_non_null(strstr(server.request, "[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,iVBORw0KGgox\"}},"
		"{\"type\":\"text\",\"text\":\"what\"}]}]"));
	site_write(&site, "i.png", "no image");
	result = run(&site, &server, "    checks:\n      - {name: c, prompt: what, image: i.png}\n");
	assert_int_equal(result.failed, 1);
	assert_non_null(strstr(result.error.text, "no PNG"));
	server_stop(&server);
	site_finish(&site);
}

static void
test_servers(void **state)
{
	static const struct {
		int health;
		const char *models, *rest, *words;
	} cases[] = {
		{ 404, MODELS, "    model: phone\n", NULL },
		{ 503, MODELS, "", "answers 503" },
		{ 200, MODELS, "    max_model_len: 25480\n    version: 0.12.0\n", NULL },
		{ 200, MODELS, "    max_model_len: 16384\n", "max_model_len 16384 is expected, and the server has 25480" },
		{ 200, MODELS, "    model: other\n    max_model_len: 16384\n", "the server does not say" },
		{ 200, MODELS, "    version: 0.11.2\n", "version `0.11.2` is expected, and the server is `0.12.0`" },
		{ 404, MODELS, "    version: 0.12.0\n", "answers 404: Not Found" },
		{ 200, NULL, "", "answers 401: Unauthorized" },
		{ 200, MODELS, "    model: nobody\n", "model `nobody` is not served" },
		{ 200, "{\"data\":[]}", "", "a model is not served" },
		{ 200, "nonsense", "", "answers 200: nonsense" },
		{ 200, NULL, "    checks: [{name: c, http: {path: /metrics}, expect: {contains: num_requests}}]\n", NULL },
		{ 200, NULL, "    checks: [{name: c, http: {path: metrics, status: 404}}]\n", "answers 200 instead of 404" },
		{ 200, NULL, "    checks: [{name: c, http: {path: /nowhere}}]\n", "answers 404 instead of 200: Not Found" },
		{ 200, NULL, "    checks: [{name: c, command: [printf, hello], expect: {stdout_matches: '^hell'}}]\n", NULL },
		{ 200, NULL, "    checks: [{name: c, command: [printf, hello], expect: {stdout_matches: '^bye'}}]\n", "does not match `^bye`: `hello`" },
		{ 200, NULL, "    checks: [{name: c, command: [sh, -c, 'exit 3'], expect: {exit: 3}}]\n", NULL },
		{ 200, NULL, "    checks: [{name: c, command: [sh, -c, 'exit 3']}]\n", "exit status 0 is expected, and it is 3" },
		{ 200, NULL, "    checks: [{name: c, command: [sleep, '20'], timeout: 200ms}]\n", "did not end within" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct server server;
		struct site site;
		struct apply_result result;

		server_start(&server);
		site_init(&site, rules);
		server.health = cases[i].health;
		server.models = cases[i].models;
		/* A server without health has no version either. */
		server.version = cases[i].health == 200 ? "{\"version\":\"0.12.0\"}" : NULL;
		result = run(&site, &server, cases[i].rest);
		if (!cases[i].words != (result.failed == 0) || (cases[i].words && !strstr(result.error.text, cases[i].words)))
			fail_msg("case %zu: %u failed: %s", i, result.failed, result.error.text);
		server_stop(&server);
		site_finish(&site);
	}
}

static void
test_nobody_listens(void **state)
{
	struct server server;
	struct site site;
	struct apply_result result;

	(void)state;
	server_start(&server);
	server_stop(&server);
	site_init(&site, rules);
	result = run(&site, &server, "");
	assert_int_equal(result.failed, 1);
	assert_int_equal(result.error.fault, FAULT_NOT_ACCEPTED);
	assert_non_null(strstr(result.error.text, "/health"));
	assert_null(site_record(&site, "v"));
	site_finish(&site);
}

static void
test_key(void **state)
{
	struct server server;
	struct site site;
	struct apply_result result;

	(void)state;
	setenv("PROVISION_VALIDATE_KEY", "canary-key-0123456789", 1);
	server_start(&server);
	site_init(&site, rules);
	result = run(&site, &server, "    api_key: {env: PROVISION_VALIDATE_KEY}\n");
	assert_int_equal(result.failed, 0);
	assert_non_null(strcasestr(server.request, "\r\nauthorization: Bearer canary-key-0123456789\r\n"));
	result = run(&site, &server, "    model: phone\n    api_key: {env: PROVISION_NO_SUCH_KEY}\n");
	assert_int_equal(result.failed, 1);
	assert_non_null(strstr(result.error.text, "PROVISION_NO_SUCH_KEY"));
	server_stop(&server);
	site_finish(&site);
}

static void
test_bad_parameters(void **state)
{
	static const struct {
		const char *targets, *words;
	} cases[] = {
		{ "  v: {rule: validate, url: \"ftp://x\"}\n", "E0103" },
		{ "  v: {rule: validate, url: \"http://x\", checks: [{name: c}]}\n", "E0115" },
		{ "  v: {rule: validate, url: \"http://x\", checks: [{name: c, prompt: a, command: [b]}]}\n", "E0115" },
		{ "  v: {rule: validate, url: \"http://x\", checks: [{name: c, messages: a, image: b}]}\n", "E0115" },
		{ "  v: {rule: validate, url: \"http://x\", checks: [{name: c, prompt: a, expect: {exit: 1}}]}\n", "E0115" },
		{ "  v: {rule: validate, url: \"http://x\", checks: [{name: c, prompt: a, extra: 5}]}\n", "E0115" },
		{ "  v: {rule: validate, url: \"http://x\", checks: [{name: c, prompt: a, expect: {matches: '(a'}}]}\n", "no regular expression" },
		{ "  v: {rule: validate, url: \"http://x\", checks: [{name: c, prompt: a, expect: {matches: '(a*)\\1'}}]}\n", "references back" },
		{ "  v: {rule: validate, url: \"http://x\", checks: [{prompt: a}]}\n", "E0104" },
		{ "  v: {rule: validate, url: \"http://x\", api_key: abc}\n", "E0114" },
	};
	struct site site;

	(void)state;
	site_init(&site, rules);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const char *said = site_check(&site, cases[i].targets);

		if (!strstr(said, cases[i].words))
			fail_msg("case %zu: %s", i, said);
	}
	assert_string_equal(site_check(&site, "  v: {rule: validate, url: \"http://x\", checks: [{name: c, prompt: a, expect: {matches: 'do\\('}}]}\n"), "");
	site_finish(&site);
}

/* Pieces that overlap are one; seven are not yet too many. */
static void
test_repetition(void **state)
{
	struct arena arena = { 0 };
	char text[4000] = "";

	(void)state;
	arena_init(&arena);
	for (size_t i = 0; i < 8; i++)
		memcpy(text + 20 * i, "0123456789abcdefghij", 20);
	text[140] = '\0';
	assert_null(validate_repetition(&arena, text));
	text[140] = '0';
	assert_string_equal(validate_repetition(&arena, text), "0123456789abcdefghij");
	memset(text, '-', 159);
	text[159] = '\0';
	assert_null(validate_repetition(&arena, text));
	text[159] = '-';
	text[160] = '\0';
	assert_non_null(validate_repetition(&arena, text));
	assert_null(validate_repetition(&arena, "short"));
	assert_null(validate_repetition(&arena, "\xff\xff"));
	arena_finish(&arena);
}

/* A search takes time by the square of what is searched: an answer without end must not stop a run. */
static void
test_long_answers(void **state)
{
	static const size_t size = (size_t)8 << 20;
	char *text = malloc(size + 1), why[100];

	(void)state;
	memset(text, 'a', size);
	text[size] = '\0';
	memcpy(text, "first", 5);
	memcpy(text + size / 2, "middle", 6);
	memcpy(text + size - 4, "last", 4);
	assert_true(validate_matches_answer("^first", text));
	assert_true(validate_matches_answer("last$", text));
	assert_false(validate_matches_answer("middle", text));
	assert_true(validate_matches_answer("fir.*stb?", "first"));
	assert_false(validate_pattern_ok("x(a|b)\\1", why, sizeof why));
	assert_true(validate_pattern_ok("[\\1]\\\\1[]\\2][^]\\3]do\\(", why, sizeof why));
	free(text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_smoke), cmocka_unit_test(test_verdicts), cmocka_unit_test(test_suspect_is_not_down), cmocka_unit_test(test_messages_go_out_as_they_are), cmocka_unit_test(test_image),
		cmocka_unit_test(test_servers), cmocka_unit_test(test_nobody_listens), cmocka_unit_test(test_key), cmocka_unit_test(test_bad_parameters),
		cmocka_unit_test(test_repetition), cmocka_unit_test(test_long_answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
