// Filters: ranges of results, levels of axes, the constraints, the front. `shown` is what is left.
const ranges = new Map(), hiddenLevels = new Map();
let shown = new Int32Array(0), onlyGood = false, onlyFront = false;

function passing() {
  const found = [], bounds = [...ranges].filter(([, [low, high]]) => low > -Infinity || high < Infinity);
  const hidden = [...hiddenLevels].filter(([, codes]) => codes.size);
  const wanted = (onlyGood ? GOOD : 0) | (onlyFront ? FRONT : 0);
  next: for (let row = 0; row < rows; row++) {
    if ((flags[row] & wanted) !== wanted) continue;
    for (const [column, [low, high]] of bounds) {
      const value = column.values[row];
      if (!(value >= low && value <= high)) continue next;  // what has no value is in no range
    }
    for (const [column, codes] of hidden) if (codes.has(column.codes[row])) continue next;
    found.push(row);
  }
  return Int32Array.from(found);
}

function endInput(column, end, whole, changed) {
  const input = element("input", { type: "number", step: "any", inputMode: "decimal",
    placeholder: Number.isFinite(whole[end]) ? whole[end].toPrecision(4) : "" });
  input.id = `range-${column.name}-${end ? "max" : "min"}`;
  input.addEventListener("input", () => {
    const empty = end ? Infinity : -Infinity;
    const own = ranges.get(column) ?? [-Infinity, Infinity];
    own[end] = input.value === "" || Number.isNaN(input.valueAsNumber) ? empty : input.valueAsNumber;
    ranges.set(column, own);
    changed();
  });
  return element("label", {}, end ? "at most" : "at least", input);
}

function rangeField(column, changed) {
  const whole = extent(column.values);
  return element("fieldset", { title: column.name }, element("legend", { textContent: titled(column) }),
    element("div", { className: "ends" }, endInput(column, 0, whole, changed),
      endInput(column, 1, whole, changed)));
}

function levelBox(column, code, name, changed) {
  const box = element("input", { type: "checkbox", checked: true });
  box.addEventListener("change", () => {
    const hidden = hiddenLevels.get(column);
    if (box.checked) hidden.delete(code);
    else hidden.add(code);
    changed();
  });
  return element("label", { className: "tick" }, box, element("span", { textContent: name }));
}

function levelField(column, changed) {
  hiddenLevels.set(column, new Set());
  const boxes = column.levels.map((name, code) => levelBox(column, code, name, changed));
  if (column.off) boxes.push(levelBox(column, -1, INACTIVE, changed));
  const flip = (checked) => () => {
    const hidden = hiddenLevels.get(column);
    hidden.clear();
    boxes.forEach((label, at) => {
      label.firstChild.checked = checked;
      if (!checked) hidden.add(at < column.levels.length ? at : -1);
    });
    changed();
  };
  const button = (text, checked) => element("button", { type: "button", textContent: text,
    "aria-label": `${text} levels of ${column.label}`, onclick: flip(checked) });
  const legend = element("legend", { textContent: titled(column), title: column.name });
  return element("fieldset", {}, legend,
    element("div", { className: "choices" }, ...boxes, button("all", true), button("none", false)));
}

function buildFilters(changed) {
  const constrained = report.constraints.map((each) => each.split(" ")[0]);
  const first = results.filter((each) => objectives.includes(each) || constrained.includes(each.name));
  byId("ranges").append(...first.map((each) => rangeField(each, changed)));
  const others = results.filter((each) => !first.includes(each));
  byId("other-ranges").append(...others.map((each) => rangeField(each, changed)));
  byId("levels").append(...axes.filter((each) => each.name === each.main)
    .map((each) => levelField(each, changed)));
  const kept = report.constraints.length ? `keeps ${report.constraints.join(" and ")} and ` : "";
  byId("only-good-text").textContent = `what ${kept}has all objectives`;
  byId("only-good").addEventListener("change", (event) => { onlyGood = event.target.checked; changed(); });
  byId("only-front").addEventListener("change", (event) => { onlyFront = event.target.checked; changed(); });
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
}

function clearFilters() {
  ranges.clear();
  for (const hidden of hiddenLevels.values()) hidden.clear();
  byId("filters").reset();
  for (const box of byId("levels").querySelectorAll("input")) box.checked = true;
  onlyGood = byId("only-good").checked = report.good > 0;
  onlyFront = byId("only-front").checked = false;
}
