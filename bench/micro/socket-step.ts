import { fileURLToPath } from 'node:url'
import { getHeapStatistics } from 'node:v8'
import { setTimeout as sleep } from 'node:timers/promises'
import type { BackendSession, BackendSink } from '../../src/backends/backend.js'
import { OpenAiRealtimeBackend } from '../../src/vendors/self-hosted/realtime/backend.js'
import { FRAME_MS } from '../../src/core/units.js'
import { Child } from '../kit/process.js'
import type { FromBackend, ToBackend } from '../protocol.js'
import type { MicroOptions, MicroTimes } from './main.js'

/** Number of sessions over loopback. They are sent to in turn, three times as often as in calls. */
const CALLS = 200
const MESSAGE_MS = 60
const FRAMES = MESSAGE_MS / FRAME_MS
const TICK_MS = 10
const SENT_A_TICK = (CALLS * TICK_MS) / (MESSAGE_MS / 3)
const WARM_UP_TICKS = 150
const CONNECT_MS_MAX = 10_000

const session: BackendSession = {
  callSid: 'bench',
  agent: 'bench',
  from: '',
  to: '',
  instructions: 'Say back what you hear.',
  greeting: null,
  tools: [],
  language: 'en',
  languages: ['en'],
  voice: null,
  history: [],
  toolLedger: [],
  offline: null,
  resume: null,
}

/** Cost in µs or bytes for one frame of one call. */
interface Cost {
  readonly out: number
  readonly in: number
}

/**
 * Cost of a caller's frame on its way to a realtime service, and of the answer's frame on its way back. It includes
 * socket, kernel, JSON and base64.
 */
export async function socketTimes({ rounds, roundMs }: MicroOptions): Promise<readonly MicroTimes[]> {
  const service = new Child<ToBackend, FromBackend>({
    name: 'stand-in backend',
    file: fileURLToPath(new URL('../backend/main.js', import.meta.url)),
    variable: 'BENCH_BACKEND',
    options: { cushionMs: 0, messageMsMax: 0, thinkMs: 0, tls: null, oneResponse: false, answerAfterMs: 0 },
  })
  const opened: OpenAiRealtimeBackend[] = []
  try {
    const { port } = await service.next('ready')
    let samplesIn = 0
    const sink: BackendSink = {
      event: () => undefined,
      audio: (pcm) => {
        samplesIn += pcm.length
      },
    }
    for (let i = 0; i < CALLS; i++) {
      const backend = new OpenAiRealtimeBackend(sink, {
        apiKey: null,
        model: 'stand-in',
        baseUrl: `http://127.0.0.1:${port}/v1`,
        messageMs: MESSAGE_MS,
      })
      await backend.connect(session, AbortSignal.timeout(CONNECT_MS_MAX))
      opened.push(backend)
    }
    const frame = new Int16Array(24 * FRAME_MS).map((_, i) => 3000 * Math.sin(i * 0.07))
    let turn = 0
    /**
     * Sends and receives for `ticks` ticks. Heap and time are measured in separate runs, because reading the heap
     * takes time.
     */
    const run = async (ticks: number, meter: () => number): Promise<Cost> => {
      const heardBefore = samplesIn
      let out = 0
      let inward = 0
      let last = meter()
      for (let tick = 0; tick < ticks; tick++) {
        for (let i = 0; i < SENT_A_TICK; i++) {
          const backend = opened[turn++ % CALLS] as OpenAiRealtimeBackend
          for (let j = 0; j < FRAMES; j++) backend.pushAudio(frame)
        }
        const sent = meter()
        // If a collection has made the heap smaller in between, the difference counts as 0.
        out += Math.max(0, sent - last)
        await sleep(TICK_MS)
        last = meter()
        inward += Math.max(0, last - sent)
      }
      return { out: out / (ticks * SENT_A_TICK * FRAMES), in: inward / ((samplesIn - heardBefore) / frame.length) }
    }
    const ticks = Math.ceil(roundMs / TICK_MS)
    const takeRounds = async (meter: () => number): Promise<readonly Cost[]> => {
      const costs: Cost[] = []
      for (let round = 0; round < rounds; round++) costs.push(await run(ticks, meter))
      return costs
    }
    await run(WARM_UP_TICKS, cpuUs)
    const times = await takeRounds(cpuUs)
    const weights = await takeRounds(heapBytes)
    const rowOf = (name: string, way: keyof Cost): MicroTimes => ({
      name: `backends/vendor-connection: ${name}, 60 ms messages`,
      us: times.map((cost) => cost[way]),
      heapBytesPerFrame: median(weights.map((cost) => cost[way])),
    })
    return [rowOf('caller audio out', 'out'), rowOf('agent audio in', 'in')]
  } finally {
    await Promise.all(opened.map((backend) => backend.close('done')))
    await service.stop({ type: 'stop' })
  }
}

function cpuUs(): number {
  const { user, system } = process.cpuUsage()
  return user + system
}

function heapBytes(): number {
  return getHeapStatistics().used_heap_size
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? NaN
}
