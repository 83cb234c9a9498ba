"""Every action, declared once: bindings, hints, help, palette, slash commands and docs/keys.md follow it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from textual.binding import Binding

Place = Literal["anywhere", "prompt", "transcript", "chats", "source"]
PLACES: dict[Place, str] = {
    "anywhere": "",
    "prompt": "in the prompt",
    "transcript": "in the messages",
    "chats": "in the chats",
    "source": "in an open source",
}
"""Where the keys of an action work, for people."""
KEY_SETS = ("default", "vim", "emacs")
UNBOUND = "f24"
"""Stands for no key, in bindings that the user may give one."""


@dataclass(frozen=True, slots=True)
class Keys:
    """A key set, and what the user changed in it."""

    name: str = "default"
    """One of `KEY_SETS`."""
    own: Mapping[str, str] = field(default_factory=dict)
    """Keys by action, separated by commas."""


@dataclass(frozen=True, slots=True)
class Action:
    """Something a user can do."""

    id: str
    """Names the method ``action_<id>`` of the chat screen (and of the screen where its keys work), the binding and the
    keymap entry."""
    title: str
    """In the palette and in help."""
    group: str
    keys: str = ""
    """Of the default set, separated by commas; empty when it is reached by palette and slash command alone."""
    where: Place = "anywhere"
    """Where the keys work; the palette always does."""
    vim: str = ""
    emacs: str = ""
    """Other keys in these sets; empty means those of the default set."""
    slash: str = ""
    """Name of the slash command; empty means none."""
    argument: str = ""
    """What may follow the slash command."""
    hint: str = ""
    """Short name in the row of hints; empty keeps it out."""

    def keys_in(self, key_set: str | Keys) -> str:
        """The keys in one of `KEY_SETS`, or those that the user chose."""
        if isinstance(key_set, Keys):
            return key_set.own.get(self.id) or self.keys_in(key_set.name)
        other = {"vim": self.vim, "emacs": self.emacs}.get(key_set, "")
        return other or self.keys

    def key_list(self, key_set: str | Keys) -> list[str]:
        """The keys one by one."""
        return [key for key in self.keys_in(key_set).split(",") if key]


ACTIONS: tuple[Action, ...] = (
    # asking
    Action("send", "Send the prompt", "Asking", "enter", "prompt", hint="send"),
    Action("new_line", "New line in the prompt", "Asking", "ctrl+j,alt+enter,shift+enter", "prompt", hint="new line"),
    Action("stop", "Stop the answer; the text is kept", "Asking", "escape", slash="stop", hint="stop"),
    Action("regenerate", "Answer again, beside the last answer", "Asking", "alt+a", slash="regenerate"),
    Action("continue_answer", "Go on behind the last answer", "Asking", "alt+c", slash="continue"),
    Action("edit_last", "Edit the last question and ask it again", "Asking", "alt+e", slash="edit"),
    Action("editor", "Write the prompt in your editor", "Asking", "ctrl+g", emacs="alt+g", slash="editor"),
    Action("attach", "Attach a file to the prompt", "Asking", slash="attach", argument="FILE"),
    Action("past_prompts", "Find a prompt that you sent before", "Asking", "ctrl+r,alt+h", slash="history"),
    Action("clear_queue", "Take the waiting prompts back", "Asking", slash="unqueue"),
    # the transcript
    Action("focus_transcript", "Go to the messages", "Messages", "shift+tab", "prompt", vim="shift+tab,escape"),
    Action("focus_prompt", "Go to the prompt", "Messages", "escape,tab", "transcript", vim="i,escape,tab"),
    Action("jump", "Jump to what is in sight by a letter", "Messages", "alt+j", slash="jump"),
    Action("message_previous", "The message above", "Messages", "up", "transcript", vim="k,up", emacs="ctrl+p,up"),
    Action("message_next", "The message below", "Messages", "down", "transcript", vim="j,down", emacs="ctrl+n,down"),
    Action("top", "The first message", "Messages", "home", "transcript", vim="g,home", emacs="alt+less_than_sign,home"),
    Action("bottom", "The end", "Messages", "end", "transcript", vim="G,end", emacs="alt+greater_than_sign,end"),
    Action("page_up", "Scroll up", "Messages", "pageup", emacs="alt+v,pageup"),
    Action("page_down", "Scroll down", "Messages", "pagedown", emacs="ctrl+v,pagedown"),
    Action("copy_message", "Copy this message", "Messages", "y", "transcript"),
    Action("select_messages", "Select messages from this one on; y copies them", "Messages", "V", "transcript"),
    Action("copy_code_block", "Copy a code block of this message", "Messages", "Y", "transcript"),
    Action("edit_message", "Edit this message and go on", "Messages", "e", "transcript"),
    Action("regenerate_message", "Answer this again", "Messages", "r", "transcript"),
    Action("continue_message", "Go on behind this answer", "Messages", "c", "transcript"),
    Action("fork_message", "A new chat from here", "Messages", "f", "transcript", slash="fork"),
    Action("branch_previous", "The alternative before", "Messages", "left_square_bracket,left", "transcript"),
    Action("branch_next", "The alternative behind", "Messages", "right_square_bracket,right", "transcript"),
    Action("toggle_reasoning", "Show or hide what the model thought", "Messages", "t", "transcript", slash="thinking"),
    Action("copy_answer", "Copy the last answer", "Messages", "alt+y", slash="copy"),
    Action("copy_selection", "Copy the selected text", "Messages", "ctrl+c"),
    Action("find", "Find in this chat", "Messages", "slash", "transcript", slash="find", argument="WORDS"),
    Action("find_next", "The next place found", "Messages", "n", "transcript"),
    Action("find_previous", "The place found before", "Messages", "N", "transcript"),
    # chats
    Action("new_chat", "New chat", "Chats", "ctrl+n", emacs="alt+n", slash="new", hint="new chat"),
    Action("temporary_chat", "New temporary chat, kept nowhere", "Chats", "alt+t", slash="temporary"),
    Action("toggle_chats", "Show or hide the chats", "Chats", "ctrl+l", slash="chats", hint="chats"),
    Action("search_chats", "Search all chats", "Chats", "ctrl+f", emacs="alt+s", slash="search", argument="WORDS"),
    Action("rename", "Rename this chat", "Chats", "alt+r", slash="rename", argument="TITLE"),
    Action("delete_chat", "Delete this chat", "Chats", "alt+d", emacs="alt+k", slash="delete"),
    Action("undo_delete", "Bring the deleted chat back", "Chats", "alt+z", slash="undo"),
    Action("export", "Export this chat", "Chats", slash="export", argument="markdown|html|jsonl"),
    Action("import_chats", "Import chats of another application", "Chats", slash="import", argument="PATH"),
    # documents and rules
    Action("documents", "Documents: libraries, folders, files", "Documents", "f4", slash="docs"),
    Action("no_documents", "Answer without documents in this chat", "Documents", slash="nodocs"),
    Action("toggle_sources", "Show or hide the sources", "Documents", "ctrl+o", slash="sources"),
    Action("open_citation", "Open a source (1-9: that one)", "Documents", "o,enter", "transcript", slash="citations"),
    Action("source_next", "The next source of the answer", "Documents", "n,right", "source"),
    Action("source_previous", "The source before", "Documents", "p,left", "source"),
    Action("open_document", "Open the document itself, in its own program", "Documents", "o", "source", slash="open"),
    Action("rules", "Rules for the answers of this chat", "Documents", "f5", slash="rules"),
    Action("verdict", "What became of each rule of this answer", "Documents", "v", "transcript", slash="verdict"),
    Action("repair", "Answer again, and tell the model which rules it broke", "Documents", "f8", slash="repair"),
    # the app
    Action("palette", "Find any action, chat, model or library", "App", "ctrl+k,ctrl+p", emacs="alt+x", hint="menu"),
    Action("help", "Help", "App", "f1", slash="help", hint="help"),
    Action("inspect", "What the model was sent", "App", "f2", slash="prompt"),
    Action("theme", "Light or dark", "App", "ctrl+t", emacs="f6", slash="theme"),
    Action("key_set", "Change the key set", "App", slash="keys", argument="default|vim|emacs"),
    Action("rebind", "Change the key of an action", "App", slash="rebind"),
    Action("system", "Instructions for this chat", "App", slash="system", argument="TEXT"),
    Action("model", "Switch the model", "App", "f3", slash="model", argument="NAME"),
    Action("unload", "Unload the model; the next question loads it", "App", slash="unload"),
    Action("parameters", "Model, draft and sampling of this chat", "App", "alt+p", slash="parameters"),
    Action("presets", "Presets: use one, save this chat as one", "App", "f7", slash="preset", argument="NAME"),
    Action("get_starter", "Get the starter model", "App", slash="starter"),
    Action("settings", "Settings", "App", "f9", slash="settings"),
    Action("quit", "Quit", "App", "ctrl+q", slash="quit"),
)  # fmt: skip

BY_ID = {action.id: action for action in ACTIONS}
BY_SLASH = {action.slash: action for action in ACTIONS if action.slash}
GROUPS = tuple(dict.fromkeys(action.group for action in ACTIONS))


def bindings(where: Place) -> list[Binding]:
    """The bindings of one place, with the keys of the default set; `keymap` gives them others."""
    prefix = "" if where == "anywhere" else "screen."
    return [
        Binding(
            a.keys or UNBOUND,
            prefix + a.id,
            a.title,
            id=a.id,
            show=False,
            priority=where == "anywhere" and a.id not in SHY,
        )
        for a in ACTIONS
        if a.where == where
    ]


SHY = frozenset({"stop", "copy_selection"})
"""Actions whose keys the widget in focus may use first."""


def shared(one: Action, other: Action) -> bool:
    """Whether the two must have different keys: in one place, or one of them everywhere."""
    return one.where == other.where or any(a.where == "anywhere" and a.id not in SHY for a in (one, other))


def keymap(key_set: str | Keys) -> dict[str, str]:
    """Binding ids to keys, for `App.set_keymap`."""
    return {a.id: a.keys_in(key_set) for a in ACTIONS if a.keys_in(key_set) != a.keys}


_NAMES = {
    "escape": "Esc",
    "enter": "Enter",
    "tab": "Tab",
    "slash": "/",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "less_than_sign": "<",
    "greater_than_sign": ">",
    "up": "↑",
    "down": "↓",
    "left": "←",
    "right": "→",
}


def key_name(key: str) -> str:
    """``ctrl+k`` as people write it: ``Ctrl+K``."""
    *modifiers, last = key.split("+")
    name = _NAMES.get(last) or (last.capitalize() if len(last) > 1 else last.upper() if modifiers else last)
    return "+".join([*(m.capitalize() for m in modifiers), name])


def key_names(action: Action, key_set: str | Keys = "default", most: int = 9) -> str:
    """The keys of an action for people, such as ``Ctrl+K, Ctrl+P``."""
    keys = [key for key in action.keys_in(key_set).split(",") if key]
    return ", ".join(key_name(key) for key in keys[:most])


def clashes(key_set: str) -> Iterator[tuple[str, str, str]]:
    """Two actions on one key in one place: (key, action, action)."""
    for place in PLACES:
        seen: dict[str, str] = {}
        for action in ACTIONS:
            if action.where != place:
                continue
            for key in action.keys_in(key_set).split(","):
                if key and key in seen:
                    yield key, seen[key], action.id
                seen[key] = action.id


def as_markdown() -> str:
    """The page docs/keys.md."""
    from localllm_tui.widgets.emacs import EMACS_KEYS
    from localllm_tui.widgets.vim import NORMAL_KEYS

    lines = [
        "# Keys",
        "",
        "Made from the app's own list of actions; a test keeps this page and the app in step. Every action is also in",
        "the palette (Ctrl+K), and every one with a slash command can be typed. `/keys vim` changes the key set, and",
        "`/rebind` the keys of single actions: they are kept in `keys.toml` beside the settings, one line per action.",
    ]
    for group in GROUPS:
        lines += ["", f"## {group}", "", "| action | default | vim | emacs | command |", "|---|---|---|---|---|"]
        for a in ACTIONS:
            if a.group != group:
                continue
            sets = [key_names(a, s).replace("|", "\\|") or " " for s in KEY_SETS]
            command = f"`/{a.slash}{' ' + a.argument if a.argument else ''}`" if a.slash else ""
            lines.append(f"| {a.title} | {' | '.join(sets)} | {command.replace('|', chr(92) + '|')} |")
    lines += ["", "## Editing the prompt", ""]
    lines += [
        "With the vim keys, Esc goes from writing to normal mode (the mark before the prompt is `N` then), and from",
        "there to the messages. While an answer is written, Esc stops it where the prompt is empty or in normal mode.",
        "The mark is `v` or `V` while characters or lines are marked, and shows what is searched for.",
        "",
        "| vim, normal mode | |",
        "|---|---|",
        *[f"| {keys} | {meaning} |" for keys, meaning in NORMAL_KEYS],
        "",
        "| emacs | |",
        "|---|---|",
        *[f"| {keys} | {meaning} |" for keys, meaning in EMACS_KEYS],
    ]
    return "\n".join(lines) + "\n"
