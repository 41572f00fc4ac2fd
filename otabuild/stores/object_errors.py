"""What an error of obstore means, by its long text; one line of it, without secrets, is shown.

Its text has URLs with signatures, and what the server said. So it is not even the cause of an error
of ours: tracebacks would show it.
"""

from __future__ import annotations

import re

from obstore.exceptions import NotSupportedError

from otabuild.errors import StoreError, printable

_STATUS = re.compile(r"status: (\d{3})\b|status code: (\d{3})\b")
_REASON = re.compile(r"status code: (\d{3}[ A-Za-z-]*)")
_OF_SERVICE = re.compile(r"<Code>([A-Za-z]{1,80})</Code>")
"""What services say besides may repeat the request, with its signature."""
_OF_SYSTEM = re.compile(r'(?:message|error): "([^"]{1,200})"')
_OF_TLS = re.compile(r"(Invalid\w+|AlertReceived)\(\s*(\w+)")
_METADATA_SERVICE = re.compile(r"169\.254\.169\.254|metadata\.google\.internal")
"""Where the libraries of the clouds look last for credentials."""
_BEYOND_THE_END = 416
_NOT_OFFERED = frozenset({405, 501})
_PASSING = frozenset({408, 425, 429})
"""Of the answers that blame the client, those that a later request need not get."""

_NO_CREDENTIALS = (
    "set the customary variables: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
    "GOOGLE_APPLICATION_CREDENTIALS, or AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY"
)
_REFUSED = "check that these credentials may do this here"
_WEB_REFUSED = (
    "put the user and password of this host into ~/.netrc, or the header's value into "
    "OTABUILD_AUTHORIZATION"
)
_READS_ONLY = (
    "this web server does not offer it: publishing needs WebDAV with PUT and "
    "DELETE, listing needs PROPFIND"
)


def status_of(error: Exception) -> int | None:
    """Return the HTTP status that the server answered with, if it did."""
    found = _STATUS.search(str(error))
    return int(found[1] or found[2]) if found else None


def is_whole(error: Exception) -> bool:
    """Return whether a server that was asked for a range began to send the whole file."""
    return isinstance(error, NotSupportedError) or "NotPartial" in str(error)


def is_beyond_the_end(error: Exception) -> bool:
    """Return whether the file ends before the requested range, as server or obstore found."""
    return status_of(error) == _BEYOND_THE_END or "StartTooLarge" in str(error)


def may_pass(error: Exception) -> bool:
    """Return whether the request may succeed later: the server or the connection failed."""
    status = status_of(error)
    if status is None:
        return not _METADATA_SERVICE.search(str(error)) and not _OF_TLS.search(str(error))
    return status >= 500 or status in _PASSING


def store_error(error: Exception, operation: str, where: str) -> StoreError:
    """Return an error of obstore, or a TimeoutError of ours, as one of otabuild.

    Args:
        error: what was raised.
        operation: such as `read`.
        where: URL and key, without secrets.
    """
    text, status = str(error), status_of(error)
    if isinstance(error, TimeoutError):
        hint = "check the network, or allow more seconds with OTABUILD_TIMEOUT"
        return StoreError(f"cannot {operation}: no progress for too long", where=where, hint=hint)
    hint = ""
    if _METADATA_SERVICE.search(text):
        return StoreError(f"cannot {operation}: no credentials", where=where, hint=_NO_CREDENTIALS)
    if status in (401, 403):
        hint = _WEB_REFUSED if where.startswith("http") else _REFUSED
    elif status in _NOT_OFFERED and where.startswith("http"):
        hint = _READS_ONLY
    elif "BadScheme" in text:
        return StoreError(
            f"cannot {operation}: plain HTTP is refused",
            where=where,
            hint="use https, or an http URL",
        )
    elif _OF_TLS.search(text):
        hint = (
            "if the certificate is of your own authority, set OTABUILD_CA_FILE to its root in PEM"
        )
    return StoreError(
        f"cannot {operation}", where=where, observed=printable(_cause(text)), hint=hint
    )


def _cause(text: str) -> str:
    if found := _OF_SERVICE.search(text):
        return found[1]
    for pattern in (_REASON, _OF_SYSTEM):
        if found := pattern.search(text):
            return found[1].strip()
    if found := _OF_TLS.search(text):
        return f"TLS: {found[1]} {found[2]}"
    # The rest may have a URL with a signature in it.
    return re.sub(r"\bhttps?://\S+", "URL", text.partition("\n")[0])[:300]
