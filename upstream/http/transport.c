/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transport.c: a curl multi handle on a worker's loop. curl's callbacks note what happened and nothing more; what has
 * to be told is told by transport_tick, outside of curl, so that whoever hears it may start and stop transfers.
 */
#include "upstream/http/transport.h"

#include <assert.h>
#include <curl/curl.h>
#include <stdlib.h>

#include "upstream/http/lookup.h"
#include "upstream/http/transport_private.h"
#include "upstream/provider.h"

enum {
	LARGE_BYTES = 64 * 1024, /* of an answer: whoever hears of it may have much to look at */
	HEAR_BYTES = 512 * 1024, /* of those, in one turn; one of any size always */
	TRANSPORT_TIMERS = 3,
	RECEIVE_BYTES = 14335,      /* and one more is the largest piece that jemalloc does not count in whole pages */
	CONNECTION_LIFETIME_S = 300 /* then its certificate and address are looked at anew */
};

struct transfer *transport_transfer_of(CURL *easy)
{
	struct handle *handle = NULL;
	curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&handle);
	return handle ? handle->transfer : NULL;
}

/* --- curl's wishes --- */

long transport_version_of(const struct transfer *transfer)
{
	long version = 0;
	if (transfer->handle->set.version == CURL_HTTP_VERSION_1_1)
		return CURL_HTTP_VERSION_1_1;
	curl_easy_getinfo(transfer->easy, CURLINFO_HTTP_VERSION, &version);
	return version;
}

/* curl must not be called from in here: it is only noted when it wants to be. */
static int on_timer(CURLM *multi, long timeout_ms, void *context)
{
	struct transport *transport = context;
	(void)multi;
	if (timeout_ms < 0) {
		transport->due = false;
		loop_disarm(transport->loop, &transport->timer);
	} else {
		loop_arm(transport->loop, &transport->timer,
			 loop_now(transport->loop) + (uint64_t)timeout_ms * CLOCK_US_PER_MS);
	}
	return 0;
}

static void timer_fired(struct loop_timer *timer, uint64_t now_us)
{
	struct transport *transport = container_of(timer, struct transport, timer);
	transport->due = true;
	/* If the worker has ticked already this turn, it must not sleep before the next. */
	loop_arm(transport->loop, timer, now_us);
}

/* A name is about to be looked up: not by curl. Non-zero ends the transfer, which then waits for its addresses. */
static int on_resolve(void *resolver, void *reserved, void *context)
{
	const struct handle *handle = context;
	char *url = NULL;
	(void)resolver;
	(void)reserved;
	struct transfer *transfer = handle->transfer;
	transfer->turned |= transfer->connected; /* as open_socket */
	curl_easy_getinfo(handle->easy, CURLINFO_EFFECTIVE_URL, &url);
	transfer->unresolved =
		!transfer->turned && !transfer->connect_to && !transfer->addresses && url && upstream_url_is_named(url);
	return transfer->unresolved || transfer->turned;
}

/* --- life --- */

static_assert(HANDLE_ERROR_BYTES == CURL_ERROR_SIZE, "curl writes as much");

static void free_handle(struct handle *handle)
{
	curl_easy_cleanup(handle->easy);
	free(handle);
}

/* The one used last; NULL: there is none. */
static struct handle *take_spare(struct connections *connections)
{
	struct handle *handle = TAILQ_FIRST(&connections->spares);
	if (!handle)
		return NULL;
	TAILQ_REMOVE(&connections->spares, handle, sibling);
	TAILQ_REMOVE(&connections->transport->spares, handle, next);
	connections->transport->spare_count--;
	return handle;
}

static void keep_spare(struct handle *handle)
{
	struct transport *transport = handle->connections->transport;
	TAILQ_INSERT_HEAD(&handle->connections->spares, handle, sibling);
	TAILQ_INSERT_HEAD(&transport->spares, handle, next);
	if (++transport->spare_count <= SPARE_HANDLES)
		return;
	struct handle *oldest = TAILQ_LAST(&transport->spares, handles);
	TAILQ_REMOVE(&oldest->connections->spares, oldest, sibling);
	TAILQ_REMOVE(&transport->spares, oldest, next);
	transport->spare_count--;
	free_handle(oldest);
}

void transport_drop_spares(struct connections *connections)
{
	struct handle *handle;
	while ((handle = take_spare(connections)))
		free_handle(handle);
}

static bool set_multi(struct transport *transport, size_t max_connections)
{
	CURLM *multi = transport->multi = curl_multi_init();
	transport->share = curl_share_init();
	return multi && transport->share &&
	       curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, sockets_changed) == CURLM_OK &&
	       curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, transport) == CURLM_OK &&
	       curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer) == CURLM_OK &&
	       curl_multi_setopt(multi, CURLMOPT_TIMERDATA, transport) == CURLM_OK &&
	       /* curl counts busy connections too, and by default shrinks the pool as a burst ends */
	       curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long)max_connections) == CURLM_OK &&
	       curl_multi_setopt(multi, CURLMOPT_PIPELINING, (long)CURLPIPE_MULTIPLEX) == CURLM_OK &&
	       /* one thread: no lock functions needed */
	       curl_share_setopt(transport->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION) == CURLSHE_OK;
}

struct transport *transport_new(struct loop *loop, struct meter *meter, size_t max_connections)
{
	struct transport *transport = calloc(1, sizeof *transport);
	if (!transport)
		return NULL;
	transport->loop = loop;
	transport->meter = meter;
	transport->timer = LOOP_TIMER_INIT(timer_fired);
	transport->max_connections = max_connections;
	TAILQ_INIT(&transport->progressed);
	TAILQ_INIT(&transport->large);
	sockets_init(transport);
	names_init(&transport->names);
	unconnected_init(&transport->unconnected);
	TAILQ_INIT(&transport->spares);
	if (!loop_timers_reserve(loop, TRANSPORT_TIMERS)) {
		free(transport);
		return NULL;
	}
	if (!set_multi(transport, max_connections)) {
		transport_free(transport);
		return NULL;
	}
	return transport;
}

void transport_grow(struct transport *transport, size_t max_connections)
{
	assert_owner(loop_owner(transport->loop));
	if (max_connections <= transport->max_connections)
		return;
	transport->max_connections = max_connections;
	curl_multi_setopt(transport->multi, CURLMOPT_MAXCONNECTS, (long)max_connections);
}

void transport_free(struct transport *transport)
{
	if (!transport)
		return;
	assert(transport->under_way == 0);
	assert(transport->spare_count == 0);
	if (transport->multi)
		curl_multi_cleanup(transport->multi);
	if (transport->share)
		curl_share_cleanup(transport->share);
	sockets_free(transport);
	loop_disarm(transport->loop, &transport->timer);
	loop_disarm(transport->loop, &transport->names.timer);
	loop_disarm(transport->loop, &transport->unconnected.timer);
	loop_timers_release(transport->loop, TRANSPORT_TIMERS);
	free(transport);
}

/* --- what is held --- */

void transport_set_account(struct transport *transport, const struct byte_account *account)
{
	assert(transport->under_way == 0 || transport->account.held == account->held);
	transport->account = *account;
}

/* False: there is no room, which is counted. */
static bool take_room(const struct transport *transport, size_t bytes)
{
	if (byte_account_take(&transport->account, bytes)) {
		meter_move(transport->meter, METRIC_ID_IN_FLIGHT_BYTES, 0, 0, (int64_t)bytes);
		return true;
	}
	meter_add(transport->meter, METRIC_ID_REJECTED, REJECT_IN_FLIGHT_BYTES, 0, 1);
	return false;
}

static void give_room(const struct transport *transport, size_t bytes)
{
	byte_account_give(&transport->account, bytes);
	meter_move(transport->meter, METRIC_ID_IN_FLIGHT_BYTES, 0, 0, -(int64_t)bytes);
}

bool transport_hold(struct transport *transport, size_t bytes)
{
	if (!transport)
		return true;
	bool room = take_room(transport, bytes);
	if (room)
		meter_move(transport->meter, METRIC_ID_ANSWER_BYTES, 0, 0, (int64_t)bytes);
	return room;
}

void transport_let_go(struct transport *transport, size_t bytes)
{
	if (!transport)
		return;
	give_room(transport, bytes);
	meter_move(transport->meter, METRIC_ID_ANSWER_BYTES, 0, 0, -(int64_t)bytes);
}

bool transport_hold_request(struct transport *transport, size_t bytes)
{
	return !transport || take_room(transport, bytes);
}

void transport_let_go_request(struct transport *transport, size_t bytes)
{
	if (transport)
		give_room(transport, bytes);
}

/* --- handles --- */

#define SET(option, value)                                                                                             \
	do {                                                                                                           \
		if (curl_easy_setopt(easy, CURLOPT_##option, (value)) != CURLE_OK)                                     \
			return false;                                                                                  \
	} while (0)

/* Settings that never change. */
static bool set_constants(const struct transport *transport, struct handle *handle)
{
	CURL *easy = handle->easy;
	SET(NOSIGNAL, 1L);
	SET(QUICK_EXIT, 1L); /* else a hung resolver blocks the loop for seconds */
	SET(CAPATH, NULL);   /* with a CA path set, the CA bundle is parsed anew for every connection: 50 ms */
	SET(PROXY, "");      /* http_proxy of the environment is not for us */
	SET(NOPROXY, "*");
	SET(NETRC, (long)CURL_NETRC_IGNORED);
	SET(PROTOCOLS_STR, "http,https");
	SET(FOLLOWLOCATION, 0L); /* a redirect would carry our credentials elsewhere */
	SET(PIPEWAIT, 1L);       /* HTTP/2: a burst waits for one connection instead of opening one each */
	SET(HTTP09_ALLOWED, 0L);
	SET(PATH_AS_IS, 1L); /* what the templates wrote is what is sent */
	SET(SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	SET(TCP_KEEPALIVE, 1L);
	SET(BUFFERSIZE, (long)RECEIVE_BYTES);
	SET(UPLOAD_BUFFERSIZE, 16384L); /* not 64 KiB a transfer: bodies are small and come from memory */
	SET(MAXLIFETIME_CONN, (long)CONNECTION_LIFETIME_S);
	SET(SHARE, transport->share);
	SET(PRIVATE, (char *)handle);
	SET(ERRORBUFFER, handle->error);
	SET(OPENSOCKETFUNCTION, connections_open_socket);
	SET(OPENSOCKETDATA, handle);
	SET(CLOSESOCKETFUNCTION, connections_close_socket);
	SET(CLOSESOCKETDATA, handle->connections); /* outlives the handle: a kept connection closes when it will */
	SET(RESOLVER_START_FUNCTION, on_resolve);
	SET(RESOLVER_START_DATA, handle);
	return true;
}

static struct handle *new_handle(struct connections *connections)
{
	struct handle *handle = calloc(1, sizeof *handle);
	if (!handle)
		return NULL;
	handle->connections = connections;
	handle->easy = curl_easy_init();
	if (handle->easy && set_constants(connections->transport, handle))
		return handle;
	free_handle(handle);
	return NULL;
}

bool transport_prepare(struct transfer *transfer)
{
	assert_owner(loop_owner(transfer->transport->loop));
	struct connections *connections = transfer->connections;
	assert(!transfer->handle);
	struct handle *handle = take_spare(connections);
	if (!handle)
		handle = new_handle(connections);
	if (!handle)
		return false;
	handle->transfer = transfer;
	transfer->handle = handle;
	transfer->easy = handle->easy;
	TAILQ_INSERT_TAIL(&connections->transfers, transfer, sibling);
	transfer->transport->under_way++;
	return true;
}

/* What is left of its time. */
static bool set_times(const struct transfer *transfer)
{
	struct handle *handle = transfer->handle;
	uint64_t waited_us = loop_now(transfer->transport->loop) - transfer->begun_us;
	long waited_ms = (long)(waited_us / CLOCK_US_PER_MS);
	if (waited_ms >= transfer->timeout_ms || waited_ms >= transfer->connect_timeout_ms)
		return false;
	HANDLE_SET(handle, CONNECTTIMEOUT_MS, connect_timeout_ms, transfer->connect_timeout_ms - waited_ms);
	HANDLE_SET(handle, TIMEOUT_MS, timeout_ms, transfer->timeout_ms - waited_ms);
	return true;
}

bool transport_put_in(struct transfer *transfer)
{
	HANDLE_SET(transfer->handle, CONNECT_TO, connect_to, transfer->connect_to);
	if (!set_times(transfer) || curl_multi_add_handle(transfer->transport->multi, transfer->easy) != CURLM_OK)
		return false;
	transfer->handle->set.all = true;
	transfer->added = true;
	transfer->kept_fd = -1;
	transfer->done = transfer->connected = transfer->turned = transfer->starved = transfer->unresolved = false;
	unconnected_add(transfer);
	return true;
}

static void forget_addresses(struct transfer *transfer)
{
	if (!transfer->addresses)
		return;
	curl_easy_setopt(transfer->easy, CURLOPT_RESOLVE, NULL);
	curl_slist_free_all(transfer->addresses);
	transfer->addresses = NULL;
}

bool transport_start(struct transfer *transfer)
{
	assert_owner(loop_owner(transfer->transport->loop));
	assert(transfer->easy && !transfer->added && !transfer->lookup);
	forget_addresses(transfer);
	transfer->begun_us = loop_now(transfer->transport->loop);
	return transport_put_in(transfer);
}

const char *transport_error(const struct transfer *transfer)
{
	return transfer->handle ? transfer->handle->error : "";
}

/* Out of the multi handle: a whole answer leaves its connection for the next, a broken-off one closes it. */
static void take_out(struct transfer *transfer)
{
	if (!transfer->added)
		return;
	transfer->added = false;
	unconnected_remove(transfer);
	curl_multi_remove_handle(transfer->transport->multi, transfer->easy);
	connections_check_opened(transfer);
	transfer->opened_count = 0; /* what is left is a kept connection */
	connections_let_go(transfer);
}

bool transport_put_in_anew(struct transfer *transfer)
{
	take_out(transfer);
	return transport_put_in(transfer);
}

static void unlist_transfer(struct transfer *transfer)
{
	if (transfer->listed)
		TAILQ_REMOVE(transfer->listed, transfer, next);
	transfer->listed = NULL;
}

void transport_mark(struct transfer *transfer, size_t bytes)
{
	struct transport *transport = transfer->transport;
	loop_spend(transport->loop, bytes);
	struct transfers *list = transfer->gathered < LARGE_BYTES ? &transport->progressed : &transport->large;
	if (transfer->listed == list)
		return;
	unlist_transfer(transfer);
	transfer->listed = list;
	TAILQ_INSERT_TAIL(list, transfer, next);
}

void transport_distrust(struct transfer *transfer)
{
	int fd = transfer->kept_fd;
	transfer->kept_fd = -1;
	sockets_end_kept(transfer->transport, fd);
}

void transport_stop(struct transfer *transfer)
{
	struct handle *handle = transfer->handle;
	if (!handle)
		return;
	take_out(transfer);
	names_forget(transfer);
	forget_addresses(transfer);
	unlist_transfer(transfer);
	TAILQ_REMOVE(&transfer->connections->transfers, transfer, sibling);
	transfer->transport->under_way--;
	transfer->handle = NULL;
	transfer->easy = NULL;
	handle->transfer = NULL;
	if (transfer->particular)
		free_handle(handle);
	else
		keep_spare(handle);
}

void transport_end(struct transfer *transfer, int result)
{
	if (!transfer->done)
		transfer->result = result;
	transfer->done = true;
	transport_mark(transfer, 0);
}

/* --- the turn --- */

/* Which connection it leaves behind, if it was so quick that curl never took that off. curl looks through all of its
 * connections for it, and tells while the handle is in the multi handle. */
static void note_kept(struct transfer *transfer)
{
	curl_socket_t fd = CURL_SOCKET_BAD;
	if (transfer->kept_fd >= 0)
		return;
	bool known = curl_easy_getinfo(transfer->easy, CURLINFO_ACTIVESOCKET, &fd) == CURLE_OK;
	transfer->kept_fd = known && fd != CURL_SOCKET_BAD ? fd : -1;
}

static void note_version(struct transfer *transfer)
{
	long version = transport_version_of(transfer);
	if (transfer->handle->set.version != CURL_HTTP_VERSION_1_1 && version)
		connections_note_answered(transfer->connections, version != CURL_HTTP_VERSION_2_0);
}

static void collect_done(struct transport *transport)
{
	CURLMsg *message;
	int left;
	while ((message = curl_multi_info_read(transport->multi, &left))) {
		struct transfer *transfer = transport_transfer_of(message->easy_handle);
		int result = (int)message->data.result;
		note_kept(transfer);
		note_version(transfer);
		take_out(transfer); /* the message dies with this */
		if (transfer->unresolved && !transfer->done)
			names_wait(transfer);
		else
			transport_end(transfer, result);
	}
}

static void notify_owner(struct transfer *transfer)
{
	unlist_transfer(transfer);
	if (transfer->done)
		take_out(transfer); /* given up, but curl does not know */
	transfer->on_progress(transfer);
}

/* Small answers do not wait behind large ones. Whoever hears may start and stop transfers. */
static void notify_owners(struct transport *transport)
{
	struct transfer *transfer;
	while ((transfer = TAILQ_FIRST(&transport->progressed)))
		notify_owner(transfer);
	if (transport->turn != loop_turn(transport->loop))
		transport->heard = 0;
	transport->turn = loop_turn(transport->loop);
	while (transport->heard < HEAR_BYTES && (transfer = TAILQ_FIRST(&transport->large))) {
		transport->heard += transfer->gathered;
		notify_owner(transfer);
	}
}

bool transport_waits(const struct transport *transport)
{
	return transport->due || !TAILQ_EMPTY(&transport->large) || !TAILQ_EMPTY(&transport->put_off);
}

/* What curl does when it is due may be to read on in an answer. Where a turn has read enough it waits for the next one. */
static bool may_act(struct transport *transport, bool first)
{
	uint64_t turn = loop_turn(transport->loop);
	if (!loop_spent(transport->loop) || (first && transport->postponed_turn && transport->postponed_turn != turn))
		return true;
	transport->postponed_turn = turn;
	return false;
}

static void act_on_due(struct transport *transport)
{
	int running;
	transport->due = false;
	transport->postponed_turn = 0;
	curl_multi_socket_action(transport->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	if (loop_spent(transport->loop))
		transport->acted_turn = loop_turn(transport->loop);
}

/* What curl has due, and what it reads from sockets that were passed over, take turns in being the first: it is due as long
 * as a long answer comes in as quickly as it is read. */
static void drive_curl(struct transport *transport)
{
	bool first = transport->acted_turn + 1 != loop_turn(transport->loop);
	if (!first)
		sockets_read_on(transport);
	if (transport->due && may_act(transport, first))
		act_on_due(transport);
	sockets_read_on(transport);
}

void transport_tick(struct transport *transport)
{
	assert_owner(loop_owner(transport->loop));
	if (names_awaited(&transport->names))
		names_look(transport);
	if (transport->timer.place && transport->timer.due_us <= loop_now(transport->loop)) {
		loop_disarm(transport->loop, &transport->timer);
		transport->due = true;
	}
	drive_curl(transport);
	collect_done(transport);
	unconnected_look(transport); /* behind curl: whose connection has come about is not among them any more */
	if (names_awaited(&transport->names)) /* those that have begun to wait */
		names_look(transport);
	if (!TAILQ_EMPTY(&transport->progressed) || !TAILQ_EMPTY(&transport->large))
		loop_refresh(transport->loop); /* curl may have sent and read within this call */
	notify_owners(transport);
}
