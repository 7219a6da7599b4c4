// Opens pages of the board in a real browser and says what is there: one JSON object per line of the jobs that it is
// given on standard input, one line of JSON each in answer.
//
//   {"url": "http://…", "width": 1280, "height": 800, "dark": true, "language": "de", "script": false,
//    "wait": ".freshness.quiet", "within": 15000, "picture": "board.png", "axe": true, "offline": 20000}
//
// `wait` and `within`: until something is there, ms; `offline`: the browser loses its connection for so long first.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import puppeteer from "puppeteer-core";

const axe = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
const browser = await puppeteer.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  // The sandbox does not start for root, as whom containers run tests.
  args: ["--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--force-color-profile=srgb"],
});

async function look(job) {
  const page = await browser.newPage();
  const errors = [];
  const hosts = new Set();
  page.on("console", (message) => { if (message.type() === "error") errors.push(message.text()); });
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("dialog", (dialog) => { errors.push(`a dialog: ${dialog.message()}`); dialog.dismiss(); });
  page.on("request", (request) => hosts.add(new URL(request.url()).host));
  await page.setViewport({ width: job.width ?? 1280, height: job.height ?? 800 });
  await page.setJavaScriptEnabled(job.script ?? true);
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: job.dark ? "dark" : "light" }]);
  await page.setExtraHTTPHeaders({ "accept-language": job.language ?? "en" });
  await page.goto(job.url, { waitUntil: "domcontentloaded" });
  if (job.offline) {
    await page.setOfflineMode(true);
    await new Promise((resolve) => setTimeout(resolve, job.offline));
    await page.setOfflineMode(false);
  }
  const started = Date.now();
  let came = true;
  if (job.wait) {
    came = await page.waitForSelector(job.wait, { timeout: job.within ?? 15000, visible: true }).then(() => true, () => false);
  }
  const after = Date.now() - started;
  const seen = await page.evaluate(() => {
    const text = (element) => element?.innerText.replace(/\s+/gu, " ").trim() ?? "";
    return {
      lang: document.documentElement.lang,
      title: document.title,
      freshness: document.querySelector(".freshness")?.className ?? "",
      lost: !document.getElementById("lost")?.hidden,
      counts: [...document.querySelectorAll(".counts > div")].map((one) => [text(one.querySelector("dt")), text(one.querySelector("dd"))]),
      tiles: [...document.querySelectorAll(".tile")].map((one) => [text(one.querySelector("h3")), text(one.querySelector(".value")), text(one.querySelector(".evidence"))]),
      rows: [...document.querySelectorAll("tbody tr")].map((row) => [...row.children].map(text)),
      links: [...document.querySelectorAll("main a")].map((link) => link.href),
      wide: document.documentElement.scrollWidth > document.documentElement.clientWidth,
    };
  });
  let violations = [];
  if (job.axe) {
    // The policy of the page allows no script of others; the tool is put in from outside of it.
    await page.evaluate(await (await import("node:fs/promises")).readFile(axe, "utf8"));
    const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
    violations = found.violations.map((one) => `${one.id}: ${one.nodes.map((node) => node.target.join(" ")).join(", ")}`);
  }
  if (job.picture) await page.screenshot({ path: job.picture, fullPage: job.whole ?? false });
  await page.close();
  return { ...seen, came, after, errors, hosts: [...hosts], violations };
}

for await (const line of createInterface({ input: process.stdin })) {
  if (line.trim() === "") continue;
  try {
    console.log(JSON.stringify(await look(JSON.parse(line))));
  } catch (error) {
    console.log(JSON.stringify({ failed: String(error) }));
  }
}
await browser.close();
