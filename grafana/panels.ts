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

interface PanelText {
  readonly title: string
  /** What it shows, and what one does when it is not as it should be. */
  readonly about: string
  readonly unit: Unit
}

const HEIGHT = 8
export const THIRD = 8
export const HALF = 12
export const QUARTER = 6

/** Curves over time. */
export function curves(text: PanelText, span: number, queries: readonly Query[]): TimeseriesBuilder {
  const panel = new TimeseriesBuilder()
    .title(text.title)
    .description(text.about)
    .datasource(SOURCE)
    .unit(text.unit)
    .height(HEIGHT)
    .span(span)
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

/** One number as of now, coloured by where it stands. */
export function number(
  text: PanelText,
  query: string,
  worse?: { readonly amber: number; readonly red: number },
): StatBuilder {
  const panel = new StatBuilder()
    .title(text.title)
    .description(text.about)
    .datasource(SOURCE)
    .unit(text.unit)
    .height(4)
    .span(4)
    .withTarget(target({ expr: query, legend: text.title }, 0).instant())
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
  text: PanelText,
  span: number,
  query: Query,
  link: { readonly column: string; readonly title: string; readonly url: string },
): TableBuilder {
  return new TableBuilder()
    .title(text.title)
    .description(text.about)
    .datasource(SOURCE)
    .unit(text.unit)
    .height(HEIGHT)
    .span(span)
    .withTarget(target(query, 0).instant().format(PromQueryFormat.Table))
    .withTransformation({ id: 'organize', options: { excludeByName: { Time: true, __name__: true, job: true } } })
    .overrideByName(link.column, [{ id: 'links', value: [{ title: link.title, url: link.url }] }])
}

/** Words and links. */
export function words(title: string, about: string, span: number, markdown: string): TextBuilder {
  return new TextBuilder()
    .title(title)
    .description(about)
    .height(HEIGHT)
    .span(span)
    .mode(TextMode.Markdown)
    .content(markdown)
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

interface Row {
  readonly title: string
  readonly panels: readonly AnyPanel[]
}

interface Board {
  readonly uid: string
  readonly title: string
  readonly about: string
  readonly rows: readonly Row[]
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
  for (const row of options.rows) {
    builder.withRow(new RowBuilder(row.title))
    for (const panel of row.panels) builder.withPanel(panel)
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
