// A browser that looks at the page: TestPageInABrowser starts it, with a JSON of its settings.
// It prints "ready NAME" and reads a line where the test has to do something first.
import assert from "node:assert/strict";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const o = JSON.parse(process.argv[2]);
const orders = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const ready = async (what) => {
  console.log("ready " + what);
  await orders.next();
};

const browser = await chromium.launch({ executablePath: o.chromium, args: ["--no-sandbox"] });
const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, acceptDownloads: true, colorScheme: "light" });
const page = await context.newPage();
const wrong = [];
page.on("pageerror", (e) => wrong.push("error: " + e.message));
page.on("console", (m) => { if (m.type() === "error" || m.type() === "warning") wrong.push(m.text()); });
page.on("request", (r) => { if (!r.url().startsWith(new URL(o.url).origin) && !r.url().startsWith("data:")) wrong.push("request to " + r.url()); });
const screenshot = async (name) => {
  for (const scheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme: scheme });
    await page.waitForTimeout(400);
    await page.screenshot({ path: `${o.shots}/page-${name}-${scheme}.png` });
  }
  await page.emulateMedia({ colorScheme: "light" });
};
const base = new URL(o.url).origin;

try {
  // The printed URL leads to the overview, without the token.
  await page.goto(o.url);
  await page.waitForURL(base + "/");
  await page.getByRole("heading", { name: "net0", exact: true }).waitFor();
  await page.getByText("▲ up").first().waitFor();

  // Readers of other processes, by their programs' names, which are no markup.
  await ready("readers");
  await page.getByRole("heading", { name: "<u>sniff", exact: true }).waitFor();
  assert.equal(await page.locator("u").count(), 0, "a program's name is markup");

  // A reader that does not read loses packets, with the reason and advice.
  await ready("slow");
  const slow = page.locator(".reader.losing").first();
  await slow.waitFor();
  const text = await slow.innerText();
  for (const want of ["losing packets", "ring full", "tcpdump -B", "% held by the reader"]) assert.ok(text.includes(want), `${want}: ${text}`);
  await page.waitForTimeout(o.chartTime);
  await page.setViewportSize({ width: 1280, height: 1080 });
  await screenshot("overview");

  // On a phone nothing is wider than the screen.
  await page.setViewportSize({ width: 390, height: 800 });
  await page.waitForTimeout(300);
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "the overview is wider than a phone");
  await page.setViewportSize({ width: 1280, height: 900 });

  // The packets of a device, by keyboard alone. The focus stays while the overview changes.
  await page.getByRole("link", { name: "Packets" }).last().focus();
  await page.waitForTimeout(1500);
  await page.keyboard.press("Enter");
  await page.locator("#rows .row").first().waitFor();
  assert.equal(await page.inputValue("#device"), "net0");
  await page.keyboard.press("/");
  await page.keyboard.type("tcp prot 80");
  await page.keyboard.press("Enter");
  await page.getByText(`filter "tcp prot 80": can't parse filter expression: syntax error`).waitFor();
  assert.equal(await page.getAttribute("#filter", "aria-invalid"), "true");
  await page.keyboard.press("Control+a");
  await page.keyboard.type("udp port 53");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.querySelectorAll("#rows .row:not([hidden])").length > 5);
  assert.equal(await page.getAttribute("#filter", "aria-invalid"), "false");
  const protocols = await page.locator("#rows .row:visible > span:nth-child(5)").allTextContents();
  assert.ok(protocols.length > 5 && protocols.every((p) => p === "UDP"), "protocols: " + protocols);

  // Paused, the table stays as it is, and counts.
  await page.locator("#table").focus();
  await page.keyboard.press("p");
  await page.getByRole("button", { name: "Paused" }).waitFor();
  await page.waitForTimeout(300);
  const last = () => page.locator("#rows .row:visible").last().getAttribute("data-number");
  const before = await last();
  await page.getByText("passed while paused").waitFor();
  assert.equal(await last(), before, "the table changes while it is paused");

  // A packet that is opened: its comment is text, its layers mark their bytes.
  await page.keyboard.press("ArrowUp");
  await page.keyboard.press("Enter");
  await page.getByText("Comment: <script>window.hacked = 1</script><b>x</b>").waitFor();
  await page.getByRole("button", { name: /^UDP, bytes 34 to 41/ }).click();
  assert.equal((await page.locator("#bytes mark").first().innerText()).trim().slice(0, 5), "00 07", "the bytes of UDP");
  assert.equal(await page.evaluate(() => window.hacked), undefined);

  // Without a filter, at the full rate: the time between frames is for the log.
  await page.keyboard.press("Escape");
  await page.fill("#filter", "");
  await page.keyboard.press("Enter");
  await ready("rate");
  const gaps = await page.evaluate((ms) => new Promise((done) => {
    const all = [];
    let at = performance.now();
    const begin = at;
    const frame = (now) => {
      all.push(now - at);
      at = now;
      if (now - begin < ms) requestAnimationFrame(frame);
      else done(all.sort((a, b) => a - b));
    };
    requestAnimationFrame(frame);
  }), o.rateTime);
  console.log(`frames ${gaps.length}, median ${gaps[gaps.length >> 1].toFixed(1)} ms, longest ${gaps.at(-1).toFixed(1)} ms; ${await page.locator("#counts").innerText()}`);
  await ready("measured");
  await page.locator("#table").focus();
  await page.keyboard.press("p");
  await page.getByRole("button", { name: "Paused" }).waitFor();
  await page.locator("#rows .row:visible").nth(3).click();
  await page.locator("#layers .layer").first().waitFor();
  await page.locator("#layers button").nth(1).click();
  assert.ok(await page.evaluate(() => {
    const mark = document.querySelector("#bytes mark"), at = mark.getClientRects()[0];
    return document.elementFromPoint(at.x + at.width / 2, at.y + at.height / 2) === mark;
  }), "the bytes of a layer are in view");
  await screenshot("packets");

  // Downloads: what the table has kept, and the next packets.
  await page.getByText("Take it along").click();
  const [kept] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "Download what this table has kept" }).click()]);
  await kept.saveAs(o.kept);
  await page.fill("#amount", "500");
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Download pcapng" }).click()]);
  await download.saveAs(o.file);
  const commands = await page.locator("#commands").innerText();
  assert.ok(commands.includes(`rxring run --at ${o.at} -- tcpdump -n -i net0`), commands);

  assert.deepEqual(wrong.filter((w) => !w.includes("status of 4")), []);

  // Another site's page cannot use the cookie.
  const foreign = await context.newPage();
  await foreign.goto("data:text/html,<p>");
  const blocked = await foreign.evaluate((u) => fetch(u, { credentials: "include" }).then((r) => r.text(), () => "blocked"), base + "/take?device=net0&packets=1");
  assert.equal(blocked, "blocked");
} catch (e) {
  await page.screenshot({ path: o.shots + "/failed.png" }).catch(() => {});
  console.log(`failed ${e.stack}\n${wrong.join("\n")}`);
  process.exitCode = 1;
} finally {
  await browser.close();
  process.exit();
}
