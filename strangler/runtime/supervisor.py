"""`strangler serve --workers N`: one OS process that owns nothing but sockets, and starts, watches and ends the others.

It runs no event loop and no thread, so that it can fork at any time, and hardly anything in it can fail. What it forks
inherits the listening sockets, which therefore outlive every child, and one end of a line (`control`).
"""

from __future__ import annotations

import contextlib
import os
import select
import selectors
import shutil
import signal
import socket
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from strangler.config.settings import Settings
from strangler.config.urls import is_socket_path
from strangler.domain.errors import OperatorError
from strangler.operations import lines
from strangler.runtime import listeners
from strangler.runtime.child import FAILED, Given, run
from strangler.runtime.control import Line
from strangler.runtime.rooms import server_tls
from strangler.runtime.store_process import StoreProcess
from strangler.runtime.worker import Worker
from strangler.store.open import store_path
from strangler.store.sealing import load_identity_key

KILLED_TWICE = 130
"""Exit code when a second signal ends the drain."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
_SOUND = 10.0  # seconds after which a child that ends has not failed at its start
_BACKOFF = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # seconds before the next start, by failures in a row


class _Child:
    """One place among the children, whoever holds it."""

    def __init__(self, owner: str | None) -> None:
        self.worker = owner is not None
        self.owner = owner or ""
        self.pid = 0  # 0: nobody
        self.line: Line | None = None
        self.ready = False
        self.drained = False
        self.started_at = 0.0
        self.start_at = 0.0  # of the next one
        self.failures = 0
        self.failed: str | None = None


def supervise(settings: Settings, paths: Sequence[Path], environ: Mapping[str, str]) -> int:
    """Run until a signal ends it. Returns the exit code: 0 after a drain.

    Raises:
        OperatorError: the policy does not load, the store cannot be opened, an address cannot be listened on.
    """
    if store_path(settings.store) is None:
        raise OperatorError("--store memory: is one worker's own; use --workers 1, or a store with a file")
    server_tls(settings)  # what is wrong with it is better said now than by each worker
    folder = Path(tempfile.mkdtemp(prefix="strangler-"))  # mode 0700
    bound: list[socket.socket] = []
    try:
        given = Given(settings, paths, environ, None, folder)
        if not is_socket_path(given.socket):
            raise OperatorError(
                f"--workers: {folder} is too long a path for a socket in it; name a shorter one in TMPDIR"
            )
        bound = listeners.bind(settings.listen)
        ops = listeners.bind([settings.ops], "--ops")[0]
        bound.append(ops)
        inside = listeners.bind_path(given.socket)
        bound.append(inside)
        return _Supervisor(given, bound[:-2], ops, inside).run()
    finally:
        listeners.close(bound)
        shutil.rmtree(folder, ignore_errors=True)


class _Supervisor:
    """The loop over signals, children and their lines."""

    def __init__(
        self, given: Given, public: Sequence[socket.socket], ops: socket.socket, inside: socket.socket
    ) -> None:
        self._given = given
        self._public = public
        self._ops = ops
        self._inside = inside
        self._selector = selectors.DefaultSelector()
        self._store = _Child(None)
        self._workers: list[_Child] = []
        self._began = False  # all were ready once
        self._draining = False
        self._store_began = False

    def run(self) -> int:
        """Serve until it is drained."""
        wake, woken = socket.socketpair()
        for end in (wake, woken):
            end.setblocking(False)
        self._selector.register(woken, selectors.EVENT_READ, woken)
        before = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        try:
            return self._loop(woken)
        finally:
            self._kill_all()
            signal.set_wakeup_fd(-1)
            for number, handler in before.items():
                signal.signal(number, handler)
            self._selector.close()
            wake.close()
            woken.close()

    def _loop(self, woken: socket.socket) -> int:
        while True:
            self._start_what_is_missing()
            for key, _ in self._selector.select(self._patience()):
                if key.data is woken:
                    for number in woken.recv(256):
                        if number in (signal.SIGTERM, signal.SIGINT) and self._asked_to_end():
                            return KILLED_TWICE
                        if number == signal.SIGHUP:
                            self._tell_store(do="reload")
                else:
                    self._read(key.data)
            self._reap()
            if self._draining and not self._alive():
                return 0

    # Starting.

    def _start_what_is_missing(self) -> None:
        now = time.monotonic()
        if not self._store.pid and now >= self._store.start_at and not (self._draining and not self._workers_alive()):
            living = [worker.owner for worker in self._workers if worker.pid] if self._store_began else None
            self._make_way_inside()
            self._fork(self._store, partial(self._store_work, living))
            if self._draining:
                self._tell_store(do="drain")
        if not self._store.ready or self._draining:
            return
        if not self._store_began:
            self._store_began = True
            settings = self._given.settings
            key = load_identity_key(settings.identity_key, store_path(settings.store))
            self._given = self._given._replace(identity_key=key)
        if not self._workers:
            self._workers = [_Child("") for _ in range(self._given.settings.workers)]
        for worker in self._workers:
            if not worker.pid and now >= worker.start_at:
                worker.owner = str(uuid.uuid4())
                self._fork(worker, partial(self._worker_work, worker.owner))

    def _make_way_inside(self) -> None:
        """Have workers find the next store process, also where somebody has cleaned up what is temporary."""
        if not os.path.exists(self._given.socket):
            self._given.folder.mkdir(mode=0o700, exist_ok=True)
            self._inside = listeners.bind_path(self._given.socket)

    def _store_work(self, living: Sequence[str] | None, line: Line) -> int:
        for one in self._public:
            one.close()  # else clients would still find room there when nobody takes them in any more

        async def work(telemetry: Any) -> None:
            await StoreProcess(self._given, telemetry, line, self._inside, self._ops, living).run()

        return run(self._given, line, work)

    def _worker_work(self, owner: str, line: Line) -> int:
        async def work(telemetry: Any) -> None:
            await Worker(self._given, telemetry, line, owner, self._public).run()

        return run(self._given, line, work)

    def _fork(self, child: _Child, work: Callable[[Line], int]) -> None:
        ours, theirs = socket.socketpair()
        # No signal may reach the child while it still has our handlers.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        pid = os.fork()
        if pid == 0:
            code = FAILED
            try:
                ours.close()
                self._forget_all()
                signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
                code = work(Line(theirs))
            finally:
                os._exit(code)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        theirs.close()
        child.pid, child.line, child.ready, child.drained, child.failed = pid, Line(ours), False, False, None
        child.started_at = time.monotonic()
        self._selector.register(ours, selectors.EVENT_READ, child)

    def _forget_all(self) -> None:
        """In a child: what is the supervisor's alone. A line that a child kept open would never end for its sibling."""
        signal.set_wakeup_fd(-1)
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        self._selector.close()
        for child in (self._store, *self._workers):
            if child.line is not None:
                child.line.close()

    # Watching.

    def _read(self, child: _Child) -> None:
        if child.line is None:
            return
        messages = child.line.read()
        if messages is None:
            self._hang_up(child)
            return
        for message in messages:
            child.ready = child.ready or bool(message.get("ready"))
            child.drained = child.drained or bool(message.get("drained"))
            child.failed = message.get("failed", child.failed)
        self._let_leave()
        if all(worker.ready for worker in self._workers) and self._workers:
            self._began = True

    def _hang_up(self, child: _Child) -> None:
        if child.line is not None:
            self._selector.unregister(child.line.end)
            child.line.close()
            child.line = None

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for child in (self._store, *self._workers):
                if child.pid == pid:
                    self._ended(child, os.waitstatus_to_exitcode(status))

    def _ended(self, child: _Child, code: int) -> None:
        if child.line is not None:
            self._read(child)
        self._hang_up(child)
        pid, child.pid, child.ready = child.pid, 0, False
        if child.worker:
            self._tell_store(gone=child.owner)
            self._let_leave()
            if self._draining and not self._workers_alive():
                self._tell_store(do="end")
        if self._draining:
            child.start_at = time.monotonic() + _BACKOFF[1]
            return
        if not self._began and code != 0:
            raise OperatorError(child.failed or f"a worker ended with {code} before it served")
        if code != 0:
            self._tell_of(child, pid, code)
        sound = code == 0 or time.monotonic() - child.started_at >= _SOUND
        child.failures = 0 if sound else child.failures + 1
        wait = _BACKOFF[min(child.failures, len(_BACKOFF)) - 1] if child.failures else 0.0
        child.start_at = time.monotonic() + wait

    def _tell_of(self, child: _Child, pid: int, code: int) -> None:
        """Say in the log that a child ended as it should not; without it nobody knew why one cannot start again."""
        settings, event = self._given.settings, "worker_ended" if child.worker else "store_process_ended"
        text = lines.formatter(settings.log_format)(
            lines.Line(time.time_ns() // 1_000_000, "error", event, {"pid": pid, "code": code, "reason": child.failed})
        )
        poll = select.poll()
        poll.register(2, select.POLLOUT)
        with contextlib.suppress(OSError):
            if poll.poll(0):  # who does not read the log must not keep others from being started
                os.write(2, f"{text}\n".encode()[: select.PIPE_BUF])

    # Ending.

    def _asked_to_end(self) -> bool:
        """Drain; True: it was asked before, and ends now."""
        if self._draining:
            return True
        self._draining = True
        self._tell_store(do="drain")
        for worker in self._workers:
            if worker.line is not None:
                worker.line.tell(do="drain")
        if not self._workers_alive():
            self._tell_store(do="end")
        return False

    def _let_leave(self) -> None:
        """Once no worker has a call under way, nobody can wait for one: no more clients are taken in, here as there."""
        if self._draining and all(worker.drained or not worker.pid for worker in self._workers):
            listeners.close(self._public)
            for worker in self._workers:
                if worker.line is not None:
                    worker.line.tell(do="leave")

    def _kill_all(self) -> None:
        """Nobody is waited for: what is in flight is found by its lease when somebody starts again."""
        for child in (*self._workers, self._store):
            if child.pid:
                os.kill(child.pid, signal.SIGKILL)
                os.waitpid(child.pid, 0)
                self._hang_up(child)

    def _tell_store(self, **message: Any) -> None:
        if self._store.line is not None:
            self._store.line.tell(**message)

    def _workers_alive(self) -> bool:
        return any(worker.pid for worker in self._workers)

    def _alive(self) -> bool:
        return bool(self._store.pid) or self._workers_alive()

    def _patience(self) -> float | None:
        """Seconds until the next child is to be started; None: all are there."""
        if self._draining:
            return 0.1 if not self._store.pid else None
        missing = [child.start_at for child in (self._store, *self._workers) if not child.pid]
        waiting_for_store = self._store.pid and not self._store.ready
        return max(0.0, min(missing) - time.monotonic()) if missing and not waiting_for_store else None
