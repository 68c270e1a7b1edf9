import t from 'tap'
import { faultsOf } from '../../bench/fleet/mended.js'
import { packageRoot } from '../../src/config/package-root.js'

t.test('this version has none of the faults of older versions', (t) => {
  t.strictSame([...faultsOf(packageRoot())], [])
  t.end()
})

t.test('a version without a fix has its fault', (t) => {
  const folder = t.testdir({ src: { fleet: { 'routing.ts': 'async unreached(callSid: string) {}' } } })
  t.notOk(faultsOf(folder).has('repeated-order-rings'))
  t.ok(faultsOf(folder).has('wait-kept-late'))
  t.end()
})
