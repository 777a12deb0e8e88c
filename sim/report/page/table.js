// The table of the front: sorted by its headers, a page at a time, as CSV.
const PAGE = 50;
let sortedBy = objectives[0], descending = false, pages = 1, tableColumns = [], tableRows = [];
const frontRows = [];
for (let row = 0; row < rows; row++) if (is(row, FRONT)) frontRows.push(row);

function sortRows(chosen, column, reverse) {
  const sign = reverse ? -1 : 1, values = column.values;
  return chosen.sort((a, b) => {
    const one = values[a], other = values[b];
    if (Number.isNaN(one) || Number.isNaN(other)) return Number.isNaN(one) - Number.isNaN(other);
    return sign * (one - other) || a - b;
  });
}

function headerCell(column, changed) {
  const button = element("button", { type: "button", title: column.name, textContent: titled(column) });
  button.addEventListener("click", () => {
    descending = sortedBy === column ? !descending : column.better === "max";
    sortedBy = column;
    changed();
    byId("front-table").querySelector("[aria-sort] button").focus();
  });
  const cell = element("th", { scope: "col", className: column.named ? "" : "number" }, button);
  if (sortedBy === column) {
    cell.setAttribute("aria-sort", descending ? "descending" : "ascending");
    button.append(descending ? " ▼" : " ▲");
  }
  return cell;
}

function bodyRow(row, choose) {
  const name = is(row, KNEE) ? "★ knee" : "show";
  const button = element("button", { type: "button", textContent: name, onclick: () => choose(row, true) });
  button.setAttribute("aria-label", `${is(row, KNEE) ? "Knee: show" : "Show"} point ${keyOf(row)}`);
  const made = element("tr", { className: is(row, KNEE) ? "knee" : "" }, element("td", {}, button));
  made.dataset.row = row;
  for (const column of tableColumns) {
    const text = column.axis ? column.text(row) : digits(column.values[row], 4);
    made.append(element("td", { className: column.named ? "" : "number", textContent: text }));
  }
  return made;
}

function drawTable(choose) {
  const others = byId("all-results").checked ? results.filter((each) => !objectives.includes(each)) : [];
  tableColumns = [...axes, ...objectives, ...others];
  const visible = new Set(shown);
  tableRows = sortRows(frontRows.filter((row) => visible.has(row)), sortedBy, descending);
  const again = () => drawTable(choose);
  byId("front-table").tHead.replaceChildren(element("tr", {}, element("td"),
    ...tableColumns.map((each) => headerCell(each, again))));
  const some = tableRows.slice(0, pages * PAGE);
  byId("front-table").tBodies[0].replaceChildren(...some.map((row) => bodyRow(row, choose)));
  byId("more").hidden = some.length === tableRows.length;
  byId("more").textContent = `Show more (${(tableRows.length - some.length).toLocaleString("en-US")} left)`;
  markChosen();
  const each = report.per.length ? ` for each of ${report.per.join(", ")}` : "";
  const wanted = Object.entries(report.objectives).map(([name, way]) => `${name} (${way})`).join(", ");
  const cut = report.front > frontRows.length ? ` This page holds ${frontRows.length.toLocaleString("en-US")}.` : "";
  byId("front-note").textContent = report.front
    ? `No point beats these in all of ${wanted}${each}: ${plural(report.front, "point")}.${cut} `
      + `Within the filters: ${tableRows.length.toLocaleString("en-US")}.`
    : "No point can be simulated and keeps the constraints.";
}

function markChosen() {
  for (const each of byId("front-table").tBodies[0].rows) {
    each.classList.toggle("chosen", Number(each.dataset.row) === chosen);
  }
}

const keyOf = (row) => keys[row].toString(16).padStart(16, "0");

// A text that a spreadsheet would take for a formula is marked as text.
function csvCell(text) {
  const safe = /^[=+\-@\t\r]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

function csvText() {
  const all = [...axes, ...results];
  const lines = [["key", "knee", ...all.map((each) => each.name)].map(csvCell).join(",")];
  for (const row of tableRows) {
    const cells = [keyOf(row), is(row, KNEE) ? "1" : "0"];
    for (const column of all) {
      const value = column.values[row];
      if (column.axis) cells.push(column.codes[row] < 0 ? "" : column.text(row));
      else cells.push(Number.isNaN(value) ? "" : String(value));
    }
    lines.push(cells.map(csvCell).join(","));
  }
  return lines.join("\n") + "\n";
}

function downloadCsv() {
  const address = URL.createObjectURL(new Blob([csvText()], { type: "text/csv" }));
  const link = element("a", { href: address, download: `${report.name}-front.csv` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}
