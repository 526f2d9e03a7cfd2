#!/usr/bin/env python3
"""Makes crates/fhir/data/r4.pack from the official FHIR R4 packages (CC0).

    npm pack hl7.fhir.r4.examples@4.0.1        # StructureDefinitions with snapshots, ValueSets
    npm pack hl7.fhir.r4.expansions@4.0.1      # expanded ValueSets
    scripts/fhir-definitions.py hl7.fhir.r4.examples-4.0.1.tgz hl7.fhir.r4.expansions-4.0.1.tgz

The pack is text, deflated without a header. The same input gives the same bytes. Lines, in this order:

    fhirway-definitions 1 4.0.1
    names 1757                 JSON property names, one a line; those of FIXED first, the rest sorted
    systems 400                code system addresses
    valuesets 300              then for each: `v CLOSED URL`, and its codes: `s NUMBER` chooses the system, `c CODE` a code
    types 900                  `KIND NAME`, KIND one of p(rimitive) c(omplex) b(ackbone) r(esource), an abstract one upper case
    elements NAME              then for each type that has any, in the order of `types`: `NAME MIN MAX FLAGS TYPES BINDING`

TYPES are joined by `|`, each followed by its reference targets as `(Patient,Group)`; a name ending in `[x]` is a choice.
FLAGS: s(ummary) m(odifier) q (SimpleQuantity) or `-`. BINDING: r(equired) or e(xtensible) and the value set's number, or `-`.
"""
import json
import pathlib
import sys
import tarfile
import zlib

FIXED = ["resourceType", "reference", "id", "type", "entry", "resource", "fullUrl", "request", "method", "url",
         "ifNoneExist", "ifNoneMatch"]
BASE = "http://hl7.org/fhir/StructureDefinition/"
OUT = pathlib.Path(__file__).resolve().parent.parent / "crates/fhir/data/r4.pack"
KINDS = {"primitive-type": "p", "complex-type": "c", "resource": "r"}


def resources(package, *kinds):
    """All resources of those kinds in an npm package, by file name."""
    with tarfile.open(package) as archive:
        members = sorted(archive.getmembers(), key=lambda member: member.name)
        for member in members:
            name = member.name.rsplit("/", 1)[-1]
            if name.endswith(".json") and name.split("-", 1)[0] in kinds:
                yield json.load(archive.extractfile(member))


def structure(kind_of_definition):
    """A base type (no profile, no logical model) of FHIR itself."""
    s = kind_of_definition
    return s["kind"] in KINDS and s.get("derivation") != "constraint" and s["url"].startswith(BASE)


def type_code(type_):
    """`string` for what the definitions call a FHIRPath System.String, and so on."""
    if type_["code"].startswith("http://hl7.org/fhirpath/"):
        for extension in type_.get("extension", []):
            if extension["url"] == BASE + "structuredefinition-fhir-type":
                return extension["valueUrl"]
    return type_["code"]


class Definitions:
    def __init__(self, structures, value_sets, expansions):
        self.structures = {s["name"]: s for s in structures}
        self.value_sets = value_sets
        self.expansions = expansions
        self.used_value_sets = {}
        self.types = []           # (kind, name)
        self.elements = {}        # type name -> lines
        self.names = set(FIXED)
        for s in structures:
            self.structure(s)

    def structure(self, s):
        kind = KINDS[s["kind"]]
        elements = s["snapshot"]["element"]
        children = {}
        for element in elements[1:]:
            children.setdefault(element["path"].rsplit(".", 1)[0], []).append(element)
        if kind == "p":
            # Their value is the JSON value itself; `id` and `extension` are those of Element.
            self.types.append((kind, s["name"]))
            return
        for path in [s["name"]] + [e["path"] for e in elements[1:] if e["path"] in children]:
            letter = kind if path == s["name"] else "b"
            self.types.append((letter.upper() if s.get("abstract") else letter, path))
            self.elements[path] = [self.element(s["name"], e, children) for e in children.get(path, [])]

    def element(self, owner, element, children):
        name = element["path"].rsplit(".", 1)[1]
        if element["path"] in children:
            types = [element["path"]]
        elif "contentReference" in element:
            types = [element["contentReference"].lstrip("#")]
        else:
            types = [self.type(owner, element, t) for t in element["type"]]
        if name.endswith("[x]"):
            for t in types:
                code = t.split("(")[0]
                self.names.add(name[:-3] + code[0].upper() + code[1:])
        else:
            self.names.add(name)
        simple = any(BASE + "SimpleQuantity" in t.get("profile", []) for t in element.get("type", []))
        flags = "s" * element.get("isSummary", False) + "m" * element.get("isModifier", False) + "q" * simple
        return [name, str(element["min"]), element["max"], flags or "-", "|".join(types), self.binding(element)]

    def type(self, owner, element, type_):
        code = type_code(type_)
        if element.get("base", {}).get("path") == "Resource.id":
            code = "id"
        targets = [p[len(BASE):] for p in type_.get("targetProfile", [])]
        # Any resource, or an abstract kind of them: nothing to hold a reference against.
        if not targets or any(self.structures.get(t, {}).get("abstract", True) for t in targets):
            return code
        return f"{code}({','.join(targets)})"

    def binding(self, element):
        binding = element.get("binding", {})
        strength = binding.get("strength")
        url = binding.get("valueSet", "").split("|")[0]
        if strength not in ("required", "extensible") or url not in self.value_sets:
            return "-"
        number = self.used_value_sets.setdefault(url, len(self.used_value_sets))
        return f"{strength[0]}{number}"

    def codes(self, url):
        """(closed, {system: codes}): closed when the list is all there is."""
        expansion = self.expansions.get(url, {}).get("expansion")
        if not expansion:
            return False, {}
        open_ended = any(e["url"].endswith(("valueset-toocostly", "valueset-unclosed"))
                         for e in expansion.get("extension", []))
        if open_ended:
            return False, {}
        found = {}

        def walk(contains):
            for entry in contains:
                if "code" in entry and not entry.get("abstract"):
                    found.setdefault(entry.get("system", ""), set()).add(entry["code"])
                walk(entry.get("contains", []))
        walk(expansion.get("contains", []))
        return True, found

    def text(self):
        value_sets = [(url, *self.codes(url)) for url in self.used_value_sets]
        systems = sorted({system for _, _, codes in value_sets for system in codes})
        names = FIXED + sorted(self.names - set(FIXED))
        lines = ["fhirway-definitions 1 4.0.1", f"names {len(names)}", *names, f"systems {len(systems)}", *systems]
        lines.append(f"valuesets {len(value_sets)}")
        for url, closed, codes in value_sets:
            lines.append(f"v {int(closed)} {url}")
            for system in sorted(codes):
                lines.append(f"s {systems.index(system)}")
                lines.extend(f"c {code}" for code in sorted(codes[system], key=str.encode))
        lines.append(f"types {len(self.types)}")
        lines.extend(f"{kind} {name}" for kind, name in self.types)
        for _, name in self.types:
            if name in self.elements:
                lines.append(f"elements {name}")
                lines.extend(" ".join(fields) for fields in self.elements[name])
        return "\n".join(lines) + "\n"


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    examples, expanded = sys.argv[1:]
    structures = sorted(filter(structure, resources(examples, "StructureDefinition")), key=lambda s: s["name"])
    value_sets = {v["url"]: v for v in resources(examples, "ValueSet")}
    expansions = {v["url"]: v for v in resources(expanded, "ValueSet")}
    definitions = Definitions(structures, value_sets, expansions)
    text = definitions.text().encode()
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15, 9)
    packed = deflate.compress(text) + deflate.flush()
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_bytes(packed)
    count = sum(map(len, definitions.elements.values()))
    open_sets = [url for url in definitions.used_value_sets if not definitions.codes(url)[0]]
    print(f"{OUT}: {len(packed)} bytes ({len(text)} unpacked), {len(definitions.types)} types, {count} elements, "
          f"{len(definitions.used_value_sets)} value sets, not listed: {', '.join(open_sets)}")


if __name__ == "__main__":
    main()
