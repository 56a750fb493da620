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
#define LISTENERS 16   /* several sockets may share a port (SO_REUSEPORT, two families) */

/* What the tables of the kernel say of one local port. */
struct port_table {
	struct in6_addr address; /* IPv4 is mapped; all zero: any */
	unsigned port;
	unsigned long inodes[LISTENERS]; /* of sockets that listen */
	size_t count;
	bool lingering;          /* connections that are closed but not forgotten */
};

struct search {
	const struct port_table *table;
	const struct process_id *ours; /* NULL: anybody will do */
	const char *tag;
	pid_t holder;                  /* 0: nobody that can be seen */
	bool is_ours;
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
add_listener(struct port_table *table, unsigned long inode)
{
	if (table->count < LISTENERS)
		table->inodes[table->count++] = inode;
}

static void
read_table(const char *path, struct port_table *table)
{
	FILE *file = fopen(path, "re");
	char line[512], text[33];
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
			add_listener(table, inode);
	}
	fclose(file);
}

static bool
is_listener(const struct port_table *table, const char *target)
{
	char wanted[64];

	for (size_t i = 0; i < table->count; i++) {
		snprintf(wanted, sizeof wanted, "socket:[%lu]", table->inodes[i]);
		if (strcmp(target, wanted) == 0)
			return true;
	}
	return false;
}

static bool
holds_listener(pid_t pid, const struct port_table *table)
{
	const struct dirent *entry;
	char path[64], target[64];
	bool found = false;

	snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
	DIR *directory = opendir(path);
	if (!directory)
		return false;
	while (!found && (entry = readdir(directory))) {
		ssize_t length = readlinkat(dirfd(directory), entry->d_name, target, sizeof target - 1);
		target[length > 0 ? length : 0] = '\0';
		found = is_listener(table, target);
	}
	closedir(directory);
	return found;
}

static bool
is_of(pid_t pid, const struct process_id *id, const char *tag)
{
	struct procfs_stat stat;

	return (procfs_stat(pid, &stat) && stat.session == id->pid) || procfs_has_variable(pid, PROCESS_TAG, tag);
}

static bool
look_at_holder(void *context, pid_t pid)
{
	struct search *search = context;

	if (!holds_listener(pid, search->table))
		return true;
	search->is_ours = search->ours && is_of(pid, search->ours, search->tag);
	if (!search->holder || search->is_ours)
		search->holder = pid;
	return search->ours && !search->is_ours;
}

static const char *
describe(pid_t pid, struct arena *arena)
{
	char name[32];

	procfs_name(pid, name, sizeof name);
	return arena_printf(arena, "%s (pid %d)", name, (int)pid);
}

/* 0 if the address can be bound, else the errno. `::` stands for IPv4 too, as it does for a server that says no more (unless the system says otherwise). */
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
	struct search search = { .table = &table };

	int code = try_bind(&table.address, table.port, false);
	/* EACCES is a privileged port: that it may not be bound says nothing about who holds it. */
	if (code != EADDRINUSE && code != EACCES)
		return NULL;
	read_table("/proc/net/tcp", &table);
	read_table("/proc/net/tcp6", &table);
	if (!table.count && code == EACCES)
		return NULL;
	/* Connections of an earlier server hold the port against a plain bind for a minute, but not against a server, which sets SO_REUSEADDR: with it the kernel refuses only
	 * what listens. Not asked so at first, because a socket that is bound and does not listen yet, a server that is about to start, would be passed over. */
	if (!table.count && table.lingering && try_bind(&table.address, table.port, true) == 0)
		return NULL;
	if (table.count)
		procfs_each(look_at_holder, &search);
	return search.holder ? describe(search.holder, arena) : "another process";
}

const char *
process_port_stranger(const char *address, int port, const struct process_id *id, const char *tag, struct arena *arena)
{
	struct port_table table = { .address = parse_address(address), .port = (unsigned)port };
	struct search search = { .table = &table, .ours = id, .tag = tag };

	read_table("/proc/net/tcp", &table);
	read_table("/proc/net/tcp6", &table);
	/* Mostly it is the leader that listens: then nobody else need be looked at. */
	if (!table.count || holds_listener(id->pid, &table))
		return NULL;
	procfs_each(look_at_holder, &search);
	return search.holder && !search.is_ours ? describe(search.holder, arena) : NULL;
}
