# SPDX-License-Identifier: Apache-2.0
# What the process says about itself.
noinst_LIBRARIES += libmetrics.a
libmetrics_a_SOURCES = \
	metrics/catalogue.h \
	metrics/history.c metrics/history.h \
	metrics/metrics.c metrics/metrics.h \
	metrics/process.c metrics/process.h \
	metrics/prometheus.c \
	metrics/shape.h \
	metrics/walk.c
