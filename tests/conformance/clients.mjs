// clients.mjs URL CLIENT: one of the clients agents use lists the tools and calls many at once; each call must get its own
// answer. CLIENT: sdk-1, client-2-legacy, client-2-auto, client-2-pinned.
const [url, which] = process.argv.slice(2);
const CALLS = 200;
const modes = { 'client-2-legacy': 'legacy', 'client-2-auto': 'auto', 'client-2-pinned': { pin: '2026-07-28' } };
const eras = { 'client-2-legacy': 'legacy', 'client-2-auto': 'modern', 'client-2-pinned': 'modern' };

function must(holds, what) {
	if (!holds)
		throw new Error(`${which}: ${what}`);
}

async function connect() {
	const identity = { name: 'jitney-conformance', version: '1' };
	if (which === 'sdk-1') {
		const { Client } = await import('@modelcontextprotocol/sdk/client/index.js');
		const { StreamableHTTPClientTransport } = await import('@modelcontextprotocol/sdk/client/streamableHttp.js');
		const client = new Client(identity);
		await client.connect(new StreamableHTTPClientTransport(new URL(url)));
		return client;
	}
	const { Client, StreamableHTTPClientTransport } = await import('@modelcontextprotocol/client');
	const client = new Client(identity, { versionNegotiation: { mode: modes[which] } });
	await client.connect(new StreamableHTTPClientTransport(new URL(url)));
	must(client.getProtocolEra() === eras[which], `speaks the ${client.getProtocolEra()} era`);
	return client;
}

function textOf(result) {
	return result.content.find((part) => part.type === 'text').text;
}

const client = await connect();
const { tools } = await client.listTools();
must(tools.some((tool) => tool.name === 'echo'), 'echo is not listed');
const echoes = tools.map((tool) => tool.name).filter((name) => name === 'echo' || name.endsWith('__echo'));
const results = await Promise.all(Array.from({ length: CALLS }, (_, i) =>
	client.callTool({ name: echoes[i % echoes.length], arguments: { client: which, i } })));
results.forEach((result, i) => {
	const got = JSON.parse(textOf(result));
	must(got.client === which && got.i === i, `call ${i} got the answer ${textOf(result)}`);
});
const failed = await client.callTool({ name: 'test_error_handling', arguments: {} });
must(failed.isError === true && textOf(failed).includes('intentionally'), 'the error did not come as a result');
for (const { name } of tools.filter((tool) => tool.name.endsWith('test_tool_with_progress'))) {
	const progress = [];
	const request = { name, arguments: {} };
	const options = { onprogress: (word) => progress.push(word.progress) };
	await (which === 'sdk-1' ? client.callTool(request, undefined, options) : client.callTool(request, options));
	must(progress.join() === '0,50,100', `the progress of ${name} was ${progress}`);
}
const unknown = await client.callTool({ name: 'no_such_tool', arguments: {} }).catch((error) => error);
must(unknown.code === -32602, `an unknown tool gave ${unknown.code}`);
await client.close();
console.log(`${tools.length} tools, ${CALLS} calls at once over ${echoes.length} providers`);
process.exit(0);
