/* SPDX-License-Identifier: Apache-2.0 */
/* screen_none.c: no terminal: jitney was built without ncurses (configure --disable-top). */
#include "gateway/cli/top/screen.h"

bool screen_open(const char **why)
{
	*why = "this jitney was built without ncurses (configure --disable-top)";
	return false;
}

void screen_close(void)
{
}

void screen_leave(void)
{
}

void screen_return(void)
{
}

int screen_key(void)
{
	return SCREEN_NONE;
}

void screen_size(int *lines, int *columns)
{
	*lines = *columns = 0;
}

void screen_begin(void)
{
}

void screen_put(int line, const char *text, enum text_tone tone, bool reversed)
{
	(void)line, (void)text, (void)tone, (void)reversed;
}

void screen_show(bool anew)
{
	(void)anew;
}
