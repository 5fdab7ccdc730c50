"""What servers say of themselves: their clock, and whether they throw records away."""

from __future__ import annotations

import time
import typing as t

import cachelib

from .base import Health


def redis_health(client: t.Any) -> Health:
    """
    :param client: as of :class:`.redis.RedisStore`.
    """
    targets: list[dict[str, t.Any]] = [{}]
    if hasattr(client, "get_primaries"):
        # A cluster, of which each master has settings of its own.
        targets = [{"target_nodes": node} for node in client.get_primaries()]
    clocks, evicting = [], set()
    for target in targets:
        seconds, microseconds = client.execute_command("TIME", **target)
        clocks.append(int(seconds) + int(microseconds) / 1e6)
        memory = client.execute_command("INFO", "memory", **target)
        # Not every server that speaks as Redis does has one.
        evicting.add(memory.get("maxmemory_policy", "noeviction"))
    evicting.discard("noeviction")
    return Health(
        _furthest(clocks),
        f"its maxmemory-policy is {', '.join(sorted(evicting))}" if evicting else None,
        "Set maxmemory-policy to noeviction, on a server for sessions alone if others"
        " have to evict.",
    )


def memcached_health(cache: cachelib.MemcachedCache) -> Health:
    """
    :param cache: with a client of pymemcache's or pylibmc's.
    """
    with cache._client_context() as client:
        # Not hasattr(), as a RetryingClient has whatever one asks for.
        if "get_stats" in dir(client):
            told = [server for _, server in client.get_stats()]
        else:
            stats = client.stats()
            told = [{name.decode(): value for name, value in stats.items()}]
    evictions = sum(int(server["evictions"]) for server in told)
    return Health(
        _furthest([int(server["time"]) for server in told]),
        f"memcached was full and has evicted {evictions} items" if evictions else None,
        "Give memcached more memory, or sessions a memcached of their own.",
    )


def _furthest(clocks: t.Sequence[float]) -> float:
    now = time.time()
    return max(clocks, key=lambda clock: abs(clock - now))
