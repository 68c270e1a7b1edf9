import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { DeepgramDouble } from '../../src/vendors/deepgram/double.js'
import { ElevenLabsVoiceDouble } from '../../src/vendors/elevenlabs/double.js'
import { CascadeDouble } from '../../src/vendors/self-hosted/cascade-double.js'
import { OpenAiDouble } from '../../src/vendors/self-hosted/double.js'
import { Script } from '../../src/simulator/vendors/double.js'
import type { Speaker } from '../../src/simulator/vendors/tone-speaker.js'
import type { SimulatedClock } from '../../src/simulator/simulated-clock.js'
import { WrongOption } from '../kit/command.js'
import { type Gateways, type ServiceUrls, openGateways } from './gateways.js'
import { OfflineWords } from './recogniser.js'

/** `cascade`: the offline recogniser sends words 300 ms late. `realtime`: a realtime model that does not send words. */
export type Subject = 'cascade' | 'realtime'

/**
 * Words of the agent, which are always the same: one long sentence that is neither a question nor a claim to be
 * audited.
 */
export const ANSWER =
  'This line is open from eight in the morning until six in the evening on all days of the week and on Saturdays from nine ' +
  'until noon and the shop in the market street has the same hours but closes for lunch between one and two in the afternoon.'

const KEY = 'key-of-the-bench'
const INTERIM_MS = 400
const MODEL_MS = 200
const VOICE_MS = 100
/** Time in ms in which a voice sends 100 ms of sound. */
const PACE_MS = 40
/** Number of answers. It is larger than the number of answers in a run. */
const ANSWERS = 20_000

/** Services of the agent's backend, and the gateways that use them. */
export class SubjectServer {
  readonly gateways: Gateways
  readonly #words: OfflineWords | null
  readonly #close: () => Promise<unknown>

  private constructor(gateways: Gateways, words: OfflineWords | null, close: () => Promise<unknown>) {
    this.gateways = gateways
    this.#words = words
    this.#close = close
  }

  /** @param gatewayDir another clone that is built; null for this clone */
  static async start(options: {
    readonly subject: Subject
    readonly speaker: Speaker
    readonly clock: SimulatedClock
    readonly gatewayDir: string | null
  }): Promise<SubjectServer> {
    const { subject, speaker, clock, gatewayDir } = options
    const words = subject === 'cascade' ? await OfflineWords.start(clock) : null
    const doubles = words === null ? await realtimeDouble(speaker) : await cascadeDoubles(speaker, words)
    try {
      const open = gatewayDir === null ? openGateways : await gatewaysOf(gatewayDir)
      return new SubjectServer(await open(doubles, clock), words, doubles.close)
    } catch (thrown) {
      await Promise.all([doubles.close(), words?.close()])
      throw thrown
    }
  }

  /** Text about the recogniser's work, for the report. */
  get summary(): string {
    if (this.#words === null) return 'no words'
    const { understood, refused } = this.#words.counters
    return `the recogniser heard ${understood} pieces of speech; for ${refused} no decoder was free`
  }

  async close(): Promise<void> {
    await this.gateways.close()
    await Promise.all([this.#close(), this.#words?.close()])
  }
}

/** @throws WrongOption if the clone is not built, or does not contain this bench */
async function gatewaysOf(dir: string): Promise<typeof openGateways> {
  const file = resolve(dir, 'dist/bench/interaction/gateways.js')
  if (!existsSync(file)) throw new WrongOption(`--gateway is '${dir}', which has no ${file}; allowed is a built clone`)
  const { openGateways: open } = (await import(pathToFileURL(file).href)) as { openGateways: typeof openGateways }
  return open
}

interface Doubles extends ServiceUrls {
  readonly close: () => Promise<unknown>
}

const answers = (): Script => new Script(Array.from({ length: ANSWERS }, () => ({ say: ANSWER })))

async function cascadeDoubles(speaker: Speaker, words: OfflineWords): Promise<Doubles> {
  const [stt, llm, tts] = await Promise.all([
    DeepgramDouble.start({
      key: KEY,
      interimMs: INTERIM_MS,
      understand: (pcm, rateHz) => words.understand(pcm, rateHz),
    }),
    CascadeDouble.start({ key: KEY, script: answers() }),
    ElevenLabsVoiceDouble.start({ key: KEY, firstSoundMs: VOICE_MS, paceMs: PACE_MS, speaker }),
  ])
  llm.delayMs.llm = MODEL_MS
  return {
    backend: 'cascade',
    env: {
      DEEPGRAM_API_KEY: KEY,
      DEEPGRAM_STT_URL: stt.baseUrl,
      LLM_URL: llm.baseUrl,
      LLM_API_KEY: KEY,
      LLM_MODEL: 'double',
      ELEVENLABS_API_KEY: KEY,
      ELEVENLABS_TTS_URL: tts.baseUrl,
    },
    close: () => Promise.all([stt.close(), llm.close(), tts.close()]),
  }
}

async function realtimeDouble(speaker: Speaker): Promise<Doubles> {
  const silent = Array.from({ length: ANSWERS }, () => '')
  const script = new Script(
    Array.from({ length: ANSWERS }, () => ({ say: ANSWER })),
    silent,
  )
  const service = await OpenAiDouble.start({ key: KEY, speaker, script })
  const env = { OPENAI_API_KEY: KEY, OPENAI_BASE_URL: service.baseUrl }
  return { backend: 'openai', env, close: () => service.close() }
}
