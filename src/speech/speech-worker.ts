import { workerData } from 'node:worker_threads'
import { DecoderSet } from './decoder-set.js'
import { loadFlite } from './flite.js'
import type { SpeechTask, SpeechTaskResult, SpeechWorkerOptions, SpeechWorkerStats } from './speech-protocol.js'
import { runSpeechSession, type SpeechEngine } from './speech-session.js'
import { Synthesiser } from './synthesiser.js'

/**
 * The entry of a speech worker: the only threads that recognise or synthesise. The models are loaded once for all
 * sessions; a session that comes earlier waits in its port's queue.
 */

// Set by SpeechPool, the only one that starts this file.
const options = workerData as SpeechWorkerOptions
const loading = load()
// A failure is told by every task that awaits it; without this it would end the thread before the first task.
loading.catch(() => undefined)
/** From the third run on a sentence takes half of what the first one took. */
const WARM_UP_RUNS = 3
let sessions = 0

async function load(): Promise<SpeechEngine> {
  const [flite, decoders] = await Promise.all([loadFlite(), DecoderSet.create(options.decoders)])
  const synthesiser = new Synthesiser(flite, {
    cacheBytes: options.promptCacheBytes,
    quiet: () => decoders.stats.leased === 0,
  })
  // The first run of the module compiles its functions; no caller should wait for that.
  for (let i = 0; i < WARM_UP_RUNS; i++) flite.speak('One moment please, I am looking for your order.', 'slt')
  return { decoders, synthesiser, samplesDropped: 0 }
}

export default async function speechTask(task: SpeechTask): Promise<SpeechTaskResult> {
  if (task.type === 'probe') return statsOf(await loading)
  sessions++
  try {
    await runSpeechSession(task.port, await loading)
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
    grammarsLoaded: decoders.stats.grammarsLoaded,
    decodersReplaced: decoders.stats.replaced,
    sentencesMade: synthesiser.stats.sentencesMade,
    sentencesFromCache: synthesiser.stats.sentencesFromCache,
    sentencesPrepared: synthesiser.stats.sentencesPrepared,
    cacheBytes: synthesiser.cacheBytes,
    samplesDropped: engine.samplesDropped,
  }
}
