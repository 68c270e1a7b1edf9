import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { FOREIGN_SHARE_MAX, PAIRS_SPREAD_MAX, comparisonTable, voidBecause } from '../../bench/against/compare.js'
import type { Pair, Run } from '../../bench/against/compare.js'

const run = (cpuMsPerCallSecond: number, more: Partial<Run> = {}): Run => ({
  verdict: 'held',
  reasons: [],
  cpuMsPerCallSecond,
  addedP99Ms: 12,
  kbPerCall: 100,
  heapBytesPerFrame: null,
  foreignCores: 0.1,
  ...more,
})
const pairs: readonly Pair[] = [
  { here: run(3), there: run(2) },
  { here: run(3.3, { kbPerCall: 120 }), there: run(2) },
  { here: run(6), there: run(4) },
]

t.test('a machine that slows down both builds changes no ratio', (t) => {
  t.same(voidBecause(pairs, 2), [])
  const lines = comparisonTable(pairs, '46f59fc')
  t.match(lines[1], /^CPU ms\/call\/s +3\.30 +2\.00 +1\.50 +1\.50 1\.65 1\.50$/)
  t.match(lines[3], /^KB\/call +100 +100 +1\.00 +1\.00 1\.20 1\.00$/)
  t.match(lines[4], /^heap B\/frame +- +- +- +- - -$/, 'a build that does not count its heap has no figure')
  t.end()
})

t.test('a disturbed comparison is void and names the cause', (t) => {
  const [first] = pairs
  const moved = [first, { here: run(3), there: run(2 * (PAIRS_SPREAD_MAX + 0.01)) }] as readonly Pair[]
  t.match(voidBecause(moved, 2), [/^the processor time moved: its ratio was 1\.19 to 1\.50 in 2 pairs$/])
  const busy = [{ here: run(3), there: run(2, { foreignCores: 2 * FOREIGN_SHARE_MAX + 0.01 }) }]
  t.match(voidBecause(busy, 2), [/^run 1 there: others used 0\.31 of 2 cores meanwhile$/])
  t.same(voidBecause(busy, 16), [], 'the same is little on a larger machine')
  const late = { verdict: 'void', reasons: ['the generator was late'], cpuMsPerCallSecond: null }
  t.same(voidBecause([{ here: { ...run(0), ...late }, there: run(2) }], 2), [
    'run 1 here is void: the generator was late',
  ])
  t.end()
})

t.test('an unknown commit is refused before anything is built', (t) => {
  const bench = fileURLToPath(new URL('../../bench/main.js', import.meta.url))
  const { status, stderr } = spawnSync(process.execPath, [bench, '--against', 'no-such-commit'], { encoding: 'utf8' })
  t.equal(status, 2)
  t.match(stderr, /--against is 'no-such-commit'; allowed is a commit of this clone/)
  t.end()
})
