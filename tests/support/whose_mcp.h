/* SPDX-License-Identifier: Apache-2.0 */
/* whose_mcp.h: MCP servers on the fake wire: sessions, lists of tools, and how answers to calls are dressed. */
#ifndef TESTS_SUPPORT_WHOSE_MCP_H
#define TESTS_SUPPORT_WHOSE_MCP_H

#include "tests/support/whose_speech.h"

void whose_mcp_begin(unsigned *seed);
/* True: the request was none that carries calls, and has been answered. */
bool whose_mcp_control(struct http_exchange *exchange, const struct heard *heard);
/* True: it was refused unseen, because the session is gone, or because it is an array. */
bool whose_mcp_refuses(struct http_exchange *exchange, const struct heard *heard);
/* An answer as a server sends it: as JSON, or as events. True: the stream may be taken up again if it breaks off. */
bool whose_mcp_dress(struct http_exchange *exchange, const struct heard *heard, struct buf *body);
/* How many streams were taken up again where they had broken off. */
size_t whose_mcp_resumed(void);

#endif
