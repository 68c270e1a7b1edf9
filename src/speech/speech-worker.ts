import { setDefaultAutoSelectFamilyAttemptTimeout } from 'node:net'
import { workerData } from 'node:worker_threads'
import { CONNECT_ATTEMPT_MS } from '../core/limits.js'
import { useCountry } from '../sautikit/phone.js'
import { DecoderSet } from './decoder-set.js'
import { loadFlite } from './flite.js'
import { SPEECH_REFUSALS } from './speech-protocol.js'
import { SpeechSession } from './speech-session.js'
import type { SpeechEngine } from './speech-session.js'
import type { SpeechTask, SpeechTaskResult, SpeechWorkerOptions, SpeechWorkerStats } from './speech-protocol.js'
import { Synthesiser } from './synthesiser.js'

/**
 * A speech worker, loaded by `start-speech-worker.ts`. Only speech workers recognise and synthesise. The models are
 * loaded once for all sessions. A thread that speaks loads the voice at once; the recogniser is loaded when it is
 * needed. Earlier requests wait in the session's port.
 */

// Set by SpeechPool.
const options = workerData as SpeechWorkerOptions
setDefaultAutoSelectFamilyAttemptTimeout(CONNECT_ATTEMPT_MS)
useCountry(options.country)
const loading = load()
// Every task reports a failure of `loading`. Without this handler, the failure would end the thread before the first
// task.
loading.catch(() => undefined)
/**
 * Number of runs before the worker is ready. From the third run on, a sentence needs half the time of the first run.
 */
const WARM_UP_RUNS = 3
let sessions = 0

async function load(): Promise<SpeechEngine> {
  const refusals = new Int32Array(options.refusals)
  const decoders = new DecoderSet(options.decoders, {
    onRefusal: (why) => Atomics.add(refusals, SPEECH_REFUSALS.indexOf(why), 1),
  })
  if (!options.speaks) return { decoders, synthesiser: null, samplesDropped: 0 }
  const flite = await loadFlite()
  const synthesiser = new Synthesiser(flite, {
    cacheBytes: options.promptCacheBytes,
    quiet: () => decoders.stats.leased === 0,
  })
  // In the first runs V8 compiles the module's functions.
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
    // A failure is reported to the first utterance, which tries again.
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
    sentencesMade: synthesiser?.stats.sentencesMade ?? 0,
    sentencesFromCache: synthesiser?.stats.sentencesFromCache ?? 0,
    samplesDropped: engine.samplesDropped,
  }
}
