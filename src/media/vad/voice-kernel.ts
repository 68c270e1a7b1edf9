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

/**
 * The sums of the voice detector; one object may serve many streams, as its arrays are scratch. caller-kernel/correlation.ts and units.ts
 * are its twins.
 */
export class JsVoiceKernel {
  /** `HISTORY_SAMPLES` at 2 kHz, the newest last. */
  readonly history = new Float32Array(HISTORY_SAMPLES)
  /** Of `LAGS`, the longest first: -1 to 1. */
  readonly correlation = new Float32Array(LAGS)
  readonly inputs = new Float32Array(INPUTS)
  readonly #model: Float32Array

  /** @param model none to take features only */
  constructor(model: ArrayLike<number> = new Float32Array(MODEL_NUMBERS)) {
    this.#model = Float32Array.from(model)
  }

  /** `history` to `correlation`. */
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

  /** @returns the log of the odds that `inputs` are speech */
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
