import { loadFlite } from '../../src/speech/flite.js'
import { frameSamples } from '../../src/core/units.js'
import { Child, cpuBetween, cpuTime } from '../kit/process.js'
import { newHistogram, percentilesMs, recordMs } from '../kit/histogram.js'
import type { Percentiles } from '../kit/histogram.js'
import { closeWebhooks } from '../generator/opening.js'
import type { FromTurnsGateway, ToTurnsGateway, TurnsGatewayOptions } from './gateway.js'
import { KnownService } from './known-service.js'
import type { KnownSession } from './known-service.js'
import { TurnCaller } from './turn-caller.js'

export interface ShareOptions {
  readonly turns: 'gateway' | 'server_vad'
  /** Duration in ms of caller audio in one message; null for the gateway's own value. */
  readonly messageMs: number | null
  /** True if the service also gets the silence between turns. */
  readonly streamSilence: boolean
  readonly calls: number
  readonly seconds: number
}

/** The gateway's share of the caller's wait, in ms. */
export interface ShareResult extends ShareOptions {
  /** Number of turns that were answered, and number of turns that were not. */
  readonly answered: number
  readonly unanswered: number
  /** Time from sending the last voiced sample to the question at the service, less the silence that ends a turn. */
  readonly inbound: Percentiles | null
  /** Time from the first sound that the service sends to the first sound at the caller's socket. */
  readonly outbound: Percentiles | null
  /** Sum of `inbound` and `outbound` for each turn: the whole wait except the silence and the service's own delay. */
  readonly share: Percentiles | null
  /** Caller audio that arrives at the service, per call and second. */
  readonly audioIn: { readonly messages: number; readonly kilobytes: number }
  /** CPU time of the gateway (all threads) in ms per call and second. */
  readonly cpuMs: number
}

const DELAY_MS = 200
export const END_OF_SPEECH_MS = 600
const SILENCE_MS = 500
const ANSWER_MS = 300
const WORDS = 'Where is my order'
const SESSION_WAIT_MS = 5000
/** Number of turns at the start of each call that are not counted, because code and connections are new. */
export const WARM_TURNS = 1

/** Runs calls against a backend with a known delay. Measures the part of the caller's wait that the gateway adds. */
export async function measureShare(options: ShareOptions, say: (line: string) => void): Promise<ShareResult> {
  const service = await KnownService.start({
    delayMs: DELAY_MS,
    readyMs: 0,
    silenceMs: SILENCE_MS,
    answerMs: ANSWER_MS,
  })
  const gateway = new Child<ToTurnsGateway, FromTurnsGateway>({
    name: 'gateway',
    file: new URL('./gateway.js', import.meta.url).pathname,
    variable: 'BENCH_TURNS',
    options: {
      serviceUrl: service.baseUrl,
      calls: options.calls,
      turns: options.turns,
      messageMs: options.messageMs,
      streamSilence: options.streamSilence,
      endOfSpeechMs: END_OF_SPEECH_MS,
      cascade: null,
    } satisfies TurnsGatewayOptions,
  })
  const audioIn = { messages: 0, kilobytes: 0 }
  let cpuMs = NaN
  const pairs: { readonly caller: TurnCaller; readonly session: KnownSession }[] = []
  try {
    const { port } = await gateway.next('ready')
    const speech = await voice()
    for (let i = 0; i < options.calls; i++) {
      const caller = new TurnCaller(speech)
      // Calls begin one after another, so the session that appears now belongs to this call.
      await caller.open(port, `HD_${String(i + 1).padStart(12, '0')}`)
      pairs.push({ caller, session: await nth(service.sessions, i) })
    }
    const count = (times: number): void => {
      for (const { session } of pairs) {
        audioIn.messages += (times * session.audioIn.messages) / options.seconds / options.calls
        audioIn.kilobytes += (times * session.audioIn.bytes) / 1000 / options.seconds / options.calls
      }
    }
    count(-1)
    cpuMs = await cpuOf(gateway.pid, options)
    count(1)
  } finally {
    for (const { caller } of pairs) caller.close()
    closeWebhooks()
    await gateway.stop({ type: 'stop' })
    await service.close()
  }
  const quietMs = options.turns === 'gateway' ? END_OF_SPEECH_MS : SILENCE_MS
  const result = { ...options, ...shareOf(pairs, quietMs), audioIn, cpuMs }
  say(
    `  turns by ${options.turns}, ${messagesOf(options)}: ${result.answered} turns of ${options.calls} calls, share p50 ` +
      `${figure(result.share?.p50)}, p99 ${figure(result.share?.p99)} ms (in ${figure(result.inbound?.p99)}, out ${figure(result.outbound?.p99)}); ` +
      `${audioIn.messages.toFixed(1)} messages and ${audioIn.kilobytes.toFixed(1)} KB of a caller's audio a second; ${figure(cpuMs)} ms of processor a call and second`,
  )
  return result
}

export function messagesOf({ messageMs, streamSilence }: Pick<ShareOptions, 'messageMs' | 'streamSilence'>): string {
  const messages = messageMs === null ? 'messages as the gateway takes them' : `messages of ${messageMs} ms`
  return streamSilence ? `${messages}, with the silence between turns` : messages
}

function shareOf(pairs: readonly { readonly caller: TurnCaller; readonly session: KnownSession }[], quietMs: number) {
  const [inbound, outbound, share] = [newHistogram(), newHistogram(), newHistogram()]
  let answered = 0
  let unanswered = 0
  for (const { caller, session } of pairs) {
    for (const [i, turn] of caller.turns.entries()) {
      if (i < WARM_TURNS) continue
      // The answer to this turn was requested after the end of this turn and before the end of the next.
      const nextMs = caller.turns[i + 1]?.stoppedMs ?? Infinity
      const answer = session.answers.findLast(({ askedMs }) => askedMs > turn.stoppedMs && askedMs < nextMs)
      if (answer === undefined || Number.isNaN(turn.heardMs) || Number.isNaN(answer.sentMs)) {
        // The end of the run may have cut off the last turn.
        if (nextMs !== Infinity) unanswered++
        continue
      }
      answered++
      // The detector may end a word before its last sound, so that the silence begins too early. This must not make up
      // for other delays.
      const inMs = Math.max(0, answer.askedMs - turn.stoppedMs - quietMs)
      const outMs = turn.heardMs - answer.sentMs
      recordMs(inbound, inMs)
      recordMs(outbound, outMs)
      recordMs(share, inMs + outMs)
    }
  }
  return {
    answered,
    unanswered,
    inbound: percentilesMs(inbound),
    outbound: percentilesMs(outbound),
    share: percentilesMs(share),
  }
}

/** CPU time of a process while calls are running, in ms per call and second. */
export async function cpuOf(
  pid: number,
  { calls, seconds }: { readonly calls: number; readonly seconds: number },
): Promise<number> {
  const from = cpuTime(pid)
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000))
  return (cpuBetween(pid, from, cpuTime(pid)).cores * 1000) / calls
}

/** A few spoken words that end at full loudness, so that their last sample is voiced. */
export async function voice(): Promise<Int16Array> {
  const flite = await loadFlite()
  const { pcm, sampleRateHz } = flite.speak(WORDS, 'slt')
  if (sampleRateHz !== 16_000) throw new Error(`the voice has ${sampleRateHz} Hz`)
  const frame = frameSamples(16_000)
  const loud = (from: number): boolean => {
    let energy = 0
    for (let i = from; i < from + frame; i++) energy += (pcm[i] ?? 0) ** 2
    return Math.sqrt(energy / frame) > 1500
  }
  const frames = Math.floor(pcm.length / frame)
  let [first, last] = [0, frames - 1]
  while (first < last && !loud(first * frame)) first++
  while (last > first && !loud(last * frame)) last--
  return pcm.slice(first * frame, (last + 1) * frame)
}

/** Session of a call, as soon as it exists. */
export async function nth<Session>(sessions: readonly Session[], index: number): Promise<Session> {
  for (let waitedMs = 0; waitedMs < SESSION_WAIT_MS; waitedMs += 5) {
    const session = sessions[index]
    if (session !== undefined) return session
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  throw new Error('a call connected no backend')
}

export function figure(ms: number | undefined): string {
  return ms === undefined ? '-' : ms.toFixed(1)
}
