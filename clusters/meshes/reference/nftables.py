"""The kernel's firewall, through libnftables: one call, one transaction, all of it or nothing.

libnftables by ctypes needs 0.4 ms for an update where the `nft` program needs 16 ms, and needs no
Python package. A context belongs to the network namespace of the thread that made it.
"""

from __future__ import annotations

import ctypes
from types import TracebackType

LIBRARY = "libnftables.so.1"


class NftablesError(Exception):
    """The kernel or the parser refused a transaction; nothing of it was applied. The message is theirs."""


class Nftables:
    """A context in the calling thread's network namespace. One thread at a time. Raises OSError without the library."""

    def __init__(self) -> None:
        self._library = _load()
        self._context = self._library.nft_ctx_new(0)
        if not self._context:
            raise NftablesError("nft_ctx_new failed")
        self._library.nft_ctx_buffer_output(self._context)
        self._library.nft_ctx_buffer_error(self._context)

    def run(self, commands: str) -> str:
        """Run `commands` as one transaction; what they print. Raises NftablesError, having changed nothing."""
        failed = self._library.nft_run_cmd_from_buffer(self._context, commands.encode())
        output: bytes = self._library.nft_ctx_get_output_buffer(self._context) or b""
        errors: bytes = self._library.nft_ctx_get_error_buffer(self._context) or b""
        if failed:
            raise NftablesError(errors.decode(errors="replace").strip() or f"nft failed with {failed}")
        return output.decode(errors="replace")

    def has_table(self, name: str) -> bool:
        """Whether this namespace already has an ip table of this name."""
        return f"table ip {name}" in self.run("list tables ip").splitlines()

    def table(self, name: str) -> str:
        """The ip table of this name, as nft prints it. Raises NftablesError when there is none."""
        return self.run(f"list table ip {name}")

    def close(self) -> None:
        self._library.nft_ctx_free(self._context)

    def __enter__(self) -> Nftables:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _load() -> ctypes.CDLL:
    library = ctypes.CDLL(LIBRARY)
    library.nft_ctx_new.restype = ctypes.c_void_p
    library.nft_ctx_new.argtypes = [ctypes.c_uint32]
    library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    for name in ("nft_ctx_free", "nft_ctx_buffer_output", "nft_ctx_buffer_error"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
    for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
        getattr(library, name).restype = ctypes.c_char_p
    return library
