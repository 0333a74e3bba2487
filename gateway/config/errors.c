/* SPDX-License-Identifier: Apache-2.0 */
/* errors.c: the mistakes of one reading, in file order however they were found. */
#include "gateway/config/config_private.h"

#include <stdio.h>

enum { MESSAGE_BYTES = 400 };

static bool is_before(const struct config_fault *fault, unsigned line, unsigned column)
{
	return fault->line != line ? fault->line < line : fault->column <= column;
}

void config_error(struct config_load *load, unsigned line, unsigned column, const char *format, ...)
{
	size_t place = load->fault_count;
	while (place > 0 && !is_before(&load->faults[place - 1], line, column))
		place--;
	load->fault_total++;
	if (place == CONFIG_ERRORS)
		return;
	char message[MESSAGE_BYTES];
	va_list args;
	va_start(args, format);
	vsnprintf(message, sizeof message, format, args);
	va_end(args);
	const char *text = arena_text(load->arena, slice_of(message));
	if (!text)
		return;
	if (load->fault_count == CONFIG_ERRORS)
		load->fault_count--;
	memmove(&load->faults[place + 1], &load->faults[place], (load->fault_count - place) * sizeof load->faults[0]);
	load->faults[place] = (struct config_fault){ line, column, text };
	load->fault_count++;
}

/* Keys come from the file and may hold anything: a message stays one line. */
static void put_visible(struct buf *out, const char *text)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;
		if (c < 0x20 || c == 0x7f)
			buf_printf(out, "\\x%02x", c);
		else
			buf_put_char(out, *text);
	}
}

void config_errors_put(const struct config_load *load, struct buf *out)
{
	for (size_t i = 0; i < load->fault_count; i++) {
		const struct config_fault *fault = &load->faults[i];
		if (fault->line)
			buf_printf(out, "%s:%u:%u: ", load->name, fault->line, fault->column);
		else
			buf_printf(out, "%s: ", load->name);
		put_visible(out, fault->text);
		buf_put_char(out, '\n');
	}
	if (load->fault_total > load->fault_count)
		buf_printf(out, "%s: %zu more errors\n", load->name, load->fault_total - load->fault_count);
}

void config_warning(struct config_load *load, const struct node *node, const char *format, ...)
{
	char message[MESSAGE_BYTES];
	va_list args;
	va_start(args, format);
	vsnprintf(message, sizeof message, format, args);
	va_end(args);
	buf_printf(&load->warnings, "%s:%u:%u: warning: ", load->name, node->key_line, node->key_column);
	put_visible(&load->warnings, message);
	buf_put_char(&load->warnings, '\n');
}
