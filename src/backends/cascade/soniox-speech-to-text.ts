import { noUsage } from '../../call/usage.js'
import { samplesToMs } from '../../core/units.js'
import { bytesOfSamples, encodeMuLaw } from '../../media/pcm.js'
import { pricedModel } from '../prices.js'
import { vendorFault } from '../transport/vendor-fault.js'
import type { VendorFault } from '../transport/vendor-fault.js'
import { sonioxSocket } from './soniox-socket.js'
import type { StageMessage, StageSocket } from './stage-socket.js'
import type { Heard, SpeechToText, StageContext, StageFactory, SttListener, TurnSound, Word } from './stage.js'

interface SonioxSttOptions {
  /** `wss://stt-rt.soniox.com` when not given; http(s) and ws(s) alike. */
  readonly baseUrl?: string
  /** Never logged. */
  readonly apiKey: string
  readonly model?: string
  /** Words and names that callers are likely to say. */
  readonly terms?: readonly string[]
  /** What the calls are about, in a sentence or two. */
  readonly context?: string
  readonly connectTimeoutMs?: number
}

const BASE_URL = 'wss://stt-rt.soniox.com'
const SONIOX_STT_MODEL = 'stt-rt-v4'
/** The service closes a session that gets nothing for 20 s. */
const KEEPALIVE_MS = 10_000
/** The service acknowledges `finalize`; this long at most its words are waited for. */
const FINALIZE_MS = 700

/** A token of the service: a piece of a word with its own leading space. */
interface Token {
  readonly text?: unknown
  readonly start_ms?: unknown
  readonly end_ms?: unknown
  readonly confidence?: unknown
  readonly is_final?: unknown
  readonly language?: unknown
}

interface Piece {
  readonly text: string
  readonly fromMs: number
  readonly toMs: number
  readonly confidence: number | null
  readonly language: string | null
}

interface Turn {
  readonly number: number
  /** Where its audio begins in the session's, in milliseconds. */
  readonly fromMs: number
  /** Where its audio ends; Infinity while the caller speaks. */
  toMs: number
  readonly stable: Piece[]
  tentative: readonly Piece[]
  timer: NodeJS.Timeout | null
  /** It has its final, or needs none: what still comes for it is dropped. */
  over: boolean
}

/** Soniox's recogniser over a WebSocket. The gateway's VAD ends the turns: the service's own endpoints are off. */
export function sonioxSpeechToText(options: SonioxSttOptions): StageFactory<SpeechToText> {
  const { model = SONIOX_STT_MODEL, baseUrl = BASE_URL } = options
  return {
    service: 'soniox',
    model: pricedModel(model, baseUrl),
    make: (context) => new SonioxSpeechToText({ ...options, model, baseUrl }, context),
  }
}

/**
 * One session. The audio of all turns is one stream to the service, without what is between them. So a token belongs to
 * the oldest turn that has not got its `<fin>`; a turn that was given up without one gives way when the words' times are
 * beyond its end.
 */
class SonioxSpeechToText implements SpeechToText {
  readonly #options: SonioxSttOptions & { readonly model: string; readonly baseUrl: string }
  readonly #context: StageContext
  readonly #mulaw: boolean
  #socket: StageSocket | null = null
  #listener: SttListener | null = null
  /** Turns that may still get tokens, the oldest first. */
  readonly #turns: Turn[] = []
  #sentMs = 0
  #heardAtMs = -Infinity
  #chargedFromMs = NaN
  #keepalive: NodeJS.Timeout | null = null
  #compressed = Buffer.alloc(0)

  constructor(options: SonioxSttOptions & { readonly model: string; readonly baseUrl: string }, context: StageContext) {
    this.#options = options
    this.#context = context
    // G.711 has all that an 8 kHz leg carries.
    this.#mulaw = context.inputRateHz === 8000
  }

  async open(signal: AbortSignal, probe: boolean): Promise<void> {
    const { baseUrl, apiKey, model, terms = [], context = '', connectTimeoutMs } = this.#options
    const { languages, inputRateHz } = this.#context
    const socket = sonioxSocket({
      what: `${this.#context.name}: stt soniox`,
      baseUrl,
      path: 'transcribe-websocket',
      apiKey,
      connectTimeoutMs,
      message: (message) => this.#message(message),
      lost: (fault) => this.#lost(fault),
    })
    this.#socket = socket
    await socket.open(signal, probe)
    socket.send({
      api_key: apiKey,
      model,
      audio_format: this.#mulaw ? 'mulaw' : 'pcm_s16le',
      sample_rate: inputRateHz,
      num_channels: 1,
      enable_language_identification: true,
      enable_endpoint_detection: false,
      ...(languages.length === 0 ? {} : { language_hints: languages }),
      ...(terms.length === 0 && context === ''
        ? {}
        : { context: { ...(context === '' ? {} : { text: context }), ...(terms.length === 0 ? {} : { terms }) } }),
    })
    this.#chargedFromMs = this.#context.nowMs()
    this.#keepalive = setInterval(() => this.#socket?.send({ type: 'keepalive' }), KEEPALIVE_MS).unref()
  }

  listen(listener: SttListener): void {
    this.#listener = listener
  }

  begin(number: number, _sound: TurnSound): void {
    const turn: Turn = {
      number,
      fromMs: this.#sentMs,
      toMs: Infinity,
      stable: [],
      tentative: [],
      timer: null,
      over: false,
    }
    this.#turns.push(turn)
  }

  audio(pcm: Int16Array): void {
    const socket = this.#socket
    if (socket === null || pcm.length === 0) return
    this.#sentMs += samplesToMs(pcm.length, this.#context.inputRateHz)
    this.#keepalive?.refresh()
    if (!this.#mulaw) return socket.sendBytes(bytesOfSamples(pcm))
    if (this.#compressed.length < pcm.length) this.#compressed = Buffer.alloc(pcm.length)
    encodeMuLaw(pcm, this.#compressed)
    socket.sendBytes(this.#compressed.subarray(0, pcm.length))
  }

  finalize(number: number, silenceMs: number): void {
    const turn = this.#turns.find((one) => one.number === number)
    if (turn === undefined || turn.over) return
    turn.toMs = this.#sentMs
    const askedAtMs = this.#context.nowMs()
    turn.timer = setTimeout(() => {
      // A service that said nothing at all, although there was voice, is out of order.
      if (this.#heardAtMs < askedAtMs && turn.stable.length + turn.tentative.length === 0)
        this.#socket?.fail(vendorFault('timeout', `${this.#context.name}: stt soniox does not answer`, true))
      else this.#final(turn)
    }, FINALIZE_MS)
    this.#socket?.send({ type: 'finalize', ...(silenceMs > 0 ? { trailing_silence_ms: silenceMs } : {}) })
  }

  abandon(number: number): void {
    const turn = this.#turns.find((one) => one.number === number)
    if (turn === undefined) return
    turn.over = true
    turn.toMs = this.#sentMs
    // Its words are to be out of the way before those of the next turn.
    this.#socket?.send({ type: 'finalize' })
  }

  close(): void {
    if (this.#keepalive !== null) clearInterval(this.#keepalive)
    this.#charge()
    this.#chargedFromMs = NaN
    for (const { timer } of this.#turns) if (timer !== null) clearTimeout(timer)
    this.#turns.length = 0
    this.#socket?.close()
    this.#socket = null
  }

  #message(message: StageMessage): void {
    this.#heardAtMs = this.#context.nowMs()
    const tokens = (Array.isArray(message['tokens']) ? message['tokens'] : []) as readonly Token[]
    const tentative = new Map<Turn, Piece[]>()
    const changed = new Set<Turn>(this.#turns.filter((turn) => turn.tentative.length > 0))
    for (const token of tokens) {
      if (typeof token?.text !== 'string') {
        this.#context.malformed()
        continue
      }
      const final = token.is_final === true
      if (/^<\w+>$/.test(token.text)) {
        if (final && token.text === '<fin>') this.#finalized()
        continue
      }
      const piece = pieceOf(token, token.text)
      const turn = this.#turnOf(piece)
      if (turn === null) continue
      changed.add(turn)
      if (final) turn.stable.push(piece)
      else tentative.set(turn, [...(tentative.get(turn) ?? []), piece])
    }
    for (const turn of changed) {
      turn.tentative = tentative.get(turn) ?? []
      if (!turn.over && this.#turns.includes(turn)) this.#listener?.words(turn.number, heardIn(turn))
    }
  }

  /** The turn of a token; null where that is over. */
  #turnOf(piece: Piece): Turn | null {
    for (let turn = this.#turns[0]; turn !== undefined; turn = this.#turns[0]) {
      // Its `<fin>` did not come, and these words are of a later turn.
      const past = turn.over && this.#turns.length > 1 && piece.fromMs >= turn.toMs
      if (!past) return turn.over ? null : turn
      this.#turns.shift()
    }
    return null
  }

  /** `<fin>`: all tokens of the oldest turn have come. */
  #finalized(): void {
    const turn = this.#turns[0]
    if (turn === undefined || turn.toMs === Infinity) return
    turn.tentative = []
    if (!turn.over) this.#final(turn)
    if (this.#turns[0] === turn) this.#turns.shift()
  }

  #final(turn: Turn): void {
    if (turn.timer !== null) clearTimeout(turn.timer)
    turn.over = true
    this.#charge()
    this.#listener?.final(turn.number, heardIn(turn))
  }

  /** The time for which the session was open is charged for. */
  #charge(): void {
    const nowMs = this.#context.nowMs()
    if (Number.isNaN(this.#chargedFromMs)) return
    this.#context.used({
      ...noUsage(),
      model: pricedModel(this.#options.model, this.#options.baseUrl),
      sessionSeconds: (nowMs - this.#chargedFromMs) / 1000,
    })
    this.#chargedFromMs = nowMs
  }

  #lost(fault: VendorFault): void {
    this.#listener?.failed(null, fault)
  }
}

function pieceOf(token: Token, text: string): Piece {
  const number = (value: unknown): number => (typeof value === 'number' && Number.isFinite(value) ? value : 0)
  return {
    text,
    fromMs: number(token.start_ms),
    toMs: number(token.end_ms),
    confidence: typeof token.confidence === 'number' ? token.confidence : null,
    language: typeof token.language === 'string' && token.language !== '' ? token.language : null,
  }
}

function heardIn({ stable, tentative, fromMs }: Turn): Heard {
  const pieces = [...stable, ...tentative]
  const words: Word[] = []
  const letters = new Map<string, number>()
  for (const piece of pieces) {
    const { text, confidence, language } = piece
    if (language !== null) letters.set(language, (letters.get(language) ?? 0) + text.trim().length)
    const last = words.at(-1)
    // A piece without a space before it goes on with the word, unless none has begun.
    if (last !== undefined && !/^\s/.test(text)) {
      words[words.length - 1] = { ...last, text: last.text + text.trimEnd(), toMs: piece.toMs - fromMs }
      continue
    }
    if (text.trim() === '') continue
    words.push({
      text: text.trim(),
      fromMs: Math.max(0, piece.fromMs - fromMs),
      toMs: Math.max(0, piece.toMs - fromMs),
      ...(confidence === null ? {} : { confidence }),
      ...(language === null ? {} : { language }),
    })
  }
  const [language] = [...letters].toSorted((a, b) => b[1] - a[1])[0] ?? []
  return {
    text: pieces
      .map(({ text }) => text)
      .join('')
      .replace(/\s+/g, ' ')
      .trim(),
    words,
    ...(language === undefined ? {} : { language }),
  }
}
