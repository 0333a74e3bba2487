/* SPDX-License-Identifier: Apache-2.0 */
/* version.c: which HTTP this libcurl can speak. */
#include <curl/curl.h>
#include <strings.h>

#include "upstream/upstream.h"

const char *upstream_http2_fault(const char *url)
{
	const curl_version_info_data *version = curl_version_info(CURLVERSION_NOW);
	if (!(version->features & CURL_VERSION_HTTP2))
		return "this libcurl has been built without HTTP/2";
	/* the second request of a connection ends with "framing layer": mended in curl 8.0.0 */
	if (version->version_num < CURL_VERSION_BITS(8, 0, 0) && strncasecmp(url, "https://", 8) != 0)
		return "without TLS it needs libcurl 8.0.0 or newer";
	return NULL;
}
