/* SPDX-License-Identifier: Apache-2.0 */
/* dialect_embeddings.c: dialect openai-embeddings in the configuration: the models that its tools have. */
#include "gateway/config/config_private.h"

static const char *const tool_options[] = { "models", NULL };

const struct config_dialect config_embeddings = { .dialect = &dialect_openai_embeddings, .tool_options = tool_options };
