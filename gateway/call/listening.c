/* SPDX-License-Identifier: Apache-2.0 */
/* listening.c: see the header. */
#include "gateway/call/listening.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "gateway/http/listeners.h"

enum { TEXT_BYTES = 256 };

static size_t count_addresses(const struct generation *generation)
{
	return generation->listen_count + generation->admin_count;
}

static bool is_admin(const struct generation *generation, size_t n)
{
	return n >= generation->listen_count;
}

static const struct listen_address *address_of(const struct generation *generation, size_t n)
{
	return is_admin(generation, n) ? &generation->admin[n - generation->listen_count] : &generation->listen[n];
}

bool listening_has(const struct generation *generation, const struct listener *listener)
{
	for (size_t i = 0; i < generation_listeners(generation); i++)
		if (generation->listeners[i] == listener)
			return true;
	return false;
}

/* Close what was opened for it. */
static void give_up(struct gateway *gateway, struct generation *next, const bool *opened)
{
	for (size_t i = 0; i < generation_listeners(next); i++)
		if (opened[i])
			listeners_close(gateway->listeners, next->listeners[i]);
	generation_forget_listeners(next);
}

static struct listener *open_address(struct gateway *gateway, const struct generation *next, size_t n, bool *opened,
				     char *error, size_t error_bytes)
{
	bool admin = is_admin(next, n);
	const struct listen_address *address = address_of(next, n);
	struct listener *listener = listeners_find(gateway->listeners, address, admin);
	*opened = !listener;
	if (!listener)
		listener = listeners_open(gateway->listeners, address, admin, admin ? 1 : gateway->config->workers,
					  error, error_bytes);
	return listener;
}

bool gateway_listen(struct gateway *gateway, struct generation *next, char *error, size_t error_bytes)
{
	size_t count = count_addresses(next);
	bool *opened = calloc(count + 1, sizeof *opened), ok = opened;
	snprintf(error, error_bytes, "out of memory");
	next->listeners = ok ? calloc(count + 1, sizeof(struct listener *)) : NULL;
	ok = next->listeners;
	for (size_t i = 0; ok && i < count; i++) {
		next->listeners[i] = open_address(gateway, next, i, &opened[i], error, error_bytes);
		opened[i] = opened[i] && next->listeners[i];
		ok = next->listeners[i];
	}
	if (!ok && next->listeners)
		give_up(gateway, next, opened);
	free(opened);
	return ok;
}

static void log_listener(const struct log_event *event, struct listener *listener, bool admin)
{
	char text[TEXT_BYTES];
	struct log_line line UNCLEARED;
	listener_text(listener, text, sizeof text);
	if (!log_begin(&line, event))
		return;
	log_cstr(&line, "address", text);
	log_cstr(&line, "listener", admin ? "admin" : "data");
	log_end(&line);
}

void gateway_unlisten(struct gateway *gateway, const struct generation *before, const struct generation *next)
{
	for (size_t i = 0; i < generation_listeners(before); i++)
		if (!listening_has(next, before->listeners[i]))
			listeners_close(gateway->listeners, before->listeners[i]);
}

void gateway_announce(const struct generation *before, const struct generation *next)
{
	for (size_t i = 0; i < generation_listeners(next); i++)
		if (!before || !listening_has(before, next->listeners[i]))
			log_listener(&EVENT_LISTENING, next->listeners[i], is_admin(next, i));
	for (size_t i = 0; before && i < generation_listeners(before); i++)
		if (!listening_has(next, before->listeners[i]))
			log_listener(&EVENT_LISTENING_NO_MORE, before->listeners[i], is_admin(before, i));
}
