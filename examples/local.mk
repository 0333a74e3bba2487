# SPDX-License-Identifier: Apache-2.0
EXTRA_DIST += examples/demo.yaml examples/demo/run.py examples/demo/plain_http.py \
	examples/demo/jsonrpc_provider.py examples/demo/rest_provider.py \
	examples/envelope.yaml examples/graphql.yaml examples/key_list.yaml examples/jitney.yaml examples/minimal.yaml examples/processes.yaml \
	examples/processes/tool.tcl examples/processes/crc32.wat examples/processes/crc32.wasm examples/processes/wasm_tool.mjs examples/proxy/nginx.conf examples/proxy/Caddyfile
