import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { type EventKind, type Tick, type TickEffect, eventsOf, panelOf } from '../../bench/interaction/panel.js'
import { differencesFromExpected, publishedConversations } from '../../bench/interaction/tau-voice.js'

const EFFECTS: Readonly<Record<string, TickEffect>> = {
  t: { kind: 'tic', text: '[cough]' },
  o: { kind: 'others', text: 'one moment' },
}

/**
 * A conversation, one character a tick.
 * @param caller  `c` speech, `b` a backchannel, `t` and `o` speech with a tic or to somebody else; in capitals in no
 *   utterance
 * @param agent  `a` speech
 */
function ticksOf(caller: string, agent: string): readonly Tick[] {
  return [...caller].map((sign, i) => {
    const effect = EFFECTS[sign.toLowerCase()]
    return {
      caller: /[a-z]/.test(sign),
      agent: agent[i] === 'a',
      backchannel: sign === 'b',
      effects: effect === undefined ? [] : [effect],
    }
  })
}

function eventsIn(caller: string, agent: string, kind: EventKind) {
  return eventsOf(ticksOf(caller, agent))
    .filter((event) => event.kind === kind)
    .map(({ right, latencyS }) => ({ right, latencyS }))
}

t.test('a turn is answered in the gap after it', (t) => {
  t.same(eventsIn('ccc.......', '.....aaaaa', 'response'), [{ right: true, latencyS: 0.4 }])
  t.end()
})

t.test('a turn followed by another turn is not answered', (t) => {
  t.same(eventsIn('cc...cc....', '.........aa', 'response'), [
    { right: false, latencyS: null },
    { right: true, latencyS: 0.4 },
  ])
  t.end()
})

t.test('silence after the last turn is not an event', (t) => {
  t.same(eventsIn('cc....', '......', 'response'), [])
  t.end()
})

t.test('an interruption that the agent ignores is not a turn', (t) => {
  t.same(eventsIn('..ccc.......', 'aaaaaaaaa...', 'response'), [])
  t.end()
})

t.test('a yield counts only within two seconds', (t) => {
  t.same(eventsIn('..ccccccccccccc.', 'aaaaaaaaaaa.....', 'yield'), [{ right: true, latencyS: 1.8 }])
  t.same(eventsIn('..ccccccccccccc.', 'aaaaaaaaaaaa....', 'yield'), [{ right: false, latencyS: null }])
  t.end()
})

t.test('the agent may stop within one second after a sound', (t) => {
  for (const [sign, kind] of [
    ['b', 'backchannel'],
    ['t', 'tic'],
    ['o', 'others'],
  ] as const) {
    t.same(eventsIn(`..${sign}......`, 'aaaaaa...', kind), [{ right: false, latencyS: null }], `${kind}: stops in time`)
    t.same(eventsIn(`..${sign}......`, 'aaaaaaa..', kind), [{ right: true, latencyS: null }], `${kind}: talked through`)
  }
  t.end()
})

t.test('a backchannel outranks a tic, and a tic other sounds', (t) => {
  const both = ticksOf('.bto...', 'aaaaaaa')
  t.same(
    eventsOf(both).map(({ kind }) => kind),
    ['backchannel'],
  )
  t.same(eventsIn('ot....', 'aaaaaa', 'tic').length, 1)
  t.same(eventsIn('ot....', 'aaaaaa', 'others').length, 0)
  t.end()
})

t.test('sounds in silence have two seconds after their end', (t) => {
  t.same(eventsIn('.TT............', '.............a.', 'tic'), [{ right: false, latencyS: null }])
  t.same(eventsIn('.TT............', '..............a', 'tic'), [{ right: true, latencyS: null }])
  t.same(eventsIn('.oo............', '.............a.', 'others'), [{ right: false, latencyS: null }])
  t.end()
})

t.test('effects out of turn count only if the agent stops', (t) => {
  t.same(eventsIn('.T.........', 'aaaaaaaaaaa', 'tic'), [])
  t.same(eventsIn('.T.........', 'aaaaaa.....', 'tic'), [{ right: false, latencyS: null }])
  t.end()
})

t.test('an agent that begins in an utterance interrupts', (t) => {
  const panel = panelOf([eventsOf(ticksOf('ccccc.....cc.....', '...a..aa.......aa'))])
  t.equal(panel.counts.agentInterrupts, 1)
  t.equal(panel.counts.responses, 2)
  t.equal(panel.agentInterrupts, 0.5)
  t.end()
})

t.test('the last word of a call is not counted', (t) => {
  t.same(eventsIn('cc.....aaaac'.replaceAll('a', '.'), '....aaaaaaaa', 'yield'), [])
  t.end()
})

t.test('the figures of several conversations are combined', (t) => {
  const panel = panelOf([
    eventsOf(ticksOf('..cccc....', 'aaaa......')),
    eventsOf(ticksOf('..cccc....', 'aaaaaaaaaa')),
    eventsOf(ticksOf('.b........', 'aaaaaaaaaa')),
  ])
  t.same(panel, {
    yieldRate: 0.5,
    yieldLatencyS: 0.4,
    responseRate: null,
    responseLatencyS: null,
    agentInterrupts: null,
    backchannels: 1,
    tics: null,
    others: null,
    counts: { conversations: 3, responses: 0, yields: 2, backchannels: 1, tics: 0, others: 0, agentInterrupts: 0 },
  })
  t.end()
})

t.test('conversations in the τ-voice format are parsed', async (t) => {
  const folder = t.testdir()
  const chunk = (speech: boolean, insert: object | null, action = 'wait') => ({
    contains_speech: speech,
    turn_taking_action: { action },
    speech_effects: null,
    source_effects: insert === null ? null : { speech_insert: insert },
  })
  const tick = (user: object, agent: boolean) => ({ user_chunk: user, agent_chunk: { contains_speech: agent } })
  const quiet = tick(chunk(false, null), true)
  await writeFile(
    join(folder, 'one.json'),
    JSON.stringify({
      ticks: [
        tick(chunk(true, null, 'backchannel'), true),
        ...Array.from({ length: 6 }, () => quiet),
        tick(chunk(false, { type: 'vocal_tic', text: 'um' }), false),
        tick(chunk(false, { type: 'non_directed_phrase', text: 'wait' }), false),
        ...Array.from({ length: 20 }, () => tick(chunk(false, null), false)),
      ],
    }),
  )
  await writeFile(join(folder, 'other.json'), '{"info": {}}')
  const panel = panelOf(await publishedConversations(folder))
  t.same([panel.backchannels, panel.tics, panel.others], [1, 1, 1])
  t.equal(panel.counts.conversations, 1)
  t.equal(await differencesFromExpected(folder, panel), null, 'it says nothing about what is expected')
  await mkdir(join(folder, 'empty'))
  await t.rejects(publishedConversations(join(folder, 'empty')), { message: /has no JSON file with ticks/ })
  await t.rejects(publishedConversations(join(folder, 'none')), { message: /cannot be read/ })
})

t.test('a difference from the expected figures is reported', async (t) => {
  const folder = t.testdir()
  const panel = panelOf([eventsOf(ticksOf('..cccc....', 'aaaa......'))])
  const none = { response_latency_mean: 0, response_rate: 0, agent_interruption_rate: 0 }
  const selectivity = { selectivity_backchannel: 0, selectivity_vocal_tic: 0, selectivity_non_directed: 0 }
  const counts = {
    n_simulations: 1,
    response_total: 0,
    yield_total: 2,
    backchannel_total: 0,
    vocal_tic_total: 0,
    non_directed_total: 0,
    agent_interrupts_count: 0,
  }
  await writeFile(
    join(folder, 'expected_metrics.json'),
    JSON.stringify({ yield_latency_mean: 0.4, yield_rate: 1, ...none, ...selectivity, counts }),
  )
  const differences = await differencesFromExpected(folder, panel)
  t.ok(differences?.includes('interruptions: 1, expected 2'))
  t.notOk(differences?.some((text) => text.startsWith('yield')))
})
