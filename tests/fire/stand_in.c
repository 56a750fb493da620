/* stand_in.c - the programs that the swept manifest runs, in as few system calls as they need.
 *
 *   stand_in make OUT DEPFILE IN...   OUT becomes all INs one after the other, OUT.list their names; DEPFILE says what was read
 *   stand_in serve HOST PORT          answers /health and /v1/models until it is ended */
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MOST_ARGS 16

static int
complain(const char *what)
{
	perror(what);
	return 1;
}

static int
append(int out, const char *path)
{
	char bytes[16384];
	int in = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got;

	if (in < 0)
		return complain(path);
	while ((got = read(in, bytes, sizeof bytes)) > 0)
		if (write(out, bytes, (size_t)got) != got)
			return complain("write");
	close(in);
	return got < 0 ? complain(path) : 0;
}

static int
write_text(const char *path, const char *head, char **names, const char *between, const char *tail)
{
	FILE *file = fopen(path, "we");

	if (!file)
		return complain(path);
	fputs(head, file);
	for (; *names; names++)
		fprintf(file, "%s%s", between, *names);
	fputs(tail, file);
	return fclose(file) ? complain(path) : 0;
}

static int
make(const char *out, const char *depfile, char **in)
{
	char list[4096], head[4096];
	int fd = open(out, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0)
		return complain(out);
	for (char **at = in; *at; at++)
		if (append(fd, *at))
			return 1;
	if (close(fd))
		return complain(out);
	snprintf(list, sizeof list, "%s.list", out);
	snprintf(head, sizeof head, "%s:", out);
	return write_text(list, "", in, "+", "\n") || write_text(depfile, head, in, " ", "\n");
}

static const char *
answer_to(const char *request)
{
	if (strncmp(request, "GET /health ", 12) == 0)
		return "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}";
	if (strncmp(request, "GET /v1/models ", 15) == 0)
		return "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 61\r\n\r\n"
		       "{\"object\": \"list\", \"data\": [{\"id\": \"fire\",\"object\":\"model\"}]}";
	return "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
}

static int
serve(const char *host, const char *port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port)) };
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;

	if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) || inet_pton(AF_INET, host, &address.sin_addr) != 1 ||
		bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 16))
		return complain("listen");
	for (;;) {
		char request[4096];
		int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		ssize_t got = client < 0 ? -1 : read(client, request, sizeof request - 1);

		if (got > 0) {
			const char *answer;

			request[got] = '\0';
			answer = answer_to(request);
			if (write(client, answer, strlen(answer)) < 0)
				complain("answer");
		}
		if (client >= 0)
			close(client);
	}
}

int
main(int argc, char **argv)
{
	if (argc == 4 && strcmp(argv[1], "serve") == 0)
		return serve(argv[2], argv[3]);
	if (argc > 4 && argc < MOST_ARGS && strcmp(argv[1], "make") == 0)
		return make(argv[2], argv[3], argv + 4);
	fputs("usage: stand_in make OUT DEPFILE IN... | stand_in serve HOST PORT\n", stderr);
	return 64;
}
