import t from 'tap'
import { agentSchema } from '../../src/agents/file/definition.js'
import type { AgentInput } from '../../src/agents/file/definition.js'
import { RecordingConsent } from '../../src/workers/main/call/recording-consent.js'

const consent = (recording: NonNullable<AgentInput['recording']>): RecordingConsent =>
  new RecordingConsent({ definition: agentSchema.parse({ version: 1, name: 'a', instructions: 'x', recording }) }, null)

t.test('a hang-up during the notice counts as not told', async (t) => {
  const notice = { en: 'This call is written down.' }
  const of = consent({ notice })
  t.equal(of.state(true), 'not-told')
  of.announced = true
  t.equal(of.state(true), 'told')
})

t.test('without a notice the consent state is null', async (t) => {
  for (const of of [consent({}), consent({ enabled: true, consent: null })]) {
    t.equal(of.announced, true, 'a recording is kept from the start')
    t.equal(of.state(true), null)
  }
})
