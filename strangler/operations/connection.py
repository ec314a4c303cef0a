"""A connection to the private listener, on which what is no request is answered like any other problem."""

from __future__ import annotations

from aiohttp import web
from aiohttp.http_exceptions import InvalidURLError, LineTooLong

from strangler.operations.api.serving import problem_response


class Connection(web.RequestHandler):
    """aiohttp's own, but for what it says, and logs, of bytes that it cannot read as a request."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what cannot be read, after which the connection is closed; it is nobody's defect."""
        if status != web.HTTPBadRequest.status_code:
            return super().handle_error(request, status, exc, message)
        if isinstance(exc, LineTooLong):
            response = problem_response("head-too-large", "a line of the head is too long")
        elif isinstance(exc, InvalidURLError):
            # Its message is the target, which may hold what is nobody's business.
            response = problem_response("bad-request", "the target is not one of HTTP/1.1")
        else:
            # The lines after the first one hold what was sent.
            what = (message or "").partition("\n")[0].removesuffix(":")
            response = problem_response("bad-request", what or "it is no request of HTTP/1.1")
        response.force_close()
        return response

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send an answer; what aiohttp by itself says to an expectation as a problem, too."""
        if isinstance(resp, web.HTTPExpectationFailed):
            detail = "the only expectation that is met here is 100-continue"
            resp = problem_response("expectation-failed", detail, instance=request.rel_url.raw_path)
        return await super().finish_response(request, resp, start_time)
