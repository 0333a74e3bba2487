/* SPDX-License-Identifier: Apache-2.0 */
/*
 * raw_curl.c: the raw limit of the back: libcurl's multi handle by its socket interface on epoll, reused easy handles,
 * kept connections, nothing else. N requests under way at a time; prints its own CPU time per request as one JSON line.
 */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>

enum { EVENTS = 256 };

static CURLM *multi;
static int loop;
static long wait_ms = -1;
static unsigned long left, done, failed;

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *context, void *known)
{
	struct epoll_event event = { .data.fd = fd };
	(void)easy;
	(void)context;
	if (what == CURL_POLL_REMOVE) {
		epoll_ctl(loop, EPOLL_CTL_DEL, fd, NULL);
		return 0;
	}
	event.events = (what & CURL_POLL_IN ? EPOLLIN : 0u) | (what & CURL_POLL_OUT ? EPOLLOUT : 0u);
	epoll_ctl(loop, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event);
	curl_multi_assign(multi, fd, &loop);
	return 0;
}

static int on_timer(CURLM *handle, long timeout_ms, void *context)
{
	(void)handle;
	(void)context;
	wait_ms = timeout_ms;
	return 0;
}

static size_t swallow(char *bytes, size_t size, size_t count, void *context)
{
	(void)bytes;
	(void)context;
	return size * count;
}

static void begin(CURL *easy)
{
	if (left == 0)
		return;
	left--;
	curl_multi_add_handle(multi, easy);
}

static CURL *prepare(const char *url, const char *body, struct curl_slist *headers)
{
	CURL *easy = curl_easy_init();
	if (!easy)
		exit(1);
	curl_easy_setopt(easy, CURLOPT_URL, url);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, 10000L);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, swallow);
	return easy;
}

static void collect(void)
{
	CURLMsg *message;
	int more;
	while ((message = curl_multi_info_read(multi, &more))) {
		CURL *easy = message->easy_handle;
		failed += message->data.result != CURLE_OK;
		done++;
		curl_multi_remove_handle(multi, easy);
		begin(easy);
	}
}

static void run(unsigned long wanted)
{
	struct epoll_event events[EVENTS];
	int running;
	while (done < wanted) {
		int count = epoll_wait(loop, events, EVENTS, wait_ms < 0 || wait_ms > 1000 ? 1000 : (int)wait_ms);
		for (int i = 0; i < count; i++) {
			int mask = (events[i].events & (EPOLLIN | EPOLLHUP) ? CURL_CSELECT_IN : 0) |
				   (events[i].events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
				   (events[i].events & EPOLLERR ? CURL_CSELECT_ERR : 0);
			curl_multi_socket_action(multi, events[i].data.fd, mask, &running);
		}
		if (count <= 0 || wait_ms == 0) {
			wait_ms = -1;
			curl_multi_socket_action(multi, CURL_SOCKET_TIMEOUT, 0, &running);
		}
		collect();
	}
}

static double cpu_us(void)
{
	struct rusage usage;
	getrusage(RUSAGE_SELF, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 + (double)usage.ru_utime.tv_usec +
	       (double)usage.ru_stime.tv_usec;
}

int main(int argc, char **argv)
{
	if (argc != 5) {
		fputs("usage: raw_curl URL BODY REQUESTS UNDER_WAY\n", stderr);
		return 2;
	}
	unsigned long wanted = strtoul(argv[3], NULL, 10), at_once = strtoul(argv[4], NULL, 10);
	struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
	curl_global_init(CURL_GLOBAL_DEFAULT);
	multi = curl_multi_init();
	loop = epoll_create1(EPOLL_CLOEXEC);
	if (!multi || loop < 0 || wanted == 0 || at_once == 0 || at_once > 1000)
		return 1;
	curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer);
	curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long)at_once * 2);
	left = wanted;
	CURL **handles = calloc(at_once, sizeof *handles);
	if (!handles)
		return 1;
	double before = cpu_us();
	for (unsigned long i = 0; i < at_once; i++)
		begin(handles[i] = prepare(argv[1], argv[2], headers));
	run(wanted);
	printf("{\"requests\":%lu,\"failed\":%lu,\"cpu_us\":%.3f}\n", done, failed, (cpu_us() - before) / (double)done);
	for (unsigned long i = 0; i < at_once; i++)
		curl_easy_cleanup(handles[i]);
	free(handles);
	curl_slist_free_all(headers);
	curl_multi_cleanup(multi);
	curl_global_cleanup();
	return failed ? 1 : 0;
}
