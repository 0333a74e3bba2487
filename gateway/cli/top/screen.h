/* SPDX-License-Identifier: Apache-2.0 */
/*
 * screen.h: the terminal as `jitney top` uses it: keys, and lines of text with a tone. One at a time, one thread.
 * screen.c and screen_known.c have it by ncurses; screen_none.c stands in its place where jitney is built without.
 */
#ifndef JITNEY_GATEWAY_CLI_TOP_SCREEN_H
#define JITNEY_GATEWAY_CLI_TOP_SCREEN_H

#include "gateway/cli/text_table.h"

/* Keys that are no characters. */
enum screen_key {
	SCREEN_NONE = 0, /* no key has been pressed */
	SCREEN_UP = 1000,
	SCREEN_DOWN,
	SCREEN_LEFT,
	SCREEN_RIGHT,
	SCREEN_PAGE_UP,
	SCREEN_PAGE_DOWN,
	SCREEN_HOME,
	SCREEN_END,
	SCREEN_TAB,
	SCREEN_BACK_TAB,
	SCREEN_ENTER,
	SCREEN_ESCAPE,
	SCREEN_BACKSPACE,
	SCREEN_RESIZED,
	SCREEN_OTHER
};

/* screen_known.c: whether ncurses knows the terminal that TERM names. */
bool screen_is_known(void) MUST_CHECK;
/* Take the terminal over. False: `why` (static) says why not, and the terminal is as it was. */
bool screen_open(const char **why) MUST_CHECK;
/* Give it back as it was. */
void screen_close(void);
/* The same for the time that the process is stopped, and take it over again. */
void screen_leave(void);
void screen_return(void);

/* The next key, without waiting: a byte of a character, or one of the above. */
int screen_key(void);
void screen_size(int *lines, int *columns);

/* A picture: begin it, put lines, show it whole. */
void screen_begin(void);
/* `text` (cleaned, see text_table.h) is cut at the edge; reversed: as a bar over the whole line. */
void screen_put(int line, const char *text, enum text_tone tone, bool reversed);
/* anew: what the terminal shows is not believed, all of it is written. */
void screen_show(bool anew);

#endif
