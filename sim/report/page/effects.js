// Which axes matter: attribution of the front, shares of variance, tornado; and provenance.
function bar(from, to, className = "") {
  const made = element("i", { className });
  made.style.left = `${(100 * nearest(0, from, 1)).toFixed(2)}%`;
  made.style.width = `${(100 * nearest(0, to - from, 1)).toFixed(2)}%`;
  return made;
}

function track(...bars) {
  return element("td", { "aria-hidden": "true" }, element("div", { className: "track" }, ...bars));
}

function barTable(caption, heads, lines) {
  const head = element("tr", {}, ...heads.map((text, at) => element(text ? "th" : "td",
    { className: at > 1 ? "number" : "", scope: "col", textContent: text })));
  return element("table", { className: "bars" }, element("caption", { className: "hidden",
    textContent: caption }), element("thead", {}, head), element("tbody", {}, ...lines));
}

const percent = (share) => (share === null ? "-" : `${(100 * share).toFixed(1)} %`);
const axisName = (path) => columnOf(path)?.label ?? path;
const rowHead = (path) => element("th", { scope: "row", title: path, textContent: axisName(path) });
const numberCell = (text) => element("td", { className: "number", textContent: text });

function levelText(path, value) {
  if (value === null) return INACTIVE;
  const column = columnOf(path);
  return typeof value === "number" && column ? `${digits(value, 4)} ${column.unit}`.trim() : String(value);
}

function attributionTable(found) {
  const lines = found.map((each) => element("tr", {}, rowHead(each.axis), track(bar(0, each.explains)),
    numberCell(digits(each.explains, 2)), numberCell(levelText(each.axis, each.most)),
    numberCell(percent(each.share)), numberCell(percent(each.all))));
  return barTable("Which axes explain the front", ["axis", "", "explains", "mostly at",
    "of the front", "of all points"], lines);
}

function shareTable(found) {
  const lines = found.map((each) => element("tr", {}, rowHead(each.axis),
    track(bar(0, each.total ?? 0, "soft"), bar(0, each.first_order ?? 0)),
    numberCell(percent(each.first_order)), numberCell(percent(each.total))));
  return barTable("Shares of the variance", ["axis", "", "alone", "with others"], lines);
}

function tornadoLine(each, column, low, high) {
  const at = (value) => (high > low ? (value - low) / (high - low) : 0);
  const base = bar(at(each.base), at(each.base), "base");
  base.style.width = "2px";
  const ends = element("div", { className: "ends-text" },
    element("span", { textContent: `${amount(each.low, column.unit, 3)} at ${levelText(each.axis, each.low_at)}` }),
    element("span", { textContent: `${amount(each.high, column.unit, 3)} at ${levelText(each.axis, each.high_at)}` }));
  const cell = element("td", {}, element("div", { className: "track" },
    bar(at(each.low), at(each.high)), base), ends);
  return element("tr", {}, rowHead(each.axis), cell);
}

function tornadoTable(found, column) {
  const low = Math.min(...found.map((each) => each.low)), high = Math.max(...found.map((each) => each.high));
  const lines = found.map((each) => tornadoLine(each, column, low, high));
  return barTable(`Tornado of ${column.label}`, ["axis", "lowest and highest"], lines);
}

function objectiveBlock({ column: name, shares, tornado }) {
  const column = columnOf(name), made = element("div", {}, element("h3", { textContent: titled(column) }));
  if (tornado.length) {
    const base = amount(tornado[0].base, column.unit, 3);
    made.append(element("h4", { textContent: `Around the knee (${base}), one axis at a time` }),
      tornadoTable(tornado, column));
  }
  if (shares.length) {
    made.append(element("h4", { textContent: "Share of the variance over all points" }), shareTable(shares),
      element("p", { className: "note", textContent: "Alone: what the mean of each level explains. With "
        + "others: what is left once all other axes are fixed (Sobol's first-order and total index; the "
        + "latter needs a full grid)." }));
  }
  return made;
}

function buildEffects() {
  const { attribution, effects } = report.sensitivity;
  byId("effects").hidden = !attribution.length;
  if (!attribution.length) return;
  byId("attribution").append(element("h3", { textContent: "Which axes explain the front" }),
    element("p", { className: "note", textContent: "0: the front has the levels as often as all good points "
      + "do, so the axis decides nothing; near 1: it has levels that are rare otherwise." }),
    element("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": "Which axes explain the front" },
      attributionTable(attribution)));
  byId("objectives").append(...effects.map(objectiveBlock));
}

function facts(list, pairs) {
  list.append(...pairs.map(([name, value]) => element("div", {}, element("dt", { textContent: name }),
    element("dd", { textContent: value }))));
}

function buildProvenance() {
  const found = report.provenance;
  byId("made").textContent = `OPB ${report.version}, identity ${report.identity}: the digest of the base `
    + "scenario, load, fidelity and version that all points share.";
  if (!found) {
    byId("made").textContent += " The base scenario was not at hand, so its sources are not listed.";
    return;
  }
  byId("made").textContent += ` Constants of the base scenario ${found.scenario} by the kind of their source:`;
  facts(byId("constants"), Object.entries(found.constants));
  byId("sources").hidden = false;
  byId("sources").querySelector("summary").textContent = `Bibliography: ${found.sources.length} sources`;
  byId("sources").querySelector("ul").append(...found.sources.map((each) => element("li", { textContent:
    `${each.key} (${each.kind}): ${each.title}${each.note ? `. ${each.note}` : ""}` })));
}
