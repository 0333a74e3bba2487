# SPDX-License-Identifier: Apache-2.0
"""Fixtures: `provider`, `start` (a gateway of one's own), `gateway` (a standard one). Logs are shown on failure."""
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from harness.black_hole import BlackHole  # noqa: E402
from harness.collector import Collector  # noqa: E402
from harness.gateway import FATAL, JITNEY, LOAD, Gateway, merged, standard  # noqa: E402
from harness.mcp_client import Client  # noqa: E402
from harness.mcp_server import McpServer  # noqa: E402
from harness.names import NameServer  # noqa: E402
from harness.papers import make_papers  # noqa: E402
from harness.poll import until  # noqa: E402
from harness.ports import begin_test, kept_port  # noqa: E402
from harness.provider import Provider  # noqa: E402
from harness.redis import Redis  # noqa: E402


# Whose an answer is, whether it still counts, who may ask, and that nothing is done twice: one failure is one too many.
STRICT = {"test_access.py", "test_at_most_once.py", "test_cache_source.py", "test_cache_validity.py", "test_redis_secret.py",
          "test_who_asked.py", "test_whose_answers.py"}


def pytest_collection_modifyitems(items):
    for item in items:
        if not item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.tsan)


def pytest_sessionstart():
    if not JITNEY.exists():
        pytest.exit(f"no binary at {JITNEY}: run ./dev build, or set JITNEY", returncode=2)


def pytest_addoption(parser):
    parser.addoption("--failures-to", metavar="FILE", help="write the names of the tests that failed there, if each may be a busy machine's doing")


def pytest_terminal_summary(terminalreporter, exitstatus, config):
    path, reports = config.getoption("failures_to"), terminalreporter.stats
    failed = reports.get("failed", [])
    if path and exitstatus == pytest.ExitCode.TESTS_FAILED and not reports.get("error") and all(may_be_the_machines_doing(report) for report in failed):
        folder = config.rootpath.relative_to(config.invocation_params.dir)
        Path(path).write_text("".join(f"{folder / report.nodeid}\n" for report in failed))


def may_be_the_machines_doing(report):
    told = report.longreprtext + "".join(text for _, text in report.sections)
    return Path(report.nodeid.split("::")[0]).name not in STRICT and not any(word in told for word in FATAL)


def pytest_runtest_setup():
    begin_test()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.failed:
        for gateway in getattr(item, "gateways", []):
            report.sections.append((f"gateway log, {gateway.log_path}", gateway.log()[-8000:]))


@pytest.fixture
def provider():
    provider = Provider()
    yield provider
    provider.finish()


@pytest.fixture
def other():
    """A second provider."""
    provider = Provider()
    yield provider
    provider.finish()


@pytest.fixture
def third():
    """Another one."""
    provider = Provider()
    yield provider
    provider.finish()


@pytest.fixture
def nobody():
    """A URL at which all connections are refused."""
    return f"http://127.0.0.1:{kept_port()}"


@pytest.fixture
def black_hole():
    hole = BlackHole()
    yield hole
    hole.finish()


@pytest.fixture
def bare_provider():
    """bare_provider(--flag, value, ..) starts bench/provider and returns its port."""
    processes = []

    def run(*options):
        process = subprocess.Popen([LOAD.parent / "provider", *map(str, options)], stdout=subprocess.PIPE, text=True)
        processes.append(process)
        return int(process.stdout.readline())

    yield run
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def collector():
    """Takes what is posted by OTLP."""
    collector = Collector()
    yield collector
    collector.finish()


@pytest.fixture
def serve():
    """serve([tools], faults..) starts an MCP server over HTTP."""
    servers = []

    def build(tools=None, **changes):
        servers.append(McpServer(**changes))
        if tools is not None:
            servers[-1].tools = tools
        return servers[-1]

    yield build
    for server in servers:
        server.finish()


@pytest.fixture
def clients():
    """A list of connections, which are closed at the end."""
    opened = []
    yield opened
    for client in opened:
        client.close()


@pytest.fixture
def make(request, tmp_path, provider):
    """make({changes to the standard configuration}) gives a gateway that is not started yet."""
    request.node.gateways = made = []

    def build(changes=None, config=None, **options):
        directory = tmp_path / f"gateway{len(made)}"
        directory.mkdir()
        gateway = Gateway(directory, merged(config or standard(provider), changes or {}), **options)
        made.append(gateway)
        return gateway

    yield build
    provider.release()
    try:
        for gateway in made:
            gateway.finish()
    finally:
        for gateway in made:
            gateway.kill()


@pytest.fixture
def start(make):
    """start({changes to the standard configuration}) gives a gateway that serves."""
    return lambda changes=None, **options: make(changes, **options).start()


@pytest.fixture
def gateway(start):
    return start()


@pytest.fixture
def client(gateway):
    """An MCP client of the standard gateway."""
    return Client(gateway)


@pytest.fixture
def together():
    """together(f, [a, b, ..]) calls f with each at once, in threads, and returns what they return, in order."""
    pools = []

    def run(function, arguments):
        arguments = list(arguments)
        pool = ThreadPoolExecutor(max(len(arguments), 1))
        pools.append(pool)
        return list(pool.map(function, arguments))

    yield run
    for pool in pools:
        pool.shutdown()


@pytest.fixture
def crowd(provider, together):
    """crowd(gateway, f, [a, b, ..]): as together, while the provider answers nothing before all of them are in the gateway."""
    def run(gateway, function, arguments):
        arguments = list(arguments)
        provider.hold()
        all_in = lambda: gateway.metrics().sum("in_flight_requests") == len(arguments)
        release = threading.Thread(target=lambda: (until(all_in, "all of them are in the gateway", 60), provider.release()))
        release.start()
        replies = together(function, arguments)
        release.join()
        return replies

    return run


@pytest.fixture
def call_all(crowd):
    """call_all(gateway, [(tool, arguments), ..]): all are in the gateway before the first is answered; batches are over."""
    def run(gateway, calls):
        replies = crowd(gateway, lambda call: gateway.call(*call), calls)
        until(lambda: gateway.metrics().sum("batch_in_flight") == 0, "all batches have completed")
        return replies

    return run


@pytest.fixture
def run_redis(tmp_path):
    """run_redis(options of redis-server..) gives one of the test's own, started unless started=False."""
    servers = []

    def run(*options, started=True):
        servers.append(Redis(tmp_path / f"redis{len(servers)}", *options))
        return servers[-1].start() if started else servers[-1]

    yield run
    for server in servers:
        server.kill()


@pytest.fixture
def redis(run_redis):
    return run_redis()


@pytest.fixture
def names(tmp_path):
    """A name server, which gateways of start(.., before=names.before) ask."""
    try:
        server = NameServer(tmp_path)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"needs root: {error}")
    yield server
    server.finish()


@pytest.fixture
def later():
    """later(f, ..) runs it in a thread; .result(20) waits for what it returns."""
    with ThreadPoolExecutor(256) as pool:
        yield pool.submit


@pytest.fixture(scope="module")
def papers(tmp_path_factory):
    """Certificates: harness/papers.py."""
    directory = tmp_path_factory.mktemp("papers")
    make_papers(directory)
    return directory
