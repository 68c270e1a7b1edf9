import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { FRAME_MS } from '../../core/units.js'
import { dbfsOfEnergy, energyOf } from '../../media/pcm.js'
import { channelOf, parseWav } from '../../media/wav.js'
import type { CallReport } from '../../simulator/call-report.js'
import { embeddedSpeaker } from '../../simulator/vendors/agent-models.js'
import { Script } from '../../simulator/vendors/double.js'
import type { ServiceDouble } from '../../simulator/vendors/service-double.js'
import { AUTO, REALTIME } from '../../vendors/list.js'
import { conversation } from '../conversation.js'
import { startDouble } from '../double.js'
import type { Terminal } from '../terminal.js'
import { withDemoGateway, once, placeCall, KEY, PACE_MS } from './demo-gateway.js'
import type { DemoOptions } from './demo-gateway.js'

// --- a model that dies in mid-sentence ----------------------------------------------------------------------

/** First two backends of `auto`. Each double has the name of its backend. */
const [PRIMARY = '', STANDBY = ''] = AUTO
const GREETING = 'Hello, this is the order line. You can ask where your order is, or tell me your order number.'
const STATUS =
  'Order 4127 is out for delivery. PikiPiki should be with you today between 4 and 6 PM. Is there anything else?'
/** Time in ms for which the primary has spoken its answer when the demo stops the primary. */
const KILL_AFTER_MS = 1500
/** Level in dBFS below which the recording of the caller's sound counts as silent. */
const GAP_DBFS = -50
/** Sentence that must reach the caller after the failover. */
const ANSWER = 'Order 4127 is out for delivery.'
/** Minimum share of an answer's time that contains sound. Speech has pauses, and a busy machine adds more pauses. */
const SOUND_SHARE_MIN = 0.4

/**
 * Shows a call whose model is stopped in mid-sentence. Both models are scripted doubles of the vendors' services with a
 * real voice, and run on this machine. All code between the models and the caller is the production gateway.
 * @returns 0 if the right status reached the caller. `wasAnswered` decides this from the sent text and the played
 * sound, because the simulated caller's recogniser mishears words on a busy machine
 */
export async function failoverDemo(options: DemoOptions, terminal: Terminal): Promise<number> {
  const { record } = options
  const speaker = await embeddedSpeaker()
  const [{ double: primary, env: ofPrimary }, { double: standby, env: ofStandby }] = await Promise.all([
    startDouble<ServiceDouble>(PRIMARY, {
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
    startDouble<ServiceDouble>(STANDBY, {
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
  const models = REALTIME.get(STANDBY)?.asks.filter((setting) => setting.endsWith('_MODEL')) ?? []
  const env = { ...ofPrimary, ...ofStandby, ...Object.fromEntries(models.map((setting) => [setting, 'double'])) }
  const setting = { env, backend: `backend: [${PRIMARY}, ${STANDBY}]`, services: [primary, standby] }
  return withDemoGateway(options, terminal, setting, async (demo) => {
    const { gateway, folder, print } = demo
    const write = conversation(print, terminal)
    const kill = (): void => {
      write('fault    the first model is killed in mid-sentence\n')
      primary.breakOff()
    }
    // The primary's third answer is the status of the order.
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
        `longest silence that the caller heard around the takeover: ${gapMs} ms (a pause between two sentences has some hundred ms)`,
        `look-ups run: ${lookUps}`,
        ...(record === undefined ? [] : [`recording: ${record}`]),
      ]
      return { ok: answered, result: { calls: [call] }, verdict: `${verdict.join('\n')}\n` }
    } finally {
      unwatch()
    }
  })
}

/** Sound that the caller heard, read from the recording of a call. */
export interface HeardSound {
  readonly samples: Int16Array
  readonly sampleRateHz: number
}

/** @param file  the recording of a call, as `mkondo call --record` writes it */
export function heardBy(file: Uint8Array): HeardSound {
  const wav = parseWav(file)
  return { samples: channelOf(wav, 1), sampleRateHz: wav.sampleRateHz }
}

/**
 * True if the status reached the caller after the failover. Two conditions are checked. The gateway's transcript, which
 * contains only sent speech, must have the answer. The caller must have received sound while the answer was played.
 * @param failedOverMs  time in ms since the stream opened, like the transcript's times; Infinity without a failover
 */
export function wasAnswered(transcript: CallReport['transcript'], failedOverMs: number, heard: HeardSound): boolean {
  return transcript.some(({ role, text, startMs, endMs }) => {
    if (role !== 'agent' || endMs < failedOverMs || !text.includes(ANSWER)) return false
    const sounds = soundsOf(heard, Math.max(startMs, failedOverMs), endMs)
    return sounds.filter(Boolean).length > SOUND_SHARE_MIN * sounds.length
  })
}

/** One boolean for each 20 ms between the two times; true if there is sound in these 20 ms. */
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
 * Maximum silence in ms that the caller heard, from one second before the fault to four seconds after the fault; 0
 * without a fault.
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
