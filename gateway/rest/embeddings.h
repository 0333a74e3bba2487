/* SPDX-License-Identifier: Apache-2.0 */
/* embeddings.h: POST /v1/embeddings, on OpenAI's wire: each input becomes a call of the tool that serves its model. */
#ifndef JITNEY_GATEWAY_REST_EMBEDDINGS_H
#define JITNEY_GATEWAY_REST_EMBEDDINGS_H

#include "gateway/call/front.h"
#include "gateway/call/route.h"

route_function embeddings_serve;
/* {"error":{"message":...,"type":...,"param":null,"code":...}} */
extern const struct wire wire_openai;

#endif
