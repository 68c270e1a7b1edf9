import dns from 'node:dns'
import { mock } from 'node:test'
import t from 'tap'
import { CascadeBackend } from '../../src/backends/cascade/cascade-backend.js'
import { factoriesOf, loadVendors } from '../../src/backends/cascade/services.js'
import { conformanceSession, Recorder, speakTo } from '../../src/backends/conformance.js'
import { TranscriptionDouble } from '../../src/vendors/openai/double.js'
import { CascadeDouble } from '../../src/vendors/self-hosted/cascade-double.js'

const KEY = 'azure-0123456789abcdef'

// The doubles refuse a bearer token if they are asked as a host of Azure.
t.before(() =>
  mock.method(dns, 'lookup', (_host: string, ...rest: unknown[]) => {
    const done = rest.at(-1) as (...found: unknown[]) => void
    const { all } = Object(rest[0]) as { readonly all?: unknown }
    if (all === true) done(null, [{ address: '127.0.0.1', family: 4 }])
    else done(null, '127.0.0.1', 4)
  }),
)
t.after(() => mock.restoreAll())

for (const stt of ['whisper', 'realtime'])
  t.test(`cascade services at Azure OpenAI get an api-key, with ${stt}`, async (t) => {
    const double = await CascadeDouble.start({ key: KEY })
    const recogniser = await TranscriptionDouble.start({ key: KEY, script: double.script })
    const at = ({ baseUrl }: { readonly baseUrl: string }) => ({
      baseUrl: baseUrl.replace('127.0.0.1', 'resource.openai.azure.com'),
      apiKey: KEY,
      model: 'deployment',
    })
    const settings = {
      stt: { whisper: at(double), realtime: at(recogniser) },
      llm: { chat: at(double) },
      tts: { speech: at(double) },
    }
    const own = { stt, llm: 'chat', tts: 'speech' }
    await loadVendors(settings, own)
    const recorder = new Recorder()
    const backend = new CascadeBackend(recorder, factoriesOf(settings, own))
    t.teardown(async () => {
      await backend.close('the test is over')
      await Promise.all([double.close(), recogniser.close()])
    })
    await backend.connect(conformanceSession(), new AbortController().signal)
    double.script.callerSays('Where is it?')
    double.script.reply({ say: 'It arrives tomorrow at noon.' })
    await speakTo(backend, 900)
    t.equal((await recorder.next('turn-done')).status, 'completed')
    t.same(recorder.all('error'), [])
  })
