"""What pyproject.toml cannot say: with ``STRANGLER_COMPILE=1`` the modules on the way of a passthrough are compiled to
machine code by mypyc, which takes a C compiler. Without it nothing is compiled."""

from __future__ import annotations

import os
import sys

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

COMPILED = (
    "strangler/domain/exchange.py",
    "strangler/domain/problem.py",
    "strangler/front/client_head.py",
    "strangler/front/connection.py",
    "strangler/front/desk.py",
    "strangler/front/head_buffer.py",
    "strangler/front/passage.py",
    "strangler/front/socket_end.py",
    "strangler/front/upstream_head.py",
    "strangler/gateway/switch.py",
    "strangler/policy/forwarding.py",
    "strangler/policy/match.py",
    "strangler/policy/target.py",
    "strangler/upstream/connections.py",
    "strangler/upstream/idle.py",
    "strangler/upstream/link.py",
    "strangler/upstream/pool.py",
    "strangler/wire/body.py",
    "strangler/wire/fields.py",
    "strangler/wire/malformed.py",
    "strangler/wire/reply_head.py",
    "strangler/wire/request_head.py",
)


class Compile(build_ext):
    """Makes the extensions when they are built, and not when only the metadata is asked for: mypyc is there then."""

    def finalize_options(self) -> None:
        """See `build_ext`."""
        from mypyc.build import mypycify

        # What the other modules import may not be installed where this is built; `make check` has looked at all types.
        options = ["--config-file=", "--strict", "--ignore-missing-imports", "--follow-imports=silent"]
        self.distribution.ext_modules = mypycify([*options, *COMPILED], group_name="strangler")
        super().finalize_options()


if os.environ.get("STRANGLER_COMPILE", "") in ("", "0"):
    setup()
elif "editable_wheel" in sys.argv:
    sys.exit("STRANGLER_COMPILE: an editable installation would run what was compiled, whatever is edited")
else:
    setup(
        setup_requires=["mypy[mypyc]>=2.4"],
        ext_modules=[Extension("strangler", [])],  # so that the wheel is one of this platform
        cmdclass={"build_ext": Compile},
    )
