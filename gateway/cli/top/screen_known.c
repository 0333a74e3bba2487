/* SPDX-License-Identifier: Apache-2.0 */
/* screen_known.c: whether the terminal's kind is known. Alone, since term.h gives its names to all that comes behind it. */
#include "gateway/cli/top/screen.h"

#include <curses.h>
#include <term.h>
#include <unistd.h>

bool screen_is_known(void)
{
	int error;
	if (setupterm(NULL, STDOUT_FILENO, &error) != OK)
		return false;
	del_curterm(cur_term);
	return true;
}
