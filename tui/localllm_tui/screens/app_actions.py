"""Actions of the app itself: help, screens, theme, keys, models."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from textual.content import Content

from localllm.errors import LocalLLMError
from localllm.history import ChatOptions
from localllm.settings import save_setting
from localllm_tui.actions import BY_ID, KEY_SETS, keymap
from localllm_tui.screens.help import Help
from localllm_tui.screens.model_news import LOADS
from localllm_tui.screens.pick import Pick
from localllm_tui.screens.source_actions import SourceActions
from localllm_tui.screens.text_dialog import TextDialog

if TYPE_CHECKING:
    from localllm.settings import Settings
    from localllm_tui.app import LocalLLMApp


class AppActions(SourceActions):
    """Actions of the registry in the group of the app."""

    # ---- the app ----------------------------------------------------------------------------------------------------

    def action_palette(self) -> None:
        """Find anything."""
        from textual.command import CommandPalette

        if not CommandPalette.is_open(self.app):
            self.app.push_screen(CommandPalette(placeholder="Find an action, chat, model or library"))

    def action_help(self) -> None:
        """All actions and keys."""
        self.app.push_screen(Help(self.keys), self._from_help)

    def _from_help(self, action_id: str | None) -> None:
        if action_id in BY_ID:
            self.run_by_id(action_id)

    def action_inspect(self) -> None:
        """The newest prompt, exactly as the model saw it."""
        from localllm_tui.screens.inspector import InspectorScreen

        assistant, info = self.conversation.assistant, self.status.status.info
        engine = assistant.engine
        self.app.push_screen(
            InspectorScreen(
                assistant.sent_prompt,
                n_ctx=info.n_ctx if info is not None else 0,
                count_tokens=engine.count_tokens if engine is not None else None,
                copy=self.copy_text,
            )
        )

    # ---- documents, rules, settings ---------------------------------------------------------------------------------

    def action_documents(self) -> None:
        """Libraries of documents, and which one this chat asks."""
        from localllm.open import open_embedder
        from localllm_tui.screens.documents import DocumentsScreen

        settings, paths, chat = self.settings, self.paths, self.conversation.chat
        current = (chat.options.docs if chat is not None else "") or settings.docs or "default"
        screen = DocumentsScreen(paths, current, partial(open_embedder, settings, paths))
        self.app.push_screen(screen, self.use_library)

    def use_library(self, name: str | None) -> None:
        """Let this chat ask a library."""
        if name is not None:
            self._set_options(docs=name)
            self.say(f"This chat asks the library {name} from now on. /nodocs ends that.")

    def action_no_documents(self) -> None:
        """Answer without documents again."""
        self._set_options(docs="")
        self.say("This chat asks no documents.")

    def action_rules(self) -> None:
        """What answers in this chat must look like."""
        from localllm_tui.screens.rules import RulesScreen

        chat = self.conversation.chat
        self.app.push_screen(RulesScreen(self.paths, chat.options.rules if chat is not None else ""), self._use_rules)

    def _use_rules(self, name: str | None) -> None:
        if name is not None:
            self._set_options(rules=name)
            self.say(f"Answers in this chat follow {name}." if name else "No rules in this chat.")

    def _set_options(self, **changes: Any) -> None:
        chat = self.conversation.ensure_chat()
        self.conversation.set_options(replace(chat.options, **changes))
        self.show_options()
        self.read_ahead()

    def action_settings(self) -> None:
        """Every setting."""
        from localllm_tui.screens.settings import SettingsScreen

        choices = {"theme": sorted(self.app.available_themes)}
        base = self.conversation.assistant.settings
        screen = SettingsScreen(base, self.paths, self._setting_changed, choices)
        self.app.push_screen(screen, partial(self._settings_closed, self.settings))

    def _settings_closed(self, before: Settings, _: object = None) -> None:
        """What the model is loaded with may have changed."""
        wanted = self._loads_of_chat()
        if self.turn is None and any(getattr(before, name) != getattr(wanted, name) for name in LOADS):
            self.settings = wanted
            self.switch_model(wanted.model)

    def read_settings_again(self) -> None:
        """Use what was changed in the settings file behind the app."""
        before = self.settings
        try:
            changes = self.settings_file.changes(self.conversation.assistant.settings)
        except LocalLLMError as error:
            self.say(str(error), "warning")
            return
        for name, value in changes.items():
            self._setting_changed(name, self.settings.with_changes(**{name: value}))
        if changes:
            self.say(f"Settings read again: {', '.join(changes)}.")
            self._settings_closed(before)

    def _setting_changed(self, name: str, settings: Settings) -> None:
        self._use_setting(name, getattr(settings, name))
        if name == "theme" and settings.theme in self.app.available_themes:
            self.app.theme = settings.theme
        elif name == "keys":
            self._use_keys(KEY_SETS.index(settings.keys))
        elif name == "offline":
            self.status.set(offline=settings.offline)
        elif name == "reduced_motion":
            cast("LocalLLMApp", self.app).use_motion(not settings.reduced_motion)

    def action_theme(self) -> None:
        """Between light and dark; the choice is kept."""
        themes = {"localllm-dark": "localllm-light", "localllm-light": "localllm-dark"}
        argument = self._take_argument()
        if argument and argument not in self.app.available_themes:
            self.say(f"Themes: {', '.join(sorted(self.app.available_themes))}.", "warning")
            return
        name = argument or themes.get(self.app.theme) or (
            "localllm-light" if self.app.current_theme.dark else "localllm-dark"
        )  # fmt: skip
        self.app.theme = name
        self._keep_setting("theme", name)

    def action_key_set(self) -> None:
        """Other keys, at once; the choice is kept."""
        name = self._take_argument().lower()
        if name in KEY_SETS:
            self._use_keys(KEY_SETS.index(name))
        else:
            at = KEY_SETS.index(self.key_set)
            self.app.push_screen(Pick("Key set", [Content(n) for n in KEY_SETS], at), self._use_keys)

    def _use_keys(self, n: int | None) -> None:
        if n is None:
            return
        self.key_set = KEY_SETS[n]
        self.use_keys()
        self._keep_setting("keys", self.key_set)

    def use_keys(self) -> None:
        """The keys of the set and the user's own hold from now on."""
        self.app.set_keymap(keymap(self.keys))
        self.prompt.use_key_set(self.key_set)
        self.hints.key_set = self.keys
        self.hints.show(self.turn is not None)

    def _keep_setting(self, name: str, value: object) -> None:
        self._use_setting(name, value)
        try:
            save_setting(self.paths, name, value)
        except LocalLLMError as error:
            self.say(str(error), "warning")

    def _use_setting(self, name: str, value: object) -> None:
        """Let it hold for what is loaded and for whoever answers, whose models may differ."""
        self.settings = self.settings.with_changes(**{name: value})
        self.conversation.use_settings(self.conversation.assistant.settings.with_changes(**{name: value}))

    def action_system(self) -> None:
        """Instructions that stand before the chat."""
        if text := self._take_argument():
            self._set_system(text)
        else:
            chat = self.conversation.chat
            now = chat.system if chat is not None else self.conversation.assistant.settings.system
            self.app.push_screen(TextDialog("Instructions for this chat", now, lines=True), self._set_system)

    def _set_system(self, text: str | None) -> None:
        if text is not None:
            self.conversation.history.set_system(self.conversation.ensure_chat().id, text)
            self.conversation.reload()
            self.say("The instructions hold from the next question on.")
            self.read_ahead()

    def action_model(self) -> None:
        """Another model answers from now on."""
        from localllm_tui.screens.models import ModelsScreen

        if name := self._take_argument():
            self.use_model(name)
            return
        info = self.status.status.info
        screen = ModelsScreen(
            self.paths,
            self.settings,
            info.path if info is not None else None,
            unload=self.action_unload if info is not None else None,
        )
        self.app.push_screen(screen, self.use_model)

    def action_unload(self) -> None:
        """Give the memory of the model back."""
        if self._free():
            self.unload_model()

    def use_model(self, name: str | None) -> None:
        """Answer with this model from now on; the chat keeps it."""
        if name is not None and self._free():
            self._keep_in_chat("model", name)
            self.switch_model(name)

    def _keep_in_chat(self, name: str, value: object) -> None:
        """A setting that this chat has from now on, also when it is opened again; None takes it back."""
        chat = self.conversation.ensure_chat()
        own = {key: kept for key, kept in chat.options.settings.items() if key != name}
        if value is not None:
            own[name] = value
        self._set_options(settings=own)

    def action_parameters(self) -> None:
        """Model, draft and sampling of this chat."""
        from localllm.assistant import chat_settings
        from localllm.presets import PRESET_SETTINGS
        from localllm_tui.screens.settings import SettingsScreen

        chat = self.conversation.chat
        try:
            settings = chat_settings(self.settings, chat.options if chat is not None else ChatOptions())
        except LocalLLMError as error:
            self.say(str(error), "error")
            return
        names = [name for name in PRESET_SETTINGS if name not in ("docs", "rules", "system")]
        base = self.conversation.assistant.settings

        def keep(name: str, value: object) -> None:
            self._keep_in_chat(name, None if value == getattr(base, name) else value)

        screen = SettingsScreen(settings, self.paths, names=names, base=base, save=keep, title="Settings of this chat")
        self.app.push_screen(screen, lambda _: self.load_for_chat())

    async def action_quit(self) -> None:
        """Stop what runs, keep the draft, leave."""
        self.idle.stop()
        if self.turn is not None:
            self.turn.stop()
            self.turn.join(2.0)
        self.keep_draft()
        self.app.exit(0)
