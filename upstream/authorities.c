/* SPDX-License-Identifier: Apache-2.0 */
/*
 * authorities.c: certificates by OpenSSL, handed to curl in two ways at once. A bundle of the system's size takes 50 ms to
 * take apart, which no connection may cost: so each gets the store that was made once. And curl, which tells connections
 * and sessions apart by what it is told to trust, is told the first certificate under a digest of all.
 */
#include "upstream/authorities.h"

#include <curl/curl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/hex.h"

enum { NAME_BYTES_MAX = 1 << 20 };

struct authorities {
	X509_STORE *store;
	struct buf name; /* what curl tells them by */
};

static void say_why(char *why, size_t why_bytes)
{
	const char *reason = ERR_reason_error_string(ERR_peek_last_error());
	snprintf(why, why_bytes, "is no list of certificates in PEM: %s", reason ? reason : "it cannot be read");
	ERR_clear_error();
}

/* The digest of all, then the first certificate, anew as PEM. */
static bool name_them(struct authorities *authorities, struct slice pem, X509 *first)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	char hex[2 * EVP_MAX_MD_SIZE + 1], *text;
	size_t len = 0;
	BIO *out = BIO_new(BIO_s_mem());
	if (!out || EVP_Q_digest(NULL, "SHA256", NULL, pem.at, pem.len, digest, &len) != 1 ||
	    PEM_write_bio_X509(out, first) != 1) {
		BIO_free(out);
		return false;
	}
	hex_write(hex, digest, len);
	buf_printf(&authorities->name, "%s\n", hex);
	long text_len = BIO_get_mem_data(out, &text);
	buf_put(&authorities->name, (struct slice){ text, (size_t)text_len });
	BIO_free(out);
	return !authorities->name.failed;
}

/* False: `why` has been said, unless memory is out. */
static bool take_all(struct authorities *authorities, struct slice pem, char *why, size_t why_bytes)
{
	BIO *in = BIO_new_mem_buf(pem.at, (int)pem.len);
	STACK_OF(X509_INFO) *found = in ? PEM_X509_INFO_read_bio(in, NULL, NULL, NULL) : NULL;
	X509 *first = NULL;
	bool good = true;
	for (int i = 0; i < sk_X509_INFO_num(found) && good; i++) {
		X509_INFO *info = sk_X509_INFO_value(found, i);
		if (!info->x509)
			continue;
		first = first ? first : info->x509;
		good = X509_STORE_add_cert(authorities->store, info->x509) == 1; /* holds it, too */
	}
	if (in && !found)
		say_why(why, why_bytes);
	else if (found && good && !first)
		snprintf(why, why_bytes, "holds no certificate");
	good = good && first && name_them(authorities, pem, first);
	sk_X509_INFO_pop_free(found, X509_INFO_free);
	BIO_free(in);
	return good;
}

struct authorities *authorities_new(struct slice pem, char *why, size_t why_bytes)
{
	struct authorities *authorities = calloc(1, sizeof *authorities);
	snprintf(why, why_bytes, "out of memory");
	ERR_clear_error();
	if (!authorities)
		return NULL;
	buf_init(&authorities->name, NAME_BYTES_MAX);
	authorities->store = X509_STORE_new();
	/* as curl has it: one of them may itself be vouched for by somebody who is not */
	if (authorities->store &&
	    X509_STORE_set_flags(authorities->store, X509_V_FLAG_TRUSTED_FIRST | X509_V_FLAG_PARTIAL_CHAIN) == 1 &&
	    take_all(authorities, pem, why, why_bytes))
		return authorities;
	authorities_free(authorities);
	return NULL;
}

void authorities_free(struct authorities *authorities)
{
	if (!authorities)
		return;
	X509_STORE_free(authorities->store);
	buf_fini(&authorities->name);
	free(authorities);
}

/* In place of the store that curl has made of the name. */
static CURLcode give_store(CURL *easy, void *context, void *authorities)
{
	(void)easy;
	SSL_CTX_set1_cert_store(context, ((const struct authorities *)authorities)->store);
	return CURLE_OK;
}

bool authorities_use(const struct authorities *authorities, void *easy)
{
	struct slice name = buf_slice(&authorities->name);
	struct curl_blob blob = { .data = (void *)(uintptr_t)name.at, .len = name.len, .flags = CURL_BLOB_COPY };
	return curl_easy_setopt(easy, CURLOPT_CAINFO_BLOB, &blob) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, give_store) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, (void *)(uintptr_t)authorities) == CURLE_OK;
}
