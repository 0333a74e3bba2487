/* SPDX-License-Identifier: Apache-2.0 */
/* test_target.c: which of a name's addresses `jitney perf` calls. */
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "gateway/cli/perf/target.h"

static struct sockaddr_in addresses[2];
static struct addrinfo list[2];

/* In place of the C library's: a name with two addresses, as Debian's /etc/hosts has it for localhost. */
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found);
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
	(void)hints;
	if (strcmp(name, "two") != 0)
		return EAI_NONAME;
	for (size_t i = 0; i < 2; i++) {
		addresses[i] = (struct sockaddr_in){ .sin_family = AF_INET,
						     .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 - (in_addr_t)i) };
		unsigned port;
		assert_int_equal(sscanf(service, "%u", &port), 1);
		addresses[i].sin_port = htons((uint16_t)port);
		list[i] = (struct addrinfo){ .ai_family = AF_INET,
					     .ai_socktype = SOCK_STREAM,
					     .ai_addr = (struct sockaddr *)&addresses[i],
					     .ai_addrlen = sizeof addresses[i],
					     .ai_next = i ? NULL : &list[1] };
	}
	*found = list;
	return 0;
}

void freeaddrinfo(struct addrinfo *found)
{
	assert_ptr_equal(found, list);
}

/* A socket that listens at this address, and its port. */
static int listen_at(in_addr_t address, unsigned *port)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(address) };
	socklen_t bytes = sizeof at;
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_true(fd >= 0 && bind(fd, (struct sockaddr *)&at, bytes) == 0 && listen(fd, 8) == 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &bytes), 0);
	*port = ntohs(at.sin_port);
	return fd;
}

static in_addr_t address_of(unsigned port)
{
	char url[64], error[TARGET_ERROR_BYTES] = "";
	struct target target;
	snprintf(url, sizeof url, "http://two:%u/base/", port);
	assert_true(target_read(url, &target, error));
	assert_string_equal(error, "");
	assert_string_equal(target.base, "/base");
	struct sockaddr_in chosen;
	assert_int_equal(target.address_len, sizeof chosen);
	memcpy(&chosen, &target.address, sizeof chosen);
	assert_int_equal(ntohs(chosen.sin_port), port);
	return ntohl(chosen.sin_addr.s_addr);
}

static void the_first_that_is_listened_at_is_taken(void **state)
{
	(void)state;
	static const in_addr_t first = INADDR_LOOPBACK + 1, second = INADDR_LOOPBACK;
	unsigned port;
	int fd = listen_at(second, &port);
	assert_int_equal(address_of(port), second);
	close(fd);
	assert_int_equal(address_of(port), first); /* nobody is there: what comes of it is told by who calls */
	fd = listen_at(INADDR_ANY, &port);
	assert_int_equal(address_of(port), first);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(the_first_that_is_listened_at_is_taken) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
