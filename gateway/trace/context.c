/* SPDX-License-Identifier: Apache-2.0 */
/* context.c: 00-TRACE-SPAN-FLAGS (W3C Trace Context, 3.2). */
#include "gateway/trace/context.h"

enum { TRACE_AT = 3, SPAN_AT = 36, FLAGS_AT = 53, HALF_DIGITS = 16 };

static uint64_t read_digits(const char *text, int count)
{
	uint64_t number = 0;
	for (int i = 0; i < count; i++) {
		unsigned char c = (unsigned char)text[i];
		number = number << 4 | (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
	}
	return number;
}

static void write_digits(char *text, uint64_t number, int count)
{
	for (int i = count; i-- > 0; number >>= 4)
		text[i] = "0123456789abcdef"[number & 15];
}

struct trace_context trace_context_read(struct slice traceparent)
{
	if (traceparent.len != TRACEPARENT_BYTES)
		return (struct trace_context){ 0 };
	const char *text = traceparent.at;
	return (struct trace_context){
		.trace = { read_digits(text + TRACE_AT, HALF_DIGITS),
			   read_digits(text + TRACE_AT + HALF_DIGITS, HALF_DIGITS) },
		.span = read_digits(text + SPAN_AT, HALF_DIGITS),
		.flags = (uint8_t)read_digits(text + FLAGS_AT, 2),
	};
}

void trace_context_write(const struct trace_context *context, char text[TRACEPARENT_BYTES + 1])
{
	memcpy(text, "00-", TRACE_AT);
	write_digits(text + TRACE_AT, context->trace[0], HALF_DIGITS);
	write_digits(text + TRACE_AT + HALF_DIGITS, context->trace[1], HALF_DIGITS);
	text[SPAN_AT - 1] = text[FLAGS_AT - 1] = '-';
	write_digits(text + SPAN_AT, context->span, HALF_DIGITS);
	write_digits(text + FLAGS_AT, context->flags, 2);
	text[TRACEPARENT_BYTES] = '\0';
}
