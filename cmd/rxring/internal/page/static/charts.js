// Charts by uPlot, whose global name is uPlot.
import { element, rate, svg } from "./util.js";

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();

// hatch returns a canvas pattern of stripes: what is dropped is known without its color.
function hatch(stroke, slope) {
  const tile = document.createElement("canvas");
  tile.width = tile.height = 8;
  const c = tile.getContext("2d");
  c.fillStyle = color("back"); // it covers the parts below
  c.fillRect(0, 0, 8, 8);
  c.strokeStyle = stroke;
  c.lineWidth = 2.5;
  for (const x of [-8, 0, 8]) {
    c.moveTo(x, slope > 0 ? 8 : 0);
    c.lineTo(x + 8, slope > 0 ? 0 : 8);
  }
  c.stroke();
  return c.createPattern(tile, "repeat");
}

// parts are the series of a reader's area, from the bottom up.
export const parts = [
  { name: "captured", color: "captured", of: (r) => r.captured },
  { name: "filtered", color: "filtered", of: (r) => r.filtered },
  { name: "ring full", color: "full", slope: 1, of: (r) => r.dropped?.ring_full ?? 0 },
  { name: "before the device", color: "before", slope: -1, of: (r) => r.dropped?.before_device ?? 0 },
  { name: "throttled", color: "throttled", slope: 1, of: (r) => r.dropped?.throttled ?? 0 },
  { name: "other drops", color: "other", slope: -1, of: (r) => ["slot_owned", "slot_releasing", "no_room", "malformed"].reduce((n, why) => n + (r.dropped?.[why] ?? 0), 0) },
];

const axis = (more) => ({ stroke: () => color("faint"), font: "11px system-ui", grid: { stroke: () => color("line"), width: 0.5 }, ticks: { show: false }, ...more });
const compact = new Intl.NumberFormat("en-US", { notation: "compact" });

// redraws has a function for each chart that is in the page.
const redraws = new Set();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { for (const redraw of redraws) redraw(); });

// chart draws series of five minutes. show(times, ...series) replaces
// them. A chart that is not in view is not drawn. end() is called when its element was removed.
function chart(height, series) {
  const box = element("div", { class: "chart", role: "img" });
  let plot, last, inView = false;
  const options = (width) => ({
    width, height, pxAlign: true,
    cursor: { show: false }, legend: { show: false }, select: { show: false },
    padding: [6, 4, 0, 0],
    scales: { x: { time: true, range: (u, low, high) => [high - 300, high] }, y: { range: (u, low, high) => [0, Math.max(high, 1) * 1.05] } },
    axes: [axis({ size: 20, space: 60, incrs: [60, 120, 300], values: (u, all) => all.map((t) => new Date(t * 1000).toTimeString().slice(0, 5)) }), axis({ size: 42, space: 28, values: (u, all) => all.map((v) => compact.format(v)) })],
    series: [{}, ...series()],
  });
  const draw = () => {
    if (!last || !inView || box.clientWidth === 0) return;
    if (!plot) plot = new uPlot(options(box.clientWidth), last, box);
    else plot.setData(last);
  };
  const resized = new ResizeObserver(() => {
    if (plot && box.clientWidth > 0) plot.setSize({ width: box.clientWidth, height });
    draw();
  });
  const seen = new IntersectionObserver((entries) => {
    inView = entries.at(-1).isIntersecting;
    draw();
  });
  const destroy = () => {
    plot?.destroy();
    plot = undefined;
  };
  const redraw = () => { destroy(); draw(); };
  redraws.add(redraw);
  resized.observe(box);
  seen.observe(box);
  const end = () => {
    resized.disconnect();
    seen.disconnect();
    redraws.delete(redraw);
    destroy();
  };
  return { box, end, show(data, label) { last = data; box.setAttribute("aria-label", label); draw(); } };
}

const points = { show: false };

export function sparkline() {
  const c = chart(64, () => [{ stroke: color("captured"), width: 1.5, fill: color("captured") + "33", points }]);
  return { box: c.box, end: c.end, show: (times, values) => c.show([times, values], "offered, five minutes: now " + rate(values.at(-1) ?? 0)) };
}

// area draws what became of a reader's packets, each part on top of those before it.
export function area() {
  // uPlot draws in order: the highest sum first, so that the lower ones cover it.
  const c = chart(110, () => parts.toReversed().map((p) => ({
    stroke: color(p.color), width: 1, points,
    fill: p.slope ? hatch(color(p.color), p.slope) : color(p.color),
  })));
  return {
    box: c.box, end: c.end,
    show(times, samples) {
      const sums = [];
      let below = times.map(() => 0);
      for (const p of parts) {
        below = below.map((n, i) => n + (samples[i] ? p.of(samples[i]) : 0));
        sums.unshift(below);
      }
      c.show([times, ...sums], "packets of five minutes: captured, filtered and dropped");
    },
  };
}

// swatch is a part's sign in the legend, as its area looks.
export function swatch(part) {
  const s = svg("svg", { viewBox: "0 0 14 12", "aria-hidden": "true" });
  const fill = `var(--${part.color})`;
  if (!part.slope) s.append(svg("rect", { width: 14, height: 12, fill }));
  else for (const x of [-6, 0, 6, 12]) s.append(svg("line", { x1: x, x2: x + 8, y1: part.slope > 0 ? 12 : 0, y2: part.slope > 0 ? 0 : 12, stroke: fill, "stroke-width": 2 }));
  return s;
}
