// The scatter, on a canvas: axes, points, the front, what is under the pointer.
const canvas = byId("scatter"), pen = canvas.getContext("2d");
const view = { x: null, y: null, colour: null, log: { x: false, y: false }, zoom: null, drag: null,
  cursor: -1, scales: null };
let pixels = { x: new Float32Array(0), y: new Float32Array(0) };
// Okabe and Ito's colours, told apart by colour-blind readers; ramps of viridis without the ends
// that vanish on the page.
const NAMED_COLOURS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#B8A800",
  "#7A7A7A"];
const RAMPS = {
  light: ["#440154", "#482173", "#433e85", "#38588c", "#2d708e", "#25858e", "#1e9b8a", "#2ab07f",
    "#52c569", "#86c72f"],
  dark: ["#5a4fa2", "#4a6db0", "#3d85b3", "#329db0", "#2fb3a3", "#45c58b", "#74d55f", "#a5db36",
    "#d0e11c", "#fde725"],
};
const dark = matchMedia("(prefers-color-scheme: dark)");
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// A spread of named columns so that points do not lie on each other; the same for a point each time.
const jitter = (row) => ((Math.imul(row + 1, 2654435761) >>> 0) / 4294967296 - 0.5) * 0.6;
const valueAt = (column, row) => column.values[row] + (column.named ? jitter(row) : 0);
const wide = ([low, high]) => low > 0 && high / low > 30;

function bounds(column, log) {
  if (column.named) return [-0.6, column.levels.length - 0.4 + (column.off ? 1 : 0)];
  let [low, high] = [Infinity, -Infinity];
  for (const row of shown) {
    const value = column.values[row];
    if (!Number.isFinite(value) || (log && value <= 0)) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (low > high) return [log ? 1 : 0, log ? 10 : 1];
  if (low === high) return log ? [low / 2, high * 2] : [low - (Math.abs(low) || 1) / 2, high + (Math.abs(high) || 1) / 2];
  const room = log ? (high / low) ** 0.04 : (high - low) * 0.04;
  return log ? [low / room, high * room] : [low - room, high + room];
}

function makeScale(which, from, to) {
  const column = view[which], log = view.log[which] && !column.named;
  const [low, high] = view.zoom ? view.zoom[which] : bounds(column, log);
  const warp = log ? Math.log10 : (value) => value;
  const start = warp(low), span = warp(high) - start;
  return {
    column, log, low, high, from, to,
    pixel: (value) => from + ((warp(value) - start) / span) * (to - from),
    value: (pixel) => {
      const at = start + ((pixel - from) / (to - from)) * span;
      return log ? 10 ** at : at;
    },
  };
}

function ticks(scale, most) {
  const { column, low, high, log } = scale, found = [];
  if (column.named) {
    const names = column.off ? [...column.levels, INACTIVE] : column.levels;
    const step = Math.ceil(names.length / most);
    names.forEach((text, at) => { if (at % step === 0 && at >= low && at <= high) found.push([at, text]); });
    return found;
  }
  const told = (value, count = 3) => (scaled(column.unit) ? amount(value, column.unit, count) : digits(value, count));
  if (log && high / low > 4) {
    const decades = Math.log10(high / low);
    const steps = decades > 4 ? [1] : decades > 2 ? [1, 3] : [1, 2, 5];
    const every = Math.max(Math.ceil(decades / most), 1);
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += every) {
      for (const step of steps) found.push(step * 10 ** power);
    }
    return found.filter((value) => value >= low && value <= high).map((value) => [value, told(value)]);
  }
  const rough = (high - low) / most, size = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((each) => each * size >= rough) * size;
  const count = Math.max(Math.ceil(Math.log10(Math.max(Math.abs(low), Math.abs(high)) / step)) + 1, 3);
  for (let at = Math.ceil(low / step); at * step <= high; at++) found.push([at * step, told(at * step, count)]);
  return found;
}

function cut(text, room) {
  if (pen.measureText(text).width <= room) return text;
  let kept = text;
  while (kept.length > 1 && pen.measureText(`${kept}…`).width > room) kept = kept.slice(0, -1);
  return `${kept}…`;
}

function axisTitle(column, upright) {
  const way = { min: upright ? "↓ lower is better" : "← lower is better",
    max: upright ? "↑ higher is better" : "higher is better →" }[column.better];
  return way ? `${titled(column)}   ${way}` : titled(column);
}

function drawAxes(width, height) {
  const small = width < 520;
  pen.font = `${small ? 11 : 12}px system-ui, sans-serif`;
  const right = width - 14, bottom = height - 44;
  const y = makeScale("y", bottom, 22), yTicks = ticks(y, 7);
  const widest = Math.max(...yTicks.map(([, text]) => pen.measureText(text).width), 10);
  const left = Math.min(widest, width * 0.25) + 14;
  const x = makeScale("x", left, right), xTicks = ticks(x, small ? 4 : 8);
  pen.strokeStyle = style("--grid");
  pen.fillStyle = style("--soft");
  pen.lineWidth = 1;
  pen.beginPath();
  for (const [value] of xTicks) pen.rect(Math.round(x.pixel(value)) + 0.5, 22, 0, bottom - 22);
  for (const [value] of yTicks) pen.rect(left, Math.round(y.pixel(value)) + 0.5, right - left, 0);
  pen.stroke();
  pen.textAlign = "center";
  let until = -Infinity;
  for (const [value, text] of xTicks) {
    const short = cut(text, x.column.named ? (right - left) / Math.max(xTicks.length, 1) - 6 : 120);
    const half = pen.measureText(short).width / 2, at = nearest(left + half, x.pixel(value), right - half);
    if (at - half < until + 4) continue;
    pen.fillText(short, at, bottom + 16);
    until = at + half;
  }
  pen.textAlign = "right";
  for (const [value, text] of yTicks) pen.fillText(cut(text, left - 10), left - 6, y.pixel(value) + 4);
  pen.fillStyle = style("--text");
  pen.fillText(cut(axisTitle(x.column, false), right - left), right, height - 8);
  pen.textAlign = "left";
  pen.fillText(cut(axisTitle(y.column, true), width - 12), 6, 14);
  return { x, y, left, right, top: 22, bottom };
}

// The colour of each row, as a position in a list of colours.
function colouring(column) {
  const ramp = RAMPS[dark.matches ? "dark" : "light"];
  if (!column) return { colours: [style("--bar")], of: () => 0 };
  if (column.named && column.levels.length + (column.off ? 1 : 0) <= NAMED_COLOURS.length) {
    return { colours: NAMED_COLOURS, of: (row) => column.values[row], named: true };
  }
  const whole = extent(column.values.filter(Number.isFinite)), log = wide(whole) && !column.named;
  const warp = log ? Math.log : (value) => value;
  const low = warp(whole[0]), span = warp(whole[1]) - low || 1;
  const of = (row) => {
    const value = column.values[row];
    return Number.isFinite(value) ? Math.min(Math.floor(((warp(value) - low) / span) * ramp.length), ramp.length - 1) : ramp.length;
  };
  return { colours: [...ramp, style("--soft")], of, whole, log };
}

function place() {
  const { x, y } = view.scales;
  pixels = { x: new Float32Array(shown.length), y: new Float32Array(shown.length) };
  for (let i = 0; i < shown.length; i++) {
    pixels.x[i] = x.pixel(valueAt(x.column, shown[i]));
    pixels.y[i] = y.pixel(valueAt(y.column, shown[i]));
  }
}

function drawPoints(palette) {
  const groups = palette.colours.map(() => []);
  const best = [];
  for (let i = 0; i < shown.length; i++) {
    if (is(shown[i], FRONT)) best.push(i);
    else groups[palette.of(shown[i])].push(i);
  }
  const size = shown.length > 20000 ? 2 : shown.length > 2000 ? 3 : 5;
  pen.globalAlpha = 0.7;
  groups.forEach((group, at) => {
    pen.fillStyle = palette.colours[at];
    for (const i of group) pen.fillRect(pixels.x[i] - size / 2, pixels.y[i] - size / 2, size, size);
  });
  pen.globalAlpha = 1;
  drawLine();
  drawBands(best);
  pen.lineWidth = 1.5;
  pen.strokeStyle = style("--ring");
  const radius = best.length > 300 ? 3 : 5;
  for (const i of best) {
    pen.fillStyle = palette.colours[palette.of(shown[i])];
    pen.beginPath();
    pen.arc(pixels.x[i], pixels.y[i], radius, 0, 7);
    pen.fill();
    pen.stroke();
  }
}

// Error bars of the front, and of the chosen point alone where the front is too large for all.
const MOST_BARS = 60;
function drawBands(best) {
  const own = best.length <= MOST_BARS ? best : [];
  const marked = own.length ? -1 : shown.indexOf(chosen);
  pen.strokeStyle = style("--soft");
  pen.lineWidth = 1;
  pen.beginPath();
  for (const i of marked < 0 ? own : [marked]) {
    for (const [scale, across] of [[view.scales.x, true], [view.scales.y, false]]) {
      const band = scale.column.band;
      if (!band) continue;
      const ends = [band.low[shown[i]], band.high[shown[i]]].map((value) => scale.pixel(value));
      if (!ends.every(Number.isFinite)) continue;
      pen.moveTo(across ? ends[0] : pixels.x[i], across ? pixels.y[i] : ends[0]);
      pen.lineTo(across ? ends[1] : pixels.x[i], across ? pixels.y[i] : ends[1]);
    }
  }
  pen.stroke();
}

// Best of what is shown in x and y alone, from the best x on.
function bestOf() {
  const [x, y] = [view.x, view.y], ways = { min: 1, max: -1 };
  if (!x.better || !y.better || x === y) return [];
  const [a, b] = [ways[x.better], ways[y.better]], found = [];
  const order = [...shown.keys()].filter((i) => Number.isFinite(x.values[shown[i]] + y.values[shown[i]]))
    .sort((i, j) => a * (x.values[shown[i]] - x.values[shown[j]]) || b * (y.values[shown[i]] - y.values[shown[j]]));
  let least = Infinity;
  for (const i of order) {
    const value = b * y.values[shown[i]];
    if (value < least) { least = value; found.push(i); }
  }
  return found.filter((i) => Number.isFinite(pixels.x[i] + pixels.y[i]));
}

function drawLine() {
  const best = bestOf();
  pen.strokeStyle = style("--front");
  pen.lineWidth = 2;
  pen.beginPath();
  best.forEach((i, at) => {
    if (at) pen.lineTo(pixels.x[i], pixels.y[best[at - 1]]);
    pen[at ? "lineTo" : "moveTo"](pixels.x[i], pixels.y[i]);
  });
  pen.stroke();
}

function star(x, y, radius) {
  pen.beginPath();
  for (let at = 0; at < 10; at++) {
    const long = at % 2 ? radius * 0.45 : radius, angle = -Math.PI / 2 + (at * Math.PI) / 5;
    pen.lineTo(x + long * Math.cos(angle), y + long * Math.sin(angle));
  }
  pen.closePath();
}

function drawMarks() {
  const knee = shown.indexOf(kneeRow), picked = shown.indexOf(chosen), at = shown.indexOf(view.cursor);
  pen.strokeStyle = style("--back");
  pen.lineWidth = 1.5;
  if (knee >= 0) {
    pen.fillStyle = style("--mark");
    star(pixels.x[knee], pixels.y[knee], 11);
    pen.fill();
    pen.stroke();
  }
  pen.strokeStyle = style("--ring");
  pen.lineWidth = 2;
  for (const [i, radius] of [[picked, 13], [document.activeElement === canvas ? at : -1, 10]]) {
    if (i < 0) continue;
    pen.beginPath();
    pen.arc(pixels.x[i], pixels.y[i], radius, 0, 7);
    pen.stroke();
  }
}

function drawScatter() {
  const { width, height } = canvas.getBoundingClientRect(), ratio = devicePixelRatio || 1;
  if (!width) return;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  view.scales = drawAxes(width, height);
  place();
  const { left, right, top, bottom } = view.scales;
  pen.save();
  pen.beginPath();
  pen.rect(left - 1, top - 1, right - left + 2, bottom - top + 2);
  pen.clip();
  drawPoints(colouring(view.colour));
  drawMarks();
  if (view.drag?.moved) {
    const { x0, y0, x1, y1 } = view.drag;
    pen.setLineDash([4, 3]);
    pen.strokeRect(x0, y0, x1 - x0, y1 - y0);
  }
  pen.restore();
  if (!shown.length) {
    pen.textAlign = "center";
    pen.fillText("No point is within the filters.", (left + right) / 2, (top + bottom) / 2);
  }
  canvas.setAttribute("aria-label", `${shown.length} points: ${titled(view.y)} over ${titled(view.x)}`);
}

let waiting = 0;
function redraw() {
  cancelAnimationFrame(waiting);
  waiting = requestAnimationFrame(drawScatter);
}

// The row nearest to a place on the canvas, -1 for none near; points of the front before others.
function rowNear(x, y, reach) {
  const { left, right, top, bottom } = view.scales;
  let found = -1, least = reach * reach;
  for (let i = 0; i < shown.length; i++) {
    const dx = pixels.x[i] - x, dy = pixels.y[i] - y;
    if (pixels.x[i] < left - 1 || pixels.x[i] > right + 1 || pixels.y[i] < top - 1 || pixels.y[i] > bottom + 1) continue;
    const far = (dx * dx + dy * dy) * (is(shown[i], FRONT) ? 0.25 : 1);
    if (far < least) [least, found] = [far, shown[i]];
  }
  return found;
}
