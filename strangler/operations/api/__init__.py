"""The operations API: what operators, and the command line, ask of the private listener.

To add an endpoint: write a function ``async (Asked) -> Told`` in a module of its own here, an `Endpoint` for it (path,
role, parameters, body, answers and problems with their schemas; all of it is served in ``/openapi.json`` and held to by
the tests), and return it from that module's ``endpoints(…)``, which ``runtime/desk.py`` calls. A changing endpoint
(`Role.OPERATOR`) is asked ``why`` and audited by the frame: do nothing for it. Then a row in the table of
docs/operations.md, and a verb in ``strangler/cli/``: a module with ``add_parser`` and ``run`` over `cli.asking.Ops`.
"""
