# Lanes, windows, batches.
noinst_LIBRARIES += libbatcher.a
libbatcher_a_SOURCES = \
	batcher/batcher.h \
	batcher/due.c batcher/due.h \
	batcher/table.c batcher/table.h
