/* SPDX-License-Identifier: Apache-2.0 */
/* takeover_message.h: what the two sides of a takeover say, on one machine. The first three fields are those of every
 * version, so that any two can tell that they do not understand each other. */
#ifndef JITNEY_GATEWAY_SERVER_TAKEOVER_MESSAGE_H
#define JITNEY_GATEWAY_SERVER_TAKEOVER_MESSAGE_H

#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include "base/compiler.h"

#define TAKEOVER_MAGIC "jitney"
enum { TAKEOVER_PROTOCOL = 1, TAKEOVER_DOOR = 63 /* OFFER: no listener, but the door itself */ };

enum takeover_kind {
	TAKEOVER_HELLO = 1, /* number: patience in microseconds; text: version */
	TAKEOVER_WELCOME,   /* number: messages to ask for; text: version */
	TAKEOVER_ASK,       /* number: which, from 0 */
	TAKEOVER_OFFER,     /* number: of the listener, below TAKEOVER_DOOR; text: its name, or the door's path */
	TAKEOVER_READY,     /* number: a bit for each listener in use */
	TAKEOVER_YOURS, /* text: where a service manager hears of the predecessor, ""; number: its watchdog's microseconds, 0 */
	TAKEOVER_REFUSED /* text: why */
};

/* As it is sent: what is not said is zero. */
struct takeover_message {
	char magic[8]; /* TAKEOVER_MAGIC */
	uint32_t protocol;
	uint32_t kind; /* enum takeover_kind */
	uint64_t number;
	char text[256]; /* with a NUL */
};

/* One of this version, without text. */
static inline struct takeover_message takeover_message(enum takeover_kind kind, uint64_t number)
{
	return (struct takeover_message){ TAKEOVER_MAGIC, TAKEOVER_PROTOCOL, kind, number, "" };
}

/* Whose words, and whose files, count: our own user's, and root's. There is no other rule of trust between the two. */
static inline bool takeover_trusts(uid_t user)
{
	return user == geteuid() || user == 0;
}

/* Who is at the other side of a connection. False: a stranger, or (no pid in it) the kernel does not say. */
static inline bool takeover_find_peer(int socket, struct ucred *peer)
{
	socklen_t size = sizeof *peer;
	*peer = (struct ucred){ 0 };
	return getsockopt(socket, SOL_SOCKET, SO_PEERCRED, peer, &size) == 0 && takeover_trusts(peer->uid);
}

/* Whether that many bytes are a message of ours. */
static inline bool takeover_is_message(const struct takeover_message *message, ssize_t bytes)
{
	return bytes == sizeof *message && memcmp(message->magic, TAKEOVER_MAGIC, sizeof TAKEOVER_MAGIC) == 0 &&
	       message->protocol == TAKEOVER_PROTOCOL && !message->text[sizeof message->text - 1];
}

#endif
