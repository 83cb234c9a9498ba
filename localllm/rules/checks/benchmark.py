"""What the instructions of IFEval and IFBench share: the two modes, and how a decision becomes a finding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from localllm.rules.checks.kinds import Field, Params
from localllm.rules.outcome import Finding, failed, passed

Decision = bool | tuple[bool, Any]
"""True or False, or with the measured value."""
Decide = Callable[[Params, str], Decision]

_STRICT = "strict"
MODE = Field("str", _STRICT, choices=("compat", _STRICT))


def strict(params: Params) -> bool:
    """Whether to decide as a reader would, not as the reference checker does."""
    return bool(params["mode"] == _STRICT)


def finding(decision: Decision, told: str, required: str) -> Finding:
    """The finding of a decision: `told` says what was asked for, `required` with which values."""
    good, measured = decision if isinstance(decision, tuple) else (decision, None)
    return passed(measured, required) if good else failed(f"not followed: {told}", measured, required)
