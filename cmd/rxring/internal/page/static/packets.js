import { showPacket } from "./detail.js";
import { Table, mostRows } from "./table.js";
import { count, element, events, quote, read } from "./util.js";

const get = (id) => document.getElementById(id);
const status = get("status"), device = get("device"), filter = get("filter"), error = get("filter-error");
const pause = get("pause"), follow = get("follow"), detail = get("detail");
const query = new URLSearchParams(location.search);

let source, stream, paused = false;
const wanted = { device: query.get("device") ?? "", filter: query.get("filter") ?? "" };
filter.value = wanted.filter;

const table = new Table(get("table"), get("rows"), openPacket);
table.onfollow = (on) => follow.setAttribute("aria-pressed", on);

function connect() {
  source?.close();
  stream = undefined;
  get("kept").removeAttribute("href"); // there is no table yet
  setPaused(false);
  fail("", "");
  closePacket();
  table.clear();
  table.follow(true);
  get("counts").textContent = "";
  const q = new URLSearchParams(wanted);
  history.replaceState(null, "", "/packets?" + q);
  showCommands();
  source = events("/packets/events?" + q, {
    devices: showDevices,
    table: (id) => { stream = id; get("kept").href = `/packets/${id}/kept`; table.clear(); closePacket(); setPaused(false); },
    rows: (rows) => table.add(rows),
    counts: showCounts,
    refused: refused,
  }, (text) => { status.textContent = text; });
}

function showDevices(names) {
  device.replaceChildren(...names.map((n) => element("option", { value: n, selected: n === wanted.device }, n)));
}

function refused(why) {
  if (why.field === "device" && wanted.device === "" && device.options.length > 0) {
    const first = [...device.options].find((o) => o.value !== "lo") ?? device.options[0];
    wanted.device = device.value = first.value;
    connect();
    return;
  }
  status.textContent = "stopped";
  fail(why.field ?? "", why.text);
}

// fail shows an error beside the filter, or removes it.
function fail(field, text) {
  error.textContent = text;
  filter.setAttribute("aria-invalid", field === "filter");
}

function showCounts(c) {
  const said = [`${count(c.received)} packets`, `${count(c.shown)} shown, the last ${count(mostRows)} of them here`];
  if (c.paused) said.push(`${count(c.paused)} passed while paused`);
  const lost = [];
  if (c.skipped) lost.push(`${count(c.skipped)} not shown: more than 10,000 a second`);
  if (c.dropped) lost.push(`${count(c.dropped)} dropped, as the ring of this page was full: use a filter`);
  if (c.lost) lost.push(`${count(c.lost)} lost before the device`);
  get("counts").replaceChildren(said.join(", "), lost.length ? ". " : "", element("span", { class: "loss" }, lost.length ? "⚠ " + lost.join(", ") : ""));
}

function setPaused(on) {
  paused = on;
  pause.setAttribute("aria-pressed", on);
  pause.textContent = on ? "Paused" : "Pause";
}

async function togglePause() {
  if (!stream) return;
  const on = !paused;
  const answer = await fetch(`/packets/${stream}/pause?on=${on}`, { method: "POST" });
  if (answer.ok) setPaused(on);
  else status.textContent = await answer.text();
}

async function openPacket(number) {
  const answer = await fetch(`/packets/${stream}/${number}`);
  detail.hidden = false;
  if (answer.ok) showPacket(await answer.json());
  else showPacket({ number, error: await answer.text() });
}

function closePacket() { detail.hidden = true; }

function showCommands() {
  const name = quote(wanted.device || "DEVICE"), expression = wanted.filter.trim() ? " " + quote(wanted.filter.trim()) : "";
  const commands = [
    ["The same in tcpdump:", `rxring run ${read} -- tcpdump -n -i ${name}${expression}`],
    ["In Wireshark, by PCAP-over-IP: here, then where Wireshark is", `rxring dump ${read} -i ${name} -w tcp:127.0.0.1:57012${expression}`],
    ["", "wireshark -k -i TCP@127.0.0.1:57012"],
    ["Into a file:", `rxring dump ${read} -i ${name} -w packets.pcapng${expression}`],
  ];
  get("commands").replaceChildren(...commands.flatMap(([what, command]) => [
    element("dt", {}, what),
    element("dd", {}, element("code", {}, command), element("button", { type: "button", onclick: (e) => copy(command, e.target) }, "Copy")),
  ]));
}

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "The browser refuses: select the text";
  }
}

get("what").addEventListener("submit", (e) => {
  e.preventDefault();
  wanted.device = device.value || wanted.device;
  wanted.filter = filter.value;
  connect();
});
device.addEventListener("change", () => get("what").requestSubmit());
pause.addEventListener("click", togglePause);
follow.addEventListener("click", () => table.follow(!table.following));
get("close").addEventListener("click", () => { closePacket(); get("table").focus(); });
get("take").addEventListener("submit", (e) => {
  e.preventDefault();
  const q = new URLSearchParams({ ...wanted, [get("unit").value]: get("amount").value });
  element("a", { href: "/take?" + q, download: "" }).click();
});
document.addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.altKey || e.metaKey || e.target.matches("input, select")) return;
  if (e.key === "p") togglePause();
  else if (e.key === "f") table.follow(!table.following);
  else if (e.key === "/") filter.focus();
  else if (e.key === "Escape") { closePacket(); get("table").focus(); }
  else return;
  e.preventDefault();
});

connect();
