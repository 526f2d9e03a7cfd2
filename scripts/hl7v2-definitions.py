#!/usr/bin/env python3
"""Makes crates/hl7v2/data/definitions.z: segments, fields, data types, message
structures and events of HL7 v2.1 to 2.9, as facts from several public sources.

    python3 -m venv /tmp/hl7 && /tmp/hl7/bin/pip install hl7apy==1.3
    npm pack hl7-dictionary@1.0.1 && tar xzf hl7-dictionary-1.0.1.tgz      # makes ./package
    git clone https://github.com/HL7/v2-to-fhir                            # the guide's tables
    /tmp/hl7/bin/python scripts/hl7v2-definitions.py --dictionary package --guide GUIDE_FOLDER

`--guide` is a folder with messages/*.csv, segments/*.csv and chapterdata.csv of
the guide. `--text FILE` also writes the data as text, to read or to diff.
The format is described in crates/hl7v2/src/definitions/data.rs.

Where the versions come from: 2.1 the dictionary; 2.2 to 2.8.2 hl7apy, with the
lengths of the dictionary; 2.7.1 is 2.7 (an erratum of it); 2.9 is cumulative:
2.8.2, what the guide says of 2.9, and everything older versions had and newer
ones dropped, because old messages are read with the newest maps.
"""

import argparse
import csv
import importlib
import json
import re
import subprocess
import sys
import zlib
from collections import Counter, defaultdict
from pathlib import Path

VERSIONS = "2.1 2.2 2.3 2.3.1 2.4 2.5 2.5.1 2.6 2.7 2.7.1 2.8 2.8.1 2.8.2 2.9".split()
HL7APY = [v for v in VERSIONS if v not in ("2.1", "2.7.1", "2.9")]
BIT = {v: 1 << i for i, v in enumerate(VERSIONS)}

# Segments that comment on what stands before them, whatever that is.
ATTACHMENTS = {"NTE", "PRT", "ROL", "ARV", "CTD", "DG1", "OBX", "CTI"}

# What table 0354 leaves out or gets wrong: (message code, event) -> structure.
EVENTS = {
    ("ORU", "R31"): "ORU_R30", ("ORU", "R32"): "ORU_R30",
    ("ORU", "W01"): "ORU_R01",  # waveforms: the same structure
    ("OML", "O21"): "OML_O21", ("ADT", "A44"): "ADT_A43", ("ADT", "A49"): "ADT_A30",
    ("QBP", "Q24"): "QBP_Q21", ("RSP", "K22"): "RSP_K22", ("RSP", "K24"): "RSP_K23",
    ("MDM", "T11"): "MDM_T01", ("VXU", "V04"): "VXU_V04",
    # orders that 2.2 to 2.3.1 sent as event O01/O02 of their own message code
    ("RDE", "O01"): "RDE_O11", ("RDE", "O25"): "RDE_O11", ("RAS", "O01"): "RAS_O17",
    ("RDS", "O01"): "RDS_O13", ("RGV", "O01"): "RGV_O15", ("OMD", "O01"): "OMD_O03",
    ("OMN", "O01"): "OMN_O07", ("OMS", "O01"): "OMS_O05", ("RRE", "O02"): "RRE_O12",
    ("RRA", "O02"): "RRA_O18", ("RRD", "O02"): "RRD_O14", ("RRG", "O02"): "RRG_O16",
    ("ORD", "O02"): "ORD_O04", ("ORN", "O02"): "ORN_O08", ("ORS", "O02"): "ORS_O06",
    ("MCF", "Q02"): "ACK",
}

# The structure of a message code whose event is missing or unknown, where it is
# not the first one in alphabetical order.
DEFAULTS = {
    "MDM": "MDM_T02", "MFN": "MFN_M02", "QBP": "QBP_Q11", "RSP": "RSP_K11", "OUL": "OUL_R22",
    "DFT": "DFT_P03", "SRM": "SRM_S01", "OMI": "OMI_O23", "MCF": "ACK", "ORL": "ORL_O22",
}

# Older shapes that would read a newer message wrongly: (group, what is not kept in it).
NOT_KEPT = {("ORDER", "CONTAINER_1")}

# What senders put in although no version has it there, with one clear meaning:
# (structures, path of the group, after which child, what).
PRACTICE = [
    ("ORM_O01", "", "MSH", "SFT*"), ("ORM_O01", "PATIENT", "NTE", "NK1*"), ("ORM_O01", "ORDER", "ORC", "TIMING*(TQ1 TQ2*)"),
    ("ADT_", "OBSERVATION", "OBX", "NTE*"),
]

# A last field that stands for all the fields behind it, too: how many are listed.
SUCCESSIVE = {("QPD", 3): 20}

# Any segment may stand there; what immunization registries answer has groups: (structure, as it is written, as it is meant).
MEANT = [("RSP_K11", "SEGMENT_PATTERN?(****)",
          "SEGMENT_PATTERN*(PID? PD1? NK1* PV1? PV2? GT1* INSURANCE*(IN1 IN2? IN3?) ORDER*(ORC TIMING*(TQ1 TQ2*) RXA RXR? OBSERVATION*(OBX NTE*)) ****)")]

# Structure ids of 2.2, where each event had its own; later messages that carry
# one mean the event, and the event decides.
EVENT_ONLY = "ADT_A04 ADT_A07 ADT_A08 ADT_A10 ADT_A13 ADT_A14 ADT_A22 ADT_A23 ADT_A25 ADT_A26 " \
             "ADT_A27 ADT_A28 ADT_A29 ADT_A31 ADT_A32 ADT_A33 ADT_A34 ADT_A35 ADT_A36 ORU QRY".split()


# Data types without components, whatever a source says.
PRIMITIVE = "ST TX FT NM SI ID IS DT TM DTM GTS SNM NUL WD VARIES".split()


# --- names

SMALL = {"a", "an", "and", "as", "at", "by", "for", "from", "in", "into", "of", "on", "or", "per", "the", "to", "vs", "with"}
UPPER = {"id", "hl7", "ssn", "ub", "ub1", "ub2", "ub82", "ub92", "upin", "drg", "icd", "ndc", "oid", "astm", "iud", "icu", "hmo",
         "ce", "st", "tx", "ts", "cx", "is", "dt", "cn", "xcn", "xpn", "hipaa", "npi", "fda", "uoi", "csr", "url", "uri", "iv", "va",
         "cwe", "dtm", "ei", "hd", "nm", "tm", "udi", "iso", "ed", "rp", "lan", "mpi", "eu", "us", "usa", "bp", "cpt", "poa", "hcpcs", "pca", "npu"}


def key(name):
    """What two spellings of one name share."""
    return re.sub(r"[^A-Z0-9]+", "_", name.upper().replace("’", "'")).strip("_")


def title(name, segments):
    """Title Case as the standard writes it: `Date/Time of Birth`, `Set ID - PID`."""
    name = name.replace("–", " - ").replace("—", " - ").replace("’", "'").replace("`", "'").replace("´", "'")
    name = re.sub(r"\s+", " ", name).strip(" .:*")
    if "_" in name or " " not in name and name.isupper() and len(name) > 4:
        name = re.sub(r"_S_", "'s_", name).replace("___", " - ").replace("_", " ")
    words = re.split(r"([^A-Za-z0-9']+)", name)
    out = []
    for index, word in enumerate(words):
        low = word.lower()
        if index % 2 == 1 or not word:
            out.append(word)
        elif low.endswith("'s"):
            out.append(low[0].upper() + low[1:])
        elif low == "ids":
            out.append("IDs")
        elif low == "org" and index + 1 < len(words):
            out.append("Org")
        elif low in UPPER or word.upper() in segments and (word.isupper() or word.lower() not in SMALL):
            out.append(word.upper())
        elif low in SMALL and any(w for w in words[:index:2]) and words[index - 1] == " ":
            out.append(low)
        elif word.isupper() and len(word) <= 3 and not name.isupper():
            out.append(word)
        elif not word.isupper() and not word.islower() and not word.istitle() and not word.endswith("'S"):
            out.append(word[0].upper() + word[1:])
        else:
            out.append(low[0].upper() + low[1:])
    return "".join(out).replace(" 's ", "'s ").replace("E.G.", "e.g.").replace("I.E.", "i.e.")


class Names:
    """The best spelling seen for each name."""

    def __init__(self, segments):
        self.segments, self.seen = segments, defaultdict(Counter)

    def saw(self, name, weight=1):
        if name and name.strip():
            self.seen[key(name)][title(name, self.segments)] += weight

    def best(self, raw):
        found = self.seen.get(key(raw))
        if not found:
            return title(raw, self.segments)
        top = max(found.values())
        return min(n for n, c in found.items() if c == top)


# --- sources

def from_hl7apy():
    """version -> {segments, types, structures}, in one shape for all sources."""
    result = {}
    for version in HL7APY:
        module = "hl7apy.v" + version.replace(".", "_")
        segments = {}
        for name, definition in importlib.import_module(module + ".segments").SEGMENTS.items():
            if len(name) != 3 or name in ("HXX", "ZXX") or len(definition) < 2:
                continue
            rows = {}
            for field, definition, (low, high), _ in definition[1]:
                number = int(field.rsplit("_", 1)[1])
                table = table_number(definition[4])
                rows[number] = dict(type=definition[2], name=definition[3], table=table, min=low, max=high,
                                    withdrawn=definition[2] == "WD" or high == 0, length=None)
            segments[name] = rows
        types = {}
        module_types = importlib.import_module(module + ".datatypes")
        for name, parts in module_types.DATATYPES_STRUCTS.items():
            rows = {}
            for part, definition, (_, high), _ in parts:
                table = table_number(definition[4])
                rows[int(part.rsplit("_", 1)[1])] = dict(type=definition[2], name=definition[3], table=table,
                                                         withdrawn=definition[2] == "WD" or high == 0)
            types[name] = rows
        messages = importlib.import_module(module + ".messages").MESSAGES
        groups = importlib.import_module(module + ".groups").GROUPS
        structures = {}
        for name, (_, items) in messages.items():
            structures[name.upper()] = hl7apy_items(name, items, groups)
        result[version] = dict(segments=segments, types=types, structures=structures)
    return result


def table_number(text):
    """`HL70001` is `0001`; 9999 stands for a table that the standard names no number of."""
    number = re.sub(r"\D", "", text or "")[1:]
    return number if number and number != "9999" else None


def hl7apy_items(structure, items, groups):
    out = []
    for name, _, (low, high), kind in items:
        repeat = high == -1 or high > 1
        if kind == "GRP":
            how, inner = groups[name]
            children = hl7apy_items(structure, inner, groups)
            if how == "choice":
                # the alternatives stand in the group around the choice, each of them optional
                out += [dict(child, min=0, repeat=repeat or child["repeat"]) for child in children]
            else:
                short = name[len(structure) + 1:] if name.startswith(structure + "_") else re.sub(r"^[A-Z]{3}_[A-Z0-9]{3}_", "", name)
                out.append(dict(name=short.upper(), min=low, repeat=repeat, children=children))
        elif name == "ANYHL7SEGMENT" or name in ("HXX", "ZXX"):
            out.append(dict(name="***", min=0, repeat=True, children=None))
        else:
            out.append(dict(name=name, min=low, repeat=repeat, children=None))
    return [item for item in out if item["children"] != []]


def from_dictionary(folder):
    """npm hl7-dictionary: all its versions, plus tables 0354 (structures)."""
    script = "const d=require(process.argv[1]);process.stdout.write(JSON.stringify(d))"
    raw = json.loads(subprocess.run(["node", "-e", script, str(Path(folder).resolve() / "lib/index.js")],
                                    check=True, capture_output=True, text=True).stdout)
    result = {}
    for version, definition in raw["definitions"].items():
        segments, types, structures, titles = {}, {}, {}, {}
        for name, segment in definition["segments"].items():
            if len(name) != 3:
                continue
            titles[name] = segment["desc"]
            segments[name] = {
                number: dict(type=f["datatype"], name=f["desc"], table=f.get("table") and f"{int(f['table']):04}",
                             min=1 if f["opt"] == 2 else 0, max=-1 if f["rep"] in (0, "*") else f["rep"],
                             withdrawn=f["opt"] in (4, 5), length=f.get("len"))
                for number, f in enumerate(segment["fields"], 1)}
        for name, kind in definition["fields"].items():
            titles[name] = kind["desc"]
            rows = {number: dict(type=c["datatype"], name=c["desc"], table=c.get("table") and f"{int(c['table']):04}",
                                 withdrawn=False)
                    for number, c in enumerate(kind["subfields"], 1)}
            if rows:
                types[name] = rows
        for rows in list(segments.values()) + list(types.values()):
            for row in rows.values():
                row["type"] = "varies" if row["type"].lower() == "varies" else row["type"]
        for name, message in definition.get("messages", {}).items():
            structures[name] = dictionary_items(message["segments"]["segments"])
        result[version] = dict(segments=segments, types=types, structures=structures, titles=titles)
    tables = raw.get("tables", {})
    return result, {k: v for k, v in tables.get("354", {}).get("values", {}).items()}


def dictionary_items(items):
    out = []
    for item in items:
        repeat = item.get("max", 1) in (0, "*", -1) or item.get("max", 1) > 1
        children = item.get("children") or item.get("segments")
        if isinstance(children, dict):
            children = children.get("segments")
        inner = dictionary_items(children) if children else None
        name = (item.get("name") or item.get("desc") or "GROUP").upper().replace(" ", "_")
        if "," in name:
            out += [dict(name=part, min=0, repeat=False, children=None) for part in name.split(",")]
            continue
        out.append(dict(name=name, min=item.get("min", 0), repeat=repeat, children=inner))
    return out


def guide_messages(folder):
    """The guide's message tables: rows between `[{` and `}]` are groups."""
    result = {}
    for path in sorted(Path(folder, "messages").glob("*.csv")):
        root, stack, last = [], [], None
        stack.append(root)
        for row in list(csv.reader(path.open(encoding="utf-8")))[2:]:
            row += [""] * 6
            syntax, name = re.sub(r"\s+", "", row[2]), row[1].strip().rstrip(".").split(".")[-1]
            if (row[1], syntax) == last or not syntax or syntax in "|<>":
                continue
            last = (row[1], syntax)
            if syntax in ("[", "{", "[{", "{["):
                group = dict(name=name, min=0 if "[" in syntax else 1, repeat="{" in syntax, children=[])
                stack[-1].append(group)
                stack.append(group["children"])
            elif syntax in ("]", "}", "}]", "]}"):
                stack.pop()
            else:
                segment = re.sub(r"[^A-Z0-9]", "", syntax)
                choice = ".CHOICE" in row[1]
                if stack[-1] and stack[-1][-1]["name"] == segment:
                    continue  # a second row of the same segment, named after another message by mistake
                stack[-1].append(dict(name=segment, min=0 if "[" in syntax or choice else 1, repeat="{" in syntax, children=None))
        assert stack == [root] or len(stack) == 1, path
        result[path.stem] = root
    return result


def guide_fields(folder, kind):
    """(segment or type, number) -> row of the guide's tables; the first map wins."""
    result = {}
    for path in sorted(Path(folder, kind).glob("*.csv")):
        for row in list(csv.reader(path.open(encoding="utf-8")))[2:]:
            match = re.fullmatch(r"([A-Z][A-Z0-9]{1,2})[-.](\d+)", row[1].strip())
            if match and row[0] != "0" and row[2].strip():
                where = (match[1], int(match[2]))
                result.setdefault(where, dict(name=row[2].strip(), type=row[3].strip(), min=row[4].strip(), max=row[5].strip()))
    return result


def guide_titles(folder):
    result = {}
    for row in csv.reader(Path(folder, "chapterdata.csv").open(encoding="utf-8-sig")):
        if row[0] in ("Segment", "Data Type") and row[3].strip():
            result.setdefault(row[3].strip(), row[2].strip())
    return result


# --- one structure from all versions of it

def first_segments(node):
    """The segments that can start a node, up to its first required one."""
    if node["children"] is None:
        return {node["name"]}
    found = set()
    for child in node["children"]:
        found |= first_segments(child)
        if child["min"] > 0:
            break
    return found


def all_segments(node):
    if node["children"] is None:
        return {node["name"]}
    return set().union(*(all_segments(child) for child in node["children"])) if node["children"] else set()


def inner_groups(node):
    """Names of all groups at and below a node."""
    if node["children"] is None:
        return set()
    return {node["name"]}.union(*(inner_groups(child) for child in node["children"]))


def merge(base, old, report, where, around=frozenset()):
    """Adds to the children `base` what only `old`, an older version of them, has.

    `around`: the segments that stand directly in the groups around this one;
    what one of them has is not made again inside."""
    anchor = -1
    direct_here = {b["name"] for b in base if b["children"] is None}
    for child in old:
        at = None
        if child["children"] is None:
            same = [i for i, b in enumerate(base) if b["children"] is None and b["name"] == child["name"]]
            at = next((i for i in same if i > anchor), same[-1] if same else None)
            if at is None and child["name"] not in ATTACHMENTS - {"OBX", "DG1"}:
                heads = [i for i, b in enumerate(base) if b["children"] is not None and child["name"] in first_segments(b)]
                deep = [i for i, b in enumerate(base) if b["children"] is not None and child["name"] in all_segments(b)]
                at = next((i for i in heads if i > anchor), heads[0] if heads else None)
                if at is None and child["name"] not in ATTACHMENTS:
                    at = deep[0] if deep else None
            if at is not None and base[at]["children"] is None and base[at]["name"] == child["name"]:
                base[at]["repeat"] |= child["repeat"]
        else:
            named = [i for i, b in enumerate(base) if b["children"] is not None and b["name"] == child["name"]]
            if not named:
                firsts = first_segments(child)
                named = [i for i, b in enumerate(base) if b["children"] is not None and i >= anchor and first_segments(b) & firsts]
            if named:
                at = named[0]
                base[at]["repeat"] |= child["repeat"]
                merge(base[at]["children"], child["children"], report, where + [base[at]["name"]], around | direct_here)
            else:
                there = [i for i, b in enumerate(base)
                         if b["name"] in first_segments(child) or child["name"] in inner_groups(b)]
                at = there[0] if there else None
        if at is None and (child["name"] in around - ATTACHMENTS or (where[-1], child["name"]) in NOT_KEPT):
            continue
        if at is None:
            at = max(anchor + 1, 1)
            while at < len(base) and base[at].get("added"):
                at += 1
            # SUPPGRP is no name of the standard; it only holds together what the text of a version does
            inline = child["children"] if child["name"].endswith("SUPPGRP") else [child]
            base[at:at] = [dict(copy(node), min=0, added=True) for node in inline]
            report.append((".".join(where), child["name"], base[at - 1]["name"] if at else "-"))
        anchor = max(anchor, at)


def copy(node):
    return dict(node, children=node["children"] and [copy(child) for child in node["children"]])


def write_tree(items):
    """`PID NTE* VISIT?(PV1 PV2?)`: nothing = exactly one, ? optional, + repeats, * both."""
    out = []
    for item in items:
        mark = {(0, False): "?", (0, True): "*", (1, False): "", (1, True): "+"}[(min(item["min"], 1), bool(item["repeat"]))]
        inner = "" if item["children"] is None else "(" + write_tree(item["children"]) + ")"
        out.append(item["name"] + mark + inner)
    return " ".join(out)


# --- putting it together

def cross_check(apy, dictionary):
    """Counts where two independent sources disagree, on what both have."""
    print("fields compared with the second source: version, both have, type differs, table differs, repeats differs")
    for version in HL7APY:
        other = dictionary.get(version)
        if not other:
            continue
        both = types = tables = repeats = 0
        for name, rows in apy[version]["segments"].items():
            for number, row in rows.items():
                match = other["segments"].get(name, {}).get(number)
                if not match:
                    continue
                both += 1
                same = row["type"] == match["type"] or row["type"].startswith("CM") and match["type"].startswith("CM")
                types += not same and not row["withdrawn"]
                tables += bool(row["table"] and match["table"] and row["table"] != match["table"])
                repeats += (row["max"] == 1) != (match["max"] == 1)
        print(f"  {version:6} {both:5} {types:4} {tables:4} {repeats:4}")


def collect(args):
    apy = from_hl7apy()
    dictionary, table_0354 = from_dictionary(args.dictionary)
    cross_check(apy, dictionary)
    sources = dict(apy)
    sources["2.1"] = dictionary["2.1"]
    sources["2.7.1"] = apy["2.7"]
    for version in HL7APY + ["2.7.1"]:
        for name, rows in sources[version]["segments"].items():
            for number, row in rows.items():
                other = dictionary.get(version, {}).get("segments", {}).get(name, {}).get(number)
                if other and key(other["name"]) == key(row["name"]):
                    row["length"] = other["length"] or row["length"]
    titles = {}
    for version in dictionary.values():
        titles.update(version["titles"])
    titles.update(guide_titles(args.guide))

    all_names = set().union(*(s["segments"] for s in sources.values()))
    names = Names(all_names)
    for version in dictionary.values():
        for group in ("segments", "types"):
            for rows in version[group].values():
                for row in rows.values():
                    names.saw(row["name"])
    guide = {kind: guide_fields(args.guide, folder) for kind, folder in (("segments", "segments"), ("types", "datatypes"))}
    for rows in guide.values():
        for row in rows.values():
            names.saw(row["name"], 5)

    newest = {}
    for kind in ("segments", "types"):
        newest[kind] = cumulative(kind, sources, guide[kind])
    structures = {}
    for version in VERSIONS[:-1]:
        for name, tree in sources[version]["structures"].items():
            structures.setdefault(name, {})[version] = tree
    added = []
    newest["structures"] = cumulative_structures(structures, guide_messages(args.guide), added)
    if args.verbose:
        for row in added:
            print("  kept from an older version:", *row)
    print(f"segments and groups kept from older versions of a structure: {len(added)}")
    sources["2.9"] = newest
    return sources, names, titles, table_0354


def cumulative(kind, sources, guide):
    """2.9: the newest definition of everything that any version has."""
    result = {}
    for version in VERSIONS[:-1]:
        for name, rows in sources[version][kind].items():
            if kind == "types" and (name.startswith(("CM_", "TX_")) or name == "CM"):
                continue
            target = result.setdefault(name, {})
            for number, row in rows.items():
                before = target.get(number)
                if row["withdrawn"] and before:
                    target[number] = dict(before, withdrawn=True)
                else:
                    target[number] = dict(row)
    for (name, number), row in guide.items():
        target = result.setdefault(name, {})
        before = target.get(number)
        kind_name = re.match(r"[A-Z0-9]+|varies", row["type"] or "")
        if before is None:
            if not kind_name:
                continue
            target[number] = dict(type=kind_name[0], name=row["name"], table=None, withdrawn=False, length=None, min=0, max=1)
        else:
            before["name"] = row["name"] if not before["withdrawn"] else before["name"]
        if kind == "segments" and row["max"] in ("1", "-1"):
            target[number]["max"] = -1 if row["max"] == "-1" or target[number]["max"] == -1 else target[number]["max"]
    return result


def cumulative_structures(structures, guide, added):
    result = {}
    for name in sorted(set(structures) | set(guide)):
        if name in EVENT_ONLY or not re.fullmatch(r"[A-Z]{3}(_[A-Z0-9]{3})?", name):
            continue
        versions = [structures[name][v] for v in reversed(VERSIONS[:-1]) if v in structures.get(name, {})]
        trees = ([guide[name]] if name in guide else []) + versions
        base = [copy(node) for node in trees[0]]
        for older in trees[1:]:
            report = []
            merge(base, older, report, [name])
            added += report
        if name.startswith("ADT_") and name not in guide:
            base = as_newest_adt(base)
        for start, path, after, what in PRACTICE:
            if name.startswith(start):
                practice(base, path, after, what)
        result[name] = base
    return result


def practice(items, path, after, what):
    """Adds one entry of PRACTICE."""
    for item in items:
        if item["name"] == path:
            practice(item["children"], "", after, what)
    at = next((i for i, item in enumerate(items) if item["name"] == after), None)
    if path or at is None or what.rstrip("*") in [item["name"] for item in items]:
        return
    name, _, inner = what.partition("*(")
    children = [dict(name=n.rstrip("*"), min=0 if n.endswith("*") else 1, repeat=n.endswith("*"), children=None)
                for n in inner.rstrip(")").split()] or None
    items.insert(at + 1, dict(name=name.rstrip("*"), min=0, repeat=True, children=children))


def as_newest_adt(items):
    """2.9 gives every ADT message the groups that the guide shows for some of them."""
    def segment(name, low=0, repeat=True):
        return dict(name=name, min=low, repeat=repeat, children=None)
    wrapped = {"OBX": ("OBSERVATION", ["PRT"]), "AUT": ("AUTHORIZATION", ["PRT"]), "RF1": ("REFERRAL", ["PRT"]), "NK1": ("NEXT_OF_KIN", ["OH2", "OH3"])}
    out = []
    for item in items:
        if item["children"] is not None:
            item = dict(item, children=as_newest_adt(item["children"]))
        elif item["name"] in wrapped:
            name, followers = wrapped[item["name"]]
            item = dict(name=name, min=item["min"], repeat=True, children=[segment(item["name"], 1, False)] + [segment(f) for f in followers])
        out.append(item)
        if item["name"] == "ROL":
            out.append(segment("PRT"))
    return out


def events(structures, table_0354):
    """(code, event) -> structure of 2.9; event `-` is the default of a code."""
    result = {}
    for name in structures:
        code, _, event = name.partition("_")
        if event and not event.endswith("NN"):
            result[(code, event)] = name
    for name, listed in table_0354.items():
        code = name.partition("_")[0]
        for event in re.findall(r"[A-Z][A-Z0-9]{2}", listed):
            if name in structures and f"{code}_{event}" not in structures:
                result[(code, event)] = name
    result[("ADT", "A11")] = "ADT_A09"
    result.update({where: name for where, name in EVENTS.items() if name in structures})
    for name in sorted(structures, reverse=True):
        result[(name.partition("_")[0], "-")] = name
    result.update({(code, "-"): name for code, name in DEFAULTS.items()})
    return {where: name for where, name in result.items() if name in structures}


def lines(sources, names, titles, table_0354):
    yield "V " + " ".join(VERSIONS)
    all_names = set().union(*(s["segments"] for s in sources.values()))
    for letter, kind in (("T", "types"), ("S", "segments")):
        everything = sorted(set().union(*(s[kind] for s in sources.values())) - set(PRIMITIVE))
        for name in everything:
            yield f"{letter} {name} {title(titles.get(name, ''), all_names)}".rstrip()
            rows = defaultdict(int)
            for version in VERSIONS:
                previous = [sources[v][kind].get(name, {}) for v in VERSIONS[:VERSIONS.index(version)]]
                for number, row in sources[version][kind].get(name, {}).items():
                    shown = row
                    if row["withdrawn"]:
                        # a withdrawn field keeps the type it last had: old senders still fill it
                        shown = next((dict(p[number], withdrawn=True) for p in reversed(previous)
                                      if number in p and not p[number]["withdrawn"]),
                                     dict(row, type="ST" if row["type"] == "WD" else row["type"]))
                    mark = "!" if shown["withdrawn"] else ""
                    cells = [number, mark + shown["type"]]
                    if kind == "segments":
                        high = "*" if shown["max"] == -1 else max(int(shown["max"]), 1)
                        length = shown["length"] if version != VERSIONS[-1] else None
                        cells += [0 if mark else shown["min"], high, length or "-"]
                    cells += [shown["table"] or "-", names.best(shown["name"])]
                    for at in range(number, SUCCESSIVE.get((name, number), number) + 1):
                        rows[(at, *cells[1:])] |= BIT[version]
            for cells, mask in sorted(rows.items(), key=lambda item: (item[0][0], item[1])):
                yield f" {mask:x} " + " ".join(map(str, cells))
    for name in sorted(set().union(*(s["structures"] for s in sources.values()))):
        yield "M " + name
        trees = defaultdict(int)
        for version in VERSIONS:
            if name in sources[version]["structures"]:
                tree = write_tree(sources[version]["structures"][name])
                for structure, written, meant in MEANT:
                    tree = tree.replace(written, meant) if structure == name else tree
                trees[tree] |= BIT[version]
        for tree, mask in sorted(trees.items(), key=lambda item: item[1]):
            yield f" {mask:x} {tree}"
    for (code, event), name in sorted(events(sources["2.9"]["structures"], table_0354).items()):
        yield f"E {code} {event} {name}"


def main():
    here = Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dictionary", required=True, help="the unpacked npm package hl7-dictionary")
    parser.add_argument("--guide", required=True, help="the tables of the HL7 v2-to-FHIR guide")
    parser.add_argument("--out", default=here / "crates/hl7v2/data/definitions.z")
    parser.add_argument("--text", help="also write the data uncompressed, to this file")
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    text = "\n".join(lines(*collect(args))) + "\n"
    if args.text:
        Path(args.text).write_text(text, encoding="utf-8")
    packed = zlib.compress(text.encode("utf-8"), 9)
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    Path(args.out).write_bytes(packed)
    print(f"{args.out}: {len(packed)} bytes, {len(text)} uncompressed, {text.count(chr(10))} lines")


if __name__ == "__main__":
    sys.exit(main())
