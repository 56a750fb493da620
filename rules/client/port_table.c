#include "port_table.h"

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/cleanup.h"

#define LISTENING 0x0A /* TCP_LISTEN, as the kernel numbers the states */
#define LISTEN_STATE (1U << LISTENING)
#define OTHER_STATES (0xFFFU & ~LISTEN_STATE)

static const struct {
	int family;
	const char *path;
} tables[] = {
	{ AF_INET, "/proc/net/tcp" },
	{ AF_INET6, "/proc/net/tcp6" },
};

bool
port_address_is_any(const struct in6_addr *address)
{
	static const struct in6_addr mapped_any = { .s6_addr = { [10] = 0xff, [11] = 0xff } };

	return IN6_IS_ADDR_UNSPECIFIED(address) || memcmp(address, &mapped_any, sizeof mapped_any) == 0;
}

struct in6_addr
port_address_of_ipv4(in_addr_t address)
{
	struct in6_addr mapped = { .s6_addr = { [10] = 0xff, [11] = 0xff } };

	memcpy(mapped.s6_addr + 12, &address, sizeof address);
	return mapped;
}

/* `words`: as the kernel has them, in the network's order. */
static struct in6_addr
make_address(int family, const uint32_t *words)
{
	struct in6_addr address;

	if (family == AF_INET)
		return port_address_of_ipv4(words[0]);
	memcpy(&address, words, sizeof address);
	return address;
}

static void
add_socket(struct port_table *table, const struct in6_addr *address, unsigned state, unsigned long inode)
{
	if (state != LISTENING) {
		table->lingering = true;
		return;
	}
	if (!port_address_is_any(address) && !port_address_is_any(&table->address) &&
		memcmp(address, &table->address, sizeof *address) != 0)
		return;
	if (table->count < PORT_LISTENERS)
		table->inodes[table->count++] = inode;
}

/* ---- asked by netlink */

static bool
send_request(int fd, int family, unsigned port, unsigned states)
{
	struct {
		struct nlmsghdr header;
		struct inet_diag_req_v2 body;
	} request = {
		.header = { .nlmsg_len = sizeof request, .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.body = { .sdiag_family = (uint8_t)family,
			.sdiag_protocol = IPPROTO_TCP,
			.idiag_states = states,
			.id = { .idiag_sport = htons((uint16_t)port) } },
	};

	return send(fd, &request, sizeof request, 0) == sizeof request;
}

/* Whether the answer goes on; *ok: it is no refusal. */
static bool
take_answer(struct port_table *table, int family, struct nlmsghdr *header, size_t length, bool *ok)
{
	for (; NLMSG_OK(header, length); header = NLMSG_NEXT(header, length)) {
		if (header->nlmsg_type == NLMSG_DONE || header->nlmsg_type == NLMSG_ERROR) {
			*ok = header->nlmsg_type == NLMSG_DONE;
			return false;
		}
		const struct inet_diag_msg *socket = NLMSG_DATA(header);
		if (header->nlmsg_len < NLMSG_LENGTH(sizeof *socket) || ntohs(socket->id.idiag_sport) != table->port)
			continue;
		struct in6_addr address = make_address(family, socket->id.idiag_src);
		add_socket(table, &address, socket->idiag_state, socket->idiag_inode);
	}
	return true;
}

static bool
ask_family(int fd, int family, unsigned states, struct port_table *table)
{
	union {
		struct nlmsghdr header;
		char bytes[16384]; /* the kernel sends no more at once to one who receives so much */
	} answer;
	bool ok = false;
	ssize_t length;

	if (!send_request(fd, family, table->port, states))
		return false;
	do
		length = recv(fd, &answer, sizeof answer, 0);
	while (length > 0 && take_answer(table, family, &answer.header, (size_t)length, &ok));
	return ok;
}

static bool
ask(struct port_table *table, unsigned states)
{
	int fd finally(close_fd) = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);

	if (fd < 0)
		return false;
	for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
		if (!ask_family(fd, tables[i].family, states, table))
			return false;
	return true;
}

/* ---- read as text */

/* `text`: 8 hex digits for IPv4, 32 for IPv6, each group of 8 in the order of the host's bytes. */
static bool
read_address(int family, const char *text, struct in6_addr *address)
{
	uint32_t words[4] = { 0 };
	size_t groups = family == AF_INET ? 1 : 4;

	if (strlen(text) != 8 * groups)
		return false;
	for (size_t i = 0; i < groups; i++)
		if (sscanf(text + 8 * i, "%8x", &words[i]) != 1)
			return false;
	*address = make_address(family, words);
	return true;
}

static bool
read_family(size_t which, struct port_table *table)
{
	FILE *file = fopen(tables[which].path, "re");
	char line[512], text[33];
	struct in6_addr address;
	unsigned port, state;
	unsigned long inode;

	if (!file)
		return false;
	while (fgets(line, sizeof line, file))
		if (sscanf(line, " %*u: %32[0-9A-F]:%x %*32[0-9A-F]:%*x %x %*x:%*x %*x:%*x %*x %*u %*u %lu", text, &port, &state, &inode) == 4 &&
			port == table->port && read_address(tables[which].family, text, &address))
			add_socket(table, &address, state, inode);
	fclose(file);
	return true;
}

bool
port_table_ask(struct port_table *table)
{
	return ask(table, LISTEN_STATE);
}

bool
port_table_read(struct port_table *table)
{
	bool found = false;

	for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
		found = read_family(i, table) || found;
	return found;
}

bool
port_table_lingers(const struct port_table *table)
{
	struct port_table others = { .port = table->port };

	if (!ask(&others, OTHER_STATES))
		port_table_read(&others);
	return others.lingering;
}

void
port_table_fill(struct port_table *table)
{
	table->count = 0;
	if (port_table_ask(table))
		return;
	table->count = 0;
	port_table_read(table);
}
