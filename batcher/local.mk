# Lanes, windows, batches.
noinst_LIBRARIES += libbatcher.a
libbatcher_a_SOURCES = \
	batcher/batch.c batcher/batch.h \
	batcher/batcher.c batcher/batcher.h \
	batcher/due.c batcher/due.h \
	batcher/hunt.c batcher/hunt.h \
	batcher/lane.c batcher/lane.h \
	batcher/model.c batcher/model.h \
	batcher/table.c batcher/table.h \
	batcher/window.c batcher/window.h
