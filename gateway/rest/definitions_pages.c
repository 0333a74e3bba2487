/* SPDX-License-Identifier: Apache-2.0 */
/* definitions_pages.c: GET /v1/tools, /v1/tools/{tool} and /openapi.json: what callers can learn about the tools. */
#include "gateway/rest/definitions_pages.h"

#include "gateway/call/front.h"
#include "gateway/call/reply.h"
#include "gateway/call/world.h"
#include "gateway/tools/definitions.h"

static void reply_document(struct request *request, const struct document *document)
{
	struct reply reply UNCLEARED;
	bool unchanged = reply_none_match(request, document->etag);
	reply_init(&reply, unchanged ? 304 : 200);
	reply_header_text(&reply, "X-Request-Id", slice_of(request->id));
	reply_header_text(&reply, "ETag", slice_of(document->etag));
	reply_header_text(&reply, "Cache-Control", SLICE("no-cache"));
	reply.content_type = unchanged ? NULL : "application/json";
	reply.body = blob_slice(document->blob); /* a 304 tells its length */
	reply.blob = document->blob;
	request_reply(request, &reply);
}

static enum definition_format wanted_format(struct request *request)
{
	struct slice word = request_query(request, SLICE("format"));
	enum definition_format format = definition_format(word);
	if (format == FORMAT_COUNT)
		reply_problem(request, OUTCOME_INVALID_REQUEST, NULL,
			      "format must be one of jitney, mcp, openai, openai-responses, anthropic, gemini.");
	return format;
}

void page_tools(struct worker *worker, struct request *request, struct slice rest)
{
	(void)rest;
	enum definition_format format = wanted_format(request);
	if (format != FORMAT_COUNT)
		reply_document(request, definitions_list(catalogue_definitions(worker_catalogue(worker)), format));
}

void page_tool(struct worker *worker, struct request *request, struct slice rest)
{
	const struct tool *tool = catalogue_tool(worker_catalogue(worker), rest);
	if (!tool) {
		reply_answer(request, front_unknown_tool(worker, rest));
		return;
	}
	enum definition_format format = wanted_format(request);
	struct document document;
	if (format == FORMAT_COUNT)
		return;
	if (!definition_name_fits(tool, format)) {
		reply_problem(request, OUTCOME_INVALID_REQUEST, NULL,
			      "The tool's name, or a name in its schema, does not fit the rules of that format.");
		return;
	}
	if (!definitions_tool(worker_generation(worker), tool, format, &document)) {
		reply_problem(request, OUTCOME_OVERLOADED, NULL, "The gateway is out of memory.");
		return;
	}
	reply_document(request, &document);
	blob_unref(document.blob);
}

void page_openapi(struct worker *worker, struct request *request, struct slice rest)
{
	(void)rest;
	reply_document(request, definitions_openapi(catalogue_definitions(worker_catalogue(worker))));
}
