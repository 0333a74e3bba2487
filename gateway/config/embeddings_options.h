/* SPDX-License-Identifier: Apache-2.0 */
/* embeddings_options.h: the rows of the option table that are dialect openai-embeddings' (options.h). */
#ifndef JITNEY_GATEWAY_CONFIG_EMBEDDINGS_OPTIONS_H
#define JITNEY_GATEWAY_CONFIG_EMBEDDINGS_OPTIONS_H

/* clang-format off */
#define EMBEDDINGS_TOOL_ROWS(B, V, L, T)                                                                               \
	T("tools.*.models", tool_draft, tool.models, tool.model_count, 0, 256, 256, NULL,                              \
	  "dialect openai-embeddings: the models that POST /v1/embeddings gives to it; none: all that no other names.")
/* clang-format on */

#endif
