// The chosen point: everything it is, and the commands that give it again.
let chosen = -1;
let kneeRow = -1;
for (let row = 0; row < rows; row++) if (is(row, KNEE)) kneeRow = row;

const quoted = (text) => (/^[\w.,:/=+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

function kindOf(row) {
  const words = [];
  if (is(row, KNEE)) words.push("The knee: the point of the front nearest to its ideal.");
  else if (is(row, FRONT)) words.push("On the front: no point beats it in every objective.");
  else if (is(row, GOOD)) words.push("Not on the front: some point beats it in every objective.");
  else words.push("It breaks a constraint or lacks an objective, so it is compared with none.");
  return `${words.join(" ")} Key ${keyOf(row)}.`;
}

function loadOf(row) {
  const load = { ...report.load };
  for (const axis of axes) {
    if (axis.name.startsWith("load.")) load[axis.name.slice(5)] = Number(axis.text(row));
  }
  return load;
}

// Changes of a point as `--set` takes them; what was inactive stays as in the base.
function setsOf(row) {
  return axes.filter((axis) => axis.codes[row] >= 0 && !axis.name.startsWith("load."))
    .map((axis) => ` \\\n    --set ${quoted(`${axis.name}=${axis.text(row)}`)}`).join("");
}

function commandsOf(row) {
  const base = report.base ? quoted(report.base) : "BASE", sets = setsOf(row);
  if (report.fidelity !== "closed-form") return `sim run ${base}${sets}`;
  const load = loadOf(row);
  const traffic = `traffic={closed: {concurrency: ${load.batch}, requests: ${10 * load.batch}, `
    + `input: ${load.input}, output: ${load.output}}}`;
  return `sim explain ${base}${sets} \\\n    --batch ${load.batch} --context `
    + `${load.input + Math.max(Math.floor(load.output / 2), 1)}\n\n`
    + `sim run ${base}${sets} \\\n    --set ${quoted(traffic)}`;
}

function noteOf() {
  const base = report.base ? "" : "BASE is the scenario that the study starts from. ";
  if (report.fidelity !== "closed-form") return `${base}The same numbers come out.`;
  return `${base}The first command shows every operator of its decode step (with several replicas, `
    + "give --batch for one of them). The second simulates the same load request by request: its "
    + "results are near to the closed form here, not equal.";
}

function versus(column, row) {
  const ratio = column.values[row] / column.values[kneeRow];
  return Number.isFinite(ratio) ? `${digits(ratio)} x` : "";
}

function line(column, row) {
  const name = element("th", { scope: "row", title: column.name, textContent: column.label });
  const ends = column.band && [column.band.low[row], column.band.high[row]];
  const band = ends && ends.every(Number.isFinite)
    ? ` (${ends.map((end) => amount(end, column.unit, 3)).join(" to ")})` : "";
  const value = element("td", { className: "number", textContent: column.text(row) + band });
  const made = element("tr", {}, name, value);
  if (!byId("point-versus").hidden) made.append(element("td", { className: "number", textContent: versus(column, row) }));
  return made;
}

function showPoint(row, focus) {
  chosen = row;
  markChosen();
  byId("point").hidden = row < 0;
  if (row < 0) return;
  const told = objectives.map((each) => `${each.label} ${each.text(row)}`).join(", ");
  byId("point-title").textContent = `Point: ${told}`;
  byId("point-kind").textContent = kindOf(row);
  const axisLine = (axis) => element("tr", {}, element("th", { scope: "row", textContent: axis.name }),
    element("td", { textContent: axis.text(row) }));
  byId("point-axes").tBodies[0].replaceChildren(...axes.map(axisLine));
  byId("point-versus").hidden = kneeRow < 0 || row === kneeRow;
  byId("point-results").tBodies[0].replaceChildren(...results.map((each) => line(each, row)));
  byId("point-command").textContent = commandsOf(row);
  byId("point-note").textContent = noteOf();
  byId("copied").textContent = "";
  if (focus) {
    byId("point").focus({ preventScroll: true });
    byId("point").scrollIntoView({ block: "nearest" });
  }
}

async function copyCommand() {
  const code = byId("point-command");
  try {
    await navigator.clipboard.writeText(code.textContent);
    byId("copied").textContent = "copied";
  } catch {
    getSelection().selectAllChildren(code);
    byId("copied").textContent = "selected: copy it with the keyboard";
  }
}
