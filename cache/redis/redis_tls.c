/* SPDX-License-Identifier: Apache-2.0 */
/* redis_tls.c: certificates and names, by OpenSSL. */
#include "cache/redis/redis_tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct redis_tls {
	SSL_CTX *context;
	bool system; /* the system's authorities, which are read as they are needed */
};

static void say_why(char *why, size_t why_bytes, const char *what, const char *file)
{
	unsigned long code = ERR_peek_error();
	const char *reason = code && ERR_SYSTEM_ERROR(code) ? strerror(ERR_GET_REASON(code))
			     : code                         ? ERR_reason_error_string(code)
							    : NULL;
	snprintf(why, why_bytes, "%s%s: %s", what, file, reason ? reason : "it is of no use");
	ERR_clear_error();
}

static bool load_authorities(SSL_CTX *context, const char *file, char *why, size_t why_bytes)
{
	if (file ? SSL_CTX_load_verify_locations(context, file, NULL) == 1
		 : SSL_CTX_set_default_verify_paths(context) == 1)
		return true;
	say_why(why, why_bytes, "ca_file ", file ? file : "(the system's)");
	return false;
}

static bool load_own(SSL_CTX *context, const struct redis_tls_files *files, char *why, size_t why_bytes)
{
	if (!files->cert_file)
		return true;
	if (SSL_CTX_use_certificate_chain_file(context, files->cert_file) != 1)
		say_why(why, why_bytes, "cert_file ", files->cert_file);
	else if (SSL_CTX_use_PrivateKey_file(context, files->key_file, SSL_FILETYPE_PEM) != 1)
		say_why(why, why_bytes, "key_file ", files->key_file);
	else if (SSL_CTX_check_private_key(context) != 1)
		say_why(why, why_bytes, "key_file does not fit the certificate: ", files->key_file);
	else
		return true;
	return false;
}

/* NULL: out of memory. */
static struct redis_tls *make_empty(void)
{
	struct redis_tls *tls = calloc(1, sizeof *tls);
	if (!tls || !(tls->context = SSL_CTX_new(TLS_client_method()))) {
		free(tls);
		return NULL;
	}
	SSL_CTX_set_min_proto_version(tls->context, TLS1_2_VERSION);
	SSL_CTX_set_verify(tls->context, SSL_VERIFY_PEER, NULL);
	/* a write takes what it can, from wherever the rest lies next time */
	SSL_CTX_set_mode(tls->context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	return tls;
}

struct redis_tls *redis_tls_new(const struct redis_tls_files *files, char *why, size_t why_bytes)
{
	snprintf(why, why_bytes, "out of memory");
	ERR_clear_error();
	struct redis_tls *tls = make_empty();
	if (!tls)
		return NULL;
	tls->system = !files->ca_file;
	if (load_authorities(tls->context, files->ca_file, why, why_bytes) &&
	    load_own(tls->context, files, why, why_bytes))
		return tls;
	redis_tls_free(tls);
	return NULL;
}

/* --- once more --- */

static bool add_authority(X509_STORE *store, X509 *certificate)
{
	X509 *copy = X509_dup(certificate);
	bool added = copy && X509_STORE_add_cert(store, copy) == 1; /* holds it, too */
	X509_free(copy);
	return added;
}

/* Revocation lists are not copied: nothing asks for them. */
static bool copy_authorities(SSL_CTX *from, SSL_CTX *to)
{
	STACK_OF(X509_OBJECT) *objects = X509_STORE_get0_objects(SSL_CTX_get_cert_store(from));
	for (int i = 0; i < sk_X509_OBJECT_num(objects); i++) {
		X509 *certificate = X509_OBJECT_get0_X509(sk_X509_OBJECT_value(objects, i));
		if (certificate && !add_authority(SSL_CTX_get_cert_store(to), certificate))
			return false;
	}
	return true;
}

static bool copy_chain(SSL_CTX *from, SSL_CTX *to)
{
	STACK_OF(X509) *chain = NULL;
	if (SSL_CTX_get0_chain_certs(from, &chain) != 1)
		return false;
	for (int i = 0; i < sk_X509_num(chain); i++) {
		X509 *copy = X509_dup(sk_X509_value(chain, i));
		if (!copy || SSL_CTX_add0_chain_cert(to, copy) != 1) {
			X509_free(copy);
			return false;
		}
	}
	return true;
}

static bool copy_own(SSL_CTX *from, SSL_CTX *to)
{
	X509 *certificate = SSL_CTX_get0_certificate(from);
	if (!certificate)
		return true;
	X509 *copy = X509_dup(certificate);
	EVP_PKEY *key = EVP_PKEY_dup(SSL_CTX_get0_privatekey(from));
	bool copied = copy && key && SSL_CTX_use_certificate(to, copy) == 1 && SSL_CTX_use_PrivateKey(to, key) == 1 &&
		      copy_chain(from, to);
	X509_free(copy); /* the context holds both, too */
	EVP_PKEY_free(key);
	return copied;
}

struct redis_tls *redis_tls_copy(const struct redis_tls *tls)
{
	struct redis_tls *copy = make_empty();
	if (!copy)
		return NULL;
	copy->system = tls->system;
	bool authorities = tls->system ? SSL_CTX_set_default_verify_paths(copy->context) == 1
				       : copy_authorities(tls->context, copy->context);
	if (authorities && copy_own(tls->context, copy->context))
		return copy;
	redis_tls_free(copy);
	return NULL;
}

void redis_tls_free(struct redis_tls *tls)
{
	if (!tls)
		return;
	SSL_CTX_free(tls->context);
	free(tls);
}

static bool expect_name(SSL *ssl, const char *name)
{
	unsigned char address[sizeof(struct in6_addr)];
	bool literal = inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1;
	if (literal) /* which is not said in the hello: RFC 6066, 3 */
		return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1;
	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	return SSL_set1_host(ssl, name) == 1 && SSL_set_tlsext_host_name(ssl, name) == 1;
}

struct ssl_st *redis_tls_begin(const struct redis_tls *tls, int fd, const char *name)
{
	SSL *ssl = SSL_new(tls->context);
	if (ssl && SSL_set_fd(ssl, fd) == 1 && expect_name(ssl, name)) {
		SSL_set_connect_state(ssl);
		return ssl;
	}
	SSL_free(ssl);
	return NULL;
}

void redis_tls_explain(struct ssl_st *ssl, char *why, size_t why_bytes)
{
	long decision = SSL_get_verify_result(ssl);
	unsigned long code = ERR_peek_error();
	const char *reason = code ? ERR_reason_error_string(code) : NULL;
	if (decision != X509_V_OK)
		snprintf(why, why_bytes, "TLS: its certificate is not to be trusted: %s",
			 X509_verify_cert_error_string(decision));
	else
		snprintf(why, why_bytes, "TLS: %s",
			 reason  ? reason
			 : errno ? strerror(errno)
				 : "the server closed the connection; does it speak TLS here?");
	ERR_clear_error();
}
