import t from 'tap'
import { humanEvent } from '../../src/sautikit/supervision.js'

t.test('what became of the human who was added to a call is read from the kind of its event', (t) => {
  const rows: readonly (readonly [string | null, string | null])[] = [
    ['call.supervision.joined', 'joined'], ['call.supervision.answered', 'joined'], ['call.supervision.connected', 'joined'],
    ['call.supervision.no_answer', 'no-answer'], ['call.supervision.busy', 'busy'], ['call.supervision.declined', 'declined'],
    ['call.supervision.failed', 'failed'], ['call.supervision.ended', 'left'], ['CALL.SUPERVISION.STOPPED', 'left'],
    ['call.supervision.ringing', null], ['call.supervision.mode_changed', null], ['call.answered', null], ['', null], [null, null],
  ]
  for (const [kind, event] of rows) t.equal(humanEvent(kind), event, String(kind))
  t.end()
})
