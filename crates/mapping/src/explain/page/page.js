"use strict";
// Shows the document that stands in the page. Only texts are ever set, never HTML: a message may hold anything.
(() => {
  const data = JSON.parse(document.getElementById("document").textContent);
  const SHOWN = 160;
  const FATES = {
    mapped: "became elements", used: "identify or decide", ignored: "ignored on purpose",
    deleted: "to delete", dropped: "dropped",
  };
  const KINDS = {
    field: "From the message", constant: "Constant of a rule", reference: "Reference to another resource of the Bundle",
    generated: "Made of what identifies the resource", bundle: "The Bundle's own",
  };
  const fields = [], elements = [];

  const make = (tag, name, text) => {
    const node = document.createElement(tag);
    if (name) node.className = name;
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const cut = (text) => text.length > SHOWN
    ? text.slice(0, SHOWN) + "… (" + text.length.toLocaleString("en") + " characters)" : text;
  const rule = (number) => number === undefined ? "" : data.rules[number];
  const labelled = (element) => {
    const resource = data.resources[element.resource];
    const dot = element.path.indexOf(".");
    return resource && dot > 0 && !element.path.startsWith("Bundle.")
      ? resource.label + element.path.slice(dot) : element.path;
  };

  // === the legend ===

  document.getElementById("structure").textContent = data.structure
    + (data.fallback ? " (no message map of its own)" : "") + (data.park ? ", held back for a person" : "");
  const legend = document.getElementById("legend");
  const counted = (count, name, text) => {
    const item = make("li");
    item.append(make("span", "sample " + name, "Abc"), make("b", "", String(count)), text);
    legend.append(item);
    return item;
  };
  for (const [fate, text] of Object.entries(FATES)) {
    const item = counted(data.counts[fate], fate, text);
    if (fate === "dropped" && data.counts.dropped > 0) {
      const button = make("button", "", "next");
      button.type = "button";
      button.addEventListener("click", () => nextDropped());
      item.append(button);
    }
  }
  legend.append(make("li", "gap"));
  counted(data.counts.from_fields, "element", "from fields");
  counted(data.counts.constants, "element constant", "constants");
  counted(data.counts.generated, "element generated", "references and ids");

  // === the message ===

  const segments = document.getElementById("segments");
  let group = "";
  for (const segment of data.segments) {
    if (segment.group !== group) {
      group = segment.group;
      segments.append(make("p", "group", group || "outside of groups"));
    }
    const box = make("div", "segment");
    const title = make("h3");
    title.append(make("b", "", segment.place), " " + segment.name);
    const line = make("p", "er7");
    const reasons = make("ul", "reasons");
    const note = (place, reason, aside) => {
      const item = make("li", aside ? "aside" : "", (place ? place + " " : "") + reason.text + " ");
      item.append(make("span", "rule", rule(reason.rule)));
      reasons.append(item);
    };
    // That one of several lines of the message map does not apply is no news.
    const applied = segment.lines.some((reason) => reason.code === "applied");
    const whole = segment.lines.filter((reason) => reason.code !== "applied" && !(applied && reason.code === "condition-false"));
    for (const reason of whole) note("", reason, applied);
    for (const piece of segment.pieces) {
      if (typeof piece === "string") {
        line.append(make("span", "delimiter", piece));
        continue;
      }
      const field = data.fields[piece];
      const span = make("span", "field " + field.fate, cut(field.raw === undefined ? field.value : field.raw));
      span.dataset.place = field.place;
      item(span, "field", piece);
      fields[piece] = span;
      line.append(span);
      if (field.fate === "dropped" && applied) {
        for (const reason of field.reasons || []) note(field.place, reason);
      } else if (field.fate === "mapped") {
        for (const reason of field.reasons || []) note(field.place, reason, true);
      }
    }
    box.append(title, line);
    if (reasons.childElementCount > 0) box.append(reasons);
    segments.append(box);
  }

  // === the Bundle ===

  const byPointer = new Map(data.elements.map((element, number) => [element.pointer, number]));
  const entries = document.getElementById("entries");

  const byUrl = new Map();
  (data.bundle.entry || []).forEach((entry, number) => {
    const resource = data.resources[number];
    byUrl.set(entry.fullUrl, resource.label);
    byUrl.set(resource.type + "/" + resource.id, resource.label);
  });

  const write = (out, value, pointer, indent) => {
    const mark = (text) => out.append(make("span", "mark", text));
    const inside = "\n" + "  ".repeat(indent + 1);
    const list = (members, open, close, one) => {
      mark(open);
      members.forEach((member, number) => {
        mark((number > 0 ? "," : "") + inside);
        one(member);
      });
      mark((members.length > 0 ? "\n" + "  ".repeat(indent) : "") + close);
    };
    if (Array.isArray(value)) {
      list([...value.keys()], "[", "]", (number) => write(out, value[number], pointer + "/" + number, indent + 1));
    } else if (value !== null && typeof value === "object") {
      list(Object.keys(value), "{", "}", (name) => {
        out.append(make("span", "name", JSON.stringify(name)));
        mark(": ");
        write(out, value[name], pointer + "/" + name, indent + 1);
      });
    } else {
      const number = byPointer.get(pointer);
      if (number === undefined) {
        mark(JSON.stringify(value));
        return;
      }
      const element = data.elements[number];
      const text = typeof value === "string" ? JSON.stringify(cut(value)) : element.value;
      const span = make("span", "element " + element.kind, text);
      span.dataset.path = element.path;
      item(span, "element", number);
      elements[number] = span;
      out.append(span);
      const target = element.kind === "reference" && byUrl.get(value);
      if (target) out.append(make("span", "target", " → " + target));
    }
  };

  (data.bundle.entry || []).forEach((entry, number) => {
    const resource = data.resources[number];
    const box = make("article", "entry");
    const title = make("h3", "", resource.label);
    const key = resource.key.map((field) => data.fields[field].place).join(" ");
    title.append(make("small", "", resource.write + ", identified by " + (key || "its message and its place in it")));
    title.append(make("small", "rule", rule(resource.rule)));
    const lines = make("pre", "json");
    write(lines, entry, "/entry/" + number, 0);
    box.append(title, lines);
    entries.append(box);
  });
  if (!data.bundle.entry) entries.append(make("p", "more", "The message made no resource."));

  // === the two sides ===

  let pinned = null, shown = null;

  function item(span, side, number) {
    span.tabIndex = -1;
    span.setAttribute("role", "button");
    span.dataset.side = side;
    span.dataset.number = number;
  }
  const of = (node) => {
    const span = node instanceof Element ? node.closest("[data-side]") : null;
    return span ? { side: span.dataset.side, number: Number(span.dataset.number) } : null;
  };
  const spanOf = (one) => (one.side === "field" ? fields : elements)[one.number];

  const clear = () => {
    for (const span of document.querySelectorAll(".lit, .decides, .current")) span.classList.remove("lit", "decides", "current");
  };
  const light = (list, numbers, name) => {
    for (const number of numbers || []) if (list[number]) list[number].classList.add(name);
  };

  /** Lights up one field or element and its other side. */
  function show(one, scroll) {
    clear();
    shown = one;
    const footer = document.getElementById("details");
    if (!one) {
      footer.replaceChildren(hint);
      return;
    }
    spanOf(one).classList.add("current");
    let first;
    if (one.side === "field") {
      const field = data.fields[one.number];
      const generated = (field.identifies || []).flatMap((resource) =>
        data.elements.flatMap((element, number) => element.resource === resource && element.kind === "generated" ? [number] : []));
      light(elements, generated, "decides");
      light(elements, field.decides, "decides");
      light(elements, field.elements, "lit");
      first = elements[[...field.elements, ...(field.decides || []), ...generated][0]];
    } else {
      const element = data.elements[one.number];
      light(fields, element.decided, "decides");
      light(fields, element.fields, "lit");
      first = fields[[...element.fields, ...(element.decided || [])][0]];
    }
    if (scroll && first) first.scrollIntoView({ block: "nearest", inline: "nearest" });
    footer.replaceChildren(...details(one));
  }

  function details(one) {
    const lines = [];
    const paragraph = (...parts) => {
      const line = make("p");
      line.append(...parts);
      lines.push(line);
    };
    const links = (side, numbers) => {
      const list = side === "field" ? data.fields : data.elements;
      const parts = numbers.slice(0, 24).flatMap((number, position) => {
        const link = make("a", "", side === "field" ? list[number].place : labelled(list[number]));
        link.tabIndex = 0;
        link.setAttribute("role", "link");
        const go = () => pin({ side, number }, true);
        link.addEventListener("click", go);
        link.addEventListener("keydown", (event) => { if (event.key === "Enter") { event.stopPropagation(); go(); } });
        return position > 0 ? ["  ", link] : [link];
      });
      if (numbers.length > 24) parts.push(make("span", "more", " and " + (numbers.length - 24) + " more"));
      return parts;
    };
    if (pinned) lines.push(make("span", "pinned", "kept; Escape lets go"));
    if (one.side === "field") {
      const field = data.fields[one.number];
      const what = make("p", "what", field.place + (field.name ? "  " + field.name + "  " : "  "));
      what.append(make("span", "value", cut(field.value)));
      lines.push(what);
      if (field.elements.length > 0) paragraph("Became ", ...links("element", field.elements));
      if ((field.identifies || []).length > 0) {
        paragraph("Identifies " + field.identifies.map((number) => data.resources[number].label).join(", "));
      }
      if ((field.decides || []).length > 0) paragraph("Decides about ", ...links("element", field.decides));
      if (field.fate === "used" && !(field.identifies || []).length && !(field.decides || []).length) paragraph("Decided about a rule");
      const word = { dropped: "Dropped: ", ignored: "Ignored: ", deleted: "Deleted: " }[field.fate] || "Note: ";
      for (const reason of field.reasons || []) paragraph(word + reason.text + "  ", make("span", "rule", rule(reason.rule)));
      const rules = [...new Set(field.elements.map((element) => rule(data.elements[element].rules[0])))];
      if (rules.length > 0) paragraph(make("span", "rule", "by " + rules.slice(0, 8).join("  ")));
    } else {
      const element = data.elements[one.number];
      const what = make("p", "what", labelled(element) + "  ");
      what.append(make("span", "value", cut(element.value)));
      lines.push(what);
      paragraph(KINDS[element.kind] + " ", ...links("field", element.fields));
      if ((element.decided || []).length > 0) paragraph("Because of ", ...links("field", element.decided));
      if (element.rules.length > 0) {
        paragraph(make("span", "rule", "rule " + element.rules.map(rule).join(" ‹ ")));
      }
    }
    return lines;
  }
  const hint = document.querySelector("#details .hint");

  function pin(one, focus) {
    pinned = one;
    show(one, true);
    if (one && focus) {
      spanOf(one).scrollIntoView({ block: "nearest" });
      enter(one);
    }
  }
  /** One stop of the Tab key on each side: the last item that was used there. */
  const stops = {};
  function enter(one) {
    const span = spanOf(one);
    if (stops[one.side]) stops[one.side].tabIndex = -1;
    stops[one.side] = span;
    span.tabIndex = 0;
    if (document.activeElement !== span) span.focus({ preventScroll: true });
  }
  for (const list of [fields, elements]) {
    const first = list.find((span) => span);
    if (first) { first.tabIndex = 0; stops[first.dataset.side] = first; }
  }

  function nextDropped() {
    const from = shown && shown.side === "field" ? shown.number : -1;
    const all = data.fields.flatMap((field, number) => field.fate === "dropped" ? [number] : []);
    const next = all.find((number) => number > from);
    const number = next === undefined ? all[0] : next;
    if (number !== undefined) pin({ side: "field", number }, true);
  }

  document.addEventListener("mouseover", (event) => {
    const one = of(event.target);
    if (!pinned && one) show(one, true);
  });
  document.addEventListener("click", (event) => {
    const one = of(event.target);
    if (!one) return;
    const same = pinned && pinned.side === one.side && pinned.number === one.number;
    pin(same ? null : one, false);
    if (!same) enter(one);
  });
  document.addEventListener("focusin", (event) => {
    const one = of(event.target);
    if (one && !pinned) show(one, true);
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const one = of(document.activeElement);
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") {
      pin(null);
    } else if (event.key === "n") {
      nextDropped();
    } else if (one && (event.key === "Enter" || event.key === " ")) {
      pin(pinned && pinned.side === one.side && pinned.number === one.number ? null : one, false);
      event.preventDefault();
    } else if (one && step) {
      const list = one.side === "field" ? fields : elements;
      let number = one.number + step;
      while (number >= 0 && number < list.length && !list[number]) number += step;
      if (list[number]) {
        if (pinned) pinned = null;
        enter({ side: one.side, number });
        list[number].scrollIntoView({ block: "nearest" });
      }
      event.preventDefault();
    }
  });
})();
