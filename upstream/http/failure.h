/* SPDX-License-Identifier: Apache-2.0 */
/* failure.h: why a transfer came to nothing, in words for people, as far as they are the same for all who ask. */
#ifndef JITNEY_UPSTREAM_HTTP_FAILURE_H
#define JITNEY_UPSTREAM_HTTP_FAILURE_H

#include <curl/curl.h>

#include "base/buf.h"

/* Append ": connection refused", of the last connection that was tried; nothing, if the system has said nothing. */
void failure_put_os_error(CURL *easy, struct buf *out);
/* Append what is wrong with the other's certificate, after CURLE_PEER_FAILED_VERIFICATION. */
void failure_put_certificate(CURL *easy, struct buf *out);

#endif
