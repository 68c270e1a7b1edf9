import {
  DashboardBuilder,
  DashboardCursorSync,
  DashboardLinkBuilder,
  DashboardLinkType,
  DatasourceVariableBuilder,
  QueryVariableBuilder,
  RowBuilder,
  TextBoxVariableBuilder,
  ThresholdsConfigBuilder,
  ThresholdsMode,
  VariableRefresh,
  VariableSort,
} from '@grafana/grafana-foundation-sdk/dashboard'
import { LegendDisplayMode, LegendPlacement, VisibilityMode } from '@grafana/grafana-foundation-sdk/common'
import { VizLegendOptionsBuilder } from '@grafana/grafana-foundation-sdk/common'
import { DataqueryBuilder, PromQueryFormat } from '@grafana/grafana-foundation-sdk/prometheus'
import { PanelBuilder as StatBuilder } from '@grafana/grafana-foundation-sdk/stat'
import { PanelBuilder as TableBuilder } from '@grafana/grafana-foundation-sdk/table'
import { PanelBuilder as TextBuilder, TextMode } from '@grafana/grafana-foundation-sdk/text'
import { PanelBuilder as TimeseriesBuilder } from '@grafana/grafana-foundation-sdk/timeseries'

/** The data source is chosen on the dashboard: a Prometheus of any name. */
const SOURCE = { type: 'prometheus', uid: '${datasource}' }

/** Units as Grafana names them. */
type Unit = 'short' | 's' | 'reqps' | 'cps' | 'bytes' | 'Bps' | 'percentunit' | 'none'

interface Query {
  readonly expr: string
  /** Legend, with labels as `{{label}}`. */
  readonly legend: string
  /** Asks for the exemplars of the buckets too: dots that name a call. */
  readonly exemplar?: boolean
}

const HEIGHT = 8

/** Curves over time, in a unit. @param about  what it shows, and what one does when it is not as it should be */
const curvesIn =
  (unit: Unit) =>
  (title: string, about: string, ...queries: readonly Query[]): TimeseriesBuilder => {
    const panel = new TimeseriesBuilder()
      .title(title)
      .description(about)
      .datasource(SOURCE)
      .unit(unit)
      .height(HEIGHT)
      .lineWidth(1)
      .fillOpacity(8)
      .showPoints(VisibilityMode.Never)
      .legend(
        new VizLegendOptionsBuilder()
          .displayMode(LegendDisplayMode.List)
          .placement(LegendPlacement.Bottom)
          .showLegend(true),
      )
    queries.forEach((query, index) => panel.withTarget(target(query, index).range()))
    return panel
  }

export const counts = curvesIn('short')
export const seconds = curvesIn('s')
export const perSecond = curvesIn('cps')
export const requests = curvesIn('reqps')
export const bytes = curvesIn('bytes')
export const bytesPerSecond = curvesIn('Bps')
export const shares = curvesIn('percentunit')

/** One number as of now, coloured by where it stands. */
export function number(
  title: string,
  about: string,
  unit: Unit,
  query: string,
  worse?: { readonly amber: number; readonly red: number },
): StatBuilder {
  const panel = new StatBuilder()
    .title(title)
    .description(about)
    .datasource(SOURCE)
    .unit(unit)
    .height(4)
    .span(4)
    .withTarget(target(curve(query, title), 0).instant())
  const steps = [
    { value: null, color: worse === undefined ? 'blue' : 'green' },
    ...(worse === undefined
      ? []
      : [
          { value: worse.amber, color: 'orange' },
          { value: worse.red, color: 'red' },
        ]),
  ]
  return panel.thresholds(new ThresholdsConfigBuilder().mode(ThresholdsMode.Absolute).steps(steps))
}

/** A table of one query's label sets, as of now. A cell of `link.column` leads on. */
export function table(
  title: string,
  about: string,
  unit: Unit,
  query: Query,
  link: { readonly column: string; readonly title: string; readonly url: string },
): TableBuilder {
  return new TableBuilder()
    .title(title)
    .description(about)
    .datasource(SOURCE)
    .unit(unit)
    .height(HEIGHT)
    .withTarget(target(query, 0).instant().format(PromQueryFormat.Table))
    .withTransformation({ id: 'organize', options: { excludeByName: { Time: true, __name__: true, job: true } } })
    .overrideByName(link.column, [{ id: 'links', value: [{ title: link.title, url: link.url }] }])
}

/** Words and links. */
export function words(title: string, about: string, markdown: string): TextBuilder {
  return new TextBuilder().title(title).description(about).height(HEIGHT).mode(TextMode.Markdown).content(markdown)
}

function target(query: Query, index: number): DataqueryBuilder {
  const builder = new DataqueryBuilder()
    .datasource(SOURCE)
    .expr(query.expr)
    .legendFormat(query.legend)
    .refId(String.fromCharCode('A'.charCodeAt(0) + index))
  return query.exemplar === true ? builder.exemplar(true) : builder
}

type AnyPanel = Parameters<DashboardBuilder['withPanel']>[0]

/** Panels of a part of the board's width, side by side. */
const wide =
  (span: number) =>
  (...panels: readonly (AnyPanel & { span(columns: number): unknown })[]): readonly AnyPanel[] => {
    for (const panel of panels) panel.span(span)
    return panels
  }

export const halves = wide(12)
export const thirds = wide(8)
export const quarters = wide(6)

interface Board {
  readonly uid: string
  readonly title: string
  readonly about: string
  /** By their titles. */
  readonly rows: Readonly<Record<string, readonly AnyPanel[]>>
  /** Text boxes: name, label, and what it holds at first. */
  readonly boxes?: readonly {
    readonly name: string
    readonly label: string
    readonly value: string
    readonly about: string
  }[]
  /** Links at the top that leave the dashboard. */
  readonly links?: readonly { readonly title: string; readonly url: string }[]
}

/** A dashboard with the variables that all of ours have: the data source and the node. */
export function board(options: Board): DashboardBuilder {
  const builder = new DashboardBuilder(options.title)
    .uid(options.uid)
    .description(options.about)
    .tags(['mkondo'])
    .refresh('15s')
    .time({ from: 'now-1h', to: 'now' })
    .timezone('browser')
    .tooltip(DashboardCursorSync.Crosshair)
    .readonly()
    .withVariable(new DatasourceVariableBuilder('datasource').label('Prometheus').type('prometheus'))
    .withVariable(
      new QueryVariableBuilder('node')
        .label('Node')
        .datasource(SOURCE)
        .query('label_values(mkondo_build_info, instance)')
        .refresh(VariableRefresh.OnTimeRangeChanged)
        .sort(VariableSort.AlphabeticalAsc)
        .multi(true)
        .includeAll(true)
        // Without it "All" becomes a regular expression of every node that ever was.
        .allValue('.*')
        .current({ selected: true, text: 'All', value: '$__all' }),
    )
    .link(
      new DashboardLinkBuilder('Mkondo')
        .type(DashboardLinkType.Dashboards)
        .tags(['mkondo'])
        .keepTime(true)
        .includeVars(false),
    )
  for (const box of options.boxes ?? []) {
    builder.withVariable(
      new TextBoxVariableBuilder(box.name).label(box.label).description(box.about).defaultValue(box.value),
    )
  }
  for (const link of options.links ?? []) {
    builder.link(new DashboardLinkBuilder(link.title).type(DashboardLinkType.Link).url(link.url).targetBlank(true))
  }
  for (const [title, panels] of Object.entries(options.rows)) {
    builder.withRow(new RowBuilder(title))
    for (const panel of panels) builder.withPanel(panel)
  }
  return builder
}

/** The matcher that every query of ours has. */
export const NODE = 'instance=~"$node"'

/** Quantile of a histogram over `by`. */
export function quantile(q: number, metric: string, by: string, more = ''): string {
  return `histogram_quantile(${q}, sum by (le${by === '' ? '' : `, ${by}`}) (rate(${metric}_bucket{${NODE}${more}}[$__rate_interval])))`
}

/** Rate of a counter over `by`. */
export function rate(metric: string, by: string, more = ''): string {
  return `sum by (${by}) (rate(${metric}{${NODE}${more}}[$__rate_interval]))`
}

/** A curve for each label set of `expr`. */
export function curve(expr: string, legend: string): Query {
  return { expr, legend }
}

/** The same with the exemplars. */
export function dots(query: Query): Query {
  return { ...query, exemplar: true }
}

/** `agent, backend` as a legend: `{{agent}} {{backend}}`. */
function labels(by: string): string {
  return by === '' ? '' : `{{${by.replaceAll(', ', '}} {{')}}}`
}

export function rates(metric: string, by: string, legend = labels(by)): Query {
  return curve(rate(metric, by), legend)
}

/** The query, or one line at 0 if it has no series: most fleets never count such a thing. */
export function orZero(query: Query): Query {
  return { ...query, expr: `${query.expr} or vector(0)` }
}

export function quantiles(q: number, metric: string, by: string, legend = labels(by)): Query {
  return curve(quantile(q, metric, by), legend)
}

/** Rate of a counter, all of its series together. */
export function total(metric: string, legend: string): Query {
  return curve(`sum(rate(${metric}{${NODE}}[$__rate_interval]))`, legend)
}

/** A gauge as it is. */
export function gauge(metric: string, legend: string): Query {
  return curve(`${metric}{${NODE}}`, legend)
}

/** Gauges taken together, over `by`. */
export function gauges(how: 'sum' | 'max' | 'min', metric: string, by: string, legend = labels(by)): Query {
  return curve(`${how}${by === '' ? '' : ` by (${by}) `}(${metric}{${NODE}})`, legend)
}
