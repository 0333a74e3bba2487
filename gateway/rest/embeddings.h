/* embeddings.h: POST /v1/embeddings, on OpenAI's wire: each input becomes a call of the tool that serves its model. */
#ifndef JITNEY_GATEWAY_REST_EMBEDDINGS_H
#define JITNEY_GATEWAY_REST_EMBEDDINGS_H

#include "gateway/http/http.h"

struct worker;

void embeddings_serve(struct worker *worker, struct request *request, struct slice rest);

#endif
