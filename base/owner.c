/* SPDX-License-Identifier: Apache-2.0 */
/* owner.c: what tells threads apart. */
#include "base/owner.h"

_Thread_local char owner_thread;
