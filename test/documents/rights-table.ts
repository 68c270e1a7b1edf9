import { OPS_THINGS, RIGHTS_OF, mayUse } from '../../src/edge/ops/ops-rights.js'
import type { OpsHolder } from '../../src/edge/ops/ops-rights.js'
import { OPS_ROUTES } from '../../src/edge/ops/ops-routes.js'
import { tableRow, withMadeSection } from './made-section.js'

const HEADINGS: Readonly<Record<OpsHolder, string>> = {
  OPS_READ_TOKEN: '`OPS_READ_TOKEN`',
  'of-numbers': 'a token of some numbers, for their calls',
  read: '*Look at calls*',
  act: '*Look and act*, `OPS_TOKEN`',
  listen: '*Listen too*, `OPS_LISTEN_TOKEN`',
}

/** The page of the console with its table of rights. */
export function consolePage(): string {
  const holders = Object.keys(RIGHTS_OF) as OpsHolder[]
  const routesOf = (name: string): string[] =>
    Object.entries(OPS_ROUTES).flatMap(([route, { thing }]) => (thing === name ? [route] : []))
  const rows = Object.entries(OPS_THINGS)
    .filter(([, { right }]) => right !== 'open' && right !== 'login')
    .map(([name, thing]) => [
      thing.what,
      routesOf(name)
        .map((route) => `\`${route.replace('SOCKET', 'GET')}\``)
        .join(', '),
      ...holders.map((holder) => (mayUse(holder, thing) ? 'yes' : '-')),
    ])
  const table = [
    ['thing', 'routes', ...holders.map((holder) => HEADINGS[holder])],
    ['thing', 'routes', ...holders].map(() => '---'),
    ...rows,
  ]
  return withMadeSection('docs/CONSOLE.md', 'rights', `${table.map(tableRow).join('\n')}\n`)
}
