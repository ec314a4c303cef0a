"""The policies that the scenarios run under."""

from __future__ import annotations

import textwrap


def of_all_kinds(upstream: str, *, concurrency: int = 32, timeout: str = "1s") -> str:
    """A route for each way to treat a call whose outcome nobody knows, and one for clients that wait."""
    return textwrap.dedent(f"""
        upstreams:
          legacy: {{url: "{upstream}", timeout: {timeout}}}
        route_defaults:
          upstream: legacy
          mode: async
          call: {{concurrency: {concurrency}, backoff: {{initial: 50ms, max: 300ms}}}}
        routes:
          - name: review
            match: {{path: /review, methods: [POST]}}
          - name: retry
            match: {{path: /retry, methods: [POST]}}
            call: {{on_in_doubt: retry, attempts: 3, forward_idempotency_key: Idempotency-Key}}
          - name: fail
            match: {{path: /fail, methods: [POST]}}
            call: {{on_in_doubt: fail}}
          - name: probe
            match: {{path: /probe, methods: [POST]}}
            call:
              on_in_doubt: probe
              probe:
                path: "/-/known/{{process.correlationId}}"
                applied: {{status: 200}}
                absent: {{status: 404}}
                result: {{status: 200, body: {{marker: process.correlationId}}}}
                backoff: 200ms
          - name: query
            match: {{path: /query, methods: [GET]}}
          - name: compat
            match: {{path: /compat, methods: [POST]}}
            mode: compat
        default: {{upstream: legacy}}
    """)


def one_route(upstream: str, route: str = "", *, timeout: str = "30s", default: bool = True) -> str:
    """`POST /claims`, with further keys of the route as YAML."""
    extra = textwrap.indent(textwrap.dedent(route).strip(), "    ")
    text = textwrap.dedent(f"""
        upstreams:
          legacy: {{url: "{upstream}", timeout: {timeout}}}
        routes:
          - name: submit-claim
            match: {{path: /claims, methods: [POST]}}
            upstream: legacy
    """)
    return text + extra + "\n" + ("default: {upstream: legacy}\n" if default else "")
