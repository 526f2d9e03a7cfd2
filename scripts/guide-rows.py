#!/usr/bin/env python3
"""Makes crates/mapping/data/guide.z: the mapped rows of HL7's "Version 2 to FHIR" guide 1.0.0, as facts for
`fhirway mapping coverage`: which source goes to which element or code. No text of the guide is kept.

    git clone https://github.com/HL7/v2-to-fhir
    scripts/guide-rows.py v2-to-fhir/mappings            # add --text FILE to read or diff the result

The folder has messages/, segments/, datatypes/ and codesystems/ with one CSV file per map, named as the map (or as published,
`... _ PID[Patient] - PID.csv`).

The file is a raw deflate stream of lines; fields are separated by tabs:

    fhirway-guide 1 1.0.0
    m|s|d|c NAME                                         a map: message, segment, data type or code table; its rows follow
    m: ORDINAL SOURCE TARGET SEGMENT_MAP REFERENCES      references: `Res.element=Res` or `Res.element="constant"`, joined by `;`
    s, d: ORDINAL SOURCE TARGET DATATYPE_MAP TABLE LITERAL ASKS       asks: the other places that the row's condition names, joined by `,`
    c: ORDINAL CODE SYSTEM TARGET_CODE TARGET_SYSTEM

ORDINAL counts all data rows of the CSV file from 1, mapped or not. A segment or data type row without a source (it always applies)
has the map's own segment or data type as its source. An empty field at the end of a line is left out.
"""

import argparse
import csv
import re
import sys
import zlib
from pathlib import Path

KINDS = {"messages": "m", "segments": "s", "datatypes": "d", "codesystems": "c"}

# Data types of three letters, which conditions name as segments are.
DATA_TYPES = {"CNE", "CNN", "CWE", "DLD", "DLN", "DTM", "EIP", "MSG", "NDL", "PLN", "RPT", "SAD", "SPS", "XAD", "XCN", "XON", "XPN", "XTN"}

# Spelling mistakes in paths; what else is wrong in them is answered in the mapping files.
SPELLING = {
    "practioner": "practitioner", "Practioner": "Practitioner", "organziation": "organization", "sytem": "system",
    "valuedateTime": "valueDateTime", "occurenceTiming": "occurrenceTiming", "Immunzation": "Immunization", "[3.version": "[3].version", "suffix[2}": "suffix[2]",
}


def spelled(path):
    return re.sub("|".join(map(re.escape, SPELLING)), lambda found: SPELLING[found.group()], path)


def map_name(path):
    published = re.search(r"_ ?(\S.*?) - ", path.stem)
    return (published.group(1) if published else path.stem).strip()


def cells(row, *numbers):
    return [" ".join(row[n].split()) if n is not None and n < len(row) else "" for n in numbers]


def literal(text):
    """The constant of an Assignment cell; prose (`/so/`) and concatenations are none."""
    text = text.strip()
    if text.startswith("http"):
        return text
    quoted = re.fullmatch(r'"([^"]*)"?', text)
    return quoted.group(1).strip() if quoted else ""


def references(text):
    clauses = []
    for clause in re.split(r"[;\n]", text):
        if "=" not in clause:
            continue
        left, right = (side.strip() for side in clause.split("=", 1))
        left = re.sub(r"\.(reference|id)$", "", left)
        if not right.startswith('"'):
            right = re.sub(r"(\[[^]]*\])?(\.id)?$", "", right)
        clauses.append(spelled(re.sub(r"\[[^]]*\]", "", left)) + "=" + right)
    return ";".join(clauses)


def message_row(row):
    source, target, segment_map = cells(row, 1, 9, 10)
    return [source, target, segment_map, references(row[11] if len(row) > 11 else "")] if target else None


def asks(condition, source):
    """The places that a condition names, apart from the source itself."""
    found = re.findall(r"\b([A-Z][A-Z0-9]{1,2})[-.](\d+(?:\.\d+)*)", condition)
    places = {f"{name}{'-' if len(name) == 3 and name not in DATA_TYPES else '.'}{parts}" for name, parts in found}
    return ",".join(sorted(places - {source}))


def map_row(row, columns, owner):
    source, target, data_type, table = cells(row, 1, 9, columns["dt"], columns["vocab"])
    constant = literal(row[columns["assign"]]) if columns["assign"] is not None and columns["assign"] < len(row) else ""
    if not target:
        return None
    if "=" in target:  # `status="finished"` stands in one cell
        target, constant = target.split("=", 1)[0], constant or target.split("=", 1)[1].strip('"')
    # FT-1 is FT.1 in a map of a data type
    source = re.sub(r"^([A-Z]{2})-", r"\1.", source) or owner
    return [source, spelled(target.strip()), data_type, table, constant, asks(*cells(row, 6), source)]


def code_row(row, columns):
    code, system, target, target_system = cells(row, 0, 2, columns["code"], columns["system"])
    # A blank of another encoding, where it is not all there is.
    code, target = (text.removesuffix("Â") or text for text in (code, target))
    system = system.replace("HL0207", "HL70207")
    return [code, system, target, target_system] if code and target else None


def rows(kind, name, path):
    with path.open(encoding="utf-8", newline="") as file:
        table = list(csv.reader(file))
    head, body = [" ".join(cell.split()) for cell in table[1]], table[2:]
    owner = name.split("[")[0]
    for ordinal, row in enumerate(body, 1):
        if kind == "m":
            found = message_row(row)
        elif kind == "c":
            system = head.index("Code System", 3)
            found = code_row(row, {"code": head.index("Code", 3), "system": system})
        else:
            vocabulary = next((n for n, cell in enumerate(head) if cell.startswith("Vocabulary")), 15)
            assign = next((n for n, cell in enumerate(head) if cell in ("Assignment", "Derived Mapping")), None)
            found = map_row(row, {"dt": 14, "vocab": vocabulary, "assign": assign}, owner)
        if found:
            yield "\t".join([str(ordinal), *found]).rstrip("\t")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--text", type=Path, help="also write the lines as they are")
    arguments = parser.parse_args()
    lines, counts = ["fhirway-guide 1 1.0.0"], {}
    for folder, kind in KINDS.items():
        for path in sorted((arguments.folder / folder).glob("*.csv"), key=map_name):
            name = map_name(path)
            found = list(rows(kind, name, path))
            counts[folder] = counts.get(folder, 0) + len(found)
            lines += [f"{kind} {name}", *found]
    text = "\n".join(lines) + "\n"
    if arguments.text:
        arguments.text.write_text(text)
    out = Path(__file__).parent.parent / "crates/mapping/data/guide.z"
    out.parent.mkdir(exist_ok=True)
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    out.write_bytes(deflate.compress(text.encode()) + deflate.flush())
    print(counts, f"{len(text)} bytes, {out.stat().st_size} packed", file=sys.stderr)


if __name__ == "__main__":
    main()
