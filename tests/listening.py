"""What processes wait on."""

from collections.abc import Iterable

import psutil


def listening(processes: Iterable[psutil.Process]) -> set[tuple[str, int]]:
    """Address and port of everything that processes listen on."""
    found = set()
    for process in processes:
        try:
            connections = process.net_connections(kind="inet")
        except psutil.Error:
            continue
        found |= {(c.laddr.ip, c.laddr.port) for c in connections if c.status == psutil.CONN_LISTEN}
    return found
