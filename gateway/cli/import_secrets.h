/* SPDX-License-Identifier: Apache-2.0 */
/* import_secrets.h: what in a client's file is likely a secret, which must not be printed. */
#ifndef JITNEY_GATEWAY_CLI_IMPORT_SECRETS_H
#define JITNEY_GATEWAY_CLI_IMPORT_SECRETS_H

#include "base/slice.h"

/* Whether the text begins so. */
bool import_begins(struct slice text, const char *with);
/* Whether something of this name is likely a secret. */
bool import_sounds_secret(struct slice name);
/* Whether a value is likely a secret whatever it is called: issuers' prefixes, URLs with a password, random text. */
bool import_looks_secret(struct slice text);
/* Whether a part of a URL's path is: many a server knows its users by nothing else. */
bool import_opens_doors(struct slice segment);

#endif
