/* SPDX-License-Identifier: Apache-2.0 */
/* One connection to Redis: set up, pipelined, timed, lost and made again, against a real server and a lying one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cache/redis/redis_connection_private.h"
#include "tests/support/alloc_fail.h"
#include "tests/support/redis_server.h"
#include "tests/support/until.h"

enum { PATIENCE_MS = 10000 };

struct world {
	struct loop *loop;
	struct redis_settings settings;
	struct redis_connection *connection;
	unsigned ups, downs, messages;
	enum redis_trouble trouble;
	char why[256], message[64];
};

static void note_up(void *context, uint64_t now_us)
{
	(void)now_us;
	((struct world *)context)->ups++;
}

static void note_down(void *context, enum redis_trouble trouble, const char *why, bool was_up, uint64_t now_us)
{
	struct world *world = context;
	(void)now_us;
	(void)was_up;
	world->downs++;
	world->trouble = trouble;
	snprintf(world->why, sizeof world->why, "%s", why);
}

static void note_message(void *context, const redisReply *reply, uint64_t now_us)
{
	struct world *world = context;
	(void)now_us;
	world->messages++;
	if (reply->elements == 3 && reply->element[2]->str)
		snprintf(world->message, sizeof world->message, "%s", reply->element[2]->str);
}

static void open_world(struct world *world, const struct redis_settings *settings)
{
	memset(world, 0, sizeof *world);
	const struct redis_hooks hooks = { note_up, note_down, note_message, world };
	world->settings = *settings;
	world->loop = loop_new();
	assert_non_null(world->loop);
	world->connection = redis_connection_new(world->loop, &world->settings, "test", &hooks);
	assert_non_null(world->connection);
}

static void close_world(struct world *world)
{
	redis_connection_free(world->connection);
	loop_free(world->loop);
}

static void turn(struct world *world, uint64_t most_us)
{
	uint64_t now_us = loop_now(world->loop), deadline = redis_connection_deadline(world->connection);
	loop_wait(world->loop, deadline < now_us + most_us ? deadline : now_us + most_us);
	redis_connection_tick(world->connection, loop_now(world->loop));
}

#define turn_until(world, condition) UNTIL(turn((world), 5 * CLOCK_US_PER_MS), condition)

struct probe {
	struct redis_command command;
	unsigned ended;
	enum command_end end;
	char text[128];
	long long integer;
	int type;
};

static void note_reply(struct redis_command *command, enum command_end end, const redisReply *reply, uint64_t took_us)
{
	struct probe *probe = container_of(command, struct probe, command);
	(void)took_us;
	probe->ended++;
	probe->end = end;
	probe->type = reply ? reply->type : 0;
	probe->integer = reply ? reply->integer : 0;
	snprintf(probe->text, sizeof probe->text, "%s", reply && reply->str ? reply->str : "");
}

static bool send_words(struct world *world, struct probe *probe, size_t argc, const struct slice *argv)
{
	memset(probe, 0, sizeof *probe);
	probe->command.done = note_reply;
	return redis_connection_send(world->connection, &probe->command, argc, argv, loop_now(world->loop));
}

#define send_command(world, probe, ...)                                                                                \
	send_words((world), (probe), sizeof((struct slice[]){ __VA_ARGS__ }) / sizeof(struct slice),                   \
		   (const struct slice[]){ __VA_ARGS__ })

static int need_redis(void)
{
	if (redis_server_exists())
		return 1;
	print_message("no redis-server: skipped\n");
	skip();
	return 0;
}

/* --- a real server --- */

static void commands_sent_together_are_answered_in_order(void **state)
{
	enum { COUNT = 64 };
	static struct probe probes[COUNT];
	struct redis_server server;
	struct world world;
	(void)state;
	if (!need_redis())
		return;
	redis_server_start(&server, NULL);
	struct redis_settings settings = redis_settings_for(server.path);
	open_world(&world, &settings);
	assert_false(send_command(&world, &probes[0], SLICE("PING"))); /* not up yet */
	turn_until(&world, world.ups == 1);
	for (int i = 0; i < COUNT; i++)
		assert_true(send_command(&world, &probes[i], SLICE("INCR"), SLICE("counter")));
	struct probe extra;
	assert_false(send_command(&world, &extra, SLICE("PING"))); /* max_commands */
	turn_until(&world, probes[COUNT - 1].ended);
	for (int i = 0; i < COUNT; i++) {
		assert_int_equal(probes[i].end, COMMAND_ANSWERED);
		assert_int_equal(probes[i].integer, i + 1);
	}
	assert_int_equal(world.connection->slots.count, 0);
	close_world(&world);
	redis_server_finish(&server);
}

static void values_with_any_bytes_come_back(void **state)
{
	struct redis_server server;
	struct world world;
	struct probe set, get;
	(void)state;
	if (!need_redis())
		return;
	redis_server_start(&server, NULL);
	struct redis_settings settings = redis_settings_for(server.path);
	open_world(&world, &settings);
	turn_until(&world, world.ups == 1);
	size_t len = 3 << 20; /* more than a socket buffer takes at once */
	char *bytes = malloc(len);
	assert_non_null(bytes);
	memset(bytes, 'x', len);
	assert_true(send_command(&world, &set, SLICE("SET"), SLICE("a\0b"), ((struct slice){ bytes, len })));
	assert_true(send_command(&world, &get, SLICE("STRLEN"), SLICE("a\0b")));
	turn_until(&world, get.ended);
	assert_int_equal(get.integer, len);
	assert_true(send_command(&world, &get, SLICE("GET"), SLICE("a\0b")));
	turn_until(&world, get.ended);
	assert_int_equal(get.type, REDIS_REPLY_STRING);
	free(bytes);
	close_world(&world);
	redis_server_finish(&server);
}

static void setup_is_replayed_after_each_connect(void **state)
{
	const char *const options[] = { "--requirepass", "secret", NULL };
	struct redis_server server;
	struct world world;
	struct probe probe;
	(void)state;
	if (!need_redis())
		return;
	redis_server_start(&server, options);
	struct redis_settings settings = redis_settings_for(server.path);
	settings.password = "secret";
	settings.database = 3;
	open_world(&world, &settings);
	turn_until(&world, world.ups == 1);
	assert_true(send_command(&world, &probe, SLICE("CLIENT"), SLICE("GETNAME")));
	turn_until(&world, probe.ended);
	assert_string_equal(probe.text, "test");
	redis_server_kill(&server);
	turn_until(&world, world.downs >= 1);
	redis_server_restart(&server, options);
	turn_until(&world, world.ups == 2);
	assert_true(send_command(&world, &probe, SLICE("CLIENT"), SLICE("LIST")));
	turn_until(&world, probe.ended);
	assert_int_equal(probe.end, COMMAND_ANSWERED);
	assert_true(send_command(&world, &probe, SLICE("SET"), SLICE("k"), SLICE("v")));
	turn_until(&world, probe.ended);
	assert_string_equal(probe.text, "OK");
	close_world(&world);
	redis_server_finish(&server);
}

static void a_wrong_password_is_told(void **state)
{
	const char *const options[] = { "--requirepass", "secret", NULL };
	struct redis_server server;
	struct world world;
	(void)state;
	if (!need_redis())
		return;
	redis_server_start(&server, options);
	struct redis_settings settings = redis_settings_for(server.path);
	settings.password = "wrong";
	open_world(&world, &settings);
	turn_until(&world, world.downs == 1);
	assert_int_equal(world.trouble, REDIS_TROUBLE_AUTH);
	assert_non_null(strstr(world.why, "WRONGPASS"));
	assert_null(strstr(world.why, "secret"));
	close_world(&world);
	settings.password = NULL;
	open_world(&world, &settings);
	turn_until(&world, world.downs == 1);
	assert_int_equal(world.trouble, REDIS_TROUBLE_AUTH);
	assert_int_equal(world.ups, 0);
	close_world(&world);
	redis_server_finish(&server);
}

static void a_frozen_server_costs_the_timeout_and_is_used_again(void **state)
{
	struct redis_server server;
	struct world world;
	struct probe first, second;
	(void)state;
	if (!need_redis())
		return;
	redis_server_start(&server, NULL);
	struct redis_settings settings = redis_settings_for(server.path);
	settings.timeout_us = 20 * CLOCK_US_PER_MS;
	open_world(&world, &settings);
	turn_until(&world, world.ups == 1);
	redis_server_freeze(&server);
	assert_true(send_command(&world, &first, SLICE("GET"), SLICE("k")));
	assert_true(send_command(&world, &second, SLICE("GET"), SLICE("k")));
	redis_connection_cancel(&second.command);
	turn_until(&world, first.ended);
	assert_int_equal(first.end, COMMAND_OVERDUE);
	assert_int_equal(second.ended, 0);
	turn_until(&world, world.downs >= 1); /* a second without any reply: given up */
	redis_server_thaw(&server);
	turn_until(&world, redis_connection_is_up(world.connection));
	assert_int_equal(first.ended, 1);
	assert_int_equal(second.ended, 0);
	close_world(&world);
	redis_server_finish(&server);
}

static void a_subscription_gets_its_messages(void **state)
{
	struct redis_server server;
	struct world world;
	struct probe id;
	(void)state;
	if (!need_redis())
		return;
	redis_server_start(&server, NULL);
	struct redis_settings settings = redis_settings_for(server.path);
	open_world(&world, &settings);
	turn_until(&world, world.ups == 1);
	assert_true(send_command(&world, &id, SLICE("CLIENT"), SLICE("ID")));
	assert_true(redis_connection_subscribe(world.connection, "news"));
	assert_false(send_command(&world, &(struct probe){ 0 }, SLICE("PING")));
	turn_until(&world, world.messages == 1); /* the confirmation */
	assert_true(id.integer > 0);
	redis_server_ask(&server, 3, (const struct slice[]){ SLICE("PUBLISH"), SLICE("news"), SLICE("hello") });
	turn_until(&world, world.messages == 2);
	assert_string_equal(world.message, "hello");
	close_world(&world);
	redis_server_finish(&server);
}

static void commands_under_way_are_lost_with_the_connection(void **state)
{
	struct redis_script script;
	struct world world;
	struct probe probe;
	(void)state;
	redis_script_start(&script);
	struct redis_settings settings = redis_settings_for(script.path);
	open_world(&world, &settings);
	turn_until(&world, (redis_script_look(&script), script.got_len > 0));
	redis_script_say(&script, SLICE("+OK\r\n"));
	turn_until(&world, world.ups == 1);
	assert_true(send_command(&world, &probe, SLICE("GET"), SLICE("k")));
	redis_script_hang_up(&script);
	turn_until(&world, probe.ended);
	assert_int_equal(probe.end, COMMAND_LOST);
	assert_int_equal(world.downs, 1);
	close_world(&world);
	redis_script_finish(&script);
}

/* --- a server that lies --- */

static void nonsense_loses_the_connection_and_nothing_else(void **state)
{
	static const struct slice lies[] = {
		SLICE("HTTP/1.1 400 Bad Request\r\n\r\n"),
		SLICE("+OK\r\n+OK\r\n"),
		SLICE("$-5\r\n"),
		SLICE("*-9\r\n"),
		SLICE("\0\0\0\0"),
		SLICE("$99999999999999999999\r\n"),
		SLICE("*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n"),
		SLICE(":12x\r\n"),
		SLICE("-ERR max number of clients reached\r\n+OK\r\n"),
	};
	(void)state;
	for (size_t i = 0; i < countof(lies); i++)
		for (int late = 0; late < 2; late++) {
			struct redis_script script;
			struct world world;
			redis_script_start(&script);
			struct redis_settings settings = redis_settings_for(script.path);
			settings.connect_timeout_us = 500 * CLOCK_US_PER_MS; /* some of it may go on */
			open_world(&world, &settings);
			turn_until(&world, (redis_script_look(&script), script.got_len > 0));
			if (late) {
				redis_script_say(&script, SLICE("+OK\r\n"));
				turn_until(&world, world.ups == 1);
			}
			redis_script_say(&script, lies[i]);
			if (late)
				redis_script_hang_up(&script);
			turn_until(&world, world.downs >= 1 || world.ups >= 1);
			turn(&world, 0);
			close_world(&world);
			redis_script_finish(&script);
		}
}

/* --- where it is --- */

/* In place of the C library's: a name with two addresses, as Debian's /etc/hosts has it for localhost. */
static bool two_addresses;

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **list)
{
	static struct sockaddr_in6 v6;
	static struct sockaddr_in v4;
	static struct addrinfo second = { .ai_family = AF_INET, .ai_addr = (struct sockaddr *)&v4 };
	static struct addrinfo first = { .ai_family = AF_INET6, .ai_addr = (struct sockaddr *)&v6, .ai_next = &second };
	(void)service;
	(void)hints;
	if (strcmp(name, "localhost") != 0)
		return EAI_NONAME;
	v6.sin6_addr = in6addr_loopback;
	v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	*list = two_addresses ? &first : &second;
	return 0;
}

void freeaddrinfo(struct addrinfo *list)
{
	(void)list;
}

static void the_next_address_is_tried_where_nobody_listens_at_the_first(void **state)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof address;
	struct world world;
	struct redis_settings settings = redis_settings_for("");
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), taken = -1;
	(void)state;
	assert_int_equal(bind(fd, (const struct sockaddr *)&address, len), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
	settings.path[0] = '\0';
	snprintf(settings.node.host, sizeof settings.node.host, "localhost");
	settings.node.port = ntohs(address.sin_port);
	two_addresses = true;
	open_world(&world, &settings);
	turn_until(&world, taken >= 0 || (taken = accept(fd, NULL, NULL)) >= 0);
	assert_int_equal(world.downs, 0);
	two_addresses = false;
	close_world(&world);
	close(taken);
	close(fd);
}

static void a_name_is_resolved_beside_the_loop(void **state)
{
	struct world world;
	struct redis_settings settings = redis_settings_for("");
	(void)state;
	settings.path[0] = '\0';
	snprintf(settings.node.host, sizeof settings.node.host, "localhost");
	settings.node.port = 1; /* nobody listens */
	open_world(&world, &settings);
	turn_until(&world, world.downs >= 1);
	assert_true(world.trouble == REDIS_TROUBLE_CONNECT || world.trouble == REDIS_TROUBLE_RESOLVE);
	close_world(&world);
	snprintf(settings.node.host, sizeof settings.node.host, "no-such-host.invalid");
	open_world(&world, &settings);
	turn(&world, 0);
	close_world(&world); /* while it may still be resolving */
}

static void sentinels_that_do_not_answer_are_asked_in_turn(void **state)
{
	struct world world;
	(void)state;
	struct redis_settings settings = redis_settings_for("");
	static const struct redis_node nodes[] = { { "127.0.0.1", 1 }, { "::1", 1 } };
	settings.path[0] = '\0';
	settings.sentinel_name = "mymaster";
	settings.sentinels = nodes;
	settings.sentinel_count = countof(nodes);
	open_world(&world, &settings);
	turn_until(&world, world.downs >= 2);
	assert_int_equal(world.trouble, REDIS_TROUBLE_CONNECT);
	close_world(&world);
}

static void without_memory_it_is_not_made(void **state)
{
	struct redis_settings settings = redis_settings_for("/nowhere");
	const struct redis_hooks hooks = { 0 };
	struct loop *loop = loop_new();
	(void)state;
	for (size_t n = 1;; n++) {
		alloc_fail_at(n);
		struct redis_connection *connection = redis_connection_new(loop, &settings, "x", &hooks);
		size_t asked = alloc_count();
		alloc_reset();
		if (connection) {
			redis_connection_free(connection);
			if (asked < n)
				break;
		}
	}
	loop_free(loop);
}

/* --- URLs --- */

static void urls_are_read(void **state)
{
	struct redis_url url;
	(void)state;
	assert_null(redis_url_parse(SLICE("redis://127.0.0.1:6380/2"), &url));
	assert_string_equal(url.node.host, "127.0.0.1");
	assert_int_equal(url.node.port, 6380);
	assert_int_equal(url.database, 2);
	assert_null(redis_url_parse(SLICE("redis://me:p%40ss@cache.example"), &url));
	assert_string_equal(url.node.host, "cache.example");
	assert_int_equal(url.node.port, REDIS_PORT);
	assert_string_equal(url.username, "me");
	assert_string_equal(url.password, "p@ss");
	assert_null(redis_url_parse(SLICE("redis://:p@ss@[::1]:7"), &url));
	assert_string_equal(url.node.host, "::1");
	assert_string_equal(url.username, "");
	assert_string_equal(url.password, "p@ss");
	assert_null(redis_url_parse(SLICE("unix:/run/redis.sock?db=4"), &url));
	assert_string_equal(url.path, "/run/redis.sock");
	assert_int_equal(url.database, 4);
	assert_null(redis_url_parse(SLICE("unix:///run/redis.sock"), &url));
	assert_string_equal(url.path, "/run/redis.sock");
}

static void urls_that_cannot_be_are_refused(void **state)
{
	static const char *const wrong[] = { "",
					     "http://x",
					     "redis://",
					     "redis://:70000",
					     "redis://h:0",
					     "redis://h:99999",
					     "redis://[::1",
					     "redis://h/x",
					     "redis://h/-1",
					     "redis://a b",
					     "unix:relative",
					     "unix:/p?x=1",
					     "redis://%zz@h",
					     "redis://a%00b@h",
					     "redis://a%4@h",
					     "redis://::1",
					     "rediss:/h" };
	struct redis_url url;
	(void)state;
	for (size_t i = 0; i < countof(wrong); i++)
		assert_non_null(redis_url_parse(slice_of(wrong[i]), &url));
	assert_null(redis_url_parse(SLICE("rediss://h"), &url));
	assert_true(url.tls);
	assert_null(redis_url_parse(SLICE("redis://h"), &url));
	assert_false(url.tls);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(commands_sent_together_are_answered_in_order),
		cmocka_unit_test(values_with_any_bytes_come_back),
		cmocka_unit_test(setup_is_replayed_after_each_connect),
		cmocka_unit_test(a_wrong_password_is_told),
		cmocka_unit_test(a_frozen_server_costs_the_timeout_and_is_used_again),
		cmocka_unit_test(a_subscription_gets_its_messages),
		cmocka_unit_test(commands_under_way_are_lost_with_the_connection),
		cmocka_unit_test(nonsense_loses_the_connection_and_nothing_else),
		cmocka_unit_test(a_name_is_resolved_beside_the_loop),
		cmocka_unit_test(the_next_address_is_tried_where_nobody_listens_at_the_first),
		cmocka_unit_test(sentinels_that_do_not_answer_are_asked_in_turn),
		cmocka_unit_test(without_memory_it_is_not_made),
		cmocka_unit_test(urls_are_read),
		cmocka_unit_test(urls_that_cannot_be_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
