import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { packageRoot } from '../../src/config/package-root.js'
import { CascadeDouble } from '../../src/simulator/vendors/cascade-double.js'
import { GeminiDouble } from '../../src/simulator/vendors/gemini-live-double.js'
import { OpenAiDouble } from '../../src/simulator/vendors/openai-realtime-double.js'
import { SonioxDouble } from '../../src/simulator/vendors/soniox-double.js'

const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url))
const RIGHT_KEY = 'sk-right-0123456789abcdef'
const WRONG_KEY = 'sk-wrong-0123456789abcdef'

const folder = await mkdtemp(join(tmpdir(), 'mkondo-check-'))
t.teardown(() => rm(folder, { recursive: true, force: true }))
const [openai, gemini] = await Promise.all([
  OpenAiDouble.start({ key: RIGHT_KEY }),
  GeminiDouble.start({ key: RIGHT_KEY }),
])
t.teardown(() => Promise.all([openai.close(), gemini.close()]))

/** `mkondo check` on the order line with these lines in place of its backend. */
async function check(lines: string, env: Readonly<Record<string, string>>): Promise<{ code: number; output: string }> {
  const yaml = await readFile(join(packageRoot(), 'agents', 'order-status.yaml'), 'utf8')
  await writeFile(join(folder, 'order-status.yaml'), yaml.replace(/^backend: .*$/m, lines))
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [MAIN, 'check', '--with-shop'],
      {
        env: {
          PATH: process.env['PATH'] ?? '',
          AGENTS_DIR: folder,
          DATA_DIR: join(folder, 'data'),
          PORT: '0',
          OPS_PORT: '0',
          OPENAI_BASE_URL: openai.baseUrl,
          GEMINI_BASE_URL: gemini.baseUrl,
          GEMINI_MODEL: 'm',
          ...env,
        },
      },
      (error, stdout, stderr) => resolve({ code: error === null ? 0 : Number(error.code), output: stdout + stderr }),
    )
  })
}

t.test('each backend of an agent is connected once, with its key and its options, and nothing is said', async (t) => {
  const { code, output } = await check('backend: [openai, gemini, embedded]', {
    OPENAI_API_KEY: RIGHT_KEY,
    GEMINI_API_KEY: RIGHT_KEY,
  })
  t.equal(code, 0, output)
  t.match(output, /ok +backend openai of order-status is ready after \d+ ms/)
  t.match(output, /ok +backend gemini of order-status is ready after \d+ ms/)
  t.equal(openai.script.answers + gemini.script.answers, 0)
})

t.test('a wrong key, a wrong setting and a service that is not there are found, and no key is shown', async (t) => {
  openai.refuseSession = null
  const wrong = await check('backend: [openai, gemini]', {
    OPENAI_API_KEY: WRONG_KEY,
    GEMINI_API_KEY: RIGHT_KEY,
    GEMINI_BASE_URL: 'http://127.0.0.1:9',
  })
  t.equal(wrong.code, 2, wrong.output)
  t.match(wrong.output, /NOT OK +backend openai of order-status: openai refused the connection: HTTP 401/)
  t.match(wrong.output, /NOT OK +backend gemini of order-status: gemini: no connection \(ECONNREFUSED\)/)
  t.notMatch(wrong.output, WRONG_KEY)
  openai.refuseSession = {
    type: 'invalid_request_error',
    code: 'invalid_value',
    message: 'Invalid voice',
    param: 'session.audio.output.voice',
  }
  const voice = await check('backend: openai', { OPENAI_API_KEY: RIGHT_KEY })
  openai.refuseSession = null
  t.equal(voice.code, 2, voice.output)
  t.match(voice.output, /NOT OK +backend openai .*invalid_value \(session\.audio\.output\.voice\): Invalid voice/)
})

t.test('settings that are valid but probably not intended are pointed out, and do not fail the check', async (t) => {
  const { code, output } = await check(
    [
      'backend: [openai, embedded]',
      'backends: { openai: { turns: { by: server_vad } }, gemini: { temperature: 1 } }',
      'budget: { maxCost: 0.5, prices: { currency: EUR } }',
    ].join('\n'),
    { OPENAI_API_KEY: RIGHT_KEY },
  )
  t.equal(code, 0, output)
  t.match(
    output,
    /LOOK AT budget\.maxCost of order-status has no effect with openai: there is no price in EUR for gpt-realtime-2\.1/,
  )
  t.match(output, /LOOK AT order-status: openai detects turns by itself in a list in which the gateway does/)
  t.match(output, /LOOK AT order-status has options for gemini, which it does not use/)
})

t.test('the stages of a cascade are tried, and what their services lack is said', async (t) => {
  const cascade = await CascadeDouble.start({ key: RIGHT_KEY })
  const soniox = await SonioxDouble.start({ key: RIGHT_KEY })
  t.teardown(() => Promise.all([cascade.close(), soniox.close()]))
  const env = {
    LLM_URL: cascade.baseUrl,
    LLM_API_KEY: RIGHT_KEY,
    TTS_URL: cascade.baseUrl,
    TTS_API_KEY: RIGHT_KEY,
    SONIOX_STT_URL: soniox.baseUrl,
  }
  const wrong = await check('backend: cascade', { ...env, SONIOX_API_KEY: WRONG_KEY })
  t.equal(wrong.code, 2, wrong.output)
  t.match(wrong.output, /NOT OK +backend cascade of order-status: cascade: stt soniox: HTTP 401/)
  t.match(wrong.output, /LOOK AT order-status: tts speech does not tell when a word sounds/)
  t.notMatch(wrong.output, WRONG_KEY)
})
