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

/** Data source: the Prometheus that the user selects on the dashboard. */
const SOURCE = { type: 'prometheus', uid: '${datasource}' }

/** Units as Grafana names them. */
type Unit = 'short' | 's' | 'reqps' | 'cps' | 'bytes' | 'Bps' | 'percentunit' | 'none'

interface Query {
  readonly expr: string
  /** Legend, with labels as `{{label}}`. */
  readonly legend: string
  /** True: the panel also shows the exemplars of the buckets, as dots that name a call. */
  readonly exemplar?: boolean
}

const HEIGHT = 8

/**
 * Makes a panel of curves over time, in a unit. @param about meaning of the curves, and what to do about a bad value
 */
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

/** Makes a panel with one current number, coloured by its thresholds. */
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

/** Makes a table of the current label sets of one query. Cells of `link.column` are links. */
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

/** Makes a panel of text and links. */
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

/** Gives each panel this width, in columns of 24. */
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
  /** Panels of each row, by the row's title. */
  readonly rows: Readonly<Record<string, readonly AnyPanel[]>>
  /** Text boxes, each with its default value. */
  readonly boxes?: readonly {
    readonly name: string
    readonly label: string
    readonly value: string
    readonly about: string
  }[]
  /** Links to other pages, at the top of the dashboard. */
  readonly links?: readonly { readonly title: string; readonly url: string }[]
}

/** Makes a dashboard with the variables that every dashboard has: the data source and the node. */
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
        // Without this value, "All" becomes a regular expression that lists every node, including removed nodes.
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

/** Matcher that every query contains. */
export const NODE = 'instance=~"$node"'

/** @returns the quantile `q` of a histogram for each value of the labels in `by` */
export function quantile(q: number, metric: string, by: string, more = ''): string {
  return `histogram_quantile(${q}, sum by (le${by === '' ? '' : `, ${by}`}) (rate(${metric}_bucket{${NODE}${more}}[$__rate_interval])))`
}

/** @returns the rate of a counter per second, for each value of the labels in `by` */
export function rate(metric: string, by: string, more = ''): string {
  return `sum by (${by}) (rate(${metric}{${NODE}${more}}[$__rate_interval]))`
}

/** Makes a query with one curve for each label set of `expr`. */
export function curve(expr: string, legend: string): Query {
  return { expr, legend }
}

/** Adds exemplars to a query. */
export function dots(query: Query): Query {
  return { ...query, exemplar: true }
}

/** @returns the legend of a list of labels: `{{agent}} {{backend}}` for `agent, backend` */
function labels(by: string): string {
  return by === '' ? '' : `{{${by.replaceAll(', ', '}} {{')}}}`
}

export function rates(metric: string, by: string, legend = labels(by)): Query {
  return curve(rate(metric, by), legend)
}

/** Shows one line at 0 if the query has no series, because in most fleets the counted event never occurs. */
export function orZero(query: Query): Query {
  return { ...query, expr: `${query.expr} or vector(0)` }
}

export function quantiles(q: number, metric: string, by: string, legend = labels(by)): Query {
  return curve(quantile(q, metric, by), legend)
}

/** Makes a query for the rate of a counter, summed over all its series. */
export function total(metric: string, legend: string): Query {
  return curve(`sum(rate(${metric}{${NODE}}[$__rate_interval]))`, legend)
}

/** Makes a query for a gauge, with one curve per series. */
export function gauge(metric: string, legend: string): Query {
  return curve(`${metric}{${NODE}}`, legend)
}

/** Makes a query for the sum, maximum or minimum of a gauge, for each value of the labels in `by`. */
export function gauges(how: 'sum' | 'max' | 'min', metric: string, by: string, legend = labels(by)): Query {
  return curve(`${how}${by === '' ? '' : ` by (${by}) `}(${metric}{${NODE}})`, legend)
}
