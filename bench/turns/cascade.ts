import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { packageRoot } from '../../src/config/package-root.js'
import { CascadeDouble } from '../../src/vendors/self-hosted/cascade-double.js'
import { DeepgramDouble } from '../../src/vendors/deepgram/double.js'
import { ElevenLabsVoiceDouble } from '../../src/vendors/elevenlabs/double.js'
import { Child, machineMs } from '../kit/process.js'
import { newHistogram, percentilesMs, percentilesOf, recordMs } from '../kit/histogram.js'
import type { Percentiles } from '../kit/histogram.js'
import { closeWebhooks } from '../generator/opening.js'
import type { CascadeUrls, FromTurnsGateway, ToTurnsGateway, TurnsGatewayOptions } from './gateway.js'
import { END_OF_SPEECH_MS, WARM_TURNS, cpuOf, figure, nth, voice } from './share.js'
import { TurnCaller } from './turn-caller.js'

/**
 * Delays in ms of the services: until the recogniser's final text, the model's first token, and the voice's first byte.
 */
export const SERVICE_MS = { stt: 150, llm: 300, tts: 120 } as const
const SERVICES_MS = SERVICE_MS.stt + SERVICE_MS.llm + SERVICE_MS.tts
const KEY = 'key-of-the-bench'
const SAID = 'Where is my order?'
const ANSWER = 'It is on its way to you.'
/** Number of turns. It is larger than the number of turns in a run. */
const TURNS_MAX = 20_000
const PEER = join(packageRoot(), 'bench/peers/livekit-cascade.mjs')

/**
 * Program that answers. `in turn`: the gateway with one service after the other, after a fixed silence has ended the
 * turn. `ahead`: the gateway with its defaults, which ends a question by its words and asks the model before the turn
 * has ended. `livekit`: LiveKit's agents in Node.
 */
export type CascadeSubject = 'in turn' | 'ahead' | 'livekit'

export interface CascadeResult {
  readonly subject: CascadeSubject
  readonly calls: number
  readonly seconds: number
  /** Number of turns that were answered, and number of turns that were not. */
  readonly answered: number
  readonly unanswered: number
  /**
   * For `in turn`: time from the end of the turn, when the recogniser learns of it, to the first sound at the caller's
   * socket, less the services' delays.
   */
  readonly afterEnd: Percentiles | null
  /**
   * For `in turn`: time from the last voiced sample to the first sound, less the silence and the services' delays. It
   * is negative if the detector began the silence before the word's last sound.
   */
  readonly share: Percentiles | null
  /** For `in turn`: `afterEnd` plus the services' delays. */
  readonly whole: Percentiles | null
  /**
   * Time from the last voiced sample to the first sound: the whole wait of the caller, including the silence that ends
   * a turn.
   */
  readonly wait: Percentiles | null
  /** CPU time of the answering program (all threads) in ms per call and second. */
  readonly cpuMs: number
}

/** True if LiveKit's packages are installed (`node bench/peers/install.mjs`). */
export function hasLiveKit(): boolean {
  return existsSync(join(packageRoot(), 'bench/peers/node_modules/@livekit/agents-plugin-elevenlabs'))
}

/** Runs calls on a cascade of services whose delays are known. */
export async function measureCascade(
  options: Pick<CascadeResult, 'subject' | 'calls' | 'seconds'>,
  say: (line: string) => void,
): Promise<CascadeResult> {
  const { subject, calls } = options
  const [stt, llm, tts] = await Promise.all([
    DeepgramDouble.start({ key: KEY, finalMs: SERVICE_MS.stt }),
    CascadeDouble.start({ key: KEY }),
    ElevenLabsVoiceDouble.start({ key: KEY, firstSoundMs: SERVICE_MS.tts }),
  ])
  llm.delayMs.llm = SERVICE_MS.llm
  for (const { script } of [stt, llm, tts]) {
    script.callerSays(...Array.from({ length: TURNS_MAX }, () => SAID))
    script.reply(...Array.from({ length: TURNS_MAX }, () => ({ say: ANSWER })))
  }
  const cascade: CascadeUrls = { stt: stt.baseUrl, llm: llm.baseUrl, tts: tts.baseUrl, ahead: subject !== 'in turn' }
  const server = new Child<ToTurnsGateway, FromTurnsGateway>({
    name: subject === 'livekit' ? 'livekit' : 'gateway',
    file: subject === 'livekit' ? PEER : fileURLToPath(new URL('./gateway.js', import.meta.url)),
    variable: 'BENCH_TURNS',
    options: {
      serviceUrl: '',
      calls,
      turns: 'gateway',
      messageMs: null,
      streamSilence: false,
      endOfSpeechMs: END_OF_SPEECH_MS,
      cascade,
    } satisfies TurnsGatewayOptions,
  })
  let cpuMs = NaN
  const pairs: { readonly caller: TurnCaller; readonly ends: readonly number[] }[] = []
  try {
    const { port } = await server.next('ready')
    const speech = await voice()
    for (let i = 0; i < calls; i++) {
      const caller = new TurnCaller(speech)
      await caller.open(port, subject === 'livekit' ? null : `HD_${String(i + 1).padStart(12, '0')}`)
      // Calls begin one after another, so the session that appears now belongs to this call.
      pairs.push({ caller, ends: (await nth(stt.sessions, i)).endsAtMs })
    }
    cpuMs = await cpuOf(server.pid, options)
  } finally {
    for (const { caller } of pairs) caller.close()
    closeWebhooks()
    await server.stop({ type: 'stop' })
    await Promise.all([stt.close(), llm.close(), tts.close()])
  }
  const result = { ...options, ...figuresOf(pairs, subject === 'in turn'), cpuMs }
  const { afterEnd, share, whole, wait } = result
  say(
    `  ${subject}: ${result.answered} turns of ${calls} calls, ${result.unanswered} unanswered; caller waits p50 ${figure(wait?.p50)}, ` +
      `p99 ${figure(wait?.p99)} ms, ${figure(cpuMs)} ms of processor a call and second${share === null ? '' : `, share after the end of the turn p50 ${figure(afterEnd?.p50)}, p99 ${figure(afterEnd?.p99)}, after the last voiced sample p50 ${figure(share.p50)}, p99 ${figure(share.p99)}, whole p50 ${figure(whole?.p50)}`}`,
  )
  return result
}

/**
 * @param ends  times, by `performance.now`, at which the recogniser learned of the ends of turns
 * @param inTurn  one service follows the other, after a fixed silence
 */
export function figuresOf(
  pairs: readonly { readonly caller: Pick<TurnCaller, 'turns'>; readonly ends: readonly number[] }[],
  inTurn: boolean,
): Pick<CascadeResult, 'answered' | 'unanswered' | 'afterEnd' | 'share' | 'whole' | 'wait'> {
  const wait = newHistogram()
  const [fromVoice, fromEnd]: [number[], number[]] = [[], []]
  let [answered, unanswered] = [0, 0]
  const offsetMs = machineMs() - performance.now()
  for (const { caller, ends } of pairs) {
    for (const [i, { stoppedMs, heardMs }] of caller.turns.entries()) {
      if (i < WARM_TURNS) continue
      const nextMs = caller.turns[i + 1]?.stoppedMs ?? Infinity
      const endMs = ends.map((atMs) => atMs + offsetMs).findLast((atMs) => atMs > stoppedMs && atMs < nextMs)
      if (Number.isNaN(heardMs) || (inTurn && endMs === undefined)) {
        // The end of the run may have cut off the last turn.
        if (nextMs !== Infinity) unanswered++
        continue
      }
      answered++
      recordMs(wait, heardMs - stoppedMs)
      if (!inTurn || endMs === undefined) continue
      fromVoice.push(heardMs - stoppedMs - END_OF_SPEECH_MS)
      fromEnd.push(heardMs - endMs)
    }
  }
  return {
    answered,
    unanswered,
    afterEnd: percentilesOf(fromEnd.map((ms) => ms - SERVICES_MS)),
    share: percentilesOf(fromVoice.map((ms) => ms - SERVICES_MS)),
    whole: percentilesOf(fromEnd),
    wait: percentilesMs(wait),
  }
}
