import { join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../../src/config/package-root.js'
import { command } from '../support/command.js'

for (const [example, names] of [
  [
    'campaigns',
    [
      'goodbye-while-it-is-noted',
      'kwaheri-kabla-ya-kuandikwa',
      'no-more-calls-from-a-stranger',
      'msinipigie-kutoka-kwa-mgeni',
      'called-back-and-somebody-else-answers',
      'anapokea-mtu-mwingine',
      'called-back-and-presses-1',
      'anapigiwa-na-kukubali',
    ],
  ],
  [
    'two-agents',
    ['handed-over-while-it-is-noted', 'anaunganishwa-kabla-ya-kuandikwa', 'water-at-home', 'umeme-nyumbani'],
  ],
  [
    'known-caller',
    ['memory-not-for-a-stranger', 'memory-for-its-owner', 'kumbukumbu-si-ya-mgeni', 'kumbukumbu-ya-mwenye-simu'],
  ],
] as const)
  t.test(`proofs and slow effects hold in both languages (${example})`, async (t) => {
    const from = join(packageRoot(), 'examples', example)
    const files = names.map((name) => join(from, 'scenarios', `${name}.yaml`))
    const { code, out } = await command(['simulate', ...files, '--agents', join(from, 'agents')], {})
    t.equal(code, 0, out)
    t.match(out, new RegExp(`^${names.length} passed`, 'm'))
  })
