import { area, parts, sparkline, swatch } from "./charts.js";
import { bytes, count, element, events, quote, rate, read, svg } from "./util.js";

const status = document.getElementById("status");
const devices = document.getElementById("devices");
const readers = document.getElementById("readers");

const historyLength = 300;
let history = []; // samples
const cards = new Map(); // by device: { root, ... }
const articles = new Map(); // by a reader's key

// keep shows one child of root for each key, in order. Those of other keys are removed.
function keep(root, shown, keys) {
  for (const [key, view] of shown) {
    if (!keys.includes(key)) {
      view.root.remove();
      view.chart.end();
      shown.delete(key);
    }
  }
  keys.forEach((key, i) => {
    const view = shown.get(key);
    if (root.children[i] !== view.root) root.insertBefore(view.root, root.children[i] ?? null);
  });
}

const set = (e, ...children) => e.replaceChildren(...children.filter((c) => c !== undefined && c !== ""));
const number = (label, text) => element("span", { class: "num" }, text + " ", element("span", { class: "faint" }, label));

// newCard keeps the elements that may have the focus, which one that is replaced loses.
function newCard() {
  const view = { root: element("article", { class: "card" }), name: element("h3"), state: element("span"), link: element("a", { class: "end" }, "Packets"), head: element("div"), chart: sparkline() };
  view.root.append(element("div", { class: "line" }, view.name, view.state, view.link), view.head, view.chart.box);
  return view;
}

// isOf reports whether a socket reads a device: of a fleet, its device is HOST/DEVICE, which is the
// source of the device here.
const isOf = (s, d) => s.device === "" || s.device === d.name || (s.session && s.device === d.source);
const rateOf = (sample, d) => sample?.devices[d.name] ?? sample?.devices[d.source] ?? 0;

function showDevice(view, d, sockets) {
  const mine = sockets.filter((s) => isOf(s, d));
  const counters = Object.entries(d.counters ?? {}).map(([name, n]) => number(name, count(n)));
  view.name.textContent = d.name;
  view.state.textContent = d.up ? "▲ up" : "▽ down";
  view.link.href = "/packets?device=" + encodeURIComponent(d.name);
  set(view.head,
    element("div", { class: "line faint" }, element("span", {}, d.type), element("span", {}, "MTU " + d.mtu), d.source ? element("span", {}, d.source) : ""),
    element("div", { class: "line faint" }, ...[d.address, ...(d.addresses ?? [])].filter(Boolean).map((a) => element("span", {}, a))),
    element("div", { class: "line" }, mine.length === 0
      ? element("span", {}, "no reader: packets are not counted")
      : number("offered", rate(rateOf(history.at(-1), d))), mine.length > 0 ? number(mine.length === 1 ? "reader" : "readers", count(mine.length)) : "", ...counters));
  view.chart.show(history.map((s) => s.t), history.map((s) => rateOf(s, d)));
}

// strip draws a ring's slots: free ones low, those being filled of half height, held ones full.
const shapes = { ".": ["free", 16, 4], w: ["writing", 10, 10], R: ["held", 0, 20] };

function strip(ring) {
  const n = ring.states.length;
  const s = svg("svg", { class: "strip", viewBox: `0 0 ${n} 20`, preserveAspectRatio: "none", role: "img" });
  let held = 0, writing = 0;
  for (let i = 0; i < n;) {
    let end = i + 1;
    while (end < n && ring.states[end] === ring.states[i]) end++;
    const [name, y, height] = shapes[ring.states[i]] ?? shapes["."];
    if (name === "held") held += end - i;
    if (name === "writing") writing += end - i;
    s.append(svg("rect", { class: name, x: i, y, width: end - i, height }));
    i = end;
  }
  s.append(svg("rect", { class: "head", x: ring.head, y: 0, width: n / 250, height: 20 }));
  const what = ring.version === "V3" ? "blocks" : "slots";
  const percent = n ? Math.round((100 * held) / n) : 0;
  const text = `${ring.version} ring, ${count(ring.slots)} ${what} of ${bytes(ring.slot_bytes)}: ${percent} % held by the reader${writing ? ", some being filled" : ""}`;
  s.setAttribute("aria-label", text);
  return [s, element("div", { class: "faint" }, text)];
}

// readersOf names the readers of a fleet's session.
function readersOf(session) {
  const names = (session.readers ?? []).map((r) => r.user);
  return names.length > 0 ? names.join(", ") : "a reader elsewhere";
}

function showHosts(hosts) {
  document.getElementById("hosts-section").hidden = !hosts;
  set(document.getElementById("hosts"), ...(hosts ?? []).map((h) => element("p", {}, element("strong", {}, h.name), h.error ? " ⚠ does not answer: " + h.error : " ✓ answers")));
}

function newReader() {
  const view = { root: element("article", { class: "reader" }), head: element("div"), ring: element("div"), losses: element("ul", { class: "losses" }), chart: area(), legend: element("ul", { class: "legend" }) };
  view.root.append(view.head, view.losses, view.chart.box, view.legend, view.ring);
  return view;
}

function showReader(view, s) {
  const r = s.rates;
  const name = s.session ? readersOf(s.session) : s.page ? "a page of rxring, such as this one" : s.program || "a program";
  const losing = s.losses.filter((l) => l.rate > 0);
  const dropped = Object.values(s.dropped).reduce((a, b) => a + b, 0);
  set(view.head,
    element("div", { class: "line" },
      element("h3", {}, name), element("span", { class: "faint" }, s.session ? `session of a fleet, class ${s.session.class || "default"}` : `pid ${s.peer.pid}, user ${s.user || s.peer.uid}`),
      element("span", {}, "on " + (s.device || "all devices")),
      element("span", { class: "end" }, losing.length > 0 ? "⚠ losing packets" : dropped > 0 ? "△ has lost packets" : "✓ no loss")),
    element("div", { class: "line" },
      ...(r ? [number("offered", rate(r.offered)), number("captured", rate(r.captured)), number("filtered", rate(r.filtered)), number("dropped", rate(Object.values(r.dropped).reduce((a, b) => a + b, 0)))] : []),
      number("offered in all", count(s.offered)), number("captured in all", count(s.captured)), number("filtered in all", count(s.filtered)), number("dropped in all", count(dropped)),
      element("span", { class: "faint" }, s.filter > 0 ? `filter of ${s.filter} instruction${s.filter === 1 ? "" : "s"}` : "no filter")));
  view.root.classList.toggle("losing", losing.length > 0);
  view.losses.hidden = s.losses.length === 0;
  view.losses.classList.toggle("past", losing.length === 0);
  set(view.losses, ...s.losses.map((l) => element("li", {},
    element("strong", {}, `${count(l.packets)} dropped${l.rate > 0 ? ", now " + rate(l.rate) : ""}: ${l.text}.`), " " + l.advice)));
  const samples = history.map((h) => h.sockets[s.key]);
  view.chart.show(history.map((h) => h.t), samples);
  const now = samples.at(-1);
  view.chart.box.hidden = !now; // there are too many sockets, or no rates yet
  set(view.legend, ...parts.filter((p) => p.name === "captured" || p.name === "filtered" || samples.some((v) => v && p.of(v) > 0))
    .map((p) => element("li", {}, swatch(p), p.name + " " + rate(now ? p.of(now) : 0))));
  set(view.ring, ...(s.ring ? strip(s.ring) : [element("div", { class: "faint" }, s.queue > 0 ? "no ring: packets are queued" : "no ring")]));
}

function show(snapshot) {
  if (snapshot.error) {
    status.textContent = "no status (trying again): " + snapshot.error;
    return;
  }
  showHosts(snapshot.hosts);
  status.textContent = "live, " + new Date(snapshot.time).toLocaleTimeString();
  history.push(snapshot.sample);
  history = history.slice(-historyLength);
  for (const d of snapshot.devices) if (!cards.has(d.name)) cards.set(d.name, newCard());
  keep(devices, cards, snapshot.devices.map((d) => d.name));
  for (const d of snapshot.devices) showDevice(cards.get(d.name), d, snapshot.sockets);

  const sockets = snapshot.sockets;
  for (const s of sockets) if (!articles.has(s.key)) articles.set(s.key, newReader());
  readers.querySelector(".empty")?.remove();
  keep(readers, articles, sockets.map((s) => s.key));
  for (const s of sockets) showReader(articles.get(s.key), s);
  if (sockets.length === 0) {
    const device = snapshot.devices.find((d) => d.type !== "loopback")?.name ?? "DEVICE";
    readers.append(element("p", { class: "empty" }, "No readers. Try: ", element("code", {}, `rxring run ${read} -- tcpdump -n -i ${quote(device)}`)));
  }
}

events("/overview/events", {
  history: (samples) => { history = samples ?? []; },
  snapshot: show,
  missed: (n) => { status.textContent += `, ${n} updates missed`; },
  refused: (why) => { status.textContent = why.text; },
}, (text) => { status.textContent = text; });
