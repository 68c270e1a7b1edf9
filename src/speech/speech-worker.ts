import { setDefaultAutoSelectFamilyAttemptTimeout } from 'node:net'
import { workerData } from 'node:worker_threads'
import { CONNECT_ATTEMPT_MS } from '../core/limits.js'
import { useCountry } from '../sautikit/phone.js'
import { DecoderSet } from './decoder-set.js'
import { loadFlite } from './flite.js'
import { SpeechSession } from './speech-session.js'
import type { SpeechEngine } from './speech-session.js'
import type { SpeechTask, SpeechTaskResult, SpeechWorkerOptions, SpeechWorkerStats } from './speech-protocol.js'
import { Synthesiser } from './synthesiser.js'

/**
 * A speech worker, which `start-speech-worker.ts` loads. Only speech workers recognise and synthesise. The models are loaded once for all
 * sessions: the voice's at once, the recogniser's when it is wanted. Requests that arrive before that wait in the
 * session's port.
 */

// Set by SpeechPool.
const options = workerData as SpeechWorkerOptions
setDefaultAutoSelectFamilyAttemptTimeout(CONNECT_ATTEMPT_MS)
useCountry(options.country)
const loading = load()
// Every task reports a failure of `loading`. Without a handler here the failure would end the thread before the first
// task.
loading.catch(() => undefined)
/** From the third run on a sentence takes half the time of the first one. */
const WARM_UP_RUNS = 3
let sessions = 0

async function load(): Promise<SpeechEngine> {
  const flite = await loadFlite()
  const decoders = new DecoderSet(options.decoders)
  const synthesiser = new Synthesiser(flite, {
    cacheBytes: options.promptCacheBytes,
    quiet: () => decoders.stats.leased === 0,
  })
  // The first runs compile the module's functions.
  for (let i = 0; i < WARM_UP_RUNS; i++) flite.speak('One moment please, I am looking for your order.', 'slt')
  return { decoders, synthesiser, samplesDropped: 0 }
}

export default async function speechTask(task: SpeechTask): Promise<SpeechTaskResult> {
  if (task.type === 'probe') {
    const engine = await loading
    if (task.decoders) await engine.decoders.prepare()
    return statsOf(engine)
  }
  sessions++
  try {
    const engine = await loading
    // A failure is reported by the first utterance, which tries again.
    if (task.decoders) engine.decoders.prepare().catch(() => undefined)
    await new SpeechSession(task.port, engine).over
  } finally {
    sessions--
    task.port.close()
  }
  return null
}

function statsOf(engine: SpeechEngine): SpeechWorkerStats {
  const { decoders, synthesiser } = engine
  return {
    sessions,
    decodersLeased: decoders.stats.leased,
    utterancesWaiting: decoders.stats.waiting,
    utterancesRefused: decoders.stats.refused,
    sentencesMade: synthesiser.stats.sentencesMade,
    sentencesFromCache: synthesiser.stats.sentencesFromCache,
    samplesDropped: engine.samplesDropped,
  }
}
