import t from 'tap'
import { carrierState, decideVoicePost, humanEvent, isTerminal } from '../../src/sautikit/carrier-state.js'
import type { CarrierState, VoiceDecision, VoicePost } from '../../src/sautikit/carrier-state.js'

const SPELLINGS: Readonly<Record<CarrierState, readonly string[]>> = {
  ringing: ['Ringing', 'RINGING', 'LegRinging', 'Initiated', 'incoming', 'queued', 'call.started', 'Dialing'],
  answered: ['Answered', 'call.answered', 'in-progress', 'InProgress', 'Active', 'Connected', 'Bridged'],
  'stream-started': ['StreamStarted', 'stream-started', 'STREAM_STARTED', 'stream connected'],
  'stream-stopped': [
    'StreamStopped',
    'stream-stopped',
    'StreamEnded',
    'stream_closed',
    'stream-disconnected',
    'StreamCompleted',
  ],
  'stream-error': ['StreamError', 'stream-error', 'stream-failed'],
  'dial-completed': ['DialCompleted', 'dial_completed', 'DialEnded', 'DialNoAnswer', 'DialBusy'],
  completed: [
    'Completed',
    'call.completed',
    'Hangup',
    'HANGUP_COMPLETE',
    'hung-up',
    'Ended',
    'call.ended',
    'terminated',
    'Disconnected',
    'NORMAL_CLEARING',
  ],
  failed: ['Failed', 'call.failed', 'Error', 'Canceled', 'cancelled', 'UNALLOCATED_NUMBER'],
  refused: ['rejected', 'declined', 'CALL_REJECTED'],
  busy: ['Busy', 'USER_BUSY'],
  'no-answer': ['NoAnswer', 'no-answer', 'no_answer', 'No Answer', 'NO_USER_RESPONSE', 'NotAnswered', 'missed'],
  unknown: [
    '',
    'hello',
    '123',
    'call.recording.ready',
    'call.supervision.ended',
    'call.supervision.started',
    'RecordingCompleted',
    'streaming',
    'ConferenceEnded',
  ],
}

t.test('every spelling of a state is recognised', (t) => {
  for (const [state, spellings] of Object.entries(SPELLINGS)) {
    for (const spelling of spellings) t.equal(carrierState(spelling), state, `${spelling} is ${state}`)
  }
  t.equal(carrierState(null), 'unknown')
  t.equal(carrierState(undefined), 'unknown')
  t.equal(carrierState('x'.repeat(1e6)), 'unknown', 'a very long word costs nothing')
  t.end()
})

t.test('exactly the final leg states are terminal', (t) => {
  const terminal = (Object.keys(SPELLINGS) as CarrierState[]).filter(isTerminal)
  t.strictSame(terminal.sort(), ['busy', 'completed', 'failed', 'no-answer', 'refused'])
  t.end()
})

const UNKNOWN: Omit<VoicePost, 'state'> = {
  kind: null,
  direction: null,
  sidOfPbx: true,
  served: true,
  known: false,
  phase: null,
  unopened: false,
  escalation: 'none',
}
const WAITING: Omit<VoicePost, 'state'> = { ...UNKNOWN, known: true, phase: 'waiting' }
const STREAMING: Omit<VoicePost, 'state'> = { ...WAITING, phase: 'streaming' }
const PENDING: Omit<VoicePost, 'state'> = { ...WAITING, phase: 'after', escalation: 'pending' }
const DIALING: Omit<VoicePost, 'state'> = { ...PENDING, escalation: 'dialing' }
const ENDED: Omit<VoicePost, 'state'> = { ...WAITING, phase: 'ended' }
const FORGOTTEN: Omit<VoicePost, 'state'> = { ...WAITING, phase: null }

t.test('a voice POST is decided by state and call', (t) => {
  const states = Object.keys(SPELLINGS) as CarrierState[]
  type Wanted = Partial<Record<CarrierState, VoiceDecision>>
  const table: readonly (readonly [string, Omit<VoicePost, 'state'>, Wanted])[] = [
    [
      'a call that nobody has answered',
      UNKNOWN,
      { ringing: 'open-stream', answered: 'open-stream', unknown: 'open-stream', completed: 'open-stream' },
    ],
    [
      'a call that waits for its socket',
      WAITING,
      {
        ringing: 'repeat-document',
        unknown: 'repeat-document',
        'stream-stopped': 'repeat-document',
        'stream-error': 'offer-again',
      },
    ],
    [
      'a call that waits, and only events were given its document',
      { ...WAITING, served: false },
      {
        ringing: 'repeat-document',
        answered: 'repeat-document',
        unknown: 'repeat-document',
        'stream-stopped': 'repeat-document',
        'stream-error': 'offer-again',
      },
    ],
    ['a call that streams', STREAMING, {}],
    [
      'a call with an escalation pending',
      PENDING,
      {
        ringing: 'continue',
        answered: 'continue',
        unknown: 'continue',
        'stream-stopped': 'continue',
        'stream-error': 'continue',
        'dial-completed': 'continue',
      },
    ],
    [
      'a call whose human is being dialled',
      DIALING,
      {
        ringing: 'continue',
        answered: 'continue',
        unknown: 'continue',
        'stream-stopped': 'continue',
        'stream-error': 'continue',
        'dial-completed': 'continue',
        refused: 'continue',
        failed: 'continue',
        busy: 'continue',
        'no-answer': 'continue',
      },
    ],
    [
      'a call whose stream was lost',
      { ...ENDED, phase: 'cut' },
      { 'stream-stopped': 'resume-stream', 'stream-error': 'resume-stream' },
    ],
    ['a call that has ended', ENDED, {}],
    ['a call that ended long ago', FORGOTTEN, {}],
    ['a call whose stream never came', { ...ENDED, unopened: true }, { 'stream-error': 'fall-back' }],
  ]
  for (const [name, call, wanted] of table) {
    for (const state of states) {
      t.equal(decideVoicePost({ ...call, state }), wanted[state] ?? 'empty', `${name}: ${state}`)
      const told =
        state !== 'ringing'
          ? 'empty'
          : !call.known
            ? 'open-stream'
            : call.phase === 'waiting'
              ? 'repeat-document'
              : 'empty'
      t.equal(decideVoicePost({ ...call, state, kind: 'call.started' }), told, `${name}: ${state} as an event`)
      if (!call.known)
        t.equal(
          decideVoicePost({ ...call, state, kind: 'call.started', sidOfPbx: false }),
          'empty',
          `${state} of a REST id`,
        )
      t.equal(
        decideVoicePost({ ...call, state, kind: 'call.started', direction: 'outbound' }),
        'empty',
        `${name}: ${state} as an event of a call that goes out`,
      )
    }
  }
  t.end()
})

t.test('a completed call never gets a Dial', (t) => {
  for (const escalation of ['none', 'pending', 'dialing'] as const) {
    for (const phase of ['waiting', 'streaming', 'after', 'ended', null] as const) {
      t.equal(decideVoicePost({ ...WAITING, state: 'completed', phase, escalation }), 'empty')
    }
  }
  t.end()
})

t.test("a human's outcome follows from the event's kind", (t) => {
  const rows: readonly (readonly [string | null, string | null])[] = [
    ['call.supervision.joined', 'joined'],
    ['call.supervision.answered', 'joined'],
    ['call.supervision.connected', 'joined'],
    ['call.supervision.no_answer', 'no-answer'],
    ['call.supervision.busy', 'busy'],
    ['call.supervision.declined', 'declined'],
    ['call.supervision.failed', 'failed'],
    ['call.supervision.ended', 'left'],
    ['CALL.SUPERVISION.STOPPED', 'left'],
    ['call.supervision.ringing', null],
    ['call.supervision.mode_changed', null],
    ['call.answered', null],
    ['', null],
    [null, null],
  ]
  for (const [kind, event] of rows) t.equal(humanEvent(kind), event, String(kind))
  t.end()
})
