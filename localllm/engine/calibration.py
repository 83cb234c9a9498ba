"""Calibration on disk: what a machine and a model cost, so that the second that measuring takes is spent once.

One small JSON file per machine, model and way of loading. It is a cache: what can't be read, or is of another version,
is measured again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from localllm.engine.acceptance import Acceptance
from localllm.engine.costs import CostTable
from localllm.engine.ledger import Ledger
from localllm.engine.threads import processor_name
from localllm.errors import SettingsError
from localllm.settings import private_folder

VERSION = 3


@dataclass
class Calibration:
    """Everything that the controller learns."""

    costs: CostTable
    acceptance: dict[str, Acceptance] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=Ledger)


def machine_id() -> str:
    """Names this machine as far as speed goes: processor, cores, system."""
    return f"{platform.node()}|{platform.system()}|{platform.machine()}|{processor_name()}|{os.cpu_count()}"


class CalibrationStore:
    """One calibration file.

    Args:
        folder: Made when first written to; None keeps nothing on disk.
        parts: Whatever changes the costs: machine, model file, threads, cache types.
    """

    def __init__(self, folder: Path | None, parts: Sequence[object]) -> None:
        key = hashlib.blake2b("|".join(map(str, parts)).encode(), digest_size=12).hexdigest()
        self.path = folder / f"{key}.json" if folder is not None else None

    def load(self) -> Calibration | None:
        """What was stored, or None where there is nothing usable."""
        if self.path is None:
            return None
        try:
            data = json.loads(self.path.read_text("utf-8"))
            if data["version"] != VERSION:
                return None
            costs = CostTable.from_json(data["costs"])
            acceptance = {str(name): Acceptance.from_json(record) for name, record in data["acceptance"].items()}
            balance, allowance = float(data["balance"]), float(data["allowance"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
        ledger = Ledger()
        if not (costs.known and math.isfinite(balance) and math.isfinite(allowance)):
            return None
        ledger.balance, ledger.allowance = min(balance, ledger.cap), min(allowance, ledger.cap)
        return Calibration(costs, acceptance, ledger)

    def save(self, calibration: Calibration) -> bool:
        """Write it, whole or not at all; False where that is not possible, which costs a second next time."""
        if self.path is None:
            return False
        data = {
            "version": VERSION,
            "costs": calibration.costs.to_json(),
            "acceptance": {name: record.to_json() for name, record in calibration.acceptance.items()},
            "balance": calibration.ledger.balance,
            "allowance": min(calibration.ledger.room, calibration.ledger.cap),
        }
        part = self.path.with_name(f"{self.path.name}.{os.getpid()}.part")
        try:
            private_folder(self.path.parent)
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(data, file)
            part.replace(self.path)
        except (OSError, SettingsError):
            with contextlib.suppress(OSError):
                part.unlink()
            return False
        return True
