import t from 'tap'
import { loadAgents } from '../../src/agents/file/loader.js'
import { offlineSchema } from '../../src/agents/offline/offline.js'
import { packageRoot } from '../../src/config/package-root.js'
import { join } from 'node:path'
import type { SpeechClient } from '../../src/speech/speech-client.js'
import { CascadeModels } from '../../src/simulator/vendors/cascade-models.js'
import { SharedListening } from '../../src/simulator/vendors/shared-listening.js'

const { agents } = await loadAgents(join(packageRoot(), 'agents'), { SHOP_API_URL: 'http://127.0.0.1' })
const agent = agents.get('order-status')
const dialogue = offlineSchema.parse(agent?.offline)

/** A double of a cascade; its recogniser notes what it listens for, and hears nothing. */
function double(folder: string, name: string) {
  const heardFor: string[] = []
  const shared = new SharedListening(folder, name)
  const models = new CascadeModels({
    find: () => ({ dialogue, greeting: 'Hello.', languages: ['en'] }),
    dialogues: [dialogue],
    shared,
    openSpeech: () =>
      ({
        startUtterance: (jsgf: string) => {
          heardFor.push(jsgf)
          return { push: () => undefined, end: () => Promise.resolve({ text: '' }) }
        },
        close: () => undefined,
      }) as unknown as SpeechClient,
  })
  const answers = (): void => {
    models.answer([
      { role: 'system', content: 'x' },
      { role: 'assistant', content: 'Hello.' },
      { role: 'user', content: 'where is my order' },
    ])
  }
  return { shared, answers, models, heardFor }
}

t.test("a double's recogniser expects the words of other doubles", async (t) => {
  const folder = join(t.testdir(), 'doubles')
  const [google, azure] = [double(folder, '1'), double(folder, '2')]
  await google.models.understand(new Int16Array(160), 16_000)
  const opening = google.heardFor.splice(0)
  azure.answers()
  await azure.models.understand(new Int16Array(160), 16_000)
  await google.models.understand(new Int16Array(160), 16_000)
  t.same(google.heardFor, azure.heardFor)
  t.equal(google.heardFor.length, opening.length + 1)
  azure.shared.close()
  google.heardFor.splice(0)
  await google.models.understand(new Int16Array(160), 16_000)
  t.same(google.heardFor, opening, 'one that is over has no words any more')
})
