/** Samples at 2 kHz that are laid beside themselves, and the lags: 5 to 28 are pitches of 400 to 71 Hz. */
const WINDOW = 64
export const LAG_MIN = 5
const LAG_MAX = 28
export const LAGS = LAG_MAX - LAG_MIN + 1
export const HISTORY_SAMPLES = WINDOW + LAG_MAX

/** What is known of a frame (`voice-features.ts`), and the units that judge it. */
export const INPUTS = 48
export const UNITS = 32
/** Biases of the units, for each input its weights, weights of the output, its bias. */
export const MODEL_NUMBERS = UNITS + INPUTS * UNITS + UNITS + 1

/** The sums of the voice detector. One object serves all streams of a thread: its arrays are scratch. */
export interface VoiceKernel {
  /** `HISTORY_SAMPLES` at 2 kHz, the newest last. */
  readonly history: Float32Array
  /** Of `LAGS`, the longest first: -1 to 1. */
  readonly correlation: Float32Array
  readonly inputs: Float32Array
  /** `history` to `correlation`. */
  correlate(): void
  /** @returns the log of the odds that `inputs` are speech */
  judge(): number
}

/** `voice-kernel.wat`. */
export class WasmVoiceKernel implements VoiceKernel {
  readonly history: Float32Array
  readonly correlation: Float32Array
  readonly inputs: Float32Array
  readonly #correlate: (from: number, out: number) => void
  readonly #judge: (inputs: number, count: number, model: number) => number

  /** @param model `MODEL_NUMBERS`, of `voice-model.ts` */
  constructor(kernel: WebAssembly.Module, model: readonly number[]) {
    const { exports } = new WebAssembly.Instance(kernel)
    // The shapes of these three exports are fixed by voice-kernel.wat.
    const { buffer } = exports['memory'] as WebAssembly.Memory
    this.#correlate = exports['correlate'] as (from: number, out: number) => void
    this.#judge = exports['judge'] as (inputs: number, count: number, model: number) => number
    this.history = new Float32Array(buffer, HISTORY_AT, HISTORY_SAMPLES)
    this.correlation = new Float32Array(buffer, CORRELATION_AT, LAGS)
    this.inputs = new Float32Array(buffer, INPUTS_AT, INPUTS)
    new Float32Array(buffer, MODEL_AT, MODEL_NUMBERS).set(model)
  }

  correlate(): void {
    this.#correlate(HISTORY_AT + LAG_MAX * Float32Array.BYTES_PER_ELEMENT, CORRELATION_AT)
  }

  judge(): number {
    return this.#judge(INPUTS_AT, INPUTS, MODEL_AT)
  }
}

// Byte addresses, multiples of 16.
const HISTORY_AT = 16
const CORRELATION_AT = 512
const INPUTS_AT = 1024
const MODEL_AT = 2048

/** The same without WebAssembly, but for the rounding of sums. */
export class JsVoiceKernel implements VoiceKernel {
  readonly history = new Float32Array(HISTORY_SAMPLES)
  readonly correlation = new Float32Array(LAGS)
  readonly inputs = new Float32Array(INPUTS)
  readonly #model: Float32Array

  /** @param model none to take features only */
  constructor(model: ArrayLike<number> = new Float32Array(MODEL_NUMBERS)) {
    this.#model = Float32Array.from(model)
  }

  correlate(): void {
    const { history } = this
    let energy = 1
    for (let i = LAG_MAX; i < HISTORY_SAMPLES; i++) energy += (history[i] as number) ** 2
    for (let k = 0; k < LAGS; k++) {
      let sum = 0
      let lagged = 1
      for (let i = 0; i < WINDOW; i++) {
        const earlier = history[i + k] as number
        sum += (history[i + LAG_MAX] as number) * earlier
        lagged += earlier * earlier
      }
      this.correlation[k] = sum / Math.sqrt(energy * lagged)
    }
  }

  judge(): number {
    const model = this.#model
    const outAt = UNITS + INPUTS * UNITS
    let odds = model[outAt + UNITS] as number
    for (let unit = 0; unit < UNITS; unit++) {
      let sum = model[unit] as number
      for (let i = 0; i < INPUTS; i++) sum += (this.inputs[i] as number) * (model[UNITS * (i + 1) + unit] as number)
      if (sum > 0) odds += sum * (model[outAt + unit] as number)
    }
    return odds
  }
}
