/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hard_disk.h: a disk that hangs or is full when a test says so, and knows what is safe on it: SQLite's own file access, with a hand on it. Becomes
 * the default of the process, so to be made before the first file is opened.
 */
#ifndef TESTS_SUPPORT_HARD_DISK_H
#define TESTS_SUPPORT_HARD_DISK_H

#include <stdbool.h>

void hard_disk_install(void);
/* From now on reads and writes wait / go on. Returns at once. */
void hard_disk_hang(bool hang);
/* Whether somebody is waiting. */
bool hard_disk_is_waited_for(void);
/* From now on writes find no room / find room. */
void hard_disk_fill(bool full);
/* Writes to files that are open which a power cut would undo: since each was last synced. */
long hard_disk_unsynced(void);

#endif
