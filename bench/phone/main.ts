import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { CallRecord } from '../../src/call/documents/record.js'
import { CallerVoices } from '../../src/carrier/caller-voices.js'
import { voicedExtent } from '../../src/carrier/speech-spans.js'
import { messageOf } from '../../src/core/errors.js'
import { FRAME_MS } from '../../src/core/units.js'
import { findAsterisk, type FoundAsterisk } from '../../src/exchange/own-asterisk.js'
import { CUSTOMER, type OwnExchange, ownExchange } from '../../test/support/own-exchange.js'
import { over, records, voicedMs } from '../../test/support/phone-calls.js'
import type { SipPhone } from '../../test/support/sip-phone.js'
import { until } from '../../test/support/until.js'
import { type PhoneCodec, WIRE_CODECS } from '../../test/support/wire-codecs.js'
import { judged, oneOf, WrongOption } from '../kit/command.js'
import { percentilesOf } from '../kit/histogram.js'
import { columns } from '../terminal.js'

const CODECS = Object.keys(WIRE_CODECS) as PhoneCodec[]

const HELP = `npm run bench -- --phone [--calls N] [--codec NAME] [--json FILE]
  Latency on the clock of a SIP phone that calls the shipped agent order-status (embedded backend) through a real Asterisk and the
  exchange: from the INVITE, and from the answer, to the first packet of the greeting; from the packet with the last sound of the
  caller's question to the first packet of the agent's answer; and from the first packet of an interruption to the agent's last.
  Beside them the figures of the gateway's own record. One call after the other, about 18 s each, after one that is not counted.
  --calls N      of each codec, 1 to 15 (default 5)
  --codec NAME   only this one (may be given more than once): ${CODECS.join(', ')}
  --json FILE    where results go (default bench/results/)
It needs Asterisk 22.8 or later, of this machine or of the folder that ASTERISK_ROOT names, and ffmpeg for all codecs but G.711.
Exit code: 0, 1 when a call gave no figure, 2 where something is missing.`

const RATE_HZ = 8000
const FRAME = (RATE_HZ * FRAME_MS) / 1000
/** Time in ms after which the caller asks. The greeting has ended by then. */
const QUESTION_AT_MS = 9000
/** Time in ms from the question's end to the interruption, so that the agent is in the middle of the answer. */
const INTERRUPTION_AFTER_MS = 3000
/** Time in ms from the interruption's end to the end of the call. */
const END_AFTER_MS = 2500
const CONNECT_MS_MAX = 20_000
const CALL_MS_MAX = 60_000
/** Gap in ms up to which the agent has not stopped: a shorter gap is a pause within a sentence. */
const STOP_GAP_MS = 400

/** All words of the caller in a call. Frames are counted from the beginning of the call. */
interface Mouth {
  readonly payloads: readonly Uint8Array[]
  readonly firstFrame: number
  /** Frame with the last sound of the question. */
  readonly lastFrame: number
  /** Frame with the first sound of the interruption. */
  readonly interruptionFrame: number
}

/** Figures of one call in ms; null if the phone or the record does not have the figure. */
interface Figures {
  readonly inviteToGreeting: number | null
  readonly answerToGreeting: number | null
  readonly wordToAnswer: number | null
  readonly bargeInStop: number | null
}
type Figure = keyof Figures

interface Measured {
  readonly phone: Figures
  /**
   * Figures from the record. They start at the stream's opening, at the caller's last voiced sample and at the
   * interruption; they end at the greeting, at the answer and at the agent's stop.
   */
  readonly gateway: Omit<Figures, 'inviteToGreeting'>
}

interface Row {
  readonly codec: PhoneCodec
  readonly calls: readonly Measured[]
}

/** Measures latency on the clock of a phone, by codec. */
export const phoneBench = judged(
  'phone',
  HELP,
  { codec: { type: 'string', multiple: true } },
  { calls: [5, 1, 15] },
  async ({ calls, codec = [] }, { say, show }) => {
    const named = codec.map((name) => oneOf('--codec', name, CODECS))
    const codecs = named.length === 0 ? CODECS : named
    const asterisk = await asteriskHere()
    const mouths = await mouthsOf(codecs)
    const folder = mkdtempSync(join(tmpdir(), 'mkondo-bench-phone-'))
    const stops: (() => unknown)[] = [() => rmSync(folder, { recursive: true, force: true })]
    const rows: Row[] = []
    try {
      const owner = { teardown: (stop: () => unknown) => void stops.push(stop), testdir: () => folder }
      const own = await ownExchange(owner, asterisk)
      for (const [name, mouth] of mouths) {
        const phone = await own.phone(CUSTOMER, name)
        // The first call is not measured, because it loads voice and recogniser.
        if (rows.length === 0) await measure(own, phone, mouth)
        const measured: Measured[] = []
        for (let call = 1; call <= calls; call++) {
          show(`${name}, call ${call} of ${calls}`)
          measured.push(await measure(own, phone, mouth))
        }
        rows.push({ codec: name, calls: measured })
        say(`${name}: ${calls} calls`)
      }
    } finally {
      for (const stop of stops.reverse()) await stop()
    }
    const missing = rows.flatMap(missingOf)
    const lines = [
      `\nAsterisk ${asterisk.version}, ms on the phone's clock: median (shortest to longest)`,
      ...tableOf(rows),
    ]
    const results = { asterisk: asterisk.version, calls, rows }
    return { ok: missing.length === 0, lines: [...lines, ...missing], results }
  },
)

async function asteriskHere(): Promise<FoundAsterisk> {
  try {
    return await findAsterisk(process.env['ASTERISK_ROOT'] ?? null)
  } catch (thrown) {
    throw new WrongOption(`no phone can call: ${messageOf(thrown)}`)
  }
}

/** Encodes the callers' words before any call, because encoding with ffmpeg takes time. */
async function mouthsOf(codecs: readonly PhoneCodec[]): Promise<ReadonlyMap<PhoneCodec, Mouth>> {
  const voices = await CallerVoices.load()
  try {
    const question = voicedPart(await voices.speak('Where is my order?', 'rms', RATE_HZ))
    const interruption = voicedPart(await voices.speak('Stop talking and tell me where my order is.', 'rms', RATE_HZ))
    return new Map(codecs.map((codec) => [codec, mouthOf(codec, question, interruption)]))
  } finally {
    await voices.close()
  }
}

function voicedPart(pcm: Int16Array): Int16Array {
  const { from, to } = voicedExtent(pcm, RATE_HZ)
  return pcm.subarray(from, to)
}

function mouthOf(codec: PhoneCodec, question: Int16Array, interruption: Int16Array): Mouth {
  const framesOf = (pcm: Int16Array): number => Math.ceil(pcm.length / FRAME)
  const firstFrame = QUESTION_AT_MS / FRAME_MS
  const endFrame = firstFrame + framesOf(question)
  const interruptionFrame = endFrame + INTERRUPTION_AFTER_MS / FRAME_MS
  const pcm = new Int16Array((interruptionFrame + framesOf(interruption) + END_AFTER_MS / FRAME_MS) * FRAME)
  // The last sample of the question is the last sample of its frame.
  pcm.set(question, endFrame * FRAME - question.length)
  pcm.set(interruption, interruptionFrame * FRAME)
  try {
    return { payloads: WIRE_CODECS[codec].encode(pcm), firstFrame, lastFrame: endFrame - 1, interruptionFrame }
  } catch (thrown) {
    throw new WrongOption(`the codec ${codec} needs ffmpeg (Debian: ffmpeg): ${messageOf(thrown)}`)
  }
}

async function measure(own: OwnExchange, phone: SipPhone, mouth: Mouth): Promise<Measured> {
  const before = (await records(own)).length
  const invitedMs = performance.now()
  const call = await phone.call('100')
  await until(() => call.answeredMs !== null || call.ended !== null, CONNECT_MS_MAX, 'an answered call')
  const { answeredMs } = call
  if (answeredMs === null) throw new Error(`the call was not answered: ${call.ended ?? ''}`)
  call.play(mouth.payloads)
  await until(() => !call.isSpeaking || call.ended !== null, CALL_MS_MAX, 'the end of what the caller says')
  call.hangUp()
  const { greetingMs, turns, bargeIns } = await over(own, before)
  const voiced = voicedMs(call)
  const sentMs = (frame: number): number => call.sentMs[frame] ?? Infinity
  const since = (fromMs: number, atMs: number | undefined): number | null => (atMs === undefined ? null : atMs - fromMs)
  // If the agent speaks while the caller asks, there is no answer to measure.
  const [askedMs, saidMs] = [sentMs(mouth.firstFrame), sentMs(mouth.lastFrame)]
  const isQuiet = !voiced.some((atMs) => atMs >= askedMs && atMs <= saidMs)
  return {
    phone: {
      inviteToGreeting: since(invitedMs, voiced[0]),
      answerToGreeting: since(answeredMs, voiced[0]),
      wordToAnswer: isQuiet
        ? since(
            saidMs,
            voiced.find((atMs) => atMs > saidMs),
          )
        : null,
      bargeInStop: stopMs(voiced, sentMs(mouth.interruptionFrame)),
    },
    gateway: {
      answerToGreeting: greetingMs,
      wordToAnswer: turns.find(({ answerMs }) => answerMs !== null)?.answerMs ?? null,
      bargeInStop: stopInRecord(bargeIns),
    },
  }
}

/**
 * Time in ms from the interruption's first voiced sample to the last agent sample sent. An interruption may first be
 * classified as false, after which the agent continues. So the time starts at the first barge-in.
 */
function stopInRecord(bargeIns: CallRecord['bargeIns']): number | null {
  const committed = bargeIns.find((bargeIn) => bargeIn.committed)
  return committed?.stopMs == null ? null : committed.atMs + committed.stopMs - (bargeIns[0] ?? committed).atMs
}

/** Time in ms from `fromMs` to the agent's last packet; null if the agent was not speaking at `fromMs`. */
function stopMs(voiced: readonly number[], fromMs: number): number | null {
  let lastMs = voiced.findLast((atMs) => atMs <= fromMs) ?? -Infinity
  if (fromMs - lastMs > STOP_GAP_MS) return null
  for (const atMs of voiced) if (atMs > lastMs && atMs - lastMs <= STOP_GAP_MS) lastMs = atMs
  return lastMs - fromMs
}

function missingOf({ codec, calls }: Row): readonly string[] {
  const figures: readonly Figure[] = ['inviteToGreeting', 'answerToGreeting', 'wordToAnswer', 'bargeInStop']
  return figures.flatMap((figure) => {
    const without = calls.filter(({ phone }) => phone[figure] === null).length
    return without === 0 ? [] : [`NOT MET: ${codec}: ${without} of ${calls.length} calls without ${figure}`]
  })
}

function tableOf(rows: readonly Row[]): string[] {
  const phone = (figure: Figure) => (row: Row) => spread(row.calls.map((call) => call.phone[figure]))
  const gateway = (figure: keyof Measured['gateway']) => (row: Row) =>
    spread(row.calls.map((call) => call.gateway[figure]))
  return columns(
    rows,
    ['codec', ({ codec }) => codec],
    ['calls', ({ calls }) => calls.length],
    ['INVITE to greeting', phone('inviteToGreeting')],
    ['answer to greeting', phone('answerToGreeting')],
    ['gateway', gateway('answerToGreeting')],
    ['word to answer', phone('wordToAnswer')],
    ['gateway', gateway('wordToAnswer')],
    ['barge-in stop', phone('bargeInStop')],
    ['gateway', gateway('bargeInStop')],
  )
}

function spread(values: readonly (number | null)[]): string {
  const known = values.filter((value) => value !== null)
  const all = percentilesOf(known)
  return all === null ? '-' : `${all.p50.toFixed(0)} (${Math.min(...known).toFixed(0)} to ${all.max.toFixed(0)})`
}
