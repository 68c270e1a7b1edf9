import t from 'tap'
import { endOfOurs, endOfSocket } from '../../src/edge/carrier-socket.js'

// Only these two are tested without real sockets: they would need half a minute of silence, or a process that ends.
t.test(
  'a socket that answers no ping, and one that is closed because the process ends, are no caller who hung up',
  async (t) => {
    t.match(endOfSocket(1006, 'WebSocket timed out from inactivity'), {
      cause: 'carrier-silent',
      fault: { reason: 'carrier-silent' },
    })
    t.match(endOfOurs('shutdown', 1001), { cause: 'shutdown', code: 1001, fault: { reason: 'drain-limit' } })
    t.same(endOfOurs('flushed', 1000), { cause: 'flushed', code: 1000 })
    t.match(endOfSocket(1006, 'words that a later version says'), { cause: 'lost', fault: { reason: 'socket-lost' } })
  },
)
