#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The shape of the tree, checked: which room may include which, which room may touch which library, that no files include
# each other in a circle, that every header compiles alone, that every source is in a list, that who keeps a route holds
# it. Says file:line: what is wrong. A table that allows only downward includes leaves no room for a cycle of rooms.
# With --floors: prints how the rooms stand above each other.
set -euo pipefail
floors=
[[ ${1-} == --floors ]] && floors=yes && shift
cd "${1:-$(dirname "$(readlink -f "$0")")/..}"

# Room: the rooms below it, which it may include. A file belongs to the longest name that begins its path. Written from the
# bottom to the top; `layers.sh --floors` prints it as floors.
declare -A may_include=(
	[base]=''
	[metrics]='base'
	[cache]='metrics base'
	[cache/redis]='cache metrics base'
	[cache/disk]='cache metrics base'
	[upstream/dialects]='metrics base'
	[upstream]='upstream/dialects metrics base'
	[upstream/http]='upstream upstream/dialects metrics base'
	[upstream/mcp]='upstream/http upstream upstream/dialects metrics base'
	[upstream/process]='upstream/mcp upstream upstream/dialects metrics base'
	[batcher]='upstream metrics base'
	[gateway/http]='metrics base'
	[gateway/config]='gateway/trace gateway/http batcher upstream upstream/dialects upstream/process cache cache/redis cache/disk metrics base'
	[gateway/profile]='base'
	[gateway/trace]='upstream upstream/http metrics base'
	[gateway/access]='gateway/config gateway/http metrics base'
	[gateway/tools]='gateway/config upstream upstream/dialects upstream/mcp cache metrics base'
	[gateway/call]='gateway/trace gateway/tools gateway/config gateway/http batcher upstream upstream/dialects cache cache/redis cache/disk metrics base'
	[gateway/rest]='gateway/call gateway/tools gateway/config gateway/http upstream upstream/dialects cache metrics base'
	[gateway/mcp]='gateway/call gateway/tools gateway/config gateway/http cache metrics base'
	[gateway/admin]='gateway/profile gateway/trace gateway/call gateway/tools gateway/config gateway/http upstream upstream/http cache cache/redis cache/disk metrics base'
	[gateway/server]='gateway/trace gateway/rest gateway/mcp gateway/admin gateway/access gateway/call gateway/tools gateway/config gateway/http upstream upstream/http cache cache/redis cache/disk metrics base'
	[gateway/cli]='gateway/server gateway/config gateway/http batcher upstream upstream/http cache metrics base'
	[gateway/cli/perf]='gateway/cli upstream upstream/http base'
	[gateway/cli/top]='gateway/cli upstream upstream/http base'
	[gateway]='gateway/cli base'
)
# One arrow up, and why: "file room".
declare -A allowed=(
	['upstream/provider_simulated.c upstream/http']='the simulated provider plays the endpoint room itself, not a copy of it'
)
# Folder of the top: the headers that other folders of the top may include. base/ is open to all.
declare -A front_doors=(
	[metrics]='metrics.h catalogue.h history.h'
	[cache]='cache.h disk/disk.h disk/disk_settings.h dump.h flight.h redis/redis_settings.h redis/redis_tier.h redis/redis_tls.h redis/redis_tracking.h tier.h'
	[upstream]='upstream.h provider_model.h endpoint_settings.h authorities.h http/transport.h http/client.h process_settings.h'
	[batcher]='allowed_rates.h batcher.h common_limits.h pauses.h policy.h'
	[gateway]=''
)
# Library header: the one room that may include it.
declare -A walls=([microhttpd]=gateway/http [yaml]=gateway/config [curl]=upstream [hiredis]=cache/redis [sqlite3]=cache/disk [zlib]=base [protobuf-c]=gateway [curses]=gateway/cli/top)
# Who serves a path sees world.h. The worker whole is seen by calls, by whoever runs it, and by these, which wait on its loop.
worker_seen_by='gateway/call gateway/server gateway/admin/calls_survey.c gateway/admin/export.c gateway/admin/purge.c gateway/mcp/subscriptions.c'
# Files of a room that include each other because they are one thing in several: "first: the others". X and X_private are
# one without saying.
one_thing=(
	'metrics/metrics: metrics/shape'                               # the numbers and how they lie in memory
	'cache/redis/redis_connection: cache/redis/redis_slots'        # a connection and the commands under way on it
	'upstream/upstream: upstream/provider'                         # the face, and what each kind has behind it
	'upstream/process/supervisor: upstream/process/fork_server'    # the two ends of one socket
	'upstream/process/pool: upstream/process/member'               # a pool and its members
	'batcher/batcher: batcher/admission batcher/batch batcher/bisection batcher/lane batcher/run_queue batcher/window' # a lane knows its batches, a batch its lane
	'gateway/config/config: gateway/config/options gateway/config/values gateway/config/yaml'               # the table reads into the struct it is a table of
	'gateway/http/http: gateway/http/guard'                        # a request and who looks at its head
	'gateway/call/call: gateway/call/await_lists gateway/call/call_group gateway/call/call_trace gateway/call/dispatch gateway/call/front gateway/call/provider gateway/call/reply gateway/call/worker gateway/call/world' # send, take, return, refresh, send: true recursion; the worker holds its calls
	'gateway/cli/cli: gateway/cli/cli_client'                      # the commands and what they share
)

folders=(base metrics cache upstream batcher gateway)
wrong=0
complain() { printf '%s: %s\n' "$1" "$2"; wrong=1; }
has_word() { [[ " $1 " == *" $2 "* ]]; }

# room_of PATH: sets $room.
room_of() {
	room=${1%/*}
	while [[ ! -v may_include[$room] && $room == */* ]]; do room=${room%/*}; done
	[[ -v may_include[$room] ]] || room=
}

# check_own FILE LINE "TARGET"
check_own() {
	local file=$1 place=$1:$2 target=$3 from into
	room_of "$file"; from=$room
	room_of "$target"; into=$room
	if [[ -z $into ]]; then
		complain "$place" "\"$target\": own headers are included from the top, as \"folder/file.h\""
	elif [[ $target == gateway/call/worker.h ]] && ! has_word "$worker_seen_by" "$file" && ! has_word "$worker_seen_by" "$from"; then
		complain "$place" "\"$target\" is seen by: $worker_seen_by; others have gateway/call/world.h"
	elif [[ $into == "$from" || -v allowed["$file $into"] ]]; then
		return
	elif ! has_word "${may_include[$from]}" "$into"; then
		complain "$place" "$from/ may not include $into/ (it may: ${may_include[$from]:-nothing})"
	elif [[ $place == gateway/config/* && $target == upstream/dialects/* && $target != *_private.h ]]; then
		return # the configuration names each dialect's settings
	elif [[ ${into%%/*} != base && ${into%%/*} != "${from%%/*}" ]] &&
		! has_word "${front_doors[${into%%/*}]}" "${target#*/}"; then
		complain "$place" "\"$target\" is ${into%%/*}/'s own business (its front door: ${front_doors[${into%%/*}]})"
	fi
}

# check_library FILE LINE <TARGET>
check_library() {
	local place=$1:$2 target=$3 library
	room_of "$1"
	library=${target%%/*}
	library=${library%.h}
	if [[ -v walls[$library] && $room != "${walls[$library]}" && $room != "${walls[$library]}"/* ]]; then
		complain "$place" "<$target> only in ${walls[$library]}/"
	elif [[ -d $library && -e $target ]]; then
		complain "$place" "<$target>: own headers are included with quotes"
	fi
}

check_includes() {
	local file number text pattern='^[[:space:]]*#[[:space:]]*include[[:space:]]*([<"])([^">]*)'
	while IFS=: read -r file number text; do
		[[ $text =~ $pattern ]] || continue
		if [[ ${BASH_REMATCH[1]} == '"' ]]; then
			check_own "$file" "$number" "${BASH_REMATCH[2]}"
		else
			check_library "$file" "$number" "${BASH_REMATCH[2]}"
		fi
	done < <(grep -nE '^[[:space:]]*#[[:space:]]*include' -r "${folders[@]}" --include='*.[ch]')
}

# Files that include each other in a circle, beyond those that are one thing.
check_circles() {
	local set first script='s/_private$//;s/_private / /' other
	for set in "${one_thing[@]}"; do
		first=${set%%:*}
		for other in ${set#*:}; do script+=";s|^$other |$first |;s| $other\$| $first|"; done
	done
	while read -r other; do
		complain "$other" 'includes each other in a circle with the next one named here'
	done < <(grep -rE '^[[:space:]]*#[[:space:]]*include "' "${folders[@]}" --include='*.[ch]' |
		sed -E 's|^([^:]*)\.[ch]:.*"(.*)\.h".*|\1 \2|' | sed -e "$script" | awk '$1 != $2' | sort -u |
		tsort 2>&1 >/dev/null | sed -n 's/^tsort: //p' | grep -v 'input contains a loop')
}

# How far above the ground each room stands: one more than the highest that it may include.
print_floors() {
	local -A floor=()
	local name below top changed=1
	while ((changed)); do
		changed=0
		for name in "${!may_include[@]}"; do
			top=0
			for below in ${may_include[$name]}; do ((${floor[$below]:-0} + 1 > top)) && top=$((${floor[$below]:-0} + 1)); done
			[[ ${floor[$name]:-0} == "$top" ]] || changed=1
			floor[$name]=$top
		done
	done
	for name in "${!floor[@]}"; do printf '%d %s\n' "${floor[$name]}" "$name"; done | sort -k1,1nr -k2 |
		awk '$1 != last { printf "%s%2d ", (NR == 1 ? "" : "\n"), $1 } { printf " %s", $2; last = $1 } END { print "" }'
}

# The compiler itself names file and line.
check_headers_alone() {
	local header
	while read -r header; do
		echo "#include \"$header\"" |
			${CC:-gcc} -std=gnu11 -D_GNU_SOURCE -I. -Wall -Wextra -Werror -fsyntax-only -x c - || wrong=1
	done < <(find "${folders[@]}" -name '*.h' | sort)
}

# A test or a source that no list names is never built, and nobody notices.
check_lists() {
	local file
	while read -r file; do
		grep -qF -e "$file" "${file%%/*}/local.mk" || complain "$file:1" "in no list of ${file%%/*}/local.mk"
	done < <(find "${folders[@]}" -name '*.[ch]' | sort)
	while read -r file; do
		grep -qE "${file%.c}( |\$)" tests/local.mk || complain "$file:1" "in no list of tests/local.mk"
	done < <(find tests/unit tests/fuzz -name 'test_*.c' -o -name 'fuzz_*.c' | sort)
	while read -r file; do # else a release lacks it
		grep -qF -e "$file" tests/local.mk || complain "$file:1" "in no list of tests/local.mk"
	done < <(find tests/support -type f | sort)
}

# A route lives as long as somebody holds it, and lists of tools change while calls are under way: a pointer to one that
# stays in a struct is a hold (dialect_route_ref), and says so, or says why it may be borrowed.
check_holds() {
	local place
	while read -r place; do
		complain "$place" 'a route in a struct: take a hold of it (dialect_route_ref) and say "held", "owned" or "borrowed" with the reason'
	done < <(find "${folders[@]}" -name '*.[ch]' | sort | xargs awk '
		/^struct [a-z_]+ \{/ { inside = 1 }
		/^}/ { inside = 0 }
		inside && /^\t+(const )?struct [a-z_]*route \*[a-z_]+;/ && !/held|owned|borrowed/ { print FILENAME ":" FNR }')
	while IFS=: read -r file number _; do
		complain "$file:$number" 'only dialect_route_unref frees a route'
	done < <(grep -rnE '[.>]route_free\(' "${folders[@]}" tests/unit tests/fuzz --include='*.[ch]' | grep -v '^upstream/dialects/dialect.c:')
}

if [[ $floors ]]; then
	print_floors
	exit
fi
check_includes
check_circles
check_holds
check_headers_alone
check_lists
exit $wrong
