import { createHmac } from 'node:crypto'
import t from 'tap'
import { derivedKey } from '../../src/fleet/secrets.js'

t.test(
  'a derived key is that of RFC 5869, the same in each process, and another for each secret and purpose',
  async (t) => {
    // Extract with a salt of zeros, expand with one block: written out, so that a change of the derivation is noticed.
    const extracted = createHmac('sha256', Buffer.alloc(32)).update('a secret of the fleet').digest()
    const expanded = createHmac('sha256', extracted).update('mkondo peers 1\x01').digest()
    t.same(derivedKey('a secret of the fleet', 'peers'), expanded)
    t.notSame(derivedKey('a secret of the fleet', 'stored-calls'), expanded)
    t.notSame(derivedKey('another secret', 'peers'), expanded)
    t.throws(() => derivedKey('', 'peers'), /secret is set/)
  },
)
