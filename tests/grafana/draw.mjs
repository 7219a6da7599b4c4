// Draws the dashboards with Grafana's own components, without a Grafana: asks Prometheus what each panel asks, and has
// Chromium show it.
//
//     npm ci && npm run draw -- --prometheus http://127.0.0.1:9090
//
// With --dom there lies NAME.html beside each picture, what Chromium made of the page, so that a test can read it.

import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';

const here = dirname(fileURLToPath(import.meta.url));
const { values: options } = parseArgs({
  options: {
    prometheus: { type: 'string', default: 'http://127.0.0.1:9090' },
    dashboards: { type: 'string', default: join(here, '../../deploy/grafana/dashboards') },
    out: { type: 'string', default: join(here, '../../docs/pictures') },
    modules: { type: 'string', default: join(here, 'node_modules') },
    // The scrape interval in seconds, and how many minutes are shown.
    scrape: { type: 'string', default: '15' },
    last: { type: 'string', default: '60' },
    only: { type: 'string' },
    // Closed rows opened; beside each picture what Chromium made of the page.
    open: { type: 'boolean', default: false },
    dom: { type: 'boolean', default: false },
  },
});

// As wide as a screen at the wall; a page of Grafana has columns of 1/24 and rows of 30 pixels, 8 between them.
const WIDTH = { wallboard: 1920, 'customer-experience': 1800, 'pipeline-health': 1800 };
const ROW = 30;
const GAP = 8;
// The line with the title and the variables.
const HEAD = 56;
// No more points in a line than can be told apart.
const POINTS_MAX = 700;

const seconds = Number(options.last) * 60;
const now = Math.floor(Date.now() / 1000);

async function prometheus(path, parameters) {
  const response = await fetch(`${options.prometheus}/api/v1/${path}?${new URLSearchParams(parameters)}`);
  const answer = await response.json();
  if (answer.status !== 'success') throw new Error(`${JSON.stringify(parameters)}: ${answer.error}`);
  return answer.data;
}

/** What the variables of a dashboard are at first. */
function atFirst(dashboard) {
  const chosen = new Map();
  for (const variable of dashboard.templating.list) {
    const { value } = variable.current;
    chosen.set(variable.name, Array.isArray(value) ? variable.allValue : value);
  }
  return chosen;
}

/** Fills in `$name` and `${name:format}`, those with the longest names first. */
function filled(text, chosen) {
  const names = [...chosen.keys()].sort((a, b) => b.length - a.length);
  return names.reduce(
    (text, name) => text.replaceAll(`$${name}`, chosen.get(name)).replace(new RegExp(`\\$\\{${name}(:\\w+)?\\}`, 'g'), chosen.get(name)),
    text,
  );
}

async function valuesOf(variable, chosen) {
  const [, selector, label] = filled(variable.definition, chosen).match(/^label_values\((.*), (\w+)\)$/);
  return (await prometheus(`label/${label}/values`, { 'match[]': selector })).sort();
}

/** The panels with their places, repeated panels repeated: [{panel, chosen}], top to bottom. */
async function laidOut(dashboard) {
  const chosen = atFirst(dashboard);
  const placed = [];
  let shift = 0;
  const place = (panel, chosen, pos) => placed.push({ panel: { ...panel, gridPos: pos }, chosen });
  const put = async (panel) => {
    const pos = { ...panel.gridPos, y: panel.gridPos.y + shift };
    if (!panel.repeat) return place(panel, chosen, pos);
    const variable = dashboard.templating.list.find(({ name }) => name === panel.repeat);
    const values = await valuesOf(variable, chosen);
    const columns = Math.min(panel.maxPerRow, values.length);
    values.forEach((value, at) => {
      const [column, line] = [at % columns, Math.floor(at / columns)];
      const w = 24 / columns;
      place(panel, new Map([...chosen, [panel.repeat, value]]), { h: pos.h, w, x: column * w, y: pos.y + line * pos.h });
    });
    shift += (Math.ceil(values.length / columns) - 1) * pos.h;
  };
  for (const panel of dashboard.panels) {
    await put(panel);
    if (!options.open) continue;
    for (const inside of panel.panels ?? []) await put(inside);
    const bottom = Math.max(0, ...(panel.panels ?? []).map(({ gridPos }) => gridPos.y + gridPos.h));
    // Grafana counts a closed row as one line; here it is open.
    if (bottom > 0) shift += bottom - (panel.gridPos.y + 1);
  }
  return placed;
}

/** What a panel asks, answered, and its texts with the variables filled in. */
async function answered({ panel, chosen }, width) {
  const pixels = (panel.gridPos.w / 24) * width;
  const step = Math.max(Number(options.scrape), Math.ceil(seconds / Math.min(pixels, POINTS_MAX)));
  const all = new Map([
    ...chosen,
    ['__rate_interval', `${Math.max(step + Number(options.scrape), 4 * Number(options.scrape))}s`],
    ['__range', `${seconds}s`],
  ]);
  const answers = await Promise.all(
    (panel.targets ?? []).map(async (target) => {
      const query = filled(target.expr, all);
      const data = target.instant
        ? await prometheus('query', { query, time: now })
        : await prometheus('query_range', { query, start: now - seconds, end: now, step });
      return { refId: target.refId, legend: filled(target.legendFormat, all), format: target.format, result: data.result };
    }),
  );
  return { ...panel, title: filled(panel.title, all), answers, from: (now - seconds) * 1000, to: now * 1000, step: step * 1000 };
}

function chromium(page, picture, width, height) {
  const sandbox = process.getuid?.() === 0 ? ['--no-sandbox'] : [];
  return execFileSync(
    process.env.CHROMIUM ?? 'chromium',
    [
      '--headless', ...sandbox, '--disable-gpu', '--hide-scrollbars', '--force-device-scale-factor=1',
      '--allow-file-access-from-files', '--virtual-time-budget=8000', '--timeout=60000',
      `--window-size=${width},${height}`, `--screenshot=${picture}`, '--dump-dom', pathToFileURL(page).href,
    ],
    { encoding: 'utf8', maxBuffer: 1 << 28, stdio: ['ignore', 'pipe', 'pipe'] },
  );
}

/** Dashboards have few colours: 256 of them make the picture less than half as large. */
function fewColours(picture) {
  const UPNG = createRequire(join(resolve(options.modules), 'here.js'))('upng-js');
  const image = UPNG.decode(readFileSync(picture));
  writeFileSync(picture, Buffer.from(UPNG.encode(UPNG.toRGBA8(image), image.width, image.height, 256)));
}

const work = mkdtempSync(join(tmpdir(), 'touchstone-draw-'));
try {
  execFileSync(
    join(options.modules, '.bin/esbuild'),
    [
      join(here, 'page.tsx'), '--bundle', '--minify', '--loader:.ttf=dataurl', '--log-level=error',
      `--outfile=${join(work, 'page.js')}`, '--define:process.env.NODE_ENV="production"', '--jsx=automatic',
    ],
    { env: { ...process.env, NODE_PATH: resolve(options.modules) }, stdio: 'inherit' },
  );
  mkdirSync(options.out, { recursive: true });
  for (const file of readdirSync(options.dashboards).filter((file) => file.endsWith('.json'))) {
    const name = file.slice(0, -'.json'.length);
    if (options.only && options.only !== name) continue;
    const dashboard = JSON.parse(readFileSync(join(options.dashboards, file), 'utf8'));
    const placed = await laidOut(dashboard);
    const width = WIDTH[name] ?? 1800;
    const panels = await Promise.all(placed.map((one) => answered(one, width)));
    const rows = Math.max(...panels.map(({ gridPos }) => gridPos.y + gridPos.h));
    const height = HEAD + rows * (ROW + GAP) + GAP;
    const variables = dashboard.templating.list
      .filter(({ hide }) => !hide)
      .map(({ label, current }) => [label, String(Array.isArray(current.value) ? current.text : current.value)]);
    const shown = { title: dashboard.title, variables, panels, width, row: ROW, gap: GAP, head: HEAD, open: options.open };
    // `<` would end the script early.
    const data = JSON.stringify(shown).replaceAll('<', '\\u003c');
    const page = join(work, `${name}.html`);
    writeFileSync(page, readFileSync(join(here, 'page.html'), 'utf8').replace('DATA', () => data));
    const picture = join(resolve(options.out), `${name}.png`);
    const dom = chromium(page, picture, width, height);
    // The data was in the page too; what is left is what was drawn.
    const drawn = dom.replace(/<script[\s\S]*?<\/script>/g, '');
    const [, error] = drawn.match(/<pre class="script-error"[^>]*>([\s\S]*?)<\/pre>/) ?? [];
    if (options.dom) writeFileSync(join(options.out, `${name}.html`), drawn);
    if (error) throw new Error(`${name}: ${error}`);
    fewColours(picture);
    console.log(`${picture}: ${panels.length} panels, ${width} x ${height}`);
  }
} finally {
  rmSync(work, { recursive: true, force: true });
}
