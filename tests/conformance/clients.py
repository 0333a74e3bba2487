# SPDX-License-Identifier: Apache-2.0
"""clients.py URL CLIENT: one of the Python clients agents use lists the tools and calls many at once; each call must get
its own answer. CLIENT: one of CLIENTS below. Needs the packages of python-2.txt, or of python-1.txt (FIRST)."""
import asyncio
import json
import sys
from contextlib import AsyncExitStack

CALLS = 100
LIMIT_SECONDS = 280  # most of which imports may take on a busy machine


def must(holds, what):
    if not holds:
        raise SystemExit(f"{sys.argv[2]}: {what}")


class Sdk:
    """The official SDK, in one of its modes."""

    def __init__(self, url, mode, version):
        from mcp import Client
        self.version = version
        self.client = Client(url, mode=mode)

    async def __aenter__(self):
        await self.client.__aenter__()
        must(self.client.protocol_version == self.version, f"speaks {self.client.protocol_version}")
        return self

    async def __aexit__(self, *error):
        return await self.client.__aexit__(*error)

    async def names(self):
        return [tool.name for tool in (await self.client.list_tools()).tools]

    async def call(self, name, arguments, progress=None):
        """The text of its answer, and whether it is an error."""
        async def heard(done, total, words):
            progress.append(done)

        result = await self.client.call_tool(name, arguments, progress_callback=heard if progress is not None else None)
        return result.content[0].text, bool(result.is_error)

    async def unknown(self):
        from mcp import MCPError
        try:
            await self.client.call_tool("no_such_tool", {})
        except MCPError as error:
            return error.error.code
        return None


class FirstSdk(Sdk):
    """The first version of it, which speaks the legacy era only."""

    def __init__(self, url):
        self.url, self.stack = url, AsyncExitStack()

    async def __aenter__(self):
        from mcp import ClientSession
        from mcp.client.streamable_http import streamablehttp_client
        read, write, _ = await self.stack.enter_async_context(streamablehttp_client(self.url))
        self.client = await self.stack.enter_async_context(ClientSession(read, write))
        await self.client.initialize()
        return self

    async def __aexit__(self, *error):
        return await self.stack.__aexit__(*error)

    async def call(self, name, arguments, progress=None):
        async def heard(done, total, words):
            progress.append(done)

        result = await self.client.call_tool(name, arguments, progress_callback=heard if progress is not None else None)
        return result.content[0].text, bool(result.isError)

    async def unknown(self):
        from mcp import McpError
        try:
            await self.client.call_tool("no_such_tool", {})
        except McpError as error:
            return error.error.code
        return None


class FastMcp(Sdk):
    def __init__(self, url):
        from fastmcp import Client
        self.client = Client(url)

    async def __aenter__(self):
        await self.client.__aenter__()
        return self

    async def names(self):
        return [tool.name for tool in await self.client.list_tools()]

    async def call(self, name, arguments, progress=None):
        async def heard(done, total, words):
            progress.append(done)

        handler = {"progress_handler": heard} if progress is not None else {}
        result = await self.client.call_tool(name, arguments, raise_on_error=False, **handler)
        return result.content[0].text, bool(result.is_error)


class PydanticAi:
    def __init__(self, url):
        from pydantic_ai.mcp import MCPToolset
        self.toolset = MCPToolset(url)

    async def __aenter__(self):
        await self.toolset.__aenter__()
        return self

    async def __aexit__(self, *error):
        return await self.toolset.__aexit__(*error)

    async def names(self):
        return [tool.name for tool in await self.toolset.list_tools()]

    async def call(self, name, arguments, progress=None):
        from pydantic_ai import ModelRetry
        try:
            result = await self.toolset.direct_call_tool(name, arguments)
        except ModelRetry as error:
            return str(error), True
        return result if isinstance(result, str) else json.dumps(result), False


class OpenAiAgents:
    def __init__(self, url):
        from agents.mcp import MCPServerStreamableHttp
        self.server = MCPServerStreamableHttp({"url": url, "timeout": 60}, client_session_timeout_seconds=60)

    async def __aenter__(self):
        await self.server.connect()
        return self

    async def __aexit__(self, *error):
        await self.server.cleanup()

    async def names(self):
        return [tool.name for tool in await self.server.list_tools()]

    async def call(self, name, arguments, progress=None):
        result = await self.server.call_tool(name, arguments)
        return result.content[0].text, bool(getattr(result, "isError", None) or getattr(result, "is_error", None))


class LangChain:
    """Every call has a session of its own."""

    def __init__(self, url):
        from langchain_mcp_adapters.client import MultiServerMCPClient
        self.client = MultiServerMCPClient({"jitney": {"url": url, "transport": "streamable_http"}})
        self.tools = {}

    async def __aenter__(self):
        self.tools = {tool.name: tool for tool in await self.client.get_tools()}
        return self

    async def __aexit__(self, *error):
        return None

    async def names(self):
        return list(self.tools)

    async def call(self, name, arguments, progress=None):
        from langchain_core.tools import ToolException
        try:
            result = await self.tools[name].ainvoke(arguments)
        except ToolException as error:
            return str(error), True
        text = result if isinstance(result, str) else result[0]["text"]
        return text, "intentionally" in text  # it hands an error to the model as any other text


CLIENTS = {
    "python-mcp-legacy": lambda url: Sdk(url, "legacy", "2025-11-25"),
    "python-mcp-auto": lambda url: Sdk(url, "auto", "2026-07-28"),
    "python-mcp-pinned": lambda url: Sdk(url, "2026-07-28", "2026-07-28"),
    "fastmcp": FastMcp,
    "pydantic-ai": PydanticAi,
    "openai-agents": OpenAiAgents,
    "python-mcp-1": FirstSdk,
    "langchain": LangChain,
}
FIRST = ("python-mcp-1", "langchain")


async def check_progress(client, names):
    """Where the client can tell of it."""
    for name in names if isinstance(client, Sdk) else ():
        if name.endswith("test_tool_with_progress"):
            progress = []
            await client.call(name, {}, progress)
            must(progress == [0, 50, 100], f"the progress of {name} was {progress}")


async def run(url, which):
    async with CLIENTS[which](url) as client:
        names = await client.names()
        must("echo" in names, "echo is not listed")
        echoes = [name for name in names if name == "echo" or name.endswith("__echo")]
        answers = await asyncio.gather(*[
            client.call(echoes[i % len(echoes)], {"client": which, "i": i}) for i in range(CALLS)])
        for i, (text, failed) in enumerate(answers):
            must(not failed and json.loads(text) == {"client": which, "i": i}, f"call {i} got the answer {text}")
        text, failed = await client.call("test_error_handling", {})
        must(failed and "intentionally" in text, f"the error did not come as a result: {text}")
        await check_progress(client, names)
        if isinstance(client, Sdk):
            must(await client.unknown() == -32602, "an unknown tool is no error of the protocol")
        print(f"{len(names)} tools, {CALLS} calls at once over {len(echoes)} providers")


if __name__ == "__main__":
    asyncio.run(asyncio.wait_for(run(*sys.argv[1:]), LIMIT_SECONDS))
