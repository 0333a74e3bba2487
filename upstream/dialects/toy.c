/* toy.c: arguments in an array, results in an array, by place. */
#include "upstream/dialects/toy.h"

#include <stdlib.h>

#include "upstream/dialects/tally.h"

static struct dialect_route *route_new(const struct route_settings *settings, struct dialect_error *error)
{
	struct dialect_route *route = calloc(1, sizeof *route);
	if (!route)
		dialect_no_memory(error);
	else
		route->dialect = settings->own;
	return route;
}

static void route_free(struct dialect_route *route)
{
	free(route);
}

static struct answer *check(const struct dialect_route *route, struct slice arguments)
{
	(void)route;
	(void)arguments;
	return NULL;
}

static bool encode(const struct upstream_call *calls, size_t count, uint64_t first_id, struct http_request *request)
{
	(void)first_id;
	request->method = "POST";
	request->content_type = "application/json";
	for (size_t i = 0; i < count; i++) {
		buf_put_char(&request->body, i ? ',' : '[');
		buf_put(&request->body, calls[i].arguments);
	}
	buf_put_char(&request->body, ']');
	return !request->body.failed;
}

struct toy_decoder {
	struct tally tally;
	struct list_reader list;
	bool answered[];
};

static struct dialect_decoder *decoder_of(const struct dialect *dialect, size_t count, uint64_t first_id,
					  unsigned json_depth, const struct dialect_sink *sink)
{
	struct toy_decoder *decoder = calloc(1, sizeof *decoder + count * sizeof(bool));
	if (!decoder)
		return NULL;
	tally_init(&decoder->tally, dialect, count, first_id, json_depth + 1, sink, decoder->answered);
	list_reader_init(&decoder->list);
	if (tally_by_place(&decoder->tally, true))
		return &decoder->tally.base;
	free(decoder);
	return NULL;
}

static struct toy_decoder *of(struct dialect_decoder *base)
{
	return container_of(base, struct toy_decoder, tally.base);
}

static void take(struct tally *tally, struct slice element)
{
	tally_place(tally, tally_result(tally, element));
}

static bool read_on(struct toy_decoder *decoder, struct slice body, bool last)
{
	static const struct json_path whole = { .set = true };
	return tally_failed(&decoder->tally) ||
	       tally_read_list(&decoder->tally, &decoder->list, &whole, body, last, take);
}

static bool feed(struct dialect_decoder *base, struct slice body)
{
	return read_on(of(base), body, false);
}

static enum outcome finish(struct dialect_decoder *base, struct slice body)
{
	struct tally *tally = &of(base)->tally;
	read_on(of(base), body, true);
	bool some = tally->answered_count > 0;
	if (tally->answered_count < tally->count)
		tally_emit_missing(tally, tally_missing(tally, body));
	return tally_outcome(tally, some);
}

static void decoder_free(struct dialect_decoder *base)
{
	if (!base)
		return;
	tally_fini(&of(base)->tally);
	free(of(base));
}

static void release(struct dialect *dialect)
{
	free(dialect);
}

const struct dialect dialect_toy = {
	.name = "toy",
	.max_calls = 1000,
	.route_new = route_new,
	.route_free = route_free,
	.check = check,
	.encode = encode,
	.decoder_of = decoder_of,
	.head = tally_head,
	.feed = feed,
	.finish = finish,
	.decoder_free = decoder_free,
	.release = release,
};

struct dialect *toy_new(const struct toy_settings *settings)
{
	struct dialect *dialect = malloc(sizeof *dialect);
	if (!dialect)
		return NULL;
	*dialect = dialect_toy;
	dialect->max_calls = settings->max ? settings->max : 10;
	return dialect;
}
