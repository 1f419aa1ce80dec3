"""HTTP requests as a product sends them, marked as simulated; unreachable servers are not an error."""

from typing import Any

import httpx

SERVING = "http://127.0.0.1:8000"
HUB = "http://127.0.0.1:8050"
HEADERS = {"X-FeedbackLoop-Source": "simulation"}


def client(**options: Any) -> httpx.AsyncClient:
    """A client for the servers under test that ignores proxies of the environment."""
    return httpx.AsyncClient(trust_env=False, timeout=60, **options)


async def queue(client: httpx.AsyncClient, hub: str, recruiter: str, limit: int) -> list[dict[str, Any]]:
    """The next pairs for this recruiter, at most ``limit`` (the hub's maximum is 50)."""
    try:
        answer = await client.get(f"{hub}/v1/queue", params={"recruiter": recruiter, "limit": limit}, headers=HEADERS)
    except httpx.TransportError:
        return []  # the hub restarts; the caller polls again
    pairs: list[dict[str, Any]] = answer.json()["pairs"] if answer.is_success else []
    return pairs


async def release(client: httpx.AsyncClient, hub: str, recruiter: str, pair_ids: list[str]) -> None:
    """Release these pairs' leases."""
    await post(client, f"{hub}/v1/queue/release", {"recruiter": recruiter, "pair_ids": pair_ids})


async def versions(client: httpx.AsyncClient, hub: str) -> list[dict[str, Any]]:
    """The model versions, with their states."""
    try:
        answer = await client.get(f"{hub}/v1/versions", headers=HEADERS)
    except httpx.TransportError:
        return []
    found: list[dict[str, Any]] = answer.json()["versions"] if answer.is_success else []
    return found


AGAIN = (409, 429, 502, 503, 504)  # statuses to retry; 409: the pair is not known yet


async def post(client: httpx.AsyncClient, url: str, body: dict[str, Any]) -> httpx.Response | None:
    """The answer, or None if the server could not be reached."""
    try:
        return await client.post(url, json=body, headers=HEADERS)
    except httpx.TransportError:
        return None


def pause(answer: httpx.Response | None) -> float:
    """Seconds to wait before a retry: the server's Retry-After, at most five."""
    seconds = answer.headers.get("Retry-After", "") if answer is not None else ""
    return min(float(seconds), 5.0) if seconds.isdecimal() else 0.5
