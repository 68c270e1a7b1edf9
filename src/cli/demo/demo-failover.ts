import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { FRAME_MS } from '../../core/units.js'
import { dbfsOfEnergy, energyOf } from '../../media/pcm.js'
import { channelOf, parseWav } from '../../media/wav.js'
import type { CallReport } from '../../simulator/call-report.js'
import { embeddedSpeaker } from '../../simulator/vendors/agent-models.js'
import { GeminiDouble } from '../../simulator/vendors/gemini-live-double.js'
import { OpenAiDouble } from '../../simulator/vendors/openai-realtime-double.js'
import { Script } from '../../simulator/vendors/double.js'
import { conversation } from '../conversation.js'
import type { Terminal } from '../terminal.js'
import { withDemoGateway, once, placeCall, KEY, PACE_MS } from './demo-gateway.js'
import type { DemoOptions } from './demo-gateway.js'

// --- a model that dies in mid-sentence ----------------------------------------------------------------------

const GREETING = 'Hello, this is the order line. You can ask where your order is, or tell me your order number.'
const STATUS =
  'Order 4127 is out for delivery. PikiPiki should be with you today between 4 and 6 PM. Is there anything else?'
/** How long the primary answers before it is killed. */
const KILL_AFTER_MS = 1500
/** Quieter than this is a gap, in the recording of what the caller heard. */
const GAP_DBFS = -50
/** Sentence that must reach the caller after the failover. */
const ANSWER = 'Order 4127 is out for delivery.'
/** The least share of an answer's time that has sound: speech has pauses, and a busy machine adds more. */
const SOUND_SHARE_MIN = 0.4

/**
 * A call whose model is killed in mid-sentence. Both models are local doubles of the vendors' services, scripted and
 * with a real voice; everything between them and the caller is the gateway as it is.
 * @returns 0 when the right status reached the caller, judged by what was sent and played (`wasAnswered`) and not by
 *   the simulated caller's recogniser, which mishears on a busy machine
 */
export async function failoverDemo(options: DemoOptions, terminal: Terminal): Promise<number> {
  const { record } = options
  const speaker = await embeddedSpeaker()
  const [primary, standby] = await Promise.all([
    OpenAiDouble.start({
      key: KEY,
      speaker,
      script: new Script(
        [
          { say: GREETING },
          { calls: [{ callId: 'call_1', name: 'lookup_order', args: { orderNumber: '4127' } }] },
          { say: STATUS, paceMs: PACE_MS },
        ],
        ['4127'],
      ),
    }),
    GeminiDouble.start({
      key: KEY,
      speaker,
      script: new Script(
        [
          { say: STATUS },
          {
            say: 'Thank you for calling. Goodbye.',
            calls: [{ callId: 'call_2', name: 'end_call', args: { reason: 'answered' } }],
          },
        ],
        ['no thank you'],
        { againWithinMs: 1500 },
      ),
    }),
  ])
  const env = {
    OPENAI_API_KEY: KEY,
    OPENAI_BASE_URL: primary.baseUrl,
    GEMINI_API_KEY: KEY,
    GEMINI_BASE_URL: standby.baseUrl,
    GEMINI_MODEL: 'double',
  }
  const setting = { env, backend: 'backend: [openai, gemini]', services: [primary, standby] }
  return withDemoGateway(options, terminal, setting, async (demo) => {
    const { gateway, folder, print } = demo
    const write = conversation(print, terminal)
    const kill = (): void => {
      write('fault    the first model is killed in mid-sentence\n')
      primary.breakOff()
    }
    // The third answer is the status.
    const unwatch = once(
      () => primary.script.answers >= 3,
      () => setTimeout(kill, KILL_AFTER_MS),
    )
    try {
      const recording = record ?? join(folder, 'call.wav')
      const caller = { agent: 'order-status', order: '4127', from: '+254700000009', record: recording }
      const call = await placeCall(demo, caller, write)
      const kept = gateway.calls.record(call.callSid)
      const failover = kept?.timeline.find((mark) => mark.name === 'backend-failover')
      print(`\ntakeover: ${failover?.detail ?? 'none'}\n`)
      const openedAtMs = kept?.timeline.find((mark) => mark.name === 'stream-opened')?.atMs ?? 0
      const failedOverMs = (failover?.atMs ?? Infinity) - openedAtMs
      const heard = heardBy(await readFile(recording))
      const gapMs = longestGapMs(heard, failedOverMs)
      const answered = wasAnswered(call.transcript, failedOverMs, heard)
      const listener = call.goal.reached
        ? 'and the listener understood it'
        : `and the listener misheard it: ${call.goal.why}`
      const lookUps = kept?.toolCalls.filter((tool) => tool.name === 'lookup_order').length ?? 0
      const verdict = [
        `after it the answer was ${answered ? `sent and played whole, ${listener}` : 'NOT sent and played whole'}`,
        `longest silence that the caller heard around it: ${gapMs} ms (between two sentences it is some hundred)`,
        `look-ups run: ${lookUps}`,
        ...(record === undefined ? [] : [`recording: ${record}`]),
      ]
      return { ok: answered, result: { calls: [call] }, verdict: `${verdict.join('\n')}\n` }
    } finally {
      unwatch()
    }
  })
}

/** Sound that the caller heard, in the recording of a call. */
export interface HeardSound {
  readonly samples: Int16Array
  readonly sampleRateHz: number
}

function heardBy(file: Uint8Array): HeardSound {
  const wav = parseWav(file)
  return { samples: channelOf(wav, 1), sampleRateHz: wav.sampleRateHz }
}

/**
 * True if the status reached the caller after the failover: the answer is in the gateway's transcript, which has only
 * what was sent, and made a sound at the caller's end while it was played.
 * @param failedOverMs since the stream opened, as the transcript's times are; Infinity without a failover
 */
export function wasAnswered(transcript: CallReport['transcript'], failedOverMs: number, heard: HeardSound): boolean {
  return transcript.some(({ role, text, startMs, endMs }) => {
    if (role !== 'agent' || endMs < failedOverMs || !text.includes(ANSWER)) return false
    const sounds = soundsOf(heard, Math.max(startMs, failedOverMs), endMs)
    return sounds.filter(Boolean).length > SOUND_SHARE_MIN * sounds.length
  })
}

/** True if there is a sound, for each 20 ms between two times. */
function soundsOf({ samples, sampleRateHz }: HeardSound, fromMs: number, toMs: number): boolean[] {
  const block = (sampleRateHz * FRAME_MS) / 1000
  const to = Math.min(samples.length, Math.floor(toMs / FRAME_MS) * block)
  const sounds: boolean[] = []
  for (let at = Math.max(0, Math.floor(fromMs / FRAME_MS)) * block; at + block <= to; at += block) {
    sounds.push(dbfsOfEnergy(energyOf(samples, at, at + block), block) > GAP_DBFS)
  }
  return sounds
}

/**
 * The longest silence in what the caller heard from a second before the fault to four seconds after it; 0 without a
 * fault.
 */
function longestGapMs(heard: HeardSound, faultAtMs: number): number {
  let silent = 0
  let longest = 0
  for (const sound of soundsOf(heard, faultAtMs - 1000, faultAtMs + 4000)) {
    silent = sound ? 0 : silent + 1
    longest = Math.max(longest, silent)
  }
  return longest * FRAME_MS
}
