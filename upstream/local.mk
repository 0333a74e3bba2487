# Providers: dialects, connections. The only folder that uses curl.
noinst_LIBRARIES += libupstream.a
libupstream_a_SOURCES = \
	upstream/dialect.h \
	upstream/transport.h \
	upstream/upstream.h
