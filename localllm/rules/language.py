"""Which language a text is in: by script first, by function words and letter habits second.

Deterministic and small: 35 languages. It says "unknown" for texts of fewer than about four words, and can't tell
closely related languages apart from a single short sentence. Names are ISO 639-1.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

_SCRIPTS: dict[str, tuple[str, ...]] = {
    "LATIN": (), "CYRILLIC": ("ru", "bg", "uk"), "ARABIC": ("ar", "fa", "ur"), "DEVANAGARI": ("hi", "mr", "ne"),
    "HANGUL": ("ko",), "HIRAGANA": ("ja",), "KATAKANA": ("ja",), "CJK": ("zh",), "THAI": ("th",), "HEBREW": ("he",),
    "GREEK": ("el",), "BENGALI": ("bn",), "GUJARATI": ("gu",), "GURMUKHI": ("pa",), "KANNADA": ("kn",),
    "TAMIL": ("ta",), "TELUGU": ("te",), "MALAYALAM": ("ml",), "GEORGIAN": ("ka",), "ARMENIAN": ("hy",),
}  # fmt: skip

_WORDS: dict[str, str] = {
    "en": "the of and to a in is that it for was on are as with his they at be this have from or by not but what all were we when your can said there use an each which she do how their if will up other about out many then them these so some her would make like him into time has look two more go see no way could my than been who its now did get you i",  # noqa: E501
    "de": "der die das und ist in den von zu mit sich auf für nicht ein eine als auch es an werden aus er hat dass sie nach wird bei einer um am sind noch wie einem über so zum war haben nur oder aber vor zur bis mehr durch man sein wurde wenn ich kann ihre dieser im dem des wir ihr",  # noqa: E501
    "fr": "le la les de des du et est en un une que qui dans pour pas sur au avec ne se ce il elle sont plus par je vous nous mais ou où son sa ses cette aux être avoir fait comme tout leur si été deux même très aussi bien c'est d'un l'on",  # noqa: E501
    "es": "el la los las de del y que en un una es por con no se su para al lo como más pero sus le ya o este sí porque esta entre cuando muy sin sobre también me hasta hay donde quien desde todo nos durante ser son está",  # noqa: E501
    "it": "il lo la i gli le di che e è in un una per non con si sono da del della dei delle al alla più come ma anche se nel nella questo questa o ha essere suo sua ci dal quando molto tutto loro era",  # noqa: E501
    "pt": "o a os as de do da dos das e que em um uma é para com não se por mais como mas foi ao ele tem à seu sua ou ser quando muito há nos já está eu também só pelo pela até isso ela entre são você",  # noqa: E501
    "nl": "de het een en van ik te dat die in je is niet zijn op aan met als voor had er maar om hem dan zou of wat mijn men dit zo door over ze bij ook tot uit kan haar worden wordt geen naar heeft",  # noqa: E501
    "sv": "och i att det som en på är av för med till den har de inte om ett han men var jag sig från vi så kan när år under också efter eller nu sin där vid mot ska skulle kommer ut får",  # noqa: E501
    "da": "og i at det er en til på som med for den der de ikke af et har var han jeg vi kan om men sig ved fra eller skal blev så efter nu også hvor",  # noqa: E501
    "no": "og i det er som på en av for til med at har de ikke den om et var han jeg vi seg men fra så kan skal eller etter ved også hvor ble",  # noqa: E501
    "fi": "ja on ei se että en hän oli joka mutta ovat kun niin mitä tai myös minä sinä vain kuin jos nyt sen ole voi mukaan jälkeen hyvin tämä ne olla minun kanssa siitä kuten",  # noqa: E501
    "pl": "i w na z nie się do to jest że o jak za od po przez ale co dla są tym być może już tylko czy jego by był tak ich które oraz który",  # noqa: E501
    "cs": "a je v se na to že s z do o i jako za by ale pro po co tak jsou byl není jsem jeho nebo které který od při také když",  # noqa: E501
    "ro": "și în de la a cu pe este că nu un o din pentru care mai sunt se au fost ca sau dar prin după al ale între",
    "hu": "a az és hogy nem is egy ez van meg csak de volt mint már még el ki ha vagy lesz minden én azt kell",
    "tr": "ve bir bu da de için ile olarak çok daha olan gibi ne kadar sonra en ama var o ben değil her ya mi",
    "vi": "là và của có không được các những cho trong một người với để này khi đã từ như cũng đến về nhiều tôi ở rất sẽ bạn vào thể",  # noqa: E501
    "id": "yang dan di ini itu dengan untuk tidak dari dalam akan pada adalah ke ada saya juga atau bisa sudah oleh karena kami mereka anda",  # noqa: E501
    "tl": "ang ng sa na mga at ay ko mo siya hindi ito kung para niya ka may nang ako si po lang",
    "sw": "na ya wa kwa ni katika za la cha kuwa hii yake kama hiyo lakini au pia watu sana mtu wake hivyo ili huu wakati kutoka moja hayo yako yetu",  # noqa: E501
    "so": "waa iyo in ka ku oo la ee uu waxaa ay kale ma si soo badan",
    "ru": "и в не на что он с как это по но они мы она к из у за вы так же от для о бы я а его только было то все еще есть",  # noqa: E501
    "bg": "и на да се в от за е с не са по че като но си това ще до при един има което или след тези беше",
    "uk": "і в не на що він з як це по але вони ми вона до із у за ви так же від для о я та його було й є які",
    "ar": "في من على إلى أن هذا التي مع هو ما لا عن كان هذه الذي أو كل بعد قد و ثم هي إن بين",
    "fa": "و در به از که این را با است برای آن یک می های خود تا کرد بر هم شود شده اند ها",
    "ur": "کے کی میں ہے اور سے کا کو اس پر نے ہیں کہ یہ ایک وہ بھی تھا نہیں جو کر لیے",
    "hi": "के में है की को से का और पर यह एक हैं कि ने भी नहीं कर हो था जो इस लिए तो गया आप या",
    "mr": "आहे आणि या मध्ये च्या हे की ते एक व नाही ला असे होते आहेत करण्यासाठी त्या आपण म्हणून केली साठी तर",
    "ne": "छ र को मा ले का हो यो छन् एक गर्न पनि लाई भएको गर्ने तर हुन् थियो गरेको तपाईं",
}  # fmt: skip
_SETS = {code: frozenset(words.split()) for code, words in _WORDS.items()}
_LATIN = tuple(c for c in _SETS if unicodedata.name(max(_WORDS[c].replace(" ", "")[0])).startswith("LATIN"))
_LETTERS: dict[str, str] = {
    "de": "ßäöü", "fr": "çœêèàùâîôë", "es": "ñ¿¡", "pt": "ãõ", "pl": "łęąśżźćń", "cs": "řěůž", "tr": "ışğ", "vi": "đơưạảấầẩậắặẹẻếềểệọỏốồổộớờởợụủứừửựỳỹ",  # noqa: E501
    "ro": "șțăţş", "hu": "őű", "sv": "å", "fi": "ä", "uk": "іїєґ", "ru": "ыэё", "bg": "ъ", "fa": "پچژگ", "ur": "ٹڈڑںےہ", "ne": "छ", "mr": "ळ",  # noqa: E501
}  # fmt: skip


def script_shares(text: str) -> Counter[str]:
    """Letters by script."""
    counts: Counter[str] = Counter()
    for c, n in Counter(text).items():
        if c.isalpha() or unicodedata.category(c) in ("Mc", "Mn"):
            name = unicodedata.name(c, "").split(" ")[0]
            counts["CJK" if name.startswith("CJK") else name] += n
    return counts


def detect(text: str) -> str:
    """The language of a text, or ``""`` when it can't be told."""
    scripts = script_shares(text)
    for other in ("COMBINING", "MODIFIER", "FEMININE", "MASCULINE", "FULLWIDTH", "MATHEMATICAL", ""):
        scripts.pop(other, None)
    if not scripts:
        return ""
    if scripts["HIRAGANA"] + scripts["KATAKANA"] > 0.1 * sum(scripts.values()):
        return "ja"
    script, _ = scripts.most_common(1)[0]
    candidates = _LATIN if script == "LATIN" else _SCRIPTS.get(script, ())
    if len(candidates) <= 1:
        return candidates[0] if candidates else ""
    scores = score(text, candidates)
    if not scores:
        return candidates[0] if script != "LATIN" else ""
    best = max(scores.values())
    return min((c for c, s in scores.items() if s == best), key=candidates.index)


def score(text: str, candidates: tuple[str, ...]) -> dict[str, float]:
    """Share of function words per language, plus a little for its own letters; empty when nothing speaks for any."""
    words = re.findall(r"[^\W\d_]+(?:['’][^\W\d_]+)?(?:[\u0900-\u0903\u093a-\u094f]+[^\W\d_]*)*", text.lower())
    if script_shares(text[:200])["DEVANAGARI"]:
        words = re.findall(r"[\u0900-\u097f]+", text)
    if not words:
        return {}
    own = {c: sum(text.lower().count(letter) for letter in _LETTERS.get(c, "")) for c in candidates}
    found = {}
    for code in candidates:
        hits = sum(w in _SETS[code] for w in words)
        value = hits / len(words) + min(0.3, 3 * own[code] / max(1, len(text)))
        if hits or own[code]:
            found[code] = value
    return found


def is_english(text: str) -> bool:
    """Whether nothing speaks for another language more than for English; upper and lower case alike."""
    return detect(text) in ("en", "")
