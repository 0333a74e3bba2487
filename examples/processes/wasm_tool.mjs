// A WebAssembly module as a tool for jitney: JSON-RPC 2.0 by lines (dialect jsonrpc-stdio) under Node's WASI.
// Every call gets an instance of its own: what one leaves in memory, the next does not see.
//   node --no-warnings wasm_tool.mjs crc32.wasm
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { WASI } from "node:wasi";

const module = new WebAssembly.Module(readFileSync(process.argv[2]));

function instantiate() {
	const wasi = new WASI({ version: "preview1" });
	const instance = new WebAssembly.Instance(module, { wasi_snapshot_preview1: wasi.wasiImport });
	wasi.initialize(instance);
	return instance.exports;
}

const tools = {
	crc32({ text }) {
		const bytes = Buffer.from(text);
		const { memory, crc32 } = instantiate();
		if (bytes.length > memory.buffer.byteLength) throw new Error("the text is longer than the module's memory");
		new Uint8Array(memory.buffer).set(bytes);
		return { crc32: (crc32(0, bytes.length) >>> 0).toString(16).padStart(8, "0") };
	},
};

for await (const line of createInterface({ input: process.stdin })) {
	const { id, method, params } = JSON.parse(line);
	const answer = { jsonrpc: "2.0", id };
	try {
		if (!Object.hasOwn(tools, method)) throw new Error(`no method ${method}`);
		answer.result = tools[method](params);
	} catch (error) {
		answer.error = { code: -32000, message: error.message };
	}
	process.stdout.write(JSON.stringify(answer) + "\n");
}
