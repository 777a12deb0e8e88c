// Columns of points: decoded arrays, numbers for drawing, text for reading.
const report = JSON.parse(document.getElementById("report-data").textContent);
const GOOD = 1, FRONT = 2, KNEE = 4;
const INACTIVE = "(inactive)";
const byId = (id) => document.getElementById(id);

function unpacked(text, Kind) {
  const raw = atob(text), bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return new Kind(bytes.buffer);
}

const rows = report.rows;
const flags = unpacked(report.flags, Uint8Array);
const keys = unpacked(report.keys, BigUint64Array);
const is = (row, bit) => (flags[row] & bit) !== 0;

// A column has: name, label, unit, better, values (numbers to draw), text(row), and levels if any.
function axisColumn(axis) {
  const codes = unpacked(axis.data, Int32Array), count = axis.levels.length;
  const values = new Float64Array(rows);
  for (let i = 0; i < rows; i++) {
    if (axis.numbers) values[i] = codes[i] < 0 ? NaN : axis.numbers[codes[i]];
    else values[i] = codes[i] < 0 ? count : codes[i];
  }
  const text = (row) => (codes[row] < 0 ? INACTIVE : axis.levels[codes[row]]);
  const off = codes.includes(-1);
  return { ...axis, better: "", axis: true, named: !axis.numbers, codes, values, text, off };
}

function resultColumn(result) {
  const values = unpacked(result.data, Float64Array);
  const band = result.low ? { low: unpacked(result.low, Float32Array), high: unpacked(result.high, Float32Array) } : null;
  return { ...result, axis: false, named: false, values, band, text: (row) => amount(values[row], result.unit) };
}

const axes = report.axes.map(axisColumn);
const results = report.results.map(resultColumn);
const columns = [...axes, ...results];
const columnOf = (name) => columns.find((each) => each.name === name);
const titled = (column) => (column.unit ? `${column.label} (${column.unit})` : column.label);
const objectives = Object.keys(report.objectives).map(columnOf);

function extent(values, chosen) {
  let low = Infinity, high = -Infinity;
  const count = chosen ? chosen.length : values.length;
  for (let i = 0; i < count; i++) {
    const value = values[chosen ? chosen[i] : i];
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}

// Numbers for people: as in the tables of the command line.
function digits(value, count = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return "-";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e15 || size < 1e-6) return value.toExponential(count - 1);
  const places = Math.max(count - 1 - Math.floor(Math.log10(size)), 0);
  return value.toLocaleString("en-US", { maximumFractionDigits: Math.min(places, 12) });
}

const PREFIXES = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""], [1e-3, "m"], [1e-6, "µ"],
  [1e-9, "n"]];
const scaled = (unit) => /^[sJW](\/|$)/.test(unit);

function prefixed(value) {
  return PREFIXES.find(([size]) => Math.abs(value) >= size * 0.9995) ?? PREFIXES[PREFIXES.length - 1];
}

function amount(value, unit, count = 4) {
  if (value === null || Number.isNaN(value)) return "-";
  if (!scaled(unit) || value === 0) return `${digits(value, count)} ${unit}`.trim();
  const [size, prefix] = unit[0] === "s" && Math.abs(value) >= 1 ? [1, ""] : prefixed(value);
  return `${digits(value / size, count)} ${prefix}${unit}`;
}

// Elements: text only ever goes in as text.
function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

const plural = (number, noun) => `${number.toLocaleString("en-US")} ${noun}${number === 1 ? "" : "s"}`;
const nearest = (low, value, high) => Math.min(Math.max(value, low), high);
