"""Archive: the zip files that office formats and books are, read without trusting a word of their directory."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from localllm.rag.readers.limits import LIMITS, Unreadable


class Archive:
    """An open zip file whose members are counted while they are unpacked.

    Raises:
        Unreadable: It is no zip file, is encrypted, or would unpack to more than is sound.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            with path.open("rb") as file:
                head = file.read(8)
            if head == b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1":
                raise Unreadable("protected by a password, or an old binary format") from error
            raise Unreadable(f"damaged: {error}", skipped=False) from error
        self._left = LIMITS.archive_bytes
        infos = self._zip.infolist()
        if len(infos) > LIMITS.archive_members:
            raise Unreadable(f"an archive of {len(infos):,} members")
        for info in infos:
            if info.file_size > 1_000_000 and info.file_size > LIMITS.archive_ratio * max(1, info.compress_size):
                raise Unreadable(
                    f"{info.filename} unpacks to {info.file_size // max(1, info.compress_size):,} times its size"
                )
            if info.flag_bits & 1:
                raise Unreadable("protected by a password")

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    @property
    def names(self) -> list[str]:
        """Names of the members."""
        return self._zip.namelist()

    def read(self, name: str) -> bytes:
        """A member, or nothing when it is not there.

        Raises:
            Unreadable: Unpacking gave more than the directory said, or more than is sound in all.
        """
        try:
            with self._zip.open(name) as member:
                data = member.read(self._left + 1)
        except KeyError:
            return b""
        except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError) as error:
            raise Unreadable(f"damaged: {error}", skipped=False) from error
        except Exception as error:  # zlib.error has no common base with the above
            raise Unreadable(f"damaged: {error}", skipped=False) from error
        self._left -= len(data)
        if self._left < 0:
            raise Unreadable(f"unpacks to more than {LIMITS.archive_bytes / 1e6:,.0f} MB")
        return data

    def xml(self, name: str) -> Any:
        """A member as an XML element, or None when it is not there.

        Raises:
            Unreadable: It is no sound XML; entities that expand are refused.
        """
        from xml.etree.ElementTree import ParseError

        from defusedxml import DefusedXmlException
        from defusedxml.ElementTree import fromstring

        data = self.read(name)
        if not data:
            return None
        try:
            return fromstring(data)
        except DefusedXmlException as error:
            raise Unreadable("its XML declares entities", skipped=False) from error
        except (ParseError, ValueError) as error:
            raise Unreadable(f"damaged: {name}: {error}", skipped=False) from error


def local(tag: Any) -> str:
    """The name of an XML element without its namespace."""
    return tag.rsplit("}", 1)[-1] if isinstance(tag, str) else ""


def attribute(element: Any, name: str) -> str:
    """An attribute by its name without a namespace; empty when it is not there."""
    for key, value in element.attrib.items():
        if local(key) == name:
            return str(value)
    return ""
