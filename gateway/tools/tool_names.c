/* SPDX-License-Identifier: Apache-2.0 */
/* tool_names.c: globs and names. */
#include "gateway/tools/tool_names.h"

bool glob_matches(const char *glob, struct slice text)
{
	const char *star = NULL; /* the last one passed */
	size_t at = 0, star_at = 0;
	while (at < text.len) {
		if (*glob == '*') {
			star = glob++;
			star_at = at;
		} else if (*glob && (*glob == '?' || *glob == text.at[at])) {
			glob++;
			at++;
		} else if (star) { /* let the star take one byte more */
			glob = star + 1;
			at = ++star_at;
		} else {
			return false;
		}
	}
	while (*glob == '*')
		glob++;
	return *glob == '\0';
}

static bool any_matches(const char *const *globs, size_t count, struct slice text)
{
	for (size_t i = 0; i < count; i++)
		if (glob_matches(globs[i], text))
			return true;
	return false;
}

bool exposure_shows(const struct exposure *exposure, struct slice remote)
{
	if (exposure->only_allowed && !any_matches(exposure->allow, exposure->allow_count, remote))
		return false;
	return !any_matches(exposure->deny, exposure->deny_count, remote);
}

static bool is_letter(char c)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
	return c && strchr(letters, c);
}

bool name_is_plain(struct slice name)
{
	for (size_t i = 0; i < name.len; i++)
		if (!is_letter(name.at[i]))
			return false;
	return name.len > 0;
}

void exposure_put_name(struct buf *out, const struct upstream_config *upstream, struct slice remote)
{
	if (upstream->exposure.names == NAMES_PREFIXED)
		buf_printf(out, "%s__", upstream->settings.name);
	for (size_t i = 0; i < remote.len; i++)
		buf_put_char(out, is_letter(remote.at[i]) ? remote.at[i] : '_');
}

const char *exposure_own_part(const char *name, const struct upstream_config *upstream)
{
	return upstream->exposure.names == NAMES_PREFIXED ? name + strlen(upstream->settings.name) + strlen("__")
							  : name;
}
