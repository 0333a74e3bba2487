/* answer.c: how one call ended, with its bytes. */
#include "base/answer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/utf8.h"

/* What a call is told when there is no memory even for its error. The high count keeps it from being freed. */
static struct answer out_of_memory = {
	.refs = 1u << 30,
	.outcome = OUTCOME_OVERLOADED,
	.retry_after_s = 1,
	.detail = "The gateway is out of memory; try again later.",
	.body = "",
};

static struct answer *answer_alloc(enum outcome outcome, struct slice body)
{
	if (body.len > SIZE_MAX - sizeof(struct answer) - 1)
		return NULL;
	struct answer *answer = malloc(sizeof *answer + body.len + 1);
	if (!answer)
		return NULL;
	atomic_init(&answer->refs, 1);
	answer->outcome = outcome;
	answer->upstream_status = 0;
	answer->retry_after_s = 0;
	answer->json = false;
	answer->content_type[0] = '\0';
	answer->detail[0] = '\0';
	answer->body_len = body.len;
	if (body.len)
		memcpy(answer->body, body.at, body.len);
	answer->body[body.len] = '\0';
	return answer;
}

struct answer *answer_result(struct slice body, bool json, const char *content_type)
{
	struct answer *answer = answer_alloc(OUTCOME_OK, body);
	if (!answer)
		return NULL;
	answer->json = json;
	if (!content_type)
		content_type = "application/json";
	if (strlen(content_type) >= sizeof answer->content_type)
		content_type = "application/octet-stream";
	memcpy(answer->content_type, content_type, strlen(content_type) + 1);
	return answer;
}

static void set_detail(struct answer *answer, const char *format, va_list args) PRINTF_LIKE(2, 0);

static void set_detail(struct answer *answer, const char *format, va_list args)
{
	int wanted = vsnprintf(answer->detail, sizeof answer->detail, format, args);
	if (wanted < (int)sizeof answer->detail)
		return;
	/* cut at a character's border: the detail goes into a JSON string */
	size_t end = sizeof answer->detail - 1, last = end;
	while (last > 0 && last + 4 > end && ((unsigned char)answer->detail[--last] & 0xC0) == 0x80)
		continue;
	if ((unsigned char)answer->detail[last] >= 0xC0 && utf8_char(answer->detail + last, end - last) == 0)
		end = last;
	answer->detail[end] = '\0';
}

struct answer *answer_error(enum outcome outcome, const char *format, ...)
{
	struct answer *answer = answer_alloc(outcome, (struct slice){ NULL, 0 });
	if (!answer)
		return answer_ref(&out_of_memory);
	va_list args;
	va_start(args, format);
	set_detail(answer, format, args);
	va_end(args);
	return answer;
}

struct answer *answer_upstream_error(enum outcome outcome, unsigned upstream_status, uint32_t retry_after_s,
				     struct slice upstream, const char *format, ...)
{
	struct answer *answer = answer_alloc(outcome, upstream);
	if (!answer)
		return answer_ref(&out_of_memory);
	answer->upstream_status = (uint16_t)upstream_status;
	answer->retry_after_s = retry_after_s;
	answer->json = upstream.len > 0;
	va_list args;
	va_start(args, format);
	set_detail(answer, format, args);
	va_end(args);
	return answer;
}

struct answer *answer_ref(struct answer *answer)
{
	atomic_fetch_add_explicit(&answer->refs, 1, memory_order_relaxed);
	return answer;
}

void answer_unref(struct answer *answer)
{
	if (answer && atomic_fetch_sub_explicit(&answer->refs, 1, memory_order_acq_rel) == 1)
		free(answer);
}
