"""The story, told with real programs: what it shows is what happened, and where it did not happen it says so.

Four scenes: the old way, the new way, an old client that notices nothing, and a crash in the middle of a claim.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable
from typing import Any, NamedTuple
from uuid import uuid4

from strangler.demo.client import Reply, ask
from strangler.demo.screen import Screen, elapsed
from strangler.demo.stage import Stage

CALLER = {"X-Api-Key": "broker-7"}
PATIENCE = 3.0  # seconds, at the legacy system's usual speed
_LIMIT = 60.0  # seconds after which what should have come will not come
_POLL = 0.05  # seconds


class StoryBroken(Exception):
    """Something else happened than the story tells."""


class Submitted(NamedTuple):
    """A claim that Strangler accepted."""

    claim: dict[str, Any]
    key: str
    location: str
    reply: Reply


class Story:
    """Plays on a stage and shows it on a screen."""

    def __init__(self, stage: Stage, screen: Screen) -> None:
        self._stage = stage
        self._screen = screen

    def tell(self) -> None:
        """All scenes in order.

        Raises:
            StoryBroken: something else happened.
            PartFailed: a part of the stage ended.
        """
        for scene in (self._old_way, self._new_way, self._old_client, self._crash):
            try:
                scene()
            except (OSError, http.client.HTTPException) as error:
                self._stage.check()
                raise StoryBroken(f"a connection failed: {error!r}") from error

    # ── The scenes ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _old_way(self) -> None:
        screen, url = self._screen, f"{self._stage.legacy_url}/claims"
        screen.heading("1  The old way")
        screen.prose(
            "A broker's program posts a claim straight to the legacy system, which needs 5 seconds for it. "
            "The program has 3 seconds of patience, and tries again."
        )
        claim = _claim("P-1001", 2000, "storm damage")
        for attempt in ("POST /claims", "POST /claims, the same claim again"):
            screen.sent(f"{attempt}  to {self._stage.legacy_url}")
            began = time.monotonic()
            try:
                with screen.waiting("waiting for the legacy system"):
                    ask("POST", url, claim, timeout=PATIENCE / self._stage.speed)
            except TimeoutError:
                screen.bad("timed out. Did it arrive? Is it safe to send again?", time.monotonic() - began)
            else:
                raise StoryBroken("the legacy system answered in time")
        with screen.waiting("the legacy system goes on all the same"):
            claims = self._registered(2)
        screen.came("what the legacy system made of it:")
        self._show(claims)
        if [claim["status"] for claim in claims] != ["REGISTERED", "DUPLICATE"]:
            raise StoryBroken("the retry did not become a duplicate")
        screen.line()
        screen.prose("One storm, two claims.")

    def _new_way(self) -> None:
        screen = self._screen
        screen.heading("2  The new way")
        screen.prose("The same program posts to Strangler. The legacy system is as slow as before and was not touched.")
        submitted = self._submit(_claim("P-1002", 2000, "burst pipe"))
        screen.sent(f"POST /claims  to {self._stage.url}")
        screen.detail(f"Idempotency-Key: {submitted.key}")
        self._show_accepted(submitted.reply)
        result = self._follow(submitted)
        screen.came(result.line, result.seconds)
        self._show([result.json()])
        screen.line()
        screen.prose("The network is what it is, so the program sends the claim again, with the same Idempotency-Key:")
        screen.sent("POST /claims, the same claim again")
        again = self._submit(submitted.claim, submitted.key)
        self._show_accepted(again.reply)
        if again.location != submitted.location:
            raise StoryBroken("the retry made another process")
        if len(self._registered(3)) != 3:
            raise StoryBroken("the retry reached the legacy system")
        screen.good("the same process, and one claim in the legacy system")

    def _old_client(self) -> None:
        screen, path = self._screen, "/documents/P-1002"
        screen.heading("3  The client that cannot change")
        screen.prose(
            "Another program fetches a document and knows nothing of 202. Its route is in compat mode: "
            "the call is recorded all the same, and the program gets the answer that it always got."
        )
        screen.sent(f"GET {path}  to {self._stage.url}")
        with screen.waiting("waiting, as ever"):
            through = ask("GET", f"{self._stage.url}{path}")
        screen.came(
            f"{through.line}, {through.headers.get('content-type')}, {len(through.body):,} bytes", through.seconds
        )
        screen.sent(f"GET {path}  to {self._stage.legacy_url}, to compare")
        with screen.waiting("waiting for the legacy system"):
            direct = ask("GET", f"{self._stage.legacy_url}{path}")
        if (through.status, through.body) != (direct.status, direct.body):
            raise StoryBroken("the document is not the same")
        screen.good("the same, byte for byte")
        quick = ask("GET", f"{self._stage.url}/policies/P-1002")
        if quick.status != 200:
            raise StoryBroken(f"the policy was answered with {quick.line}")
        screen.good(f"and what no route slows down passes through: GET /policies/P-1002 in {elapsed(quick.seconds)}")

    def _crash(self) -> None:
        screen, stage = self._screen, self._stage
        screen.heading("4  The crash")
        screen.prose(
            "Three claims at once. The policy lets two of them through to the legacy system at a time, "
            "so that the third waits in Strangler's store. Then Strangler is killed."
        )
        submitted = [
            self._submit(_claim("P-1003", 9000, "hail")),
            self._submit(_claim("P-1004", 9000, "collision")),
            self._submit(_claim("P-1005", 500, "lost suitcase")),
        ]
        for one in submitted:
            screen.came(f"{one.reply.line} for the claim on {one.claim['policyNumber']}", one.reply.seconds)
        self._until(lambda: self._legacy()["inAssessment"] == 2, "the legacy system took two claims")
        screen.line()
        screen.typed(f"kill -9 {stage.strangler.pid}", "two claims under way, one waiting")
        stage.strangler.kill()
        with screen.waiting("strangler starts again"):
            began = time.monotonic()
            stage.start_strangler()
        screen.typed("strangler serve routes/insurer.yaml", f"up again after {elapsed(time.monotonic() - began)}")
        screen.line()
        self._after_the_crash(submitted)

    def _after_the_crash(self, submitted: list[Submitted]) -> None:
        screen = self._screen
        lost = []
        for one in submitted:
            status = ask("GET", f"{one.location}/status", headers=CALLER).json()
            effect = f", effect {status['effect']}" if "effect" in status else ""
            screen.came(f"{one.claim['policyNumber']}  {status['state']}{effect}")
            if status["state"] == "unconfirmed":
                lost.append(one)
        screen.line()
        if [one.claim["amount"] for one in lost] != [9000, 9000]:
            raise StoryBroken("the two claims under way should be unconfirmed, and the other one not")
        screen.prose(
            "Two had been sent when it died. Whether the legacy system did them, Strangler cannot know, and says so. "
            "It does not send them again: that is for a person to find out, in the legacy system's register. "
            "A client that tries again with its key is told the same:"
        )
        screen.sent(f"POST /claims, the claim on {lost[0].claim['policyNumber']} again, with the same key")
        again = self._submit(lost[0].claim, lost[0].key)
        screen.came(f"{again.reply.line}, {again.reply.json()['state']}, the same process", again.reply.seconds)
        if again.location != lost[0].location:
            raise StoryBroken("the retry made another process")
        screen.line()
        screen.prose("The third had been accepted and not sent. It simply goes on:")
        result = self._follow(submitted[2])
        screen.came(result.line, result.seconds)
        with screen.waiting("the legacy system finishes what it was at"):
            claims = self._registered(6)[3:]
        screen.line()
        screen.line("    The register of the legacy system, of these three:")
        self._show(claims)
        if any(claim["status"] == "DUPLICATE" for claim in claims):
            raise StoryBroken("a claim was sent twice")
        screen.line()
        screen.good("three claims accepted, three claims made, none of them twice")

    # ── What the scenes are made of ──────────────────────────────────────────────────────────────────────────────────

    def _submit(self, claim: dict[str, Any], key: str | None = None) -> Submitted:
        """Post a claim to Strangler, under a new key or one that was used before."""
        key = key or str(uuid4())
        reply = ask("POST", f"{self._stage.url}/claims", claim, headers={**CALLER, "Idempotency-Key": key})
        if reply.status != 202:
            raise StoryBroken(f"the claim was answered with {reply.line}: {reply.body[:300]!r}")
        return Submitted(claim, key, reply.headers["location"], reply)

    def _follow(self, submitted: Submitted) -> Reply:
        """Poll as Retry-After says, go where 303 leads: the result."""
        screen, reply = self._screen, submitted.reply
        deadline = time.monotonic() + _LIMIT
        while reply.status == 202:
            if time.monotonic() > deadline:
                raise StoryBroken(f"no result after {_LIMIT:.0f} s")
            with screen.waiting(f"Retry-After: {reply.retry_after:.0f}"):
                time.sleep(reply.retry_after)
            screen.sent(f"GET {self._short(submitted.location)}")
            reply = ask("GET", submitted.location, headers=CALLER)
            again = f", Retry-After: {reply.retry_after:.0f}" if reply.status == 202 else ""
            screen.came(f"{reply.line}  {reply.json()['status']}{again}", reply.seconds)
        if reply.status != 303:
            raise StoryBroken(f"the poll was answered with {reply.line}")
        screen.sent(f"GET {self._short(reply.headers['location'])}")
        return ask("GET", reply.headers["location"], headers=CALLER)

    def _show_accepted(self, reply: Reply) -> None:
        self._screen.came(f"{reply.line}  {reply.json()['status']}", reply.seconds)
        if "idempotency-replayed" in reply.headers:
            self._screen.detail(f"Idempotency-Replayed: {reply.headers['idempotency-replayed']}")
        self._screen.detail(f"Location: {self._short(reply.headers['location'])}")
        if "retry-after" in reply.headers:
            self._screen.detail(f"Retry-After: {reply.headers['retry-after']}")

    def _short(self, url: str) -> str:
        return url.replace(self._stage.url, "…")

    def _legacy(self) -> Any:
        return ask("GET", f"{self._stage.legacy_url}/claims").json()

    def _registered(self, count: int) -> list[dict[str, Any]]:
        """The legacy system's claims, once it is at work on none and has so many."""
        self._until(lambda: self._legacy()["inAssessment"] == 0 and len(self._legacy()["claims"]) >= count, "claims")
        claims: list[dict[str, Any]] = self._legacy()["claims"]
        return claims

    def _until(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _LIMIT
        while not holds():
            self._stage.check()
            if time.monotonic() > deadline:
                raise StoryBroken(f"waited {_LIMIT:.0f} s in vain: {what}")
            time.sleep(_POLL)

    def _show(self, claims: list[dict[str, Any]]) -> None:
        for claim in claims:
            said = f"{claim['status']} of {claim['duplicateOf']}" if "duplicateOf" in claim else claim["status"]
            self._screen.detail(
                f"{claim['claimNumber']}  {claim['policyNumber']}  {claim['amount']:>6,} EUR  "
                f"{claim['description']:<16} {said}"
            )


def _claim(policy: str, amount: int, description: str) -> dict[str, Any]:
    return {"policyNumber": policy, "amount": amount, "description": description}
