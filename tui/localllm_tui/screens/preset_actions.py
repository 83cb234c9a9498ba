"""Actions of presets: giving one to the chat, and making one of it."""

from __future__ import annotations

from dataclasses import replace

from localllm.errors import LocalLLMError
from localllm.history import ChatOptions
from localllm.presets import Preset
from localllm_tui.markdown.clean import clean_line
from localllm_tui.screens.app_actions import AppActions
from localllm_tui.screens.model_news import LOADS


class PresetActions(AppActions):
    """The presets."""

    def action_presets(self) -> None:
        """Choose one; with a name, use it at once."""
        from localllm_tui.screens.presets import PresetsScreen

        if name := self._take_argument():
            self.use_preset(name)
            return
        chat = self.conversation.chat
        current = chat.options.preset if chat is not None else ""
        self.app.push_screen(PresetsScreen(self.paths, self._preset_of_chat, current), self._use_preset)

    def use_preset(self, name: str) -> None:
        """Give the preset of this name to the chat."""
        from localllm.presets import load_preset

        try:
            self._use_preset(load_preset(name, self.paths))
        except LocalLLMError as error:
            self.say(str(error), "error")

    def _use_preset(self, preset: Preset | None) -> None:
        """Give a preset to the chat; what it does not name stays as it is. All of it happens, or nothing."""
        from localllm.assistant import chat_settings
        from localllm.open import engine_spec
        from localllm.presets import chat_options

        if preset is None or not self._free():
            return
        chat = self.conversation.chat
        before, options = chat.options if chat is not None else ChatOptions(), chat_options(preset)
        options = replace(
            options,
            docs=options.docs if "docs" in preset.values else before.docs,
            rules=options.rules if "rules" in preset.values else before.rules,
        )
        loads = {name: preset.values[name] for name in LOADS if name in preset.values}
        settings = self.settings.with_changes(**loads)
        try:
            self.conversation.assistant.check(chat_settings(self.settings, options))
            other = settings != self.settings and engine_spec(settings, self.paths) != self._spec_now()
            self.conversation.set_options(options)
            if "system" in preset.values:
                self.conversation.history.set_system(self.conversation.ensure_chat().id, preset.values["system"])
                self.conversation.reload()
        except LocalLLMError as error:
            self.say(str(error), "error")
            return
        self.show_options()
        if other:
            self.settings = settings
            self.switch_model(settings.model)
        self.say(f"This chat uses the preset {clean_line(preset.name)} from now on.")

    def _preset_of_chat(self, name: str) -> Preset:
        """What the chat on the screen uses, the loaded model included."""
        from localllm.assistant import chat_settings
        from localllm.models.shelf import find_model
        from localllm.presets import preset_of

        chat = self.conversation.chat
        settings = chat_settings(self.settings, chat.options if chat is not None else ChatOptions())
        model, info = self.settings.model, self.status.status.info
        if not model and info is not None:
            try:  # the default model is named, so that the preset means the same model tomorrow
                find_model(info.model, self.paths)
                model = info.model
            except LocalLLMError:
                pass
        system = chat.system if chat is not None else settings.system
        return preset_of(name, settings.with_changes(model=model, system=system))
