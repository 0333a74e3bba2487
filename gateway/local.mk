# Everything that listens, and the binary. The only folder that uses microhttpd.
noinst_LIBRARIES += libgateway.a
libgateway_a_SOURCES = \
	gateway/config.h \
	gateway/config_arena.c gateway/config_arena.h \
	gateway/config_errors.c \
	gateway/config_private.h \
	gateway/config_yaml.c gateway/config_yaml.h \
	gateway/http.c gateway/http.h \
	gateway/http_guard.c gateway/http_guard.h \
	gateway/mailbox.c gateway/mailbox.h \
	gateway/options.c gateway/options.h
