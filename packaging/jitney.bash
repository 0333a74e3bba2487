# SPDX-License-Identifier: Apache-2.0
# bash completion for jitney(1)

_jitney() {
	local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]} choices=
	COMPREPLY=()
	if ((COMP_CWORD == 1)); then
		mapfile -t COMPREPLY < <(compgen -W 'serve check explain call tools reload top perf cache import simulate version --help' -- "$word")
		return
	fi
	[[ $word == -* ]] && previous= # an option, whatever else could stand here
	case $previous in
	-c | --config)
		mapfile -t COMPREPLY < <(
			compgen -f -X '!*.yaml' -- "$word"
			compgen -f -X '!*.yml' -- "$word"
			compgen -d -- "$word"
		)
		compopt -o filenames 2>/dev/null
		return
		;;
	-f | --format)
		if [[ $command == perf ]]; then
			mapfile -t COMPREPLY < <(compgen -W 'pprof folded svg' -- "$word")
			return
		fi
		mapfile -t COMPREPLY < <(compgen -W 'jitney mcp openai openai-responses anthropic gemini' -- "$word")
		return
		;;
	perf)
		if ((COMP_CWORD == 2)); then
			mapfile -t COMPREPLY < <(compgen -W 'benchmark monitor profile cache-stats --help' -- "$word")
			return
		fi
		;;
	--calls | --log | --svg | --compare | -o | --output)
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		compopt -o filenames 2>/dev/null
		return
		;;
	cache)
		if ((COMP_CWORD == 2)); then
			mapfile -t COMPREPLY < <(compgen -W 'stats export import count purge --help' -- "$word")
			return
		fi
		;;
	import | export)
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		compopt -o filenames 2>/dev/null
		return
		;;
	-V | --view)
		mapfile -t COMPREPLY < <(compgen -W 'upstreams tools batches cache processes alerts calls tenants' -- "$word")
		return
		;;
	count | purge)
		mapfile -t COMPREPLY < <(compgen -W 'all tool= prefix= tag= key=' -- "$word")
		compopt -o nospace 2>/dev/null
		return
		;;
	-n | --limit | -u | --url | -t | --timeout | -H | --header | --sort | --filter | --interval | --admin | --callers | --rate | --seconds | --count | --distinct | --speed | --fail-over) return ;;
	esac
	case $command in
	serve) choices='--config --takeover --help' ;;
	check) choices='--config --against --schema --help' ;;
	reload) choices='--url --timeout --header --help' ;;
	explain) choices='--config --help' ;;
	call) choices='--url --timeout --header --verbose --help' ;;
	simulate) choices='--tool --rate --seconds --seed --world --fixed --per-call --slots --windows --items --modes --in-flight --callers --timeout --flood --flood-urgency --urgency --bytes --plot --help' ;;
	top) choices='--url --view --sort --reverse --filter --interval --once --json --timeout --header --help' ;;
	perf)
		case ${COMP_WORDS[2]} in
		benchmark) choices='--calls --log --speed --distinct --callers --rate --seconds --count --sweep --url --admin --timeout --header --json --csv --svg --compare --fail-over --help' ;;
		monitor) choices='--url --interval --count --json --csv --timeout --header --help' ;;
		profile) choices='--seconds --format --output --url --timeout --header --help' ;;
		cache-stats) choices='--url --limit --timeout --header --help' ;;
		*) choices='--help' ;;
		esac
		;;
	cache) choices='--url --limit --timeout --header --help' ;;
	tools) choices='--url --format --timeout --header --help' ;;
	import | version) choices='--help' ;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$choices" -- "$word")
}

complete -o default -F _jitney jitney
