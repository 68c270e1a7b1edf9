import { join } from 'node:path'
import { packageRoot } from '../../src/config/package-root.js'

/** Folder of an agent that takes one number by key or voice and a secret one by key alone. */
export const KEYPAD_AGENTS = join(packageRoot(), 'test/agents/keypad')

/** Its caller: too few keys, then the number in two ways, then the code. */
export const KEYS_AND_WORDS = `version: 1
agent: parcel
caller:
  steps:
    - { press: '82#', heard: say or key in your parcel number }
    - { press: '8214#', heard: did not get all }
    - { press: '1', heard: I have 8 }
    - { press: '4127', heard: key in your secret code }
    - { say: Goodbye., heard: Your parcel is }
expect:
  said: ['Parcel 8214.', 'Your parcel is']
  called:
    - { tool: collect_digits, with: { name: parcel-number } }
    - { tool: open_parcel, with: { code: '••••' } }
    - { tool: collect_digits, with: { name: code } }
  neverSaid: '4127'
`
