"""After the first paint: what the first answer needs is loaded, and what is there to stay is no longer searched for
garbage, so that no full collection stops the screen in the middle of an answer."""

from __future__ import annotations

import gc

SAMPLE = """# One

Some *text* with `code`, a [link](x) and $x^2$.

- a point

```python
def one() -> int:
    return 1
```

| a | b |
|---|---|
| 1 | 2 |
"""


def settle() -> None:
    """Parse and lay out one small document, collect once, and freeze the rest. Runs in a thread of its own.

    Call it once in a process: what is frozen is never collected.
    """
    from localllm_tui.markdown.blocks import parse
    from localllm_tui.markdown.layout import rows_of

    for block in parse(SAMPLE):
        rows_of(block, 80)
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)  # drawing makes garbage without cycles: it need not be searched all the time
