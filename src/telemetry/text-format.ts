/** The content type of Prometheus' text format. */
const TEXT_FORMAT = 'text/plain; version=0.0.4; charset=utf-8'

interface Page {
  readonly body: string
  readonly contentType: string
}

/**
 * A page of metrics in the format that its scraper prefers: the text format of Prometheus where `Accept` puts `text/plain`
 * before OpenMetrics, else OpenMetrics as it was written.
 * @param accept  the header; empty without one
 */
export function pageFor(accept: string, { body, contentType }: Page): Page {
  return prefers(accept, 'text/plain') > prefers(accept, 'application/openmetrics-text')
    ? { body: asText(body), contentType: TEXT_FORMAT }
    : { body, contentType }
}

/** The weight of a type that the header names, 0 to 1; 0 for one that it does not name, even if a wildcard covers it. */
function prefers(accept: string, type: string): number {
  const weights = accept
    .toLowerCase()
    .split(',')
    .map((range) => range.split(';').map((part) => part.trim()))
    .filter(([name]) => name === type)
    .map((parts) => Number(/^q=([\d.]{1,5})$/.exec(parts.find((part) => part.startsWith('q=')) ?? 'q=1')?.[1] ?? 0))
  return Math.max(0, ...weights)
}

/** The last page and its text: all scrapers within a second get one page. */
let last = { page: '', text: '' }

/**
 * The page that prom-client would write: its registry cannot write both formats, because writing OpenMetrics renames its
 * counters. A counter's family has the name of its series, and there are no exemplars, units and end.
 */
function asText(page: string): string {
  if (last.page !== page)
    last = {
      page,
      text: page
        .replace(/^# HELP (\S+) (.*)\n# TYPE \1 counter$/gm, '# HELP $1_total $2\n# TYPE $1_total counter')
        .replace(/^(# TYPE \S+) unknown$/gm, '$1 untyped')
        .replace(/^([a-z_:][^ {]*(?:\{.*\})? \S+) # \{.*$/gim, '$1')
        .replace(/^# (?:UNIT .*|EOF)\n/gm, ''),
    }
  return last.text
}
