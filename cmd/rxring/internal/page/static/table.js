// Table shows up to 10,000 packets. Only rows that are visible have elements.
import { element } from "./util.js";

const rowHeight = 22;
export const mostRows = 10000;
const flows = 8; // classes f0 to f7
const letters = "abcdefghijkmnpqrstuvwxyz23456789";

export class Table {
  constructor(box, rows, open) {
    this.box = box;
    this.body = rows;
    this.open = open; // called with a packet's number
    this.packets = [];
    this.removed = 0; // packets before the first
    this.selected = undefined; // a packet's number
    this.following = true;
    this.pool = [];
    this.planned = false;
    box.addEventListener("scroll", () => {
      const atEnd = box.scrollTop + box.clientHeight >= box.scrollHeight - rowHeight;
      if (this.following && !atEnd && !this.moving) this.follow(false);
      this.moving = false;
      this.plan();
    });
    new ResizeObserver(() => this.plan()).observe(box);
    box.addEventListener("keydown", (e) => this.key(e));
    rows.addEventListener("click", (e) => {
      const row = e.target.closest(".row");
      if (row) this.select(Number(row.dataset.number), true);
    });
  }

  clear() {
    this.packets = [];
    this.removed = 0;
    this.selected = undefined;
    this.plan();
  }

  add(packets) {
    this.packets.push(...packets);
    const over = this.packets.length - mostRows;
    if (over > 0) {
      this.packets.splice(0, over);
      this.removed += over;
      if (!this.following) this.box.scrollTop -= over * rowHeight; // the same packets stay in view
    }
    this.plan();
  }

  follow(on) {
    this.following = on;
    this.onfollow?.(on);
    this.plan();
  }

  select(number, open) {
    this.selected = number;
    this.follow(false);
    const at = this.packets.findIndex((p) => p.n === number);
    const head = this.body.offsetTop;
    const top = at * rowHeight;
    if (top < this.box.scrollTop) this.box.scrollTop = top;
    if (top + rowHeight + head > this.box.scrollTop + this.box.clientHeight) this.box.scrollTop = top + rowHeight + head - this.box.clientHeight;
    this.plan();
    if (open) this.open(number);
  }

  key(e) {
    const page = Math.max(1, Math.floor(this.box.clientHeight / rowHeight) - 2);
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity }[e.key];
    if (e.key === "Enter" && this.selected !== undefined) this.open(this.selected);
    else if (step !== undefined && this.packets.length > 0) {
      const at = this.packets.findIndex((p) => p.n === this.selected);
      const from = at < 0 ? this.packets.length - 1 : at;
      this.select(this.packets[Math.min(Math.max(from + (at < 0 ? 0 : step), 0), this.packets.length - 1)].n, false);
    } else return;
    e.preventDefault();
  }

  plan() {
    if (this.planned) return;
    this.planned = true;
    requestAnimationFrame(() => {
      this.planned = false;
      this.draw();
    });
  }

  draw() {
    this.body.style.height = this.packets.length * rowHeight + "px";
    this.box.setAttribute("aria-rowcount", this.packets.length + 1);
    if (this.following) {
      const end = this.box.scrollHeight - this.box.clientHeight;
      if (Math.abs(this.box.scrollTop - end) > 1) {
        this.moving = true;
        this.box.scrollTop = end;
      }
    }
    const first = Math.max(0, Math.floor(this.box.scrollTop / rowHeight) - 2);
    const n = Math.min(this.packets.length - first, Math.ceil(this.box.clientHeight / rowHeight) + 4);
    while (this.pool.length < n) this.pool.push(this.newRow());
    this.pool.forEach((row, i) => {
      row.hidden = i >= n;
      if (i < n) this.fill(row, first + i);
    });
  }

  newRow() {
    const row = element("div", { class: "row", role: "row" });
    for (let i = 0; i < 7; i++) row.append(element("span", { role: "gridcell" }));
    this.body.append(row);
    return row;
  }

  fill(row, at) {
    const p = this.packets[at];
    row.style.transform = `translateY(${at * rowHeight}px)`;
    row.setAttribute("aria-selected", p.n === this.selected);
    if (row.dataset.number === String(p.n) && row.packet === p) return;
    row.packet = p;
    row.dataset.number = p.n;
    row.id = "packet-" + p.n;
    row.setAttribute("aria-rowindex", at + 2);
    const flow = flowOf(p);
    const cells = row.children;
    const texts = [clock(p.t), letters[flow % letters.length] + letters[(flow >>> 5) % letters.length], p.From, p.To, p.Protocol, p.l, (p.o ? "out " : "in  ") + p.Info];
    texts.forEach((text, i) => { cells[i].textContent = text; });
    cells[1].className = "flow f" + (flow % flows);
    cells[1].title = "flow";
  }
}

// flowOf returns a number that both directions of a flow have.
function flowOf(p) {
  const [a, b] = p.From < p.To ? [p.From, p.To] : [p.To, p.From];
  let h = 2166136261;
  for (const c of a + " " + b + p.Protocol) h = Math.imul(h ^ c.charCodeAt(0), 16777619);
  return (h ^ (h >>> 15)) >>> 0;
}

export function clock(micros) {
  const d = new Date(Math.floor(micros / 1000));
  const two = (n) => String(n).padStart(2, "0");
  return `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}.${String(micros % 1000000).padStart(6, "0")}`;
}
