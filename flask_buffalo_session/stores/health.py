"""Health checks for Redis and memcached."""

from __future__ import annotations

import collections.abc as c
import time
import typing as t

from .base import Health


def redis_health(client: t.Any) -> Health:
    """Ask a Redis server, or each master of a cluster, for its state.

    :param client: a client, as for :class:`.redis.RedisStore`.
    """
    targets: list[dict[str, t.Any]] = [{}]
    if hasattr(client, "get_primaries"):
        # Each master of a cluster has settings of its own.
        targets = [{"target_nodes": node} for node in client.get_primaries()]
    clocks, evicting = [], set()
    for target in targets:
        seconds, microseconds = client.execute_command("TIME", **target)
        clocks.append(int(seconds) + int(microseconds) / 1e6)
        memory = client.execute_command("INFO", "memory", **target)
        # Not every server that speaks Redis's protocol has this setting.
        evicting.add(memory.get("maxmemory_policy", "noeviction"))
    evicting.discard("noeviction")
    now = time.time()
    return Health(
        max(clocks, key=lambda clock: abs(clock - now)),
        f"its maxmemory-policy is {', '.join(sorted(evicting))}" if evicting else None,
        "Set maxmemory-policy to noeviction, on a server for sessions alone if others"
        " have to evict.",
    )


def memcached_health(stats: c.Mapping[bytes, t.Any]) -> Health:
    """Judge the statistics of a memcached server.

    :param stats: the answer to ``stats``.
    """
    evictions = int(stats[b"evictions"])
    return Health(
        int(stats[b"time"]),
        f"memcached was full and has evicted {evictions} items" if evictions else None,
        "Give memcached more memory, or sessions a memcached of their own.",
    )
