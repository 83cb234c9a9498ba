"""The settings file while the app runs: what somebody changed in it holds as soon as they are back in the window."""

from __future__ import annotations

from dataclasses import fields

from localllm.settings import Paths, Settings, load_settings


class SettingsFile:
    """Looks at the file only when asked to.

    Args:
        paths: Where it is.
    """

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._seen = self._stamp()

    def changes(self, settings: Settings) -> dict[str, object]:
        """What the file says otherwise than these settings, when it was written since the last look.

        Raises:
            SettingsError: A value can't be used; the message names file and line.
        """
        stamp = self._stamp()
        if stamp == self._seen:
            return {}
        self._seen = stamp
        now = load_settings(self._paths)
        return {f.name: getattr(now, f.name) for f in fields(now) if getattr(now, f.name) != getattr(settings, f.name)}

    def _stamp(self) -> tuple[int, int]:
        try:
            stat = self._paths.config.stat()
        except OSError:
            return 0, 0
        return stat.st_mtime_ns, stat.st_size
