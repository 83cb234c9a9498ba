"""Small documents of every format, made here, and hostile ones. Each says the same thing at a known place."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zipfile
import zlib
from pathlib import Path

SENTENCE = "Replace the seal every 400 hours."
HEADING = "Service"


def archive(path: Path, members: dict[str, str | bytes], stored: tuple[str, ...] = ()) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(name, data, zipfile.ZIP_STORED if name in stored else zipfile.ZIP_DEFLATED)
    return path


_W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
_R = 'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"'
_CORE = (
    '<cp:coreProperties xmlns:cp="x" xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>Pump manual</dc:title>'
    "</cp:coreProperties>"
)


def docx(path: Path) -> Path:
    body = (
        f'<w:p><w:pPr><w:pStyle w:val="Heading1"/></w:pPr><w:r><w:t>{HEADING}</w:t></w:r></w:p>'
        "<w:p><w:r><w:t>Replace the </w:t></w:r><w:del><w:r><w:delText>belt</w:delText></w:r></w:del>"
        '<w:r><w:t xml:space="preserve">seal every 400 hours.</w:t></w:r></w:p>'
        "<w:tbl><w:tr><w:tc><w:p><w:r><w:t>part</w:t></w:r></w:p></w:tc>"
        "<w:tc><w:p><w:r><w:t>QX-2291</w:t></w:r></w:p></w:tc></w:tr></w:tbl>"
    )
    return archive(
        path,
        {
            "word/document.xml": f"<w:document {_W}><w:body>{body}</w:body></w:document>",
            "docProps/core.xml": _CORE,
        },
    )


def pptx(path: Path) -> Path:
    def slide(title: str, text: str) -> str:
        return (
            '<p:sld xmlns:p="p" xmlns:a="a"><p:sp><p:nvSpPr><p:nvPr><p:ph type="title"/></p:nvPr></p:nvSpPr>'
            f"<p:txBody><a:p><a:r><a:t>{title}</a:t></a:r></a:p></p:txBody></p:sp>"
            f"<p:sp><p:txBody><a:p><a:r><a:t>{text}</a:t></a:r></a:p></p:txBody></p:sp></p:sld>"
        )

    rels = "".join(f'<Relationship Id="r{i}" Target="slides/slide{i}.xml"/>' for i in (1, 2))
    order = "".join(f'<p:sldId r:id="r{i}"/>' for i in (2, 1))  # shown the other way round than numbered
    return archive(
        path,
        {
            "ppt/presentation.xml": f'<p:presentation xmlns:p="p" {_R}>{order}</p:presentation>',
            "ppt/_rels/presentation.xml.rels": f"<Relationships>{rels}</Relationships>",
            "ppt/slides/slide1.xml": slide(HEADING, SENTENCE),
            "ppt/slides/slide2.xml": slide("Cover", "The first slide that is shown."),
        },
    )


def xlsx(path: Path) -> Path:
    sheet = (
        '<worksheet><sheetData><row r="1"><c r="A1" t="s"><v>0</v></c><c r="C1"><v>400</v></c></row>'
        f'<row r="7"><c r="A7" t="inlineStr"><is><t>{SENTENCE}</t></is></c></row></sheetData></worksheet>'
    )
    return archive(
        path,
        {
            "xl/workbook.xml": f'<workbook {_R}><sheets><sheet name="{HEADING}" r:id="r1"/></sheets></workbook>',
            "xl/_rels/workbook.xml.rels": (
                '<Relationships><Relationship Id="r1" Target="worksheets/s.xml"/></Relationships>'
            ),
            "xl/sharedStrings.xml": "<sst><si><t>interval</t></si></sst>",
            "xl/worksheets/s.xml": sheet,
        },
    )


def odt(path: Path) -> Path:
    body = (
        f'<text:h text:outline-level="1">{HEADING}</text:h><text:p>Replace the<text:s/>seal every 400 hours.</text:p>'
    )
    content = (
        '<office:document-content xmlns:office="o" xmlns:text="t"><office:body><office:text>'
        f"{body}</office:text></office:body></office:document-content>"
    )
    return archive(path, {"mimetype": "application/vnd.oasis.opendocument.text", "content.xml": content})


def epub(path: Path) -> Path:
    package = (
        '<package xmlns:dc="d"><metadata><dc:title>Pump manual</dc:title></metadata><manifest>'
        '<item id="a" href="text/a%20b.xhtml"/></manifest><spine><itemref idref="a"/></spine></package>'
    )
    return archive(
        path,
        {
            "META-INF/container.xml": '<c><rootfiles><rootfile full-path="OPS/p.opf"/></rootfiles></c>',
            "OPS/p.opf": package,
            "OPS/text/a b.xhtml": f"<html><body><h1>{HEADING}</h1><p>{SENTENCE}</p></body></html>",
        },
    )


def pdf(
    path: Path,
    pages: tuple[str, ...] = ("The cover of the manual.", SENTENCE),
    password: bytes = b"",
    labels: bytes = b"",
) -> Path:
    """A PDF with one line of text per page; with a password it is encrypted as in PDF 1.4 (RC4, 40 bits).

    `labels` are ranges of page labels in PDF's own words: ``0 << /S /r >>`` counts i, ii, iii from the first page on.
    """
    ids = b"0123456789abcdef"
    padding = bytes.fromhex("28BF4E5E4E758A4164004E56FFFA01082E2E00B6D0683E802F0CA9FE6453697A")

    def padded(word: bytes) -> bytes:
        return (word + padding)[:32]

    owner = _rc4(hashlib.md5(padded(b"owner")).digest()[:5], padded(password))
    key = hashlib.md5(padded(password) + owner + struct.pack("<i", -4) + ids).digest()[:5]
    objects: list[bytes] = [
        b"<< /Type /Catalog /Pages 2 0 R%s >>" % (b" /PageLabels << /Nums [%s] >>" % labels if labels else b""),
        b"<< /Type /Pages /Count %d /Kids [%s] >>"
        % (len(pages), b" ".join(b"%d 0 R" % (4 + 2 * i) for i in range(len(pages)))),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for i, text in enumerate(pages):
        stream = b"BT /F1 12 Tf 72 720 Td (%s) Tj ET" % text.encode("latin-1") if text else b"0 0 10 10 re f"
        number = 5 + 2 * i
        if password:
            stream = _rc4(hashlib.md5(key + struct.pack("<I", number)[:3] + b"\0\0").digest()[:10], stream)
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R "
            b"/Resources << /Font << /F1 3 0 R >> >> >>" % number
        )
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
    out, places = io.BytesIO(), []
    out.write(b"%PDF-1.4\n")
    for number, body in enumerate(objects, 1):
        places.append(out.tell())
        out.write(b"%d 0 obj\n%s\nendobj\n" % (number, body))
    start = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    out.writelines(b"%010d 00000 n \n" % place for place in places)
    trailer = b"/Size %d /Root 1 0 R" % (len(objects) + 1)
    if password:
        user = _rc4(key, padding)
        trailer += b" /ID [<%s> <%s>] /Encrypt << /Filter /Standard /V 1 /R 2 /O <%s> /U <%s> /P -4 >>" % (
            ids.hex().encode(), ids.hex().encode(), owner.hex().encode(), user.hex().encode()
        )  # fmt: skip
    out.write(b"trailer\n<< %s >>\nstartxref\n%d\n%%%%EOF\n" % (trailer, start))
    path.write_bytes(out.getvalue())
    return path


def _rc4(key: bytes, data: bytes) -> bytes:
    state, j, out = list(range(256)), 0, bytearray()
    for i in range(256):
        j = (j + state[i] + key[i % len(key)]) % 256
        state[i], state[j] = state[j], state[i]
    i = j = 0
    for byte in data:
        i = (i + 1) % 256
        j = (j + state[i]) % 256
        state[i], state[j] = state[j], state[i]
        out.append(byte ^ state[(state[i] + state[j]) % 256])
    return bytes(out)


def notebook(path: Path) -> Path:
    cells = [
        {"cell_type": "markdown", "source": [f"# {HEADING}\n", SENTENCE]},
        {"cell_type": "code", "source": "print(400)", "outputs": [{"text": ["400\n"]}]},
    ]
    path.write_text(json.dumps({"cells": cells, "nbformat": 4}), "utf-8")
    return path


MAIL = (
    f"From: a@example.org\nTo: b@example.org\nSubject: {HEADING}\nDate: Tue, 1 Sep 2026 10:00:00 +0000\n\n{SENTENCE}\n"
)

TEXTS = {
    "plain.txt": f"Pump manual\n\n{SENTENCE}\n",
    "guide.md": f"# Pump\n\nText.\n\n## {HEADING}\n\n{SENTENCE}\n",
    "page.html": (
        f"<html><head><title>Pump manual</title><style>p {{}}</style></head>\n<body>\n<h1>{HEADING}</h1>\n"
        f"<p>Replace the <b>seal</b>\nevery 400 hours.</p>\n<script>hidden()</script></body></html>\n"
    ),
    "rows.csv": f"part,text\r\nQX-2291,{SENTENCE}\r\n",
    "data.json": json.dumps({"service": SENTENCE}, indent=1),
    "lines.jsonl": f'{{"text": "first"}}\n{{"text": "{SENTENCE}"}}\n',
    "letter.eml": MAIL,
    "box.mbox": f"From a Tue Sep  1 10:00:00 2026\n{MAIL}\nFrom a Tue Sep  1 10:00:00 2026\n{MAIL}",
    "code.py": f'import os\n\n\ndef service(hours):\n    """{SENTENCE}"""\n    return hours // 400\n',
}


def make_all(folder: Path) -> list[Path]:
    """One file of every format."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, text in TEXTS.items():
        (folder / name).write_bytes(text.encode())
        paths.append(folder / name)
    for name, make in (
        ("manual.docx", docx), ("slides.pptx", pptx), ("table.xlsx", xlsx), ("manual.odt", odt), ("book.epub", epub),
        ("manual.pdf", pdf), ("notes.ipynb", notebook),
    ):  # fmt: skip
        paths.append(make(folder / name))
    return paths


def zip_bomb(path: Path) -> Path:
    """A Word document whose body unpacks to 300 MB."""
    return archive(path, {"word/document.xml": b" " * 300_000_000})


def lying_zip_bomb(path: Path) -> Path:
    """The same, with a directory that says one kilobyte."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = b"".join(packer.compress(b" " * 1_000_000) for _ in range(300)) + packer.flush()
    archive(path, {"word/document.xml": b"x"})
    name = b"word/document.xml"
    local = struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 20, 0, 8, 0, 0, 0, len(packed), 1024, len(name), 0) + name + packed
    central = (
        struct.pack("<4sHHHHHHIIIHHHHHII", b"PK\1\2", 20, 20, 0, 8, 0, 0, 0, len(packed), 1024, len(name), 0, 0, 0, 0,
                    0, 0) + name
    )  # fmt: skip
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 1, 1, len(central), len(local), 0)
    path.write_bytes(local + central + end)
    return path


def entity_bomb(path: Path) -> Path:
    """XML entities that grow tenfold ten times."""
    lines = ['<!ENTITY a0 "ha">', *(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 10))]
    return archive(path, {"word/document.xml": f"<!DOCTYPE d [{''.join(lines)}]><d>&a9;</d>"})
