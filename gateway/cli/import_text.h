/* SPDX-License-Identifier: Apache-2.0 */
/* import_text.h: texts of a stranger's file, so that none of them ends a line of ours or means anything there. */
#ifndef JITNEY_GATEWAY_CLI_IMPORT_TEXT_H
#define JITNEY_GATEWAY_CLI_IMPORT_TEXT_H

#include "base/buf.h"

/* For a comment: between quotes, what is no printable ASCII as \xNN. */
void import_put_shown(struct buf *out, struct slice text);
/* As a scalar of YAML, which takes JSON's strings but for some characters. */
void import_put_quoted(struct buf *out, struct slice text);

#endif
