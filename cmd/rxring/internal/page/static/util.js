// element makes an element. Text is set as text, never as markup.
export function element(tag, attributes = {}, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) e.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== false) e.setAttribute(name, value);
  }
  e.append(...children.filter((c) => c !== undefined && c !== ""));
  return e;
}

const svgNamespace = "http://www.w3.org/2000/svg";

export function svg(tag, attributes = {}, ...children) {
  const e = document.createElementNS(svgNamespace, tag);
  for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
  e.append(...children);
  return e;
}

const integers = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en-US", { maximumFractionDigits: 1 });

export function count(n) { return integers.format(n); }
export function rate(n) { return (n > 0 && n < 10 ? tenths : integers).format(n) + "/s"; }

export function bytes(n) {
  for (const unit of ["B", "KiB", "MiB"]) {
    if (n < 1024) return tenths.format(n) + " " + unit;
    n /= 1024;
  }
  return tenths.format(n) + " GiB";
}

// quote quotes a word for a shell.
export function quote(word) {
  return /^[A-Za-z0-9_.,:\/@%+=-]+$/.test(word) ? word : "'" + word.replaceAll("'", "'\\''") + "'";
}

// events opens a stream of events. handlers are by event; status(text) shows the connection's state.
// The browser connects again after an error, but not after a refusal.
export function events(url, handlers, status) {
  const source = new EventSource(url);
  source.onopen = () => status("live");
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) status("closed: rxring refuses this page or has ended. Open the last URL that it has printed.");
    else status("no connection, trying again");
  };
  for (const [name, handler] of Object.entries(handlers)) {
    source.addEventListener(name, (e) => {
      if (name === "refused") source.close();
      handler(JSON.parse(e.data));
    });
  }
  return source;
}

// read is the option by which commands read what the page does.
const commands = await fetch("/commands").then((r) => r.json()).catch(() => ({ option: "--at", value: "SOCKET" }));
export const read = `${commands.option} ${quote(commands.value)}`;
