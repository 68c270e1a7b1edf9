import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadFlite } from '../backends/embedded/flite.js'
import { spokenForm } from '../backends/embedded/spoken-text.js'
import { loadConfig } from '../config/load-config.js'
import { packageRoot } from '../config/package-root.js'
import { GatewayError } from '../core/errors.js'
import { FRAME_MS } from '../core/units.js'
import { dbfsOfEnergy, energyOf } from '../media/pcm.js'
import { channelOf, parseWav } from '../media/wav.js'
import { runCallCommand } from '../simulator/call-command.js'
import { GeminiDouble } from '../simulator/vendors/gemini-live-double.js'
import { OpenAiDouble } from '../simulator/vendors/openai-realtime-double.js'
import { Script } from '../simulator/vendors/spoken.js'
import type { Speaker } from '../simulator/vendors/spoken.js'
import { createLog } from '../telemetry/log.js'
import { startDemoShop } from './demo-shop.js'
import { startGateway } from './gateway.js'

const GREETING = 'Hello, this is the order line. You can ask where your order is, or tell me your order number.'
const STATUS = 'Order 4127 is out for delivery. PikiPiki should be with you today between 4 and 6 PM. Is there anything else?'
const KEY = 'key-of-the-demo'
/** Between pieces of 100 ms: a tenth faster than speech, so that the model is in the middle of it when it dies. */
const PACE_MS = 90
/** How far into its answer the first model gets. */
const KILL_AFTER_MS = 1500
/** Quieter than this is a gap, in the recording of what the caller heard. */
const GAP_DBFS = -50

export interface FailoverDemoOptions {
  readonly json: string | undefined
  /** Where the recording of the call is kept; null keeps none. */
  readonly record: string | null
  readonly screen: NodeJS.WriteStream
}

/**
 * A call whose model is killed in mid-sentence. Both models are local doubles of the vendors' services, scripted and
 * with a real voice; everything between them and the caller is the gateway as it is.
 * @returns 0 when the caller heard the right status all the same
 */
export async function failoverDemo(options: FailoverDemoOptions): Promise<number> {
  const { screen } = options
  const flite = await loadFlite()
  const speaker: Speaker = (text) => flite.speak(spokenForm(text), 'slt')
  const folder = await mkdtemp(join(tmpdir(), 'mkondo-demo-'))
  const [first, second, shop] = await Promise.all([
    OpenAiDouble.start({ key: KEY, speaker, script: new Script([
      { say: GREETING },
      { calls: [{ callId: 'call_1', name: 'lookup_order', args: { orderNumber: '4127' } }] },
      { say: STATUS, paceMs: PACE_MS },
    ], ['4127']) }),
    GeminiDouble.start({ key: KEY, speaker, script: new Script([
      { say: STATUS },
      { say: 'Thank you for calling. Goodbye.', calls: [{ callId: 'call_2', name: 'end_call', args: { reason: 'answered' } }] },
    ], ['no thank you']) }),
    startDemoShop(),
  ])
  const gateway = await startGateway({
    config: {
      ...loadConfig({
        OPENAI_API_KEY: KEY, OPENAI_BASE_URL: first.baseUrl, GEMINI_API_KEY: KEY, GEMINI_BASE_URL: second.baseUrl,
        GEMINI_MODEL: 'double',
      }, null),
      port: 0, opsPort: 0, host: '127.0.0.1', shopApiUrl: shop.url, dataDir: folder, agentsDir: await agentsIn(folder),
    },
    env: { SHOP_API_URL: shop.url },
    log: createLog({ level: 'error' }),
  })
  const watch = setInterval(() => {
    // The third answer is the status.
    if (first.script.answers < 3) return
    clearInterval(watch)
    setTimeout(() => {
      screen.write('fault    the first model is killed in mid-sentence\n')
      first.breakOff()
    }, KILL_AFTER_MS)
  }, FRAME_MS)
  try {
    const recording = options.record ?? join(folder, 'call.wav')
    const json = join(folder, 'call.json')
    const write = (text: string): boolean => screen.write(text)
    const code = await runCallCommand([
      '--url', `http://127.0.0.1:${gateway.publicPort}`, '--ops-url', `http://127.0.0.1:${gateway.opsPort}`,
      '--shop-url', shop.url, '--agent', 'order-status', '--order', '4127', '--from', '+254700000009',
      '--record', recording, '--json', json,
    ], { out: write, err: write, env: {} })
    const report = JSON.parse(await readFile(json, 'utf8')) as { calls: { callSid: string }[] }
    const record = gateway.calls.record(report.calls[0]?.callSid ?? '')
    const takeover = record?.timeline.find((mark) => mark.name === 'backend-failover')
    screen.write(`\ntakeover: ${takeover?.detail ?? 'none'}\n`)
    const openedAtMs = record?.timeline.find((mark) => mark.name === 'stream-opened')?.atMs ?? 0
    const gapMs = await longestGapMs(recording, (takeover?.atMs ?? 0) - openedAtMs)
    screen.write(`longest silence that the caller heard around it: ${gapMs} ms (between two sentences it is some hundred)\n`)
    screen.write(`look-ups run: ${record?.toolCalls.filter((tool) => tool.name === 'lookup_order').length ?? 0}\n`)
    if (options.record !== null) screen.write(`recording: ${options.record}\n`)
    if (options.json === '-') process.stdout.write(`${JSON.stringify(report, null, 2)}\n`)
    else if (options.json !== undefined) await writeFile(options.json, `${JSON.stringify(report, null, 2)}\n`)
    return takeover === undefined ? 1 : code
  } finally {
    clearInterval(watch)
    await gateway.stop(0)
    await Promise.all([first.close(), second.close(), shop.close()])
    await rm(folder, { recursive: true, force: true })
  }
}

/** The shipped order line with two models in a row, in a folder of its own. */
async function agentsIn(folder: string): Promise<string> {
  const yaml = await readFile(join(packageRoot(), 'agents', 'order-status.yaml'), 'utf8')
  const changed = yaml.replace(/^backend: .*$/m, 'backend: [openai, gemini]')
  if (changed === yaml) throw new GatewayError('AGENT_INVALID', 'agents/order-status.yaml has no line `backend: …` to change')
  await writeFile(join(folder, 'order-status.yaml'), changed)
  return folder
}

/** The longest silence in what the caller heard from a second before the fault to four seconds after it. */
async function longestGapMs(file: string, faultAtMs: number): Promise<number> {
  const wav = parseWav(await readFile(file))
  const heard = channelOf(wav, 1)
  const block = (wav.sampleRateHz * FRAME_MS) / 1000
  const from = Math.max(0, Math.floor((faultAtMs - 1000) / FRAME_MS)) * block
  const to = Math.min(heard.length, Math.floor((faultAtMs + 4000) / FRAME_MS) * block)
  let silent = 0
  let longest = 0
  for (let at = from; at + block <= to; at += block) {
    silent = dbfsOfEnergy(energyOf(heard, at, at + block), block) > GAP_DBFS ? 0 : silent + 1
    longest = Math.max(longest, silent)
  }
  return longest * FRAME_MS
}
