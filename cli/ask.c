#include "ask.h"

#include <errno.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#define ANSWER_MOST 64

bool
ask_possible(const struct session *session)
{
	const struct options *options = &session->options;

	return !options->no_input && !options->json && !getenv("CI") && session->err.terminal && isatty(STDIN_FILENO) == 1;
}

/* One line from the terminal, without buffering what follows it. */
static size_t
read_answer(char answer[ANSWER_MOST])
{
	size_t size = 0;
	char c;

	for (;;) {
		ssize_t got = read(STDIN_FILENO, &c, 1);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0 || c == '\n')
			break;
		if (size + 1 < ANSWER_MOST)
			answer[size++] = c;
	}
	answer[size] = '\0';
	return size;
}

bool
ask_user(struct session *session, const char *question, bool *asked)
{
	char answer[ANSWER_MOST];

	*asked = ask_possible(session);
	if (!*asked)
		return false;
	out_flush(&session->out);
	out_paint_safe(&session->err, STYLE_BOLD, question);
	out_text(&session->err, " [y/N] ");
	out_flush(&session->err);
	read_answer(answer);
	return strcasecmp(answer, "y") == 0 || strcasecmp(answer, "yes") == 0;
}
