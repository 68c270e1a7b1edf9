/** The content type of Prometheus' text format. */
const TEXT_FORMAT = 'text/plain; version=0.0.4; charset=utf-8'

interface Page {
  readonly body: string
  readonly contentType: string
}

/**
 * Page of metrics in the scraper's format: Prometheus' text format if `Accept` prefers `text/plain`, otherwise
 * OpenMetrics.
 * @param accept the header; empty if there is no header
 */
export function pageFor(accept: string, { body, contentType }: Page): Page {
  return prefers(accept, 'text/plain') > prefers(accept, 'application/openmetrics-text')
    ? { body: asText(body), contentType: TEXT_FORMAT }
    : { body, contentType }
}

/**
 * Weight of a type in the header, 0 to 1. It is 0 if the header does not name the type, even if a wildcard includes it.
 */
function prefers(accept: string, type: string): number {
  const weights = accept
    .toLowerCase()
    .split(',')
    .map((range) => range.split(';').map((part) => part.trim()))
    .filter(([name]) => name === type)
    .map((parts) => Number(/^q=([\d.]{1,5})$/.exec(parts.find((part) => part.startsWith('q=')) ?? 'q=1')?.[1] ?? 0))
  return Math.max(0, ...weights)
}

/** The last page and its text format, because several scrapers get the same page. */
let last = { page: '', text: '' }

/**
 * The page in Prometheus' text format, made from the page in OpenMetrics. prom-client's registry cannot write both
 * formats, because writing OpenMetrics renames its counters. In the text format, a counter's family has the name of its
 * series. Exemplars, units and the end mark are removed.
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
