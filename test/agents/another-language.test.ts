import { join } from 'node:path'
import t from 'tap'
import { agentSchema } from '../../src/agents/file/definition.js'
import { textIn } from '../../src/call/spoken/localized-text.js'
import type { LocalizedText } from '../../src/call/spoken/localized-text.js'
import { DecoderSet } from '../../src/speech/decoder-set.js'
import { askedFirst } from '../../src/backends/embedded/dialogue/call-back.js'
import { DialogueEngine } from '../../src/backends/embedded/dialogue/engine.js'
import { offlineSchema } from '../../src/agents/offline/offline.js'
import { AMINA, BRIAN, contextOf, openLine, textCall } from './support-line.js'
import { packageRoot } from '../../src/config/package-root.js'

const line = await openLine('huduma', join(packageRoot(), 'test/agents/huduma'))
t.teardown(() => line.close())

/** Every text of several words in a value; of a phrase that in this language. */
function textsIn(value: unknown, language: string): string[] {
  if (typeof value === 'string') return /\s/.test(value) ? [value] : []
  if (typeof value !== 'object' || value === null) return []
  if (language in value) return [textIn(value as LocalizedText, language)]
  return Object.values(value).flatMap((one) => textsIn(one, language))
}

t.test('a Swahili agent answers, verifies and escalates in Swahili', async (t) => {
  const call = await textCall(line, AMINA)
  t.match(call.said.join(' '), /^Hujambo/)
  t.match(await call.says('habari mnafungua lini tafadhali'), /Tunafungua kila siku.*kuna jambo lingine\?/)
  t.match(await call.says('nalipaje'), /kulipa kwa simu/)
  t.match(await call.says('nataka salio langu'), /kitambulisho chako/)
  t.match(await call.says('saba tatu nane tano'), /Si sahihi/)
  t.match(await call.says('saba tatu nane sita'), /Mpango wako ni Home 20, na salio lako ni shilingi 350\./)
  t.match(await call.says('hapana'), /Kwaheri/)
  const other = await textCall(line, BRIAN)
  await other.says('nataka kuongea na mtu')
  t.match(other.calls.at(-1), { name: 'escalate_to_human', args: { reason: 'Mteja anataka mtu.' } })
})

t.test('tools accept Swahili words from a model', async (t) => {
  const context = contextOf(AMINA)
  t.match(await line.tools.run('verify_caller', { question: 'kuzaliwa', answer: '17 Aprili 1988' }, context), {
    ok: true,
    value: { verified: true },
  })
  t.match(await line.tools.run('search_knowledge', { query: 'malipo ya bili' }, context), {
    value: { passages: [{ title: 'Kulipa bili' }] },
  })
})

t.test('no default phrase remains in English', async (t) => {
  const english = textsIn(
    agentSchema.parse({ version: 1, name: 'a', instructions: 'x', escalation: { numbers: ['+254720000010'] } }),
    'en',
  )
  t.ok(english.includes('Sorry, could you say that again?'))
  const own = textsIn({ ...line.agent, offline: { ...line.agent.offline, words: {} } }, 'sw')
  t.same(
    english.filter((text) => own.includes(text)),
    [],
  )
  t.ok(line.agent.escalation?.silentLine, 'the line for a silent colleague is Swahili too')
})

t.test('a call back is offered in Swahili', async (t) => {
  const dialogue = askedFirst(offlineSchema.parse(line.agent.offline))
  const call = await textCall(line, AMINA, dialogue)
  t.same(call.said, [line.agent.greeting], 'the first words are the question')
  t.equal(await call.says('ndiyo'), 'Sawa. Nikusaidie nini?')
  t.same(
    call.calls.map(({ name }) => name),
    ['resume_conversation'],
  )
  t.match(await call.says('nalipaje'), /kulipa kwa simu/)
  t.equal(await (await textCall(line, AMINA, dialogue)).says('hapana'), 'Sawa. Kwaheri.')
  const own = { goOn: 'Sawa. Nikusaidie nini?', goodbye: 'Sawa. Kwaheri.' }
  const shipped = askedFirst(offlineSchema.parse({ ...(line.agent.offline as object), callBack: own }))
  for (const said of ['ndiyo tuendelee', 'moja'])
    t.equal(await (await textCall(line, AMINA, shipped)).says(said), 'Sawa. Nikusaidie nini?', said)
  t.equal(await (await textCall(line, AMINA, shipped)).says('umekosea namba'), 'Sawa. Kwaheri.')
})

t.test('the recogniser accepts the grammar and its pronunciations', async (t) => {
  const engine = new DialogueEngine({
    dialogue: offlineSchema.parse(line.agent.offline),
    values: { caller: { number: '' }, greeting: 'x' },
    answered: [],
    resume: null,
  })
  engine.handle({ type: 'start', takeover: false })
  const { jsgf, words } = engine.grammar()
  t.match(jsgf, /\[hujambo \| habari\]/)
  const decoders = new DecoderSet(1)
  const lease = await decoders.request(jsgf, words).lease
  t.ok(lease, 'every word is known')
  lease.release()
})
