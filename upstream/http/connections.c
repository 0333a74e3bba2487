/* SPDX-License-Identifier: Apache-2.0 */
/* connections.c: sockets to providers, opened and closed for curl and counted per upstream. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "upstream/http/transport_private.h"

/*
 * --- counting connections ---
 *
 * curl asks for each socket and hands each back, but for those it gives up while they connect (a timeout, the slower
 * one of two addresses): these it closes by itself, without a word (7.88, cf_socket_close). So when a transfer is
 * over, each socket opened for it is looked at: the same file still, or gone.
 */

struct connections *connections_new(struct transport *transport, unsigned label)
{
	struct connections *connections = calloc(1, sizeof *connections);
	if (!connections)
		return NULL;
	connections->transport = transport;
	connections->meter = transport->meter;
	connections->label = label;
	TAILQ_INIT(&connections->transfers);
	TAILQ_INIT(&connections->spares);
	return connections;
}

void connections_leave(struct connections *connections)
{
	if (!connections)
		return;
	assert(connections->holds == 0 && TAILQ_EMPTY(&connections->transfers));
	transport_drop_spares(connections);
	connections->left = true;
	if (connections->open == 0)
		free(connections);
}

size_t connections_open(const struct connections *connections)
{
	return connections->open;
}

bool connections_are_alone(const struct connections *connections)
{
	return connections->alone;
}

void connections_note_answered(struct connections *connections, bool alone)
{
	connections->alone = alone;
	if (!alone)
		meter_add(connections->meter, METRIC_ID_UPSTREAM_MULTIPLEXED, connections->label, 0, 1);
}

static void show_connections(const struct connections *connections)
{
	/* a failed connection is closed before its transfer hears of it, hence the smaller of the two */
	size_t busy = connections->holds < connections->open ? connections->holds : connections->open;
	meter_set(connections->meter, METRIC_ID_UPSTREAM_CONNECTIONS, connections->label, CONNECTION_BUSY,
		  (int64_t)busy);
	meter_set(connections->meter, METRIC_ID_UPSTREAM_CONNECTIONS, connections->label, CONNECTION_IDLE,
		  (int64_t)(connections->open - busy));
}

void connections_show_lookups(const struct connections *connections, int by)
{
	meter_move(connections->meter, METRIC_ID_UPSTREAM_LOOKUPS, connections->label, 0, by);
}

/* The transfer has a connection, or is opening one. */
static void hold_connection(struct transfer *transfer)
{
	if (transfer->holds)
		return;
	transfer->holds = true;
	transfer->connections->holds++;
	show_connections(transfer->connections);
}

void transport_connected(struct transfer *transfer)
{
	transfer->connected = true;
	transfer->connections->news++;
	unconnected_remove(transfer);
	hold_connection(transfer);
}

void connections_let_go(struct transfer *transfer)
{
	if (!transfer->holds)
		return;
	transfer->holds = false;
	transfer->connections->holds--;
	show_connections(transfer->connections);
}

/* 0: no such file. The number may be another thread's: to look whose it is is no use of it (so ThreadSanitizer, which
 * knows fstat, is not told). */
static uint64_t inode_of(int fd)
{
	struct statx status;
	return statx(fd, "", AT_EMPTY_PATH, STATX_INO, &status) == 0 ? status.stx_ino : 0;
}

static void socket_gone(struct connections *connections)
{
	assert(connections->open > 0);
	connections->open--;
	connections->news++;
	show_connections(connections);
}

static void forget_opened(struct transfer *transfer, unsigned at)
{
	transfer->opened[at] = transfer->opened[--transfer->opened_count];
}

/* Look which of the sockets opened for a transfer curl has closed without a word. */
void connections_check_opened(struct transfer *transfer)
{
	for (unsigned i = transfer->opened_count; i-- > 0;) {
		if (inode_of(transfer->opened[i].fd) == transfer->opened[i].inode)
			continue;
		forget_opened(transfer, i);
		socket_gone(transfer->connections);
	}
}

bool connections_has_open(const struct transfer *transfer, int fd)
{
	for (unsigned i = 0; i < transfer->opened_count; i++)
		if (transfer->opened[i].fd == fd)
			return inode_of(fd) == transfer->opened[i].inode;
	return true; /* opened for another one, and connected since */
}

curl_socket_t connections_open_socket(void *context, curlsocktype purpose, struct curl_sockaddr *address)
{
	struct transfer *transfer = ((struct handle *)context)->transfer;
	struct connections *connections = transfer->connections;
	(void)purpose;
	if (transfer->connected) {
		transfer->turned = true;
		return CURL_SOCKET_BAD;
	}
	int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
	if (fd < 0) {
		transfer->starved |= errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM;
		return CURL_SOCKET_BAD;
	}
	if (transfer->opened_count == TRANSFER_SOCKETS)
		connections_check_opened(transfer);
	if (transfer->opened_count == TRANSFER_SOCKETS) {
		close(fd);
		return CURL_SOCKET_BAD;
	}
	transfer->opened[transfer->opened_count++] = (struct opened_socket){ fd, inode_of(fd) };
	connections->open++;
	meter_add(connections->meter, METRIC_ID_UPSTREAM_CONNECTS, connections->label, 0, 1);
	hold_connection(transfer);
	show_connections(connections);
	return fd;
}

int connections_close_socket(void *context, curl_socket_t fd)
{
	struct connections *connections = context;
	sockets_unwatch(connections->transport, fd);
	struct transfer *transfer;
	TAILQ_FOREACH (transfer, &connections->transfers, sibling)
		for (unsigned i = transfer->opened_count; i-- > 0;)
			if (transfer->opened[i].fd == fd)
				forget_opened(transfer, i);
	int result = close(fd);
	socket_gone(connections);
	if (connections->left && connections->open == 0)
		free(connections);
	return result;
}
