import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadFlite } from '../speech/flite.js'
import { spokenForm } from '../speech/spoken-text.js'
import { loadConfig } from '../config/load-config.js'
import { packageRoot } from '../config/package-root.js'
import { GatewayError } from '../core/errors.js'
import { FRAME_MS } from '../core/units.js'
import { dbfsOfEnergy, energyOf } from '../media/pcm.js'
import { channelOf, parseWav } from '../media/wav.js'
import { runCallCommand } from '../simulator/call-command.js'
import type { CallReport } from '../simulator/call-report.js'
import { GeminiDouble } from '../simulator/vendors/gemini-live-double.js'
import { OpenAiDouble } from '../simulator/vendors/openai-realtime-double.js'
import { Script } from '../simulator/vendors/double.js'
import type { Speaker } from '../simulator/vendors/double.js'
import { createLog } from '../telemetry/log.js'
import { startDemoShop } from './demo-shop.js'
import { startGateway } from '../gateway/gateway.js'

const GREETING = 'Hello, this is the order line. You can ask where your order is, or tell me your order number.'
const STATUS = 'Order 4127 is out for delivery. PikiPiki should be with you today between 4 and 6 PM. Is there anything else?'
const KEY = 'key-of-the-demo'
/** Between pieces of 100 ms: a tenth faster than speech, so that the model is in the middle of it when it dies. */
const PACE_MS = 90
/** How far into its answer the first model gets. */
const KILL_AFTER_MS = 1500
/** Quieter than this is a gap, in the recording of what the caller heard. */
const GAP_DBFS = -50
/** What has to get through to the caller after the takeover. */
const ANSWER = 'Order 4127 is out for delivery.'
/** How much of an answer's time makes a sound: speech has pauses, and a busy machine makes more. */
const SOUND_SHARE_MIN = 0.4

export interface FailoverDemoOptions {
  readonly json: string | undefined
  /** Where the recording of the call is kept; null keeps none. */
  readonly record: string | null
  readonly screen: NodeJS.WriteStream
}

/**
 * A call whose model is killed in mid-sentence. Both models are local doubles of the vendors' services, scripted and
 * with a real voice; everything between them and the caller is the gateway as it is.
 * @returns 0 when the caller was told the right status all the same: by what was sent and played (`wasTold`), whatever the simulated
 * caller's recogniser made of it on a busy machine
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
    ], ['no thank you'], { againWithinMs: 1500 }) }),
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
    const report = JSON.parse(await readFile(json, 'utf8')) as { calls: CallReport[] }
    const [call] = report.calls
    const record = gateway.calls.record(call?.callSid ?? '')
    const takeover = record?.timeline.find((mark) => mark.name === 'backend-failover')
    screen.write(`\ntakeover: ${takeover?.detail ?? 'none'}\n`)
    const openedAtMs = record?.timeline.find((mark) => mark.name === 'stream-opened')?.atMs ?? 0
    const takenOverMs = (takeover?.atMs ?? Infinity) - openedAtMs
    const heard = heardBy(await readFile(recording))
    const gapMs = longestGapMs(heard, takenOverMs)
    const told = call !== undefined && wasTold(call.transcript, takenOverMs, heard)
    const listener = code === 0 ? 'and the listener understood it' : `and the listener misheard it: ${call?.goal.why ?? 'there was no call'}`
    screen.write(`after it the answer was ${told ? `sent and played whole, ${listener}` : 'NOT sent and played whole'}\n`)
    screen.write(`longest silence that the caller heard around it: ${gapMs} ms (between two sentences it is some hundred)\n`)
    screen.write(`look-ups run: ${record?.toolCalls.filter((tool) => tool.name === 'lookup_order').length ?? 0}\n`)
    if (options.record !== null) screen.write(`recording: ${options.record}\n`)
    if (options.json === '-') process.stdout.write(`${JSON.stringify(report, null, 2)}\n`)
    else if (options.json !== undefined) await writeFile(options.json, `${JSON.stringify(report, null, 2)}\n`)
    return told ? 0 : 1
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

/** What the caller heard, in the recording of a call. */
export interface HeardSound {
  readonly samples: Int16Array
  readonly sampleRateHz: number
}

function heardBy(file: Uint8Array): HeardSound {
  const wav = parseWav(file)
  return { samples: channelOf(wav, 1), sampleRateHz: wav.sampleRateHz }
}

/**
 * Whether the status was told after the takeover: the answer is in the gateway's transcript, which has only what was sent, and made a sound
 * at the caller's end while it was played.
 * @param takenOverMs since the stream opened, as the transcript's times are; Infinity where no model took over
 */
export function wasTold(transcript: CallReport['transcript'], takenOverMs: number, heard: HeardSound): boolean {
  return transcript.some(({ role, text, startMs, endMs }) => {
    if (role !== 'agent' || endMs < takenOverMs || !text.includes(ANSWER)) return false
    const sounds = soundsOf(heard, Math.max(startMs, takenOverMs), endMs)
    return sounds.filter(Boolean).length > SOUND_SHARE_MIN * sounds.length
  })
}

/** Whether there is a sound, for each 20 ms between two times. */
function soundsOf({ samples, sampleRateHz }: HeardSound, fromMs: number, toMs: number): boolean[] {
  const block = (sampleRateHz * FRAME_MS) / 1000
  const to = Math.min(samples.length, Math.floor(toMs / FRAME_MS) * block)
  const sounds: boolean[] = []
  for (let at = Math.max(0, Math.floor(fromMs / FRAME_MS)) * block; at + block <= to; at += block) {
    sounds.push(dbfsOfEnergy(energyOf(samples, at, at + block), block) > GAP_DBFS)
  }
  return sounds
}

/** The longest silence in what the caller heard from a second before the fault to four seconds after it; 0 without a fault. */
function longestGapMs(heard: HeardSound, faultAtMs: number): number {
  let silent = 0
  let longest = 0
  for (const sound of soundsOf(heard, faultAtMs - 1000, faultAtMs + 4000)) {
    silent = sound ? 0 : silent + 1
    longest = Math.max(longest, silent)
  }
  return longest * FRAME_MS
}
