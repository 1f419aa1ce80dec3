"""Liveness and readiness endpoints, and the check of the address to listen on."""

import asyncio
import socket

import httpx
import pytest

from storage.errors import ConfigurationError, PortInUse
from streams.health import HealthServer, check_address, listen


def test_readyz_gives_reasons_until_all_checks_pass_and_healthz_always_answers() -> None:
    reasons: list[str | None] = ["the model is being loaded"]
    server = HealthServer({"model": lambda: reasons[0], "bus": lambda: None}, "127.0.0.1", 0)
    server.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", trust_env=False) as client:
            assert client.get("/healthz").status_code == 200
            refused = client.get("/readyz")
            assert refused.status_code == 503
            assert refused.json() == {"ready": False, "reasons": {"model": "the model is being loaded"}}
            reasons[0] = None
            assert client.get("/readyz").status_code == 200
    finally:
        server.stop()
    check_address("127.0.0.1", server.port)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org", ""])
def test_an_address_beyond_this_machine_is_refused(host: str) -> None:
    with pytest.raises(ConfigurationError, match="beyond this machine"):
        check_address(host, 0)


@pytest.mark.parametrize("listening", [True, False])
def test_a_port_in_use_is_refused(listening: bool) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        if listening:
            other.listen()
        with pytest.raises(PortInUse, match=str(other.getsockname()[1])):
            check_address("127.0.0.1", other.getsockname()[1])


def test_a_port_that_does_not_exist_is_a_wrong_setting() -> None:
    with pytest.raises(ConfigurationError, match="70000"):
        check_address("127.0.0.1", 70000)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_server_sends_small_writes_at_once(host: str) -> None:
    """With Nagle's algorithm, a response in two writes waits for the client's delayed acknowledgement, about 40 ms."""

    async def without_delay() -> int:
        found = asyncio.get_running_loop().create_future()

        def accepted(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            found.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        async with await asyncio.start_server(accepted, sock=listen(host, 0)) as server:
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
            writer.close()
            return int(await found)

    assert asyncio.run(without_delay())
