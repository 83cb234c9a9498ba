"""Requests for the instructions that a model was given: a verb that brings text out, and an object that names them.

The objects come in four kinds: by name ("your system prompt"), by origin ("the rules you were given"), by place
("everything before this message") and by extent ("every sentence of our conversation"). What stands above may be the
user's own text, so that an object by place counts only where the message has no text of its own above it.
"""

from __future__ import annotations

import re
from itertools import islice

_OWN_TEXT = 40
"""Characters in lines above an object by place that may be what it means."""


_MOST_PLACES = 20
"""Objects by place that are looked at; each looks at what is above it."""


def _any(words: str) -> str:
    """One of these words; a word may be a pattern, with ``_`` for what parts words."""
    return "(?:" + "|".join(words.replace("_", r"\W+").split()) + ")"


def _gap(most: int) -> str:
    """Up to so many words between two others, in the same sentence."""
    return rf"(?:[^\w.?!]+[\w'’]+){{0,{most}}}?[^\w.?!]+"


_COPY = _any(
    "repeat print output echo recite reproduce regurgitate replicate duplicate replay reiterate recount narrate mirror"
    " enumerate elucidate copy paste dump type retype write transcribe quote spell read_(?:me|us|out|aloud|back) say"
    " list show reveal display disclose expose leak tell give hand share send provide present state return put remind"
    " make generate create describe recall include restate retell retrieve fetch extract"
    r" (?:me|to|i)_(?:see|know|get|have|read) zeig\w* gib nenn\w* wiederhol\w* schreib\w* affiche\w* répète\w*"
    r" montre\w* repite muestra\w* escribe imprim\w*"
)
_RECAST = _any(
    r"translate summari[sz]e paraphrase rephrase reword rewrite convert transform encode encrypt reverse format replace"
    r" explain outline render turn begin start complete continue übersetz\w* tradui\w* traduce"
)
_VERB = rf"\b(?:{_COPY}|{_RECAST})(?:s|es|ed|ing)?\b"
_ASK = r"\b" + _any(r"what which how quel\w* welche\w* was qué cuáles") + r"\b"

_IS = (
    rf"(?:\W+{_any('is are was were does do did has would exactly')}\b"
    rf"(?:\W+{_any('written said stated contained inside in on all of the exactly')}){{0,3}}?)?"
)

_HIDDEN = _any(
    "system initial original hidden secret internal starting opening base root full entire complete exact own core"
    " developer operator custom preset underlying foundational introductory first setup operating prior previous very"
    " startup pre programmed given assigned current actual whole private confidential detailed specific"
)
_TEXT = _any(
    "pre-?prompts? prompts? instructions? directives? guidelines? rules? ruleset constraints? preamble briefing"
    " programming configuration initiali[sz]ation orders system_role context_window setup"
)
_ABOUT = _any(r"on about for regarding concerning to_(?!me\b|us\b|the_user) in_(?:case|terms) when")
_HELD = _any("messages? context text settings persona role information content directions")
_NOT_OURS = _any(r"to for of_an? that_(?:i|we) i we should in")
_BY_NAME = "|".join(
    (
        rf"\byour\b(?:\W+{_HIDDEN}){{0,4}}\W+{_TEXT}\b(?!\W+{_ABOUT}\b)",
        rf"\byour\b(?:\W+{_HIDDEN})+\W+{_HELD}\b",
        rf"\b{_any('the this that its of any full entire exact')}\W+(?:\w+\W+)?"
        rf"{_any('system initial hidden secret original starting developer')}\W+"
        rf"{_any('prompts? instructions? message directives?')}\b"
        rf"(?!\W+{_NOT_OURS}\b)",
        rf"\b{_any('deine[nmr]? ihre[nmr]? tes vos tus sus')}\W+(?:\w+\W+)?"
        rf"{_any('anweisungen vorgaben systemprompt consignes instrucciones instructions prompt')}\b",
    )
)

_GIVEN = _any(
    "told instructed prompted initiali[sz]ed configured briefed given provided programmed ordered directed set_up"
    " assigned supplied sent fed asked"
)
_WERE = _any("were are have had was 've ’ve been initially originally first just must should currently")
_SAID = _any("information text message context tasks? details words everything all anything what how")
_HAVE = _any("have had are must should need currently initially originally")
_FOLLOW = _any(r"received got follow\w* obey\w* operat\w+ abide adher\w+ work\w* act go_by run")
_GAVE = _any("gave sent told put wrote imposed placed given provided passed fed issued assigned shown")
_BY_ORIGIN = "|".join(
    (
        rf"\b(?:{_TEXT}|{_SAID})\W+(?:that\W+|which\W+)?you(?:\W+{_WERE}){{1,4}}\W+{_GIVEN}\b",
        rf"\b{_TEXT}\W+(?:that\W+|which\W+)?you(?:\W+{_HAVE}){{0,3}}\W+{_FOLLOW}\b",
        rf"\b(?:{_TEXT}|message|text|information|context)\W+(?:that\W+|which\W+)?(?:\w+\W+){{0,4}}?{_GAVE}\W+"
        r"(?:(?:to|on|upon|into|before|for)\W+)?(?:you\b|in front of)",
        r"\b(?:consignes|instructions)\W+que\W+tu\W+as\W+reçues|\binstrucciones\W+que\W+(?:te\W+dieron|recibiste)",
        r"\banweisungen\W*,?\W*die\W+(?:du|sie)\W+(?:bekommen|erhalten)",
    )
)
_TOLD_BEFORE = (
    rf"{_ASK}{_gap(5)}(?:were|are|have)\W+you\W+(?:\w+\W+)?{_GIVEN}\W+"
    rf"{_any('at before by when prior initially in_(?:the|your) to_(?:be|behave|act|follow|start)')}\b"
)

_HERE = (
    rf"{_any('this my the_current here our now')}\b(?:\W+{_any('first last very own latest current entire')}){{0,2}}\W+"
    + _any(
        "line message sentence text prompt point question request query conversation chat word instruction input"
        " session dialogue paragraph command turn started began"
    )
)
_PIECE = _any(
    "text section words? contents? lines? sentences? paragraphs? passage characters instructions? prompt messages?"
    " information tokens context"
)
_BEFORE = _any(r"above before preced\w+ prior_to ahead_of up_to until to")
_THIS_CHAT = (
    rf"{_any('this our the your')}\W+(?:\w+\W+)?"
    rf"{_any('conversation chat prompt context dialogue session window interaction thread')}\b"
)
_BY_PLACE = "|".join(
    (
        rf"\b(?:the\W+)?(?:{_any('everything all anything thing what')}|{_PIECE})\b(?:\W+\w+){{0,4}}?\W+"
        rf"{_BEFORE}\W+{_HERE}",
        r"\b(?:everything|all)\W+(?:of\W+)?(?:the\W+)?(?:\w+\W+)?(?:above|before this|preceding|so far)\b",
        rf"\b(?:the\W+)?{_PIECE}[^\w\"“”.?!]+(?:\w+[^\w\"“”.?!]+)?above\b",
        rf"\b(?:above|preceding|previous|prior|earlier)\W+{_PIECE}\b",
        rf"\b(?:beginning|start|top|first(?:\W+\w+){{1,2}}|very first\W+\w+)\W+(?:of|in|from)\W+{_THIS_CHAT}",
        r"\bconversation\W+from\W+the\W+(?:very\W+)?(?:beginning|start)\b",
        r"\b(?:alles|was|text)\b\W*(?:was\W+)?vor\W+dieser\W+nachricht|\btexto\W+anterior\b",
        r"\btexte\W+(?:ci-dessus|précédent)\b",
    )
)

_ALL = r"\b(?:all|every|each|everything)\b"
_SPOKEN = _any(
    "sentences? lines? words? statements? phrases? prompts? commands? messages? exchanges text parts? instructions?"
    " content tokens?"
)
_CHAT = _any("conversation chat dialogue discussion discourse exchange session thread transcript prompt")
_SAID_HERE = rf"(?:{_CHAT}|{_any('instructions? commands? directives? context task')})"
_BY_EXTENT = "|".join(
    (
        rf"{_ALL}(?:\W+{_any('of the single previous prior last past written')}){{0,3}}\W+(?:{_SPOKEN}\W+(?:\w+\W+)?"
        rf"(?:of|in|from|within)\W+(?:our|this|the|your)|(?:of|in|from|within)\W+(?:our|this|your))\W+(?:\w+\W+){{0,2}}?"
        rf"{_SAID_HERE}\b",
        rf"{_ALL}(?:\W+(?:of|the|single)){{0,2}}\W+{_SPOKEN}\W+(?:that\W+)?(?:you(?:\W+have|'ve|’ve)?\W+(?:just\W+)?"
        rf"{_any('saw seen read encountered processed interpreted received got')}|we(?:\W+have|'ve|’ve)\W+\w+)\b",
        rf"\b(?:entire|whole|full|complete|entirety of (?:our|this|the))\W+(?:previous\W+)?{_CHAT}\b",
    )
)

_MOUTH = "|".join(
    (
        r"\b(?:begin|start|continue|complete|prefix|prepend)(?:s|ed|ing)?\b(?:\W+\w+){0,6}?\W*[\"“”'‘]"
        r"(?:you are\b|(?:my|the|these|system)\W+(?:\w+\W+){0,3}?(?:instructions|prompt|directives)\b)",
        r"(?<!\w)[\"“'‘](?:\w+\W+){0,3}?(?:instructions|guidelines|directives|prompt)\W+"
        r"(?:(?:that\W+)?i\W+(?:was|have been|were)\W+\w+\W+)?(?:are|is|were|was|reads?)\b[^\"”\n]{0,20}[\"”':_]",
        r"\b(?:complete|continue|finish)\b[^\"“'‘\n]{0,40}[\"“'‘]"
        r"i (?:was|am|have been) (?:instructed|told|programmed|asked)\b",
        r"\bhere (?:are|is) my\W+(?:\w+\W+){0,3}?(?:instructions|prompt|guidelines|directives)\W*(?:$|:)",
        r"\b(?:print|log|echo|return|puts|printf)\b\W{0,3}(?:system|initial)_?prompt\b",
    )
)
"""The beginning of the answer is put into the model's mouth."""

_OUT = rf"\b{_any('repeat print output echo recite reproduce regurgitate copy paste dump write_out transcribe')}"
_OUT += rf"|\b{_any('type_out retype reveal disclose leak')}"
_VERBATIM = (
    r"\b(?:verbatim|(?:word|letter|line) (?:for|by) (?:word|letter|line)|exactly as|in full|unchanged"
    r"|palabra por palabra|mot (?:à|pour) mot|wörtlich|rot13|base64|code block)\b"
)


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


_SURE = (
    _compiled(rf"(?:(?:{_VERB}|\bas\b){_gap(6)}|{_ASK}{_IS}\W+)(?:{_BY_NAME})"),
    _compiled(rf"(?:{_VERB}|{_ASK}){_gap(6)}(?:{_BY_ORIGIN})|{_TOLD_BEFORE}"),
    _compiled(_MOUTH),
    _compiled(rf"(?:\b{_COPY}(?:s|es|ed|ing)?\b|{_ASK}){_gap(6)}(?:{_BY_EXTENT})"),
)
_PLACED = _compiled(rf"(?:(?P<ask>{_ASK})|{_VERB}){_gap(6)}(?P<place>{_BY_PLACE})")
_OF_THIS_CHAT = _compiled(rf"{_HERE}|\b{_THIS_CHAT}|nachricht|texto|texte")
_COPIED = _compiled(rf"{_OUT}|{_VERBATIM}")
_ENDS = re.compile(r"\W*(?:$|[.?!\n])")
_GOES_ON = _compiled(r"\W{1,2}" + _any(r"the a an each every it him her them your figure table \d+") + r"\b")


def prompt_request(text: str) -> tuple[int, int, float] | None:
    """Where a text asks for the instructions that the model was given, and how surely (0 to 1), or None."""
    for pattern in _SURE:
        if match := pattern.search(text):
            return *match.span(), 0.9
    found = [(*match.span(), _by_place(text, match)) for match in islice(_PLACED.finditer(text), _MOST_PLACES)]
    return max(found, key=lambda f: f[2], default=None)


def _by_place(text: str, match: re.Match[str]) -> float:
    """How surely an object that is named by its place is none of the user's own text."""
    above = text[: match.start()].lstrip()
    if "\n\n" in above or ("\n" in above and len(above) > _OWN_TEXT):
        return 0.0
    before_this = _OF_THIS_CHAT.search(match["place"]) is not None
    if not before_this and _GOES_ON.match(text, match.end()):  # "the text above the picture"
        return 0.0
    if before_this or _COPIED.search(text, match.start(), match.end() + 80):
        return 0.9
    return 0.9 if match["ask"] and _ENDS.match(text, match.end()) else 0.6
