// The page: header, controls, what the pointer and the keyboard do.
const count = (number) => number.toLocaleString("en-US");

function buildHeader() {
  byId("title").textContent = report.title;
  const states = Object.entries(report.status).map(([name, number]) => `${count(number)} ${name}`).join(", ");
  byId("summary").textContent = `${plural(report.points, "point")}, ${report.fidelity}: ${states}.`
    + (report.good < report.feasible ? ` ${count(report.good)} can be compared: they keep the constraints and `
      + "have all objectives." : "");
  const load = report.load && `batch ${report.load.batch}, ${report.load.input} tokens in, ${report.load.output} out`;
  facts(byId("facts"), [
    ["study", report.name], ["base", report.base ?? (report.provenance && "inline in the study")],
    ["objectives", Object.entries(report.objectives).map(([name, way]) => `${name} (${way})`).join(", ")],
    ["constraints", report.constraints.join(" and ")], ["given", report.per.join(", ")],
    ["load", load], ["OPB", report.version],
  ].filter(([, value]) => value));
  byId("reasons").hidden = !report.reasons.length;
  const lost = report.reasons.reduce((sum, [, number]) => sum + number, 0);
  byId("reasons").querySelector("summary").textContent = `Why ${plural(lost, "point")} gave no results`;
  byId("reasons").querySelector("ul").append(...report.reasons.map(([why, number]) =>
    element("li", { textContent: `${count(number)} x ${why}` })));
  if (report.more_reasons) byId("reasons").querySelector("ul").append(
    element("li", { textContent: `and ${count(report.more_reasons)} more reasons` }));
}

// What error bars are, and how well the points they are of are known.
function buildBands() {
  if (!report.known.length) return;
  const told = report.known.map(({ level, means, points }) => `${count(points)} ${level} (${means})`);
  byId("bands").textContent = "Bars, and brackets of a point: 10 to 90 % of what measurements were beside "
    + `predictions. Points shown here, by how well their times are known: ${told.join("; ")}.`;
}

function options(select, extra) {
  const others = results.filter((each) => !objectives.includes(each));
  if (extra) select.append(element("option", { value: "", textContent: extra }));
  for (const [label, group] of [["Objectives", objectives], ["Other results", others], ["Axes", axes]]) {
    if (!group.length) continue;
    const made = element("optgroup", { label });
    made.append(...group.map((each) => element("option", { value: each.name, textContent: titled(each),
      title: each.name })));
    select.append(made);
  }
}

function setAxis(which, column) {
  view[which] = column;
  view.zoom = null;
  byId(which).value = column.name;
  const whole = extent(column.values.filter(Number.isFinite));
  view.log[which] = byId(`${which}-log`).checked = !column.named && wide(whole);
  byId(`${which}-log`).disabled = column.named || !(whole[0] > 0);
}

function setColour(column) {
  view.colour = column;
  byId("colour").value = column ? column.name : "";
}

function swatch(colour, text, className = "") {
  const box = element("i", { className });
  box.style.background = colour;
  return element("span", {}, box, text);
}

function drawLegend() {
  const palette = colouring(view.colour), column = view.colour, made = [];
  if (palette.named) {
    const names = column.off ? [...column.levels, INACTIVE] : column.levels;
    made.push(...names.map((name, at) => swatch(palette.colours[at], name)));
  } else if (column) {
    const ends = column.named ? [column.levels[0], column.levels[column.levels.length - 1]]
      : palette.whole.map((value) => amount(value, column.unit, 3));
    const ramp = swatch(`linear-gradient(90deg, ${palette.colours.slice(0, -1).join(", ")})`, ends[1], "ramp");
    ramp.prepend(ends[0]);
    made.push(element("span", { textContent: `${column.label}${palette.log ? ", log" : ""}:` }), ramp);
  }
  made.push(element("span", { textContent: "● with a ring: front" }), element("span", { textContent: "★ knee" }));
  if (view.x.better && view.y.better && view.x !== view.y) {
    made.push(element("span", { textContent: "line: best of the points shown, in x and y alone" }));
  }
  byId("legend").replaceChildren(...made);
}

function drawAll() {
  shown = passing();
  byId("shown").textContent = `${count(shown.length)} of ${count(rows)} points shown`;
  byId("unzoom").hidden = !view.zoom;
  drawLegend();
  redraw();
  drawTable(choose);
}

let pending = 0;
function changed() {  // typing in a field must not wait for 40,000 points at each key
  clearTimeout(pending);
  pending = setTimeout(drawAll, 60);
}

function choose(row, focus) {
  showPoint(row, focus);
  redraw();
}

function reset() {
  clearFilters();
  pages = 1;
  const [x, y, third] = [...objectives, ...results.filter((each) => !objectives.includes(each))];
  setAxis("x", x);
  setAxis("y", y ?? x);
  const named = axes.find((each) => each.named);
  setColour(objectives.length > 2 ? third : named ?? axes[0] ?? null);
  view.cursor = -1;
  choose(-1);
  drawAll();
}

function hover(row, x, y) {
  const box = byId("hover");
  box.hidden = row < 0;
  if (row < 0) return;
  const told = [...new Set([view.x, view.y, view.colour, ...objectives])].filter((each) => each && !each.axis);
  const lines = [...told, ...axes].map((each) => element("tr", {}, element("th", { textContent: each.label }),
    element("td", { textContent: each.text(row) })));
  const kind = is(row, KNEE) ? "★ knee" : is(row, FRONT) ? "front" : "";
  box.replaceChildren(...(kind ? [element("strong", { textContent: kind })] : []), element("table", {}, element("tbody", {}, ...lines)));
  const { width, height } = canvas.getBoundingClientRect();
  const left = x + 16 + box.offsetWidth > width ? x - 16 - box.offsetWidth : x + 16;
  box.style.left = `${nearest(0, left, Math.max(width - box.offsetWidth, 0))}px`;
  box.style.top = `${nearest(0, y - box.offsetHeight / 2, Math.max(height - box.offsetHeight, 0))}px`;
}

const at = (event) => [event.offsetX, event.offsetY];

function dragTo([x, y]) {
  const drag = view.drag, { left, right, top, bottom } = view.scales;
  drag.x1 = nearest(left, x, right);
  drag.y1 = nearest(top, y, bottom);
  drag.moved ||= Math.abs(drag.x1 - drag.x0) > 6 && Math.abs(drag.y1 - drag.y0) > 6;
}

function zoomIn({ x0, x1, y0, y1 }) {
  const { x, y } = view.scales;
  view.zoom = { x: [x.value(Math.min(x0, x1)), x.value(Math.max(x0, x1))],
    y: [y.value(Math.max(y0, y1)), y.value(Math.min(y0, y1))] };
  byId("unzoom").hidden = false;
  redraw();
}

function unzoom() {
  view.zoom = null;
  byId("unzoom").hidden = true;
  redraw();
}

function listenToPointer() {
  canvas.addEventListener("pointerdown", (event) => {
    if (event.pointerType !== "mouse" || event.button) return;
    const [x, y] = at(event);
    view.drag = { x0: x, y0: y, x1: x, y1: y, moved: false };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (view.drag) { dragTo(at(event)); redraw(); hover(-1); return; }
    if (event.pointerType === "mouse") hover(rowNear(...at(event), 14), ...at(event));
  });
  canvas.addEventListener("pointerleave", () => hover(-1));
  canvas.addEventListener("pointercancel", () => { view.drag = null; redraw(); });
  canvas.addEventListener("click", (event) => {
    const drag = view.drag;
    view.drag = null;
    if (drag?.moved) { zoomIn(drag); return; }
    const row = rowNear(...at(event), event.pointerType === "touch" ? 24 : 14);
    if (row >= 0) choose(row);
  });
  canvas.addEventListener("dblclick", unzoom);
}

// Arrow keys go along the points of the front that are shown; without any, along all.
function step(by) {
  const best = [...shown].filter((row) => is(row, FRONT));
  const order = sortRows(best.length ? best : [...shown], view.x, false);
  if (!order.length) return;
  const now = order.indexOf(view.cursor);
  view.cursor = order[now < 0 ? 0 : nearest(0, now + by, order.length - 1)];
  const i = shown.indexOf(view.cursor);
  hover(view.cursor, pixels.x[i], pixels.y[i]);
  const told = [view.x, view.y, ...objectives].map((each) => `${each.label} ${each.text(view.cursor)}`);
  byId("shown").textContent = `${order.indexOf(view.cursor) + 1} of ${order.length}: ${[...new Set(told)].join(", ")}`;
  redraw();
}

function listenToKeys() {
  const moves = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -Infinity, End: Infinity };
  canvas.addEventListener("keydown", (event) => {
    if (event.key in moves) step(nearest(-1e9, moves[event.key], 1e9));
    else if (event.key === "Enter" && view.cursor >= 0) choose(view.cursor, true);
    else if (event.key === "Escape") { hover(-1); unzoom(); }
    else return;
    event.preventDefault();
  });
  canvas.addEventListener("blur", () => { hover(-1); redraw(); });
  canvas.addEventListener("focus", redraw);
}

function listen() {
  for (const which of ["x", "y"]) {
    byId(which).addEventListener("change", (event) => { setAxis(which, columnOf(event.target.value)); drawAll(); });
    byId(`${which}-log`).addEventListener("change", (event) => {
      view.log[which] = event.target.checked;
      view.zoom = null;
      drawAll();
    });
  }
  byId("colour").addEventListener("change", (event) => { setColour(columnOf(event.target.value) ?? null); drawAll(); });
  byId("reset").addEventListener("click", reset);
  byId("unzoom").addEventListener("click", unzoom);
  byId("show-knee").hidden = kneeRow < 0;
  byId("show-knee").addEventListener("click", () => choose(kneeRow, true));
  byId("all-results").addEventListener("change", () => drawTable(choose));
  byId("more").addEventListener("click", () => { pages += 1; drawTable(choose); });
  byId("csv").addEventListener("click", downloadCsv);
  byId("copy").addEventListener("click", copyCommand);
  dark.addEventListener("change", () => { drawLegend(); redraw(); });
  new ResizeObserver(redraw).observe(canvas);
  listenToPointer();
  listenToKeys();
}

buildHeader();
buildBands();
for (const id of ["x", "y"]) options(byId(id));
options(byId("colour"), "one colour");
buildFilters(changed);
buildEffects();
buildProvenance();
byId("thinned").textContent = rows < report.feasible
  ? `Of ${count(report.feasible)} points with results this page holds ${count(rows)}: the front, the front among the `
    + "points of each single level of an axis, and a sample, the same every time. With several filters at once, the "
    + "best point of all may be one that was left out."
  : `This page holds all ${count(rows)} points with results.`;
listen();
reset();
document.documentElement.dataset.ready = String(Math.round(performance.now()));
