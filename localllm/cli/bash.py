"""Completion in bash, with names that hold spaces: click's own script would break them into words."""

from __future__ import annotations

import os
import re
from typing import ClassVar

from click.shell_completion import BashComplete, CompletionItem, add_completion_class

SPECIAL = re.compile(r"([^\w@%+=:,./\-\x80-\U0010ffff])", re.ASCII)
"""What bash would not take as part of a word."""
SCRIPT = """\
%(complete_func)s() {
    local IFS=$'\\n' line
    COMPREPLY=()
    while IFS= read -r line; do
        case $line in
            plain,*) COMPREPLY+=("${line#plain,}") ;;
            file,*) compopt -o default ;;
            dir,*) compopt -o dirnames ;;
        esac
    done < <(env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD %(complete_var)s=bash_complete "$1")
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class QuotingBash(BashComplete):
    """Writes ``Pump\\ manual`` where the user began without a quote."""

    source_template: ClassVar[str] = SCRIPT

    def format_completion(self, item: CompletionItem) -> str:
        """One line for the script."""
        if item.type == "plain" and not _in_quotes():
            return "plain," + SPECIAL.sub(r"\\\1", item.value)
        return super().format_completion(item)


def _in_quotes() -> bool:
    """The word under the cursor begins with a quote; then bash itself closes it."""
    words = os.environ.get("COMP_WORDS", "").split("\n")
    at = int(os.environ.get("COMP_CWORD", "0"))
    return at < len(words) and words[at][:1] in ("'", '"')


def register() -> None:
    """Let click use it for bash."""
    add_completion_class(QuotingBash)
