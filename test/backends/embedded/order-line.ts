import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parse } from 'yaml'
import { z } from 'zod'
import type { BackendEvent } from '../../../src/call/backend-events.js'
import type { BackendSession, BackendSink } from '../../../src/backends/backend.js'
import { EmbeddedBackend } from '../../../src/backends/embedded/embedded-backend.js'
import type { Flite } from '../../../src/speech/flite.js'
import { SpeechClient } from '../../../src/speech/speech-client.js'
import type { SpeechPool } from '../../../src/speech/speech-pool.js'
import { framesOf, overThePhone } from './phone-line.js'

function packageRoot(from: string): string {
  try {
    const name = z.object({ name: z.string() }).safeParse(JSON.parse(readFileSync(join(from, 'package.json'), 'utf8')))
    if (name.success && name.data.name === 'mkondo') return from
  } catch {
    // Not here; the folder above.
  }
  return packageRoot(dirname(from))
}

const root = packageRoot(dirname(fileURLToPath(import.meta.url)))

/** An agent that is shipped: the tests run what callers get. */
export function agentFile(path: string): unknown {
  return parse(readFileSync(join(root, path), 'utf8'))
}

export const ORDER_LINE = z
  .object({ greeting: z.string(), offline: z.unknown() })
  .parse(agentFile('agents/order-status.yaml'))

interface Order {
  orderNumber: string
  status: string
  eta: string | null
  courier: string | null
  reason?: string
}

export const ONE_ORDER = '+254700000001'
export const TWO_ORDERS = '+254700000002'
export const STRANGER = '+254700000008'
const ORDERS: Readonly<Record<string, readonly Order[]>> = {
  [ONE_ORDER]: [
    { orderNumber: '4127', status: 'out_for_delivery', eta: 'today between 4 and 6 PM', courier: 'PikiPiki' },
  ],
  [TWO_ORDERS]: [
    { orderNumber: '3056', status: 'processing', eta: 'in three days', courier: null },
    {
      orderNumber: '8214',
      status: 'delayed',
      eta: 'tomorrow before noon',
      courier: 'Boda Express',
      reason: 'the road is flooded',
    },
  ],
  '+254700000003': [{ orderNumber: '9638', status: 'packed', eta: 'on Monday', courier: null }],
}

/** The answer of the shop's `lookup_order`, as the tool runner gives it. */
export function lookUp(args: Readonly<Record<string, unknown>>): unknown {
  if (typeof args['orderNumber'] === 'string') {
    return (
      Object.values(ORDERS)
        .flat()
        .find((order) => order.orderNumber === args['orderNumber']) ?? { found: false }
    )
  }
  const orders = ORDERS[String(args['callerNumber'])]
  return orders === undefined ? { found: false } : { orders }
}

export function session(overrides: Partial<BackendSession> = {}): BackendSession {
  return {
    callSid: 'HD_0123456789ab',
    agent: 'order-status',
    from: ONE_ORDER,
    to: '+254700000100',
    instructions: '',
    greeting: ORDER_LINE.greeting,
    tools: [],
    language: 'en',
    languages: ['en'],
    voice: 'slt',
    history: [],
    toolLedger: [],
    offline: ORDER_LINE.offline,
    resume: null,
    ...overrides,
  }
}

/** The call around a backend: keeps what it says and answers its tool calls as the shop would. */
export class Line implements BackendSink {
  readonly events: BackendEvent[] = []
  /** Texts of the agent, one for each response. */
  readonly said: string[] = []
  readonly heard: string[] = []
  readonly calls: { name: string; args: Readonly<Record<string, unknown>> }[] = []
  audioMs = 0
  lastItem: string | null = null
  answersTools = true
  backend: EmbeddedBackend | null = null
  readonly #waiters: { readonly until: () => boolean; readonly done: () => void }[] = []

  event(event: BackendEvent): void {
    this.events.push(event)
    if (event.type === 'transcript' && event.final) (event.role === 'agent' ? this.said : this.heard).push(event.text)
    if (event.type === 'tool-call') {
      this.calls.push({ name: event.name, args: event.args })
      if (this.answersTools && event.name === 'lookup_order') {
        const value = lookUp(event.args)
        // Like a real tool: never while the event is handled.
        setImmediate(() => this.backend?.toolResult(event.callId, { ok: true, value }))
      }
    }
    this.#wake()
  }

  audio(pcm: Int16Array, sampleRateHz: number, itemId: string): void {
    this.audioMs += (pcm.length * 1000) / sampleRateHz
    this.lastItem = itemId
    this.#wake()
  }

  /** Resolves as soon as `until` holds; the test's own time limit is the deadline. */
  when(until: () => boolean): Promise<void> {
    if (until()) return Promise.resolve()
    return new Promise((done) => this.#waiters.push({ until, done }))
  }

  /** Resolves when the agent has said something that matches, after what it had said at `from`. */
  async says(words: RegExp, from = 0): Promise<void> {
    await this.when(() => this.said.slice(from).some((text) => words.test(text)))
  }

  #wake(): void {
    for (const waiter of [...this.#waiters]) {
      if (!waiter.until()) continue
      this.#waiters.splice(this.#waiters.indexOf(waiter), 1)
      waiter.done()
    }
  }
}

/** The caller speaks, with silence before and after the words. The test takes the part of the gateway's VAD. */
export function speakInto(backend: EmbeddedBackend, line: Line, flite: Flite, text: string, voice: string): void {
  // Callers speak after the agent or interrupt it. The session reports an interruption in both cases.
  backend.interrupt({ itemId: line.lastItem, playedMs: 1e6 })
  const frames = framesOf(overThePhone(flite, text, voice))
  for (const [i, frame] of frames.entries()) {
    // 200 ms late, as a VAD is: the first sounds are in the pre-roll.
    if (i === 20) backend.speechStart(0)
    backend.pushAudio(frame)
  }
  backend.speechEnd(0)
}

/** A call on the order line, with its own speech session. */
export interface OpenCall {
  readonly line: Line
  readonly backend: EmbeddedBackend
  readonly speech: SpeechClient
  /** The caller says something and the agent's next words match. */
  readonly says: (text: string, answer: RegExp, voice?: string) => Promise<void>
  /** The same without a voice, for what is not about speech. */
  readonly writes: (text: string, answer: RegExp) => Promise<void>
  readonly end: () => Promise<void>
}

/** Opens a call; with `kickOff` it resolves when the agent has greeted. */
export async function openCall(
  pool: SpeechPool,
  flite: Flite,
  overrides: Partial<BackendSession> = {},
  kickOff = true,
): Promise<OpenCall> {
  const speech = new SpeechClient({ port: pool.openSession(), reopen: async () => pool.openSession() })
  const line = new Line()
  const backend = new EmbeddedBackend(line, { speech })
  line.backend = backend
  await backend.connect(session(overrides), new AbortController().signal)
  if (kickOff) {
    backend.sendText('The call is open.', { role: 'system', respond: true })
    await line.when(() => line.said.length > 0)
  }
  return {
    line,
    backend,
    speech,
    says: async (text, answer, voice = 'rms') => {
      const from = line.said.length
      speakInto(backend, line, flite, text, voice)
      await line.says(answer, from)
    },
    writes: async (text, answer) => {
      const from = line.said.length
      backend.sendText(text, { role: 'caller', respond: true })
      await line.says(answer, from)
    },
    end: async () => {
      await backend.close('test over')
      speech.close()
    },
  }
}
