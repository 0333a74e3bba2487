/* SPDX-License-Identifier: Apache-2.0 */
/*
 * whose_config.h: the configuration of whose_speech.h as a file that changes: upstreams go with their tools and come
 * back, are moved to other endpoints, where another provider is, or get other options; tools get other policies.
 */
#ifndef TESTS_SUPPORT_WHOSE_CONFIG_H
#define TESTS_SUPPORT_WHOSE_CONFIG_H

/* As it stands there. `seed` is the test's, and used up by this as well. */
void whose_config_begin(unsigned *seed);
/* Something of it, or nothing. */
void whose_config_change(void);
/* The file: it has no name of its own and is gone with the process. */
const char *whose_config_path(void);

#endif
