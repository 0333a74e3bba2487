/* SPDX-License-Identifier: Apache-2.0 */
/* redis_wire.c: bytes to and from the server, through TLS if the settings say so. */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "cache/redis/redis_connection_private.h"
#include "cache/redis/redis_tls.h"

/* What a call of the library that moved nothing means, as a read or write of a socket would say it: 0, the end, or -1 and
 * errno; EPROTO: connection->tls_why says what. */
static ssize_t moved_nothing(struct redis_connection *connection, int result)
{
	int error = SSL_get_error(connection->ssl, result);
	if (error == SSL_ERROR_ZERO_RETURN)
		return 0;
	if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
		errno = EAGAIN;
		return -1;
	}
	redis_tls_explain(connection->ssl, connection->tls_why, sizeof connection->tls_why);
	errno = EPROTO;
	return -1;
}

ssize_t redis_wire_read(struct redis_connection *connection, char *bytes, size_t len)
{
	if (!connection->ssl)
		return recv(connection->watch.fd, bytes, len, 0);
	size_t read = 0;
	ERR_clear_error();
	errno = 0;
	int result = SSL_read_ex(connection->ssl, bytes, len, &read);
	return result == 1 ? (ssize_t)read : moved_nothing(connection, result);
}

ssize_t redis_wire_write(struct redis_connection *connection, struct slice bytes)
{
	if (!connection->ssl)
		return send(connection->watch.fd, bytes.at, bytes.len, MSG_NOSIGNAL);
	size_t written = 0;
	ERR_clear_error();
	errno = 0;
	int result = SSL_write_ex(connection->ssl, bytes.at, bytes.len, &written);
	return result == 1 ? (ssize_t)written : moved_nothing(connection, result);
}

bool redis_wire_has_more(const struct redis_connection *connection)
{
	return connection->ssl && SSL_pending(connection->ssl) > 0;
}

void redis_lose_by_wire(struct redis_connection *connection, int code, uint64_t now_us)
{
	char why[sizeof connection->tls_why];
	if (!connection->ssl || code != EPROTO) {
		redis_lose_by_errno(connection, REDIS_TROUBLE_LOST, code, now_us);
		return;
	}
	memcpy(why, connection->tls_why, sizeof why);
	redis_lose(connection, REDIS_TROUBLE_LOST, why, now_us);
}

bool redis_secure_begin(struct redis_connection *connection)
{
	const struct redis_settings *settings = connection->settings;
	const char *name = settings->server_name ? settings->server_name : connection->target.host;
	connection->ssl = redis_tls_begin(connection->tls, connection->watch.fd, name);
	return connection->ssl != NULL;
}

int redis_secure_step(struct redis_connection *connection)
{
	ERR_clear_error();
	errno = 0;
	int result = SSL_do_handshake(connection->ssl);
	if (result == 1)
		return 1;
	bool writes = SSL_get_error(connection->ssl, result) == SSL_ERROR_WANT_WRITE;
	if (moved_nothing(connection, result) < 0 && errno == EAGAIN) {
		redis_await(connection, writes);
		return 0;
	}
	if (!connection->tls_why[0])
		snprintf(connection->tls_why, sizeof connection->tls_why, "TLS: the server closed the connection");
	return -1;
}

void redis_secure_end(struct redis_connection *connection)
{
	SSL_free(connection->ssl);
	connection->ssl = NULL;
	connection->tls_why[0] = '\0';
}
