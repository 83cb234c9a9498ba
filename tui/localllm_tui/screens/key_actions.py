"""Actions of keys: giving an action another one."""

from __future__ import annotations

from localllm.errors import LocalLLMError
from localllm_tui.own_keys import save_own_keys
from localllm_tui.screens.rule_actions import RuleActions


class KeyActions(RuleActions):
    """The user's own keys."""

    def action_rebind(self) -> None:
        """Every action with its keys; Enter changes one."""
        from localllm_tui.screens.keys import KeysScreen

        self.app.push_screen(KeysScreen(self.keys, self._keep_keys))

    def _keep_keys(self, own: dict[str, str]) -> str:
        """Use and keep these; returns what went wrong."""
        try:
            save_own_keys(own, self.paths)
        except LocalLLMError as error:
            return str(error)
        self.own_keys = own
        self.use_keys()
        return ""
