/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json_merged.h: texts that a well-known parser (json-c 0.16, in its strict mode) reads as one and the same value or
 * accepts although they are no JSON. A cache that made keys of such a tree would serve one caller the other's answer:
 * ours must tell each pair apart, or refuse one of the two.
 */
#ifndef TESTS_SUPPORT_JSON_MERGED_H
#define TESTS_SUPPORT_JSON_MERGED_H

#include "base/slice.h"

static const struct json_merged {
	struct slice one, other;
	bool refused; /* `one` is no JSON for us */
} json_merged[] = {
	{ SLICE("18446744073709551616"), SLICE("18446744073709551615"), false },
	{ SLICE("99999999999999999999999"), SLICE("18446744073709551615"), false },
	{ SLICE("99999999999999999999999"), SLICE("18446744073709551616"), false },
	{ SLICE("-9223372036854775809"), SLICE("-9223372036854775808"), false },
	{ SLICE("-0"), SLICE("0"), false },
	{ SLICE("{\"k\\u0000x\":1}"), SLICE("{\"k\":1}"), false },
	{ SLICE("{\"k\\u0000x\":1}"), SLICE("{\"k\\u0000y\":1}"), false },
	{ SLICE("\"a\\u0000b\""), SLICE("\"a\""), false },
	{ SLICE("{\"a\":1,\"a\":2}"), SLICE("{\"a\":2}"), true },
	{ SLICE("{\"a\":1,\"\\u0061\":2}"), SLICE("{\"a\":2}"), true },
	{ SLICE("\"\\ud83d\""), SLICE("\"\\ufffd\""), true },
	{ SLICE("\"\\ude00\""), SLICE("\"\\ufffd\""), true },
	{ SLICE("\"\300\257\""), SLICE("\"/\""), true },
	{ SLICE("\"\355\240\200\""), SLICE("\"\\ufffd\""), true },
	{ SLICE("'a'"), SLICE("\"a\""), true },
	{ SLICE("{'a':1}"), SLICE("{\"a\":1}"), true },
	{ SLICE("NaN"), SLICE("null"), true },
	{ SLICE("Infinity"), SLICE("1E400"), true },
	{ SLICE("-Infinity"), SLICE("-1E400"), true },
	{ SLICE("\"a\nb\""), SLICE("\"a\\nb\""), true },
	{ SLICE("\"a\tb\""), SLICE("\"a\\tb\""), true },
	{ SLICE("1."), SLICE("1.0"), true },
};

#endif
