import t from 'tap'
import type { AgentDefinition } from '../../src/agents/file/definition.js'
import { unrefTimer } from '../../src/core/clock.js'
import { FRAME_MS } from '../../src/core/units.js'
import { SpeechPool } from '../../src/speech/speech-pool.js'
import { MediaPool } from '../../src/workers/main/media-pool.js'
import { processClock } from '../../src/workers/shared/ticker.js'
import { type CallTime, type HostChanges, startHost, type TestHost } from './host.js'
import { until } from './until.js'

/** Real time. */
export const REAL_TIME: CallTime = {
  nowMs: () => performance.now(),
  wallClock: Date.now,
  after: unrefTimer,
  subscribe: (listener) => {
    let dueMs = performance.now()
    const timer = setInterval(() => {
      for (; performance.now() >= dueMs; dueMs += FRAME_MS) listener()
    }, 5)
    return () => clearInterval(timer)
  },
  until,
}

let speechOfFile: SpeechPool | null = null

/** One speech pool for all hosts of a test file, because loading it takes a second of CPU time. */
async function sharedSpeech(): Promise<SpeechPool> {
  if (speechOfFile === null) {
    const pool = (speechOfFile = new SpeechPool({ decodersPerThread: 1 }))
    t.teardown(() => pool.close())
  }
  await speechOfFile.ready()
  return speechOfFile
}

interface ThreadChanges extends HostChanges {
  readonly workers?: number
  readonly workerMemoryMb?: number
}

/** Starts the host of host.ts with real media workers and real speech. Its lines use `REAL_TIME`. */
export async function startThreads(
  { workers = 1, workerMemoryMb = 512, ...changes }: ThreadChanges = {},
  change?: (agent: AgentDefinition) => AgentDefinition,
): Promise<TestHost> {
  return startHost(
    {
      time: REAL_TIME,
      clock: processClock(),
      speech: changes.speech === undefined ? await sharedSpeech() : changes.speech,
      openPool: (calls, { assets, env, backends }) =>
        new MediaPool({
          ...calls,
          workers,
          workerData: { assets, env, backends, phrasesFolder: null, memoryMb: workerMemoryMb },
        }),
      ...changes,
    },
    change,
  )
}
