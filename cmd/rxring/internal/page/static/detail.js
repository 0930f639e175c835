// A packet that was opened: its layers, and beside them its bytes.
import { clock } from "./table.js";
import { count, element } from "./util.js";

const get = (id) => document.getElementById(id);

export function showPacket(p) {
  const title = get("detail-title");
  if (p.error) {
    title.textContent = "Packet";
    get("layers").replaceChildren(element("p", { class: "error" }, p.error));
    get("bytes").replaceChildren();
    return;
  }
  const cut = p.captured < p.length ? `, of which ${count(p.captured)} were captured for this page` : "";
  title.textContent = `Packet ${count(p.number + 1)}, ${clock(p.time)}, ${count(p.length)} bytes${cut}`;
  const shown = p.layers.map((l, i) => {
    const button = element("button", { type: "button", "aria-pressed": "false" }, `${l.name}, bytes ${l.start} to ${l.start + l.length - 1}`);
    button.addEventListener("click", () => {
      const on = button.getAttribute("aria-pressed") !== "true";
      for (const other of shown) other.firstChild.setAttribute("aria-pressed", "false");
      button.setAttribute("aria-pressed", on);
      showBytes(p.bytes, on ? p.layers[i] : undefined);
    });
    const fields = element("dl", {}, ...l.fields.flatMap((f) => [element("dt", {}, f.name), element("dd", {}, f.value)]));
    return element("div", { class: "layer" }, button, fields);
  });
  get("layers").replaceChildren(...(p.comment ? [element("p", {}, "Comment: " + p.comment)] : []), element("p", { class: "faint" }, p.link), ...shown);
  showBytes(p.bytes);
}

const width = 16;

// showBytes shows lines of offset, bytes and characters. Those of a layer are marked, and in view.
function showBytes(hex, layer) {
  const lines = [];
  const length = hex.length / 2;
  const marked = (i) => layer && i >= layer.start && i < layer.start + layer.length;
  for (let at = 0; at < length; at += width) {
    lines.push(at.toString(16).padStart(4, "0") + "  ");
    const end = Math.min(at + width, length);
    append(lines, at, end, marked, (i) => hex.slice(2 * i, 2 * i + 2) + (i % 8 === 7 ? "  " : " "));
    lines.push(" ".repeat((at + width - end) * 3 + (end - at < 8 ? 2 : end < at + width ? 1 : 0)));
    append(lines, at, end, marked, (i) => {
      const c = parseInt(hex.slice(2 * i, 2 * i + 2), 16);
      return c >= 32 && c < 127 ? String.fromCharCode(c) : ".";
    });
    lines.push("\n");
  }
  get("bytes").replaceChildren(...lines);
  get("bytes").querySelector("mark")?.scrollIntoView({ block: "nearest" });
}

// append appends the texts of bytes from at to end, those that are marked in an element.
function append(lines, at, end, marked, text) {
  for (let i = at; i < end;) {
    const on = marked(i);
    let run = "";
    for (; i < end && marked(i) === on; i++) run += text(i);
    lines.push(on ? element("mark", {}, run) : run);
  }
}
