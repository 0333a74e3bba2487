/* naming.c: globs and names. */
#include "gateway/tools/naming.h"

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

void exposure_put_name(struct buf *out, const struct upstream_config *upstream, struct slice remote)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
	if (upstream->exposure.names == NAMES_PREFIXED)
		buf_printf(out, "%s__", upstream->settings.name);
	for (size_t i = 0; i < remote.len; i++) {
		char c = remote.at[i];
		buf_put_char(out, c && strchr(letters, c) ? c : '_');
	}
}
