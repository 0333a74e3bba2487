/* SPDX-License-Identifier: Apache-2.0 */
/* screen.c: the terminal by ncurses. */
#include "gateway/cli/top/screen.h"

#include <curses.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { ESCAPE_MS = 25 }; /* so long an ESC may be the begin of a key */

static SCREEN *terminal; /* NULL: not taken over */
static bool coloured;

static void choose_colours(void)
{
	static const short colours[TONE_COUNT] = {
		[TONE_GOOD] = COLOR_GREEN, [TONE_WARN] = COLOR_YELLOW, [TONE_BAD] = COLOR_RED
	};
	const char *refused = getenv("NO_COLOR");
	coloured = !(refused && *refused) && has_colors() && start_color() == OK;
	if (coloured && use_default_colors() != OK)
		coloured = false;
	for (short tone = TONE_GOOD; coloured && tone < TONE_COUNT; tone++)
		init_pair(tone, colours[tone], -1);
}

bool screen_open(const char **why)
{
	/* Its size is what it says itself, always: LINES and COLUMNS that somebody has exported are of another, or of once. */
	unsetenv("LINES");
	unsetenv("COLUMNS");
	terminal = screen_is_known() ? newterm(NULL, stdout, stdin) : NULL; /* which would leak otherwise */
	if (!terminal) {
		*why = "the terminal is of a kind that is not known here (TERM)";
		return false;
	}
	set_term(terminal);
	set_escdelay(ESCAPE_MS);
	cbreak();
	noecho();
	nonl();
	keypad(stdscr, TRUE);
	nodelay(stdscr, TRUE);
	curs_set(0);
	choose_colours();
	return true;
}

void screen_close(void)
{
	if (!terminal)
		return;
	endwin();
	delscreen(terminal);
	terminal = NULL;
}

void screen_leave(void)
{
	endwin();
}

/* It may have another size by now, which nobody tells those who are stopped. */
void screen_return(void)
{
	struct winsize size;
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row && size.ws_col)
		resizeterm(size.ws_row, size.ws_col);
	clearok(stdscr, TRUE);
	refresh();
}

int screen_key(void)
{
	static const struct {
		int code, key;
	} keys[] = {
		{ ERR, SCREEN_NONE },
		{ KEY_UP, SCREEN_UP },
		{ KEY_DOWN, SCREEN_DOWN },
		{ KEY_LEFT, SCREEN_LEFT },
		{ KEY_RIGHT, SCREEN_RIGHT },
		{ KEY_PPAGE, SCREEN_PAGE_UP },
		{ KEY_NPAGE, SCREEN_PAGE_DOWN },
		{ KEY_HOME, SCREEN_HOME },
		{ KEY_END, SCREEN_END },
		{ '\t', SCREEN_TAB },
		{ KEY_BTAB, SCREEN_BACK_TAB },
		{ '\r', SCREEN_ENTER },
		{ '\n', SCREEN_ENTER },
		{ KEY_ENTER, SCREEN_ENTER },
		{ 27, SCREEN_ESCAPE },
		{ 127, SCREEN_BACKSPACE },
		{ '\b', SCREEN_BACKSPACE },
		{ KEY_BACKSPACE, SCREEN_BACKSPACE },
		{ KEY_RESIZE, SCREEN_RESIZED },
	};
	int code = getch();
	for (size_t i = 0; i < countof(keys); i++)
		if (keys[i].code == code)
			return keys[i].key;
	return code > 0 && code < 256 ? code : SCREEN_OTHER;
}

void screen_size(int *lines, int *columns)
{
	*lines = LINES;
	*columns = COLS;
}

void screen_begin(void)
{
	erase();
}

static attr_t attributes_of(enum text_tone tone)
{
	static const attr_t plain[TONE_COUNT] = { [TONE_DIM] = A_DIM, [TONE_WARN] = A_UNDERLINE, [TONE_BAD] = A_BOLD };
	if (coloured && tone >= TONE_GOOD)
		return (attr_t)COLOR_PAIR(tone) | (tone == TONE_BAD ? A_BOLD : 0);
	return plain[tone];
}

void screen_put(int line, const char *text, enum text_tone tone, bool reversed)
{
	if (line < 0 || line >= LINES)
		return;
	attrset((int)(attributes_of(tone) | (reversed ? A_REVERSE : 0)));
	if (reversed)
		mvhline(line, 0, ' ', COLS);
	mvaddnstr(line, 0, text, (int)text_fit(text, COLS));
	attrset(A_NORMAL);
}

void screen_show(bool anew)
{
	if (anew)
		clearok(stdscr, TRUE);
	refresh();
}
