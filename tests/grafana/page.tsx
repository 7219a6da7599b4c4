// A dashboard as Grafana lays it out: its panels, from the JSON, filled with what Prometheus answered.
//
// PanelChrome, BigValue, TimeSeries, BarGauge and TableNG are Grafana's own, and so are units, thresholds, overrides and the
// transformations of tables. The heat map is not: Grafana does not publish that panel. What is drawn here in its place
// follows its options: one cell per bucket and step, coloured by the square root of its count.

import { createRoot } from 'react-dom/client';
import { lastValueFrom } from 'rxjs';
import { useEffect, useState } from 'react';
import {
  applyFieldOverrides, cacheFieldDisplayNames, createTheme, type DataFrame, dateTime, FieldConfigOptionsRegistry, FieldType, type FieldDisplay,
  getDisplayValueAlignmentFactors, getFieldDisplayValues, getValueFormat, getValueFormats, formattedValueToString, standardTransformers,
  standardTransformersRegistry, ThemeContext, toDataFrame, transformDataFrame, VizOrientation,
} from '@grafana/data';
import {
  BarGauge, BigValue, GlobalStyles, LegendDisplayMode, PanelChrome, TimeSeries, VizRepeater,
} from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';

const theme = createTheme({ colors: { mode: 'dark' } });
const shown = (window as any).shown;
const asIs = (text: string) => text;

standardTransformersRegistry.setInit(() =>
  [standardTransformers.mergeTransformer, standardTransformers.organizeFieldsTransformer].map((transformation: any) => ({
    ...transformation, transformation: async () => transformation, editor: () => null,
  })) as any,
);

const UNITS = new Set(getValueFormats().flatMap(({ submenu }: any) => submenu.map(({ value }: any) => value)));

/** A unit that Grafana does not know would be written behind the number, as it is. */
function knowsUnits({ defaults, overrides }: any) {
  const named = overrides.flatMap(({ properties }: any) => properties.filter(({ id }: any) => id === 'unit').map(({ value }: any) => value));
  const unknown = [defaults.unit, ...named].filter((unit) => !UNITS.has(unit) && !unit.startsWith('time:'));
  if (unknown.length > 0) throw new Error(`Grafana knows no unit ${unknown.join(', ')}`);
}

/** Grafana's panels register the options they know; here every option that a panel's JSON names is known. */
function registry({ defaults, overrides }: any) {
  const own = Object.keys(defaults).filter((name) => name !== 'custom');
  const custom = Object.keys(defaults.custom ?? {}).map((name) => `custom.${name}`);
  const named = overrides.flatMap(({ properties }: any) => properties.map(({ id }: any) => id));
  const ids = [...new Set<string>([...own, ...custom, ...named])];
  return new FieldConfigOptionsRegistry(() =>
    ids.map((id) => ({
      id, name: id, path: id.replace('custom.', ''), isCustom: id.startsWith('custom.'),
      process: (value: any) => value, shouldApply: () => true, override: () => null, editor: () => null,
    })) as any,
  );
}

function legendOf(legend: string, labels: Record<string, string>) {
  if (legend !== '__auto') return legend.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, label) => labels[label] ?? '');
  const { __name__, ...rest } = labels;
  return Object.values(rest).join(' ');
}

/** One frame per series, as Grafana's data source for Prometheus makes them; of a query for a table one frame in all. */
function framesOf(panel: any): DataFrame[] {
  const tables = panel.answers.filter(({ format }: any) => format === 'table').length;
  return panel.answers.flatMap(({ refId, legend, format, result }: any) => {
    if (format === 'table') {
      if (result.length === 0) return [];
      const labels = Object.keys(result[0].metric);
      return [toDataFrame({
        refId,
        fields: [
          { name: 'Time', type: FieldType.time, values: result.map(({ value }: any) => value[0] * 1000), config: {} },
          ...labels.map((label) => ({
            name: label, type: FieldType.string, values: result.map(({ metric }: any) => metric[label]), config: { filterable: true },
          })),
          { name: tables > 1 ? `Value #${refId}` : 'Value', type: FieldType.number, values: result.map(({ value }: any) => Number(value[1])), config: {} },
        ],
      })];
    }
    return result.map(({ metric, value, values }: any) => {
      const points = values ?? [value];
      const name = legendOf(legend, metric);
      const spaced = values ? withGaps(points, panel) : points;
      return toDataFrame({
        refId, name,
        fields: [
          { name: 'Time', type: FieldType.time, values: spaced.map(([time]: any) => time * 1000), config: { interval: panel.step } },
          {
            name: 'Value', type: FieldType.number, labels: metric, config: { displayNameFromDS: name },
            values: spaced.map(([, text]: any) => (text === null ? null : Number(text))),
          },
        ],
      });
    });
  });
}

/** A point without a value wherever a step is missing: nothing known is a gap, not a line. */
function withGaps(points: [number, string][], { from, to, step }: any) {
  const there = new Map(points);
  const all: [number, string | null][] = [];
  for (let time = from / 1000; time <= to / 1000; time += step / 1000) all.push([time, there.get(time) ?? null]);
  return all;
}

function overridden(panel: any, data: DataFrame[]) {
  return applyFieldOverrides({
    data, theme, replaceVariables: asIs, timeZone: 'utc', fieldConfig: panel.fieldConfig,
    fieldConfigRegistry: registry(panel.fieldConfig),
  } as any);
}

const Nothing = ({ panel }: any) => (
  <div style={{ display: 'grid', placeItems: 'center', height: '100%', color: theme.colors.text.secondary }}>
    {panel.fieldConfig.defaults.noValue}
  </div>
);

/** The values of a stat or of bars, one beside the other. */
function Values({ panel, width, height, draw, orientation, spacing }: any) {
  const data = framesOf(panel);
  const displays = () => getFieldDisplayValues({
    data: overridden(panel, data), fieldConfig: panel.fieldConfig, reduceOptions: panel.options.reduceOptions,
    replaceVariables: asIs, theme, timeZone: 'utc', sparkline: false,
  } as any);
  return (
    <VizRepeater
      getValues={displays} renderValue={draw} width={width} height={height} source={data} orientation={orientation}
      getAlignmentFactors={getDisplayValueAlignmentFactors} autoGrid={true} renderCounter={0} itemSpacing={spacing} minVizHeight={panel.options.minVizHeight}
    />
  );
}

function Stat({ panel, width, height }: any) {
  const { colorMode, graphMode, justifyMode, textMode, orientation, wideLayout, text } = panel.options;
  const draw = ({ value, width, height, count }: any) => (
    <BigValue
      value={(value as FieldDisplay).display} width={width} height={height} count={count} theme={theme} colorMode={colorMode}
      graphMode={graphMode} justifyMode={justifyMode} textMode={textMode} disableWideLayout={!wideLayout} text={text}
    />
  );
  return <Values {...{ panel, width, height, draw }} orientation={orientation} spacing={3} />;
}

function Bars({ panel, width, height }: any) {
  const { displayMode, namePlacement, showUnfilled, text, valueMode } = panel.options;
  const draw = ({ value, width, height, alignmentFactors, orientation }: any) => (
    <BarGauge
      value={(value as FieldDisplay).display} field={value.field} display={value.view?.getFieldDisplayProcessor(value.colIndex)}
      width={width} height={height} theme={theme} orientation={orientation} displayMode={displayMode} showUnfilled={showUnfilled}
      valueDisplayMode={valueMode} itemSpacing={8} lcdCellWidth={12} alignmentFactors={alignmentFactors} namePlacement={namePlacement} text={text}
    />
  );
  return <Values {...{ panel, width, height, draw }} orientation={VizOrientation.Horizontal} spacing={8} />;
}

function Chart({ panel, width, height }: any) {
  const data = framesOf(panel);
  if (data.length === 0) return <Nothing panel={panel} />;
  const range: any = { from: dateTime(panel.from), to: dateTime(panel.to), raw: { from: dateTime(panel.from), to: dateTime(panel.to) } };
  const legend: any = { ...panel.options.legend, displayMode: LegendDisplayMode.List };
  return (
    <TimeSeries frames={overridden(panel, data)} width={width} height={height} timeRange={range} timeZone="utc" legend={legend}>
      {() => null}
    </TimeSeries>
  );
}

function Rows({ panel, width, height }: any) {
  const [frame, setFrame] = useState<DataFrame>();
  useEffect(() => {
    const transformed = transformDataFrame(panel.transformations, framesOf(panel), { interpolate: asIs } as any);
    lastValueFrom(transformed).then(([first]) => {
      const frames = first ? overridden(panel, [first]) : [];
      cacheFieldDisplayNames(frames);
      setFrame(frames[0]);
    });
  }, []);
  if (!frame || frame.length === 0) return <Nothing panel={panel} />;
  const { cellHeight, sortBy } = panel.options;
  return (
    <TableNG
      data={frame} width={width} height={height} cellHeight={cellHeight} sortBy={sortBy} fieldConfig={panel.fieldConfig}
      noValue={panel.fieldConfig.defaults.noValue} enableVirtualization={false} structureRev={1}
    />
  );
}

/** From few to many, as Grafana's scheme "Oranges" goes on a dark ground. */
const ORANGES = [[46, 28, 16], [92, 46, 20], [148, 70, 22], [206, 100, 30], [247, 146, 70], [255, 214, 170]];

function orange(share: number) {
  const place = Math.min(share, 1) * (ORANGES.length - 1);
  const [low, rest] = [Math.floor(place), place % 1];
  const high = Math.min(low + 1, ORANGES.length - 1);
  return `rgb(${ORANGES[low].map((part, at) => Math.round(part + (ORANGES[high][at] - part) * rest)).join()})`;
}

/** Not Grafana's own. Buckets count up to their bound; a cell is what lies between it and the bound before. */
function Heat({ panel, width, height }: any) {
  const [{ result }] = panel.answers;
  if (result.length === 0) return <Nothing panel={panel} />;
  const bound = ({ metric }: any) => (metric.le === '+Inf' ? Infinity : Number(metric.le));
  const buckets = [...result].sort((a: any, b: any) => bound(a) - bound(b));
  const counts = buckets.map(({ values }: any) => new Map(values.map(([time, text]: any) => [time, Number(text)])));
  const cell = (at: number, time: number) => {
    const up = counts[at].get(time) as number | undefined;
    const below = at === 0 ? 0 : (counts[at - 1].get(time) as number | undefined);
    return up === undefined || below === undefined ? 0 : Math.max(0, up - below);
  };
  const times: number[] = [];
  for (let time = panel.from; time <= panel.to; time += panel.step) times.push(time / 1000);
  const most = Math.max(...times.flatMap((time) => buckets.map((_: any, at: number) => cell(at, time))));
  const [left, below] = [56, 24];
  const [w, h] = [(width - left - 8) / times.length, (height - below) / buckets.length];
  const unit = getValueFormat(panel.options.yAxis.unit);
  const label = (one: any) => (bound(one) === Infinity ? 'more' : formattedValueToString(unit(bound(one))));
  const style = { fontSize: 12, fill: theme.colors.text.primary };
  const ticks = Array.from({ length: 6 }, (_, at) => Math.round((at * (times.length - 1)) / 5));
  return (
    <svg width={width} height={height} role="img">
      {buckets.map((one: any, at: number) => (
        <g key={at}>
          <text x={left - 6} y={height - below - (at + 0.5) * h + 4} textAnchor="end" {...style}>{label(one)}</text>
          {times.map((time, column) => cell(at, time) > 1e-9 && (
            <rect key={time} x={left + column * w} y={height - below - (at + 1) * h} width={Math.max(1, w - 1)} height={h - 1} fill={orange(Math.sqrt(cell(at, time) / most))} />
          ))}
        </g>
      ))}
      {ticks.map((at) => (
        <text key={at} x={left + (at + 0.5) * w} y={height - 6} textAnchor={at === times.length - 1 ? 'end' : 'middle'} {...style}>{dateTime(times[at] * 1000).utc().format('HH:mm:ss')}</text>
      ))}
    </svg>
  );
}

const KINDS: Record<string, any> = { stat: Stat, bargauge: Bars, timeseries: Chart, table: Rows, heatmap: Heat };

function Panel({ panel }: any) {
  const { x, y, w, h } = panel.gridPos;
  const column = (shown.width - shown.gap) / 24;
  const place: any = {
    position: 'absolute', left: shown.gap + x * column, top: shown.head + y * (shown.row + shown.gap),
    width: w * column - shown.gap, height: h * (shown.row + shown.gap) - shown.gap,
  };
  if (panel.type === 'row') {
    const closed = panel.collapsed && !shown.open ? ` (${panel.panels.length} panels)` : '';
    return (
      <div style={{ ...place, fontSize: 18, lineHeight: `${place.height}px`, color: theme.colors.text.primary }}>
        {closed ? '\u203a' : '\u2304'} {panel.title}
        <span style={{ fontSize: 14, color: theme.colors.text.secondary }}>{closed}</span>
      </div>
    );
  }
  const Kind = KINDS[panel.type];
  knowsUnits(panel.fieldConfig);
  return (
    <div style={place}>
      <PanelChrome title={panel.title} width={place.width} height={place.height} description={panel.description}>
        {(width: number, height: number) => <Kind panel={panel} width={width} height={height} />}
      </PanelChrome>
    </div>
  );
}

const Dashboard = () => (
  <ThemeContext.Provider value={theme}>
    <GlobalStyles />
    <div style={{ height: shown.head, padding: '12px 8px', fontSize: 20, color: theme.colors.text.primary }}>
      {shown.title}
      {shown.variables.map(([label, value]: [string, string]) => (
        <span key={label} style={{ marginLeft: 24, fontSize: 14, color: theme.colors.text.secondary }}>
          {label} <span style={{ color: theme.colors.text.primary }}>{value}</span>
        </span>
      ))}
    </div>
    {shown.panels.map((panel: any, at: number) => <Panel key={at} panel={panel} />)}
  </ThemeContext.Provider>
);

createRoot(document.getElementById('dashboard')!).render(<Dashboard />);
