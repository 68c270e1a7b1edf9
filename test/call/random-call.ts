import fc from 'fast-check'
import type { Rig } from './rig.js'

const generation = fc.integer({ min: 1, max: 6 })
const item = fc.constantFrom('i1', 'i2', 'i3', 'i4')
const callId = fc.constantFrom('t1', 't2', 't3', 't4')

/** One thing that may happen to a call, in any order, even an impossible one. */
export const callStep = fc.oneof(
  fc.record({ do: fc.constant('quiet' as const), ms: fc.integer({ min: 20, max: 3000 }) }),
  fc.record({
    do: fc.constant('speak' as const),
    ms: fc.integer({ min: 20, max: 1500 }),
    as: fc.record({
      levelDbfs: fc.integer({ min: -70, max: 0 }),
      doubtful: fc.boolean(),
      pitchHz: fc.constantFrom(0, 97.3, 212.8),
    }),
  }),
  fc.record({ do: fc.constant('stall' as const), ms: fc.integer({ min: 20, max: 2000 }) }),
  fc.record({ do: fc.constant('ready' as const) }),
  fc.record({ do: fc.constant('answer' as const), generation, item, ms: fc.integer({ min: 0, max: 4000 }) }),
  fc.record({ do: fc.constant('audio' as const), generation, item, ms: fc.integer({ min: 20, max: 500 }) }),
  fc.record({ do: fc.constant('turn-start' as const), generation }),
  fc.record({
    do: fc.constant('turn-done' as const),
    generation,
    status: fc.constantFrom('completed' as const, 'cancelled' as const, 'failed' as const),
  }),
  fc.record({
    do: fc.constant('tool' as const),
    callId,
    generation,
    name: fc.constantFrom('find_order', 'refund', 'nonsense', 'escalate_to_human', 'end_call'),
  }),
  fc.record({ do: fc.constant('tool-result' as const), callId, ok: fc.boolean() }),
  fc.record({ do: fc.constant('tool-cancel' as const), callId }),
  fc.record({
    do: fc.constant('words' as const),
    item,
    text: fc.constantFrom('', 'hello', 'where is my order'),
    final: fc.boolean(),
  }),
  fc.record({
    do: fc.constant('vad' as const),
    type: fc.constantFrom('speech-started' as const, 'speech-stopped' as const),
  }),
  fc.record({ do: fc.constant('interrupted' as const), generation }),
  fc.record({ do: fc.constant('dtmf' as const), digit: fc.constantFrom('1', '#') }),
  fc.record({ do: fc.constant('operator' as const) }),
  fc.record({
    do: fc.constant('step' as const),
    step: fc.constantFrom(
      { type: 'hold' } as const,
      { type: 'close-stream', mayBeSilent: false } as const,
      { type: 'bridged', strategy: 'supervision' } as const,
      { type: 'failed', outcome: 'busy', detail: '', closed: false } as const,
      { type: 'offer', outcome: 'busy', detail: '', closed: true } as const,
    ),
  }),
  fc.record({
    do: fc.constant('carrier' as const),
    state: fc.constantFrom('stream-started' as const, 'answered' as const, 'busy' as const, 'stream-stopped' as const),
  }),
  fc.record({ do: fc.constant('heard' as const), item }),
  fc.record({ do: fc.constant('announce-failed' as const), n: fc.integer({ min: 1, max: 5 }) }),
  fc.record({ do: fc.constant('identity' as const) }),
  // Less likely: steps that end a call.
  fc.record({ do: fc.constant('die' as const), dice: fc.integer({ min: 0, max: 9 }), fatal: fc.boolean() }),
  fc.record({ do: fc.constant('hangup' as const), dice: fc.integer({ min: 0, max: 9 }), speak: fc.boolean() }),
)

type Step = typeof callStep extends fc.Arbitrary<infer T> ? T : never

/** Plays one step into a rig. */
export function play(rig: Rig, step: Step): void {
  switch (step.do) {
    case 'quiet':
      return rig.run(step.ms)
    case 'speak':
      return rig.speak(step.ms, step.as)
    case 'stall':
      return rig.stall(step.ms)
    case 'ready':
      return rig.ready()
    case 'answer':
      return rig.answer(step.generation, step.item, step.ms)
    case 'audio':
      return void rig.audio(step.generation, step.item, step.ms)
    case 'turn-start':
      return rig.backend({ type: 'turn-start', generation: step.generation })
    case 'turn-done':
      return rig.backend({ type: 'turn-done', generation: step.generation, status: step.status })
    case 'tool':
      return rig.toolCall(step.callId, step.name, { reason: 'r' }, step.generation)
    case 'tool-result':
      return rig.in({ type: 'tool-result', callId: step.callId, ok: step.ok, value: step.ok ? { a: 1 } : null })
    case 'tool-cancel':
      return rig.backend({ type: 'tool-cancel', callIds: [step.callId] })
    case 'words':
      return rig.backend({
        type: 'transcript',
        role: 'caller',
        text: step.text,
        final: step.final,
        itemId: step.item,
        generation: 0,
      })
    case 'vad':
      return rig.backend({ type: step.type })
    case 'interrupted':
      return rig.backend({ type: 'interrupted', generation: step.generation })
    case 'dtmf':
      return rig.in({ type: 'dtmf', digit: step.digit })
    case 'operator':
      return rig.in({ type: 'escalate-requested', reason: 'vip' })
    case 'step':
      return rig.in({ type: 'escalation', step: step.step })
    case 'carrier':
      return rig.in({ type: 'carrier-state', state: step.state })
    case 'heard':
      return rig.in({ type: 'item-heard', itemId: step.item })
    case 'announce-failed':
      return rig.in({ type: 'announce-failed', itemId: `gw-${step.n}` })
    case 'identity':
      return rig.identity({ accountId: 'A-1' })
    case 'die':
      if (step.dice > 0) return
      return rig.backend(
        step.fatal
          ? { type: 'error', code: 'network', message: 'm', fatal: true, retryable: true }
          : { type: 'closed', code: 1006, reason: '', clean: false },
      )
    case 'hangup':
      if (step.dice > 0) return
      return rig.in({ type: 'hangup-requested', reason: 'operator-hangup', detail: '', speak: step.speak })
    default: {
      const never: never = step
      return never
    }
  }
}
