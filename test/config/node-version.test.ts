import t from 'tap'
import { nodeFault } from '../../src/config/node-version.js'

t.test('a Node without security fixes is warned about', (t) => {
  for (const version of ['22.23.4', '22.23.5', '22.24.0', '24.22.1', '24.30.0', '26.12.1', '27.0.0', '28.1.0'])
    t.equal(nodeFault(version), null, version)
  for (const version of ['18.20.0', '20.19.0', '20.99.9', '21.7.3', '23.11.0', '25.9.0'])
    t.equal(
      nodeFault(version),
      `Node ${version} gets no security fixes any more; use 22.23.4, 24.22.1 or 26.12.1, or later`,
      version,
    )
  for (const [version, from] of [
    ['22.23.3', '22.23.4'],
    ['22.9.9', '22.23.4'],
    ['24.22.0', '24.22.1'],
    ['24.9.0', '24.22.1'],
    ['26.12.0-nightly', '26.12.1'],
    ['26.0.0', '26.12.1'],
  ] as const)
    t.equal(
      nodeFault(version),
      `Node ${version} trusts certificates of eight CA keys that became recoverable on 20 October 2026; use ${from} or later`,
    )
  t.end()
})
