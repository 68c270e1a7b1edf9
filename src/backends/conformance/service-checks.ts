import { commonRateHz } from '../cascade/service-list.js'
import { serviceContext } from '../cascade/service-context.js'
import { ServiceFault } from '../cascade/service-fault.js'
import type {
  Heard,
  LanguageModel,
  Mark,
  ModelDelta,
  SpeechToText,
  ServiceFactory,
  TextToSpeech,
} from '../cascade/service.js'
import { KeptSound } from '../cascade/turn-sound.js'
import type { VendorFault } from '../transport/vendor-fault.js'
import { expect, expectEqual, pause } from './harness.js'
import type { ScriptedReply } from './harness.js'

/** A service of a cascade for one check, connected to its own test double of the real service. */
export interface ServiceSetup<Service> {
  readonly factory: ServiceFactory<Service>
  /** Words that the recogniser understands in the next turns. */
  callerSays(...texts: readonly string[]): void
  /** The model's next answers. */
  reply(...replies: readonly ScriptedReply[]): void
  /** Breaks the open connection. @returns false for a service without a connection */
  breakOff(): boolean
  /** Secret that must not appear in any fault. */
  readonly secret: string
  close(): Promise<void>
}

interface ServiceCheck<Service> {
  /** Statement about the service. */
  readonly name: string
  /** @throws Error that names the expected and the actual result */
  run(setup: () => Promise<ServiceSetup<Service>>): Promise<void>
}

const RATE_HZ = 16_000
/** Maximum wait in ms for an event that a service on loopback sends at once, on a busy machine. */
const PATIENCE_MS = 10_000
/** Time in ms to wait before a check concludes that no event arrives. */
const QUIET_MS = 60

interface Opened<Service> {
  readonly service: Service
  /** Sample rate of the caller. */
  readonly rateHz: number
  readonly setup: ServiceSetup<Service>
}

interface Openable {
  open(signal: AbortSignal, probe: boolean): Promise<void>
  close(): void
}

class Listening {
  readonly finals: { readonly turn: number; readonly heard: Heard }[] = []
  readonly failures: { readonly turn: number | null; readonly fault: VendorFault }[] = []
  /** Numbers of the turns of all events. */
  readonly turns: number[] = []
  readonly #service: SpeechToText
  readonly #rateHz: number

  constructor(service: SpeechToText, rateHz: number) {
    this.#service = service
    this.#rateHz = rateHz
    service.listen({
      words: (turn) => this.turns.push(turn),
      part: (turn) => this.turns.push(turn),
      final: (turn, heard) => {
        this.turns.push(turn)
        this.finals.push({ turn, heard })
      },
      failed: (turn, fault) => this.failures.push({ turn, fault }),
    })
  }

  /** Speaks as the caller for this duration; level 0 is silence. */
  speak(turn: number, ms: number, level = 9000): void {
    const sound = new KeptSound(this.#rateHz)
    this.#service.begin(turn, sound)
    const frame = Int16Array.from({ length: this.#rateHz / 50 }, (_, i) => Math.round(level * Math.sin(i / 8)))
    for (let spokenMs = 0; spokenMs < ms; spokenMs += 20) {
      sound.push(frame)
      this.#service.audio(frame)
    }
  }
}

/** Checks for every recogniser of a cascade. */
export const STT_CHECKS: readonly ServiceCheck<SpeechToText>[] = [
  opened(
    'reports the text of each finalized turn once, in their order, each turn its own words',
    async ({ service, setup, rateHz }) => {
      setup.callerSays('one two', 'three four')
      const listening = new Listening(service, rateHz)
      listening.speak(1, 900)
      service.finalize(1, 200)
      // The next turn begins before the first turn has its text.
      listening.speak(2, 900)
      await until('the first text', () => listening.finals.length === 1)
      service.finalize(2, 200)
      await until('the second text', () => listening.finals.length === 2)
      await pause(QUIET_MS)
      expectEqual(listening.finals.map(({ turn }) => turn).join(), '1,2', 'turns')
      expectEqual(listening.finals.map(({ heard }) => heard.text).join(), 'one two,three four', 'texts')
      for (const { heard } of listening.finals) {
        if (heard.words === undefined) continue
        expectEqual(heard.words.map(({ text }) => text).join(' '), heard.text, 'words')
        const told = heard.words.filter(({ language }) => language !== undefined).length
        expect(told === 0 || told === heard.words.length, 'a language of every word, or of none')
      }
    },
  ),
  opened('says nothing more of an abandoned turn, and understands the next one', async ({ service, setup, rateHz }) => {
    setup.callerSays('yes please')
    const listening = new Listening(service, rateHz)
    listening.speak(1, 100)
    service.abandon(1)
    const before = listening.turns.length
    listening.speak(2, 900)
    service.finalize(2, 0)
    await until('the text', () => listening.finals.length === 1)
    expect(!listening.turns.slice(before).includes(1), 'no event of the abandoned turn')
    expectEqual(listening.finals[0]?.heard.text, 'yes please', 'text')
  }),
  opened(
    'reports a lost connection once, without its key, and nothing after it was closed',
    async ({ service, setup, rateHz }) => {
      const listening = new Listening(service, rateHz)
      setup.callerSays('hello there')
      listening.speak(1, 900)
      if (setup.breakOff()) {
        await until('the fault', () => listening.failures.length === 1)
        await pause(QUIET_MS)
        expectEqual(listening.failures.length, 1, 'faults')
        expectEqual(listening.failures[0]?.turn, null, 'all turns are lost')
        expect(!JSON.stringify(listening.failures).includes(setup.secret), 'no key in a fault')
        return
      }
      service.finalize(1, 0)
      service.close()
      await pause(QUIET_MS)
      expectEqual(listening.finals.length + listening.failures.length, 0, 'events after close')
    },
  ),
]

class Speech {
  samples = 0
  rateHz = 0
  dones = 0
  readonly marks: Mark[] = []
  readonly clauses: number[] = []
  readonly failures: VendorFault[] = []
  readonly utterance

  constructor(service: TextToSpeech) {
    this.utterance = service.begin(
      { language: 'en', speed: 1 },
      {
        audio: (pcm, rateHz) => {
          this.samples += pcm.length
          this.rateHz = rateHz
        },
        clause: (index) => this.clauses.push(index),
        marks: (marks) => this.marks.push(...marks),
        done: () => {
          this.dones++
        },
        failed: (fault) => this.failures.push(fault),
      },
    )
  }

  get ms(): number {
    return this.rateHz === 0 ? 0 : (this.samples * 1000) / this.rateHz
  }
}

/** Checks for every voice of a cascade. */
export const TTS_CHECKS: readonly ServiceCheck<TextToSpeech>[] = [
  opened('speaks texts in their order, then is done once; its times follow the sound', async ({ service }) => {
    const speech = new Speech(service)
    speech.utterance.text('Your order is here. ')
    speech.utterance.text('It was sent today.')
    speech.utterance.end()
    await until('the end', () => speech.dones === 1)
    await pause(QUIET_MS)
    expectEqual(speech.dones, 1, 'ends')
    expectEqual(speech.failures.length, 0, 'faults')
    expect(speech.ms > 500, `sound of both texts, not ${speech.ms} ms`)
    if (service.input === 'clauses') expectEqual(speech.clauses.join(), '0,1', 'clauses')
    for (const [i, mark] of speech.marks.entries())
      expect(
        mark.fromMs >= (speech.marks[i - 1]?.fromMs ?? 0) && mark.toMs <= speech.ms + 1,
        'times that grow, within the sound',
      )
  }),
  opened('is done with an utterance that has no text', async ({ service }) => {
    const speech = new Speech(service)
    speech.utterance.end()
    await until('the end', () => speech.dones === 1)
    expectEqual(speech.samples, 0, 'samples')
  }),
  opened('says nothing more of a cancelled utterance, and speaks the next one whole', async ({ service }) => {
    for (let i = 0; i < 8; i++) {
      const speech = new Speech(service)
      speech.utterance.text('This is a long sentence that nobody wants to hear to its end. ')
      if (i > 3) await until('sound', () => speech.samples > 0)
      speech.utterance.cancel(null)
      const { samples } = speech
      await pause(5)
      expectEqual(speech.samples, samples, 'samples after it was cancelled')
      expectEqual(speech.dones + speech.failures.length, 0, 'events after it was cancelled')
    }
    const next = new Speech(service)
    next.utterance.text('This one is heard.')
    next.utterance.end()
    await until('the end', () => next.dones === 1)
    expect(next.samples > 0, 'sound')
  }),
  opened('fails an utterance whose connection is lost, once and without its key', async ({ service, setup }) => {
    const speech = new Speech(service)
    speech.utterance.text('A sentence that is not')
    if (!setup.breakOff()) return
    await until('the fault', () => speech.failures.length === 1)
    await pause(QUIET_MS)
    expectEqual(speech.failures.length + speech.dones, 1, 'events')
    expect(!JSON.stringify(speech.failures).includes(setup.secret), 'no key in a fault')
  }),
]

/** Checks for every language model of a cascade. */
export const LLM_CHECKS: readonly ServiceCheck<LanguageModel>[] = [
  opened('passes text and tool calls on as they come', async ({ service, setup }) => {
    const args = { orderNumber: '4711' }
    setup.reply({ say: 'One moment, please.', calls: [{ callId: 'c1', name: 'lookup_order', args }] })
    const deltas: ModelDelta[] = []
    const request = {
      messages: [
        { role: 'system' as const, content: 'Be brief.' },
        { role: 'user' as const, content: 'Where is it?' },
      ],
      tools: [{ name: 'lookup_order', description: 'An order.', parameters: { type: 'object', properties: {} } }],
    }
    for await (const delta of service.answer(request, new AbortController().signal)) deltas.push(delta)
    expectEqual(deltas.map(({ text = '' }) => text).join(''), 'One moment, please.', 'text')
    const pieces = deltas.flatMap(({ calls = [] }) => calls)
    expectEqual(pieces.find(({ id }) => id !== undefined)?.id, 'c1', 'id of the call')
    const written = pieces.map((piece) => piece.function?.arguments ?? '').join('')
    expectEqual(JSON.stringify(JSON.parse(written)), JSON.stringify(args), 'arguments')
  }),
  opened('ends an answer that is aborted, and can answer again', async ({ service, setup }) => {
    setup.reply({ say: 'A long story. '.repeat(40) }, { say: 'Short.' })
    const request = { messages: [{ role: 'user' as const, content: 'Hello' }], tools: [] }
    const abort = new AbortController()
    let text = ''
    try {
      for await (const delta of service.answer(request, abort.signal)) {
        text += delta.text ?? ''
        if (text !== '') abort.abort()
      }
    } catch (error) {
      expect(!(error instanceof ServiceFault), 'an abort that is no fault of the service')
    }
    text = ''
    for await (const delta of service.answer(request, new AbortController().signal)) text += delta.text ?? ''
    expectEqual(text, 'Short.', 'the next answer')
  }),
]

async function until(what: string, condition: () => boolean): Promise<void> {
  for (let waitedMs = 0; !condition(); waitedMs += 5) {
    expect(waitedMs < PATIENCE_MS, what)
    await pause(5)
  }
}

/** Makes a check that runs `work` on an open service, and cleans up. */
function opened<Service extends Openable>(
  name: string,
  work: (opened: Opened<Service>) => Promise<void>,
): ServiceCheck<Service> {
  return {
    name,
    run: async (make) => {
      const setup = await make()
      const ended = new AbortController()
      const inputRateHz = commonRateHz([setup.factory], RATE_HZ)
      const service = setup.factory.make(
        serviceContext('conformance', () => performance.now(), ended.signal, {
          languages: ['en'],
          inputRateHz,
          legRateHz: RATE_HZ,
        }),
      )
      try {
        await service.open(ended.signal, true)
        await work({ service, setup, rateHz: inputRateHz })
      } finally {
        ended.abort()
        service.close()
        await setup.close()
      }
    },
  }
}
