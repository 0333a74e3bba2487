#!/bin/bash
# The shape of the tree, checked: who may include whom, which folder may touch which library, that every header
# compiles alone, that every source is in a list, that who keeps a route holds it. Says file:line: what is wrong. A table that allows only
# downward includes leaves no room for a cycle of folders.
set -euo pipefail
cd "${1:-$(dirname "$(readlink -f "$0")")/..}"

# Folder: the folders it may include, besides itself.
declare -A may_include=(
	[base]=''
	[metrics]='base'
	[cache]='metrics base'
	[upstream]='metrics base'
	[batcher]='upstream metrics base'
	[gateway]='batcher upstream cache metrics base'
)
# Folder: the headers that outsiders may include. base/ is open to all.
declare -A front_doors=(
	[metrics]='metrics.h catalogue.h'
	[cache]='cache.h disk/disk.h disk/disk_settings.h dump.h flight.h redis/redis_settings.h redis/redis_tier.h redis/redis_tracking.h tier.h'
	[upstream]='upstream.h provider_model.h http/transport.h http/client.h process/process_settings.h'
	[batcher]='batcher.h'
	[gateway]=''
)
# Library header: the one folder that may include it.
declare -A walls=([microhttpd]=gateway [yaml]=gateway [curl]=upstream [hiredis]=cache [sqlite3]=cache)

folders=("${!may_include[@]}")
wrong=0
complain() { printf '%s: %s\n' "$1" "$2"; wrong=1; }
has_word() { [[ " $1 " == *" $2 "* ]]; }

# check_own FILE:LINE FOLDER "TARGET"
check_own() {
	local place=$1 folder=$2 target=$3 into=${3%%/*}
	if [[ ! -v may_include[$into] || $target != */* ]]; then
		complain "$place" "\"$target\": own headers are included from the top, as \"folder/file.h\""
	elif [[ $into == "$folder" ]]; then
		return
	elif ! has_word "${may_include[$folder]}" "$into"; then
		complain "$place" "$folder/ may not include $into/ (it may: ${may_include[$folder]:-nothing})"
	elif [[ $place == gateway/config/* && $target == upstream/dialects/* && $target != *_private.h ]]; then
		return # the configuration names each dialect's settings
	elif [[ $into != base ]] && ! has_word "${front_doors[$into]}" "${target#*/}"; then
		complain "$place" "\"$target\" is $into/'s own business (its front door: ${front_doors[$into]})"
	fi
}

# check_library FILE:LINE FOLDER <TARGET>
check_library() {
	local place=$1 folder=$2 target=$3 library
	library=${target%%/*}
	library=${library%.h}
	if [[ -v walls[$library] && ${walls[$library]} != "$folder" ]]; then
		complain "$place" "<$target> only in ${walls[$library]}/"
	elif [[ -v may_include[$library] && -e $target ]]; then
		complain "$place" "<$target>: own headers are included with quotes"
	fi
}

check_includes() {
	local file number text pattern='^[[:space:]]*#[[:space:]]*include[[:space:]]*([<"])([^">]*)'
	while IFS=: read -r file number text; do
		[[ $text =~ $pattern ]] || continue
		if [[ ${BASH_REMATCH[1]} == '"' ]]; then
			check_own "$file:$number" "${file%%/*}" "${BASH_REMATCH[2]}"
		else
			check_library "$file:$number" "${file%%/*}" "${BASH_REMATCH[2]}"
		fi
	done < <(grep -nE '^[[:space:]]*#[[:space:]]*include' -r "${folders[@]}" --include='*.[ch]')
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

check_includes
check_holds
check_headers_alone
check_lists
exit $wrong
