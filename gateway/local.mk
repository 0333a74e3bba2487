# Everything that listens, and the binary. The only folder that uses microhttpd.
noinst_LIBRARIES += libgateway.a
libgateway_a_SOURCES = \
	gateway/config.h \
	gateway/http.h \
	gateway/http_guard.c gateway/http_guard.h \
	gateway/mailbox.c gateway/mailbox.h
