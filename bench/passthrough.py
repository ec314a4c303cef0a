"""What passes through, against no proxy at all and against other proxies."""

from __future__ import annotations

from contextlib import ExitStack

from bench import peers
from bench.accepts import checked
from bench.machine import Program
from bench.report import Pair, Row, Settings, compared, mebibytes
from bench.subject import Strangler, directory, submission, upstream
from bench.wrk import press


def passthrough(settings: Settings) -> list[Row]:
    """Exchanges per second through each proxy on the same core, 64 connections, a reply of some 100 bytes."""
    pairs: dict[str, Pair] = {}
    with ExitStack() as stack:
        path = stack.enter_context(directory())
        legacy = stack.enter_context(peers.backend(path) or upstream("0"))
        ours = stack.enter_context(Strangler(path, legacy.port))
        others: dict[str, Program] = {"no proxy": legacy}
        for peer in peers.PEERS:
            started = peer.start(path, legacy.port)
            if started is not None:
                others[peer.name] = stack.enter_context(started)
        for _ in range(settings.rounds):
            # Once a round for all peers: it takes its turn among them as any of them does.
            mine = checked(press(ours, settings.seconds), "200")
            for name, program in others.items():
                pairs.setdefault(name, Pair()).add(mine, checked(press(program, settings.seconds), "200"))
        memory = {name: mebibytes(ours.peak(), program.peak()) for name, program in others.items()}
    targets = {peer.name: peer.at_least for peer in peers.PEERS}
    rows = [
        compared(f"against {name}", pair.ours, pair.theirs, targets.get(name), memory[name], pair.cpu())
        for name, pair in pairs.items()
    ]
    missing = [name for name in targets if name not in others]
    return rows + [Row(f"against {name}", "SKIPPED", "not installed: sh bench/install_peers.sh") for name in missing]


def compat(settings: Settings) -> list[Row]:
    """Calls that are recorded while the client waits, each commit on disk, against the same calls passing through."""
    pair = Pair()
    with ExitStack() as stack:
        legacy = stack.enter_context(upstream("0"))
        recorded, through = (
            stack.enter_context(Strangler(stack.enter_context(directory()), legacy.port, mode=mode, concurrency=256))
            for mode in ("compat", "passthrough")
        )
        for _ in range(settings.rounds):
            ours = checked(recorded.load([submission()], seconds=settings.seconds), "200")
            pair.add(ours, checked(through.load([submission()], seconds=settings.seconds), "200"))
        memory = mebibytes(recorded.peak(), through.peak())
    return [compared("compat against passthrough, 64 connections", pair.ours, pair.theirs, 0.12, memory, pair.cpu())]
