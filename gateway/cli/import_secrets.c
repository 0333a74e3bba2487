/* SPDX-License-Identifier: Apache-2.0 */
/* import_secrets.c: guesses, on the safe side: what is taken for a secret and is none has to be set once. */
#include "gateway/cli/import_secrets.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "base/compiler.h"

bool import_sounds_secret(struct slice name)
{
	static const char *const words[] = {
		"key", "token", "secret", "passw", "auth", "cred", "pat", "cookie", "dsn"
	};
	for (size_t i = 0; i < countof(words); i++)
		for (size_t at = 0; at + strlen(words[i]) <= name.len; at++) {
			if (strncasecmp(name.at + at, words[i], strlen(words[i])) != 0)
				continue;
			/* "pat" as a word: GITHUB_PAT, not PATH */
			bool word = strcmp(words[i], "pat") != 0 ||
				    (at + 3 == name.len && (at == 0 || !isalpha((unsigned char)name.at[at - 1])));
			if (word)
				return true;
		}
	return false;
}

bool import_begins(struct slice text, const char *with)
{
	return text.len >= strlen(with) && memcmp(text.at, with, strlen(with)) == 0;
}

/* Twenty letters and digits in a row, some of each: no word and no name of a package is like that. */
static bool looks_random(struct slice text)
{
	size_t run = 0, letters = 0, digits = 0;
	for (size_t i = 0; i < text.len; i++) {
		unsigned char c = (unsigned char)text.at[i];
		if (!isalnum(c)) {
			run = letters = digits = 0;
			continue;
		}
		run++;
		letters += isalpha(c) != 0;
		digits += isdigit(c) != 0;
		if (run >= 20 && letters && digits)
			return true;
	}
	return false;
}

bool import_looks_secret(struct slice text)
{
	static const char *const issued[] = { "sk-",   "ghp_",  "gho_", "ghs_",    "github_pat_", "glpat-",
					      "xoxb-", "xoxp-", "AKIA", "AIza",    "eyJ",         "hf_",
					      "npm_",  "pk_",   "rk_",  "Bearer ", "Basic " };
	for (size_t i = 0; i < countof(issued); i++)
		if (import_begins(text, issued[i]))
			return true;
	const char *host = memmem(text.at, text.len, "://", 3);
	if (host) {
		size_t rest = text.len - (size_t)(host + 3 - text.at);
		const char *path = memchr(host + 3, '/', rest);
		if (memchr(host + 3, '@', path ? (size_t)(path - host) - 3 : rest))
			return true;
	}
	return looks_random(text);
}

static bool is_uuid(struct slice text)
{
	static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
	bool same = text.len == sizeof form - 1;
	for (size_t i = 0; same && i < text.len; i++)
		same = form[i] == '-' ? text.at[i] == '-' : isxdigit((unsigned char)text.at[i]) != 0;
	return same;
}

bool import_opens_doors(struct slice segment)
{
	return import_looks_secret(segment) || is_uuid(segment);
}
