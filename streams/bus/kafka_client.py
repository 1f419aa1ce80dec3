"""Make a client of kafka-python such that one that reaches no broker leaves nothing running."""

from collections.abc import Callable
from typing import Any

from kafka.errors import KafkaError
from kafka.net.compat import KafkaNetClient


def connect(kind: Callable[..., Any], **options: Any) -> Any:
    """A client of this ``kind``: ``KafkaConsumer``, ``KafkaProducer`` or ``KafkaAdminClient``.

    In kafka-python 3.0.12 a constructor that raises leaves the thread of its network client running, and nobody holds the client to
    close it: a thread and its sockets for each attempt in an outage.
    """
    made: list[KafkaNetClient] = []

    def network(**configuration: Any) -> KafkaNetClient:
        made.append(KafkaNetClient(**configuration))
        return made[-1]

    try:
        return kind(**options, kafka_client=network)
    except KafkaError:
        for client in made:
            client.close()
            client._net.stop(timeout_ms=1000)
        raise
