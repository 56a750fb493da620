#include "process.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "procfs.h"

#define LISTENING 0x0A /* TCP_LISTEN as /proc/net/tcp writes it */

/* What the tables of the kernel say of one local port. */
struct port_table {
	struct in6_addr address; /* IPv4 is mapped; all zero: any */
	unsigned port;
	unsigned long inode;     /* of a socket that listens; 0: none */
	bool lingering;          /* connections that are closed but not forgotten */
};

struct search {
	unsigned long inode;
	pid_t pid;
};

static bool
is_any(const struct in6_addr *address)
{
	static const struct in6_addr mapped_any = { .s6_addr = { [10] = 0xff, [11] = 0xff } };

	return IN6_IS_ADDR_UNSPECIFIED(address) || memcmp(address, &mapped_any, sizeof mapped_any) == 0;
}

static struct in6_addr
map_ipv4(uint32_t address)
{
	struct in6_addr mapped = { .s6_addr = { [10] = 0xff, [11] = 0xff } };

	memcpy(mapped.s6_addr + 12, &address, sizeof address);
	return mapped;
}

/* `text`: 8 hex digits for IPv4, 32 for IPv6, each group of 8 in the order of the host's bytes. */
static bool
read_address(const char *text, struct in6_addr *address)
{
	uint32_t words[4];
	size_t length = strlen(text);

	for (size_t i = 0; i < length / 8 && i < 4; i++)
		if (sscanf(text + 8 * i, "%8x", &words[i]) != 1)
			return false;
	if (length == 8)
		*address = map_ipv4(words[0]);
	else if (length == 32)
		memcpy(address, words, sizeof words);
	return length == 8 || length == 32;
}

static void
read_table(const char *path, struct port_table *table)
{
	FILE *file = fopen(path, "re");
	char line[512], text[40];
	struct in6_addr address;
	unsigned port, state;
	unsigned long inode;

	if (!file)
		return;
	while (fgets(line, sizeof line, file)) {
		if (sscanf(line, " %*u: %32[0-9A-F]:%x %*32[0-9A-F]:%*x %x %*x:%*x %*x:%*x %*x %*u %*u %lu", text, &port, &state, &inode) != 4)
			continue;
		if (port != table->port || !read_address(text, &address))
			continue;
		if (state != LISTENING)
			table->lingering = true;
		else if (is_any(&address) || is_any(&table->address) || memcmp(&address, &table->address, sizeof address) == 0)
			table->inode = inode;
	}
	fclose(file);
}

static bool
holds_socket(void *context, pid_t pid)
{
	struct search *search = context;
	const struct dirent *entry;
	char path[64], wanted[64], target[64];
	DIR *directory;

	snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
	snprintf(wanted, sizeof wanted, "socket:[%lu]", search->inode);
	directory = opendir(path);
	if (!directory)
		return true;
	while (!search->pid && (entry = readdir(directory))) {
		ssize_t length = readlinkat(dirfd(directory), entry->d_name, target, sizeof target - 1);
		if (length <= 0)
			continue;
		target[length] = '\0';
		if (strcmp(target, wanted) == 0)
			search->pid = pid;
	}
	closedir(directory);
	return search->pid == 0;
}

/* 0 if the address can be bound, else the errno. */
static int
try_bind(const struct in6_addr *address, unsigned port, bool reuse)
{
	int family = IN6_IS_ADDR_V4MAPPED(address) ? AF_INET : AF_INET6, one = 1;
	int fd finally(close_fd) = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port), .sin6_addr = *address };

	if (fd < 0)
		return errno;
	memcpy(&v4.sin_addr, address->s6_addr + 12, sizeof v4.sin_addr);
	if (reuse)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
	const struct sockaddr *name = family == AF_INET ? (const void *)&v4 : (const void *)&v6;
	socklen_t size = family == AF_INET ? sizeof v4 : sizeof v6;
	return bind(fd, name, size) == 0 ? 0 : errno;
}

static struct in6_addr
parse_address(const char *address)
{
	struct in6_addr parsed;
	struct in_addr v4;

	if (address && inet_pton(AF_INET, address, &v4) == 1)
		return map_ipv4(v4.s_addr);
	if (address && inet_pton(AF_INET6, address, &parsed) == 1)
		return parsed;
	return address && strcmp(address, "localhost") == 0 ? map_ipv4(htonl(INADDR_LOOPBACK)) : map_ipv4(INADDR_ANY);
}

const char *
process_port_holder(const char *address, int port, struct arena *arena)
{
	struct port_table table = { .address = parse_address(address), .port = (unsigned)port };
	struct search search = { 0 };
	char name[32];

	int code = try_bind(&table.address, table.port, false);
	/* EACCES is a privileged port: that it may not be bound says nothing about who holds it. */
	if (code != EADDRINUSE && code != EACCES)
		return NULL;
	read_table("/proc/net/tcp", &table);
	read_table("/proc/net/tcp6", &table);
	if (!table.inode && code == EACCES)
		return NULL;
	/* Connections of an earlier server hold the port against a plain bind for a minute, but not against a server, which sets SO_REUSEADDR. A socket that is bound and does
	 * not listen yet stands in no table: a server that is about to start. */
	if (!table.inode && table.lingering && try_bind(&table.address, table.port, true) == 0)
		return NULL;
	search.inode = table.inode;
	if (table.inode)
		procfs_each(holds_socket, &search);
	if (!search.pid)
		return "another process";
	procfs_name(search.pid, name, sizeof name);
	return arena_printf(arena, "%s (pid %d)", name, (int)search.pid);
}
